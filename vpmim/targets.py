"""What the decoders are asked to reconstruct: oriented gradients at four scales, pixels, or a teacher's features.

Gradients and pixels are computed on the grey crop as it was cut out, in float32, before the network's normalisation.

Shape suffixes: B images, H and W pixels, K orientation bins, R and C cells along the axes, L cells or patches in
row-major order, P pixels of a patch, D channels of the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vpmim.augment import resampling_matrix
from vpmim.pooling import pool_mean

FINE = 4
"""Cells a patch side of the finest scale."""

RESAMPLED_PATCH = 16
"""Pixels a patch side on which HOG is computed where the patch does not divide into `FINE` cells."""

_TINY = 1e-24
_PIXEL_VARIANCE = 1e-6


def hog_pyramid(
    grey_BHW: Tensor,
    *,
    patch: int,
    scales: Sequence[float],
    bins: int = 9,
    gate: float = 0.05,
    magnitude: bool = False,
) -> list[Tensor]:
    """Histograms of oriented gradients at several cell sizes, from one pass over the pixels.

    Parameters
    ----------
    grey_BHW : (B, H, W) float32 in [0, 1]
        Whole patches.
    patch : pixels a patch side, p
    scales : cells a patch side, of 4, 2, 1, 0.5; cells are p / scale pixels wide
    bins : unsigned orientations
    gate : float >= 0
        Cells whose gradients are small beside this share of the image's mean gradient magnitude shrink towards zero
        instead of being blown up to length one, so that noise in air is not a target. 0 is the reference.
    magnitude : one more channel behind the orientations, ``log(1 + |h| / g)``: how strong the cell's edges are beside
        the image's, which cells of length one do not tell (method.md g)

    Returns
    -------
    list of (B, cells, bins or bins + 1) float32, one for each scale
        ``h / sqrt(|h|^2 + (gate g)^2)``, h the mean gradient magnitude in each orientation over the cell, g the mean
        magnitude over the image.

    Notes
    -----
    Gradients and bins are those of MaskFeat (Wei et al., CVPR 2022) and LocalMIM (Wang et al., CVPR 2023): Sobel
    operator, borders reflected, each pixel's magnitude into the one bin its orientation falls in, L2 norm of the
    cell. Coarser cells are means of 2 x 2 finer ones, taken before the normalisation. Where p / 4 is not an integer,
    the crop is first resampled, antialiased, to 16 pixels a patch.
    """
    grey_BHW = grey_BHW.to(torch.float32)
    if patch % FINE:
        rows, cols = grey_BHW.shape[1] // patch, grey_BHW.shape[2] // patch
        grey_BHW, patch = resize(grey_BHW, rows * RESAMPLED_PATCH, cols * RESAMPLED_PATCH), RESAMPLED_PATCH
    x_BHW, y_BHW = sobel(grey_BHW)
    magnitude_BHW = torch.sqrt(x_BHW * x_BHW + y_BHW * y_BHW)
    bin_BHW = orientation_bin(x_BHW, y_BHW, bins)
    finest_BKRC = torch.stack([pool_mean(magnitude_BHW * (bin_BHW == k), patch // FINE) for k in range(bins)], dim=1)
    mean_B11 = magnitude_BHW.mean(dim=(1, 2))[:, None, None]
    floor_B11 = gate * mean_B11
    pyramid = []
    for scale in scales:
        cells_BLK = pool_mean(finest_BKRC, round(FINE / scale)).flatten(2).mT
        squared_BL1 = cells_BLK.square().sum(dim=2, keepdim=True)
        target_BLK = cells_BLK / torch.sqrt(squared_BL1 + floor_B11 * floor_B11 + _TINY)
        if magnitude:
            contrast_BL1 = torch.log1p(torch.sqrt(squared_BL1) / mean_B11.clamp(min=math.sqrt(_TINY)))
            target_BLK = torch.cat([target_BLK, contrast_BL1], dim=2)
        pyramid.append(target_BLK)
    return pyramid


def pixel_target(grey_BHW: Tensor, *, patch: int) -> Tensor:
    """Pixels of each patch, normalised by the patch's own mean and variance (MAE, He et al., CVPR 2022).

    Parameters
    ----------
    grey_BHW : (B, H, W) float32
    patch : pixels a patch side

    Returns
    -------
    (B, L, patch * patch) float32, patches and their pixels row-major; variance unbiased, plus 1e-6.
    """
    patches_BLP = patchify(grey_BHW.to(torch.float32), patch)
    mean_BL1, deviation_BL1 = _patch_statistics(patches_BLP)
    return (patches_BLP - mean_BL1) / deviation_BL1


def in_patch_units(pixels_BLP: Tensor, grey_BHW: Tensor, *, patch: int, mean: float, std: float) -> Tensor:
    """Pixels in the units of `grey_target` as in those of `pixel_target`, by the statistics of the crop's patches."""
    mean_BL1, deviation_BL1 = _patch_statistics(patchify(grey_BHW.to(torch.float32), patch))
    return (pixels_BLP * std + mean - mean_BL1) / deviation_BL1


