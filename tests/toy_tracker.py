"""The smallest eye tracker there could be, as CONTRIBUTING shows how to add one: lines of ``stimulus time x y``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gazekit import Readings, Screen
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.tables import bad_table


def parse_toy(path: Path) -> Recording:
    """Read one file."""
    rows = [line.split() for line in path.read_text().splitlines()]
    if any(len(row) != 4 for row in rows):
        raise bad_table(f"{path.name}: expected lines of stimulus, time, x and y")
    table = pd.DataFrame(rows, columns=["stimulus", "time_s", "x_px", "y_px"])
    table[["time_s", "x_px", "y_px"]] = table[["time_s", "x_px", "y_px"]].astype(float)
    trials = tuple(
        Trial(stimulus.partition(".")[0], own.drop(columns="stimulus"), stimulus=stimulus)
        for stimulus, own in table.groupby("stimulus", sort=False)
    )
    return Recording(trials)


def read_toy(
    root: str | Path, *, images: Path | None = None, spec: Path | None = None, screen: Screen | None = None
) -> Readings:
    """Open a folder of toy recordings."""
    return read_recordings(
        root, dataset="toy", parse=parse_toy, suffixes=(".toy",), images=images, spec=spec, screen=screen
    )
