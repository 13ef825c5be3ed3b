"""Names and numbers that EGD-CXR 1.0.0 publishes: files, columns, labels (gaze-formats 2.1 to 2.5)."""

from __future__ import annotations

SHEET_FILE = "master_sheet.csv"
FIXATIONS_FILE = "fixations.csv"
SAMPLES_FILE = "eye_gaze.csv"
BOXES_FILE = "bounding_boxes.csv"
TRANSCRIPTS_FOLDER = "audio_segmentation_transcripts"
TRANSCRIPT_FILE = "transcript.json"

IMAGE_ID_LENGTH = 44
"""An id of any other length in a gaze table is that of a calibration screen."""

PADS = ("image_top_pad", "image_bottom_pad", "image_left_pad", "image_right_pad")

SHEET_COLUMNS = ("dicom_id", "path", "patient_id", *PADS)
"""Columns of ``master_sheet.csv`` that are needed."""

CLASSES = ("Normal", "CHF", "pneumonia")
"""What the images were chosen by: 1 for one of them."""

LABELS = (
    *CLASSES,
    "normal_reports",
    "consolidation",
    "enlarged_cardiac_silhouette",
    "linear__patchy_atelectasis",
    "lobar__segmental_collapse",
    "not_otherwise_specified_opacity___pleural__parenchymal_opacity__",
    "pleural_effusion_or_thickening",
    "pulmonary_edema__hazy_opacity",
    "normal_anatomically",
    "elevated_hemidiaphragm",
    "hyperaeration",
    "vascular_redistribution",
    "atelectasis__chx",
    "cardiomegaly__chx",
    "consolidation__chx",
    "edema__chx",
    "enlarged_cardiomediastinum__chx",
    "fracture__chx",
    "lung_lesion__chx",
    "lung_opacity__chx",
    "no_finding__chx",
    "pleural_effusion__chx",
    "pleural_other__chx",
    "pneumonia__chx",
    "pneumothorax__chx",
    "support_devices__chx",
)
"""Label columns: 1 present, 0 absent, -1 uncertain, blank unknown; ``__chx`` is what CheXpert's labeller says."""

UNUSED_SHEET_COLUMNS = (
    "study_id",
    "stay_id",
    "gender",
    "anchor_age",
    *(f"dx{k}{kind}" for k in range(1, 10) for kind in ("", "_icd")),
    "cxr_exam_indication",
)
"""Known, and left unread: what is said of the patient is not needed, and would travel with every cache."""

FIXATION_COLUMNS = (
    "SESSION_ID",
    "MEDIA_ID",
    "FPOGX",
    "FPOGY",
    "FPOGS",
    "FPOGD",
    "FPOGV",
    "X_ORIGINAL",
    "Y_ORIGINAL",
)
"""Number columns of ``fixations.csv`` that are needed."""

SAMPLE_TIME = "Time (in secs)"
SAMPLE_COLUMNS = ("SESSION_ID", "MEDIA_ID", SAMPLE_TIME, "BPOGX", "BPOGY", "BPOGV")
"""Number columns of ``eye_gaze.csv`` that are needed."""

GAZE_ID = "DICOM_ID"

UNUSED_GAZE_COLUMNS = (
    *("CNT", SAMPLE_TIME, "TIMETICK(f=10000000)", "FPOGID", "BPOGX", "BPOGY", "BPOGV"),
    *(f"{eye}{what}" for eye in ("L", "R") for what in ("PCX", "PCY", "PD", "PS", "PV", "PMM", "PMMV")),
    *("BKID", "BKDUR", "BKPMIN", "SACCADE_MAG", "SACCADE_DIR", "VID_FRAME"),
)
"""Known columns of ``fixations.csv`` that are left unread."""

BOX_COLUMNS = ("x1", "x2", "y1", "y2")
"""In the order of the file: both x, then both y."""
