"""One EGD-CXR reading as canonical tables (gaze-formats 2.3, 2.5 and 2.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import EmptyGazeError, InputError, RecordError
from gazekit.geometry import Screen
from gazekit.reading import PX_PER_DEG, SCREEN, SHOWN
from gazekit.sources.egd_mapping import SCREEN_PX, Placement
from gazekit.sources.egd_tables import GazeRows
from gazekit.sources.fixation_rules import UsableFixations, usable_fixations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAPPINGS = ("published", "recomputed")

READER = "egd"
"""All images were read by one radiologist."""

_AGREES_PX = 1.5  # truncation may fall either way


@dataclass(frozen=True, slots=True)
class GazeOptions:
    """How gaze is put on the images; see `gazekit.read_egd`."""

    screen: Screen
    mapping: str = "published"
    only_valid: bool = False

    def __post_init__(self) -> None:
        if self.mapping not in MAPPINGS:
            raise InputError(f"mapping must be one of {', '.join(MAPPINGS)}, got {self.mapping!r}")


def egd_fixations(
    rows: GazeRows, placement: Placement, options: GazeOptions, *, offset_px: tuple[float, float] = (0.0, 0.0)
) -> UsableFixations:
    """Canonical fixations of one image.

    Parameters
    ----------
    rows : GazeRows
        Those of the image.
    placement : Placement
    options : GazeOptions
    offset_px : (x, y)
        Screen pixels that the session's recalibration adds; needs ``mapping="recomputed"``.

    Returns
    -------
    UsableFixations
        A fixation lasts from FPOGS for FPOGD. `counts` has, besides those of `usable_fixations`: ``off_image`` (not
        inside by the rule of gaze-formats 2.6, whatever the sign of its position), ``calibration_screen`` (positions
        that are screen pixels: a calibration screen under the id of an image), ``invalid`` (FPOGV = 0, where those
        are left out) and ``even_rounding`` (put from one pixel past the end, where the formula's even size ends, onto
        the last).

    Raises
    ------
    RecordError
        ``no_gaze``; ``size_mismatch`` where a position lies beyond the image, so that another size was shown.
    EmptyGazeError
        No usable row.
    """
    if not len(rows):
        raise RecordError("no_gaze", f"{rows.name}: no row of this image")
    points = rows.fractions * SCREEN_PX + offset_px
    known = np.isfinite(points).all(axis=1)
    calibration = _calibration_screens(rows, placement)
    dropped = {
        "calibration_screen": calibration,
        "off_image": known & ~placement.inside(points) & ~calibration,
        "invalid": (rows.columns["FPOGV"] != 1) & options.only_valid,
    }
    counts: dict[str, int] = {}
    keep = np.ones(len(rows), dtype=bool)
    for code, bad in dropped.items():
        if (n := int((keep & bad).sum())) > 0:
            counts[code] = n
        keep &= ~bad
    if not keep.any():
        why = ", ".join(f"{code} {n}" for code, n in counts.items())
        raise EmptyGazeError("empty_map", f"{rows.name}: none of this image's {len(rows)} rows is on it ({why})")
    warnings = _recordings(rows, keep)
    pixels = _pixels(rows, points, keep, placement, options.mapping, warnings)
    pixels = _inside_the_array(pixels, placement, rows.name, counts)
    onset = rows.columns["FPOGS"][keep]
    columns = {"onset_s": onset, "offset_s": onset + rows.columns["FPOGD"][keep], "x_px": pixels[:, 0]}
    columns |= {"y_px": pixels[:, 1]} | place_columns(points[keep], placement, options.screen)
    usable = usable_fixations(
        columns,
        image_shape=placement.image_shape,
        not_number=rows.not_number[keep],
        lines=rows.lines[keep].tolist(),
        name=rows.name,
    )
    return UsableFixations(usable.fixations, counts | usable.counts, (*warnings, *usable.warnings))


def place_columns(points: Floats, placement: Placement, screen: Screen) -> dict[str, Floats]:
    """px_per_deg, shown and screen columns at (N, 2) screen points; the whole image is shown all the time."""
    height, width = placement.image_shape
    constants = dict(zip((*SHOWN, *SCREEN), (0, 0, width, height, *placement.drawn), strict=True))
    resolution = placement.px_per_degree(points, screen)
    columns = {name: resolution[:, k] for k, name in enumerate(PX_PER_DEG)}
    return columns | {name: np.full(len(points), float(value)) for name, value in constants.items()}


def image_media(rows: GazeRows, placement: Placement) -> tuple[tuple[float, float], ...]:
    """(session, medium) of each time that an image was shown, calibration screens under its id left out."""
    keys = np.stack([rows.columns["SESSION_ID"], rows.columns["MEDIA_ID"]], axis=1)
    keys = keys[~_calibration_screens(rows, placement) & np.isfinite(keys).all(axis=1)]
    return tuple((session, medium) for session, medium in np.unique(keys, axis=0).tolist())


def _calibration_screens(rows: GazeRows, placement: Placement) -> NDArray[np.bool_]:
    """Rows of calibration screens that were given the id of this image, as a copy of the data set has them.

    Positions on a calibration screen were written in screen pixels. A medium of a session all of whose rows are so,
    and not where the image would put them, is one.
    """
    position = np.stack([rows.columns["X_ORIGINAL"], rows.columns["Y_ORIGINAL"]], axis=1)
    points = rows.fractions * SCREEN_PX
    on_screen = np.asarray((np.abs(position - np.trunc(points)) <= 1).all(axis=1))
    on_image = np.asarray((np.abs(position - placement.published_pixels(points)) <= _AGREES_PX).all(axis=1))
    found = np.zeros(len(rows), dtype=bool)
    for medium in _media(rows):
        found |= medium & bool(on_screen[medium].all() and not on_image[medium].all())
    return found


def _media(rows: GazeRows) -> list[NDArray[np.bool_]]:
    """Which rows belong to each medium of each session."""
    keys = np.stack([rows.columns["SESSION_ID"], rows.columns["MEDIA_ID"]], axis=1)
    return [np.asarray((keys == key).all(axis=1)) for key in np.unique(keys[np.isfinite(keys).all(axis=1)], axis=0)]


def _recordings(rows: GazeRows, keep: NDArray[np.bool_]) -> list[str]:
    shown = sum(bool((medium & keep).any()) for medium in _media(rows))
    return [f"{rows.name}: this image was shown {shown} times; the times of both overlap"] if shown > 1 else []


def _pixels(
    rows: GazeRows,
    points: Floats,
    keep: NDArray[np.bool_],
    placement: Placement,
    mapping: str,
    warnings: list[str],
) -> Floats:
    """(M, 2) image pixels of the rows kept, and a warning where the published ones are not the formula's."""
    recomputed = placement.published_pixels(points[keep])
    if mapping == "recomputed":
        return recomputed
    published = np.stack([rows.columns["X_ORIGINAL"][keep], rows.columns["Y_ORIGINAL"][keep]], axis=1)
    apart = np.abs(published - recomputed).max(axis=1)
    if (n := int((apart > _AGREES_PX).sum())) > 0:
        warnings.append(
            f"{rows.name}: {n} of {len(apart)} positions are not where the published formula puts them on this image, "
            f"by up to {np.nanmax(apart):.0f} px; kept as published (mapping='recomputed' uses the formula)"
        )
    return published


def _inside_the_array(pixels: Floats, placement: Placement, name: str, counts: dict[str, int]) -> Floats:
    """Positions with those one pixel past the end of an odd side put onto its last pixel, counted."""
    height, width = placement.image_shape
    if (pixels > (width, height)).any():
        x, y = np.nanmax(pixels, axis=0)
        raise RecordError(
            "size_mismatch",
            f"{name}: positions up to ({x:.0f}, {y:.0f}) on an image of {width} x {height}: another size was shown; "
            "give the images in the size of MIMIC-CXR",
        )
    if (past := int((pixels == (width, height)).any(axis=1).sum())) > 0:
        counts["even_rounding"] = past
    return np.where(pixels == (width, height), pixels - 1, pixels)
