"""Agreement between the readers of one cache, image by image."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.metrics.agreement import reader_agreement
from gazekit.metrics.cached_gaze import (
    ReadingGaze,
    map_shape,
    mean_scores,
    readings_of,
    rows_by_image,
    scanpath_scores,
)
from gazekit.metrics.compare import Comparison

if TYPE_CHECKING:
    from gazekit.cache import PriorCache

    Scores = dict[str, float | None]


def several_readings(cache: PriorCache) -> dict[str, list[int]]:
    """Rows of each image that more than one reading is of, sorted by image id; `InputError` where there is none."""
    rows = rows_by_image(cache)
    count = {image_id: sum(int(cache.rows[i]["n_readings"]) for i in own) for image_id, own in rows.items()}
    several = {image_id: rows[image_id] for image_id in sorted(rows) if count[image_id] > 1}
    if not several:
        raise InputError(f"{cache.path}: no image has more than one reading, so there are no readers to compare")
    return several


def compare_readers(
    cache: PriorCache,
    *,
    map_size: int = 256,
    strict: bool = False,
    on_image: Callable[[int], object] | None = None,
) -> Comparison:
    """Agreement between the readings of each image of a cache.

    Pairs of readings are scored for cc, sim, kl (both ways) and scanpaths, and each reading's fixations on the mean map
    of the others for nss and auc_judd; an image's score is the mean.

    Parameters
    ----------
    cache : PriorCache
        Built per image or per reading.
    map_size : int
        Longer side of the compared maps, in cells.
    strict : bool
        Raise at the first image that cannot be scored, in place of listing it.
    on_image : callable, optional
        Called with the number of images done.

    Returns
    -------
    Comparison
        With ``readings``, their number, among the scores; ``counts`` has ``single_reading`` (images with one, which has
        nobody to agree with) and ``fixations_off_image``.

    Raises
    ------
    InputError
        No image with two readings, or none that can be scored (with `strict`: one); a map size that is not positive.
    """
    if map_size < 1:
        raise InputError(f"map_size must be at least 1, got {map_size}")
    images = several_readings(cache)
    scores: dict[str, Scores] = {}
    skipped: list[tuple[str, str, str]] = []
    off_image = 0
    for done, (image_id, rows) in enumerate(images.items(), start=1):
        try:
            scores[image_id], off = _agreement(list(readings_of(cache, rows)), map_size)
            off_image += off
        except RecordError as error:
            if strict:
                raise InputError(f"{image_id}: {error.reason}: {error}") from error
            skipped.append((image_id, error.reason, str(error)))
        if on_image is not None:
            on_image(done)
    if not scores:
        raise InputError(f"none of {len(images)} images can be scored, first {skipped[0][0]}: {skipped[0][2]}")
    counts = {"single_reading": len(rows_by_image(cache)) - len(images), "fixations_off_image": off_image}
    return Comparison(scores, mean_scores(scores.values()), skipped, counts)


def _agreement(readings: list[ReadingGaze], map_size: int) -> tuple[Scores, int]:
    if len(readings) < 2:
        raise RecordError("no_gaze", f"{len(readings)} of its readings has gaze: two are needed")
    image_shape = readings[0].prior.image_shape
    found = reader_agreement([one.prior for one in readings], out_shape=map_shape(image_shape, map_size))
    upper = np.triu_indices(len(readings), 1)
    apart = ~np.eye(len(readings), dtype=bool)
    scores: Scores = {
        "readings": float(len(readings)),
        "cc": float(found.cc[upper].mean()),
        "sim": float(found.sim[upper].mean()),
        "kl": float(found.kl[apart].mean()),
        "nss": float(found.nss.mean()),
        "auc_judd": float(found.auc_judd.mean()),
    }
    paths = [one.scanpath for one in readings if one.scanpath is not None]
    return scores | scanpath_scores(list(combinations(paths, 2)), image_shape), int(found.off_map.sum())
