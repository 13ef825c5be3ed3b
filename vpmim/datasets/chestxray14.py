"""ChestX-ray14 (NIH): 112,120 frontal X-rays of 30,805 patients, 14 findings.

::

    DIR/Data_Entry_2017_v2020.csv        or Data_Entry_2017.csv, its first release
    DIR/train_val_list.txt  test_list.txt
    DIR/BBox_List_2017.csv               optional: 984 boxes
    DIR/images/*.png                     or images_001/images/*.png ... images_012/images/*.png, or images_*/*.png

Two families of splits must never be mixed: the official test list of 25,596 images, and the random patient-wise one of
MRM (22,433 test images), of which 5,213 are in the official one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vpmim.datasets.label_table import LabelTable, read_label_table
from vpmim.datasets.labelled import Box, DatasetError, LabelledImages, some
from vpmim.datasets.splits import PublishedSplit, chosen_split, own_validation, read_names, unlisted

CLASSES = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""In the order of the published label lists."""

NO_FINDING = "No Finding"
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
BOXES = "BBox_List_2017.csv"

OFFICIAL_COUNTS = {"train": 86_524, "test": 25_596}
"""Images of the official lists."""

PUBLISHED = {
    "official-lists": PublishedSplit(
        name="official, published validation list",
        counts={"train": 75_312, "val": 11_212, "test": 25_596},
        source="medical_mae",
    ),
    "mrm": PublishedSplit(
        name="MRM patient-wise 70/10/20", counts={"train": 78_468, "val": 11_219, "test": 22_433}, source="MRM"
    ),
}
"""Splits that exist as lists only, which --split-file gives."""

SPLIT_NAMES = ("official", *PUBLISHED, "own", "file")

_SPELT_IN_BOXES = {"Infiltrate": "Infiltration"}


def read_chestxray14(
    root: Path, *, split: str = "official", split_file: Path | None = None, seed: int = 0
) -> LabelledImages:
    """Read ChestX-ray14.

    Parameters
    ----------
    root : Path
    split : one of `SPLIT_NAMES`
        ``official``: the test list of the publisher, our own patient-wise validation part cut from its train_val list.
        ``official-lists`` and ``mrm``: the published lists, from `split_file`, with the published counts. ``own``: our
        patient-wise 70/10/20. ``file``: whatever `split_file` lists.
    split_file : Path, optional
        See `vpmim.datasets.splits.read_split_file`.
    seed : of the parts that are ours

    Returns
    -------
    LabelledImages
        14 labels; "No Finding" is 0 in all. Attributes sex, age (years) and view.

    Raises
    ------
    DatasetError
        Files missing or not as published, a label that is none of the 14, an image in two rows, a list that names
        images the table lacks, a patient in two parts.
    """
    table = _table(root)
    ids = table.unique_names("Image Index")
    patients = table.names("Patient ID")
    parts, name, notes = _parts(root, ids, patients, split, split_file, seed)
    where = _image_files(root)
    return LabelledImages.listed(
        dataset="chestxray14",
        split=name,
        paths=[where.get(image, root / "images" / image) for image in ids],
        ids=ids,
        patients=patients,
        labels=_labels(table),
        classes=CLASSES,
        parts=parts,
        notes=notes,
        attributes={
            "sex": table.column("Patient Gender"),
            "age": [_age(cell) for cell in table.column("Patient Age")],
            "view": table.column("View Position"),
        },
        boxes=_boxes(root / BOXES, frozenset(ids)),
    )


def _table(root: Path) -> LabelTable:
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    path = next((root / name for name in TABLES if (root / name).exists()), root / TABLES[0])
    # the bracketed names hold commas, so that a reader of CSV sees two columns in each; all have a name of their own
    required = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
    return read_label_table(path, required=required)


def _labels(table: LabelTable) -> np.ndarray:
    place = {name: column for column, name in enumerate(CLASSES)}
    labels = np.zeros((len(table.rows), len(CLASSES)))
    for row, cell in enumerate(table.column("Finding Labels")):
        findings = cell.split("|")
        if findings == [NO_FINDING]:
            continue
        for finding in findings:
            if finding not in place:
                raise DatasetError(
                    f"{table.name}, line {table.lines[row]}, column 'Finding Labels': {finding[:30]!r} is none of the "
                    f"14 findings, nor {NO_FINDING!r} alone"
                )
            labels[row, place[finding]] = 1
    return labels


def _parts(
    root: Path, ids: Sequence[str], patients: Sequence[str], split: str, split_file: Path | None, seed: int
) -> tuple[list[str], str, list[str]]:
    """Part of each image, the split's name, and what must be noted."""
    if split != "official":
        parts, name = chosen_split(split, ids, patients, split_file=split_file, published=PUBLISHED, seed=seed)
        return parts, name, []
    lists = {part: read_names(root / file) for part, file in LISTS.items()}
    for part, names in lists.items():
        if strangers := unlisted(names, ids):
            raise DatasetError(
                f"{LISTS[part]}: {len(strangers)} of {len(names)} images are not in the table: {some(strangers)}"
            )
    if both := sorted(set(lists["train"]) & set(lists["test"])):
        raise DatasetError(f"{LISTS['train']} and {LISTS['test']} both list {some(both)}")
    notes = [
        f"{LISTS[part]} holds {len(names):,} images, the published one {OFFICIAL_COUNTS[part]:,}: "
        "this is not the whole data set"
        for part, names in lists.items()
        if len(names) != OFFICIAL_COUNTS[part]
    ]
    part_of = {name: part for part, names in lists.items() for name in names}
    parts, name = own_validation([part_of.get(image, "") for image in ids], patients, seed=seed)
    return parts, f"official test list; {name}", notes


def _age(cell: str) -> str:
    """Years; the first release writes ``058Y``, and ``M`` or ``D`` for months and days; absurd ages are unknown."""
    digits, unit = (cell[:-1], cell[-1]) if cell[-1:] in "YMD" and cell else (cell, "Y")
    if not digits.isdigit():
        return ""
    years = int(digits) // {"Y": 1, "M": 12, "D": 365}[unit]
    return str(years) if years <= 120 else ""


def _image_files(root: Path) -> dict[str, Path]:
    """File name -> path, in whichever of the published layouts."""
    folders = [root / "images", *sorted(root.glob("images_*/images")), *sorted(root.glob("images_*")), root]
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for file in folder.glob("*.png"):
                found.setdefault(file.name, file)
    return found


def _boxes(path: Path, ids: frozenset[str]) -> Mapping[str, tuple[Box, ...]]:
    """Boxes of the images that are used. The bracketed header and its three empty columns hold x, y, width, height."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    boxes: dict[str, list[Box]] = {}
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        if not any(cells):
            continue
        try:
            image, finding = cells[0], cells[1]
            x, y, width, height = (float(cell) for cell in cells[2:6])
        except (IndexError, ValueError):
            raise DatasetError(f"{path.name}, line {number}: expected image, finding, x, y, width, height") from None
        if image in ids:
            # pixel i covers [i - 0.5, i + 0.5); the lists count from the left edge of pixel 0
            edges = (x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)
            boxes.setdefault(image, []).append(Box(_SPELT_IN_BOXES.get(finding, finding), *edges))
    return {image: tuple(found) for image, found in boxes.items()}
