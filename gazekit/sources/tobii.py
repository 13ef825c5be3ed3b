"""Tobii's tab-separated exports: of Pro Lab, of Studio, and of recordings made with its SDKs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import RecordError
from gazekit.reading import POSITION, TIMES, Readings
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.tables import bad_table
from gazekit.sources.tobii_format import (
    CALIBRATION,
    EYE_TRACKER,
    FIXATION,
    SHARES,
    TEXTS,
    Column,
    find_columns,
    time_unit_s,
    valid_codes,
)
from gazekit.sources.tobii_table import Texts, open_export, read_columns
from gazekit.sources.trial_names import new_name

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.geometry import Box, Screen
    from gazekit.sources.spec import Spec

EYES = ("left", "right")


def read_tobii(
    root: str | Path,
    *,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open a folder of Tobii exports; each run of one medium is a reading.

    Parameters
    ----------
    root : path
        Searched for ``*.tsv``.
    images, spec, screen
        As in `gazekit.sources.recordings.read_recordings`. The files may tell the size of the screen in pixels and
        where the medium stood on it, but never its size in millimetres: that and the distance must come from `screen`
        or the spec.

    Returns
    -------
    Readings

    Raises
    ------
    InputError
        As `gazekit.sources.recordings.read_recordings`.

    Notes
    -----
    Fixations are those of Tobii's filter, as exported, unless the spec says otherwise.
    """
    return read_recordings(
        root, dataset="tobii", parse=parse_tobii, suffixes=(".tsv",), images=images, spec=spec, screen=screen
    )


def parse_tobii(path: str | Path) -> Recording:
    """The trials of one export, which may hold several recordings.

    Parameters
    ----------
    path : path
        Tab-separated, UTF-8 or (with its byte order mark) UTF-16, with a decimal point or comma.

    Returns
    -------
    Recording
        A trial is a run of samples of one recording, participant and medium; the whole file where it names no medium.
        Both eyes where the file has them, else the combined gaze; pixels or shares of the screen. An eye is lost
        where its validity says so or its cell is empty. A fixation is what has one number in the file, from its first
        to its last sample, at the point that the file states in pixels of the screen, else at the mean of its
        samples. `Recording.counts` has ``other_rows`` (events, other sensors), ``samples_outside_trial`` (no medium,
        or the tracker's calibration), ``unsorted`` (samples) and ``fixations_outside_trial`` (not within one trial).

    Raises
    ------
    RecordError
        ``bad_table``: not such a table, or no column of time or gaze; ``no_gaze``: no sample.
    """
    export = open_export(Path(path))
    columns = find_columns(export.header)
    eyes = [eye for eye in EYES if f"x_{eye}" in columns and f"y_{eye}" in columns]
    if "time" not in columns or not (eyes or ("x" in columns and "y" in columns)):
        raise bad_table(
            f"{export.name}: expected a column of time, such as 'Recording timestamp [ms]', and columns of gaze in "
            "pixels or shares of the screen, such as 'Gaze point left X [DACS px]'; found "
            f"{', '.join(export.header[:12])}{', ...' if len(export.header) > 12 else ''}"
        )
    if not export.first_line:
        raise RecordError("no_gaze", f"{export.name}: a header and no row")
    table = _Table.read(export, columns, eyes)
    if not len(table):
        raise RecordError("no_gaze", f"{export.name}: no row holds a sample of the eye tracker")
    trials, counts = _trials(table)
    if not trials:
        raise RecordError("no_gaze", f"{export.name}: none of {len(table)} samples belongs to a medium")
    return Recording(
        trials,
        screen_px=table.screen_px(),
        facts={"tracker": "Tobii", "sampling_rate_hz": round(1 / table.step_s, 2) if table.step_s else None},
        counts={code: n for code, n in (counts | {"other_rows": table.other_rows}).items() if n},
    )


