"""An EGD-CXR tree of invented readings, as the data set is written, and the images beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from reflacx_tree import put

GAZE_HEADER = "".join(
    """
SESSION_ID,MEDIA_ID,DICOM_ID,CNT,Time (in secs),TIMETICK(f=10000000),FPOGX,FPOGY,FPOGS,FPOGD,FPOGID,FPOGV,
BPOGX,BPOGY,BPOGV,LPCX,LPCY,LPD,LPS,LPV,RPCX,RPCY,RPD,RPS,RPV,BKID,BKDUR,BKPMIN,LPMM,LPMMV,RPMM,RPMMV,
SACCADE_MAG,SACCADE_DIR,VID_FRAME,X_ORIGINAL,Y_ORIGINAL
""".splitlines()
).split(",")
SHEET_HEADER = "".join(
    """
dicom_id,path,study_id,patient_id,stay_id,gender,anchor_age,
image_top_pad,image_bottom_pad,image_left_pad,image_right_pad,
dx1,dx1_icd,dx2,dx2_icd,dx3,dx3_icd,dx4,dx4_icd,dx5,dx5_icd,dx6,dx6_icd,dx7,dx7_icd,dx8,dx8_icd,dx9,dx9_icd,
normal_reports,Normal,CHF,pneumonia,consolidation,enlarged_cardiac_silhouette,linear__patchy_atelectasis,
lobar__segmental_collapse,not_otherwise_specified_opacity___pleural__parenchymal_opacity__,
pleural_effusion_or_thickening,pulmonary_edema__hazy_opacity,normal_anatomically,elevated_hemidiaphragm,
hyperaeration,vascular_redistribution,atelectasis__chx,cardiomegaly__chx,consolidation__chx,edema__chx,
enlarged_cardiomediastinum__chx,fracture__chx,lung_lesion__chx,lung_opacity__chx,no_finding__chx,
pleural_effusion__chx,pleural_other__chx,pneumonia__chx,pneumothorax__chx,support_devices__chx,
cxr_exam_indication
""".splitlines()
).split(",")
BOX_HEADER = ["dicom_id", "bbox_name", "x1", "x2", "y1", "y2"]

A = "990c0c0c-11111111-22222222-33333333-66666666"
B = "990d0d0d-11111111-22222222-33333333-77777777"
SCREEN_ID = A[:-5]
SHAPE = (300, 251)  # H, W: an odd width, taken for 252
PADS = (0, 0, 531, 532)
"""Scale: 252 / 857 image px a screen px across, 300 / 1080 down."""


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as EGD-CXR writes it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def gaze(image_id: str = A, session: int = 1, media: int = 0, **cells: Any) -> list[str]:
    """A row of a gaze table: of the middle of the screen, unless the cells say otherwise."""
    row = dict.fromkeys(GAZE_HEADER, "0") | {"LPCX": "0.41", "LPMM": "3.1", "LPMMV": "1", "BKDUR": "0.0"}
    row |= {"SESSION_ID": str(session), "MEDIA_ID": str(media), "DICOM_ID": image_id, "Time (in secs)": "0.51666"}
    row |= {"FPOGX": "0.5", "FPOGY": "0.5", "FPOGS": "0.1", "FPOGD": "0.41666", "FPOGV": "1"}
    row |= {"BPOGX": "0.5", "BPOGY": "0.5", "BPOGV": "1", "X_ORIGINAL": "126", "Y_ORIGINAL": "150"}
    names = {"time": "Time (in secs)", "x": "X_ORIGINAL", "y": "Y_ORIGINAL"}
    row |= {names.get(name, name): str(value) for name, value in cells.items()}
    return [row[column] for column in GAZE_HEADER]


def case(image_id: str = A, subject: str = "99000003", **cells: Any) -> list[str]:
    """A row of the master sheet."""
    row = dict.fromkeys(SHEET_HEADER, "") | {
        "dicom_id": image_id,
        "path": f"files/p99/p{subject}/s{subject}/{image_id}.dcm",
        "study_id": subject,
        "patient_id": subject,
        "gender": "M",
        "anchor_age": "40 - 50",
        "dx1": "Invented diagnosis, unspecified",
        "normal_reports": "1",
        "Normal": "1",
        "CHF": "0",
        "pneumonia": "0",
        "consolidation": "0",
        "no_finding__chx": "1",
        "edema__chx": "-1",
        "cxr_exam_indication": "invented indication\nsecond line",
    }
    row |= dict(
        zip(("image_top_pad", "image_bottom_pad", "image_left_pad", "image_right_pad"), map(str, PADS), strict=True)
    )
    return [str({**row, **cells}[column]) for column in SHEET_HEADER]


SHEET = [case(), case(B, "99000004", Normal="0", CHF="1")]
# of A: in the middle; off the image; at another place; then a calibration screen, and B
FIXATIONS = [
    gaze(),
    gaze(FPOGX="0.05", FPOGS="0.6", FPOGD="0.36666", x=0, y=0),
    gaze(FPOGX="0.4", FPOGY="0.3", FPOGS="1.0", FPOGD="0.25", x=69, y=90),
    gaze(SCREEN_ID, media=1, FPOGX="0.503", FPOGY="0.507", FPOGS="0.2", FPOGD="0.46666", x=965, y=547),
    gaze(B, media=2),
]
# of A: three samples, the second in a blink; then of B; then of A again
SAMPLES = [
    gaze(time="0.1", BPOGX="0.5", BPOGY="0.5"),
    gaze(time="0.11666", BPOGX="0.9", BPOGY="0.9", BPOGV="0"),
    gaze(time="0.13333", BPOGX="0.25", BPOGY="0.25"),
    gaze(SCREEN_ID, media=1, time="0.1"),
    gaze(B, media=2, time="0.2", BPOGX="0.51"),
    gaze(time="0.15", BPOGX="0.52"),
]
BOXES = [[A, "cardiac silhouette", "90", "190", "130", "230"], [A, "left lung", "130", "240", "40", "250"]]
TRANSCRIPT = {
    "full_text": "heart size is normal.",
    "time_stamped_text": [
        {"phrase": "heart", "begin_time": 0.4, "end_time": 0.7},
        {"phrase": "size is normal.", "begin_time": 0.7, "end_time": 1.6},
    ],
}


def write_egd(root: Path) -> Path:
    """Two readings."""
    put(root / "master_sheet.csv", csv_text(SHEET_HEADER, SHEET))
    put(root / "fixations.csv", csv_text(GAZE_HEADER, FIXATIONS))
    put(root / "eye_gaze.csv", csv_text(GAZE_HEADER, SAMPLES))
    put(root / "bounding_boxes.csv", csv_text(BOX_HEADER, BOXES))
    put(root / "audio_segmentation_transcripts" / A / "transcript.json", json.dumps(TRANSCRIPT))
    return root


def write_images(root: Path, shape: tuple[int, int] = SHAPE) -> Path:
    """The images of both readings, flat, as PNG."""
    root.mkdir(parents=True, exist_ok=True)
    pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 256
    for image_id in (A, B):
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{image_id}.png")
    return root
