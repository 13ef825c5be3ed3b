"""The order in which a run visits its images: a function of (seed, epoch), so that a resumed run needs only its step.

Shape suffixes: N images of the data, V visits, G images of a group.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vpmim.random import permutation


class Visits(NamedTuple):
    """Visits to images, in their order."""

    index_V: NDArray[np.int64]
    """Place of the image in the data."""
    visit_V: NDArray[np.int64]
    """Which visit of the run to that image this is, from 0: no two visits share an image and a number."""


def epoch_visits(seed: int, epoch: int, measured_N: NDArray[np.bool_], *, measured_share: float) -> Visits:
    """What an epoch visits: as many images as there are, each once, unless some are to come more often.

    Parameters
    ----------
    seed, epoch : what the order depends on
    measured_N : whose gaze was measured
    measured_share : in [0, 1]: at least this share of the visits is to images whose gaze was measured, if there are any

    Returns
    -------
    Visits
        Where measured images have the share anyway, or there are none, a permutation. Else both groups, those with
        measured gaze and the others, are gone through in turn, each again and again in another order: within a group
        every image is visited equally often, give or take one.
    """
    n = len(measured_N)
    measured_G, other_G = np.flatnonzero(measured_N), np.flatnonzero(~measured_N)
    wanted = math.ceil(measured_share * n - 1e-9)  # 0.55 x 100 is a little over 55
    if wanted <= len(measured_G) or not len(measured_G):
        return Visits(permutation(seed, epoch, n), np.full(n, epoch))
    groups = [(measured_G, wanted, 1), (other_G, n - wanted, 2)]
    visits = [_in_turn(seed, places, epoch * count, count, stream=stream) for places, count, stream in groups]
    mixed_N = permutation(seed, epoch, n)
    index_V, visit_V = (np.concatenate(column)[mixed_N] for column in zip(*visits, strict=True))
    return Visits(index_V, visit_V)


def _in_turn(seed: int, places_G: NDArray[np.int64], first: int, count: int, *, stream: int) -> Visits:
    """Visits ``first`` to ``first + count`` of a walk through a group that starts over in another order at its end."""
    size = len(places_G)
    start, stop = first // size, -(-(first + count) // size)
    order = [places_G[permutation(seed, visit, size, stream=stream)] for visit in range(start, stop)]
    walk = slice(first - start * size, first - start * size + count)
    return Visits(np.concatenate([places_G[:0], *order])[walk], np.arange(start, stop).repeat(size)[walk])


def visits_an_epoch(measured_N: NDArray[np.bool_], *, measured_share: float) -> float:
    """How often an epoch visits each image whose gaze was measured, in the mean; 1 where none is visited more often."""
    measured = float(measured_N.mean())
    return max(1.0, measured_share / measured) if measured else 1.0
