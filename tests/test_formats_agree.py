"""One scene, seen by the same simulated readers and written in seven formats, is the same gaze in every one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gazekit
from gazekit.simulate import SIMULATORS
from gazekit.sources import open_source

TRACKERS = ("tobii", "eyelink", "gazepoint", "pupil", "bids", "table")
CLOSE = 0.05
"""L1 distance of two maps over patches (2 = apart): rounding, sampling and event detection differ between trackers."""


def relevance_of(dataset: str, out: Path) -> dict[str, np.ndarray]:
    """Reader, in the order of the reading ids, and image -> relevance of 14 x 14 patches."""
    SIMULATORS[dataset](out, readings=4, seed=1)
    images = next(folder for folder in (out / "images", out / dataset / "stimuli") if folder.is_dir())
    spec = next(file for file in (out / "screen.toml", out / "table.toml") if file.exists())
    if dataset == "table":
        spec = out / "table.toml"
    readings = open_source(dataset, out / dataset, images=images, spec=spec)
    found: dict[str, np.ndarray] = {}
    for reading in sorted(readings, key=lambda r: r.reading_id):
        first = f"first reader, {reading.image_id}"
        found[f"second reader, {reading.image_id}" if first in found else first] = gazekit.patch_relevance(
            reading.fixations, image_shape=reading.image_shape, grid=(14, 14)
        )
    return found


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> dict[str, np.ndarray]:
    return relevance_of("tobii", tmp_path_factory.mktemp("tobii"))


@pytest.mark.parametrize("dataset", TRACKERS[1:])
def test_every_tracker_tells_of_the_same_gaze(truth, dataset, tmp_path):
    found = relevance_of(dataset, tmp_path)
    assert found.keys() == truth.keys()
    for name, relevance in found.items():
        assert np.abs(relevance - truth[name]).sum() < CLOSE, name


def test_the_gaze_of_another_reader_or_image_is_far_from_it(truth):
    maps = list(truth.values())
    apart = [np.abs(a - b).sum() for k, a in enumerate(maps) for b in maps[k + 1 :]]
    assert min(apart) > 4 * CLOSE
