"""Pictures of gaze over an X-ray, as arrays: no file is opened or written here, and nothing is computed anew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    RGB = NDArray[np.uint8]

BACKGROUND = (16, 18, 22)
INK = (236, 239, 244)
BOUNDARY = (255, 255, 255)
HEAT_OPACITY = 0.72
PATCH_OPACITY = 0.62
_SUBPIXEL_BITS = 4
_NUMBERED = 40  # beyond this many fixations, numbers hide the picture


def overlay(
    image: NDArray[np.uint8],
    *,
    size: int = 640,
    heatmap: ArrayLike | None = None,
    points: ArrayLike | None = None,
    durations: ArrayLike | None = None,
    reading_index: ArrayLike | None = None,
    relevance: ArrayLike | None = None,
    relevant: ArrayLike | None = None,
) -> RGB:
    """An X-ray with the layers that are given, from the bottom: heatmap, patches, scanpath.

    Parameters
    ----------
    image : (S, S) uint8, grey
    size : int
        Side of the result in pixels.
    heatmap : (h, w), optional
        Over the whole of `image`; shown relative to its maximum, in a perceptually uniform map that colour-blind
        readers can follow (inferno), more opaque where it is higher.
    points : (F, 2), optional
        Fixation positions x, y in pixels of `image`, in the order of time.
    durations : (F,), optional
        Seconds; the area of a circle is proportional to it, between a least and a largest circle.
    reading_index : (F,), optional
        Which reading a fixation belongs to: each is a scanpath of its own.
    relevance : (rows, cols), optional
        Gaze share of each patch over the whole of `image`, in viridis.
    relevant : (rows, cols) bool, optional
        The partition: its boundary is drawn, and what is not relevant is darkened.

    Returns
    -------
    (size, size, 3) uint8, RGB
    """
    import cv2

    if image.ndim != 2 or image.shape[0] != image.shape[1]:
        raise InputError(f"expected a square grey image, got shape {image.shape}")
    if size < 1:
        raise InputError(f"size must be at least 1, got {size}")
    grey = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC if size > image.shape[0] else cv2.INTER_AREA)
    canvas = np.repeat(grey[:, :, None], 3, axis=2).astype(np.float32)
    if heatmap is not None:
        dense = cv2.resize(_relative(heatmap), (size, size), interpolation=cv2.INTER_LINEAR)
        # the square root lifts the low end, which is most of the map, without reordering anything
        canvas = _blend(canvas, _colours(dense, "inferno"), HEAT_OPACITY * np.sqrt(dense))
    if relevance is not None:
        canvas = _draw_patches(canvas, np.asarray(relevance, np.float64), relevant)
    picture: RGB = np.rint(canvas).astype(np.uint8)
    if points is not None:
        scaled = (np.asarray(points, np.float64) + 0.5) * (size / image.shape[0]) - 0.5
        times = np.ones(len(scaled)) if durations is None else np.asarray(durations, np.float64)
        reading = np.zeros(len(scaled)) if reading_index is None else np.asarray(reading_index)
        radii = _radii(times, size)
        for which in np.unique(reading).tolist():
            _draw_scanpath(picture, scaled[reading == which], radii[reading == which])
    return picture


def panels(pictures: Sequence[tuple[str, RGB]], *, gap: int = 12, heading: str = "") -> RGB:
    """Pictures of equal height side by side, each under its title, all under a heading.

    Parameters
    ----------
    pictures : sequence of (title, (h, w, 3) uint8)
    gap : int
        Space between and around them, pixels.
    heading : str
        A line above all.

    Returns
    -------
    (H, W, 3) uint8
    """
    height = pictures[0][1].shape[0]
    text_px = max(12, height // 36)
    line = round(text_px * 1.9)
    top = gap + line * (2 if heading else 1)
    width = gap + sum(picture.shape[1] + gap for _, picture in pictures)
    sheet = np.full((top + height + gap, width, 3), BACKGROUND, np.uint8)
    if heading:
        _write_text(sheet, heading, (gap, gap // 2), round(text_px * 1.15))
    left = gap
    for title, picture in pictures:
        _write_text(sheet, title, (left, top - line), text_px)
        sheet[top : top + height, left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return sheet


@cache
def colour_table(name: str) -> RGB:
    """(256, 3) uint8 RGB of a perceptually uniform colour map: "inferno", "viridis" or "plasma"."""
    import cv2

    ramp = np.arange(256, dtype=np.uint8)[:, None]
    table: RGB = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{name.upper()}"))[:, 0, ::-1].copy()
    table.flags.writeable = False
    return table


def _relative(values: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    peak = float(array.max())
    return array / np.float32(peak) if peak > 0 else array


def _colours(relative: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return colour_table(name)[np.clip(np.rint(relative * 255), 0, 255).astype(np.uint8)].astype(np.float32)


def _blend(below: NDArray[np.float32], above: NDArray[np.float32], opacity: NDArray[np.float32]) -> NDArray[np.float32]:
    alpha = opacity[:, :, None]
    return below * (1 - alpha) + above * alpha


def _draw_patches(
    canvas: NDArray[np.float32], relevance: NDArray[np.float64], relevant: ArrayLike | None
) -> NDArray[np.float32]:
    import cv2

    size, (rows, cols) = canvas.shape[0], relevance.shape
    row_of = np.minimum((np.arange(size) + 0.5) * rows / size, rows - 1e-6).astype(int)
    col_of = np.minimum((np.arange(size) + 0.5) * cols / size, cols - 1e-6).astype(int)
    share = np.sqrt(_relative(relevance))
    opacity = share * np.float32(PATCH_OPACITY)
    chosen = np.ones((rows, cols), bool) if relevant is None else np.asarray(relevant, bool)
    opacity = np.where(chosen, opacity, opacity * np.float32(0.35))
    colours = _colours(share, "viridis")
    canvas = canvas * np.where(chosen, np.float32(1), np.float32(0.6))[row_of][:, col_of][:, :, None]
    canvas = _blend(canvas, colours[row_of][:, col_of], opacity[row_of][:, col_of])
    x_edges = np.rint(np.linspace(0, size, cols + 1)).astype(int)
    y_edges = np.rint(np.linspace(0, size, rows + 1)).astype(int)
    for x in x_edges[1:-1]:
        canvas[:, x] = canvas[:, x] * 0.8 + 25
    for y in y_edges[1:-1]:
        canvas[y] = canvas[y] * 0.8 + 25
    if relevant is not None:
        thick = max(2, size // 240)
        outside = np.pad(chosen, 1)
        for r, c in np.argwhere(outside[:, 1:] != outside[:, :-1]).tolist():
            if 1 <= r <= rows:
                cv2.line(
                    canvas, (int(x_edges[c]), int(y_edges[r - 1])), (int(x_edges[c]), int(y_edges[r])), BOUNDARY, thick
                )
        for r, c in np.argwhere(outside[1:] != outside[:-1]).tolist():
            if 1 <= c <= cols:
                cv2.line(
                    canvas, (int(x_edges[c - 1]), int(y_edges[r])), (int(x_edges[c]), int(y_edges[r])), BOUNDARY, thick
                )
    return canvas


def _radii(durations: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Radius in pixels of each circle; the median duration gets 2 % of the picture's side."""
    if not len(durations):
        return durations
    relative = durations / max(float(np.median(durations)), 1e-3)
    return np.asarray(np.clip(0.02 * np.sqrt(relative), 0.006, 0.09) * size)


