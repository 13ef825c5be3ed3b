"""Any table of gaze: samples or fixations in a CSV, TSV or Parquet file whose columns a spec names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import InputError
from gazekit.geometry import Screen
from gazekit.reading import POSITION, PX_PER_DEG, Readings
from gazekit.sources.paths import check_id, check_path, picture_name
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.spec import SECONDS, Spec, read_spec
from gazekit.sources.table_columns import SUFFIXES, Columns, Texts, column_names, read_columns
from gazekit.sources.tables import bad_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.float64]]

LEFT, RIGHT = ("x_left_px", "y_left_px"), ("x_right_px", "y_right_px")

GAZE_COLUMNS = {
    "x": POSITION[0],
    "y": POSITION[1],
    "x_left": LEFT[0],
    "y_left": LEFT[1],
    "x_right": RIGHT[0],
    "y_right": RIGHT[1],
    "px_per_deg_x": PX_PER_DEG[0],
    "px_per_deg_y": PX_PER_DEG[1],
    "pupil": "pupil_area_norm",
}
"""Name in ``[columns]`` to the column it becomes."""

TIME_COLUMNS = {"time": "time_s", "onset": "onset_s", "offset": "offset_s", "duration": "duration_s"}
GROUPS = ("reader", "stimulus", "trial")
TEXT_COLUMNS = (*GROUPS, "validity", "validity_left", "validity_right")

DEFAULT_COLUMNS = MappingProxyType({**TIME_COLUMNS, **GAZE_COLUMNS, **{name: name for name in TEXT_COLUMNS}})
"""What the columns are taken to be called where a spec has no ``[columns]``: those of `gazekit`'s own tables."""


