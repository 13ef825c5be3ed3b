"""How far one reading can be trusted: what its tracker recorded, how precisely, and what looks odd about it.

Nothing is repaired or left out here. A figure that has no value (no raw samples on disk, say) is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import EmptyGazeError, InputError, RecordError
from gazekit.events.blinks import detect_blinks
from gazekit.events.samples import clean_samples, column, trace_clean
from gazekit.events.trace import MAX_GAP_S
from gazekit.fixations import filter_fixations
from gazekit.geometry import containing_pixels
from gazekit.precision import bcea, rms_s2s, std
from gazekit.reading import POSITION, PX_PER_DEG, TIMES, Reading

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.events.trace import Trace

    Floats = NDArray[np.float64]

MAX_DATA_LOSS = 0.25
"""Blinks alone take 2 to 10 % of the time; with a quarter lost, what was looked at meanwhile is anybody's guess."""

MAX_LOSS_S = 3.0
"""A blink lasts up to 0.5 s; whoever is lost for this long has looked or moved away."""

MAX_IRREGULAR_STEPS = 0.05
"""Share of steps off by more than half a period: beyond it, velocities computed from a nominal rate are wrong."""

MAX_STD_DVA = 0.5
"""Half of the heatmap's sigma: such noise widens each Gaussian by 12 %, and the figure is typically 0.1 to 0.4."""

MAX_FROZEN_S = 0.5
"""The eye trembles and trackers have noise: a position that repeats exactly for this long is a stale one."""

MAX_OFF_IMAGE = 0.2
"""Share of the fixated time spent off the image: an offset of the calibration, or a reading of something else."""

MIN_FIXATIONS = 10
"""Fewer make a map of a few blobs: a chest X-ray takes a radiologist dozens."""

FIXATIONS_PER_S = (1.0, 5.0)
"""Free viewing has 2 to 4 a second: fewer means merged or lost fixations, more means ones that noise has cut up."""

MEDIAN_FIXATION_S = (0.1, 0.6)
"""Medians of image viewing are 0.2 to 0.3 s; beyond these bounds the detector or the unit of time is wrong."""

MIN_SEEN_SHARE = 0.5
"""Share of the fixated time in which samples were recorded: below it the two tables have different clocks."""

BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "data_loss": (None, MAX_DATA_LOSS),
    "longest_loss_s": (None, MAX_LOSS_S),
    "irregular_steps": (None, MAX_IRREGULAR_STEPS),
    "std_dva": (None, MAX_STD_DVA),
    "frozen_s": (None, MAX_FROZEN_S),
    "off_image": (None, MAX_OFF_IMAGE),
    "fixations": (MIN_FIXATIONS, None),
    "fixations_per_s": FIXATIONS_PER_S,
    "median_fixation_s": MEDIAN_FIXATION_S,
    "seen_share": (MIN_SEEN_SHARE, None),
}
"""Figure to the least and greatest value that is not flagged, None where there is no such bound."""

