"""RSNA Pneumonia Detection Challenge, stage 2: 26,684 chest X-rays, of which 6,012 show a lung opacity.

::

    DIR/stage_2_train_labels.csv             patientId, x, y, width, height, Target: one row a box
    DIR/stage_2_detailed_class_info.csv      optional: patientId, class
    DIR/stage_2_train_images/<patientId>.dcm
    DIR/stage_2_test_images/<patientId>.dcm  with labels only where a split's lists give them

The images are DICOM: they are read from a cache (``gazekit build-heatmaps DIR/stage_2_train_images CACHE --dataset
images``), which the command line makes by itself.

They are a subset of ChestX-ray14, whose patients this data set does not name: each image counts as a patient.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpmim.datasets.label_table import LabelTable, read_label_table
from vpmim.datasets.labelled import Box, DatasetError, LabelledImages, some
from vpmim.datasets.splits import PublishedSplit, chosen_split, two_way_split

LABELS = "stage_2_train_labels.csv"
DETAILS = "stage_2_detailed_class_info.csv"
IMAGES = "stage_2_train_images"
CLASSES = ("Lung Opacity",)
"""Positive where any row of the patient has Target 1: what the papers call pneumonia."""

PATIENTS = 26_684

PUBLISHED = {
    "mrm": PublishedSplit(
        name="MRM 25,184 / 1,500 / 3,000", counts={"train": 25_184, "val": 1_500, "test": 3_000}, source="MRM"
    )
}

SPLIT_NAMES = ("mgca", *PUBLISHED, "own", "file")


def read_rsna(root: Path, *, split: str = "mgca", split_file: Path | None = None, seed: int = 0) -> LabelledImages:
    """Read RSNA Pneumonia.

    Parameters
    ----------
    root : Path
    split : one of `SPLIT_NAMES`
        ``mgca``: 70/15/15 by MGCA's published recipe, 18,678 / 4,003 / 4,003 images of the whole data set. ``mrm``: the
        published lists, from `split_file`, whose test images are the stage 2 test images: a ``Target`` column in the
        file labels them. ``own``: our 70/10/20. ``file``: whatever `split_file` lists.
    split_file : Path, optional
    seed : of our own split

    Returns
    -------
    LabelledImages
        One label. Attribute ``class`` where the detailed table is there; boxes of the positives, in pixels.

    Raises
    ------
    DatasetError
        Files missing or not as published, rows of one patient that contradict each other, or the two tables.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    table = read_label_table(root / LABELS, required=("patientId", "x", "y", "width", "height", "Target"))
    target, boxes = _targets(table)
    detail = _details(root / DETAILS, target)
    notes = ["patients are not named: each image counts as a patient; the images are a subset of ChestX-ray14"]
    if len(target) != PATIENTS:
        notes.append(f"{LABELS} holds {len(target):,} images, the published one {PATIENTS:,}: not the whole data set")
    ids = sorted(target)
    if split == "mgca":
        parts, name = mgca_parts(len(ids)), "MGCA 70/15/15"
    else:
        if split_file is not None:
            target |= _labels_of_lists(split_file, target)
            ids = sorted(target)
        parts, name = chosen_split(
            split, ids, ids, split_file=split_file, published=PUBLISHED, seed=seed, manner="image-wise"
        )
    return LabelledImages.listed(
        dataset="rsna",
        split=name,
        paths=[_path(root, image) for image in ids],
        ids=ids,
        patients=ids,
        labels=[[target[image]] for image in ids],
        classes=CLASSES,
        parts=parts,
        notes=notes,
        attributes={"class": [detail.get(image, "") for image in ids]} if detail else {},
        boxes=boxes,
    )


def _targets(table: LabelTable) -> tuple[dict[str, float], dict[str, tuple[Box, ...]]]:
    """Each patient's label and boxes; a patient has one row, or one a box."""
    columns = [table.names("patientId"), *(table.column(name) for name in ("x", "y", "width", "height", "Target"))]
    target: dict[str, float] = {}
    boxes: dict[str, tuple[Box, ...]] = {}
    for line, (patient, *corner, value) in zip(table.lines, zip(*columns, strict=True), strict=True):
        if value not in ("0", "1"):
            raise DatasetError(f"{table.name}, line {line}, column 'Target': expected 0 or 1, got {value[:20]!r}")
        if target.setdefault(patient, float(value)) != float(value):
            raise DatasetError(
                f"{table.name}, line {line}: patientId {patient} has Target 0 in one row and 1 in another"
            )
        if value == "0":
            continue
        try:
            x, y, width, height = map(float, corner)
        except ValueError:
            raise DatasetError(f"{table.name}, line {line}: Target 1 needs a box: x, y, width, height") from None
        box = Box(CLASSES[0], x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)
        boxes[patient] = (*boxes.get(patient, ()), box)
    return target, boxes


def _details(path: Path, target: dict[str, float]) -> dict[str, str]:
    """Detailed class of each patient, which must agree with the label; nothing where there is no such table."""
    if not path.exists():
        return {}
    table = read_label_table(path, required=("patientId", "class"))
    detail: dict[str, str] = {}
    for line, patient, value in zip(table.lines, table.names("patientId"), table.column("class"), strict=True):
        if detail.setdefault(patient, value) != value:
            raise DatasetError(f"{table.name}, line {line}: patientId {patient} has two classes")
    if set(detail) != set(target):
        lacking, strange = sorted(set(target) - set(detail)), sorted(set(detail) - set(target))
        raise DatasetError(
            f"{LABELS} and {table.name} are not of one data set: {len(lacking)} patients of the first are not in the "
            f"second, {len(strange)} of the second not in the first; first {some(lacking + strange)}; fetch both again"
        )
    if wrong := sorted(p for p, value in detail.items() if (value == CLASSES[0]) != bool(target[p])):
        raise DatasetError(f"{table.name}: class and Target of {LABELS} contradict each other: {some(wrong)}")
    return detail


def mgca_parts(count: int) -> list[str]:
    """MGCA's recipe: patients in the order of their ids, 30 % set aside with random state 0, halved with it again."""
    train, rest = two_way_split(count, 0.3, seed=0)
    first, second = two_way_split(len(rest), 0.5, seed=0)
    parts = np.full(count, "train", dtype=object)
    parts[rest[first]] = "test"  # the halves come as test, validation
    parts[rest[second]] = "val"
    assert (parts[train] == "train").all()
    return [str(part) for part in parts]


def _labels_of_lists(file: Path, target: dict[str, float]) -> dict[str, float]:
    """Labels, from the split file, of the images that the training table lacks: those of the stage 2 test set."""
    if file.is_dir():
        return {}
    table = read_label_table(file)
    if "Target" not in table.columns:
        return {}
    names = next(column for column in table.columns if column not in ("split", "Target"))
    labels = {}
    for line, name, value in zip(table.lines, table.names(names), table.column("Target"), strict=True):
        patient = Path(name).stem
        if value not in ("0", "1"):
            raise DatasetError(f"{file.name}, line {line}, column 'Target': expected 0 or 1, got {value[:20]!r}")
        if target.get(patient, float(value)) != float(value):
            raise DatasetError(f"{file.name}, line {line}: Target of {patient} contradicts {LABELS}")
        labels[patient] = float(value)
    return labels


def _path(root: Path, image: str) -> Path:
    test = root / "stage_2_test_images" / f"{image}.dcm"
    return test if test.exists() else root / IMAGES / f"{image}.dcm"
