"""VinDr-CXR: 15,000 training images read by three of 17 radiologists, 3,000 test images by a panel of five.

::

    DIR/annotations/image_labels_train.csv       image_id, rad_id, one 0/1 column a finding: three rows an image
    DIR/annotations/image_labels_test.csv        image_id, one 0/1 column a finding
    DIR/annotations/annotations_{train,test}.csv optional: boxes
    DIR/train/<image_id>.dicom  DIR/test/<image_id>.dicom

The images are DICOM: see `vpmim.datasets.rsna`. Patients are not named.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpmim.datasets.label_table import LabelTable, read_label_table
from vpmim.datasets.labelled import Box, DatasetError, LabelledImages
from vpmim.datasets.splits import chosen_split, own_validation

SPLIT_NAMES = ("official", "own", "file")
_NOT_LABELS = ("image_id", "rad_id", "No finding", "No Finding")


def read_vindr(root: Path, *, split: str = "official", split_file: Path | None = None, seed: int = 0) -> LabelledImages:
    """Read VinDr-CXR.

    Parameters
    ----------
    root : Path
    split : one of `SPLIT_NAMES`
        ``official``: the publisher's test images; our own validation part cut from its training images.
    split_file : Path, optional
    seed : of the parts that are ours

    Returns
    -------
    LabelledImages
        One label a finding; a training image has it where most of its radiologists say so.

    Raises
    ------
    DatasetError
        Files missing or not as published, a label that is not 0 or 1, tables of different findings.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    classes: tuple[str, ...] = ()
    ids: list[str] = []
    given: list[str] = []
    labels: list[np.ndarray] = []
    boxes: dict[str, tuple[Box, ...]] = {}
    for part in ("train", "test"):
        table = read_label_table(root / "annotations" / f"image_labels_{part}.csv", required=("image_id",))
        found = tuple(name for name in table.columns if name not in _NOT_LABELS)
        if classes and set(found) != set(classes):
            raise DatasetError(f"{table.name}: other findings than in the training table: {', '.join(found)}")
        classes = classes or found
        images, values = _majority(table, classes)
        ids += images
        given += [part] * len(images)
        labels.append(values)
        boxes |= _boxes(root / "annotations" / f"annotations_{part}.csv", frozenset(images))
    if split == "official":
        parts, name = own_validation(given, ids, seed=seed, manner="image-wise")
        name = f"official test images; {name}"
    else:
        parts, name = chosen_split(split, ids, ids, split_file=split_file, published={}, seed=seed, manner="image-wise")
    return LabelledImages.listed(
        dataset="vindr",
        split=name,
        paths=[root / part / f"{image}.dicom" for part, image in zip(given, ids, strict=True)],
        ids=ids,
        patients=ids,
        labels=np.concatenate(labels),
        classes=classes,
        parts=parts,
        notes=(
            "patients are not named: each image counts as a patient",
            "training labels by the majority of three radiologists, test labels by the panel",
        ),
        boxes=boxes,
    )


def _majority(table: LabelTable, classes: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Images in the table's order, and what most rows of each say; a tie is negative."""
    row_of: dict[str, list[int]] = {}
    for row, image in enumerate(table.names("image_id")):
        row_of.setdefault(image, []).append(row)
    values = np.empty((len(table.rows), len(classes)))
    for column, name in enumerate(classes):
        for row, cell in enumerate(table.column(name)):
            if cell not in ("0", "1", "0.0", "1.0"):
                raise DatasetError(
                    f"{table.name}, line {table.lines[row]}, column {name!r}: expected 0 or 1, got {cell[:20]!r}"
                )
            values[row, column] = float(cell)
    return list(row_of), np.array([values[rows].mean(axis=0) > 0.5 for rows in row_of.values()], np.float64)


def _boxes(path: Path, ids: frozenset[str]) -> dict[str, tuple[Box, ...]]:
    """Boxes as published, every radiologist's; rows without a box (No finding) have none."""
    if not path.exists():
        return {}
    table = read_label_table(path, required=("image_id", "class_name", "x_min", "y_min", "x_max", "y_max"))
    corners = [table.column(name) for name in ("x_min", "y_min", "x_max", "y_max")]
    boxes: dict[str, tuple[Box, ...]] = {}
    for line, image, name, *cells in zip(
        table.lines, table.names("image_id"), table.column("class_name"), *corners, strict=True
    ):
        if image not in ids or not any(cells):
            continue
        try:
            x0, y0, x1, y1 = map(float, cells)
        except ValueError:
            raise DatasetError(f"{table.name}, line {line}: expected x_min, y_min, x_max, y_max in pixels") from None
        boxes[image] = (*boxes.get(image, ()), Box(name, x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5))
    return boxes
