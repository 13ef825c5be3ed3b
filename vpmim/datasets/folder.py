"""A labelled image folder: class folders, or ``labels.csv``.

::

    DIR/<class>/*.png                    our own split; or
    DIR/{train,val,test}/<class>/*.png   the split that is given (without val, ours is cut from train)
    DIR/labels.csv                       path, patient_id, one 0/1 column a label, split (optional)

PNG and JPEG. In ``labels.csv``, `path` is relative to DIR, a blank label is unknown, and a blank or absent `split`
column asks for our own patient-wise split.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from vpmim.datasets.label_table import LabelTable, read_label_table
from vpmim.datasets.labelled import SPLITS, DatasetError, LabelledImages, some
from vpmim.datasets.splits import PART_NAMES, own_split, own_validation
from vpmim.images import SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE = "labels.csv"
PATH, PATIENT, SPLIT = "path", "patient_id", "split"

NEGATIVE_CLASSES = frozenset({"normal", "negative", "healthy", "no", "no finding", "no_finding", "control", "0"})
"""Of two class folders, the one with such a name (in any case) is the negative class; else the first by name."""

_VALUES = {"0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "": math.nan}
_NO_PATIENTS = (
    "patients are unknown: each image counts as a patient of its own, and a leak between parts cannot be seen"
)


def read_folder(root: Path, *, seed: int = 0) -> LabelledImages:
    """Read a labelled image folder.

    Parameters
    ----------
    root : Path
    seed : of our own split, where none is given

    Returns
    -------
    LabelledImages
        Of several class folders, one label a class; of two, one label, the positive class's.

    Raises
    ------
    DatasetError
        See `vpmim.datasets.labelled` and `vpmim.datasets.label_table`; and a path that leaves the folder, a path
        given twice, a patient id that is none, images beside the class folders, or fewer than two classes.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    if (root / TABLE).exists():
        return _from_table(root, read_label_table(root / TABLE, required=(PATH, PATIENT)), seed)
    return _from_class_folders(root, seed)


def _from_table(root: Path, table: LabelTable, seed: int) -> LabelledImages:
    classes = tuple(name for name in table.columns if name not in (PATH, PATIENT, SPLIT))
    if not classes:
        raise DatasetError(f"{table.name}: no label column beside {', '.join(table.columns)}")
    if unnamed := [name for name in classes if not name.strip() or not name.isprintable()]:
        raise DatasetError(
            f"{table.name}: a label column has no name, or not a printable one: {some(map(repr, unnamed))}"
        )
    ids = _checked_paths(root, table)
    patients = table.names(PATIENT)
    parts, split = _complete(_given_parts(table), patients, "patient-wise", seed)
    return LabelledImages(
        dataset="folder",
        split=split,
        paths=tuple(root / name for name in ids),
        ids=ids,
        patients=tuple(patients),
        labels=_labels(table, classes),
        classes=classes,
        parts=parts,
    )


def _labels(table: LabelTable, classes: Sequence[str]) -> NDArray[np.float64]:
    labels = np.empty((len(table.rows), len(classes)))
    for column, name in enumerate(classes):
        for row, value in enumerate(table.column(name)):
            if value not in _VALUES:
                raise DatasetError(
                    f"{table.name}, line {table.lines[row]}, column {name!r}: expected 0, 1 or blank (unknown), got "
                    f"{value[:20]!r}; every column but {PATH}, {PATIENT} and {SPLIT} is a label"
                )
            labels[row, column] = _VALUES[value]
    return labels


def _given_parts(table: LabelTable) -> list[str]:
    """The split column in our words; blank everywhere where there is none."""
    if SPLIT not in table.columns:
        return [""] * len(table.rows)
    parts = []
    for value, line in zip(table.column(SPLIT), table.lines, strict=True):
        if value and value.lower() not in PART_NAMES:
            raise DatasetError(
                f"{table.name}, line {line}, column {SPLIT!r}: expected {', '.join(SPLITS)}, got {value[:20]!r}"
            )
        parts.append(PART_NAMES.get(value.lower(), ""))
    if "" in parts and any(parts):
        raise DatasetError(
            f"{table.name}, line {table.lines[parts.index('')]}: {SPLIT} is blank here and given elsewhere; "
            "give it for every image, or for none"
        )
    return parts


def _complete(parts: Sequence[str], patients: Sequence[str], manner: str, seed: int) -> tuple[tuple[str, ...], str]:
    """The split with what is missing made by us, and its name."""
    if not any(parts):
        whole, name = own_split(patients, seed=seed, manner=manner)
        return tuple(whole), name
    if "val" in parts:
        return tuple(parts), "as given"
    cut, name = own_validation(parts, patients, seed=seed, manner=manner)
    return tuple(cut), f"train and test as given; {name}"