def _draw_scanpath(picture: RGB, points: NDArray[np.float64], radii: NDArray[np.float64]) -> None:
    """Circles joined in order; colour runs with time from dark to light (plasma)."""
    import cv2

    n, size = len(points), picture.shape[0]
    if n == 0:
        return
    one = 1 << _SUBPIXEL_BITS
    at = [(round(x * one), round(y * one)) for x, y in points.tolist()]
    table = colour_table("plasma")
    colours = [tuple(int(v) for v in table[60 + round(180 * i / max(n - 1, 1))]) for i in range(n)]
    thin = max(1, size // 420)
    lines = picture.copy()
    for i in range(n - 1):
        cv2.line(lines, at[i], at[i + 1], colours[i], thin, cv2.LINE_AA, _SUBPIXEL_BITS)
    picture[:] = cv2.addWeighted(picture, 0.25, lines, 0.75, 0)
    discs = picture.copy()
    for i in range(n):
        cv2.circle(discs, at[i], round(radii[i] * one), colours[i], -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    picture[:] = cv2.addWeighted(picture, 0.45, discs, 0.55, 0)
    for i in range(n):
        cv2.circle(picture, at[i], round(radii[i] * one), INK, thin, cv2.LINE_AA, _SUBPIXEL_BITS)
    numbered = range(n) if n <= _NUMBERED else (0, n - 1)
    for i in numbered:
        _write_text(picture, str(i + 1), (points[i][0], points[i][1]), max(9, size // 58), anchor="mm")


def _write_text(picture: RGB, text: str, at: tuple[float, float], text_px: int, *, anchor: str = "la") -> None:
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(picture)
    font = ImageFont.load_default(size=text_px)
    ImageDraw.Draw(canvas).text(at, text, fill=INK, font=font, anchor=anchor, stroke_width=1, stroke_fill=BACKGROUND)
    picture[:] = np.asarray(canvas)
