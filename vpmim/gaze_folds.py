"""The measured gaze of caches, and the folds that its patients are dealt into: what a gaze predictor is fitted to.

Legend of shape suffixes: N images with measured gaze, 6 frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vpmim.gaze_predictor import GazePredictionError, image_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache

_BATCH = 32


@dataclass(frozen=True)
class MeasuredGaze:
    """The images with measured gaze, in the order of the caches.

    Attributes
    ----------
    rows : cache and the rows of it, for each cache that has any
    frame_N6 : Tensor
    gaussians : N, each (F, 9)
    keys : N, see `vpmim.gaze_predictor.image_keys`
    has_patient : N, whether the cache says whose the image is
    counts : why other images of the caches are left out, and how many
    simulated : whether no person looked at any of them
    """

    rows: tuple[tuple[PriorCache, list[int]], ...]
    frame_N6: Tensor
    gaussians: list[NDArray[np.float64]]
    keys: list[list[str]]
    has_patient: list[bool]
    counts: dict[str, int]
    simulated: bool


def read_measured(caches: Sequence[PriorCache]) -> MeasuredGaze:
    """Read the measured gaze of caches, and what its images are known by, for which every pixel is read.

    Raises
    ------
    GazePredictionError
        There is none.
    CacheError
        A cache is damaged.
    """
    found: list[tuple[PriorCache, list[int]]] = []
    frames, gaussians, keys, has_patient = [], [], [], []
    counts = {"without gaze": 0, "with predicted gaze": 0}
    for cache in caches:
        kinds = cache.gaze_kinds
        counts["without gaze"] += kinds.count(None)
        counts["with predicted gaze"] += kinds.count("predicted")
        rows = [row for row, kind in enumerate(kinds) if kind == "measured"]
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            frames.append(cache.frames[batch])
            gaussians += [cache.fixations(row)[:, :9] for row in batch]
            keys += [
                image_keys(cache.rows[row], square) for row, square in zip(batch, cache.images[batch], strict=True)
            ]
            has_patient += [cache.rows[row]["patient_id"] is not None for row in batch]
        if rows:
            found.append((cache, rows))
    if not found:
        names = ", ".join(cache.path.name for cache in caches)
        raise GazePredictionError(f"no image of {names} has measured gaze, so there is nothing to learn from")
    return MeasuredGaze(
        rows=tuple(found),
        frame_N6=torch.from_numpy(np.concatenate(frames)),
        gaussians=gaussians,
        keys=keys,
        has_patient=has_patient,
        counts=counts,
        simulated=all(cache.simulated_rows[row] for cache, rows in found for row in rows),
    )


def shared(caches: Sequence[PriorCache], name: str) -> Any:
    """What all caches share, or `GazePredictionError`."""
    values = {getattr(cache, name): cache.path.name for cache in caches}
    if len(values) > 1:
        listed = ", ".join(f"{cache}: {value}" for value, cache in values.items())
        option = "--" + name.replace("_", "-")
        raise GazePredictionError(f"the caches differ in {option} ({listed}); build them with one {option}")
    return next(iter(values))


def connected(keys: Sequence[Sequence[str]]) -> list[int]:
    """Number of the group of each image: images that share a key, be it through others, are one group.

    A key is a patient, an id, or the very pixels; numbers count up in the order in which groups appear.
    """
    leader = list(range(len(keys)))

    def find(image: int) -> int:
        while leader[image] != image:
            leader[image] = image = leader[leader[image]]
        return image

    first: dict[str, int] = {}
    for image, own in enumerate(keys):
        for key in own:
            leader[find(image)] = find(first.setdefault(key, image))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(find(image), len(numbers)) for image in range(len(keys))]


def deal(group_N: Sequence[int], key_N: Sequence[str], *, folds: int, seed: int) -> list[int]:
    """Fold of each image: groups, in an order that `seed` and their keys alone decide, are dealt out in turn.

    Raises
    ------
    GazePredictionError
        Fewer groups than folds.
    """
    smallest: dict[int, str] = {}
    for group, key in zip(group_N, key_N, strict=True):
        smallest[group] = min(key, smallest.get(group, key))
    if len(smallest) < folds:
        cure = f"take --folds {len(smallest)}" if len(smallest) > 1 else "cross-fitting needs at least two patients"
        raise GazePredictionError(f"--folds {folds}, but the measured gaze is of {len(smallest)} patients; {cure}")
    ordered = sorted(smallest, key=lambda group: hashlib.sha256(f"{seed} {smallest[group]}".encode()).digest())
    fold_of = {group: turn % folds for turn, group in enumerate(ordered)}
    return [fold_of[group] for group in group_N]
