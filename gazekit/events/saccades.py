"""What lies between fixations, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gazekit.events.samples import clean_samples, column, trace_clean
from gazekit.events.trace import MAX_GAP_S
from gazekit.events.velocity import slope_velocity
from gazekit.geometry import Screen
from gazekit.reading import TIMES

if TYPE_CHECKING:
    import pandas as pd


def measure_saccades(samples: pd.DataFrame, fixations: pd.DataFrame, screen: Screen | None = None) -> pd.DataFrame:
    """The movements from each fixation to the next.

    Parameters
    ----------
    samples : DataFrame
        As `gazekit.detect_fixations` takes them.
    fixations : DataFrame
        Canonical table of the same recording, in order of time.
    screen : Screen, optional
        Needed unless the samples have px_per_deg columns.

    Returns
    -------
    DataFrame
        ``onset_s`` and ``offset_s`` (the last sample of one fixation, the first of the next), ``amplitude_dva`` (from
        there to there, degrees), ``peak_velocity_dva_s`` (degrees per second, see
        `gazekit.events.velocity.slope_velocity`). A movement during which a sample was lost is left out: nobody saw
        its peak.

    Raises
    ------
    InputError, EmptyGazeError
        As `gazekit.detect_fixations`.
    """
    import pandas as pd

    trace = trace_clean(clean_samples(samples), screen, max_gap=MAX_GAP_S)
    onset, offset = (column(fixations, name) for name in TIMES)
    # a thousandth of a period: a fixation's times may differ from the samples' in the last digit
    slack = 1e-3 * trace.period_s
    first = np.searchsorted(trace.time_s, offset[:-1] + slack, "right") - 1
    last = np.searchsorted(trace.time_s, onset[1:] - slack, "left")
    segment = np.searchsorted(trace.segments[:, 0], np.arange(len(trace.time_s)), "right")
    speed = np.hypot(*slope_velocity(trace).T)
    rows = [
        (trace.time_s[a], trace.time_s[b], np.hypot(*(trace.xy_deg[b] - trace.xy_deg[a])), speed[a : b + 1].max())
        for a, b in zip(first.tolist(), last.tolist(), strict=True)
        if 0 <= a < b < len(trace.time_s) and trace.valid[a : b + 1].all() and segment[a] == segment[b]
    ]
    return pd.DataFrame(rows, columns=["onset_s", "offset_s", "amplitude_dva", "peak_velocity_dva_s"], dtype=np.float64)
