"""Gazepoint Analysis: ``<user>_all_gaze.csv``, every record of a recording, and ``<user>_fixations.csv``.

Sources: the columns are those of the Gazepoint Open Gaze API and of the 37 that EGD-CXR publishes (gaze-formats 2.3);
the order of an export of version 7.3, the trailing comma of some versions, that ``TIME`` and ``FPOGID`` begin again
with each medium, and that the fixations file is the last valid record of each fixation, are as users describe their
exports in public. Not confirmed: that every version begins ``TIME`` again; where one does not, times count from the
start of the recording.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import RecordError
from gazekit.ids import is_id
from gazekit.reading import Readings
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.tables import Table, bad_table, read_table, shorten

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.geometry import Screen
    from gazekit.sources.spec import Spec

ALL_GAZE, FIXATIONS = "_all_gaze.csv", "_fixations.csv"
"""How the names of the two exports end."""

_FIXATION = ("FPOGX", "FPOGY", "FPOGS", "FPOGD", "FPOGID", "FPOGV")
_GAZE = ("BPOGX", "BPOGY", "BPOGV")
_NUMBERS = ("TIME", *_FIXATION, *_GAZE)
_UNREAD = (
    *("CNT", "TIMETICK", "LPOGX", "LPOGY", "LPOGV", "RPOGX", "RPOGY", "RPOGV", "CX", "CY", "CS", "KB", "KBS"),
    *("USER", "LPCX", "LPCY", "LPD", "LPS", "LPV", "RPCX", "RPCY", "RPD", "RPS", "RPV", "LEYEX", "LEYEY", "LEYEZ"),
    *("LPUPILD", "LPUPILV", "REYEX", "REYEY", "REYEZ", "RPUPILD", "RPUPILV", "BKID", "BKDUR", "BKPMIN", "LPMM"),
    *("LPMMV", "RPMM", "RPMMV", "DIAL", "DIALV", "GSR", "GSR_US", "GSR_US_TONIC", "GSR_US_PHASIC", "GSRV", "HR"),
    *("HRV", "HRP", "IBI", "TTL0", "TTL1", "TTL2", "TTL3", "TTL4", "TTL5", "TTL6", "TTLV", "PIXS", "PIXV", "AOI"),
    *("SACCADE_MAG", "SACCADE_DIR", "VID_FRAME"),
)
"""Columns of the format that are not used."""


def read_gazepoint(
    root: str | Path,
    *,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open a folder of Gazepoint Analysis exports; each medium shown is a reading.

    Parameters
    ----------
    root : path
        Searched for ``*_all_gaze.csv``, and for ``*_fixations.csv`` that have no all-gaze file beside them.
    images, spec, screen
        As in `gazekit.sources.recordings.read_recordings`; Gazepoint writes shares of the screen, so its size in
        pixels and millimetres and its distance must come from one of the last two.

    Returns
    -------
    Readings

    Raises
    ------
    InputError
        As `gazekit.sources.recordings.read_recordings`.

    Notes
    -----
    Fixations are Gazepoint's own unless the spec says otherwise.
    """
    return read_recordings(
        root,
        dataset="gazepoint",
        parse=parse_gazepoint,
        suffixes=(ALL_GAZE, FIXATIONS),
        images=images,
        spec=spec,
        screen=screen,
    )


