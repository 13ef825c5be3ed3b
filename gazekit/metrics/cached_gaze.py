"""The gaze of a cache by image and by reading, and the scores that comparisons of caches share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.metrics.scanpath import dtw, multimatch, scanmatch
from gazekit.prior import Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache

    Floats = NDArray[np.float64]
    Scores = dict[str, float | None]


@dataclass(frozen=True, eq=False)
class ReadingGaze:
    """The gaze of one reading, as the cache keeps it.

    Attributes
    ----------
    row, index : int
        Row of the cache, and the reading's place in it.
    prior : Prior
    scanpath : (F, 3) float64 or None
        x, y, duration; None for a prior without times (a predicted one).
    onset_s : (F,) float64
    """

    row: int
    index: int
    prior: Prior
    scanpath: Floats | None
    onset_s: Floats


def rows_by_image(cache: PriorCache) -> dict[str, list[int]]:
    """Image id to the rows of the cache that are of it."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(cache.rows):
        found.setdefault(str(row["image_id"]), []).append(i)
    return found


def readings_of(cache: PriorCache, rows: Iterable[int]) -> Iterator[ReadingGaze]:
    """Each reading with gaze in some rows of a cache."""
    for i in rows:
        table, shape = cache.fixations(i), cache.prior(i).image_shape
        for reading in np.unique(table[:, 9]):
            own = table[table[:, 9] == reading]
            path = np.stack([own[:, 0], own[:, 1], own[:, 11] - own[:, 10]], axis=1)
            timed = np.isfinite(path).all() and (path[:, 2] > 0).all()
            yield ReadingGaze(i, int(reading), Prior(own[:, :9], shape), path if timed else None, own[:, 10])


def scanpath_scores(pairs: list[tuple[Floats, Floats]], image_shape: tuple[int, int]) -> Scores:
    """MultiMatch, ScanMatch and DTW (original pixels), each the mean over the pairs that have it."""
    height, width = image_shape
    match = [asdict(multimatch(*pair, image_shape=image_shape)) for pair in pairs if min(map(len, pair)) >= 3]
    found: Scores = {
        f"multimatch_{name}": mean_of(scores[name] for scores in match)
        for name in ("vector", "direction", "length", "position", "duration")
    }
    inside = [[path[_on_image(path, width, height)] for path in pair] for pair in pairs]
    found["scanmatch"] = mean_of(
        scanmatch(*pair, image_shape=image_shape, bin_s=0.05)
        for pair in inside
        if all((path[:, 2] >= 0.025).any() for path in pair)
    )
    found["dtw_px"] = mean_of(dtw(*pair) for pair in pairs)
    return found


def mean_scores(scores: Iterable[Scores]) -> Scores:
    """Mean of each score over those that have it; None where none has."""
    rows = list(scores)
    return {name: mean_of(value for row in rows if (value := row[name]) is not None) for name in rows[0]}


def mean_of(values: Iterable[float]) -> float | None:
    """Mean, or None of nothing."""
    found = list(values)
    return float(np.mean(found)) if found else None


def map_shape(image_shape: tuple[int, int], map_size: int) -> tuple[int, int]:
    """(h, w) of a map with `map_size` cells on the longer side, at least one on the other."""
    height, width = image_shape
    scale = map_size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _on_image(path: Floats, width: int, height: int) -> NDArray[np.bool_]:
    points = path[:, :2]
    return np.asarray(((points >= -0.5) & (points < (width - 0.5, height - 0.5))).all(axis=1))
