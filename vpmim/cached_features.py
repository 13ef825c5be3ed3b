"""Features of whole images, made once before training: what ``recalibrate.mode = "cached"`` spreads the gaze by.

``vpmim features WEIGHTS DATA --features patches --out F.npz`` writes them, ``recalibrate.features`` names the file. A
crop's patches take theirs from where they lie in the image, so no encoder runs for them in a step.

Shape suffixes: N images of the data, B of a batch, R C rows and columns of the features, D channels, L patches of the
crop, 4 box edges.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vpmim.prior import grid_centres

PATCHES = "patches"
"""The kind of features that keeps a vector a patch."""


class CachedFeaturesError(ValueError):
    """Features that cannot be read, or that are not those of the images."""


def read_patch_features(path: str | Path, ids: Sequence[str], needed_N: np.ndarray) -> tuple[Tensor, str]:
    """Features of the images of a data set.

    Parameters
    ----------
    path : file of ``vpmim features --features patches``
    ids : N ids of images
    needed_N : (N,) bool, the images that must have features; others without get zeros

    Returns
    -------
    (N, R, C, D) float16, sha256 of the file

    Raises
    ------
    CachedFeaturesError
        No such file, no features of patches, or none of an image that needs them.
    """
    path = Path(path)
    cure = f"make them with: vpmim features WEIGHTS DATA --features {PATCHES} --out {path.name}"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with np.load(path, allow_pickle=False) as content:
            known, features = content["ids"].tolist(), content["features"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise CachedFeaturesError(f"recalibrate.features: {path} cannot be read ({error}); {cure}") from None
    if features.ndim != 4 or len(known) != len(features):
        raise CachedFeaturesError(
            f"recalibrate.features: {path.name} holds an array {features.shape} for {len(known)} images, and not "
            f"(images, rows, columns, channels); {cure}"
        )
    row_of = {name: row for row, name in enumerate(known)}
    lacking = [name for name, needed in zip(ids, needed_N, strict=True) if needed and name not in row_of]
    if lacking:
        raise CachedFeaturesError(
            f"recalibrate.features: {path.name} has no features of {len(lacking)} images with gaze, such as "
            f"{lacking[0]}; {cure}"
        )
    table = np.zeros((len(ids), *features.shape[1:]), np.float16)
    for place, name in enumerate(ids):
        if name in row_of:
            table[place] = features[row_of[name]]
    return torch.from_numpy(table), digest


def crop_features(
    features_BRCD: Tensor, boxes_B4: Tensor, flip_B: Tensor, *, side: int, grid: tuple[int, int]
) -> Tensor:
    """Features at the centres of a crop's patches, bilinear between the patches of the whole image.

    Parameters
    ----------
    features_BRCD : (B, R, C, D), over the whole stored square; without elements where none are kept
    boxes_B4 : (B, 4) crops, edges in stored pixels
    flip_B : (B,) bool, mirrored after cropping
    side : of the stored square, pixels
    grid : (rows, cols) of the crop's patches

    Returns
    -------
    (B, L, D) float32
    """
    rows, cols = grid
    if features_BRCD.numel() == 0:
        return boxes_B4.new_zeros((len(boxes_B4), rows * cols, 0), dtype=torch.float32)
    # from pixels, whose first one's outer edge is at -0.5, to [-1, 1] between the outer edges
    x_BC, y_BR = (2 * (centre + 0.5) / side - 1 for centre in grid_centres(boxes_B4, rows, cols))
    x_BC = torch.where(flip_B[:, None], x_BC.flip(1), x_BC)
    where_BRC2 = torch.stack(
        [x_BC[:, None, :].expand(-1, rows, -1), y_BR[:, :, None].expand(-1, -1, cols)], dim=3
    ).float()
    image_BDRC = features_BRCD.float().permute(0, 3, 1, 2)
    found = F.grid_sample(image_BDRC, where_BRC2, mode="bilinear", padding_mode="border", align_corners=False)
    return found.flatten(2).mT
