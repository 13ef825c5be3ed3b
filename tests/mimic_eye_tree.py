"""A MIMIC-Eye tree of invented readings: two patients with REFLACX's readings, one of them and a third with EGD's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from egd_tree import BOX_HEADER, BOXES, FIXATIONS, GAZE_HEADER, SAMPLES, SHAPE, SHEET_HEADER, TRANSCRIPT, case
from egd_tree import A as EGD_IMAGE
from egd_tree import csv_text as egd_text
from PIL import Image
from reflacx_tree import (
    DICOM_A,
    LABELS_1,
    LABELS_3,
    METADATA_1,
    METADATA_3,
    METADATA_HEADER,
    csv_text,
    put,
    write_annotations,
    write_reading,
)

UNIFIED = ["Atelectasis", "Enlarged cardiac silhouette", "Other", "Support devices"]
"""Some of the unified labels: what they are called is not fixed by the reader."""

HEADER = [*METADATA_HEADER, *UNIFIED]
_LABELS = (
    ["3", "5", "", "True"],
    ["0", "4", "scoliosis|azygos lobe", "False"],
    ["0", "0", "", "False"],
    ["", "0", "", "True"],
)
ROWS = [[*row[:8], *labels] for row, labels in zip([*METADATA_1, *METADATA_3], _LABELS, strict=True)]
DICOM_B = METADATA_3[0][4]
SHARED = DICOM_B
"""An image that both parts have a reading of."""

SHEET = [case(), case(SHARED, "99000002")]
PATIENT_OF = {EGD_IMAGE: "99000003", SHARED: "99000002"}


def shared(rows):
    """Rows of an EGD table about image A, about the shared image."""
    return [[SHARED if cell == EGD_IMAGE else cell for cell in row] for row in rows if EGD_IMAGE in row]


def of_a(rows):
    return [row for row in rows if EGD_IMAGE in row]


def write_mimic_eye(root: Path, *, spreadsheets: bool = True, patients: bool = True) -> Path:
    """Four readings of REFLACX (one discarded) and two of EGD-CXR; tables of all, of each patient, or both."""
    for subject in ("99000001", "99000002"):
        part = root / f"patient_{subject}" / "REFLACX"
        if patients:
            put(part / "metadata.csv", csv_text(HEADER, [row for row in ROWS if row[5] == subject]))
    first, second = root / "patient_99000001" / "REFLACX", root / "patient_99000002" / "REFLACX"
    write_reading(first, "P102R000111", LABELS_1, marked=("Atelectasis",))
    write_annotations(first, "P102R000222", LABELS_1)
    write_reading(first, "P102R000444", LABELS_1)
    write_reading(second, "P300R000333", LABELS_3, marked=("Consolidation",))
    for image_id, subject in PATIENT_OF.items():
        part = root / f"patient_{subject}" / "EyeGaze"
        pick = of_a if image_id == EGD_IMAGE else shared
        if patients:
            put(part / "master_sheet.csv", egd_text(SHEET_HEADER, [row for row in SHEET if row[0] == image_id]))
            put(part / "fixations.csv", egd_text(GAZE_HEADER, pick(FIXATIONS)))
            put(part / "eye_gaze.csv", egd_text(GAZE_HEADER, pick(SAMPLES)))
            put(part / "bounding_boxes.csv", egd_text(BOX_HEADER, pick(BOXES)))
        put(part / f"audio_segmentation_transcripts/{image_id}/transcript.json", json.dumps(TRANSCRIPT))
    if spreadsheets:
        part = root / "spreadsheets"
        put(part / "REFLACX" / "metadata.csv", csv_text(HEADER, ROWS))
        put(part / "EyeGaze" / "master_sheet_with_updated_stayId.csv", egd_text(SHEET_HEADER, SHEET))
        for file, header, rows in (
            ("fixations.csv", GAZE_HEADER, FIXATIONS),
            ("eye_gaze.csv", GAZE_HEADER, SAMPLES),
            ("bounding_boxes.csv", BOX_HEADER, BOXES),
        ):
            put(part / "EyeGaze" / file, egd_text(header, [*of_a(rows), *shared(rows)]))
    for image_id, subject, shape in (
        (DICOM_A, "99000001", (120, 160)),
        (SHARED, "99000002", (250, 201)),
        (EGD_IMAGE, "99000003", SHAPE),
    ):
        path = root / f"patient_{subject}" / "CXR-JPG" / f"s{subject}" / f"{image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 256
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root
