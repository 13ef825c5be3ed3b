"""EGD-CXR's raw gaze (gaze-formats 2.3): one table of 1.5 million rows for all images, of which a reading needs 0.1 %.

The table is gone through once, for where each image's rows lie; after that a reading costs its own bytes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.reading import POSITION
from gazekit.sources.egd_format import FIXATIONS_FILE, GAZE_ID, SAMPLE_COLUMNS, SAMPLE_TIME
from gazekit.sources.egd_mapping import SCREEN_PX, Placement
from gazekit.sources.egd_reading import GazeOptions, place_columns
from gazekit.sources.table_file import Refuse, open_table
from gazekit.sources.tables import MAX_LINE_BYTES, Table, bad_table, parse_numbers, read_header, read_records

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive rows of one image: bytes [start, stop) of the file, after `line_before` lines."""

    start: int
    stop: int
    line_before: int


def read_egd_samples(
    path: Path,
    image_id: str,
    placement: Placement,
    options: GazeOptions,
    *,
    media: tuple[tuple[float, float], ...],
    offset_px: tuple[float, float] = (0.0, 0.0),
    refuse: Refuse = InputError,
) -> pd.DataFrame:
    """Raw gaze on one image, 60 Hz: ``time_s, x_px, y_px`` and what `place_columns` adds; NaN where BPOGV is not 1.

    Positions are BPOGX and BPOGY through the published mapping, not truncated, on the image or off it. Only rows of
    `media`, pairs of session and medium, count: a copy of the data set has calibration screens under ids of images.

    Raises
    ------
    InputError, or what `refuse` makes
        There is no such table, or it is not as the format says.
    RecordError
        ``no_gaze``: this image is not in it; ``bad_table``: a cell is no number, or the time runs backwards.
    """
    import pandas as pd

    name = str(path) if refuse is InputError else path.name  # what costs one reading is kept in the cache
    file = path.stat() if path.exists() else None
    header, runs = _index(path, name, refuse, (file.st_size, file.st_mtime_ns) if file else (0, 0))
    if image_id not in runs:
        raise RecordError("no_gaze", f"{path.name}: no row of {image_id}")
    parts = [_numbers(path, header, run, name, refuse) for run in runs[image_id]]
    columns = {column: np.concatenate([part[column] for part in parts]) for column in SAMPLE_COLUMNS}
    own = [(columns["SESSION_ID"] == session) & (columns["MEDIA_ID"] == medium) for session, medium in media]
    columns = {column: values[np.any(own, axis=0)] for column, values in columns.items()}
    time = columns[SAMPLE_TIME]
    if not len(time):
        raise RecordError("no_gaze", f"{path.name}: no row of {image_id} in the session that {FIXATIONS_FILE} names")
    if not np.isfinite(time).all() or (np.diff(time) < 0).any():
        line = runs[image_id][0].line_before + 1
        raise bad_table(f"{path.name}, from line {line} on: the time of {image_id} is missing or runs backwards")
    points = np.stack([columns["BPOGX"], columns["BPOGY"]], axis=1) * SCREEN_PX + offset_px
    points[columns["BPOGV"] != 1] = np.nan
    image = placement.image_points(points)
    samples = {"time_s": time} | {axis: image[:, k] for k, axis in enumerate(POSITION)}
    return pd.DataFrame(samples | place_columns(points, placement, options.screen))


@lru_cache(maxsize=2)
def _index(
    path: Path, name: str, refuse: Refuse, version: tuple[int, int]
) -> tuple[tuple[str, ...], dict[str, tuple[_Run, ...]]]:
    """Header, and the runs of each id; `version` makes a changed file a new one."""
    with open_table(path, name, refuse) as file:
        header = read_header(read_records(file, name, refuse, {}), (GAZE_ID, *SAMPLE_COLUMNS), name, refuse)
        column = header.index(GAZE_ID)
        file.seek(0)
        current, position, start, before = b"", 0, 0, 0
        runs: dict[bytes, list[_Run]] = {}
        for line, text in enumerate(file, start=1):
            size = len(text)
            if size > MAX_LINE_BYTES:
                raise refuse(f"{name}, line {line}: longer than {MAX_LINE_BYTES:,} bytes; this is not a table")
            cells = text.split(b",", column + 1)
            if len(cells) <= column + 1 and text.strip():
                raise refuse(f"{name}, line {line}: expected {len(header)} cells, found {len(cells)}")
            # a blank line belongs to the rows before it
            if len(cells) > column and cells[column] != current:
                if not cells[column].strip(b' "'):
                    raise refuse(f"{name}, line {line}, column {GAZE_ID!r}: expected an id, found nothing")
                runs.setdefault(current, []).append(_Run(start, position, before))
                current, start, before = cells[column], position, line - 1
            position += size
        runs.setdefault(current, []).append(_Run(start, position, before))
    del runs[b""]  # the byte order mark and blank lines before the header, if any
    found = {key.strip(b'"').decode("utf-8", "replace"): tuple(value) for key, value in runs.items()}
    found.pop(GAZE_ID, None)
    if not found:
        raise refuse(f"{name}: a header and no rows; the file is incomplete, download it again")
    return tuple(header), found


def _numbers(
    path: Path, header: tuple[str, ...], run: _Run, name: str, refuse: Refuse
) -> dict[str, NDArray[np.float64]]:
    """The needed columns of one run; what the fast parser refuses, the strict one reads, or says where the fault is."""
    with path.open("rb") as file:
        file.seek(run.start)
        content = file.read(run.stop - run.start)
    arrays = parse_numbers(content, header, 0, SAMPLE_COLUMNS)
    if arrays is not None:
        return arrays
    lines: list[int] = []
    rows: list[list[str]] = []
    part = io.BytesIO(content)
    for line, cells in read_records(part, name, refuse, {}, line_before=run.line_before, offset=run.start):
        if len(cells) != len(header):
            raise refuse(f"{name}, line {line}: expected {len(header)} cells, found {len(cells)}")
        lines.append(line)
        rows.append(cells)
    table = Table(name, {c: [row[header.index(c)] for row in rows] for c in SAMPLE_COLUMNS}, lines, refuse=bad_table)
    arrays = {}
    for column in SAMPLE_COLUMNS:
        arrays[column], not_number = table.numbers(column)
        if not_number.any():
            raise table.refusal(int(not_number.argmax()), column, "a number")
    return arrays
