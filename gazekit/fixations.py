"""Choices an analyst makes on a fixation table; nothing here is applied by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError
from gazekit.geometry import check_image_shape, image_to_screen
from gazekit.reading import POSITION, PX_PER_DEG, SCREEN, SHOWN, TIMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

REFLACX_BUTTONS_PX = (10, 933, 650, 1122)
"""Where REFLACX's screen showed its buttons, screen pixels."""


def filter_fixations(
    fixations: pd.DataFrame,
    *,
    image_shape: tuple[int, int] | None = None,
    on_image: bool = False,
    min_duration_s: float = 0.0,
    max_outside_dva: float | None = None,
) -> pd.DataFrame:
    """Keep the fixations that meet every condition asked for.

    Parameters
    ----------
    fixations : DataFrame
        Canonical table.
    image_shape : (H, W), optional
        Needed for `on_image`.
    on_image : bool
        Keep positions inside the image, -0.5 <= x < W - 0.5 and likewise y.
    min_duration_s : float
        Keep ``offset_s - onset_s >= min_duration_s``.
    max_outside_dva : float, optional
        Keep fixations at most this far, in degrees, outside the rectangle of the image that was shown
        (0 inside it; each axis by its own px_per_deg).

    Returns
    -------
    DataFrame
        The rows kept, in their order and with their index.

    Raises
    ------
    InputError
        `on_image` without `image_shape`.
    """
    keep = np.ones(len(fixations), dtype=bool)
    x, y = (fixations[name].to_numpy(np.float64) for name in POSITION)
    if on_image:
        if image_shape is None:
            raise InputError("on_image needs image_shape=(H, W)")
        height, width = check_image_shape(image_shape)
        keep &= (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    if min_duration_s > 0:
        onset, offset = (fixations[name].to_numpy(np.float64) for name in TIMES)
        keep &= offset - onset >= min_duration_s
    if max_outside_dva is not None:
        keep &= _outside_dva(fixations) <= max_outside_dva
    return fixations[keep]


def filter_reflacx(fixations: pd.DataFrame) -> pd.DataFrame:
    """Keep the fixations that REFLACX's authors take to be on the image, by their published rule.

    Parameters
    ----------
    fixations : DataFrame
        Canonical table with ``shown_*`` and ``screen_*``.

    Returns
    -------
    DataFrame
        Those inside the rectangle in which the image was drawn, or both less than 0.5 degrees outside it and more than
        50 screen pixels from the buttons (`REFLACX_BUTTONS_PX`); in their order and with their index.

    Raises
    ------
    InputError
        A missing column.

    Notes
    -----
    Source: ``filter_fixations.py`` of REFLACX's published code, whose authors call the rule arbitrary and which takes
    the resolution along x for both axes at corners; here each axis has its own.
    """
    if missing := [name for name in (*SHOWN, *SCREEN, *PX_PER_DEG) if name not in fixations.columns]:
        raise InputError(f"the fixations lack {', '.join(missing)}, which REFLACX's rule needs")
    points, shown, drawn = (fixations[list(names)].to_numpy(np.float64) for names in (POSITION, SHOWN, SCREEN))
    on_screen = image_to_screen(points, shown, drawn)
    inside = (_beyond(on_screen, drawn) == 0).all(axis=1)
    from_buttons = np.hypot(*_beyond(on_screen, REFLACX_BUTTONS_PX).T)
    kept: pd.DataFrame = fixations[inside | ((_outside_dva(fixations) < 0.5) & (from_buttons > 50))]
    return kept


def _outside_dva(fixations: pd.DataFrame) -> NDArray[np.float64]:
    """Degrees from each fixation to the rectangle of the image that was shown, 0 inside it."""
    points, shown, per_degree = (fixations[list(names)].to_numpy(np.float64) for names in (POSITION, SHOWN, PX_PER_DEG))
    return np.asarray(np.hypot(*(_beyond(points, shown - 0.5) / per_degree).T))


def _beyond(points: NDArray[np.float64], box: ArrayLike) -> NDArray[np.float64]:
    """(F, 2) how far along each axis points lie beyond the edges x0, y0, x1, y1 of a box, or of one box each."""
    edges = np.asarray(box, dtype=np.float64)
    return np.maximum(np.maximum(edges[..., :2] - points, points - edges[..., 2:]), 0)
