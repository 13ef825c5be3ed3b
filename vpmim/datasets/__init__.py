"""Labelled data sets for evaluation: one module with one function each, and the table of them.

To add one, write a module whose function takes the folder and returns `LabelledImages`, and enter it below. Its
keywords are options of the command line: `split`, `split_file`, `seed`, `uncertain`, each where it means something.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vpmim.datasets.chestxray14 import read_chestxray14
from vpmim.datasets.chexpert import read_chexpert
from vpmim.datasets.folder import read_folder
from vpmim.datasets.labelled import DatasetError, LabelledImages
from vpmim.datasets.mimic_cxr import read_mimic_cxr
from vpmim.datasets.rsna import read_rsna
from vpmim.datasets.siim import read_siim
from vpmim.datasets.vindr import read_vindr

__all__ = ["DATASETS", "DatasetError", "LabelledImages", "read_dataset"]

DATASETS: dict[str, Callable[..., LabelledImages]] = {
    "chestxray14": read_chestxray14,
    "rsna": read_rsna,
    "chexpert": read_chexpert,
    "siim": read_siim,
    "vindr": read_vindr,
    "mimic": read_mimic_cxr,
    "folder": read_folder,
}
"""Name on the command line -> reader."""

SPLIT_NAMES: dict[str, tuple[str, ...]] = {
    name: getattr(inspect.getmodule(read), "SPLIT_NAMES", ()) for name, read in DATASETS.items()
}
"""Data set -> its splits, the default first; none where the folder itself says."""


def read_dataset(name: str, root: Path, **options: Any) -> LabelledImages:
    """Read a labelled data set.

    Parameters
    ----------
    name : a key of `DATASETS`
    root : Path of the data set's folder
    **options : keywords of its reader; those that are None are left to its defaults

    Raises
    ------
    DatasetError
        Beside the reader's own: no such data set or split, or an option that this data set does not have.
    """
    if name not in DATASETS:
        raise DatasetError(f"no data set {name!r}; there are {', '.join(DATASETS)}")
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(DATASETS[name]).parameters
    if unknown := [option for option in given if option not in known]:
        raise DatasetError(f"the data set {name} has no option --{unknown[0].replace('_', '-')}")
    if given.get("split", "") and given["split"] not in SPLIT_NAMES[name]:
        raise DatasetError(f"{name} has no split {given['split']!r}; there are {', '.join(SPLIT_NAMES[name])}")
    if given.get("split_file") and given.get("split") not in ("file", *_published(name)):
        raise DatasetError(
            f"--split-file goes with --split {' or '.join(('file', *_published(name)))}: say what the lists are"
        )
    return DATASETS[name](root, **given)


def _published(name: str) -> tuple[str, ...]:
    """Splits of a data set that exist as lists only."""
    return tuple(getattr(inspect.getmodule(DATASETS[name]), "PUBLISHED", ()))
