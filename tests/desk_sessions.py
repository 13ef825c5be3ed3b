"""Gaze on a screen as the simulators of trackers write it, with any numbers in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from gazekit.simulate.desk import ScreenTrial

SCREEN_PX = (1920, 1080)


def make_trial(
    image_id: str, samples: list[tuple[float, float, float]], fixations: list[tuple[float, float, float, float]]
) -> ScreenTrial:
    """A trial on an image of 50 x 40 pixels, drawn over most of the screen."""
    return ScreenTrial(
        image_id,
        (50, 40),
        (528, 0, 1392, 1080),
        pd.DataFrame(samples, columns=["time_s", "x_px", "y_px"], dtype=np.float64),
        pd.DataFrame(fixations, columns=["onset_s", "offset_s", "x_px", "y_px"], dtype=np.float64),
    )


@st.composite
def screen_trials(draw: st.DrawFn, *, rate_hz: float, image_id: str = "990001") -> ScreenTrial:
    """Any gaze, some of it off the screen, some lost; fixations in order of time, with times in whole milliseconds."""
    x, y = st.floats(-400, 2300), st.floats(-300, 1400)
    n = draw(st.integers(3, 40))
    lost = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    points = [(np.nan, np.nan) if gone else (draw(x), draw(y)) for gone in lost]
    first = draw(st.integers(0, 1))
    samples = [((first + k) / rate_hz, *point) for k, point in enumerate(points)]
    steps = draw(st.lists(st.integers(1, 200), min_size=2, max_size=8))
    edges = np.cumsum(steps[: len(steps) // 2 * 2]) / 1000
    fixations = [(onset, offset, draw(x), draw(y)) for onset, offset in edges.reshape(-1, 2).tolist()]
    return make_trial(image_id, samples, fixations)


def shares(table: pd.DataFrame) -> np.ndarray:
    """Positions as shares of the screen, counted from its edge."""
    return (table[["x_px", "y_px"]].to_numpy() + 0.5) / SCREEN_PX