def grey_target(grey_BHW: Tensor, *, patch: int, mean: float, std: float) -> Tensor:
    """Pixels as the encoder sees them, under one mean and standard deviation for all (SimMIM, Xie et al., CVPR 2022).

    Parameters
    ----------
    grey_BHW : (B, H, W) float32
    patch : pixels a patch side
    mean, std : of the network's normalisation

    Returns
    -------
    (B, L, patch * patch) float32, patches and their pixels row-major.
    """
    return (patchify(grey_BHW.to(torch.float32), patch) - mean) / std


def feature_target(tokens_BLD: Tensor) -> Tensor:
    """A teacher's tokens, each of mean 0 and variance 1 over its channels (data2vec, Baevski et al., ICML 2022).

    Without that normalisation, tokens that are all the same would be a target without error.

    Parameters
    ----------
    tokens_BLD : (B, L, D), of the unmasked crop, any precision

    Returns
    -------
    (B, L, D) float32
    """
    return F.layer_norm(tokens_BLD.float(), tokens_BLD.shape[-1:])


def patchify(grey_BHW: Tensor, patch: int) -> Tensor:
    """(B, H, W) pixels as (B, L, patch * patch), patches and their pixels in row-major order."""
    tiles = grey_BHW.unflatten(2, (-1, patch)).unflatten(1, (-1, patch))
    return tiles.transpose(2, 3).flatten(3).flatten(1, 2)


def _patch_statistics(patches_BLP: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch, (B, L, 1)."""
    mean_BL1 = patches_BLP.mean(dim=2, keepdim=True)
    return mean_BL1, torch.sqrt(patches_BLP.var(dim=2, keepdim=True) + _PIXEL_VARIANCE)


def sobel(grey_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical gradients, each (B, H, W), borders reflected without repeating the edge pixel.

    By differences of shifted images and not by a convolution, whose products a GPU may round to ten bits.
    """
    padded = F.pad(grey_BHW[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]
    across = padded[:, :, 2:] - padded[:, :, :-2]
    down = padded[:, 2:, :] - padded[:, :-2, :]
    x_BHW = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    y_BHW = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    return x_BHW, y_BHW


def orientation_bin(x_BHW: Tensor, y_BHW: Tensor, bins: int) -> Tensor:
    """Which of `bins` equal sectors of the half circle a gradient points into, sign disregarded.

    Parameters
    ----------
    x_BHW, y_BHW : gradients
    bins : int

    Returns
    -------
    (B, H, W) uint8
        ``floor(bins * (atan2(x, y) mod pi) / pi)``: bin 0 begins at the vertical gradient and turns towards the
        horizontal one. A zero gradient gets some bin, and has no magnitude to put there.

    Notes
    -----
    Gradients are turned into the half plane x > 0 (or x = 0, y > 0) before their angle is taken: the angles of -0.0 and
    +0.0 are half a circle apart and would land on either side of the seam.
    """
    y_BHW = torch.where(x_BHW < 0, -y_BHW, torch.where(x_BHW == 0, y_BHW.abs(), y_BHW))
    angle_BHW = torch.atan2(x_BHW.abs(), y_BHW)
    return torch.floor(angle_BHW * (bins / math.pi)).clamp(max=bins - 1).to(torch.uint8)


def resize(grey_BHW: Tensor, height: int, width: int) -> Tensor:
    """Whole images resampled, antialiased, to (B, height, width) float32."""
    _, old_height, old_width = grey_BHW.shape
    edge = torch.full((1,), -0.5, dtype=torch.float64, device=grey_BHW.device)
    down = resampling_matrix(edge, edge + old_height, old_height, height)
    across = resampling_matrix(edge, edge + old_width, old_width, width)
    with torch.autocast(grey_BHW.device.type, enabled=False):
        return down @ grey_BHW @ across.mT
