"""Agreement of several readings of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError
from gazekit.metrics.maps import map_scores
from gazekit.metrics.points import on_map
from gazekit.metrics.saliency import auc_judd, nss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gazekit.prior import Prior

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the readers of one image agree.

    Attributes
    ----------
    cc, sim : (R, R) float64
        Of each pair of readers' maps, symmetric, 1 on the diagonal.
    kl : (R, R) float64
        ``kl[i, j]``: divergence, in nats, of reader i's map from reader j's; 0 on the diagonal.
    nss, auc_judd : (R,) float64
        Each reader's fixations on the mean map of the others.
    off_map : (R,) int64
        Fixations off the image, which `nss` and `auc_judd` leave out.
    """

    cc: Floats
    sim: Floats
    kl: Floats
    nss: Floats
    auc_judd: Floats
    off_map: NDArray[np.int64]


def reader_agreement(priors: Sequence[Prior], *, out_shape: tuple[int, int] | None = None) -> Agreement:
    """Agreement of readers by pairs, and of each with the rest.

    Parameters
    ----------
    priors : sequence of `gazekit.Prior`
        One a reading, all of one image; at least two.
    out_shape : (h, w), optional
        Size at which the maps are compared; default: the image's.

    Raises
    ------
    InputError
        Fewer than two readings, or images of different sizes.
    EmptyGazeError
        A reading without gaze, or with none on the image.
    """
    n = len(priors)
    shapes = {prior.image_shape for prior in priors}
    if n < 2 or len(shapes) != 1:
        raise InputError(f"agreement needs at least two readings of one image, got {n} of sizes {sorted(shapes)}")
    shape = priors[0].image_shape if out_shape is None else out_shape
    maps = [prior.heatmap(shape) for prior in priors]
    cc, sim, kl = np.eye(n), np.eye(n), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                scores = map_scores(maps[i], maps[j])
                cc[i, j], sim[i, j], kl[i, j] = scores.cc, scores.sim, scores.kl
    found_nss, found_auc, off = np.empty(n), np.empty(n), np.empty(n, np.int64)
    for i, prior in enumerate(priors):
        points, off[i] = on_map(points_on_grid(prior, shape), shape)
        others = np.mean([image for j, image in enumerate(maps) if j != i], axis=0)
        found_nss[i], found_auc[i] = nss(others, points), auc_judd(others, points)
    return Agreement(cc, sim, kl, found_nss, found_auc, off)


def agreement_map(maps: Sequence[ArrayLike]) -> Floats:
    """Where the gaze of all readers agrees: the part of it that they share, pixel by pixel or patch by patch.

    Parameters
    ----------
    maps : sequence of (h, w), not negative
        One a reader, heatmaps or patch relevances, at least two; each is divided by its sum.

    Returns
    -------
    (h, w) float64
        ``min_i p_i`` of the densities p_i. It sums to the histogram intersection of all readers (Swain & Ballard
        1991, "Color indexing"), 1 if they are equal and 0 if no place was looked at by all; for two readers that is
        their `sim`.

    Raises
    ------
    InputError
        Fewer than two maps, different shapes, or a map that is no density.
    """
    densities = [np.asarray(image, dtype=np.float64) for image in maps]
    shapes = {density.shape for density in densities}
    if len(densities) < 2 or len(shapes) != 1 or len(densities[0].shape) != 2:
        raise InputError(f"agreement needs at least two maps of one shape (h, w), got {len(densities)} of {shapes}")
    shared = np.full(densities[0].shape, np.inf)
    for reader, density in enumerate(densities):
        total = float(density.sum())
        if not (0 < total < np.inf and density.min() >= 0):
            raise InputError(f"map {reader} must be finite, not negative, with a positive sum to be a density")
        np.minimum(shared, density / total, out=shared)
    return shared


def points_on_grid(prior: Prior, shape: tuple[int, int]) -> Floats:
    """(F, 2) centres of a prior's Gaussians in the pixels of a map of (h, w) over the whole image."""
    height, width = prior.image_shape
    scale = np.array([shape[1] / width, shape[0] / height])
    return np.asarray((prior.gaussians[:, :2] + 0.5) * scale - 0.5)
