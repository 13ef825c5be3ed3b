"""Readings as other toolkits take them. What they need is imported here, when asked for, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.bids import write_bids as to_bids
from gazekit.errors import InputError
from gazekit.events.samples import clean_samples, column, trace_clean
from gazekit.events.trace import MAX_GAP_S
from gazekit.geometry import Screen
from gazekit.metrics.scanpath import fixation_path
from gazekit.reading import POSITION, PX_PER_DEG, TIMES

__all__ = ["to_bids", "to_multimatch", "to_pymovements"]

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def to_pymovements(
    samples: pd.DataFrame, *, fixations: pd.DataFrame | None = None, screen: Screen | None = None
) -> Any:
    """A recording as a ``pymovements.Gaze``.

    Parameters
    ----------
    samples : DataFrame
        As `gazekit.detect_fixations` takes them, such as ``reading.samples()``.
    fixations : DataFrame, optional
        Canonical table; becomes the events, named ``fixation``.
    screen : Screen, optional
        Where the samples are screen pixels: becomes the experiment's screen.

    Returns
    -------
    pymovements.Gaze
        ``time`` in milliseconds, ``pixel`` as recorded, and, with a screen or px_per_deg columns, ``position`` in
        degrees of visual angle: ours, exact for each axis, with losses of up to 75 ms filled and others null. Events
        have ``onset`` and ``offset`` in milliseconds and a ``location`` in pixels.

    Raises
    ------
    InputError
        pymovements is not installed, or samples that cannot be used.
    EmptyGazeError
        No sample with a position.
    """
    import pandas as pd

    try:
        import polars as pl
        import pymovements as pm
    except ImportError:
        raise InputError("to_pymovements needs pymovements: pip install pymovements") from None
    samples = clean_samples(samples)
    time = column(samples, "time_s")
    table = pd.DataFrame({"time": _milliseconds(time)} | {name: column(samples, name) for name in POSITION})
    columns: dict[str, list[str]] = {"pixel_columns": list(POSITION)}
    if screen is not None or all(name in samples.columns for name in PX_PER_DEG):
        degrees = trace_clean(samples, screen, max_gap=MAX_GAP_S).xy_deg
        table["x_dva"], table["y_dva"] = degrees.T
        columns["position_columns"] = ["x_dva", "y_dva"]
    rate = 1 / float(np.median(np.diff(time))) if len(time) > 1 else None
    experiment = None
    if screen is not None:
        experiment = pm.Experiment(
            screen_width_px=screen.size_px[0],
            screen_height_px=screen.size_px[1],
            screen_width_cm=screen.size_mm[0] / 10,
            screen_height_cm=screen.size_mm[1] / 10,
            distance_cm=screen.distance_mm / 10,
            origin="upper left",
            sampling_rate=rate,
        )
    elif rate is not None:
        experiment = pm.Experiment(sampling_rate=rate)
    events = None
    if fixations is not None:
        x, y = (column(fixations, name) for name in POSITION)
        onset, offset = (_milliseconds(column(fixations, name)) for name in TIMES)
        events = pm.Events(
            pl.DataFrame(
                {
                    "name": ["fixation"] * len(fixations),
                    "onset": onset,
                    "offset": offset,
                    "location": np.column_stack([x, y]).tolist(),
                }
            )
        )
    frame = pl.from_pandas(table, nan_to_null=True)
    return pm.Gaze(frame, experiment=experiment, events=events, time_column="time", time_unit="ms", **columns)


def to_multimatch(fixations: pd.DataFrame) -> NDArray[np.void]:
    """Fixations as ``multimatch_gaze.docomparison`` takes them.

    Parameters
    ----------
    fixations : DataFrame
        Canonical table.

    Returns
    -------
    (F,) structured array
        ``start_x, start_y`` (pixels of the image) and ``duration`` (seconds), float64. The screen's size that
        multimatch_gaze asks for is then the image's, (width, height). `gazekit.metrics.multimatch` is the same
        measure without grouping.
    """
    fields = np.dtype([("start_x", np.float64), ("start_y", np.float64), ("duration", np.float64)])
    path = fixation_path(fixations)
    return np.asarray(np.rec.fromarrays(path.T, dtype=fields)).view(fields)


def _milliseconds(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the nanosecond, so that whole milliseconds are whole: some of pymovements' detectors insist on it."""
    return np.asarray(np.round(1e3 * seconds, 6))