def read_table(
    root: str | Path,
    *,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open tables of gaze samples or fixations.

    Parameters
    ----------
    root : path
        A ``.csv``, ``.tsv`` or ``.parquet`` file, or a folder of them, at any depth.
    images : path, optional
        Where the images lie. Without it the image of every trial is the screen itself.
    spec : path or Spec, optional
        What the columns are called, units, codes of lost gaze, screen, stimuli: see `gazekit.sources.spec`. Without
        ``[columns]`` the columns are called as those of gazekit's own tables: ``time_s, x_px, y_px`` and so on.
    screen : Screen, optional
        Counts in place of the spec's ``[screen]``.

    Returns
    -------
    Readings
        One for each reader, stimulus and trial of each file; without those columns, one a file.

    Raises
    ------
    InputError
        As `gazekit.sources.recordings.read_recordings`; columns that make neither samples nor fixations.
    """
    spec = read_spec(spec)
    if spec.columns:
        _check_columns(spec.columns, "[columns]")
    return read_recordings(
        root,
        dataset="table",
        parse=partial(parse_table, spec=spec),
        suffixes=SUFFIXES,
        images=images,
        spec=spec,
        screen=screen,
    )


def parse_table(path: Path, *, spec: Spec) -> Recording:
    """Read one table.

    Parameters
    ----------
    path : Path
    spec : Spec
        ``[columns]``, ``[units]`` and ``[lost]`` count, and the ids that ``[[stimulus]]`` and ``[readers]`` give.

    Returns
    -------
    Recording
        One trial for each reader, stimulus and trial, named by them, in order of their first rows. Rows without a
        stimulus, where there is such a column, are counted (``no_stimulus``) and left out.

    Raises
    ------
    RecordError
        ``bad_table``: the file is not as the spec says.
    InputError
        A reader, stimulus or trial that cannot be part of an id.
    """
    import pandas as pd

    name = path.name
    theirs = spec.columns or _present(column_names(path, name=name))
    _check_columns(theirs, name)
    columns = read_columns(
        path,
        numbers=[theirs[key] for key in (*TIME_COLUMNS, *GAZE_COLUMNS) if key in theirs],
        texts=[theirs[key] for key in TEXT_COLUMNS if key in theirs],
        missing=[code for code in spec.lost.positions if isinstance(code, str)],
        name=name,
    )
    gaze = {ours: columns.numbers[theirs[key]] for key, ours in GAZE_COLUMNS.items() if key in theirs}
    _forget_lost(gaze, columns, theirs, spec)
    times = {key: columns.numbers[theirs[key]] * SECONDS[spec.units.time] for key in TIME_COLUMNS if key in theirs}
    table = pd.DataFrame((_fixations if "onset" in times else _samples)(times, gaze, columns, name), copy=False)
    groups = [key for key in GROUPS if key in theirs]
    trials = []
    left_out = 0
    for texts, rows in _groups([columns.texts[theirs[key]] for key in groups], len(table)):
        said = dict(zip(groups, texts, strict=True))
        if said.get("stimulus") == "":
            left_out += len(columns.lines[rows])
        else:
            trials.append(_trial(said, table.iloc[rows], spec, f"{name}, line {columns.lines[rows][0]}"))
    return Recording(tuple(trials), counts={"no_stimulus": left_out} if left_out else {})


def _present(names: Sequence[str]) -> dict[str, str]:
    return {key: ours for key, ours in DEFAULT_COLUMNS.items() if ours in names}


def _check_columns(columns: Collection[str], where: str) -> None:
    """`InputError` unless the columns make samples or fixations."""
    has = set(columns).issuperset
    if has(("time",)) and (has(("x", "y")) or has(("x_left", "y_left")) or has(("x_right", "y_right"))):
        if "onset" not in columns:
            return
    elif has(("onset", "x", "y")) and ("offset" in columns or "duration" in columns):
        return
    raise InputError(
        f"{where}: expected time and x, y (or x_left, y_left, x_right, y_right) for samples, or onset, offset (or "
        f"duration), x, y for fixations; found {', '.join(columns) or 'none of them'}; name them under [columns] of "
        '--spec, as in time = "t [ms]"'
    )


def _forget_lost(gaze: Arrays, columns: Columns, theirs: Mapping[str, str], spec: Spec) -> None:
    """NaN where the table says, by a code or by a validity, that gaze was lost."""
    codes = [code for code in spec.lost.positions if not isinstance(code, str)]
    for pair, validity in ((POSITION, "validity"), (LEFT, "validity_left"), (RIGHT, "validity_right")):
        if pair[0] not in gaze or pair[1] not in gaze:
            continue
        x, y = (gaze[name] for name in pair)
        lost = ~(np.isfinite(x) & np.isfinite(y))
        if codes:
            lost |= np.isin(x, codes) & np.isin(y, codes)
        if validity in theirs:
            texts = columns.texts[theirs[validity]]
            invalid = np.array([value in spec.lost.validity for value in texts.values])
            lost |= invalid[texts.codes]
        if lost.any():
            gaze.update({name: np.where(lost, np.nan, gaze[name]) for name in pair})


def _samples(times: Arrays, gaze: Arrays, columns: Columns, name: str) -> Arrays:
    for column, wrong in columns.not_number.items():
        row = int(wrong.argmax())
        raise bad_table(f"{name}, line {columns.lines[row]}, column {column!r}: expected a number, found text")
    if (timeless := ~np.isfinite(times["time"])).any():
        row = int(timeless.argmax())
        raise bad_table(f"{name}, line {columns.lines[row]}: {int(timeless.sum())} rows have no time, this the first")
    # one eye alone is the gaze
    for eye, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        if POSITION[0] not in gaze and eye[0] in gaze and other[0] not in gaze:
            gaze.update({ours: gaze.pop(column) for ours, column in zip(POSITION, eye, strict=True)})
    return {"time_s": times["time"]} | gaze


def _fixations(times: Arrays, gaze: Arrays, columns: Columns, name: str) -> dict[str, Any]:
    offset = times["offset"] if "offset" in times else times["onset"] + times["duration"]
    wrong = np.zeros(len(offset), bool)
    for rows in columns.not_number.values():
        wrong |= rows
    return {"onset_s": times["onset"], "offset_s": offset, "line": columns.lines, "not_number": wrong} | gaze


def _groups(columns: Sequence[Texts], length: int) -> Iterator[tuple[tuple[str, ...], slice | NDArray[np.int64]]]:
    """Each different row of texts with the rows that it is in, in order of the first."""
    if not columns:
        yield (), slice(0, length)
        return
    code = np.zeros(length, np.int64)
    for column in columns:
        code = code * len(column.values) + column.codes
    edges = np.flatnonzero(np.diff(code)) + 1
    runs: dict[int, list[NDArray[np.int64]]] = {}
    for start, stop in pairwise([0, *edges.tolist(), length]):
        runs.setdefault(int(code[start]), []).append(np.arange(start, stop))
    for found in runs.values():
        first = int(found[0][0])
        texts = tuple(column.values[column.codes[first]] for column in columns)
        yield texts, slice(first, first + len(found[0])) if len(found) == 1 else np.concatenate(found)


def _trial(said: Mapping[str, str], table: pd.DataFrame, spec: Spec, where: str) -> Trial:
    """The trial of a group of rows, the first of which is at `where`."""
    stimulus, reader = said.get("stimulus"), said.get("reader")
    parts = dict(said)
    if reader is not None:
        parts["reader"] = reader = spec.readers.get(reader, reader)
    if stimulus is not None and stimulus in spec.stimulus:
        parts["stimulus"] = spec.stimulus[stimulus].image_id
    if stimulus is None or not spec.stimuli.ignores(stimulus):
        for key, part in parts.items():
            (check_path if key == "stimulus" else check_id)(part or "-", f"{where}, {key}")
    parts = {key: picture_name(part) if key == "stimulus" else part for key, part in parts.items()}
    make = partial(
        Trial, ".".join(filter(None, parts.values())), stimulus=stimulus, reader=reader, units=spec.units.position
    )
    if "onset_s" in table.columns:
        return make(table.iloc[:0], fixations=table)
    time = table["time_s"].to_numpy()
    return make(table.assign(time_s=time - time.min()))