FLAGS: dict[str, str] = {
    "data_loss": "much of the gaze was lost",
    "long_loss": "the gaze was lost for longer than any blink",
    "irregular_sampling": "the steps of time are uneven",
    "imprecise": "gaze scatters widely within fixations",
    "frozen_gaze": "the recorded position stands still, which no eye does",
    "off_image": "much of the fixated time is off the image",
    "few_fixations": "few fixations",
    "fixation_rate": "fixations are unusually seldom or frequent",
    "fixation_duration": "fixations are unusually short or long",
    "clock_mismatch": "fixations lie where no samples were recorded",
}
"""Why a reading is suspicious: code to meaning, each for the figure in the same place of `BOUNDS`."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of one reading; shares are in [0, 1], those of the samples None where there are none.

    Attributes
    ----------
    reading_id, image_id : str
    reader_id : str or None
    fixations : int
    fixated_s, span_s : float
        Sum of the fixations' durations, and the time from the first onset to the last offset.
    fixations_per_s : float
        Over `span_s`.
    median_fixation_s, longest_fixation_s : float
    off_image : float
        Share of `fixated_s` spent on positions off the image.
    samples : int or None
        Rows, before anything is left out.
    sampling_rate_hz : float or None
        1 / the median step.
    irregular_steps : float or None
        Share of the steps that differ from the median one by more than half of it; steps over missing rows count.
    data_loss : float or None
        Share of the samples due in the recorded time at that rate that are absent or without a position.
    longest_loss_s : float or None
        Longest time between two recorded samples, when more than one step.
    blinks : int or None
    samples_off_image : float or None
        Share of the recorded samples.
    frozen_s : float or None
        Longest time for which the recorded position stayed the same to the last digit.
    rms_s2s_dva, std_dva, bcea_dva2 : float or None
        Medians over the fixations, degrees and square degrees, see `gazekit.precision`.
    seen_share : float or None
        Share of the samples due during the fixations that were recorded.
    flags : tuple of str
        Codes of `FLAGS`.
    reasons : tuple of str
        One a flag, with the figure and its bound.
    """

    reading_id: str
    image_id: str
    reader_id: str | None
    fixations: int
    fixated_s: float
    span_s: float
    fixations_per_s: float
    median_fixation_s: float
    longest_fixation_s: float
    off_image: float
    samples: int | None = None
    sampling_rate_hz: float | None = None
    irregular_steps: float | None = None
    data_loss: float | None = None
    longest_loss_s: float | None = None
    blinks: int | None = None
    samples_off_image: float | None = None
    frozen_s: float | None = None
    rms_s2s_dva: float | None = None
    std_dva: float | None = None
    bcea_dva2: float | None = None
    seen_share: float | None = None
    flags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


FIGURES = tuple(f.name for f in fields(Quality))[3:-2]
"""Names of the numbers of a `Quality`."""


def reading_quality(reading: Reading) -> Quality:
    """Measure one reading.

    Parameters
    ----------
    reading : Reading
        Its samples are read from disk where there are any; without px_per_deg columns there are no figures in degrees.

    Raises
    ------
    EmptyGazeError
        ``no_gaze``: no fixation; ``zero_duration``: fixations without any.
    RecordError
        ``bad_table``: samples that cannot be read.
    """
    table = reading.fixations
    if not len(table):
        raise EmptyGazeError("no_gaze", f"{reading.reading_id}: no fixation, or its gaze was discarded")
    figures = _fixation_figures(reading)
    try:
        samples = reading.samples()
    except RecordError as error:
        if error.reason != "no_gaze":
            raise
    else:
        try:
            figures |= _sample_figures(samples, reading)
        except InputError as error:
            raise RecordError("bad_table", f"{reading.reading_id}: {error}") from error
    found = Quality(reading.reading_id, reading.image_id, reading.reader_id, **figures)
    flagged = tuple(_suspicions(found))
    return replace(
        found,
        flags=tuple(flag for flag, _ in flagged),
        reasons=tuple(f"{FLAGS[flag]} ({figure})" for flag, figure in flagged),
    )


def _fixation_figures(reading: Reading) -> dict[str, Any]:
    table = reading.fixations
    onset, offset = (table[name].to_numpy(np.float64) for name in TIMES)
    duration, span = offset - onset, float(offset.max() - onset.min())
    total = float(duration.sum())
    if not total > 0:
        raise EmptyGazeError("zero_duration", f"{reading.reading_id}: the fixations have no total duration")
    on_image = filter_fixations(table, image_shape=reading.image_shape, on_image=True)
    return {
        "fixations": len(table),
        "fixated_s": total,
        "span_s": span,
        "fixations_per_s": len(table) / span,
        "median_fixation_s": float(np.median(duration)),
        "longest_fixation_s": float(duration.max()),
        # the sums are of different order, so an empty share may be off by a rounding
        "off_image": max(0.0, 1 - float((on_image[TIMES[1]] - on_image[TIMES[0]]).sum()) / total),
    }


