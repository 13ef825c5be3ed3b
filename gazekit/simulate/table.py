"""A laboratory's own table of gaze, written from simulated sessions, and the spec that says how to read it.

One CSV of all readers and pictures at 250 Hz: milliseconds, screen pixels with 2 decimals, -1 where the eye was lost.
Nothing here is shared with the code that reads tables and specs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gazekit.simulate.desk import DESK, DeskSummary, Session, simulate_desk
from gazekit.simulate.files import write_text

RATE_HZ = 250.0

HEADER = "observer,picture,time [ms],gaze x,gaze y"


def simulate_table(out: str | os.PathLike[str], **options: Any) -> DeskSummary:
    """Write a simulated table of gaze.

    Parameters
    ----------
    out : path
        Gets ``table/gaze.csv``, ``table.toml`` (its spec), ``images/``, screen.toml and SIMULATED.txt.
    **options
        As in `gazekit.simulate.desk.simulate_desk`.
    """
    return simulate_desk(out, _write_sessions, dataset="table", rate_hz=RATE_HZ, **options)


def _write_sessions(folder: Path, sessions: Sequence[Session]) -> None:
    write_text(folder / "gaze.csv", gaze_csv(sessions))
    write_text(folder.parent / "table.toml", spec_toml(sessions))


def gaze_csv(sessions: Sequence[Session]) -> str:
    """The table of some sessions, reader by reader and picture by picture."""
    rows = [
        f"{session.reader},{trial.image_id}.png,{1000 * time:.3f},{_cell(x)},{_cell(y)}"
        for session in sessions
        for trial in session.trials
        for time, x, y in trial.samples[["time_s", "x_px", "y_px"]].to_numpy().tolist()
    ]
    return "\n".join([HEADER, *rows, ""])


def _cell(position: float) -> str:
    return "-1" if position != position else f"{position:.2f}"


def spec_toml(sessions: Sequence[Session]) -> str:
    """What the table does not say: its columns, units and code of lost gaze, the screen, where each picture stood."""
    screen = DESK.screen
    lines = [
        "# SIMULATED. How to read table/gaze.csv.",
        "[screen]",
        f"size_px = [{screen.size_px[0]}, {screen.size_px[1]}]",
        f"size_mm = [{screen.size_mm[0]}, {screen.size_mm[1]}]",
        f"distance_mm = {screen.distance_mm}",
        "",
        "[columns]",
        'time = "time [ms]"',
        'x = "gaze x"',
        'y = "gaze y"',
        'reader = "observer"',
        'stimulus = "picture"',
        "",
        "[units]",
        'time = "ms"',
        'position = "screen_px"',
        "",
        "[lost]",
        "positions = [-1]",
    ]
    for trial in {trial.image_id: trial for session in sessions for trial in session.trials}.values():
        lines += [
            "",
            "[[stimulus]]",
            f'name = "{trial.image_id}.png"',
            f'image = "{trial.image_id}.dcm"',
            f"rectangle = {list(trial.drawn)}",
        ]
    return "\n".join([*lines, ""])
