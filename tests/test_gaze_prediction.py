"""Predicted gaze: of a network that has not seen the image, told apart wherever it goes, and refused in words."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runner import run_gazekit, run_vpmim
from gaze_case import make_gaze, predictions, weights, write_predicted
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import TINY, write_cache, write_folder
from test_cache_export import make_cache

from gazekit.cache import open_cache
from gazekit.export import export_cache
from gazekit.predicted import PredictedGaze, write_predicted_cache
from gazekit.render import draw_row
from vpmim.config import load_config
from vpmim.gaze_fit import fit_gaze
from vpmim.gaze_predictor import (
    ALL,
    ENCODER,
    NETWORKS,
    PREDICTOR,
    GazePredictionError,
    as_gaussians,
    image_keys,
    load_predictor,
)
from vpmim.localise import valid_patches
from vpmim.prior import grid_edges, original_boxes, patch_mass
from vpmim.run_folder import ENVIRONMENT
from vpmim.train import train


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_gaze(tmp_path_factory.mktemp("gaze"), epochs=3, draws=20)


# who predicts whom


def test_no_patient_is_in_two_folds_and_each_image_is_predicted_by_a_network_that_did_not_see_it(made):
    predictor, cache = load_predictor(made / "g"), open_cache(made / "cache")
    used = {row: name for row, (_, _, name) in predictions(made / "g", made / "cache", everything=True).items()}
    of_patient: dict[str, set[str]] = {}
    for row, info in enumerate(cache.rows[:36]):
        of_patient.setdefault(info["patient_id"], set()).add(used[row])
    assert all(len(names) == 1 and ALL not in names for names in of_patient.values())
    assert {used[row] for row in range(36, 40)} == {ALL}
    stranger = {"image_id": "99x", "patient_id": "99stranger"}
    assert predictor.network_for(image_keys(stranger, cache.images[0])) == used[0]  # known by its pixels
    assert predictor.network_for(image_keys(stranger, cache.images[0] + 1)) == ALL
    known = {"image_id": "99x", "patient_id": cache.rows[7]["patient_id"]}
    assert predictor.network_for(image_keys(known, cache.images[0] + 1)) == used[7]


# Gaussians


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(60, 300), st.integers(60, 300))
def test_gaussians_hold_99_percent_of_a_distribution_each_patch_its_own_share(seed, width, height):
    size, grid = 64, (4, 5)
    scale = size / max(width, height)
    left, top = (size - width * scale) / 2, (size - height * scale) / 2
    frame = np.array([scale, scale, left - 0.5 + scale / 2, top - 0.5 + scale / 2, width, height])
    valid = torch.from_numpy(valid_patches(frame, size, grid))
    share = torch.zeros(20, dtype=torch.float64)
    share[valid] = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(int(valid.sum()), 0.3)))
    found = as_gaussians(share, torch.from_numpy(frame), size, grid)
    kept = np.sort(np.argsort(-share.numpy(), kind="stable")[: len(found)])
    assert share[kept].sum() >= 0.99 - 1e-9
    assert len(found) == 1 or np.sort(share.numpy())[::-1][: len(found) - 1].sum() < 0.99 + 1e-9
    whole = [torch.tensor([[-0.5, side - 0.5]], dtype=torch.float64) for side in (width, height)]
    for row, patch in zip(found, kept, strict=True):
        inside = float(patch_mass(torch.from_numpy(row)[None, None], *whole))
        assert inside == pytest.approx(float(share[patch] / share[kept].sum()), rel=1e-9)
        stored = row[0:2] * frame[0:2] + frame[2:4]
        centre = ((patch % 5 + 0.5) * size / 5 - 0.5, (patch // 5 + 0.5) * size / 4 - 0.5)
        assert stored == pytest.approx(centre, abs=1e-9)
        assert row[2:4] * scale == pytest.approx((size / 10, size / 8))


# the cache


def test_predicted_rows_are_named_everywhere_and_measured_rows_are_as_they_were(made, tmp_path):
    counts = write_predicted(made / "g", made / "cache", tmp_path / "out")
    assert counts == {"measured": 36, "predicted": 4, "none": 0}
    source, cache = open_cache(made / "cache"), open_cache(tmp_path / "out", verify=True)
    assert cache.gaze_kinds == ["measured"] * 36 + ["predicted"] * 4
    assert cache.fingerprint != source.fingerprint
    assert "as a share of what the measured maps" in cache.parameters["predictor"]["confidence"]
    assert cache.parameters["predictor"]["fitted_on_simulated_gaze"]
    assert cache.parameters["predictor"]["encoder_saw_gaze"] == "unknown"
    for row in range(40):
        old, new = source[row], cache[row]
        np.testing.assert_array_equal(old.image, new.image)
        assert (new.info["patient_id"], new.info["gaze"]) == (old.info["patient_id"], cache.gaze_kinds[row])
        if row < 36:
            np.testing.assert_array_equal(source.fixations(row), cache.fixations(row))
    gaussians, confidence, _ = predictions(made / "g", made / "cache")[38]
    record = cache[38]
    np.testing.assert_allclose(record.gaussians, gaussians, rtol=1e-12)
    assert record.info["confidence"] == confidence
    assert (record.readings, record.info["n_readings"], record.info["dwell_s"]) == ([], 0, 0.0)
    frame = torch.from_numpy(cache.frames[38:39])
    square = original_boxes(torch.tensor([[-0.5, -0.5, 63.5, 63.5]], dtype=torch.float64), frame)
    mass = patch_mass(torch.from_numpy(gaussians)[None], *grid_edges(square, 4, 4))[0]
    np.testing.assert_allclose(record.relevance, mass, atol=1e-6)
    manifest = cache.manifest
    assert manifest["gaze"].tolist() == cache.gaze_kinds
    assert manifest["confidence"].notna().tolist() == [False] * 36 + [True] * 4


def test_all_predicts_in_place_of_measured_gaze(made, tmp_path):
    counts = write_predicted(made / "g", made / "cache", tmp_path / "out", everything=True)
    assert counts == {"measured": 0, "predicted": 40, "none": 0}
    assert open_cache(tmp_path / "out").gaze_kinds == ["predicted"] * 40


def test_predicted_gaze_out_of_order_or_without_mass_leaves_no_cache(made, tmp_path):
    source = open_cache(made / "cache")
    gaussians = predictions(made / "g", made / "cache")[36][0]
    for rows, message in (
        ([(39, PredictedGaze(gaussians, 0.5)), (36, PredictedGaze(gaussians, 0.5))], "ascend|out of order"),
        ([(99, PredictedGaze(gaussians, 0.5))], "row 99"),
        ([(36, PredictedGaze(gaussians * np.nan, 0.5))], "finite"),
        ([(36, PredictedGaze(gaussians[:0], 0.5))], "at least one row"),
    ):
        with pytest.raises(ValueError, match=message):
            write_predicted_cache(source, tmp_path / "out", rows, predictor={})
        assert not (tmp_path / "out").exists()


def test_a_built_cache_keeps_readings_heatmaps_and_skipped_rows_and_exports_no_prediction_as_a_reading(tmp_path):
    source = make_cache(tmp_path)
    gaussians = np.array([[40.0, 30.0, 5.0, 6.0, 0.3, 0, 0, 90, 70], [10.0, 9.0, 4.0, 4.0, 0.1, 0, 0, 90, 70]])
    counts = write_predicted_cache(source, tmp_path / "out", [(2, PredictedGaze(gaussians, 0.4))], predictor={"n": 1})
    cache = open_cache(tmp_path / "out", verify=True)
    assert counts == {"measured": len(source) - 1, "predicted": 1, "none": 0}
    assert (cache.ids, cache.failures) == (source.ids, source.failures)
    for row in (0, 1, 3):
        assert cache[row].readings == source[row].readings
        np.testing.assert_array_equal(cache[row].heatmap, source[row].heatmap)
        np.testing.assert_array_equal(cache.fixations(row), source.fixations(row))
    record = cache[2]
    assert record.gaussians[:, 4].sum() == pytest.approx(1, abs=0.03)
    assert record.relevance.sum() == pytest.approx(1)
    assert record.heatmap.max() == 1
    export_cache(cache, tmp_path / "npy", to="npy")
    assert "predicted" in (tmp_path / "npy" / "index.csv").read_text().splitlines()[3]
    export_cache(cache, tmp_path / "bids", to="bids")
    recordings = list((tmp_path / "bids").rglob("*_physioevents.tsv.gz"))
    assert len(recordings) == sum(len(source[row].readings) for row in range(len(source)) if row != 2) > 0


# training


def test_vp_mim_trains_on_measured_predicted_and_absent_gaze_together(made, tmp_path):
    write_cache(tmp_path / "new", images=6, without_gaze=6, seed=3)
    write_predicted(made / "g", tmp_path / "new", tmp_path / "predicted")
    write_folder(tmp_path / "folder", images=5)
    config = load_config("vp_mim", [*TINY, "train.max_steps=2", "train.batch_size=8"])
    train([made / "cache", tmp_path / "predicted", tmp_path / "folder"], tmp_path / "run", config)
    parts = json.loads((tmp_path / "run" / ENVIRONMENT).read_text())["data"]
    assert [(part["images"], part["with_gaze"], part["predicted"]) for part in parts] == [
        (40, 36, 0),
        (6, 6, 6),
        (5, 0, 0),
    ]
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 2
    assert all(math.isfinite(step["loss"]) for step in steps)


# refusals


@pytest.mark.parametrize("name", [NETWORKS, ENCODER])
def test_a_changed_byte_in_a_predictor_is_found(made, tmp_path, name):
    shutil.copytree(made / "g", tmp_path / "g")
    content = bytearray((tmp_path / "g" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "g" / name).write_bytes(content)
    with pytest.raises(GazePredictionError, match=f"damaged: {name} is not the file"):
        load_predictor(tmp_path / "g")


def test_an_encoder_of_another_predictor_is_refused(made, tmp_path):
    shutil.copytree(made / "g", tmp_path / "g")
    fit_gaze([made / "cache"], tmp_path / "h", encoder=weights(tmp_path / "w", 96), folds=2, epochs=1, draws=10)
    shutil.copy(tmp_path / "h" / ENCODER, tmp_path / "g" / ENCODER)
    about = json.loads((tmp_path / "g" / PREDICTOR).read_text())
    about["files"][ENCODER] = hashlib.sha256((tmp_path / "g" / ENCODER).read_bytes()).hexdigest()
    (tmp_path / "g" / PREDICTOR).write_text(json.dumps(about))
    with pytest.raises(GazePredictionError, match=r"the encoder has \(6, 6\) patches, the predictor \(4, 4\)"):
        load_predictor(tmp_path / "g")


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("grid"),
        lambda about: about.update(model="cnn"),
        lambda about: about.update(files={"../x": "0"}),
        lambda about: about.update(folds={"a": "9"}),
        lambda about: about.update(files=[]),
    ],
)
def test_a_predictor_whose_record_contradicts_itself_is_refused(made, tmp_path, change):
    shutil.copytree(made / "g", tmp_path / "g")
    about = json.loads((tmp_path / "g" / PREDICTOR).read_text())
    change(about)
    (tmp_path / "g" / PREDICTOR).write_text(json.dumps(about))
    with pytest.raises(GazePredictionError, match="damaged"):
        load_predictor(tmp_path / "g")


# commands


def test_the_commands_fit_predict_inspect_render_and_verify(made, tmp_path):
    folder, out = write_folder(tmp_path / "xrays", images=3), tmp_path / "predicted"
    fitted = run_vpmim(
        "gaze", "fit", made / "cache", "--out", tmp_path / "g", "--encoder", made / "weights", "--epochs", 2,
        "--folds", 2, "--json",
    )  # fmt: skip
    assert fitted.code == 0
    found = json.loads(fitted.stdout)
    assert found["out"] == str(tmp_path / "g")
    assert [row["out of fold"] for row in found["rows"]] == ["gaze head", "mean map", "difference"]
    assert "the gaze is simulated" in fitted.stderr
    done = run_vpmim("gaze", "predict", tmp_path / "g", folder, "--out", out, "--json")
    assert done.code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["predicted"], said["predicted_by_the_network_of_all"], said["out"]) == (3, 3, str(out))
    assert 0 < said["mean_confidence"] <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g", "predicted", "xrays"]
    assert run_gazekit("verify", out).code == 0
    assert json.loads(run_gazekit("inspect", out, "--json").stdout)["gaze_of_rows"] == {"predicted": 3}
    assert run_gazekit("render", out, tmp_path / "pictures").code == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    again = run_vpmim("gaze", "predict", tmp_path / "g", folder, "--out", out)
    assert (again.code, "is there already" in again.stderr) == (2, True)
    lost = run_vpmim("gaze", "predict", tmp_path / "xrays", folder, "--out", tmp_path / "other")
    assert (lost.code, "give a folder of vpmim gaze fit" in lost.stderr) == (2, True)


def test_an_unreadable_image_is_left_out_and_listed(made, tmp_path):
    folder = write_folder(tmp_path / "xrays", images=2)
    (folder / "99broken.png").write_bytes(b"no picture")
    done = run_vpmim("gaze", "predict", made / "g", folder, "--out", tmp_path / "out", "--json")
    assert done.code == 1
    assert (json.loads(done.stdout)["predicted"], json.loads(done.stdout)["skipped"]) == (2, 1)
    assert "99broken" in (tmp_path / "out" / "failures.csv").read_text()


def test_localisation_and_lesions_do_not_take_predicted_gaze_for_a_readers(made, tmp_path):
    from vpmim.audit import EvaluationError
    from vpmim.evaluation import Task
    from vpmim.localise import localise

    write_predicted(made / "g", made / "cache", tmp_path / "out", everything=True)
    with pytest.raises(EvaluationError, match="nothing to localise"):
        localise(made / "weights", Task(data=tmp_path / "out", dataset="gaze"), tmp_path / "looks")
    assert run_gazekit("lesions", tmp_path / "out").code == 2


def test_a_drawn_prediction_has_no_scanpath(made, tmp_path):
    write_predicted(made / "g", made / "cache", tmp_path / "out")
    cache = open_cache(tmp_path / "out")
    measured, predicted = (draw_row(cache, row, size=64).shape[1] for row in (0, 39))
    assert measured - predicted >= 64  # one panel fewer
