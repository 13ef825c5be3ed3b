"""Agreement of two sides, image by image: two readers, two detectors, or a saliency model and the recorded gaze."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.metrics.agreement import points_on_grid
from gazekit.metrics.cached_gaze import (
    map_shape,
    mean_scores,
    readings_of,
    rows_by_image,
    scanpath_scores,
)
from gazekit.metrics.maps import map_scores
from gazekit.metrics.points import on_map
from gazekit.metrics.saliency import auc_judd, ig, nss, sauc
from gazekit.prior import Prior
from gazekit.sources.saliency_maps import SaliencyMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache

    Floats = NDArray[np.float64]
    Scores = dict[str, float | None]
    Side = PriorCache | SaliencyMaps

MAX_OTHERS = 20_000
"""Fixations of other images that sAUC takes as negatives: drawn once, with a fixed seed, where there are more."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores of side A against side B.

    Attributes
    ----------
    scores : dict
        Image id to its scores by name; None where an image has no such score (a scanpath too short, say).
    mean : dict
        Of each score over the images that have it, every image counting once; None where none has.
    skipped : list of (image id, reason code, message)
        Images on both sides that could not be compared.
    counts : dict
        ``only_in_a, only_in_b``: images that the other side does not have; ``fixations_off_image``: those of B that the
        scores at fixations leave out.
    """

    scores: dict[str, Scores]
    mean: Scores
    skipped: list[tuple[str, str, str]]
    counts: dict[str, int]


@dataclass(frozen=True, eq=False)
class _Gaze:
    """What a side knows of an image: a dense map, or a prior with scanpaths."""

    dense: NDArray[np.floating] | None = None
    prior: Prior | None = None
    scanpaths: tuple[Floats, ...] = ()

    def map_of(self, shape: tuple[int, int]) -> NDArray[np.floating]:
        if self.prior is not None:
            return self.prior.heatmap(shape)
        assert self.dense is not None
        return self.dense


def compare_sides(
    first: Side,
    second: Side,
    *,
    map_size: int = 256,
    strict: bool = False,
    on_image: Callable[[int], object] | None = None,
) -> Comparison:
    """Compare two sides on the images that both have.

    A is the prediction, B the reference: NSS, AUC-Judd, sAUC and IG (over the uniform baseline) are those of A's map
    at B's fixations; CC, SIM and KL (of A from B) those of the two maps; MultiMatch, ScanMatch and DTW (original
    pixels) are means over every pair of a reading in A and one in B. All readings of an image make one map. Saliency
    maps have no fixations and no scanpaths, so those scores are None.

    Parameters
    ----------
    first, second : PriorCache or SaliencyMaps
        A and B, joined by image id, so that a cache may have been built ``--per reading``.
    map_size : int
        Longer side of the maps of caches, which are evaluated at this size, in cells. Beside a saliency map, a cache is
        evaluated at the size of that map, which is not resized.
    strict : bool
        Raise at the first image that cannot be compared, in place of listing it.
    on_image : callable, optional
        Called with the number of images done.

    Raises
    ------
    InputError
        No image in common, or none that can be compared (with `strict`: one); a map size that is not positive.
    """
    if map_size < 1:
        raise InputError(f"map_size must be at least 1, got {map_size}")
    sides = _Side(first), _Side(second)
    common = common_images(first, second)
    if not common:
        raise InputError(
            f"the two have no image in common: {len(sides[0].images)} and {len(sides[1].images)} images, joined by id"
        )
    owner, others = sides[1].fixations(common)
    scores: dict[str, Scores] = {}
    skipped: list[tuple[str, str, str]] = []
    off_image = 0
    for k, image_id in enumerate(common):
        try:
            gaze_a, gaze_b = (side.gaze(image_id) for side in sides)
            scores[image_id], off = _compare(gaze_a, gaze_b, map_size, others[owner != k])
            off_image += off
        except (RecordError, InputError) as error:
            reason = error.reason if isinstance(error, RecordError) else "not_image"
            if strict:
                raise InputError(f"{image_id}: {reason}: {error}") from error
            skipped.append((image_id, reason, str(error)))
        if on_image is not None:
            on_image(k + 1)
    if not scores:
        reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(reason for _, reason, _ in skipped).items())
        raise InputError(f"none of the {len(common)} common images can be compared: {reasons}; {skipped[0][2]}")
    only_in_a, only_in_b = (len(side.images) - len(common) for side in sides)
    counts = {"only_in_a": only_in_a, "only_in_b": only_in_b, "fixations_off_image": off_image}
    return Comparison(scores, mean_scores(scores.values()), skipped, counts)


def common_images(first: Side, second: Side) -> list[str]:
    """Image ids that both sides hold, sorted."""
    return sorted(_Side(first).images.keys() & _Side(second).images.keys())


class _Side:
    """A cache or a folder of maps, by image."""

    def __init__(self, source: Side) -> None:
        self.source = source
        self.images: dict[str, Any] = dict(source.files) if isinstance(source, SaliencyMaps) else rows_by_image(source)

    def gaze(self, image_id: str) -> _Gaze:
        """What this side knows of an image; every row of a cache weighs the same."""
        if isinstance(self.source, SaliencyMaps):
            return _Gaze(dense=self.source.load(image_id))
        rows = self.images[image_id]
        priors = [self.source.prior(i) for i in rows]
        prior = Prior(np.concatenate([one.gaussians for one in priors]), priors[0].image_shape)
        paths = [reading.scanpath for reading in readings_of(self.source, rows)]
        return _Gaze(prior=prior, scanpaths=tuple(path for path in paths if path is not None))

    def fixations(self, common: list[str]) -> tuple[NDArray[np.intp], Floats]:
        """Fixations on every image as shares of its width and height: (N,) index of the image, (N, 2)."""
        owners: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
        places: list[Floats] = [np.empty((0, 2))]
        if isinstance(self.source, SaliencyMaps):
            return owners[0], places[0]
        for k, image_id in enumerate(common):
            for i in self.images[image_id]:
                prior = self.source.prior(i)
                height, width = prior.image_shape
                points, _ = on_map(prior.gaussians[:, :2], (height, width))
                places.append((points + 0.5) / (width, height))
                owners.append(np.full(len(points), k))
        owner, place = np.concatenate(owners), np.concatenate(places)
        if len(owner) > MAX_OTHERS:
            drawn = np.random.default_rng(0).choice(len(owner), MAX_OTHERS, replace=False)
            owner, place = owner[drawn], place[drawn]
        return owner, place


def _compare(a: _Gaze, b: _Gaze, map_size: int, others: Floats) -> tuple[Scores, int]:
    """Scores of one image, and how many of B's fixations lie off it."""
    shape = _common_shape(a, b, map_size)
    saliency, reference = a.map_of(shape), b.map_of(shape)
    maps = map_scores(saliency, reference)
    found: Scores = dict.fromkeys(("nss", "auc_judd", "sauc"))
    found |= {"cc": maps.cc, "sim": maps.sim, "kl": maps.kl, "ig_uniform_bits": None}
    off = 0
    if b.prior is not None:
        points, off = on_map(points_on_grid(b.prior, shape), shape)
        found["nss"], found["auc_judd"] = nss(saliency, points), auc_judd(saliency, points)
        found["ig_uniform_bits"] = ig(saliency, points, "uniform")
        if len(others):
            found["sauc"] = sauc(saliency, points, others * (shape[1], shape[0]) - 0.5)
    image_shape = shape if a.prior is None else a.prior.image_shape
    return found | scanpath_scores([(one, two) for one in a.scanpaths for two in b.scanpaths], image_shape), off


def _common_shape(a: _Gaze, b: _Gaze, map_size: int) -> tuple[int, int]:
    """(h, w) of both maps."""
    if a.prior is not None and b.prior is not None:
        if a.prior.image_shape != b.prior.image_shape:
            raise RecordError("size_mismatch", f"image size {a.prior.image_shape} in A, {b.prior.image_shape} in B")
        return map_shape(a.prior.image_shape, map_size)
    shapes = [side.dense.shape for side in (a, b) if side.dense is not None]
    if len(set(shapes)) > 1:
        raise RecordError("size_mismatch", f"a map of {shapes[0]} in A, of {shapes[1]} in B: make both of one size")
    height, width = shapes[0]
    return height, width
