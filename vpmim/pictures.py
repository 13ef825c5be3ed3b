"""Pictures of training as arrays, and as data addresses for a page. No colour means more than its caption says.

Legend of shape suffixes: H W pixels, R C rows and columns of cells, K orientation bins, 3 red, green, blue.
"""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Bytes = NDArray[np.uint8]

# ten colours from the colour maps inferno and viridis (S. van der Walt and N. Smith, CC0), even in lightness
INFERNO = "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4"
VIRIDIS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"

HEAT_OPACITY = 0.75
_LEVELS = 12
_SEEN, _MADE = (115, 115, 115), (255, 200, 107)
GLYPH_PALETTE: Bytes = np.concatenate(
    [np.linspace(0, 1, _LEVELS)[:, None] * np.array([colour]) for colour in (_SEEN, _MADE)]
).astype(np.uint8)
"""Black to grey, for what the model saw, then black to amber, for what it made up."""
GREY_PALETTE: Bytes = (np.linspace(0, 255, _LEVELS)[:, None].repeat(3, axis=1)).astype(np.uint8)


def data_uri(picture: Bytes, *, palette: Bytes | None = None) -> str:
    """A ``data:`` address of a picture: JPEG of (H, W) grey or (H, W, 3), or PNG of (H, W) places in a palette.

    Parameters
    ----------
    picture : uint8
    palette : (N, 3) uint8, for line drawings, whose edges must stay sharp and whose colours are few
    """
    from PIL import Image

    content = io.BytesIO()
    image = Image.fromarray(picture)
    if palette is None:
        image.save(content, "JPEG", quality=88)
    else:
        image.putpalette(palette.tobytes())
        image.save(content, "PNG", compress_level=6)  # 9 takes four times as long for a tenth less
    kind = "jpeg" if palette is None else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def to_bytes(values: Floats) -> Bytes:
    """Values in [0, 1], cut to that range, as uint8."""
    return np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)


def colour_map(name: str, values: Floats) -> NDArray[np.float64]:
    """Values in [0, 1] as (..., 3) colours in [0, 1], between the ten of `INFERNO` or `VIRIDIS`."""
    table = np.array([[int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] for colour in name.split()])
    place = np.clip(np.nan_to_num(values), 0, 1) * (len(table) - 1)
    return np.stack([np.interp(place, np.arange(len(table)), table[:, channel]) for channel in range(3)], axis=-1)


def resized(values: Floats, height: int, width: int, *, smooth: bool) -> NDArray[np.float32]:
    """A map at another size: smooth (bicubic), or in blocks."""
    from PIL import Image

    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    picture = Image.fromarray(np.asarray(values, np.float32))
    return np.asarray(picture.resize((width, height), how), np.float32)


def relative(values: Floats) -> NDArray[np.float64]:
    """Divided by the maximum, or zeros."""
    peak = float(np.max(values))
    return np.asarray(values, np.float64) / peak if peak > 0 else np.zeros(np.shape(values))


def heat_overlay(grey_HW: Floats, heat_RC: Floats) -> Bytes:
    """A heatmap over an X-ray, (H, W, 3) uint8: the square root of the map, relative to its maximum, in inferno.

    A fixation made while zoomed in is a narrow, high peak beside which, on a linear scale, all others are unseen.
    """
    height, width = grey_HW.shape
    heat = np.clip(resized(np.sqrt(relative(heat_RC)), height, width, smooth=True), 0, 1)
    opacity = HEAT_OPACITY * heat[..., None]
    return to_bytes(np.asarray(grey_HW)[..., None] * (1 - opacity) + colour_map(INFERNO, heat) * opacity)


def hog_glyphs(cells_RCK: Floats, cell_px: int) -> NDArray[np.float64]:
    """Histograms of oriented gradients as short lines along the edges, (R cell_px, C cell_px) in [0, 1].

    Each bin is a line through the middle of its cell, at right angles to the bin's gradients, as bright as its value.
    """
    rows, cols, bins = cells_RCK.shape
    stamps_KPP = np.stack([_line(math.pi * (k + 0.5) / bins, cell_px) for k in range(bins)])
    glyphs_RPCP = np.einsum("rck,kij->ricj", np.clip(cells_RCK, 0, 1), stamps_KPP)
    return np.clip(glyphs_RPCP.reshape(rows * cell_px, cols * cell_px), 0, 1)


def _line(angle: float, cell_px: int) -> NDArray[np.float64]:
    """An antialiased line along the edge whose gradient is `angle` away from the vertical (`vpmim.targets`)."""
    middle = (cell_px - 1) / 2
    y, x = np.mgrid[:cell_px, :cell_px] - middle
    # the gradient is (sin, cos), the edge at right angles to it
    along = x * math.cos(angle) - y * math.sin(angle)
    across = np.abs(x * math.sin(angle) + y * math.cos(angle))
    half = max(0.45, cell_px / 36)
    return np.clip(half + 0.5 - across, 0, 1) * np.clip(cell_px / 2 - np.abs(along), 0, 1)


def glyph_places(target_RCK: Floats, prediction_RCK: Floats, hidden_RC: Floats, cell_px: int) -> Bytes:
    """Glyphs of the target where the model saw the image, of its prediction where it did not, in `GLYPH_PALETTE`."""
    hidden = (np.asarray(hidden_RC) > 0)[..., None]
    shown = hog_glyphs(np.where(hidden, prediction_RCK, target_RCK), cell_px)
    made = np.asarray(hidden[..., 0]).repeat(cell_px, axis=0).repeat(cell_px, axis=1)
    level = np.rint(shown * (_LEVELS - 1)).astype(np.uint8)
    return np.where(made, level + _LEVELS, level).astype(np.uint8)


def pixel_reconstruction(grey_HW: Floats, prediction_RCP: Floats, hidden_RC: Floats) -> Bytes:
    """The crop, with hidden patches replaced by the prediction in the patch's own mean and contrast (as MAE shows)."""
    rows, cols, pixels = prediction_RCP.shape
    patch = math.isqrt(pixels)
    tiles = np.asarray(grey_HW, np.float64)[: rows * patch, : cols * patch]
    tiles = tiles.reshape(rows, patch, cols, patch).swapaxes(1, 2).reshape(rows, cols, pixels)
    contrast = np.sqrt(tiles.var(axis=2, ddof=1, keepdims=True) + 1e-6)
    made = prediction_RCP * contrast + tiles.mean(axis=2, keepdims=True)
    shown = np.where(np.asarray(hidden_RC)[..., None], made, tiles)
    return to_bytes(shown.reshape(rows, cols, patch, patch).swapaxes(1, 2).reshape(rows * patch, cols * patch))


def boundary(region_RC: NDArray[np.bool_], cell: float) -> str:
    """SVG path along the border of a region of cells, in units of which a cell is `cell` wide."""
    padded = np.pad(np.asarray(region_RC, bool), 1)
    steps = []
    for row, col in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist():
        steps.append(f"M{col * cell:g} {row * cell:g}h{cell:g}")
    for row, col in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist():
        steps.append(f"M{col * cell:g} {row * cell:g}v{cell:g}")
    return "".join(steps)


def squares(region_RC: NDArray[np.bool_], cell: float) -> str:
    """SVG path that fills the cells of a region."""
    return "".join(
        f"M{col * cell:g} {row * cell:g}h{cell:g}v{cell:g}h{-cell:g}z"
        for row, col in np.argwhere(np.asarray(region_RC, bool)).tolist()
    )
