"""SIIM-ACR Pneumothorax Segmentation: chest X-rays with pneumothorax masks, of which the presence is the label.

::

    DIR/train-rle.csv                    ImageId, EncodedPixels (its name has a blank before it); -1: no pneumothorax
    DIR/dicom-images-train/<study>/<series>/<ImageId>.dcm

The images are DICOM: see `vpmim.datasets.rsna`. Patients are not named.
"""

from __future__ import annotations

import re
from pathlib import Path

from vpmim.datasets.label_table import read_label_table
from vpmim.datasets.labelled import DatasetError, LabelledImages
from vpmim.datasets.splits import chosen_split

LABELS = "train-rle.csv"
IMAGES = "dicom-images-train"
CLASSES = ("Pneumothorax",)
SPLIT_NAMES = ("own", "file")

_RUNS = re.compile(r"\d+ \d+( \d+ \d+)*")


def read_siim(root: Path, *, split: str = "own", split_file: Path | None = None, seed: int = 0) -> LabelledImages:
    """Read SIIM-ACR.

    Parameters
    ----------
    root : Path
    split : ``own`` (our 70/10/20 by image) or ``file``
    split_file : Path, optional
    seed : of our own split

    Returns
    -------
    LabelledImages
        One label: an image is positive where it has a mask.

    Raises
    ------
    DatasetError
        Files missing or not as published, masks that are no run lengths, an image with a mask and with -1.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    table = read_label_table(root / LABELS, required=("ImageId",))
    runs = next((column for column in table.columns if column.strip() == "EncodedPixels"), None)
    if runs is None:
        raise DatasetError(f"{table.name}: column EncodedPixels is missing; found {', '.join(table.columns)}")
    positive: dict[str, bool] = {}
    for line, image, cell in zip(table.lines, table.names("ImageId"), table.column(runs), strict=True):
        has_mask = cell.strip() != "-1"
        if has_mask and not _RUNS.fullmatch(cell.strip()):
            raise DatasetError(f"{table.name}, line {line}, column 'EncodedPixels': expected -1 or runs of pixels")
        if positive.setdefault(image, has_mask) != has_mask:
            raise DatasetError(f"{table.name}, line {line}: {image} has a mask in one row and -1 in another")
    ids = sorted(positive)
    parts, name = chosen_split(split, ids, ids, split_file=split_file, published={}, seed=seed, manner="image-wise")
    where = {path.stem: path for path in (root / IMAGES).glob("*/*/*.dcm")}
    return LabelledImages.listed(
        dataset="siim",
        split=name,
        paths=[where.get(image, root / IMAGES / f"{image}.dcm") for image in ids],
        ids=ids,
        patients=ids,
        labels=[[positive[image]] for image in ids],
        classes=CLASSES,
        parts=parts,
        notes=("patients are not named: each image counts as a patient",),
    )
