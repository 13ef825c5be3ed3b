"""CheXpert: 223,414 chest X-rays with labels read from the reports by a program, and 234 labelled by radiologists.

::

    DIR/train.csv  DIR/valid.csv         Path, Sex, Age, Frontal/Lateral, AP/PA and 14 labels
    DIR/train/patient00001/study1/view1_frontal.jpg ...

DIR is ``CheXpert-v1.0-small`` or ``CheXpert-v1.0``, the first part of each path in the tables.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vpmim.datasets.label_table import LabelTable, read_label_table
from vpmim.datasets.labelled import DatasetError, LabelledImages
from vpmim.datasets.splits import chosen_split, own_validation
from vpmim.datasets.uncertain import labels_with_uncertain

CLASSES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The five classes of the competition."""

SPLIT_NAMES = ("official", "own", "file")
VALIDATION_IMAGES = 5_000
"""Training images that papers set aside to choose by, at full size."""

_PATH = re.compile(r"[A-Za-z0-9._-]+/((?:train|valid)/(patient\d+)/study\d+/view\d+_(?:frontal|lateral)\.jpg)")


def read_chexpert(
    root: Path, *, split: str = "official", split_file: Path | None = None, seed: int = 0, uncertain: str = "mgca"
) -> LabelledImages:
    """Read the frontal images of CheXpert.

    Parameters
    ----------
    root : Path
    split : one of `SPLIT_NAMES`
        ``official``: ``valid.csv`` is the test part, and validation images are cut from ``train.csv`` by patient.
    split_file : Path, optional
    seed : of the parts that are ours
    uncertain : one of `vpmim.datasets.uncertain.POLICIES`, for the labels -1

    Returns
    -------
    LabelledImages
        Five labels. Attributes sex, age and view.

    Raises
    ------
    DatasetError
        Files missing or not as published, a path of another form, a label that is not 1, 0, -1 or blank.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    required = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CLASSES)
    tables = {"train": read_label_table(root / "train.csv", required=required)}
    tables["test"] = read_label_table(root / "valid.csv", required=required)
    ids, patients, given, labels = [], [], [], []
    attributes: dict[str, list[str]] = {"sex": [], "age": [], "view": []}
    for part, table in tables.items():
        rows = [row for row, view in enumerate(table.column("Frontal/Lateral")) if view == "Frontal"]
        paths = _paths(table)
        ids += [paths[row][0] for row in rows]
        patients += [paths[row][1] for row in rows]
        given += [part] * len(rows)
        labels.append(labels_with_uncertain(table, CLASSES, rows, policy=uncertain))
        for name, column in (("sex", "Sex"), ("age", "Age"), ("view", "AP/PA")):
            cells = table.column(column)
            attributes[name] += [cells[row] for row in rows]
    if split == "official":
        share = min(0.125, VALIDATION_IMAGES / max(1, given.count("train")))
        parts, name = own_validation(given, patients, seed=seed, share=share)
        name = f"frontal, valid.csv as test; {name}"
    else:
        parts, name = chosen_split(split, ids, patients, split_file=split_file, published={}, seed=seed)
        name = f"frontal, {name}"
    return LabelledImages.listed(
        dataset="chexpert",
        split=name,
        paths=[root / image for image in ids],
        ids=ids,
        patients=patients,
        labels=np.concatenate(labels),
        classes=CLASSES,
        parts=parts,
        notes=(f"labels -1 (uncertain) by the policy {uncertain!r}, blanks 0",),
        attributes=attributes,
    )


def _paths(table: LabelTable) -> list[tuple[str, str]]:
    """Path below the data set's folder, and patient, of each row."""
    found = []
    for text, line in zip(table.column("Path"), table.lines, strict=True):
        if (match := _PATH.fullmatch(text)) is None:
            raise DatasetError(
                f"{table.name}, line {line}, column 'Path': expected CheXpert-v1.0-small/train/patient00001/study1/"
                "view1_frontal.jpg or the like"
            )
        found.append((match[1], match[2]))
    return found
