"""X-rays without gaze: every image file in a folder, at any depth."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from gazekit.errors import InputError, RecordError
from gazekit.ids import is_id
from gazekit.reading import Entry, Reading, Readings
from gazekit.sources.paths import IMAGE_SUFFIXES, check_case, check_id, check_path, is_safe_path


def read_images(root: str | Path) -> Readings:
    """Index a folder of X-rays that nobody read.

    Parameters
    ----------
    root : path
        Searched at any depth for .dcm, .dicom, .jpg, .jpeg and .png files, whatever the case of the suffix. Hidden
        files and folders are ignored, and links to folders are not followed.

    Returns
    -------
    Readings
        Of length 0: its `entries` have no reading id. The image id is the path under `root` without the suffix, its
        slashes turned into dots.

    Raises
    ------
    InputError
        No such folder, or no image in it; a name that breaks the id rule; two different files with one id.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images, found {'a file' if folder.exists() else 'nothing'}")
    paths, others = _files(folder)
    if not paths:
        held = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5)) or "no file"
        raise InputError(f"{folder}: no {', '.join(IMAGE_SUFFIXES)} file at any depth; it holds {held}")
    broken = [path for path in paths if not (is_safe_path(path) and is_id(_image_id(path)))]
    if broken:
        raise InputError(
            f"{folder}: {len(broken)} of {len(paths)} names cannot be ids, first {broken[0]!r}: expected A-Z a-z 0-9 "
            ". _ - and at most 128 characters with the folders; rename them"
        )
    images: dict[str, str] = {}
    notes: list[str] = []
    for path in paths:
        first = images.setdefault(_image_id(path), path)
        if first != path:
            notes.append(_repeated(folder, first, path))
    check_case(images, str(folder))
    if others:
        held = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5))
        notes.append(f"files that are no .dcm, .dicom, .jpg, .jpeg or .png are left out: {held}")
    entries = [Entry(image_id=image_id, image_path=path) for image_id, path in sorted(images.items())]
    return Readings("images", entries, _load, digest=partial(_digest, tuple(entries)), notes=notes)


def list_images(paths: Mapping[str, str]) -> Readings:
    """X-rays without gaze, under ids that a data set gives them.

    Parameters
    ----------
    paths : mapping
        Image id to the path of its file, relative to the image root.

    Returns
    -------
    Readings
        Of length 0, as of `read_images`.

    Raises
    ------
    InputError
        An id or path that breaks the rules, or two ids that differ only in case.
    """
    for image_id, path in paths.items():
        check_id(image_id, "image id")
        check_path(path, "image path")
    check_case(paths, "image ids")
    entries = [Entry(image_id=image_id, image_path=path) for image_id, path in sorted(paths.items())]
    return Readings("images", entries, _load, digest=partial(_digest, tuple(entries)))


def _files(folder: Path) -> tuple[list[str], Counter[str]]:
    """Image files relative to `folder`, sorted, and how many others there are of each suffix."""
    paths: list[str] = []
    others: Counter[str] = Counter()

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            suffix = PurePosixPath(name).suffix
            if name.startswith("."):
                continue
            if suffix.lower() in IMAGE_SUFFIXES:
                paths.append((Path(place) / name).relative_to(folder).as_posix())
            else:
                others[suffix or "without a suffix"] += 1
    return sorted(paths), others


def _image_id(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")).replace("/", ".")


def _repeated(folder: Path, first: str, second: str) -> str:
    """A note that two files of one id are the same, or `InputError` where they are not."""
    digests = {_sha256(folder / path) for path in (first, second)}
    if len(digests) > 1:
        raise InputError(
            f"{folder}: {first} and {second} have the same id {_image_id(first)} and different content; rename one"
        )
    return f"{second} is {first} again and is left out"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(entry: Entry) -> Reading:
    raise RecordError("no_gaze", f"nobody read the image {entry.image_id}")


def _digest(entries: Sequence[Entry]) -> str:
    """Sha256 over the names; the images themselves are not tables."""
    return hashlib.sha256("\n".join(entry.image_path for entry in entries).encode()).hexdigest()
