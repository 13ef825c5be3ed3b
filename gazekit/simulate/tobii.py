"""Tobii exports, written from simulated recordings as Pro Lab and Studio write them.

Source: the columns, units and rows of Tobii Pro Lab ("Gaze point left X [DACS px]", a row an event, whole pixels) and
of Tobii Studio 3 ("GazePointLeftX (ADCSpx)", UTF-16, a tab at the end of each line, a decimal comma where the region of
the computer has one), as their manuals name them and as public exports show them. Nothing here is shared with the code
that reads these files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.geometry import Screen
from gazekit.simulate.desk import DESK, DeskSummary, ScreenTrial, Session, simulate_desk
from gazekit.simulate.files import write_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 250.0

PRO_LAB = (
    "Recording timestamp [μs]",
    "Computer timestamp [μs]",
    "Sensor",
    "Participant name",
    "Recording name",
    "Recording resolution height [px]",
    "Recording resolution width [px]",
    "Eyetracker timestamp [μs]",
    "Event",
    "Event value",
    "Gaze point X [DACS px]",
    "Gaze point Y [DACS px]",
    "Gaze point left X [DACS px]",
    "Gaze point left Y [DACS px]",
    "Gaze point right X [DACS px]",
    "Gaze point right Y [DACS px]",
    "Pupil diameter left [mm]",
    "Pupil diameter right [mm]",
    "Validity left",
    "Validity right",
    "Presented Stimulus name",
    "Presented Media name",
    "Presented Media width [px]",
    "Presented Media height [px]",
    "Presented Media position X [DACS px]",
    "Presented Media position Y [DACS px]",
    "Original Media width [px]",
    "Original Media height [px]",
    "Eye movement type",
    "Eye movement event duration [ms]",
    "Eye movement type index",
    "Fixation point X [DACS px]",
    "Fixation point Y [DACS px]",
)
STUDIO = (
    "ParticipantName",
    "RecordingName",
    "RecordingResolution",
    "MediaName",
    "MediaPosX (ADCSpx)",
    "MediaPosY (ADCSpx)",
    "MediaWidth",
    "MediaHeight",
    "RecordingTimestamp",
    "StudioEvent",
    "StudioEventData",
    "FixationIndex",
    "GazeEventType",
    "GazeEventDuration",
    "FixationPointX (MCSpx)",
    "FixationPointY (MCSpx)",
    "GazePointLeftX (ADCSpx)",
    "GazePointLeftY (ADCSpx)",
    "GazePointRightX (ADCSpx)",
    "GazePointRightY (ADCSpx)",
    "ValidityLeft",
    "ValidityRight",
    "EyeTrackerTimestamp",
    "",
)

VERGENCE_PX = (6.0, -1.5)
"""From the left eye's gaze to the right one's."""

CALIBRATION_ROWS = 30
_CLOCK_US = 7_180_000_000
PUPIL_MM = 3.6
PAUSE_US = 1_500_000


def simulate_tobii(out: str | os.PathLike[str], **options: Any) -> DeskSummary:
    """Write a simulated data set in the form of Tobii exports, one a reader, in turn of Pro Lab and of Studio.

    Parameters
    ----------
    out : path
        Gets ``tobii/``, ``images/``, screen.toml and SIMULATED.txt.
    **options
        As in `gazekit.simulate.desk.simulate_desk`.
    """
    return simulate_desk(out, _write_sessions, dataset="tobii", rate_hz=RATE_HZ, **options)


def _write_sessions(folder: Path, sessions: Sequence[Session]) -> None:
    for k, session in enumerate(sessions):
        studio = k % 2 == 1
        text = studio_text(session, decimal=",") if studio else pro_lab_text(session)
        write_file(folder / f"{session.reader}.tsv", text.encode("utf-16" if studio else "utf-8"))


def pro_lab_text(session: Session, *, screen: Screen = DESK.screen) -> str:
    """An export of Pro Lab: every row has all columns, those of the recording in each."""
    width, height = screen.size_px
    whole = {
        "Participant name": session.reader,
        "Recording name": "Recording1",
        "Recording resolution height [px]": str(height),
        "Recording resolution width [px]": str(width),
    }
    return _text(PRO_LAB, (whole | row for row in _pro_lab_rows(session)))


def _pro_lab_rows(session: Session) -> Iterator[dict[str, str]]:
    yield _pro_lab_event(0, "RecordingStart")
    for k in range(CALIBRATION_ROWS):
        row = _pro_lab_sample(round(k * 1e6 / RATE_HZ), np.array([960.0, 540.0]))
        yield row | {"Presented Stimulus name": "Eyetracker Calibration", "Eye movement type": "Unclassified"}
    start = PAUSE_US
    for number, trial in enumerate(session.trials):
        x0, y0, x1, y1 = trial.drawn
        medium = {
            "Presented Stimulus name": trial.image_id,
            "Presented Media name": f"{trial.image_id}.dcm",
            "Presented Media width [px]": str(x1 - x0),
            "Presented Media height [px]": str(y1 - y0),
            "Presented Media position X [DACS px]": str(x0),
            "Presented Media position Y [DACS px]": str(y0),
            "Original Media width [px]": str(trial.image_shape[1]),
            "Original Media height [px]": str(trial.image_shape[0]),
        }
        yield _pro_lab_event(start, "ImageStimulusStart", trial.image_id)
        for time_us, gaze, event, index in _samples(trial, start):
            row = _pro_lab_sample(time_us, gaze) | medium
            row["Eye movement type"] = "EyesNotFound" if event == "Unclassified" else event
            if event == "Fixation":
                point = trial.fixations.iloc[index]
                row["Eye movement type index"] = str(1000 * number + index + 1)
                row["Eye movement event duration [ms]"] = f"{1000 * (point['offset_s'] - point['onset_s']):.0f}"
                row["Fixation point X [DACS px]"] = f"{point['x_px']:.0f}"
                row["Fixation point Y [DACS px]"] = f"{point['y_px']:.0f}"
            yield row
        start = time_us + PAUSE_US
        yield _pro_lab_event(time_us + 500, "ImageStimulusEnd", trial.image_id)


def _pro_lab_event(time_us: int, event: str, value: str = "") -> dict[str, str]:
    return {"Recording timestamp [μs]": str(time_us), "Event": event, "Event value": value}


def _pro_lab_sample(time_us: int, left: NDArray[np.float64]) -> dict[str, str]:
    row = {
        "Recording timestamp [μs]": str(time_us),
        "Computer timestamp [μs]": str(_CLOCK_US + time_us + 17),
        "Eyetracker timestamp [μs]": str(_CLOCK_US + time_us),
        "Sensor": "Eye Tracker",
    }
    if not np.isfinite(left).all():
        return row | {"Validity left": "Invalid", "Validity right": "Invalid"}
    right = left + VERGENCE_PX
    for name, point in (("left ", left), ("right ", right), ("", (left + right) / 2)):
        row |= {f"Gaze point {name}{axis} [DACS px]": f"{v:.0f}" for axis, v in zip("XY", point, strict=True)}
    for eye in ("left", "right"):
        row |= {f"Validity {eye}": "Valid", f"Pupil diameter {eye} [mm]": f"{PUPIL_MM:.2f}"}
    return row


def studio_text(session: Session, *, decimal: str = ".", screen: Screen = DESK.screen) -> str:
    """An export of Studio: times in whole milliseconds, positions with decimals, an empty column at the end."""
    width, height = screen.size_px
    whole = {
        "ParticipantName": session.reader,
        "RecordingName": "Rec 01",
        "RecordingResolution": f"{width} x {height}",
    }
    rows = _studio_rows(session)
    return _text(STUDIO, (whole | {k: v.replace(".", decimal) for k, v in row.items()} | name for row, name in rows))


def _studio_rows(session: Session) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Rows, and apart from them the name of the medium, whose dot stays."""
    start = PAUSE_US
    for number, trial in enumerate(session.trials):
        x0, y0, x1, y1 = trial.drawn
        name = {"MediaName": f"{trial.image_id}.dcm"}
        medium = {
            "MediaPosX (ADCSpx)": str(x0),
            "MediaPosY (ADCSpx)": str(y0),
            "MediaWidth": str(x1 - x0),
            "MediaHeight": str(y1 - y0),
        }
        yield {"RecordingTimestamp": f"{start / 1000:.0f}", "StudioEvent": "ImageStart"}, {"MediaName": ""}
        for time_us, left, event, index in _samples(trial, start):
            row = medium | {
                "RecordingTimestamp": f"{time_us / 1000:.0f}",
                "EyeTrackerTimestamp": str(_CLOCK_US + time_us),
                "GazeEventType": event,
                "ValidityLeft": "4",
                "ValidityRight": "4",
            }
            if event == "Fixation":
                point = trial.fixations.iloc[index]
                row["FixationIndex"] = str(1000 * number + index + 1)
                row["GazeEventDuration"] = f"{1000 * (point['offset_s'] - point['onset_s']):.0f}"
                row["FixationPointX (MCSpx)"] = f"{point['x_px'] - x0:.2f}"
                row["FixationPointY (MCSpx)"] = f"{point['y_px'] - y0:.2f}"
            if np.isfinite(left).all():
                for eye, seen in (("Left", left), ("Right", left + VERGENCE_PX)):
                    row |= {f"GazePoint{eye}{a} (ADCSpx)": f"{v:.2f}" for a, v in zip("XY", seen, strict=True)}
                    row[f"Validity{eye}"] = "0"
            yield row, name
        start = time_us + PAUSE_US


def _samples(trial: ScreenTrial, start_us: int) -> Iterator[tuple[int, NDArray[np.float64], str, int]]:
    """Time, left gaze, kind of event and, for a fixation, which one, of each sample."""
    times = trial.samples["time_s"].to_numpy(np.float64)
    gaze = trial.samples[["x_px", "y_px"]].to_numpy(np.float64)
    index = np.full(len(gaze), -1)
    for k, (onset, offset) in enumerate(trial.fixations[["onset_s", "offset_s"]].to_numpy(np.float64)):
        index[(times >= onset - 1e-9) & (times <= offset + 1e-9)] = k
    for time, point, k in zip(times, gaze, index.tolist(), strict=True):
        event = "Fixation" if k >= 0 else "Unclassified" if np.isnan(point[0]) else "Saccade"
        yield start_us + round(1e6 * time), point, event, k


def _text(columns: Sequence[str], rows: Iterator[dict[str, str]]) -> str:
    lines = ["\t".join(columns), *("\t".join(row.get(column, "") for column in columns) for row in rows)]
    return "\r\n".join([*lines, ""])
