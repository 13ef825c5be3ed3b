"""A trial's gaze on its image: from the tracker's units to image pixels, with degrees and the drawn rectangle."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import RecordError
from gazekit.events import detect_fixations
from gazekit.events.samples import clean_samples
from gazekit.geometry import (
    Screen,
    image_to_screen,
    range_edges,
    screen_px_per_degree,
    screen_to_image,
    shares_to_px,
    whole_image,
)
from gazekit.reading import POSITION, PX_PER_DEG, SCREEN, SHOWN
from gazekit.sources.spec import Events

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.geometry import Box
    from gazekit.sources.recording import Trial

GAZE = (POSITION, ("x_left_px", "y_left_px"), ("x_right_px", "y_right_px"))
"""Columns of a gaze position: combined, left eye, right eye."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image stood on the screen.

    Attributes
    ----------
    image_shape : (H, W)
    drawn : (x0, y0, x1, y1) or None
        Half-open range of screen pixels; None where the gaze was recorded on the image and no screen is known.
    screen_px : (width, height) or None
    screen : Screen or None
        None where degrees of visual angle come from the file.
    """

    image_shape: tuple[int, int]
    drawn: Box | None
    screen_px: tuple[int, int] | None = None
    screen: Screen | None = None

    def to_image(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 2) screen pixels to image pixels, edge on edge."""
        assert self.drawn is not None
        return screen_to_image(points, whole_image(self.image_shape), range_edges(self.drawn))

    def to_screen(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of `to_image`."""
        assert self.drawn is not None
        return image_to_screen(points, whole_image(self.image_shape), range_edges(self.drawn))

    @property
    def magnification(self) -> NDArray[np.float64]:
        """(2,) image pixels a screen pixel, along x and y."""
        assert self.drawn is not None
        height, width = self.image_shape
        x0, y0, x1, y1 = self.drawn
        return np.array([width / (x1 - x0), height / (y1 - y0)])


def placed_samples(trial: Trial, placement: Placement) -> pd.DataFrame:
    """Samples of a trial in image pixels.

    Parameters
    ----------
    trial : Trial
    placement : Placement

    Returns
    -------
    DataFrame
        ``time_s, x_px, y_px`` in order of time (two eyes: combined, and each), px_per_deg where it is known, shown_*
        and, where a screen is known, screen_*; float64.

    Raises
    ------
    RecordError
        ``no_gaze``: the file holds no samples of this trial.
    InputError
        Times or positions are in another unit than the spec or the format says.
    """
    if not len(trial.samples):
        raise RecordError("no_gaze", "the file holds no gaze samples of this trial, only the tracker's fixations")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of order and repetition: `trial_fixations` passes them on
        samples = clean_samples(trial.samples)
    return _on_image(_in_pixels(samples, trial.units, placement), trial.units, placement)


def trial_fixations(trial: Trial, placement: Placement, events: Events) -> tuple[pd.DataFrame, list[str]]:
    """Fixations of a trial in image pixels, as `gazekit.sources.fixation_rules.usable_fixations` takes them.

    Parameters
    ----------
    trial : Trial
    placement : Placement
    events : Events
        The tracker's own fixations, or how to detect them.

    Returns
    -------
    fixations : DataFrame
        The columns of `Trial.fixations`, placed as by `placed_samples`.
    warnings : list of str

    Raises
    ------
    RecordError
        ``no_gaze``: neither fixations nor samples where they are asked for.
    InputError
        As `placed_samples`; no way to degrees.
    """
    own = trial.fixations
    if own is None if events.source is None else events.source == "detect":
        return _detected(trial, placement, events)
    if own is None:
        raise RecordError("no_gaze", 'the file has no fixations of the tracker\'s own; [events] source = "detect"')
    return _on_image(_in_pixels(own, trial.units, placement), trial.units, placement), []


def _detected(trial: Trial, placement: Placement, events: Events) -> tuple[pd.DataFrame, list[str]]:
    """Detected where degrees are exact: in the pixels of the screen, or of the image if those have a resolution."""
    if not len(trial.samples):
        raise RecordError("no_gaze", 'the file has no gaze samples to detect fixations in; [events] source = "tracker"')
    samples, units = _in_pixels(trial.samples, trial.units, placement), trial.units
    if not _has(samples, PX_PER_DEG) and units.startswith("image"):
        samples, units = _moved(samples, placement.to_screen), "screen_px"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = detect_fixations(samples, placement.screen, events.algorithm, **events.thresholds)
    # the whole screen, where `detect_fixations` knows of nothing else
    found = found.drop(columns=[name for name in SHOWN if name in found])
    return _on_image(found, units, placement), [str(warning.message) for warning in caught]


def _in_pixels(table: pd.DataFrame, units: str, placement: Placement) -> pd.DataFrame:
    """A table whose positions are in pixels, of what `units` begin with."""
    if units == "screen_share":
        assert placement.screen_px is not None
        size = placement.screen_px
    elif units == "image_share":
        size = placement.image_shape[::-1]
    else:
        return table
    return _moved(table, lambda points: shares_to_px(points, size))


def _on_image(table: pd.DataFrame, units: str, placement: Placement) -> pd.DataFrame:
    """A table in pixels, placed on the image: positions, px_per_deg, shown_* and screen_*."""
    table = table.copy(deep=False)
    on_screen = units.startswith("screen")
    if not _has(table, PX_PER_DEG) and placement.screen is not None:
        # the resolution of the screen where the eye rests; of the image, below
        points = table[list(POSITION)].to_numpy(np.float64)
        resolution = screen_px_per_degree(points if on_screen else placement.to_screen(points), placement.screen)
        table[list(PX_PER_DEG)] = resolution if on_screen else resolution * placement.magnification
    if on_screen:
        table = _moved(table, placement.to_image)
        if _has(table, PX_PER_DEG):
            table[list(PX_PER_DEG)] = table[list(PX_PER_DEG)].to_numpy(np.float64) * placement.magnification
    height, width = placement.image_shape
    edges = dict(zip(SHOWN, (0.0, 0.0, float(width), float(height)), strict=True))
    if placement.drawn is not None:
        edges |= dict(zip(SCREEN, placement.drawn, strict=True))
    for name, edge in edges.items():
        if on_screen or name not in table.columns:  # gaze on an image may say which part of it was shown
            table[name] = edge
    return table


def _moved(table: pd.DataFrame, move: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> pd.DataFrame:
    """A copy with every gaze position through `move`."""
    table = table.copy(deep=False)
    for names in GAZE:
        if _has(table, names):
            table[list(names)] = move(table[list(names)].to_numpy(np.float64))
    return table


def _has(table: pd.DataFrame, names: tuple[str, ...]) -> bool:
    return all(name in table.columns for name in names)
