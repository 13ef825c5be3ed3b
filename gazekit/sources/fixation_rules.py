"""Which rows of a fixation table are used, whatever recorded them: what is dropped is counted, what is odd is said.

A position off the image is no fault: readers look at the border of the screen, and the tail of such a fixation's
Gaussian counts. It is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import DROPPED, EmptyGazeError, InputError
from gazekit.reading import FIXATION_COLUMNS, OPTIONAL_COLUMNS, POSITION, PX_PER_DEG, SHOWN, TIMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Columns = Mapping[str, NDArray[np.float64]]

MIN_PX_PER_DEG = 0.5
"""Fewer image pixels a degree are absurd, as is a degree that spans more than the image."""

LONG_FIXATION_S = 10.0
LONG_FIXATION_RATIO = 30.0
"""A fixation longer than this, or than this many medians, is warned of."""

MILLISECONDS_MEDIAN_S = 50.0
"""No reader's median fixation lasts this many seconds; one of 50 ms is among the shortest."""

_TIME_TOLERANCE_S = 1e-9


@dataclass(frozen=True)
class UsableFixations:
    """A canonical fixation table, time-ordered, with what was dropped (`counts`) and what is odd (`warnings`)."""

    fixations: pd.DataFrame
    counts: dict[str, int]
    warnings: tuple[str, ...]


def usable_fixations(
    columns: Columns,
    *,
    image_shape: tuple[int, int],
    not_number: NDArray[np.bool_],
    lines: Sequence[int],
    name: str,
    units_checked: bool = False,
) -> UsableFixations:
    """Drop the rows that cannot be used, order the rest, and say what is odd.

    Parameters
    ----------
    columns : mapping
        Canonical column name to (N,) float64 in the units of the canonical table, NaN where missing. px_per_deg and
        shown columns may be absent for a source that has none.
    image_shape : (H, W)
    not_number : (N,) bool
        Rows with text where a number belongs.
    lines : sequence of int
        Line of the file of each row.
    name : str
        What messages call the file.
    units_checked : bool
        The numbers were held against their units already, where they were still as recorded.

    Returns
    -------
    UsableFixations
        `counts` holds the codes of `DROPPED`, ``zero_duration`` (kept, weight 0) and ``unsorted`` (rows that began
        before the one above them).

    Raises
    ------
    InputError
        Coordinates that are normalised, or times that are milliseconds: every reading of the data set would be wrong.
    EmptyGazeError
        No row is left.
    """
    import pandas as pd

    if not units_checked:
        _check_units(columns, name)
    names = [column for column in (*FIXATION_COLUMNS, *OPTIONAL_COLUMNS) if column in columns]
    rows = np.column_stack([columns[column] for column in names])
    keep = np.ones(len(rows), dtype=bool)
    counts: dict[str, int] = {}
    warnings: list[str] = []
    faults = _faults(columns, image_shape, not_number)
    for code, meaning in DROPPED.items():
        bad = keep & (_repeated(rows, keep) if code == "duplicate" else faults[code])
        if bad.any():
            counts[code] = int(bad.sum())
            line = lines[int(bad.argmax())]
            warnings.append(f"{name}: dropped {counts[code]} of {len(rows)} rows, the first at line {line}: {meaning}")
        keep &= ~bad
    if not keep.any():
        why = ", ".join(f"{code} {n}" for code, n in counts.items())
        raise EmptyGazeError("empty_map", f"{name}: none of its {len(rows)} rows is a usable fixation ({why})")
    rows = rows[keep]
    onset = rows[:, names.index("onset_s")]
    if (unsorted := int((np.diff(onset) < 0).sum())) > 0:
        counts["unsorted"] = unsorted
        warnings.append(f"{name}: {unsorted} rows begin before the row above them; sorted by onset")
        rows = rows[np.argsort(onset, kind="stable")]
    kept = {column: rows[:, k] for k, column in enumerate(names)}
    if (still := int((kept["offset_s"] == kept["onset_s"]).sum())) > 0:
        counts["zero_duration"] = still
    warnings += _oddities(kept, image_shape, name)
    return UsableFixations(pd.DataFrame(rows, columns=names), counts, tuple(warnings))