@dataclass(frozen=True)
class _Table:
    """The rows of a file that are samples of the eye tracker.

    Attributes
    ----------
    name : str
        Of the file.
    columns : mapping
        Our name to the column of the file.
    time_s : (N,) float64
    gaze : dict of (N,) float64
        Columns of a trial's samples, NaN where an eye is lost.
    numbers, texts : dict
        The other columns, by our names.
    other_rows : int
        Rows of events and of other sensors.
    step_s : float
        Median step of time.
    """

    name: str
    columns: Mapping[str, Column]
    time_s: NDArray[np.float64]
    gaze: dict[str, NDArray[np.float64]]
    numbers: dict[str, NDArray[np.float64]]
    texts: dict[str, Texts]
    other_rows: int
    step_s: float

    def __len__(self) -> int:
        return len(self.time_s)

    @classmethod
    def read(cls, export: Any, columns: Mapping[str, Column], eyes: Sequence[str]) -> _Table:
        """Read the columns that are known, and keep the rows of the eye tracker."""
        used = {ours: column for ours, column in columns.items() if ours not in "xy" or not eyes}
        headers = {ours: column.header for ours, column in used.items()}
        arrays, cells = read_columns(
            export,
            [header for ours, header in headers.items() if ours not in TEXTS],
            [header for ours, header in headers.items() if ours in TEXTS],
        )
        numbers = {ours: arrays[header] for ours, header in headers.items() if ours not in TEXTS}
        texts = {ours: cells[header] for ours, header in headers.items() if ours in TEXTS}
        rows = _eye_tracker_rows(numbers, texts)
        kept = np.flatnonzero(rows)
        numbers = {ours: values[kept] for ours, values in numbers.items()}
        texts = {ours: Texts(text.values, text.codes[kept]) for ours, text in texts.items()}
        step = float(np.median(np.diff(numbers["time"]))) if len(kept) > 1 else 0.0
        unit = time_unit_s(columns["time"], step)
        gaze: dict[str, NDArray[np.float64]] = {}
        for eye in eyes or ("",):
            x, y = (numbers[f"{axis}_{eye}" if eye else axis] for axis in "xy")
            lost = ~(np.isfinite(x) & np.isfinite(y)) | ((x == -1) & (y == -1))
            if (validity := f"validity_{eye}") in texts:
                lost |= ~texts[validity].among(valid_codes(columns[validity]))
            names = [f"{axis}_{eye}_px" for axis in "xy"] if len(eyes) == 2 else POSITION
            gaze |= {name: np.where(lost, np.nan, values) for name, values in zip(names, (x, y), strict=True)}
        return cls(
            export.name,
            columns,
            numbers["time"] * unit,
            gaze,
            numbers,
            texts,
            int((~rows).sum()),
            max(step * unit, 0.0),
        )

    @property
    def units(self) -> str:
        """Of the positions."""
        first = self.columns.get("x_left") or self.columns.get("x_right") or self.columns["x"]
        return "screen_share" if any(part in first.base for part in SHARES) else "screen_px"

    def screen_px(self) -> tuple[int, int] | None:
        """Size of the display, where a row says it."""
        if "screen" in self.texts:
            found = re.search(r"(\d+)\D+(\d+)", next((v for v in self.texts["screen"].values if v), ""))
            return (int(found[1]), int(found[2])) if found else None
        sizes = [self.first(f"screen_{side}", slice(None)) for side in ("width", "height")]
        return None if None in sizes else (round(sizes[0] or 0), round(sizes[1] or 0))

    def first(self, ours: str, rows: slice | NDArray[np.int64]) -> float | None:
        """The first number of a column in some rows, None where there is none or no such column."""
        values = self.numbers.get(ours, np.empty(0))[rows]
        values = values[np.isfinite(values)]
        return float(values[0]) if values.size else None

    def text(self, ours: str, row: int) -> str:
        """A cell, "" where there is no such column."""
        return self.texts[ours].values[self.texts[ours].codes[row]] if ours in self.texts else ""


def _eye_tracker_rows(numbers: Mapping[str, NDArray[np.float64]], texts: Mapping[str, Texts]) -> NDArray[np.bool_]:
    """Rows that are samples: not those of events, or of a mouse or another sensor."""
    timed = np.isfinite(numbers["time"])
    if "sensor" in texts:
        return timed & texts["sensor"].among({EYE_TRACKER})
    validities = [texts[name] for name in ("validity_left", "validity_right") if name in texts]
    if validities:
        return np.asarray(timed & np.any([~validity.among({""}) for validity in validities], axis=0))
    gaze = [np.isfinite(numbers[name]) for name in ("x", "x_left", "x_right") if name in numbers]
    return np.asarray(timed & np.any(gaze, axis=0))


