"""Fitting a gaze predictor: it beats the mean map out of fold where there is something to learn, and only there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gaze_case import look_at, make_gaze, write_predicted
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_images import write_weights
from synthetic import write_cache

from gazekit import metrics
from gazekit.cache import open_cache
from gazekit.errors import InputError
from gazekit.shards import HEADER_FILE, SHARD_FILE, SHARDS, sha256_file
from gazekit.verify import seal
from vpmim import gaze_fit
from vpmim.gaze_fit import fit_gaze, open_fit
from vpmim.gaze_folds import connected, deal
from vpmim.gaze_predictor import ENCODER, NETWORKS, PREDICTOR, RESULTS, GazePredictionError
from vpmim.gaze_scores import compare_scores, patch_scores


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_gaze(tmp_path_factory.mktemp("gaze"))


# figures


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(2, 6), st.integers(2, 6)))
def test_scores_at_patches_equal_gazekits(seed, shape):
    rng = np.random.default_rng(seed)
    predicted, measured, baseline = (rng.dirichlet(np.full(shape[0] * shape[1], 0.7)) for _ in range(3))
    fixated = rng.integers(0, predicted.size, 7)
    points = np.stack([fixated % shape[1], fixated // shape[1]], axis=1)
    found = patch_scores(predicted, measured, baseline, fixated)
    maps = [values.reshape(shape) for values in (predicted, measured, baseline)]
    assert found["nss"] == pytest.approx(metrics.nss(maps[0], points), abs=1e-9)
    assert found["cc"] == pytest.approx(metrics.cc(maps[0], maps[1]), abs=1e-9)
    assert found["kl"] == pytest.approx(metrics.kl(maps[0], maps[1]), abs=1e-9)
    assert found["ig"] == pytest.approx(metrics.ig(maps[0], points, maps[2]), abs=1e-9)


def test_scores_of_four_patches_by_hand():
    predicted, measured, even = np.array([0.5, 0.5, 0, 0]), np.array([1.0, 0, 0, 0]), np.full(4, 0.25)
    found = patch_scores(predicted, measured, even, np.array([0]))
    assert found == pytest.approx({"nss": 1, "cc": 1 / math.sqrt(3), "kl": math.log(2), "ig": 1})
    flat = patch_scores(even, measured, even, np.array([0]))
    assert (flat["nss"], flat["cc"], flat["ig"]) == (0, 0, 0)


def test_the_difference_of_two_systems_is_paired_over_patients():
    better = [{"nss": n + 1, "cc": n, "kl": n, "ig": n} for n in (0.0, 5.0, 9.0)]
    worse = [{"nss": n, "cc": n, "kl": n, "ig": n} for n in (0.0, 5.0, 9.0)]
    found = compare_scores({"a": better, "b": worse}, ["p", "q", "q"], draws=100)
    assert (found["difference"]["nss"]["low"], found["difference"]["nss"]["high"]) == pytest.approx((1, 1))
    assert found["systems"]["a"]["nss"]["value"] == pytest.approx(17 / 3)
    assert found["bootstrap"]["patients"] == 2


# folds


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3), min_size=1, max_size=12))
def test_images_that_share_a_key_through_others_are_one_group(keys):
    groups = connected(keys)
    reach = np.array([[bool(set(a) & set(b)) for b in keys] for a in keys])
    for _ in keys:
        reach = reach @ reach
    np.testing.assert_array_equal(reach, np.equal.outer(groups, groups))


@given(st.permutations(range(9)), st.integers(0, 5))
def test_folds_depend_on_patients_alone_and_hold_as_many_each(order, seed):
    keys = [f"key{n}" for n in range(9)]
    folds = deal(list(range(9)), keys, folds=3, seed=seed)
    shuffled = deal(list(range(9)), [keys[n] for n in order], folds=3, seed=seed)
    assert [folds[n] for n in order] == shuffled
    assert sorted(folds) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


# what is learned


def beats_the_mean_map(results: dict) -> None:
    mean, other = results["systems"]["mean map"], next(iter(results["systems"].values()))
    assert other["ig"]["low"] > 0
    assert results["difference"]["nss"]["low"] > 0
    assert other["cc"]["value"] > mean["cc"]["value"]
    assert other["kl"]["value"] < mean["kl"]["value"]
    assert mean["ig"]["value"] == 0


def test_a_gaze_head_on_a_random_encoder_finds_a_visible_blob(made):
    results = json.loads((made / "g" / RESULTS).read_text())
    beats_the_mean_map(results)
    assert (results["images"], results["patients"], results["judged"]) == (36, 18, 36)
    assert results["left_out"]["without gaze"] == 4
    assert results["simulated_gaze"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_gaze_head_beats_the_mean_map_whatever_the_images_folds_and_first_weights(made, tmp_path, seed):
    cache = write_cache(tmp_path / "cache", images=40, images_a_patient=2, seed=seed)
    beats_the_mean_map(fit_gaze([cache], tmp_path / "g", encoder=made / "weights", folds=3, seed=seed, draws=200))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gaze_that_has_nothing_to_do_with_its_image_beats_nothing(made, tmp_path, monkeypatch, seed):
    read = gaze_fit.read_measured

    def exchanged(*arguments):
        data = read(*arguments)
        return replace(data, gaussians=data.gaussians[7:] + data.gaussians[:7])

    monkeypatch.setattr(gaze_fit, "read_measured", exchanged)
    results = fit_gaze([made / "cache"], tmp_path / "g", encoder=made / "weights", folds=3, seed=seed, draws=200)
    assert results["systems"]["gaze head"]["ig"]["low"] < 0
    with pytest.raises(AssertionError):
        beats_the_mean_map(results)


def test_the_confidence_of_predictions_follows_what_they_are_worth(made):
    trust = json.loads((made / "g" / RESULTS).read_text())["confidence"]
    head, mean = trust["gaze head"], trust["mean map"]
    assert 0 < mean["came_true"] < 0.5 * head["came_true"] < 0.5
    assert mean["mean"] < head["mean"] < 1
    assert head["correlation"] > 0.2


def test_a_unet_finds_a_visible_blob(made, tmp_path):
    results = fit_gaze([made / "cache"], tmp_path / "g", folds=2, epochs=15, draws=200)
    beats_the_mean_map(results)
    assert not (tmp_path / "g" / ENCODER).exists()


def test_a_network_that_learned_nothing_predicts_the_mean_map(made, tmp_path, monkeypatch):
    monkeypatch.setattr("vpmim.gaze_fit.fit_network", lambda network, *rest, **options: network.eval())
    results = fit_gaze([made / "cache"], tmp_path / "g", encoder=made / "weights", folds=3, draws=20)
    for score in ("nss", "cc", "kl", "ig"):
        assert results["difference"][score]["value"] == pytest.approx(0, abs=1e-9)


def test_equal_fits_are_equal_bytes(made, tmp_path):
    fit_gaze([made / "cache"], tmp_path / "g", encoder=made / "weights", folds=3, draws=200)
    for name in (PREDICTOR, NETWORKS, ENCODER, RESULTS):
        assert (tmp_path / "g" / name).read_bytes() == (made / "g" / name).read_bytes(), name


def test_predicted_gaze_is_not_learned_from(made, tmp_path):
    write_predicted(made / "g", made / "cache", tmp_path / "predicted")
    results = fit_gaze([tmp_path / "predicted"], tmp_path / "g", encoder=made / "weights", folds=3, epochs=1, draws=20)
    assert results["left_out"]["with predicted gaze"] == 4
    assert results["images"] == 36


def rename_rows(cache: Path, change: Callable[[dict], dict]) -> Path:
    """Alter what the shards of a cache say of each row."""
    header = json.loads((cache / HEADER_FILE).read_text())
    for shard in header["shards"]:
        path = cache / SHARDS / shard["name"] / SHARD_FILE
        content = json.loads(path.read_text())
        content["rows"] = [row | change(row) for row in content["rows"]]
        path.write_bytes(seal(content))
        shard["sha256"] = sha256_file(path)
    (cache / HEADER_FILE).write_bytes(seal(header))
    return cache


def of_a_person(row: dict) -> dict:
    """The row under the ids of a real patient."""
    return {"image_id": f"r{row['image_id']}", "patient_id": f"10{row['id']}"}


def test_gaze_is_simulated_where_the_rows_learned_from_are_whatever_lies_beside_them(tmp_path):
    cache = write_cache(tmp_path / "cache", images=6)
    nobody = write_cache(tmp_path / "nobody", images=4, without_gaze=4, seed=1)
    person = rename_rows(write_cache(tmp_path / "person", images=6, seed=2), of_a_person)
    # invented readings, and predictions for real patients by a predictor of unknown gaze
    mixed = rename_rows(
        write_cache(tmp_path / "mixed", images=8, seed=3),
        lambda row: of_a_person(row) | {"gaze": "predicted"} if row["id"] >= "99030004" else {},
    )
    assert not open_cache(mixed).simulated_gaze

    def simulated(*caches):
        return open_fit(caches, tmp_path / "g", folds=2).data.simulated

    assert [simulated(cache, nobody), simulated(nobody, cache), simulated(mixed)] == [True, True, True]
    assert [simulated(person), simulated(person, nobody), simulated(cache, person)] == [False, False, False]


# refusals


def test_what_cannot_be_learned_from_is_said(made, tmp_path):
    encoder = made / "weights"

    def refused(message, *caches, **options):
        with pytest.raises(ValueError, match=message):
            fit_gaze(caches or [made / "cache"], tmp_path / "g", **{"encoder": encoder, "epochs": 1} | options)
        assert not (tmp_path / "g").exists()

    refused("no image of empty has measured gaze", write_cache(tmp_path / "empty", images=4, without_gaze=4))
    refused("at least two patients", write_cache(tmp_path / "one", images=4, images_a_patient=4))
    refused("take --folds 3", write_cache(tmp_path / "few", images=6, images_a_patient=2))
    refused("differ in --image-size", made / "cache", write_cache(tmp_path / "large", images=4, size=96))
    refused("--model head needs --encoder", model="head", encoder=None)
    refused("unet looks at pixels", model="unet")
    refused("must be one of head, unet", model="cnn")
    refused("--folds at least 2", folds=1)
    refused("no weights file", encoder=tmp_path / "nowhere")
    with pytest.raises(InputError, match="is there already"):
        fit_gaze([made / "cache"], made, encoder=encoder)


def test_gaze_on_padding_only_is_refused_where_a_network_would_have_no_other(tmp_path):
    cache = write_cache(tmp_path / "cache", images=8, images_a_patient=2)
    fold_N = open_fit([cache], tmp_path / "g", folds=2).fold_N
    for row in (row for row, fold in enumerate(fold_N) if fold == 0):
        look_at(cache, row, 1000.0)
    with pytest.raises(
        GazePredictionError, match="gaze of 4 images is on padding only, and all others are in one fold"
    ):
        fit_gaze([cache], tmp_path / "g", folds=2)
    for row in range(6):
        look_at(cache, row, 1000.0)
    with pytest.raises(GazePredictionError, match="cross-fitting needs two patients"):
        fit_gaze([cache], tmp_path / "g", folds=3)
    assert not (tmp_path / "g").exists()


def test_a_fit_is_written_into_the_folder_one_is_in(tmp_path, monkeypatch):
    cache = write_cache(tmp_path / "cache", images=4)
    (tmp_path / "g").mkdir()
    monkeypatch.chdir(tmp_path / "g")
    fit_gaze([cache], ".", folds=2, epochs=1, draws=10)
    assert (tmp_path / "g" / PREDICTOR).is_file()


def test_images_without_a_patient_are_counted_and_count_alone(tmp_path):
    cache = write_cache(tmp_path / "cache", images=6)
    results = fit_gaze([cache], tmp_path / "g", encoder=write_weights(tmp_path / "w"), folds=2, epochs=1, draws=20)
    assert (results["patients"], results["images_grouped_by_image_id"]) == (6, 6)
