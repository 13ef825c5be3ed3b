"""EGD-CXR 1.0.0's files, written from simulated readings: headers, order, units and the published mapping.

Source: gaze-formats 2.1 to 2.6. Gaze tables have 37 columns and a row a 60th of a second; a lost eye keeps the last
coordinates under a flag of 0; ``fixations.csv`` holds the last row of each fixation. Nothing here is shared with the
code that reads these files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.simulate.anatomy import Anatomy, Box
from gazekit.simulate.dicom_out import Identity
from gazekit.simulate.dictation import Dictation, Report
from gazekit.simulate.reader import SimulatedReading
from gazekit.simulate.reflacx import image_path

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

RATE_HZ = 60
SCREEN_WIDTH, SCREEN_HEIGHT = 1920, 1080
CANVAS_HEIGHT = 1024

GAZE_HEADER: tuple[str, ...] = (
    *("SESSION_ID", "MEDIA_ID", "DICOM_ID", "CNT", "Time (in secs)", "TIMETICK(f=10000000)"),
    *("FPOGX", "FPOGY", "FPOGS", "FPOGD", "FPOGID", "FPOGV", "BPOGX", "BPOGY", "BPOGV"),
    *("LPCX", "LPCY", "LPD", "LPS", "LPV", "RPCX", "RPCY", "RPD", "RPS", "RPV", "BKID", "BKDUR", "BKPMIN"),
    *("LPMM", "LPMMV", "RPMM", "RPMMV", "SACCADE_MAG", "SACCADE_DIR", "VID_FRAME", "X_ORIGINAL", "Y_ORIGINAL"),
)
_FINDINGS: tuple[str, ...] = (
    *("normal_reports", "Normal", "CHF", "pneumonia", "consolidation", "enlarged_cardiac_silhouette"),
    *("linear__patchy_atelectasis", "lobar__segmental_collapse"),
    *("not_otherwise_specified_opacity___pleural__parenchymal_opacity__", "pleural_effusion_or_thickening"),
    *("pulmonary_edema__hazy_opacity", "normal_anatomically", "elevated_hemidiaphragm", "hyperaeration"),
    "vascular_redistribution",
)
_CHEXPERT: tuple[str, ...] = (
    *("atelectasis__chx", "cardiomegaly__chx", "consolidation__chx", "edema__chx", "enlarged_cardiomediastinum__chx"),
    *("fracture__chx", "lung_lesion__chx", "lung_opacity__chx", "no_finding__chx", "pleural_effusion__chx"),
    *("pleural_other__chx", "pneumonia__chx", "pneumothorax__chx", "support_devices__chx"),
)
SHEET_HEADER: tuple[str, ...] = (
    *("dicom_id", "path", "study_id", "patient_id", "stay_id", "gender", "anchor_age"),
    *(f"image_{side}_pad" for side in ("top", "bottom", "left", "right")),
    *(f"dx{k}{kind}" for k in range(1, 10) for kind in ("", "_icd")),
    *_FINDINGS,
    *_CHEXPERT,
    "cxr_exam_indication",
)
BOXES_HEADER: tuple[str, ...] = ("dicom_id", "bbox_name", "x1", "x2", "y1", "y2")

_COLUMN_OF = {  # finding -> the sheet's own column, and CheXpert's
    "Atelectasis": ("linear__patchy_atelectasis", "atelectasis__chx"),
    "Consolidation": ("consolidation", "consolidation__chx"),
    "Enlarged cardiac silhouette": ("enlarged_cardiac_silhouette", "cardiomegaly__chx"),
    "Pleural effusion": ("pleural_effusion_or_thickening", "pleural_effusion__chx"),
    "Pulmonary edema": ("pulmonary_edema__hazy_opacity", "edema__chx"),
}
_ANY_OPACITY = ("not_otherwise_specified_opacity___pleural__parenchymal_opacity__", "lung_opacity__chx")
_HEART_FAILURE = frozenset({"Enlarged cardiac silhouette", "Pleural effusion", "Pulmonary edema"})

# name -> fractions of the chest box; the patient's right lies on the left of the image
_ONE_SIDE: dict[str, Box] = {
    "lung": (0.04, 0.03, 0.44, 0.93),
    "upper lung zone": (0.06, 0.05, 0.42, 0.34),
    "mid lung zone": (0.05, 0.34, 0.42, 0.62),
    "lower lung zone": (0.04, 0.62, 0.42, 0.93),
    "hilar structures": (0.28, 0.36, 0.46, 0.58),
    "clavicle": (0.06, -0.02, 0.42, 0.12),
    "costophrenic angle": (0.02, 0.82, 0.16, 0.98),
}
_MIDDLE: dict[str, Box] = {
    "cardiac silhouette": (0.34, 0.42, 0.80, 0.93),
    "mediastinum": (0.36, 0.02, 0.66, 0.93),
    "upper mediastinum": (0.38, 0.02, 0.64, 0.36),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An image on the screen: its size (H, W) and the pads around it (top, bottom, left, right), screen pixels."""

    image_shape: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def area(self) -> tuple[int, int, int, int]:
        """Rectangle that the published mapping takes the image for."""
        top, bottom, left, right = self.pads
        return left, top, SCREEN_WIDTH - right, SCREEN_HEIGHT - bottom

    @property
    def even_sides(self) -> tuple[int, int]:
        """(width, height), each rounded up to even."""
        height, width = self.image_shape
        return width + width % 2, height + height % 2

    def fractions(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) image pixels to fractions of the screen: the inverse of the published mapping."""
        x0, y0, x1, y1 = self.area
        screen = (x0, y0) + (points + 0.5) * (x1 - x0, y1 - y0) / self.even_sides
        return np.asarray(screen / (SCREEN_WIDTH, SCREEN_HEIGHT))

    def original(self, x: float, y: float) -> tuple[int, int]:
        """Fractions of the screen to X_ORIGINAL and Y_ORIGINAL, with their sentinel outside (gaze-formats 2.6)."""
        x0, y0, x1, y1 = self.area
        width, height = self.even_sides
        across, down = width / (x1 - x0), height / (y1 - y0)
        ex, ey = x * SCREEN_WIDTH, y * SCREEN_HEIGHT
        if x0 < ex < x1 and y0 < ey < y1:
            return int(across * (ex - x0)), int(down * (ey - y0))
        return int(-across), int(-down)


CALIBRATION_AREA = Shown((SCREEN_HEIGHT, SCREEN_WIDTH), (0, 0, 0, 0))
"""A calibration screen fills the screen: its positions are screen pixels."""


def shown_in_canvas(image_shape: tuple[int, int]) -> Shown:
    """An image fitted into a canvas of 1920 x 1024, its pads halved with the odd pixel at the far side."""
    ratio = CANVAS_HEIGHT / max(image_shape)
    height, width = (int(side * ratio) for side in image_shape)
    spare_y, spare_x = CANVAS_HEIGHT - height, SCREEN_WIDTH - width
    return Shown(image_shape, (spare_y // 2, spare_y - spare_y // 2, spare_x // 2, spare_x - spare_x // 2))


@dataclass(frozen=True, slots=True)
class Medium:
    """What was on the screen: an image, or under an id that is too short a calibration screen."""

    session: int
    media: int
    dicom_id: str
    shown: Shown


def gaze_rows(medium: Medium, reading: SimulatedReading) -> list[list[str]]:
    """Rows of ``eye_gaze.csv`` for one medium, one a 60th of a second from its first sample on."""
    samples, events = reading.samples, reading.fixations
    times = _grid(samples["time_s"].to_numpy())
    points, pupil = _at(samples, times)
    fractions = medium.shown.fractions(points)
    onset, offset = events["onset_s"].to_numpy(), events["offset_s"].to_numpy()
    event = np.searchsorted(onset, times, side="right") - 1
    in_event = (event >= 0) & (times <= offset[np.maximum(event, 0)])
    rows = []
    best, fixation, start, total, count, number, before = (0.5, 0.5), (0.5, 0.5), times[0], np.zeros(2), 0, 0, -1
    blinks, lost_since, blink_s, previous, jump = 0, None, 0.0, (0.5, 0.5), (0.0, 0.0)
    for k, time in enumerate(times.tolist()):
        seen = bool(np.isfinite(fractions[k]).all())
        if seen:
            best = (float(fractions[k, 0]), float(fractions[k, 1]))
            if lost_since is not None:
                blinks, blink_s, lost_since = blinks + 1, time - lost_since, None
        elif lost_since is None:
            lost_since = time
        fixating = seen and bool(in_event[k])
        if fixating:
            if event[k] != before:
                before, number, start, total, count = event[k], number + 1, time, np.zeros(2), 0
                jump = _saccade(previous, best)
                previous = best
            total, count = total + best, count + 1
            fixation = (float(total[0] / count), float(total[1] / count))
        mm = f"{3.4 * pupil[k] ** 0.5:.5f}" if seen else "0.00000"
        eye = ["0.41000", "0.52000", f"{18.0 * (pupil[k] if seen else 0):.5f}", "1.01000", str(int(seen))]
        rows.append([
            str(medium.session), str(medium.media), medium.dicom_id, str(k), f"{time:.5f}",
            str(7_000_000_000_000 + round(1e7 * time)), f"{fixation[0]:.5f}", f"{fixation[1]:.5f}", f"{start:.5f}",
            f"{time - start if fixating else 0:.5f}", str(number), str(int(fixating)), f"{best[0]:.5f}",
            f"{best[1]:.5f}", str(int(seen)), *eye, *eye, str(0 if seen else blinks + 1), f"{blink_s:.5f}", "12",
            mm, str(int(seen)), mm, str(int(seen)), f"{jump[0]:.5f}", f"{jump[1]:.5f}", "0",
            *map(str, medium.shown.original(round(fixation[0], 5), round(fixation[1], 5))),
        ])  # fmt: skip
    return rows


def fixation_rows(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Rows of ``fixations.csv``: the last row of each fixation in the rows of one medium."""
    number, valid = GAZE_HEADER.index("FPOGID"), GAZE_HEADER.index("FPOGV")
    last = {row[number]: row for row in rows if row[valid] == "1"}
    return list(last.values())