def _repeated(rows: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that repeat an earlier one of `among`, NaN being equal to NaN."""
    seen: set[bytes] = set()
    repeated = np.zeros(len(rows), dtype=bool)
    for k in np.flatnonzero(among):
        row = (rows[k] + 0.0).tobytes()  # -0.0 becomes 0.0
        repeated[k] = row in seen
        seen.add(row)
    return repeated


def _finite(columns: Columns, names: Sequence[str]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite([columns[name] for name in names]).all(axis=0))


def _check_units(columns: Columns, name: str) -> None:
    """Units are never guessed, but a table that contradicts its format's units is not read."""
    position = _finite(columns, POSITION)
    x, y = (columns[axis][position] for axis in POSITION)
    if len(x) and max(np.abs(x).max(), np.abs(y).max()) <= 1:
        raise InputError(
            f"{name}: every x and y is within 1: normalised coordinates where image pixels are expected; "
            "multiply them by the image size"
        )
    durations = columns["offset_s"] - columns["onset_s"]
    durations = durations[np.isfinite(durations)]
    if len(durations) and np.median(durations) > MILLISECONDS_MEDIAN_S:
        raise InputError(
            f"{name}: the median fixation lasts {np.median(durations):.4g} s: milliseconds where seconds are "
            "expected; divide the times by 1000"
        )


def _faults(
    columns: Columns, image_shape: tuple[int, int], not_number: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """For each code of `DROPPED` but ``duplicate``, the rows that it is true of."""
    none = np.zeros(len(not_number), dtype=bool)
    onset, offset = (columns[name] for name in TIMES)
    faults = {
        "not_a_number": not_number,
        "missing_time": ~_finite(columns, TIMES),
        "missing_position": ~_finite(columns, POSITION),
        "end_before_start": offset < onset,
        "bad_resolution": none,
        "bad_rectangle": none,
    }
    if PX_PER_DEG[0] in columns:
        resolution = np.stack([columns[name] for name in PX_PER_DEG])
        sane = (resolution >= MIN_PX_PER_DEG) & (resolution <= max(image_shape))
        faults["bad_resolution"] = np.asarray(~sane.all(axis=0))
    if SHOWN[0] in columns:
        x0, y0, x1, y1 = (columns[name] for name in SHOWN)
        faults["bad_rectangle"] = ~((x0 < x1) & (y0 < y1) & _finite(columns, SHOWN))
    return faults


def _oddities(columns: Columns, image_shape: tuple[int, int], name: str) -> list[str]:
    """What is kept but should be looked at."""
    found = []
    onset, offset = (columns[column] for column in TIMES)
    durations = offset - onset
    limit = min(LONG_FIXATION_S, LONG_FIXATION_RATIO * float(np.median(durations)) or LONG_FIXATION_S)
    if (long := int((durations > limit).sum())) > 0:
        found.append(
            f"{name}: {long} fixations are longer than {limit:.3g} s (10 s, or 30 times the median), the longest "
            f"{durations.max():.4g} s"
        )
    if (overlapping := int((np.maximum.accumulate(offset)[:-1] > onset[1:] + _TIME_TOLERANCE_S).sum())) > 0:
        found.append(f"{name}: {overlapping} fixations begin before an earlier one has ended; kept")
    height, width = image_shape
    x, y = (columns[column] for column in POSITION)
    inside = np.mean((x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5))
    if inside < 0.5 < np.mean((y >= -0.5) & (y < width - 0.5) & (x >= -0.5) & (x < height - 0.5)):
        found.append(
            f"{name}: {1 - inside:.0%} of the positions are off the image, and most would be on it with x and y "
            "exchanged: are the axes swapped, or the image rotated?"
        )
    return found
