"""A raw BIDS 1.11 eye-tracking data set, written from simulated sessions: EyeLink-like, one run a reader.

Two eyes, each a headerless ``_physio.tsv.gz`` with timestamps in milliseconds since the device started, and
``_physioevents`` on the same clock; the images are the stimuli. Nothing here is shared with the code that reads or
writes BIDS elsewhere.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gazekit.simulate.desk import DESK, DeskSummary, Session, simulate_desk
from gazekit.simulate.files import write_file, write_text

RATE_HZ = 500.0
BREAK_S = 2.0
"""Between two images."""

DEVICE_START_MS = 7_186_000
EYES = {"eye1": ("left", -1.5), "eye2": ("right", 1.5)}
"""Label of a recording to the eye and its offset from the mean of both, screen pixels."""


def simulate_bids(out: str | os.PathLike[str], **options: Any) -> DeskSummary:
    """Write a simulated BIDS data set with eye tracking.

    Parameters
    ----------
    out : path
        Gets ``bids/`` with the images in ``bids/stimuli``, screen.toml (which BIDS data do not need) and SIMULATED.txt.
    **options
        As in `gazekit.simulate.desk.simulate_desk`.
    """
    return simulate_desk(out, _write_sessions, dataset="bids", rate_hz=RATE_HZ, image_folder="bids/stimuli", **options)


def _write_sessions(folder: Path, sessions: Sequence[Session]) -> None:
    _write_json(folder / "dataset_description.json", _DESCRIPTION)
    write_text(folder / "README", "Simulated gaze, written by gazekit simulate. No person read these images.\n")
    write_text(folder / "participants.tsv", "participant_id\n" + "".join(f"sub-{s.reader}\n" for s in sessions))
    _write_json(folder / "task-read_events.json", _EVENTS)
    _write_json(folder / "task-read_physio.json", _PHYSIO)
    _write_json(folder / "task-read_physioevents.json", _PHYSIOEVENTS)
    for session in sessions:
        write_run(folder, session)


def write_run(folder: Path, session: Session) -> None:
    """The files of one run: every image of a session, one after the other.

    Parameters
    ----------
    folder : Path
        Root of the data set.
    session : Session
    """
    start = folder / f"sub-{session.reader}" / "beh" / f"sub-{session.reader}_task-read_run-1"
    zero, events = 0.0, []
    samples: dict[str, list[str]] = {label: [] for label in EYES}
    model: dict[str, list[str]] = {label: [] for label in EYES}
    for trial in session.trials:
        length = float(trial.samples["time_s"].iloc[-1]) + 1 / RATE_HZ
        events.append(f"{zero:.3f}\t{length:.3f}\timage\t{trial.image_id}.dcm\n")
        for label, (_, shift) in EYES.items():
            for time, x, y in trial.samples[["time_s", "x_px", "y_px"]].to_numpy().tolist():
                pupil = "n/a" if x != x else "900.0"
                samples[label].append(f"{_stamp(zero + time)}\t{_cell(x + shift)}\t{_cell(y)}\t{pupil}\n")
            for onset, offset in trial.fixations[["onset_s", "offset_s"]].to_numpy().tolist():
                first, last = (_stamp(zero + time) for time in (onset, offset))
                model[label].append(f"{first}\t{last - first}\tfixation\t0\tn/a\n")
        zero += np.ceil(length + BREAK_S)
    write_text(Path(f"{start}_events.tsv"), "onset\tduration\ttrial_type\tstim_file\n" + "".join(events))
    for label, (eye, _) in EYES.items():
        first = int(samples[label][0].split("\t", 1)[0])
        own = {"RecordedEye": eye, "StartTime": (first - DEVICE_START_MS) / 1000}
        write_file(Path(f"{start}_recording-{label}_physio.tsv.gz"), _packed(samples[label]))
        _write_json(Path(f"{start}_recording-{label}_physio.json"), own)
        message = f"{DEVICE_START_MS}\tn/a\tn/a\tn/a\tRECCFG CR 500\n"
        write_file(Path(f"{start}_recording-{label}_physioevents.tsv.gz"), _packed([message, *model[label]]))


def _stamp(time: float) -> int:
    """Seconds of the run to the device's milliseconds."""
    return DEVICE_START_MS + round(1000 * time)


def _cell(value: float) -> str:
    return "n/a" if value != value else f"{value:.2f}"


def _packed(lines: Sequence[str]) -> bytes:
    return gzip.compress("".join(lines).encode(), mtime=0)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


_DESCRIPTION = {
    "Name": "Simulated readings",
    "BIDSVersion": "1.11.1",
    "DatasetType": "raw",
    "License": "CC0",
    "Authors": ["nobody: a program"],
}
_EVENTS = {
    "TaskName": "read",
    "trial_type": {"Description": "Kind of event.", "Levels": {"image": "An image is on the screen."}},
    "StimulusPresentation": {
        "ScreenDistance": DESK.screen.distance_mm / 1000,
        "ScreenOrigin": ["top", "left"],
        "ScreenRefreshRate": 60,
        "ScreenResolution": list(DESK.screen.size_px),
        "ScreenSize": [side / 1000 for side in DESK.screen.size_mm],
    },
}
_PHYSIO = {
    "TaskName": "read",
    "PhysioType": "eyetrack",
    "SampleCoordinateSystem": "gaze-on-screen",
    "SamplingFrequency": RATE_HZ,
    "Columns": ["timestamp", "x_coordinate", "y_coordinate", "pupil_size"],
    "timestamp": {"Description": "Clock of the device.", "Units": "ms", "Origin": "System startup"},
    "x_coordinate": {"Description": "Horizontal gaze position of the recorded eye.", "Units": "pixel"},
    "y_coordinate": {"Description": "Vertical gaze position of the recorded eye.", "Units": "pixel"},
    "pupil_size": {"Description": "Pupil area of the recorded eye.", "Units": "arbitrary"},
}
_PHYSIOEVENTS = {
    "Description": "Messages and events logged by the device.",
    "OnsetSource": "timestamp",
    "Columns": ["onset", "duration", "trial_type", "blink", "message"],
    "blink": {"Description": "State of the eye.", "Levels": {"0": "open", "1": "closed"}},
    "message": {"Description": "Messages of the device."},
    "trial_type": {"Description": "Kind of event.", "Levels": {"fixation": "The eye rests."}},
}
