"""A tracker whose files say nothing, each recording being given by the test, with gaze and images to put into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from gaze_traces import SCREEN
from PIL import Image

import gazekit
from gazekit.sources.recording import Recording
from gazekit.sources.recordings import read_recordings


def draw_image(path: Path, shape: tuple[int, int] = (60, 80)) -> None:
    """A grey picture that is not flat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape).astype(np.uint8)).save(path)


def gaze_at(points: Sequence[tuple[float, float]], *, rate: float = 250.0, rest_s: float = 0.4) -> pd.DataFrame:
    """Samples of an eye that rests at each of some points, exactly."""
    each = int(rest_s * rate)
    xy = np.repeat(np.asarray(points, np.float64), each, axis=0)
    return pd.DataFrame({"time_s": np.arange(len(xy)) / rate, "x_px": xy[:, 0], "y_px": xy[:, 1]})


@dataclass(frozen=True)
class Kept:
    """A tracker whose files say nothing: each holds the recording given here."""

    recording: Recording

    def __call__(self, path: Path) -> Recording:
        return self.recording


def one(recording: Recording, folder: Path, **options: object) -> gazekit.Reading:
    """The reading of a recording's only trial."""
    (folder / "gaze").mkdir(exist_ok=True)
    (folder / "gaze" / "chest1.rec").write_bytes(b"")
    options = {"images": folder / "images", "screen": SCREEN} | options
    kept = read_recordings(folder / "gaze", dataset="kept", parse=Kept(recording), suffixes=(".rec",), **options)  # type: ignore[arg-type]
    return kept[0]
