"""Where EGD-CXR's images lay on the screen, and the published way from screen to image (gaze-formats 2.6).

An image was fitted into a black canvas, whose pads the master sheet gives, and the canvas shown on the whole screen.
The published formula takes the image for the rectangle that the pads leave of 1920 x 1080, and its size for even:

    inside:  left < ex < 1920 - right  and  top < ey < 1080 - bottom,  with (ex, ey) = gaze fraction * (1920, 1080)
    X = int(We / (1920 - left - right) * (ex - left)),  Y = int(He / (1080 - top - bottom) * (ey - top))

Both axes have their own scale. X is the index of an image pixel, and so the position of its centre. The canvas was 1024
high and the screen is 1080: if the canvas was stretched over the screen, the formula is exact where the image fills the
canvas from top to bottom, and for an image of 4:3 off by up to 0.9 % of its height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError
from gazekit.geometry import Screen, screen_px_per_degree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SCREEN_PX = (1920, 1080)

ASSUMED_SCREEN = Screen(size_px=SCREEN_PX, size_mm=(597.7, 336.2), distance_mm=650.0)
"""A 27-inch 16:9 display, as published, at 65 cm: the distance was not published. About 36 screen px a degree."""


def check_screen(screen: Screen | None) -> Screen:
    """`screen`, or the assumed one; `InputError` for one that EGD-CXR was not recorded on."""
    if screen is not None and tuple(screen.size_px) != SCREEN_PX:
        raise InputError(
            f"EGD-CXR was recorded on a screen of {SCREEN_PX[0]} x {SCREEN_PX[1]} px, which its pads are of; got "
            f"{screen.size_px[0]} x {screen.size_px[1]}: give size_px={SCREEN_PX} with your size_mm and distance_mm"
        )
    return screen or ASSUMED_SCREEN


@dataclass(frozen=True, slots=True)
class Placement:
    """One image on the screen.

    Attributes
    ----------
    image_shape : (H, W)
        Original image pixels.
    pads : (top, bottom, left, right)
        Screen pixels that the image left free, as the master sheet has them.
    """

    image_shape: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def drawn(self) -> tuple[int, int, int, int]:
        """Rectangle on the screen: xmin, ymin, xmax, ymax."""
        top, bottom, left, right = self.pads
        return left, top, SCREEN_PX[0] - right, SCREEN_PX[1] - bottom

    @property
    def scale(self) -> Floats:
        """(2,) image pixels a screen pixel, x and y; the image's sides count as rounded up to even."""
        x0, y0, x1, y1 = self.drawn
        height, width = self.image_shape
        return np.array([(width + width % 2) / (x1 - x0), (height + height % 2) / (y1 - y0)])

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Which of the (N, 2) screen points lie on the image; False for NaN."""
        x0, y0, x1, y1 = self.drawn
        return np.asarray(((points > (x0, y0)) & (points < (x1, y1))).all(axis=1))

    def published_pixels(self, points: Floats) -> Floats:
        """(N, 2) screen points to the image pixels that the published formula gives, for points on the image."""
        return np.trunc(self.scale * (points - self.drawn[:2]))

    def image_points(self, points: Floats) -> Floats:
        """(N, 2) screen points to image points between the pixels, on the image or off it.

        `published_pixels` without the truncation: a pixel's left edge lies half a pixel before its centre.
        """
        return np.asarray(self.scale * (points - self.drawn[:2]) - 0.5)

    def px_per_degree(self, points: Floats, screen: Screen) -> Floats:
        """(N, 2) image pixels a degree at each screen point."""
        return np.asarray(screen_px_per_degree(points - 0.5, screen) * self.scale)