def _checked_paths(root: Path, table: LabelTable) -> tuple[str, ...]:
    """The paths of the table, each relative, inside the folder, and given once."""
    real_root = root.resolve()
    real_folder: dict[PurePosixPath, Path] = {}
    names: list[str] = []
    line_of: dict[str, int] = {}
    for text, line in zip(table.column(PATH), table.lines, strict=True):
        relative = PurePosixPath(text)
        where = f"{table.name}, line {line}, column {PATH!r}"
        if (
            not text.isprintable()
            or len(text) > 1024
            or "\\" in text
            or relative.is_absolute()
            or ".." in relative.parts
            or relative.name == ""
            or re.match(r"[A-Za-z]:", text)
        ):
            raise DatasetError(f"{where}: expected a path relative to {root.name}, without '..', backslash or drive")
        if relative.parent not in real_folder:
            real_folder[relative.parent] = (root / relative.parent).resolve()
        target = real_folder[relative.parent] / relative.name
        if not (target.resolve() if target.is_symlink() else target).is_relative_to(real_root):
            raise DatasetError(f"{where}: the path leads out of {root.name}")
        name = str(relative)
        if name in line_of:
            raise DatasetError(f"{where}: {name} is given twice, first on line {line_of[name]}")
        line_of[name] = line
        names.append(name)
    _refuse_one_file_under_two_cases(root, table.name, names)
    return tuple(names)


def _refuse_one_file_under_two_cases(root: Path, table: str, names: Sequence[str]) -> None:
    spelt: dict[str, str] = {}
    for name in names:
        other = spelt.setdefault(name.casefold(), name)
        first, second = root / other, root / name
        if other != name and first.exists() and second.exists() and first.samefile(second):
            raise DatasetError(f"{table}: {other} and {name} are one file on this file system")


def _from_class_folders(root: Path, seed: int) -> LabelledImages:
    top = _folders(root)
    part_folders = [folder for folder in top if folder.name.lower() in PART_NAMES]
    if part_folders and len(part_folders) < len(top):
        others = some(folder.name for folder in top if folder not in part_folders)
        raise DatasetError(
            f"{root}: the folders {some(f.name for f in part_folders)} name parts of a split, {others} do not"
        )
    listed = [
        (path, folder.name, PART_NAMES[part.name.lower()] if part else "")
        for part in part_folders or [None]
        for folder in _folders(part or root)
        for path in _images(folder)
    ]
    counted = Counter(name for _, name, _ in listed)
    names = sorted(counted)
    if len(names) < 2:
        raise DatasetError(
            f"{root}: expected {TABLE}, or at least two folders of PNG or JPEG images, one a class; found "
            f"{some(names) or 'none'}"
        )
    given = [part for _, _, part in listed]
    if part_folders and not {"train", "test"} <= set(given):
        raise DatasetError(
            f"{root}: a split by folders needs train and test; found {some(f.name for f in part_folders)}"
        )
    ids = tuple(path.relative_to(root).as_posix() for path, _, _ in listed)
    parts, split = _complete(given, ids, "image-wise", seed)
    notes = [_NO_PATIENTS]
    classes = tuple(names)
    if len(names) == 2:
        negative = next((name for name in names if name.lower() in NEGATIVE_CLASSES), names[0])
        classes = tuple(name for name in names if name != negative)
        notes.append(f"two class folders: {classes[0]!r} is positive, {negative!r} negative")
    labels = np.array([[float(name == label) for label in classes] for _, name, _ in listed])
    return LabelledImages(
        dataset="folder",
        split=split,
        paths=tuple(path for path, _, _ in listed),
        ids=ids,
        patients=ids,
        labels=labels,
        classes=classes,
        parts=parts,
        notes=tuple(notes),
    )


def _folders(parent: Path) -> list[Path]:
    """Folders of classes or parts, by name; images lying beside them are an error, for they would be left out."""
    entries = sorted(entry for entry in parent.iterdir() if not entry.name.startswith((".", "__")))
    if loose := [entry.name for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file()]:
        raise DatasetError(f"{parent}: {len(loose)} images belong to no class folder: {some(loose)}")
    return [entry for entry in entries if entry.is_dir()]


def _images(folder: Path) -> Iterator[Path]:
    """Images of one class folder, by name."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if nested := [entry.name for entry in entries if entry.is_dir()]:
        raise DatasetError(
            f"{folder}: images in folders below a class folder are not read ({some(nested)}); list them in {TABLE}"
        )
    if dicom := [entry.name for entry in entries if entry.suffix.lower() in (".dcm", ".dicom")]:
        raise DatasetError(
            f"{folder}: {len(dicom)} DICOM files ({some(dicom)}); export them as PNG first, vpmim reads PNG and JPEG"
        )
    images = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    if not images:
        raise DatasetError(f"{folder}: a class folder without PNG or JPEG images")
    yield from images
