"""What a training step sees and makes, as pictures: from the arrays of `vpmim.objective.panels` to pixels.

Legend of shape suffixes: H W pixels, R C rows and columns of cells, 3 red, green, blue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vpmim.pictures import (
    GLYPH_PALETTE,
    GREY_PALETTE,
    VIRIDIS,
    colour_map,
    glyph_places,
    heat_overlay,
    pixel_reconstruction,
    to_bytes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    Bytes = NDArray[np.uint8]

SIDE = 336
"""Side of a picture of cells, about; a cell is a whole number of pixels."""

WEIGHTS_PALETTE: Bytes = to_bytes(colour_map(VIRIDIS, np.linspace(0, 1, 256)))

_TILE = 224
_GAP = 4
_SCALE = re.compile(r"weights_([0-9.]+)x")


class Picture(NamedTuple):
    """(H, W) grey, (H, W, 3) colours, or (H, W) places in a palette."""

    pixels: Bytes
    palette: Bytes | None = None

    def colours(self) -> Bytes:
        """(H, W, 3)."""
        if self.palette is not None:
            return self.palette[self.pixels]
        return self.pixels if self.pixels.ndim == 3 else self.pixels[..., None].repeat(3, axis=2)


def scales_of(arrays: Arrays) -> list[str]:
    """Names of the scales in a file of panels, finest first: ``4``, ``2``, ``1``, ``0.5``."""
    found = [match[1] for name in arrays if (match := _SCALE.fullmatch(name))]
    return sorted(found, key=float, reverse=True)


def has_reconstruction(arrays: Arrays) -> bool:
    """Whether what was reconstructed can be drawn: a teacher's features are no picture."""
    return f"prediction_{scales_of(arrays)[0]}x" in arrays


def target_glyphs(arrays: Arrays, sample: int, scale: str) -> Picture:
    """The oriented gradients of a scale, all of them."""
    target = arrays[f"target_{scale}x"][sample]
    cell_px, height, width = _size(arrays, scale)
    return Picture(glyph_places(target, target, np.zeros(target.shape[:2]), cell_px)[:height, :width], GREY_PALETTE)


def reconstruction(arrays: Arrays, sample: int, scale: str, *, pixels: bool) -> Picture:
    """What the model made of what was hidden from it, and the rest as it was; glyphs, or the targets' own pixels."""
    prediction, hidden = arrays[f"prediction_{scale}x"][sample], arrays["mask"][sample]
    if pixels:
        return Picture(pixel_reconstruction(arrays["image"][sample], prediction, hidden))
    rows, cols = hidden.shape
    cell_px, height, width = _size(arrays, scale)
    if float(scale) >= 1:
        covered = hidden.repeat(round(float(scale)), axis=0).repeat(round(float(scale)), axis=1)
    else:  # a cell of several patches has an error wherever one of them is hidden
        even = np.pad(hidden, ((0, rows % 2), (0, cols % 2)))
        covered = even.reshape(prediction.shape[0], 2, prediction.shape[1], 2).max(axis=(1, 3))
    places = glyph_places(arrays[f"target_{scale}x"][sample], prediction, covered, cell_px)
    return Picture(places[:height, :width], GLYPH_PALETTE)


def loss_weights(arrays: Arrays, sample: int, scale: str, *, largest: float | None = None) -> Picture:
    """Weight of each cell's error, relative to `largest`, or to the largest of these."""
    weights = np.asarray(arrays[f"weights_{scale}x"][sample], np.float64)
    largest = float(weights.max()) if largest is None else largest
    cell_px, height, width = _size(arrays, scale)
    places = to_bytes(weights / largest if largest > 0 else weights)
    return Picture(places.repeat(cell_px, axis=0).repeat(cell_px, axis=1)[:height, :width], WEIGHTS_PALETTE)


def panel_sheet(arrays: Arrays, *, pixels: bool) -> Bytes:
    """All of it as one picture, (H, W, 3): an image a row.

    Columns are the crop, the gaze prior, the recalibrated prior, the crop with hidden patches dark, and for each
    scale, finest first, the reconstruction (where it can be drawn) and the weights.
    """
    rows = []
    for sample, (grey, hidden) in enumerate(zip(arrays["image"], arrays["mask"], strict=True)):
        patch_px = -(-grey.shape[0] // hidden.shape[0])
        cover = hidden.repeat(patch_px, axis=0).repeat(patch_px, axis=1)[: grey.shape[0], : grey.shape[1]]
        tiles = [
            Picture(to_bytes(grey)),
            Picture(heat_overlay(grey, arrays["prior"][sample])),
            Picture(heat_overlay(grey, arrays["recalibrated"][sample])),
            Picture(to_bytes(np.where(cover, 0.15 * grey, grey))),
        ]
        for scale in scales_of(arrays):
            if has_reconstruction(arrays):
                tiles.append(reconstruction(arrays, sample, scale, pixels=pixels))
            tiles.append(loss_weights(arrays, sample, scale))
        rows.append(np.concatenate([_tile(tile.colours()) for tile in tiles], axis=1))
    return np.concatenate(rows, axis=0)


def _size(arrays: Arrays, scale: str) -> tuple[int, int, int]:
    """Pixels a cell of a scale, such that a picture is near `SIDE` wide, and even, so that half a cell is whole; and
    height and width of the patches' own grid, which cells at an odd edge reach over."""
    rows, cols = arrays["mask"].shape[1:]
    cell_px = max(4, 2 * round(SIDE / cols / float(scale) / 2))
    return cell_px, round(float(scale) * rows * cell_px), round(float(scale) * cols * cell_px)


def _tile(colours_HW3: Bytes) -> Bytes:
    """A picture at the size of a tile, with a dark margin at its right and lower edges."""
    from PIL import Image

    tile = np.asarray(Image.fromarray(colours_HW3).resize((_TILE, _TILE), Image.Resampling.BOX))
    return np.pad(tile, ((0, _GAP), (0, _GAP), (0, 0)))
