"""Simulated recordings of trackers, from the command line to a cache: what was looked at is what is hot."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_runner import run_gazekit
from numpy.testing import assert_allclose

import gazekit
from gazekit.cache import open_cache
from gazekit.geometry import range_edges, screen_to_image, whole_image
from gazekit.simulate import SIMULATORS, ReaderParameters
from gazekit.simulate.desk import Session, simulate_desk

SOURCES = ("bids", "gazepoint", "pupil")
IMAGES = {"bids": "bids/stimuli"}
QUICK = ("--readings", "2", "--readers", "2", "--duration", "4", "--seed", "3")
SMALL = ("--image-size", "32", "--grid", "4", "--heatmap-size", "0", "--executor", "serial", "--json")


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> list[Session]:
    """The sessions that every simulator below writes: one image, two readers."""
    kept: list[Session] = []
    parameters = ReaderParameters(duration_s=4.0, lesion_dwell=0.35, miss_rate=0.1, calibration_error_dva=0.43)
    simulate_desk(
        tmp_path_factory.mktemp("truth") / "out",
        lambda folder, sessions: kept.extend(sessions),
        dataset="none", rate_hz=1000.0, readings=2, readers=2, seed=3, parameters=parameters,
    )  # fmt: skip
    return kept


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_simulated_builds_and_lies_where_the_eye_was(source, truth, tmp_path):
    out, cache = tmp_path / "out", tmp_path / "cache"
    outcome = run_gazekit("simulate", out, "--dataset", source, *QUICK, "--json")
    assert outcome.code == 0, outcome
    assert json.loads(outcome.stdout)["readings"] == 2
    images = out / IMAGES.get(source, "images")
    spec = () if source == "bids" else ("--spec", out / "screen.toml")
    outcome = run_gazekit("build-heatmaps", out / source, cache, "--dataset", source, "--images", images, *spec, *SMALL)
    assert outcome.code == 0, outcome
    [record] = open_cache(cache, verify=True)
    assert [session.trials[0].image_id for session in truth] == [record.id] * 2
    # a fixation that the tracker wrote is one of the truth, to what its rate and its decimals lose
    expected = np.concatenate([on_image(session.trials[0]) for session in truth])
    distance = np.abs(record.gaussians[:, None, :2] - expected[None, :, :2]).max(axis=2)
    assert distance.min(axis=1).max() < 3.0, "image pixels"
    assert len(record.gaussians) >= 0.9 * len(expected)
    assert_allclose((record.offset_s - record.onset_s).sum(), expected[:, 2].sum(), rtol=0.1)


def on_image(trial) -> np.ndarray:
    """(F, 3): x, y in image pixels, seconds, of the fixations of a trial."""
    fixed = trial.fixations
    points = screen_to_image(fixed[["x_px", "y_px"]], whole_image(trial.image_shape), range_edges(trial.drawn))
    return np.column_stack([points, fixed["offset_s"] - fixed["onset_s"]])


@pytest.mark.parametrize("source", SOURCES)
def test_equal_seeds_are_equal_bytes_and_every_id_begins_with_99(source, tmp_path):
    parameters = ReaderParameters(duration_s=2.0)
    for name in "ab":
        SIMULATORS[source](tmp_path / name, readings=2, readers=2, seed=5, parameters=parameters)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert all(path.stem.startswith("99") for path in (tmp_path / "a").rglob("*.dcm"))
    assert "SIMULATED" in (tmp_path / "a" / "SIMULATED.txt").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--readings", "3"), "--readings must be a multiple of the 2 readers"),
        (("--discarded", "1"), "--no-samples and --discarded are not used by --dataset gazepoint"),
        (("--no-samples",), "--no-samples and --discarded are not used by --dataset gazepoint"),
        (("--seed", "-1"), "--seed must be at least 0"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(options, words, tmp_path):
    outcome = run_gazekit("simulate", tmp_path / "out", "--dataset", "gazepoint", *options)
    assert outcome.code == 2
    assert words in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_fixations_detected_in_the_samples_are_those_of_the_tracker(truth, tmp_path):
    out = tmp_path / "out"
    SIMULATORS["bids"](out, readings=2, readers=2, seed=3, parameters=ReaderParameters(duration_s=4.0))
    spec = tmp_path / "detect.toml"
    spec.write_text('[events]\nsource = "detect"\nalgorithm = "ivt"\n')
    images = out / "bids" / "stimuli"
    own = gazekit.read_bids(out / "bids", images=images)
    detected = gazekit.read_bids(out / "bids", images=images, spec=spec)
    for reading, found in zip(own, detected, strict=True):
        middle = (found.fixations["onset_s"] + found.fixations["offset_s"]).to_numpy() / 2
        within = (middle[:, None] >= reading.fixations["onset_s"].to_numpy()) & (
            middle[:, None] <= reading.fixations["offset_s"].to_numpy()
        )
        assert within.any(axis=1).mean() > 0.9
