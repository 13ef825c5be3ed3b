"""What an eye tracker's file holds, whatever the maker: trials, each of one person looking at one stimulus.

A tracker's module turns its file into a `Recording` and knows nothing of images; `gazekit.sources.recordings` finds the
image of each trial, places the gaze on it and makes the readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from gazekit.geometry import Box


@dataclass(frozen=True)
class Trial:
    """One person, one stimulus, once.

    Attributes
    ----------
    name : str
        Unique within its recording, of the characters of an id; "" where the file is one trial.
    samples : DataFrame
        ``time_s`` (seconds from the trial's start) and ``x_px, y_px``, or for two eyes ``x_left_px, y_left_px,
        x_right_px, y_right_px``, in `units`; NaN where the eye was lost. Optional: ``px_per_deg_x, px_per_deg_y`` (of
        the screen, or of the image where `units` are), ``pupil_area_norm``. Empty where the file holds events only.
    stimulus : str or None
        As the tracker names it, such as ``chest7.png``; None where the file names none.
    drawn : (x0, y0, x1, y1) or None
        Half-open range of screen pixels in which the file says the stimulus was drawn; None where it does not say.
    anchor : (x, y, share) or None
        Where the file says that it was drawn at its own size: the screen pixel at `share` of its width and height,
        0 being its top left corner and 0.5 its centre.
    reader : str or None
        As the file names the person.
    fixations : DataFrame or None
        The tracker's own events: ``onset_s, offset_s, x_px, y_px`` in `units`, optionally ``px_per_deg_x,
        px_per_deg_y`` and, in units of the image, ``shown_*_px``: the part of it that was shown. None where the file
        has none.
    units : {"screen_px", "screen_share", "image_px", "image_share"}
        Of all positions. Pixels: (0, 0) is the centre of the top-left one. Shares: (0, 0) is the top left corner of
        the screen or of the image, (1, 1) the bottom right one.
    facts : mapping
        What holds for this trial alone, such as the eye recorded or the validation error in degrees.
    """

    name: str
    samples: pd.DataFrame
    stimulus: str | None = None
    drawn: Box | None = None
    anchor: tuple[float, float, float] | None = None
    reader: str | None = None
    fixations: pd.DataFrame | None = None
    units: str = "screen_px"
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Recording:
    """One file, or folder, of a tracker.

    Attributes
    ----------
    trials : tuple of Trial
        In order of time.
    screen_px : (width, height) or None
        Of the display, where the file says.
    facts : mapping
        Such as ``tracker``, ``sampling_rate_hz``: no name of a person, no date.
    counts : mapping
        What was dropped or replaced while reading: reason code to number.
    warnings : tuple of str
        What was kept but looks odd, each with the line of the file.
    """

    trials: tuple[Trial, ...]
    screen_px: tuple[int, int] | None = None
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()