def _trials(table: _Table) -> tuple[tuple[Trial, ...], Counter[str]]:
    """A trial for each run of one medium, and what belongs to none."""
    counts: Counter[str] = Counter()
    keys = [table.texts[name].codes for name in ("recording", "reader", "medium") if name in table.texts]
    changes = np.flatnonzero(np.any([np.diff(key) != 0 for key in keys], axis=0)) + 1 if keys else np.empty(0, int)
    events = _fixations(table)
    inside = 0
    several = len({table.text("recording", row) for row in (0, *changes.tolist())}) > 1
    trials: list[Trial] = []
    names: list[str] = []
    for start, stop in pairwise([0, *changes.tolist(), len(table)]):
        medium = table.text("medium", start) if "medium" in table.texts else None
        if medium is not None and (not medium or medium.lower().startswith(CALIBRATION)):
            counts["samples_outside_trial"] += stop - start
            continue
        rows = slice(start, stop)
        own = None if events is None else events[(events["first"] >= start) & (events["stop"] <= stop)]
        inside += 0 if own is None else len(own)
        stem = "" if medium is None else PurePosixPath(medium).stem
        parts = [table.text("recording", start), stem] if several else [stem]
        names.append(new_name("-".join(parts), names))
        trials.append(
            Trial(
                names[-1],
                _samples(table, rows, counts),
                medium,
                drawn=_drawn(table, rows),
                reader=table.text("reader", start) or None,
                fixations=None if own is None else _of_trial(own, float(table.time_s[start])),
                units=table.units,
            )
        )
    counts["fixations_outside_trial"] = (0 if events is None else len(events)) - inside
    return (replace(trials[0], name=""),) if len(trials) == 1 else tuple(trials), counts


def _fixations(table: _Table) -> pd.DataFrame | None:
    """Fixations of Tobii's filter with their rows, `first` up to `stop`; None where none was exported."""
    import pandas as pd

    if "event" not in table.texts:
        return None
    rows = np.flatnonzero(table.texts["event"].among({FIXATION}))
    if "event_index" in table.numbers:
        changes = np.diff(np.nan_to_num(table.numbers["event_index"][rows], nan=-1.0)) != 0
    else:
        changes = np.diff(rows) > 1
    for name in ("recording", "reader"):
        if name in table.texts:
            changes |= np.diff(table.texts[name].codes[rows]) != 0
    starts = np.flatnonzero(np.r_[True, changes][: len(rows)])
    first, stop = rows[starts], rows[np.append(starts[1:], len(rows))[: len(starts)] - 1] + 1
    columns = {"first": first, "stop": stop, TIMES[0]: table.time_s[first], TIMES[1]: table.time_s[stop - 1]}
    for axis, name in zip("xy", POSITION, strict=True):
        columns[name] = _mean_gaze(table, axis, first, stop)
        if f"fixation_{axis}" in table.numbers:
            point = table.numbers[f"fixation_{axis}"][first]
            columns[name] = np.where(np.isfinite(point), point, columns[name])
    return pd.DataFrame(columns)


def _mean_gaze(table: _Table, axis: str, first: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of the recorded positions of both eyes from each `first` row to each `stop`; NaN where there is none."""
    total, number = np.zeros(len(first)), np.zeros(len(first))
    for name, values in table.gaze.items():
        if name.startswith(axis):
            seen = np.isfinite(values)
            sums = np.r_[0.0, np.cumsum(np.where(seen, values, 0.0))]
            counts = np.r_[0, np.cumsum(seen)]
            total += sums[stop] - sums[first]
            number += counts[stop] - counts[first]
    return np.asarray(np.divide(total, number, out=np.full(len(first), np.nan), where=number > 0))


def _of_trial(fixations: pd.DataFrame, zero_s: float) -> pd.DataFrame:
    """Fixations as those of a trial that begins at `zero_s`."""
    own = fixations[[*TIMES, *POSITION]].reset_index(drop=True)
    own[list(TIMES)] -= zero_s
    return own


def _samples(table: _Table, rows: slice, counts: Counter[str]) -> pd.DataFrame:
    import pandas as pd

    time = table.time_s[rows]
    samples = pd.DataFrame({"time_s": time - time[0]} | {name: values[rows] for name, values in table.gaze.items()})
    if (backwards := int((np.diff(time) < 0).sum())) > 0:
        counts["unsorted"] += backwards
        samples = samples.sort_values("time_s", kind="stable", ignore_index=True)
    return samples


def _drawn(table: _Table, rows: slice) -> Box | None:
    """Where the medium stood on the screen."""
    x, y, width, height = (table.first(f"medium_{name}", rows) for name in ("x", "y", "width", "height"))
    if x is None or y is None or width is None or height is None:
        return None
    if width <= 0 or height <= 0:
        raise bad_table(f"{table.name}: a medium is drawn without an area, {width:g} x {height:g} pixels")
    return x, y, x + width, y + height