def _grid(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole 60ths of a second within a recording."""
    return np.arange(np.ceil(time_s[0] * RATE_HZ), np.floor(time_s[-1] * RATE_HZ) + 1) / RATE_HZ


def _at(samples: pd.DataFrame, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 2) positions and (N,) pupils at `times`: the next sample's, NaN where that is more than 2 ms away."""
    recorded = samples["time_s"].to_numpy()
    index = np.minimum(np.searchsorted(recorded, times), len(recorded) - 1)
    points = samples[["x_px", "y_px"]].to_numpy()[index]
    points[recorded[index] - times > 0.002] = np.nan
    return points, samples["pupil_area_norm"].to_numpy()[index]


def _saccade(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Length in screen pixels and direction in degrees, counted against the clock from the right."""
    across, down = (end[0] - start[0]) * SCREEN_WIDTH, (end[1] - start[1]) * SCREEN_HEIGHT
    return float(np.hypot(across, down)), float(np.degrees(np.arctan2(-down, across)) % 360)


def sheet_row(identity: Identity, shown: Shown, reports: Sequence[Report], rng: np.random.Generator) -> list[str]:
    """A row of ``master_sheet.csv``: labels from what was reported, and invented facts of the patient."""
    found = {report.finding for report in reports}
    present = {column for finding in found for column in _COLUMN_OF.get(finding, _ANY_OPACITY)}
    group = "Normal" if not found else "CHF" if found & _HEART_FAILURE else "pneumonia"
    present |= {group} | (
        {"normal_reports", "normal_anatomically", "no_finding__chx"} if not found else {"pneumonia__chx"}
    )
    age = 10 * int(rng.integers(2, 8))
    cells = dict.fromkeys(SHEET_HEADER, "") | dict.fromkeys(_FINDINGS, "0") | dict.fromkeys(present, "1")
    cells |= {
        "dicom_id": identity.dicom_id,
        "path": image_path(identity),
        "study_id": identity.study,
        "patient_id": identity.subject,
        "stay_id": f"99{rng.integers(1_000_000):06d}",
        "gender": str(rng.choice(["F", "M"])),
        "anchor_age": f"{age} - {age + 10}",
        "dx1": "Invented diagnosis, unspecified",
        "dx1_icd": "X99.9",
        "cxr_exam_indication": "invented indication\nits second line" if rng.random() < 0.3 else "invented indication",
    }
    cells |= {f"image_{s}_pad": str(p) for s, p in zip(("top", "bottom", "left", "right"), shown.pads, strict=True)}
    return [cells[column] for column in SHEET_HEADER]


def box_rows(dicom_id: str, anatomy: Anatomy) -> list[list[str]]:
    """Rows of ``bounding_boxes.csv``: seventeen regions, whole pixels, both x before both y."""
    boxes = dict(_MIDDLE)
    for name, (u0, v0, u1, v1) in _ONE_SIDE.items():
        boxes |= {f"right {name}": (u0, v0, u1, v1), f"left {name}": (1 - u1, v0, 1 - u0, v1)}
    corners = ((name, [round(v) for v in anatomy.part(box)]) for name, box in boxes.items())
    return [[dicom_id, name, str(x0), str(x1), str(y0), str(y1)] for name, (x0, y0, x1, y1) in corners]


def transcript_json(dictation: Dictation) -> str:
    """``transcript.json``: phrases of up to three words, a full stop or comma set against the word before it."""
    phrases: list[dict[str, str | float]] = []
    words = 0
    for word, onset, offset in zip(dictation.words, dictation.onset_s, dictation.offset_s, strict=True):
        if word in (".", ",") and phrases:
            phrases[-1] |= {"phrase": f"{phrases[-1]['phrase']}{word}", "end_time": offset}
            words = 3
        elif words % 3 == 0:
            phrases.append({"phrase": word, "begin_time": onset, "end_time": offset})
            words = 1
        else:
            phrases[-1] |= {"phrase": f"{phrases[-1]['phrase']} {word}", "end_time": offset}
            words += 1
    return json.dumps({"full_text": dictation.text, "time_stamped_text": phrases}, indent=1) + "\n"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with minimal quoting and LF line ends."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
