"""Raw gaze in the place of fixations: each sample is a fixation that lasts until the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import EmptyGazeError, InputError
from gazekit.reading import FIXATION_COLUMNS, POSITION, PX_PER_DEG, SHOWN, TIMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MAX_PERIODS = 2.0
"""A sample stands for at most this many sampling periods: a blink is not gaze at the place before it."""


def sample_weights(samples: pd.DataFrame) -> NDArray[np.float64]:
    """Seconds for which each sample stands: ``min(time to the next valid sample, 2 nominal periods)``.

    Parameters
    ----------
    samples : DataFrame
        ``time_s`` (seconds, ascending) and ``x_px, y_px``; ``px_per_deg_*`` and ``shown_*`` where recorded. A sample
        is valid where all of these are finite and its resolution positive.

    Returns
    -------
    (N,) float64
        0 for a lost sample; the nominal period, which is the median step of ``time_s``, for the last valid one.

    Raises
    ------
    InputError
        A missing column, or times that are not finite or run backwards.
    EmptyGazeError
        ``no_gaze``: fewer than two samples, or no valid one.
    """
    if missing := [name for name in ("time_s", *POSITION) if name not in samples.columns]:
        raise InputError(f"samples lack {', '.join(missing)}; found {', '.join(map(str, samples.columns))}")
    time = samples["time_s"].to_numpy(np.float64)
    steps = np.diff(time)
    if not (np.isfinite(time).all() and (steps >= 0).all()):
        raise InputError("time_s must be finite and ascending; sort the samples first")
    valid = np.ones(len(time), dtype=bool)
    for name in (*POSITION, *PX_PER_DEG, *SHOWN):
        if name in samples.columns:
            values = samples[name].to_numpy(np.float64)
            valid &= np.isfinite(values) & ((values > 0) | (name not in PX_PER_DEG))
    if len(time) < 2 or not valid.any():
        raise EmptyGazeError("no_gaze", f"{int(valid.sum())} of {len(time)} samples are valid: there is no gaze")
    period = float(np.median(steps))
    weights = np.zeros(len(time))
    weights[valid] = np.minimum(np.diff(time[valid], append=np.inf), MAX_PERIODS * period)
    weights[np.flatnonzero(valid)[-1]] = period
    return weights


def samples_as_fixations(samples: pd.DataFrame) -> pd.DataFrame:
    """A fixation table in which each valid sample lasts for its weight, to use wherever fixations are.

    Parameters
    ----------
    samples : DataFrame
        As in `sample_weights`.

    Returns
    -------
    DataFrame
        Canonical columns, as far as `samples` has them; ``onset_s`` is ``time_s`` and ``offset_s`` adds the weight of
        `sample_weights`. Lost samples are left out; the index is that of `samples`.

    Raises
    ------
    InputError, EmptyGazeError
        As in `sample_weights`.
    """
    import pandas as pd

    weights = sample_weights(samples)
    kept = weights > 0
    onset = samples["time_s"].to_numpy(np.float64)[kept]
    columns = dict(zip(TIMES, (onset, onset + weights[kept]), strict=True))
    columns |= {
        name: samples[name].to_numpy(np.float64)[kept]
        for name in FIXATION_COLUMNS
        if name not in TIMES and name in samples.columns
    }
    return pd.DataFrame(columns, index=samples.index[kept])


def merge_equal(gaussians: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Gaussians that differ in nothing but their weight as one, which leaves every map and mass what it was.

    A 1000 Hz recording in whole pixels repeats itself: its samples become some five times fewer Gaussians.

    Parameters
    ----------
    gaussians : (F, 9) float64, columns `gazekit.prior.GAUSSIAN_COLUMNS`
    times : (F, 2) float64
        Onset and offset.

    Returns
    -------
    (G, 9), (G, 2) float64
        In order of their first onset; weights added, times from the first onset to the last offset.
    """
    shapes = np.delete(gaussians, 4, axis=1) + 0.0  # -0.0 is 0.0
    _, first, group = np.unique(shapes, axis=0, return_index=True, return_inverse=True)
    merged = gaussians[first]
    merged[:, 4] = np.bincount(group, weights=gaussians[:, 4])
    spans = np.stack([np.full(len(first), np.inf), np.full(len(first), -np.inf)], axis=1)
    np.minimum.at(spans[:, 0], group, times[:, 0])
    np.maximum.at(spans[:, 1], group, times[:, 1])
    order = np.argsort(spans[:, 0], kind="stable")
    return merged[order], spans[order]