def parse_gazepoint(path: Path) -> Recording:
    """Read one export.

    Parameters
    ----------
    path : Path
        ``*_fixations.csv`` gives fixations only.

    Returns
    -------
    Recording
        One trial for each run of one ``MEDIA_ID``, named by it (and ``-2`` and so on when it is shown again), positions
        in shares of the screen. Samples are the best point of gaze ``BPOGX, BPOGY``, lost where ``BPOGV`` is 0; a
        fixation is the last record of its ``FPOGID`` with ``FPOGV`` = 1, from ``FPOGS`` for ``FPOGD`` seconds.

    Raises
    ------
    RecordError
        ``bad_table``, or ``no_gaze`` for a file without a record.
    """
    table = read_table(
        path,
        required=("TIME", *_FIXATION),
        optional=("MEDIA_ID", "MEDIA_NAME", *_GAZE),
        name=path.name,
        refuse=bad_table,
        may_be_empty=True,
        rename=_column_name,
    )
    if not len(table):
        raise RecordError("no_gaze", f"{path.name}: a header and no record")
    numbers, counts, warnings = _numbers(table)
    media = table.columns.get("MEDIA_ID", ("0",) * len(table))
    names = table.columns.get("MEDIA_NAME", ("",) * len(table))
    has_samples = not path.name.endswith(FIXATIONS) and all(column in table for column in _GAZE)
    trials = []
    for name, rows in _trials(media):
        own = {column: values[rows] for column, values in numbers.items()}
        samples = _samples(own, counts) if has_samples else _no_samples()
        fixations = _fixations(own, table.lines[rows])
        trials.append(Trial(name, samples, names[rows.start] or None, fixations=fixations, units="screen_share"))
    return Recording(tuple(trials), facts={"tracker": "gazepoint"}, counts=counts, warnings=tuple(warnings))


def _column_name(written: str) -> str:
    """``TIME(2026/01/31 10:00:00.000)`` and ``Time (in secs)`` are TIME: the date of a recording is not kept."""
    name = re.sub(r"\s*\(.*", "", written.strip())
    return "TIME" if name == "Time" else name


def _numbers(table: Table) -> tuple[dict[str, NDArray[np.float64]], dict[str, int], list[str]]:
    """The number columns, NaN where a cell is none, with what was counted and is odd."""
    numbers: dict[str, NDArray[np.float64]] = {}
    counts = dict(table.fixes)
    warnings: list[str] = []
    if odd := [column for column in table.unknown if column and column not in _UNREAD]:
        warnings.append(f"{table.name}: unknown columns {', '.join(map(shorten, odd))} are ignored")
    for column in _NUMBERS:
        if column in table:
            numbers[column], wrong = table.numbers(column)
            if wrong.any():
                counts["not_a_number"] = counts.get("not_a_number", 0) + int(wrong.sum())
                warnings.append(f"{table.refusal(int(wrong.argmax()), column, 'a number')}; taken as missing")
    return numbers, counts, warnings


def _trials(media: Sequence[str]) -> Iterator[tuple[str, slice]]:
    """Name and rows of each run of one medium."""
    starts = [k for k in range(len(media)) if k == 0 or media[k] != media[k - 1]]
    shown: dict[str, int] = {}
    for start, stop in zip(starts, [*starts[1:], len(media)], strict=True):
        name = media[start] if is_id(media[start]) else "media"
        shown[name] = shown.get(name, 0) + 1
        yield name if shown[name] == 1 else f"{name}-{shown[name]}", slice(start, stop)


def _samples(own: dict[str, NDArray[np.float64]], counts: dict[str, int]) -> pd.DataFrame:
    import pandas as pd

    timed = np.isfinite(own["TIME"])
    if not timed.all():
        counts["missing_time"] = counts.get("missing_time", 0) + int((~timed).sum())
    lost = own["BPOGV"] != 1
    columns = {"time_s": own["TIME"]}
    columns |= {ours: np.where(lost, np.nan, own[theirs]) for ours, theirs in (("x_px", "BPOGX"), ("y_px", "BPOGY"))}
    return pd.DataFrame(columns)[timed].reset_index(drop=True)


def _no_samples() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: np.zeros(0) for name in ("time_s", "x_px", "y_px")})


def _fixations(own: dict[str, NDArray[np.float64]], lines: Sequence[int]) -> pd.DataFrame:
    import pandas as pd

    valid = np.flatnonzero(own["FPOGV"] == 1)
    number = own["FPOGID"][valid]
    last = valid[np.append(number[1:] != number[:-1], True)[: len(number)]]
    onset = own["FPOGS"][last]
    columns = {"onset_s": onset, "offset_s": onset + own["FPOGD"][last]}
    columns |= {"x_px": own["FPOGX"][last], "y_px": own["FPOGY"][last], "line": np.array(lines)[last]}
    return pd.DataFrame(columns)
