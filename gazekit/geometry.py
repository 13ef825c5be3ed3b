"""Coordinate frames, and the only place where one becomes another.

Conventions, used everywhere in gazekit and vpmim:

* Image pixel (0, 0) is the *centre* of the top-left pixel; pixel i covers [i - 0.5, i + 0.5), so an image of
  width W covers [-0.5, W - 0.5). Points are (x, y), arrays are [row, col], shapes are (H, W).
* A *crop* is given by its edges (x0, y0, x1, y1) in that frame. The whole image is (-0.5, -0.5, W-0.5, H-0.5).
* A *clip* is a half-open range of pixel indices [x0, x1) x [y0, y1), whose edges are x0 - 0.5 and x1 - 0.5.
* stored = scale * original + offset, between pixel centres (`ImageFrame`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Box = tuple[float, float, float, float]


def whole_image(image_shape: tuple[int, int]) -> Box:
    """Edges of the whole image.

    Parameters
    ----------
    image_shape : (H, W)

    Returns
    -------
    (x0, y0, x1, y1) : tuple of float, original image pixels.
    """
    height, width = image_shape
    return (-0.5, -0.5, width - 0.5, height - 0.5)


def check_image_shape(image_shape: tuple[int, int]) -> tuple[int, int]:
    """(H, W) as two positive ints, or `InputError`."""
    try:
        height, width = (int(n) for n in image_shape)
    except (TypeError, ValueError):
        raise InputError(f"image_shape must be (height, width), got {image_shape!r}") from None
    if height < 1 or width < 1:
        raise InputError(f"image_shape must be positive (height, width), got {(height, width)}")
    return height, width


def check_box(crop: tuple[float, float, float, float]) -> Box:
    """(x0, y0, x1, y1) as four finite floats with x0 < x1 and y0 < y1, or `InputError`."""
    box = tuple(float(v) for v in crop)
    if len(box) != 4 or not all(math.isfinite(v) for v in box) or box[0] >= box[2] or box[1] >= box[3]:
        raise InputError(f"crop must be edges (x0, y0, x1, y1) with x0 < x1 and y0 < y1, got {crop!r}")
    return box[0], box[1], box[2], box[3]


def range_edges(box: tuple[float, float, float, float]) -> Box:
    """Edges of a half-open range of pixel indices (x0, y0, x1, y1): half a pixel before each."""
    return box[0] - 0.5, box[1] - 0.5, box[2] - 0.5, box[3] - 0.5


def shares_to_px(points: ArrayLike, size: tuple[float, float]) -> NDArray[np.float64]:
    """(..., 2) shares of a (width, height) counted from its top left corner, to its pixels."""
    return np.asarray(np.asarray(points, np.float64) * size - 0.5)


def placed_rectangle(image_shape: tuple[int, int], screen_px: tuple[int, int], placement: str = "fit") -> Box:
    """Where an image is drawn on a screen, centred.

    Parameters
    ----------
    image_shape : (H, W)
    screen_px : (width, height)
    placement : {"fit", "centre", "stretch"}
        As large as fits with its aspect; one image pixel a screen pixel; over the whole screen.

    Returns
    -------
    (x0, y0, x1, y1) : tuple of float
        Half-open range of screen pixels, not rounded to whole ones.
    """
    height, width = check_image_shape(image_shape)
    scale = min(screen_px[0] / width, screen_px[1] / height) if placement == "fit" else 1.0
    w, h = screen_px if placement == "stretch" else (width * scale, height * scale)
    x0, y0 = (screen_px[0] - w) / 2, (screen_px[1] - h) / 2
    return x0, y0, x0 + w, y0 + h


def anchored_rectangle(image_shape: tuple[int, int], anchor: tuple[float, float, float]) -> Box:
    """Where an image is drawn at its own size, `anchor` (x, y, share) being the screen pixel at a share of its sides.

    The rectangle is a half-open range of screen pixels, (x0, y0, x1, y1).
    """
    height, width = check_image_shape(image_shape)
    x0, y0 = anchor[0] - anchor[2] * width, anchor[1] - anchor[2] * height
    return x0, y0, x0 + width, y0 + height


def containing_pixels(points: ArrayLike) -> NDArray[np.int64]:
    """The pixel that holds each point: (..., 2) x, y to (..., 2) column, row.

    Pixel i covers [i - 0.5, i + 0.5), so this is ``floor(p + 0.5)``; a point off the image gives an index off it.
    """
    return np.floor(np.asarray(points, dtype=np.float64) + 0.5).astype(np.int64)


def clip_rectangles(shown: NDArray[np.float64], image_shape: tuple[int, int]) -> NDArray[np.float64]:
    """Part of the image on which each fixation's Gaussian counts.

    Parameters
    ----------
    shown : (F, 4) float64
        Rectangle of the image on the screen, xmin, ymin, xmax, ymax in original image pixels.
    image_shape : (H, W)

    Returns
    -------
    (F, 4) float64
        Half-open pixel ranges x0, y0, x1, y1: `shown` rounded half to even, intersected with the image.
        An empty intersection has x1 <= x0 or y1 <= y0 and holds no mass.
    """
    height, width = image_shape
    clip = np.rint(shown)
    np.clip(clip[:, 0::2], 0, width, out=clip[:, 0::2])
    np.clip(clip[:, 1::2], 0, height, out=clip[:, 1::2])
    return clip


@dataclass(frozen=True, slots=True)
class Screen:
    """A display and its distance, as needed to speak of degrees of visual angle.

    Attributes
    ----------
    size_px : (width, height) in screen pixels
    size_mm : (width, height) in millimetres
    distance_mm : eye to screen, millimetres
    """

    size_px: tuple[int, int]
    size_mm: tuple[float, float]
    distance_mm: float

    def __post_init__(self) -> None:
        numbers = (*self.size_px, *self.size_mm, self.distance_mm)
        if len(numbers) != 5 or not all(math.isfinite(n) and n > 0 for n in numbers):
            raise InputError(
                "Screen needs size_px (w, h), size_mm (w, h) and distance_mm, all positive; "
                f"got {self.size_px!r}, {self.size_mm!r}, {self.distance_mm!r}"
            )


def screen_degrees(points_px: ArrayLike, screen: Screen) -> NDArray[np.float64]:
    """Screen pixels to degrees of visual angle, exact per axis.

    Parameters
    ----------
    points_px : (..., 2) screen pixels, origin top left
    screen : Screen

    Returns
    -------
    (..., 2) float64
        ``atan2(offset from the screen centre ((W-1)/2, (H-1)/2), distance)`` in degrees.
    """
    size = np.asarray(screen.size_px, dtype=np.float64)
    offset_mm = (np.asarray(points_px, dtype=np.float64) - (size - 1) / 2) * (np.asarray(screen.size_mm) / size)
    return np.asarray(np.degrees(np.arctan2(offset_mm, screen.distance_mm)))


def screen_px_per_degree(points_px: ArrayLike, screen: Screen) -> NDArray[np.float64]:
    """Local resolution of the screen: d px / d degree at each point, per axis, (..., 2)."""
    size = np.asarray(screen.size_px, dtype=np.float64)
    pitch_mm = np.asarray(screen.size_mm) / size
    offset_mm = (np.asarray(points_px, dtype=np.float64) - (size - 1) / 2) * pitch_mm
    # derivative of atan2(o, D) by o is D / (D^2 + o^2)
    mm_per_radian = (screen.distance_mm**2 + offset_mm**2) / screen.distance_mm
    return np.asarray(np.radians(mm_per_radian) / pitch_mm)


def screen_to_image(points: ArrayLike, shown: ArrayLike, drawn: ArrayLike) -> NDArray[np.float64]:
    """Screen pixels to original image pixels through the rectangle drawn at that moment.

    Parameters
    ----------
    points : (..., 2) screen pixels
    shown : (..., 4) xmin, ymin, xmax, ymax of the visible part, image pixels
    drawn : (..., 4) xmin, ymin, xmax, ymax of where it was drawn, screen pixels

    Returns
    -------
    (..., 2) float64 image pixels. Source: gaze-formats 1.7 (REFLACX's own mapping).
    """
    return _between_rectangles(points, np.asarray(drawn, np.float64), np.asarray(shown, np.float64))


def image_to_screen(points: ArrayLike, shown: ArrayLike, drawn: ArrayLike) -> NDArray[np.float64]:
    """Inverse of `screen_to_image`."""
    return _between_rectangles(points, np.asarray(shown, np.float64), np.asarray(drawn, np.float64))


def _between_rectangles(
    points: ArrayLike, source: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    ratio = (target[..., 2:] - target[..., :2]) / (source[..., 2:] - source[..., :2])
    return np.asarray(target[..., :2] + (np.asarray(points, np.float64) - source[..., :2]) * ratio)


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """Affine between original and stored pixel centres: stored = scale * original + offset.

    Attributes
    ----------
    scale_x, scale_y, offset_x, offset_y : float
    width, height : int
        Size of the original image.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    width: int
    height: int

    def to_stored(self, points: ArrayLike) -> NDArray[np.float64]:
        """(..., 2) original pixels to stored pixels."""
        scale, offset = (self.scale_x, self.scale_y), (self.offset_x, self.offset_y)
        return np.asarray(np.asarray(points, np.float64) * scale + offset)

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """(..., 2) stored pixels to original pixels."""
        scale, offset = (self.scale_x, self.scale_y), (self.offset_x, self.offset_y)
        return np.asarray((np.asarray(points, np.float64) - offset) / scale)

    @property
    def valid_box(self) -> Box:
        """Edges of the image inside the stored array, the rest being padding."""
        (x0, y0), (x1, y1) = self.to_stored(np.reshape(whole_image((self.height, self.width)), (2, 2)))
        return float(x0), float(y0), float(x1), float(y1)

    def original_box(self, stored_box: tuple[float, float, float, float]) -> Box:
        """Edges in stored pixels as edges in original pixels."""
        (x0, y0), (x1, y1) = self.to_original(np.reshape(stored_box, (2, 2)))
        return float(x0), float(y0), float(x1), float(y1)

    def to_array(self) -> NDArray[np.float64]:
        """(6,) float64, the row of the cache's ``frame.npy``."""
        return np.array([self.scale_x, self.scale_y, self.offset_x, self.offset_y, self.width, self.height], np.float64)

    @classmethod
    def from_array(cls, row: ArrayLike) -> ImageFrame:
        """Inverse of `to_array`."""
        sx, sy, ox, oy, width, height = np.asarray(row, np.float64).tolist()
        return cls(sx, sy, ox, oy, int(width), int(height))


def identity_frame(image_shape: tuple[int, int]) -> ImageFrame:
    """The frame of an image stored as it is."""
    height, width = check_image_shape(image_shape)
    return ImageFrame(1.0, 1.0, 0.0, 0.0, width, height)


def fit_frame(image_shape: tuple[int, int], size: int) -> ImageFrame:
    """The frame of an image fitted into a square, aspect kept, centred, padded.

    Parameters
    ----------
    image_shape : (H, W) of the original
    size : side of the stored square in pixels

    Returns
    -------
    ImageFrame
        The longer side fills the square; the other is rounded to whole pixels, so its scale differs from the
        longer side's by less than half a stored pixel over the whole image.
    """
    height, width = check_image_shape(image_shape)
    if size < 1:
        raise InputError(f"size must be at least 1, got {size}")
    ratio = size / max(height, width)
    fitted_w, fitted_h = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = (size - fitted_w) // 2, (size - fitted_h) // 2
    scale_x, scale_y = fitted_w / width, fitted_h / height
    # edge -0.5 of the original falls on edge left - 0.5 of the stored square
    return ImageFrame(scale_x, scale_y, left - 0.5 + 0.5 * scale_x, top - 0.5 + 0.5 * scale_y, width, height)


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """Equal patches over a box, row-major: patch k is row k // cols, column k % cols (timm's order)."""

    rows: int
    cols: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise InputError(f"a patch grid needs at least one row and column, got {(self.rows, self.cols)}")

    def edges(self, box: tuple[float, float, float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Patch edges over `box`: x of shape (cols + 1,), y of shape (rows + 1,)."""
        x0, y0, x1, y1 = check_box(box)
        return np.linspace(x0, x1, self.cols + 1), np.linspace(y0, y1, self.rows + 1)
