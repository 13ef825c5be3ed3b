"""One module a format, each with one function from a folder on disk to `gazekit.reading.Readings`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gazekit.errors import InputError
from gazekit.geometry import Screen
from gazekit.reading import Readings
from gazekit.sources.bids import read_bids
from gazekit.sources.egd import read_egd
from gazekit.sources.eyelink import read_eyelink
from gazekit.sources.gaze_table import read_table
from gazekit.sources.gazepoint import read_gazepoint
from gazekit.sources.images import read_images
from gazekit.sources.mimic_eye import read_mimic_eye
from gazekit.sources.pupil import read_pupil
from gazekit.sources.reflacx import read_reflacx
from gazekit.sources.spec import Spec
from gazekit.sources.tobii import read_tobii

SOURCES: dict[str, Callable[..., Readings]] = {
    "reflacx": read_reflacx,
    "egd": read_egd,
    "mimic-eye": read_mimic_eye,
    "table": read_table,
    "bids": read_bids,
    "gazepoint": read_gazepoint,
    "pupil": read_pupil,
    "tobii": read_tobii,
    "eyelink": read_eyelink,
    "images": read_images,
}
"""Name of a data set, as ``--dataset`` takes it, to the function that opens it."""

OPTIONS = {"spec": "--spec", "screen": "--screen-px, --screen-mm and --distance-mm"}
"""Keyword of a function that opens a data set to the options of the command line that give it."""


def open_source(
    name: str,
    root: str | Path,
    *,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open a data set by the name of its format.

    Parameters
    ----------
    name : str
        A key of `SOURCES`.
    root : path
        The data set.
    images : path, optional
        Where the images lie; passed on to the formats that need their sizes.
    spec : path or Spec, optional
        TOML file that says what the files of a tracker do not; see `gazekit.sources.spec`.
    screen : Screen, optional
        Counts in place of the spec's ``[screen]``.

    Returns
    -------
    Readings

    Raises
    ------
    InputError
        No such format, or an option that it does not use; and whatever its function raises.
    """
    if name not in SOURCES:
        raise InputError(f"--dataset must be one of {', '.join(SOURCES)}, got {name!r}")
    given: dict[str, Any] = {key: value for key, value in (("spec", spec), ("screen", screen)) if value is not None}
    for key in given:
        if name not in users_of(key):
            raise InputError(
                f"{OPTIONS[key]}: not used by --dataset {name}, but by {', '.join(users_of(key))}; leave it out"
            )
    if images is not None and name in users_of("images"):
        given["images"] = images
    return SOURCES[name](root, **given)


def users_of(option: str) -> list[str]:
    """The formats whose function takes a keyword: "images", "spec" or "screen"."""
    return [name for name, read in SOURCES.items() if option in inspect.signature(read).parameters]
