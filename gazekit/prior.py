"""The gaze prior as a sum of clipped Gaussians: dense maps and exact patch masses from the same few numbers.

A fixation is an axis-aligned Gaussian that counts only on the part of the image that was on the screen. The sum
is separable per fixation, so a dense map is one small matrix product, and it integrates in closed form, so the
mass of any rectangle needs no map at all. Definitions: the REFLACX reference (Bigolin Lanfredi et al. 2022),
``H = sum_i w_i N(c; x_i, sx_i^2) N(r; y_i, sy_i^2)`` inside the shown rectangle, 0 elsewhere, not renormalised
after clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from gazekit.errors import EmptyGazeError, InputError
from gazekit.geometry import PatchGrid, check_box, check_image_shape, clip_rectangles, whole_image
from gazekit.reading import POSITION, PX_PER_DEG, SHOWN, TIMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Box = tuple[float, float, float, float]
    Normalize = Literal["sum", "max"] | None

GAUSSIAN_COLUMNS = ("x", "y", "sigma_x", "sigma_y", "weight", "clip_x0", "clip_y0", "clip_x1", "clip_y1")
"""Columns of a (F, 9) float64 array of clipped Gaussians, original image pixels; the clip is a half-open range."""

SUPPORT_SIGMAS = 9.0
"""A Gaussian is cut here on each axis: exact to float32, and subnormal numbers would make the product slow."""

BAND_ROWS = 256
"""Rows of the map made by one matrix product, which then leaves out the Gaussians that do not reach the band."""

GAUSSIANS_A_BLOCK = 4096
"""More than this, as raw samples are, are summed block by block: their profiles would fill the memory."""

MIN_SHARE = 1e-6
"""Least share of the weight that must fall inside the image for there to be a map."""

_SQRT_2PI = float(np.sqrt(2 * np.pi))


def gaussians(
    fixations: pd.DataFrame,
    *,
    image_shape: tuple[int, int],
    sigma_dva: float = 1.0,
    sigma_px: float | tuple[float, float] | None = None,
    weights: Literal["duration", "count"] | ArrayLike = "duration",
) -> Floats:
    """Fixations as clipped Gaussians.

    Parameters
    ----------
    fixations : DataFrame
        Canonical table; without any ``shown_*`` column the whole image counts as shown.
    image_shape : (H, W)
    sigma_dva : float
        Spread in degrees of visual angle; times ``px_per_deg_x`` and ``px_per_deg_y`` of each fixation.
    sigma_px : float or (x, y), optional
        Spread in original image pixels, in place of degrees.
    weights : "duration", "count" or (F,) array
        Seconds, one each, or your own (finite, not negative).

    Returns
    -------
    (F, 9) float64, columns `GAUSSIAN_COLUMNS`.

    Raises
    ------
    InputError
        A missing column, a value that is not finite, a sigma that is not positive.
    """
    height, width = check_image_shape(image_shape)
    columns = fixations.columns.tolist()
    wanted: tuple[str, ...] = POSITION if sigma_px is not None else POSITION + PX_PER_DEG
    if isinstance(weights, str) and weights == "duration":
        wanted += TIMES
    if not set(SHOWN).isdisjoint(columns):
        wanted += SHOWN
    table = dict(zip(wanted, _finite_columns(fixations, columns, wanted).T, strict=True))

    out = np.empty((len(fixations), 9))
    out[:, 0], out[:, 1] = table["x_px"], table["y_px"]
    out[:, 2], out[:, 3] = _sigmas(table, sigma_dva, sigma_px)
    out[:, 4] = _weights(table, weights, len(fixations))
    if SHOWN[0] in table:
        out[:, 5:] = clip_rectangles(np.stack([table[name] for name in SHOWN], axis=1), (height, width))
    else:
        out[:, 5:] = (0, 0, width, height)
    return out


def heatmap(
    fixations: pd.DataFrame,
    *,
    image_shape: tuple[int, int],
    sigma_dva: float = 1.0,
    sigma_px: float | tuple[float, float] | None = None,
    weights: Literal["duration", "count"] | ArrayLike = "duration",
    out_shape: tuple[int, int] | None = None,
    crop: tuple[float, float, float, float] | None = None,
    normalize: Normalize = "sum",
) -> NDArray[np.float32]:
    """Fixation heatmap of a reading.

    Parameters
    ----------
    fixations, image_shape, sigma_dva, sigma_px, weights
        As in `gaussians`.
    out_shape : (h, w), optional
        Size of the result; default: one cell a pixel of the image or crop. A smaller map is evaluated on its own
        grid, never resized from a larger one.
    crop : (x0, y0, x1, y1), optional
        Edges in original image pixels; the whole image is (-0.5, -0.5, W - 0.5, H - 0.5).
    normalize : "sum", "max" or None
        "sum" divides by the total over the whole image, also for a crop; "max" by the result's own maximum.

    Returns
    -------
    (h, w) float32

    Raises
    ------
    EmptyGazeError
        No fixation, a total weight of zero, or next to no gaze inside the image.
    InputError
        As in `gaussians`, or a wrong crop, shape or normalisation.
    """
    rows = gaussians(fixations, image_shape=image_shape, sigma_dva=sigma_dva, sigma_px=sigma_px, weights=weights)
    return density(rows, image_shape, out_shape=out_shape, crop=crop, normalize=normalize)


def patch_relevance(
    fixations: pd.DataFrame,
    *,
    image_shape: tuple[int, int],
    grid: tuple[int, int] = (14, 14),
    crop: tuple[float, float, float, float] | None = None,
    sigma_dva: float = 1.0,
    sigma_px: float | tuple[float, float] | None = None,
    weights: Literal["duration", "count"] | ArrayLike = "duration",
) -> Floats:
    """Share of the gaze that falls on each patch, in closed form.

    Parameters
    ----------
    grid : (rows, cols)
        Equal patches over the crop, row-major as in timm's patch embedding.
    crop : (x0, y0, x1, y1), optional
        Edges in original image pixels, default the whole image; parts outside the image hold no gaze.
    fixations, image_shape, sigma_dva, sigma_px, weights
        As in `gaussians`.

    Returns
    -------
    (rows, cols) float64
        Sums to 1 over the whole image, to the crop's share of the gaze over a crop.

    Raises
    ------
    EmptyGazeError, InputError
        As in `heatmap`.
    """
    rows = gaussians(fixations, image_shape=image_shape, sigma_dva=sigma_dva, sigma_px=sigma_px, weights=weights)
    return Prior(rows, check_image_shape(image_shape)).patch_relevance(grid, crop)


@dataclass(frozen=True, eq=False)
class Prior:
    """The gaze prior of one image: Gaussians and the image they lie on.

    Attributes
    ----------
    gaussians : (F, 9) float64, columns `GAUSSIAN_COLUMNS`
    image_shape : (H, W) of the original image
    """

    gaussians: Floats
    image_shape: tuple[int, int]

    def heatmap(
        self,
        out_shape: tuple[int, int] | None = None,
        crop: tuple[float, float, float, float] | None = None,
        normalize: Normalize = "sum",
    ) -> NDArray[np.float32]:
        """Dense map, as `gazekit.heatmap`."""
        return density(self.gaussians, self.image_shape, out_shape=out_shape, crop=crop, normalize=normalize)

    def patch_relevance(
        self, grid: tuple[int, int] = (14, 14), crop: tuple[float, float, float, float] | None = None
    ) -> Floats:
        """Gaze share of each patch, as `gazekit.patch_relevance`."""
        box = whole_image(self.image_shape) if crop is None else crop
        mass = patch_mass(self.gaussians, *PatchGrid(*grid).edges(box))
        total = (
            _checked_total(float(mass.sum()), self.gaussians)
            if crop is None
            else total_mass(self.gaussians, self.image_shape)
        )
        mass /= total
        return mass


def density(
    gaussians: Floats,
    image_shape: tuple[int, int],
    *,
    out_shape: tuple[int, int] | None = None,
    crop: tuple[float, float, float, float] | None = None,
    normalize: Normalize = "sum",
) -> NDArray[np.float32]:
    """Dense map of clipped Gaussians: (h, w) float32. Parameters and errors as in `heatmap`."""
    height, width = check_image_shape(image_shape)
    if normalize not in ("sum", "max", None):
        raise InputError(f'normalize must be "sum", "max" or None, got {normalize!r}')
    x0, y0, x1, y1 = whole_image((height, width)) if crop is None else check_box(crop)
    if out_shape is None:
        out_shape = (max(1, round(y1 - y0)), max(1, round(x1 - x0)))
    rows, cols = check_image_shape(out_shape)
    dense = np.empty((rows, cols), dtype=np.float32)
    total, one_block = 0.0, len(gaussians) <= GAUSSIANS_A_BLOCK
    for first in range(0, max(len(gaussians), 1), GAUSSIANS_A_BLOCK):
        block = gaussians[first : first + GAUSSIANS_A_BLOCK]
        across, sum_x = _axis_profile(block[:, 0::2], block[:, 5], block[:, 7], x0, x1, cols, width)
        down, sum_y = _axis_profile(block[:, 1::2], block[:, 6], block[:, 8], y0, y1, rows, height)
        scale = block[:, 4]
        total += float(scale @ (sum_x * sum_y))
        if one_block and normalize == "sum":
            # The total is known before the product, so normalising costs no pass over the map.
            scale = scale / _checked_total(total, gaussians)
        down *= scale.astype(np.float32)[:, None]
        for top in range(0, rows, BAND_ROWS):
            band, part = down[:, top : top + BAND_ROWS], dense[top : top + BAND_ROWS]
            reaching = np.flatnonzero(band.any(axis=1))
            if first == 0:
                np.matmul(band[reaching].T, across[reaching], out=part)
            else:
                part += band[reaching].T @ across[reaching]
    total = _checked_total(total, gaussians)
    if normalize == "sum" and not one_block:
        dense /= np.float32(total)
    if normalize == "max":
        peak = dense.max()
        if peak <= 0:
            raise EmptyGazeError("empty_map", "no gaze inside the crop, so it has no maximum to divide by")
        dense /= peak
    return dense


def patch_mass(gaussians: Floats, x_edges: Floats, y_edges: Floats) -> Floats:
    """Weighted Gaussian mass in each cell of a grid, not normalised.

    Parameters
    ----------
    gaussians : (F, 9) float64
    x_edges : (cols + 1,) float64, ascending, original image pixels
    y_edges : (rows + 1,) float64

    Returns
    -------
    (rows, cols) float64
        ``sum_i w_i m_i`` with m_i the mass of Gaussian i in the intersection of cell and clip rectangle.
    """
    across = _axis_mass(gaussians[:, 0], gaussians[:, 2], gaussians[:, 5], gaussians[:, 7], x_edges)
    down = _axis_mass(gaussians[:, 1], gaussians[:, 3], gaussians[:, 6], gaussians[:, 8], y_edges)
    mass: Floats = (down * gaussians[:, 4:5]).T @ across
    return mass


def total_mass(gaussians: Floats, image_shape: tuple[int, int]) -> float:
    """Weighted mass inside the whole image; `EmptyGazeError` where there is next to none."""
    x0, y0, x1, y1 = whole_image(image_shape)
    return _checked_total(patch_mass(gaussians, np.array([x0, x1]), np.array([y0, y1])).item(), gaussians)


def _checked_total(total: float, gaussians: Floats) -> float:
    """`total`, or `EmptyGazeError` where there is no map to make."""
    if len(gaussians) == 0:
        raise EmptyGazeError("no_gaze", "no fixation, so there is no map to make")
    weight = float(gaussians[:, 4].sum())
    if weight <= 0:
        raise EmptyGazeError("zero_duration", "the fixations' weights sum to zero")
    if total <= MIN_SHARE * weight:
        raise EmptyGazeError()
    return float(total)


def _axis_profile(
    centre_sigma: Floats, clip0: Floats, clip1: Floats, low: float, high: float, n: int, size: int
) -> tuple[NDArray[np.float32], Floats]:
    """One axis of every Gaussian at the centres of n cells over [low, high), and its sum over the whole image.

    Returns (F, n) float32 and (F,) float64. The sum runs over the same lattice carried on to the image's borders,
    so that a crop is divided by what the whole image would be divided by.
    """
    scale = n / (high - low)
    centre = scale * (centre_sigma[:, 0] - low) - 0.5
    sigma = scale * centre_sigma[:, 1]
    first = min(0, int(np.ceil(scale * (-0.5 - low) - 0.5)))
    last = max(n, int(np.ceil(scale * (size - 0.5 - low) - 0.5)))
    # A cell counts when its centre lies in the half-open clip interval and within the support.
    start = np.ceil(np.maximum(scale * (clip0 - 0.5 - low) - 0.5, centre - SUPPORT_SIGMAS * sigma))
    stop = np.ceil(np.minimum(scale * (clip1 - 0.5 - low) - 0.5, centre + SUPPORT_SIGMAS * sigma))
    start = np.clip(start, first, last).astype(np.intp) - first
    stop = np.clip(stop, first, last).astype(np.intp) - first

    profile = np.zeros((len(centre), last - first), dtype=np.float32)
    total = np.empty(len(centre))
    cells = np.arange(first, last, dtype=np.float64)
    inverse, peak = 1 / sigma, 1 / (_SQRT_2PI * sigma)
    for i, (a, b) in enumerate(zip(start.tolist(), stop.tolist(), strict=True)):
        # float64 until the difference to the cell is taken: zoomed fixations have sigmas of a few pixels
        z = ((cells[a:b] - centre[i]) * inverse[i]).astype(np.float32)
        z *= z
        z *= np.float32(-0.5)
        np.exp(z, out=z)
        z *= np.float32(peak[i])
        profile[i, a:b] = z
        total[i] = z.sum(dtype=np.float64)
    return profile[:, -first : n - first], total


def _axis_mass(centre: Floats, sigma: Floats, clip0: Floats, clip1: Floats, edges: Floats) -> Floats:
    """Mass of each 1-D Gaussian between consecutive edges, inside its clip: (F, len(edges) - 1)."""
    from scipy.special import ndtr

    z = np.minimum(np.maximum(edges, (clip0 - 0.5)[:, None]), (clip1 - 0.5)[:, None])
    z -= centre[:, None]
    z /= sigma[:, None]
    # With the tail mass beyond |z|, no difference of numbers close to 1 is ever taken.
    tail = ndtr(-np.abs(z))
    left, right = tail[:, :-1], tail[:, 1:]
    straddles = (z[:, :-1] < 0) & (z[:, 1:] > 0)
    mass: Floats = np.where(straddles, 1 - left - right, np.abs(right - left))
    return mass


def _sigmas(
    table: dict[str, Floats], sigma_dva: float, sigma_px: float | tuple[float, float] | None
) -> tuple[ArrayLike, ArrayLike]:
    if sigma_px is not None:
        sigma_x, sigma_y = np.broadcast_to(np.asarray(sigma_px, dtype=np.float64), (2,)).tolist()
        if not (0 < sigma_x < np.inf and 0 < sigma_y < np.inf):
            raise InputError(f"sigma_px must be positive, got {sigma_px!r}")
        return sigma_x, sigma_y
    if not 0 < sigma_dva < np.inf:
        raise InputError(f"sigma_dva must be positive, got {sigma_dva!r}")
    for name in PX_PER_DEG:
        if (table[name] <= 0).any():
            row = int(np.argmax(table[name] <= 0))
            raise InputError(f"{name} must be positive, fixation {row} has {table[name][row]}")
    return table["px_per_deg_x"] * sigma_dva, table["px_per_deg_y"] * sigma_dva


def _weights(table: dict[str, Floats], weights: str | ArrayLike, n: int) -> ArrayLike:
    if isinstance(weights, str):
        if weights == "count":
            return 1.0
        if weights != "duration":
            raise InputError(f'weights must be "duration", "count" or an array, got {weights!r}')
        duration = table["offset_s"] - table["onset_s"]
        if (duration < 0).any():
            raise InputError(f"fixation {int(np.argmax(duration < 0))} ends before it starts")
        return duration
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (n,):
        raise InputError(f"weights must have shape ({n},), got {array.shape}")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise InputError("weights must be finite and not negative")
    return array


def _finite_columns(fixations: pd.DataFrame, columns: list[str], names: tuple[str, ...]) -> Floats:
    """(F, len(names)) float64 of the named columns, all finite."""
    missing = [name for name in names if name not in columns]
    if missing:
        cure = "; without it degrees mean nothing, so pass sigma_px in image pixels" if missing[0] in PX_PER_DEG else ""
        raise InputError(f"the fixations lack {', '.join(missing)}; found {', '.join(map(str, columns))}{cure}")
    # The whole table in one go: twelve single columns of a data frame would cost more than the mathematics.
    table = fixations.to_numpy()
    if table.dtype == np.float64:
        values: Floats = table[:, [columns.index(name) for name in names]]
    else:
        values = fixations[list(names)].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0].tolist()
        raise InputError(f"{names[column]} of fixation {row} is {values[row, column]}; drop such rows first")
    return values
