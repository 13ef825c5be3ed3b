"""Ids and paths that come from tables: checked as written, before anything is opened with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gazekit.errors import InputError
from gazekit.ids import is_id

IMAGE_SUFFIXES = (".dcm", ".jpg", ".jpeg", ".png", ".dicom")
"""Suffixes of image files, in the order in which they are looked for."""

_PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".bmp", ".gif", ".tif", ".tiff", ".webp")

_PATIENT_GROUP = re.compile(r"p\d{2}")


def is_safe_path(path: str) -> bool:
    """Whether `path` is relative, with forward slashes, and each of its parts obeys the id rule.

    That rules out an absolute path, a drive letter, ``.`` and ``..``, hidden files, backslashes and NUL.
    """
    return all(is_id(part) for part in path.split("/"))


def picture_name(path: str) -> str:
    """The file name of a path without the suffix of a picture, if it has one: that of ``1.2.840.10`` has none."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in _PICTURE_SUFFIXES else name


def check_id(text: str, what: str) -> str:
    """`text`, or `InputError` if it breaks the id rule.

    Parameters
    ----------
    text : str
    what : str
        Where it stands, for the message: file, line, column.
    """
    if not is_id(text):
        raise InputError(
            f"{what}: {_quoted(text)} is not an id: expected 1 to 128 of A-Z a-z 0-9 . _ - and no leading dot; "
            "nothing was opened; correct the table"
        )
    return text


def check_path(path: str, what: str) -> str:
    """`path`, or `InputError` if it is not safe to look for under a root; see `is_safe_path`."""
    if not is_safe_path(path):
        raise InputError(
            f"{what}: {_quoted(path)} is not a safe path: expected a relative path with forward slashes whose parts "
            "are each 1 to 128 of A-Z a-z 0-9 . _ - without a leading dot; nothing was opened; correct the table"
        )
    return path


def check_case(ids: Iterable[str], what: str) -> None:
    """`InputError` if two different ids are the same on a file system that ignores case."""
    seen: dict[str, str] = {}
    for text in ids:
        other = seen.setdefault(text.casefold(), text)
        if other != text:
            raise InputError(f"{what}: the ids {other!r} and {text!r} differ only in case; rename one of them")


def resolve_under(root: Path, relative: str) -> Path:
    """``root / relative``, or `InputError` if `relative` is unsafe as written or leads out of `root`.

    Parameters
    ----------
    root : Path
        May be a link itself.
    relative : str
        As a table writes it.

    Returns
    -------
    Path
        Below `root` as it was given; it need not exist.
    """
    path = root / check_path(relative, "path in a table")
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{relative} is a link that leads out of {root}; copy the file in, or name the folder that holds it"
        )
    return path


def find_image(images_root: Path, image_path: str, image_id: str) -> Path | None:
    """The image file that a table means.

    The path is tried under `images_root` in full, then from each ``files/`` on, then from ``pNN/`` on, then as
    ``<image_id>.*`` directly in it; each with the suffixes .dcm, .jpg, .jpeg, .png in this order and then as
    written, so that one table serves MIMIC-CXR, MIMIC-CXR-JPG and a flat folder.

    Parameters
    ----------
    images_root : Path
    image_path : str
        As the table writes it.
    image_id : str

    Returns
    -------
    Path or None
        Below `images_root` as it was given; None where no such file exists.

    Raises
    ------
    InputError
        The path or id is unsafe as written (nothing is looked for then), or the file found is a link that leads
        out of `images_root`.
    """
    check_path(image_path, "image path")
    check_id(image_id, "image id")
    for candidate in _candidates(image_path, image_id):
        if (images_root / candidate).is_file():
            return resolve_under(images_root, candidate)
    return None


def _candidates(image_path: str, image_id: str) -> Iterator[str]:
    parts = image_path.split("/")
    folders = parts[:-1]
    starts = [0]
    starts += [k for k, part in enumerate(folders) if part == "files" and k > 0]
    starts += [k for k, part in enumerate(folders) if _PATIENT_GROUP.fullmatch(part) and k > 0][-1:]
    for start in starts:
        yield from _with_suffixes("/".join(parts[start:]))
    for suffix in IMAGE_SUFFIXES:
        yield image_id + suffix


def _with_suffixes(path: str) -> Iterator[str]:
    stem, dot, suffix = path.rpartition(".")
    if dot + suffix.lower() not in IMAGE_SUFFIXES:
        stem = path
    for known in IMAGE_SUFFIXES:
        yield stem + known
    if dot + suffix not in IMAGE_SUFFIXES:
        yield path


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
