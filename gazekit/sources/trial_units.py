"""Units are never guessed, but a trial that contradicts the units it is read in is not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError
from gazekit.sources.placed_gaze import GAZE

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.sources.recording import Trial

SLOWEST_STEP_S, FASTEST_STEP_S = 0.2, 2e-5
"""No eye tracker samples at less than 5 Hz or more than 50 kHz."""

LONGEST_MEDIAN_S, SHORTEST_MEDIAN_S = 50.0, 1e-3
"""No median fixation lasts longer or shorter."""

_FAR_SHARE = 2.0


def check_trial_units(trial: Trial, name: str) -> None:
    """`InputError` where the numbers of a trial cannot be in its units.

    Parameters
    ----------
    trial : Trial
    name : str
        What messages call the file.
    """
    tables = [trial.samples] if trial.fixations is None else [trial.samples, trial.fixations]
    for table in tables:
        _check_positions(_positions(table), trial.units, name)
    if len(trial.samples) > 1:
        time = trial.samples["time_s"].to_numpy(np.float64)
        _check_time(float(np.nanmedian(np.abs(np.diff(time)))), FASTEST_STEP_S, SLOWEST_STEP_S, "sampling step", name)
    if trial.fixations is not None:
        durations = (trial.fixations["offset_s"] - trial.fixations["onset_s"]).to_numpy(np.float64)
        if (durations := durations[durations > 0]).size:
            _check_time(float(np.median(durations)), SHORTEST_MEDIAN_S, LONGEST_MEDIAN_S, "fixation", name)


def _positions(table: pd.DataFrame) -> NDArray[np.float64]:
    columns = [table[name].to_numpy(np.float64) for pair in GAZE for name in pair if name in table.columns]
    values = np.abs(np.concatenate([np.zeros(0), *columns]))
    finite: NDArray[np.float64] = values[np.isfinite(values)]
    return finite


def _check_positions(values: NDArray[np.float64], units: str, name: str) -> None:
    if not values.size:
        return
    if units.endswith("_px") and values.max() <= 1:
        raise InputError(
            f"{name}: every x and y is within 1: normalised coordinates where {_words(units)} are expected; "
            'in a spec, [units] position = "screen_share" or "image_share"'
        )
    if units.endswith("_share") and (median := float(np.median(values))) > _FAR_SHARE:
        raise InputError(
            f"{name}: half of the coordinates are above {median:.4g}: pixels where {_words(units)} from 0 to 1 are "
            'expected; in a spec, [units] position = "screen_px" or "image_px"'
        )


def _words(units: str) -> str:
    frame, unit = units.split("_")
    return f"{frame} {'pixels' if unit == 'px' else 'shares'}"


def _check_time(median: float, least: float, most: float, what: str, name: str) -> None:
    if least <= median < most:
        return
    raise InputError(
        f"{name}: the median {what} lasts {median:.4g} s, expected {least:g} to {most:g} s: the times are in another "
        'unit; in a spec, [units] time = "s", "ms", "us" or "ns"'
    )
