"""MIMIC-CXR-JPG: 377,110 chest X-rays of 227,835 studies, labels read from the reports by CheXpert's labeller.

::

    DIR/mimic-cxr-2.0.0-split.csv.gz     dicom_id, study_id, subject_id, split (train, validate, test)
    DIR/mimic-cxr-2.0.0-metadata.csv.gz  dicom_id, ..., ViewPosition, ...
    DIR/mimic-cxr-2.0.0-chexpert.csv.gz  subject_id, study_id and 14 labels
    DIR/files/p10/p10000032/s50414267/<dicom_id>.jpg

The tables may be unpacked (``.csv``), and of version 2.1.0.
"""

from __future__ import annotations

from pathlib import Path

from vpmim.datasets.label_table import LabelTable, read_label_table
from vpmim.datasets.labelled import DatasetError, LabelledImages
from vpmim.datasets.splits import PART_NAMES, chosen_split
from vpmim.datasets.uncertain import labels_with_uncertain

CLASSES = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
FRONTAL = ("AP", "PA")
SPLIT_NAMES = ("official", "own", "file")


def read_mimic_cxr(
    root: Path, *, split: str = "official", split_file: Path | None = None, seed: int = 0, uncertain: str = "unknown"
) -> LabelledImages:
    """Read the frontal images of MIMIC-CXR-JPG.

    Parameters
    ----------
    root : Path
    split : one of `SPLIT_NAMES`
        ``official``: train, validate, test as published.
    split_file : Path, optional
    seed : of our own split
    uncertain : one of `vpmim.datasets.uncertain.POLICIES`, for the labels -1

    Returns
    -------
    LabelledImages
        14 labels, of the study. Attribute view. Images of studies without labels are left out, and counted in a note.

    Raises
    ------
    DatasetError
        Files missing or not as published, tables that do not fit together.
    """
    if not root.is_dir():
        raise DatasetError(f"no folder {root}")
    splits = _table(root, "split", ("dicom_id", "study_id", "subject_id", "split"))
    metadata = _table(root, "metadata", ("dicom_id", "ViewPosition"))
    reports = _table(root, "chexpert", ("study_id", *CLASSES))
    view = dict(zip(metadata.unique_names("dicom_id"), metadata.column("ViewPosition"), strict=True))
    report = {study: row for row, study in enumerate(reports.unique_names("study_id"))}
    ids = splits.unique_names("dicom_id")
    studies, subjects = splits.names("study_id"), splits.names("subject_id")
    if missing := [image for image in ids if image not in view]:
        raise DatasetError(f"{metadata.name}: {len(missing)} images of {splits.name} are not in it")
    frontal = [row for row, image in enumerate(ids) if view[image] in FRONTAL]
    labelled = [row for row in frontal if studies[row] in report]
    given = splits.column("split")
    for row in labelled:
        if given[row] not in PART_NAMES:
            raise DatasetError(f"{splits.name}, line {splits.lines[row]}: expected train, validate or test")
    if split == "official":
        parts, name = [PART_NAMES[given[row]] for row in labelled], "official, frontal"
    else:
        parts, name = chosen_split(
            split,
            [ids[row] for row in labelled],
            [subjects[row] for row in labelled],
            split_file=split_file,
            published={},
            seed=seed,
        )
        name = f"frontal, {name}"
    notes = [f"labels -1 (uncertain) by the policy {uncertain!r}, blanks 0"]
    if len(labelled) < len(frontal):
        notes.append(f"{len(frontal) - len(labelled)} frontal images of studies without labels are left out")
    return LabelledImages.listed(
        dataset="mimic",
        split=name,
        paths=[root / _path(subjects[row], studies[row], ids[row]) for row in labelled],
        ids=[ids[row] for row in labelled],
        patients=[subjects[row] for row in labelled],
        labels=labels_with_uncertain(reports, CLASSES, [report[studies[row]] for row in labelled], policy=uncertain),
        classes=CLASSES,
        parts=parts,
        notes=notes,
        attributes={"view": [view[ids[row]] for row in labelled]},
    )


def _table(root: Path, kind: str, required: tuple[str, ...]) -> LabelTable:
    found = sorted(root.glob(f"mimic-cxr-2.[0-9].[0-9]-{kind}.csv*"))
    path = next((p for p in found if p.name.endswith((".csv", ".csv.gz"))), root / f"mimic-cxr-2.0.0-{kind}.csv.gz")
    return read_label_table(path, required=required)


def _path(subject: str, study: str, image: str) -> str:
    return f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg"
