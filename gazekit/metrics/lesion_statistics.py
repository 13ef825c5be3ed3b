"""Gaze on the lesions of a whole cache: each reading with its own marked regions, beside the average location."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from gazekit.cache_files import PREDICTED
from gazekit.errors import InputError, RecordError
from gazekit.metrics.cached_gaze import ReadingGaze, mean_scores, readings_of, rows_by_image
from gazekit.metrics.lesions import lesion_gaze, lesion_ncc
from gazekit.reading import POSITION, TIMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache

CORNERS = ("xmin_px", "ymin_px", "xmax_px", "ymax_px")


@dataclass(frozen=True, eq=False)
class LesionStatistics:
    """Gaze on the regions of each reading that has any.

    Attributes
    ----------
    scores : dict
        Reading id to its scores by name: ``regions`` (their number), ``dwell_share, dwell_s, first_fixation_s`` (of
        their union, see `gazekit.metrics.LesionGaze`), ``hit_share`` (share of the regions with a fixation), ``ncc``
        (of the reading's heatmap and the regions), ``ncc_average`` (of the mean heatmap of the other images: where
        readers look on any image). None where there is none.
    mean : dict
        Of each score over the readings that have it.
    skipped : list of (reading id, reason code, message)
    without_regions : int
        Readings in which nothing is marked.
    """

    scores: dict[str, dict[str, float | None]]
    mean: dict[str, float | None]
    skipped: list[tuple[str, str, str]]
    without_regions: int


def lesion_statistics(
    cache: PriorCache,
    *,
    regions: str = "ellipses",
    map_size: int = 128,
    strict: bool = False,
    on_image: Callable[[int], object] | None = None,
) -> LesionStatistics:
    """Dwell share, time to first fixation and NCC of every reading of a cache.

    Parameters
    ----------
    cache : PriorCache
        Built per image or per reading.
    regions : "ellipses" or "boxes"
        Which of the annotations of a reading.
    map_size : int
        Side of the square grid over each image on which heatmaps and regions are compared, in cells.
    strict : bool
        Raise at the first reading that cannot be scored, in place of listing it.
    on_image : callable, optional
        Called with the number of images done.

    Raises
    ------
    InputError
        No reading with such regions, or none that can be scored (with `strict`: one); a map size that is not positive.

    Notes
    -----
    NCC as published for REFLACX: 0.380 for the gaze, 0.326 for the average location (Bigolin Lanfredi et al.).
    """
    if regions not in ("ellipses", "boxes"):
        raise InputError(f"regions must be ellipses or boxes, got {regions!r}")
    if map_size < 1:
        raise InputError(f"map_size must be at least 1, got {map_size}")
    images = {
        image_id: [i for i in rows if cache.gaze_kinds[i] != PREDICTED]  # which no reader stands behind
        for image_id, rows in rows_by_image(cache).items()
    }
    shape = map_size, map_size
    means = {i: _mean_map(list(readings_of(cache, rows)), shape) for i, rows in images.items()}
    total = np.sum(list(means.values()), axis=0)
    with_gaze = sum(bool(one.any()) for one in means.values())
    scores: dict[str, dict[str, float | None]] = {}
    skipped: list[tuple[str, str, str]] = []
    without = 0
    for done, (image_id, rows) in enumerate(images.items(), start=1):
        others = None if with_gaze < 2 else total - means[image_id]
        described = {i: cache[i].readings for i in rows}
        for reading in readings_of(cache, rows):
            facts = described[reading.row][reading.index]
            corners = _corners(facts, regions)
            if not len(corners):
                without += 1
                continue
            name = str(facts["reading_id"])
            try:
                scores[name] = _scores(reading, corners, regions, shape, others)
            except (RecordError, InputError) as error:
                reason = error.reason if isinstance(error, RecordError) else "bad_table"
                if strict:
                    raise InputError(f"{name}: {reason}: {error}") from error
                skipped.append((name, reason, str(error)))
        if on_image is not None:
            on_image(done)
    if not scores:
        cause = f"; first {skipped[0][0]}: {skipped[0][2]}" if skipped else ""
        raise InputError(f"{cache.path}: no reading with {regions} can be scored, {without} have none{cause}")
    return LesionStatistics(scores, mean_scores(scores.values()), skipped, without)


def _mean_map(readings: list[ReadingGaze], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Mean of the readings' maps, each a density; zero where no gaze is on the image."""
    found = np.zeros(shape, np.float32)
    for reading in readings:
        try:
            found += reading.prior.heatmap(shape)
        except RecordError:
            continue  # listed where this reading itself is scored
    return found / np.float32(max(len(readings), 1))


def _corners(facts: dict[str, Any], regions: str) -> NDArray[np.float64]:
    marked = facts[regions] or []
    return np.array([[region[name] for name in CORNERS] for region in marked], dtype=np.float64).reshape(-1, 4)


def _scores(
    reading: ReadingGaze,
    corners: NDArray[np.float64],
    regions: str,
    shape: tuple[int, int],
    others: NDArray[np.float32] | None,
) -> dict[str, float | None]:
    outline: Literal["ellipse", "box"] = "ellipse" if regions == "ellipses" else "box"
    image_shape = reading.prior.image_shape
    if reading.scanpath is None:
        raise RecordError("no_gaze", "a prior without times has no dwell")
    x, y, duration = reading.scanpath.T
    table = pd.DataFrame(
        dict(zip((*TIMES, *POSITION), (reading.onset_s, reading.onset_s + duration, x, y), strict=True))
    )
    each, union = lesion_gaze(table, corners, outline=outline)

    def ncc(dense: NDArray[np.floating]) -> float:
        return lesion_ncc(dense, corners, image_shape=image_shape, outline=outline)

    return {
        "regions": float(len(each)),
        "dwell_share": union.dwell_share,
        "dwell_s": union.dwell_s,
        "first_fixation_s": union.first_fixation_s,
        "hit_share": float(np.mean([one.fixations > 0 for one in each])),
        "ncc": ncc(reading.prior.heatmap(shape)),
        "ncc_average": None if others is None else ncc(others),
    }
