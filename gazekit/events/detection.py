"""Samples in, canonical fixations out."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import InputError
from gazekit.events.adaptive import adaptive
from gazekit.events.i2mc import i2mc
from gazekit.events.idt import idt
from gazekit.events.ihmm import ihmm
from gazekit.events.ivt import ivt
from gazekit.events.runs import Runs, valid_sums
from gazekit.events.samples import clean_samples, column, trace_clean
from gazekit.events.trace import MAX_GAP_S, Trace
from gazekit.geometry import Screen, screen_px_per_degree
from gazekit.reading import FIXATION_COLUMNS, OPTIONAL_COLUMNS, POSITION, PX_PER_DEG, SHOWN, TIMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

ALGORITHMS: dict[str, Callable[..., Runs]] = {
    "adaptive": adaptive,
    "ivt": ivt,
    "idt": idt,
    "ihmm": ihmm,
    "i2mc": i2mc,
}
"""Name to function of a `Trace`; its thresholds are its keywords."""


def detect_fixations(
    samples: pd.DataFrame,
    screen: Screen | None = None,
    algorithm: str = "adaptive",
    *,
    max_gap: float = MAX_GAP_S,
    **thresholds: Any,
) -> pd.DataFrame:
    """Fixations of one recording.

    Parameters
    ----------
    samples : DataFrame
        ``time_s`` (seconds, any steps) and ``x_px, y_px``, NaN where the eye was lost; or, for two eyes,
        ``x_left_px, y_left_px, x_right_px, y_right_px``. Optional: ``px_per_deg_x, px_per_deg_y`` at each sample,
        ``shown_*_px`` and the other columns of a canonical fixation table.
    screen : Screen, optional
        Needed unless the samples have px_per_deg columns; positions are then screen pixels. With those columns it is
        not used.
    algorithm : {"adaptive", "ivt", "idt", "ihmm", "i2mc"}
    max_gap : float
        Seconds. No fixation spans two successive recorded samples further apart than this.
    **thresholds
        Keywords of the algorithm's function: `gazekit.events.adaptive.adaptive` and so on. All know
        ``minimum_duration``, ``merge_gap`` (seconds) and ``merge_distance`` (degrees).

    Returns
    -------
    DataFrame
        Canonical fixations in order of time. ``offset_s`` is the time of the last sample, so that n samples at 1 kHz
        last n - 1 ms. The position is the mean of the recorded samples, in the pixels of `samples`; what else the
        samples tell is that of the sample in the middle of the fixation. From a screen, px_per_deg is the screen's
        at that place, and the shown rectangle is the screen. Columns nobody knows are left out.

    Raises
    ------
    InputError
        A missing or wrong column, a threshold the algorithm does not know or out of range, no way to degrees.
    EmptyGazeError
        ``no_gaze``: no row, or no recorded position.

    Warns
    -----
    UserWarning
        Samples that had to be sorted or dropped; recorded gaze without any fixation.
    """
    check_thresholds(algorithm, thresholds)
    detect = ALGORITHMS[algorithm]
    samples = clean_samples(samples)
    trace = trace_clean(samples, screen, max_gap=max_gap)
    runs = detect(trace, **thresholds)
    if not len(runs):
        warnings.warn(
            f"{algorithm} found no fixation in {int(trace.valid.sum())} recorded samples over "
            f"{trace.time_s[-1] - trace.time_s[0]:.3g} s; look at the units, the gaps and the thresholds",
            stacklevel=2,
        )
    return _table(samples, trace, runs, screen)


def check_thresholds(algorithm: str, names: Iterable[str]) -> None:
    """`InputError` unless there is such an algorithm, and each name is a keyword of its function, or ``max_gap``."""
    if algorithm not in ALGORITHMS:
        raise InputError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    parameters = inspect.signature(ALGORITHMS[algorithm]).parameters
    known = ["max_gap", *(name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY)]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise InputError(
                f"{algorithm} has no threshold {name!r}{f'; did you mean {close[0]!r}?' if close else ''}; "
                f"it knows {', '.join(known)}"
            )


def _table(samples: pd.DataFrame, trace: Trace, runs: Runs, screen: Screen | None) -> pd.DataFrame:
    import pandas as pd

    xy = np.column_stack([column(samples, name) for name in POSITION])
    count, total = valid_sums(trace, runs, xy)
    centre = total.reshape(-1, 2) / count[:, None]
    columns: dict[str, NDArray[np.float64]] = {
        TIMES[0]: trace.time_s[runs.start],
        TIMES[1]: trace.time_s[runs.offset],
        POSITION[0]: centre[:, 0],
        POSITION[1]: centre[:, 1],
    }
    middle = _middle_samples(trace, runs)
    known = [name for name in (*FIXATION_COLUMNS, *OPTIONAL_COLUMNS) if name in samples.columns]
    columns |= {name: column(samples, name)[middle] for name in known if name not in columns}
    if not all(name in columns for name in PX_PER_DEG):
        assert screen is not None
        columns |= dict(zip(PX_PER_DEG, screen_px_per_degree(centre, screen).T, strict=True))
        if not any(name in columns for name in SHOWN):
            columns |= {
                name: np.full(len(runs), float(edge)) for name, edge in zip(SHOWN, (0, 0, *screen.size_px), strict=True)
            }
    order = [name for name in (*FIXATION_COLUMNS, *OPTIONAL_COLUMNS) if name in columns]
    return pd.DataFrame({name: columns[name] for name in order})


def _middle_samples(trace: Trace, runs: Runs) -> NDArray[np.int64]:
    """The recorded sample in the middle of each run."""
    seen = np.flatnonzero(trace.valid)
    first, last = np.searchsorted(seen, runs.start), np.searchsorted(seen, runs.stop) - 1
    return np.asarray(seen[(first + last) // 2])
