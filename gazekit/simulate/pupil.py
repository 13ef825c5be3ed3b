"""Exports of Pupil Player, Pupil Cloud's Marker Mapper and its Reference Image Mapper, from simulated sessions.

A surface of Pupil Core has its origin at the bottom left, times in seconds of the tracker's clock, and each fixation
once for every frame of the scene; Pupil Cloud has the top left, nanoseconds of UTC, and one file for many recordings.
Nothing here is shared with the code that reads these files.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gazekit.simulate.desk import DESK, DeskSummary, ScreenTrial, Session, simulate_desk
from gazekit.simulate.files import write_text

RATE_HZ = 200.0
FRAME_S = 1 / 30
"""Of the scene camera."""

CORE_CLOCK_S = 4271.125
CLOUD_CLOCK_NS = 1_769_850_000_000_000_000

CORE_GAZE = "world_timestamp,world_index,gaze_timestamp,x_norm,y_norm,x_scaled,y_scaled,on_surf,confidence"
CORE_FIXATIONS = (
    "world_timestamp,world_index,fixation_id,start_timestamp,duration,dispersion,norm_pos_x,norm_pos_y,x_scaled,y_scaled,"
    "on_surf"
)
_CLOUD_START = "section id,recording id,timestamp [ns],"
_CLOUD_FIXATION = "section id,recording id,fixation id,start timestamp [ns],end timestamp [ns],duration [ms],"
MARKER_GAZE = (
    f"{_CLOUD_START}gaze detected on surface,gaze position on surface x [normalized],"
    "gaze position on surface y [normalized],fixation id,blink id"
)
MARKER_FIXATIONS = f"{_CLOUD_FIXATION}fixation detected on surface,fixation x [normalized],fixation y [normalized]"
REFERENCE_GAZE = (
    f"{_CLOUD_START}gaze detected in reference image,gaze position in reference image x [px],"
    "gaze position in reference image y [px],fixation id,blink id"
)
REFERENCE_FIXATIONS = f"{_CLOUD_FIXATION}fixation detected in reference image,fixation x [px],fixation y [px]"
SECTIONS = (
    "section id,recording id,recording name,wearer id,wearer name,section start time [ns],section end time [ns],"
    "start event name,end event name"
)

Size = tuple[int, int]


def simulate_pupil(out: str | os.PathLike[str], **options: Any) -> DeskSummary:
    """Write a simulated data set in the forms of Pupil Labs: readers in turn wear Pupil Core and Neon.

    Parameters
    ----------
    out : path
        Gets ``pupil/core-<reader>/<number>/exports/000/surfaces``, ``pupil/neon/<image>`` (Marker Mapper), ``images/``,
        screen.toml and SIMULATED.txt. The screen is the surface; it is called as the image that it shows.
    **options
        As in `gazekit.simulate.desk.simulate_desk`.
    """
    return simulate_desk(out, _write_sessions, dataset="pupil", rate_hz=RATE_HZ, **options)


def _write_sessions(folder: Path, sessions: Sequence[Session]) -> None:
    size = DESK.screen.size_px
    for session in sessions[0::2]:
        for k, trial in enumerate(session.trials):
            surfaces = folder / f"core-{session.reader}" / f"{k:03d}" / "exports" / "000" / "surfaces"
            gaze, fixations = core_surface(trial, size)
            write_text(surfaces / f"gaze_positions_on_surface_{trial.image_id}.csv", gaze)
            write_text(surfaces / f"fixations_on_surface_{trial.image_id}.csv", fixations)
    worn = sessions[1::2]
    for k, trial in enumerate(worn[0].trials if worn else ()):
        read = [(session.reader, session.trials[k]) for session in worn]
        gaze, fixations, sections = marker_mapper(read, size)
        write_text(folder / "neon" / trial.image_id / "gaze.csv", gaze)
        write_text(folder / "neon" / trial.image_id / "fixations.csv", fixations)
        write_text(folder / "neon" / trial.image_id / "sections.csv", sections)


def core_surface(trial: ScreenTrial, size: Size) -> tuple[str, str]:
    """``gaze_positions_on_surface_*.csv`` and ``fixations_on_surface_*.csv`` of a surface of `size` pixels.

    Lost gaze is there with a confidence of 0 and a position that means nothing, as Pupil Core writes it.
    """
    gaze = []
    for time, x, y in trial.samples[["time_s", "x_px", "y_px"]].to_numpy().tolist():
        seen = x == x
        u, v = _bottom_left(x, y, size) if seen else (0.5, 0.5)
        gaze.append(f"{_frame(time)},{CORE_CLOCK_S + time!r},{_on_surface(u, v)},{0.97 if seen else 0.0}")
    fixations = []
    rows = trial.fixations[["onset_s", "offset_s", "x_px", "y_px"]].to_numpy().tolist()
    for number, (onset, offset, x, y) in enumerate(rows, start=1):
        u, v = _bottom_left(x, y, size)
        for frame in range(int(onset / FRAME_S), int(offset / FRAME_S) + 1):
            start = f"{_frame(frame * FRAME_S)},{number},{CORE_CLOCK_S + onset!r},{1000 * (offset - onset)!r},0.8"
            fixations.append(f"{start},{_on_surface(u, v)}")
    return _text(CORE_GAZE, gaze), _text(CORE_FIXATIONS, fixations)


def _frame(time: float) -> str:
    """Time and number of the scene's frame at a time."""
    index = int(time / FRAME_S)
    return f"{CORE_CLOCK_S + index * FRAME_S!r},{index}"


