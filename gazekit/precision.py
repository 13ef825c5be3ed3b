"""How precise and how accurate recorded gaze is: RMS-S2S, STD, BCEA, and the error at known targets.

Positions are (N, 2) in any one unit, in order of time, NaN where the eye was lost; results are in that unit. Precision
is a property of the resting eye: take the samples of one fixation, not of a whole recording. Fewer than two positions
have no precision and raise. Definitions: Holmqvist, Nyström & Mulvey (2012), Eye tracker data quality, ETRA.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import EmptyGazeError, InputError
from gazekit.events.samples import clean_samples, column, trace_clean
from gazekit.geometry import Screen, screen_degrees
from gazekit.reading import POSITION, PX_PER_DEG, TIMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

ONE_SD_SHARE = 0.6827
"""Share of a normal distribution within one SD, the usual share of a BCEA."""


def rms_s2s(xy: ArrayLike) -> float:
    """Root mean square of the distances from each sample to the next; for white noise of SD s an axis, 2 s.

    Parameters
    ----------
    xy : (N, 2)
        A pair with a lost sample does not count.

    Raises
    ------
    InputError
        Another shape, or no pair of successive samples.
    """
    steps = np.diff(_positions(xy), axis=0)
    squares = (steps**2).sum(axis=1)
    squares = squares[np.isfinite(squares)]
    if not len(squares):
        raise InputError("RMS-S2S needs two successive samples with a position")
    return math.sqrt(float(squares.mean()))


def std(xy: ArrayLike) -> float:
    """Root mean square distance from the mean position; for white noise of SD s an axis, s sqrt 2.

    Parameters and errors as in `bcea`; the population's SD.
    """
    return math.sqrt(float(_seen(xy).var(axis=0).sum()))


def bcea(xy: ArrayLike, *, share: float = ONE_SD_SHARE) -> float:
    """Bivariate contour ellipse area: ``2 k pi s_x s_y sqrt(1 - rho^2)``, ``k = -ln(1 - share)``, in square units.

    Parameters
    ----------
    xy : (N, 2)
    share : float in (0, 1)
        Share of a bivariate normal distribution that the ellipse holds.

    Raises
    ------
    InputError
        Another shape, fewer than two positions, or a share that is none.
    """
    if not 0 < share < 1:
        raise InputError(f"share must be between 0 and 1, got {share!r}")
    # s_x s_y sqrt(1 - rho^2) is the root of the covariance's determinant, also where one SD is zero and rho is not
    covariance = np.cov(_seen(xy).T, bias=True)
    determinant = float(covariance[0, 0] * covariance[1, 1] - covariance[0, 1] ** 2)
    return -2 * math.log1p(-share) * math.pi * math.sqrt(max(determinant, 0.0))


def target_errors(samples: pd.DataFrame, targets: pd.DataFrame, screen: Screen | None = None) -> pd.DataFrame:
    """Accuracy at places where the person was told to look: calibration or validation targets.

    Parameters
    ----------
    samples : DataFrame
        As `gazekit.detect_fixations` takes them.
    targets : DataFrame
        ``onset_s, offset_s, x_px, y_px``: when the eye was to rest on what place, in the pixels of `samples`. Leave the
        first few hundred milliseconds of a target out: the eye is still on its way.
    screen : Screen, optional
        Needed unless the samples have px_per_deg columns.

    Returns
    -------
    DataFrame
        One row a target: ``onset_s``, ``error_x_dva, error_y_dva`` (median gaze minus target, degrees),
        ``error_dva`` (their length), and ``drift_dva``, the length of the change since the first target that was
        seen; NaN where no sample was recorded during a target.

    Raises
    ------
    InputError
        A missing column, no target, no way to degrees.
    EmptyGazeError
        No sample with a position.
    """
    import pandas as pd

    if missing := [name for name in (*TIMES, *POSITION) if name not in targets.columns]:
        raise InputError(f"targets lack {', '.join(missing)}; expected onset_s, offset_s, x_px, y_px")
    if not len(targets):
        raise InputError("no target, so there is no error to measure")
    samples = clean_samples(samples)
    time = column(samples, "time_s")
    xy = np.column_stack([column(samples, name) for name in POSITION])
    onset, offset, x, y = (column(targets, name) for name in (*TIMES, *POSITION))
    # a refusal without a way to degrees is that of the trace
    trace_clean(samples, screen, max_gap=0.0)
    errors = np.full((len(targets), 2), np.nan)
    for i, target in enumerate(np.column_stack([x, y])):
        during = (time >= onset[i]) & (time <= offset[i]) & np.isfinite(xy).all(axis=1)
        if not during.any():
            continue
        gaze = np.median(xy[during], axis=0)
        if all(name in samples.columns for name in PX_PER_DEG):
            per_degree = [float(np.median(column(samples, name)[during])) for name in PX_PER_DEG]
            errors[i] = (gaze - target) / per_degree
        elif screen is not None:
            errors[i] = screen_degrees(gaze, screen) - screen_degrees(target, screen)
    seen = np.isfinite(errors).all(axis=1)
    if not seen.any():
        raise EmptyGazeError("no_gaze", "no sample was recorded while a target was shown; look at the clocks of both")
    moved = errors - errors[int(seen.argmax())]
    return pd.DataFrame(
        {
            "onset_s": onset,
            "error_x_dva": errors[:, 0],
            "error_y_dva": errors[:, 1],
            "error_dva": np.hypot(*errors.T),
            "drift_dva": np.hypot(*moved.T),
        }
    )


def _positions(xy: ArrayLike) -> Floats:
    positions = np.asarray(xy, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise InputError(f"positions must have shape (N, 2), x and y, got {positions.shape}")
    return positions


def _seen(xy: ArrayLike) -> Floats:
    positions = _positions(xy)
    seen = positions[np.isfinite(positions).all(axis=1)]
    if len(seen) < 2:
        raise InputError(f"precision needs two samples with a position, got {len(seen)}")
    return np.asarray(seen)