def _sample_figures(samples: pd.DataFrame, reading: Reading) -> dict[str, Any]:
    rows = len(samples)
    samples = clean_samples(samples)
    time = column(samples, "time_s")
    xy = np.column_stack([column(samples, name) for name in POSITION])
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(xy).all(axis=1))
    if len(time) < 2 or not seen.any():
        return {"samples": rows, "data_loss": 1.0 - float(seen.mean())}
    steps = np.diff(time)
    period = float(np.median(steps))
    due = max(len(time), round((time[-1] - time[0]) / period) + 1)
    found: dict[str, Any] = {
        "samples": rows,
        "sampling_rate_hz": 1 / period,
        "irregular_steps": float((np.abs(steps - period) > 0.5 * period).mean()),
        "data_loss": 1 - int(seen.sum()) / due,
        "longest_loss_s": _longest_loss(time, seen, period),
        "blinks": len(detect_blinks(samples)),
        "samples_off_image": _off_image(xy[seen], reading.image_shape),
        "frozen_s": _frozen(time[seen], xy[seen], period),
    }
    onset, offset = (reading.fixations[name].to_numpy(np.float64) for name in TIMES)
    start, stop = np.searchsorted(time, onset, "left"), np.searchsorted(time, offset, "right")
    before = np.append(0, np.cumsum(seen))
    # a fixation over n samples lasts n - 1 periods
    found["seen_share"] = min(1.0, float((before[stop] - before[start]).sum() / ((offset - onset) / period + 1).sum()))
    if all(name in samples.columns for name in PX_PER_DEG):
        found |= _precision(trace_clean(samples, None, max_gap=MAX_GAP_S), start, stop)
    return found


def _longest_loss(time: Floats, seen: NDArray[np.bool_], period: float) -> float:
    gap = float(np.diff(np.r_[time[0], time[seen], time[-1]]).max())
    return gap if gap > 1.5 * period else 0.0


def _off_image(xy: Floats, image_shape: tuple[int, int]) -> float:
    col, row = containing_pixels(xy).T
    return 1 - float(((col >= 0) & (col < image_shape[1]) & (row >= 0) & (row < image_shape[0])).mean())


def _frozen(time: Floats, xy: Floats, period: float) -> float:
    """Longest time over which successive recorded samples are the same."""
    changes = (np.diff(xy, axis=0) != 0).any(axis=1) | (np.diff(time) > 1.5 * period)
    edges = np.r_[0, np.flatnonzero(changes) + 1, len(time)]
    return float((time[edges[1:] - 1] - time[edges[:-1]]).max())


def _precision(trace: Trace, start: NDArray[np.intp], stop: NDArray[np.intp]) -> dict[str, float]:
    """Medians over the fixations that have three recorded samples, two of them successive."""
    recorded = np.where(trace.valid[:, None], trace.xy_deg, np.nan)
    parts = [recorded[first:last] for first, last in zip(start.tolist(), stop.tolist(), strict=True)]
    usable = [xy for xy in parts if _enough(np.isfinite(xy[:, 0]))]
    if not usable:
        return {}
    measures = {"rms_s2s_dva": rms_s2s, "std_dva": std, "bcea_dva2": bcea}
    return {name: float(np.median([measure(xy) for xy in usable])) for name, measure in measures.items()}


def _enough(valid: NDArray[np.bool_]) -> bool:
    return int(valid.sum()) >= 3 and bool((valid[1:] & valid[:-1]).any())


def _suspicions(found: Quality) -> Iterator[tuple[str, str]]:
    """(flag, the figure and its bound) of what is odd."""
    for flag, (name, (low, high)) in zip(FLAGS, BOUNDS.items(), strict=True):
        value = getattr(found, name)
        if value is None:
            continue
        if low is not None and value < low:
            yield flag, f"{name} {value:.3g}, at least {low:g} expected"
        if high is not None and value > high:
            yield flag, f"{name} {value:.3g}, at most {high:g} expected"