def _bottom_left(x: float, y: float, size: Size) -> tuple[float, float]:
    """Shares of the surface from its bottom left corner."""
    return (x + 0.5) / size[0], 1 - (y + 0.5) / size[1]


def _on_surface(u: float, v: float) -> str:
    """Normalised, scaled by a surface of one metre, and whether it is on the surface."""
    return f"{u!r},{v!r},{u!r},{v!r},{0 <= u <= 1 and 0 <= v <= 1}"


def marker_mapper(read: Sequence[tuple[str, ScreenTrial]], size: Size) -> tuple[str, str, str]:
    """gaze.csv, fixations.csv and sections.csv of one surface of `size` pixels that several wearers read."""
    gaze, fixations, sections = _enrichment(read, lambda x, y: ((x + 0.5) / size[0], (y + 0.5) / size[1]), (1, 1))
    return _text(MARKER_GAZE, gaze), _text(MARKER_FIXATIONS, fixations), _text(SECTIONS, sections)


def reference_image_mapper(read: Sequence[tuple[str, ScreenTrial]], size: Size) -> tuple[str, str, str]:
    """The same of a reference image of `size` pixels, whose pixels are those of the screen."""
    gaze, fixations, sections = _enrichment(read, lambda x, y: (x, y), size)
    return _text(REFERENCE_GAZE, gaze), _text(REFERENCE_FIXATIONS, fixations), _text(SECTIONS, sections)


def _enrichment(read: Sequence[tuple[str, ScreenTrial]], place: Any, end: Size) -> tuple[list[str], ...]:
    gaze: list[str] = []
    fixations: list[str] = []
    sections: list[str] = []
    for k, (reader, trial) in enumerate(read):
        section, recording = (_uuid(kind, reader, trial.image_id) for kind in ("section", "recording"))
        wearer = _uuid("wearer", reader)
        clock = CLOUD_CLOCK_NS + k * 3_600_000_000_000
        rows = trial.fixations[["onset_s", "offset_s", "x_px", "y_px"]].to_numpy().tolist()
        for time, x, y in trial.samples[["time_s", "x_px", "y_px"]].to_numpy().tolist():
            number = next((n for n, row in enumerate(rows, start=1) if row[0] <= time <= row[1]), "")
            where = f"{_inside(place(x, y), end)},{number}," if x == x else "False,,,,1"
            gaze.append(f"{section},{recording},{clock + round(1e9 * time)},{where}")
        for number, (onset, offset, x, y) in enumerate(rows, start=1):
            times = f"{clock + round(1e9 * onset)},{clock + round(1e9 * offset)},{round(1000 * (offset - onset))}"
            fixations.append(f"{section},{recording},{number},{times},{_inside(place(x, y), end)}")
        last = clock + round(1e9 * trial.samples["time_s"].iloc[-1])
        start = f"{section},{recording},reading-{k + 1},{wearer},99-{reader},{clock},{last}"
        sections.append(f"{start},recording.begin,recording.end")
    return gaze, fixations, sections


def _inside(point: tuple[float, float], end: Size) -> str:
    x, y = point
    return f"{0 <= x <= end[0] and 0 <= y <= end[1]},{x!r},{y!r}"


def _uuid(*names: str) -> str:
    """An id that depends on nothing but the names."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(("gazekit", *names))))


def _text(header: str, rows: Sequence[str]) -> str:
    return "".join(f"{row}\n" for row in (header, *rows))
