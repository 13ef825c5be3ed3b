"""Nothing predicts or judges gaze that it has seen: neither the networks of a predictor, nor the encoder under them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from cli_runner import run_vpmim
from gaze_case import look_at, predictions, weights, write_predicted
from safetensors.torch import load_file
from synthetic import TINY, write_cache

from gazekit.cache import open_cache
from vpmim.config import dump_toml, load_config
from vpmim.export import load_encoder
from vpmim.gaze_fit import fit_gaze
from vpmim.gaze_network import network_inputs
from vpmim.gaze_predictor import ALL, RESULTS, GazePredictionError, load_predictor
from vpmim.run_folder import CONFIG, ENVIRONMENT
from vpmim.seen_gaze import seen_gaze
from vpmim.train import train
from vpmim.weight_files import WeightsError, weights_file

QUICK = {"folds": 2, "epochs": 1, "draws": 10}


def by_network(g: Path, cache: Path, row: int, name: str) -> torch.Tensor:
    """The distribution that a named network of a predictor gives for an image."""
    predictor, opened = load_predictor(g), open_cache(cache)
    inputs = network_inputs(predictor.grid, predictor.encoder)
    with torch.inference_mode():
        input_1 = inputs(torch.from_numpy(opened.images[[row]]))
    return predictor.distributions(input_1, [name], torch.from_numpy(opened.frames[[row]]), opened.image_size)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 12 patients, two images each; a random encoder; a RUN of the gaze head, and one of AttMask."""
    base = tmp_path_factory.mktemp("leakage")
    write_cache(base / "cache", images=24, without_gaze=2, images_a_patient=2)
    weights(base / "weights")
    for method in ("vp_mim_joint", "attmask"):
        deep = ["decoder.depth=1", "train.max_steps=3"]
        train([base / "cache"], base / method, load_config(method, [*TINY, *deep]))
    return base


# the networks


@pytest.mark.parametrize("model", ["head", "unet"])
def test_a_prediction_is_bitwise_the_same_whatever_the_gaze_of_its_own_image(made, tmp_path, model):
    encoder = made / "weights" if model == "head" else None
    shutil.copytree(made / "cache", tmp_path / "cache")
    look_at(tmp_path / "cache", 5, 3.0)  # a corner
    found = []
    for name, cache in (("before", made / "cache"), ("after", tmp_path / "cache")):
        fit_gaze([cache], tmp_path / name, encoder=encoder, folds=3, epochs=4, draws=10)
        found.append(predictions(tmp_path / name, cache, everything=True))
    before, after = found
    fold = before[5][2]
    for row in range(22):
        same = before[row][0].tobytes() == after[row][0].tobytes() and before[row][1] == after[row][1]
        assert same == (before[row][2] == fold), row  # its own, its patient's and its fold's; all others change
    known = [row for row in range(22) if before[row][2] == fold]
    assert {4, 5} < set(known)
    # the networks that did see it predict something else for it: the comparison can fail
    for name in {ALL, "0", "1", "2"} - {fold}:
        seen = [by_network(tmp_path / g, made / "cache", 5, name) for g in ("before", "after")]
        assert not torch.equal(*seen)


# the encoder


def rewritten(run: Path, out: Path, *overrides: str, method: str = "vp_mim_joint", **part: object) -> Path:
    """A copy of a RUN whose record says another configuration, or something else about its first cache."""
    shutil.copytree(run, out)
    (out / CONFIG).write_text(dump_toml(load_config(method, [*TINY, *overrides])))
    environment = json.loads((out / ENVIRONMENT).read_text())
    environment["data"][0].update(part)
    (out / ENVIRONMENT).write_text(json.dumps(environment))
    return out


def answer(encoder: Path, cache: Path) -> tuple[str, str]:
    return tuple(seen_gaze(weights_file(encoder), [open_cache(cache)]))


def test_an_encoder_that_was_trained_with_this_gaze_is_refused_with_the_cure(made, tmp_path):
    with pytest.raises(GazePredictionError, match=r"vp_mim_joint was pre-trained with the gaze of cache.*--allow-seen"):
        fit_gaze([made / "cache"], tmp_path / "g", encoder=made / "vp_mim_joint", **QUICK)
    assert not (tmp_path / "g").exists()
    checkpoint = weights_file(made / "vp_mim_joint")  # by any of its names
    assert answer(checkpoint, made / "cache")[0] == answer(checkpoint.parent, made / "cache")[0] == "yes"


@pytest.mark.parametrize("up", [0, 1, 2, 3])
def test_the_answer_is_the_same_from_whatever_folder_an_encoder_is_named(made, monkeypatch, up):
    checkpoint = weights_file(made / "vp_mim_joint").resolve()
    monkeypatch.chdir(checkpoint.parents[up])
    relative = checkpoint.relative_to(checkpoint.parents[up])
    assert answer(relative, made / "cache") == answer(checkpoint, made / "cache")
    assert answer(relative, made / "cache")[0] == "yes"
    if up == 1:  # inside checkpoints/: --encoder step_00000003
        assert answer(relative.parent, made / "cache")[0] == "yes"


def test_allowed_it_marks_figures_predictor_predictions_and_tables(made, tmp_path):
    fit = ("gaze", "fit", made / "cache", "--out", tmp_path / "g", "--encoder", made / "vp_mim_joint")
    refused = run_vpmim(*fit)
    assert (refused.code, "--allow-seen-gaze" in refused.stderr) == (2, True)
    done = run_vpmim(*fit, "--folds", 2, "--epochs", 1, "--allow-seen-gaze", "--json")
    assert done.code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["encoder_saw_gaze"] == "yes"
    assert [row["not out of fold"] for row in said["rows"]] == ["gaze head", "mean map", "difference"]
    assert "it has, since vp_mim_joint was pre-trained with the gaze of cache" in done.stderr
    assert json.loads((tmp_path / "g" / RESULTS).read_text())["encoder_saw_gaze"]["answer"] == "yes"
    told = run_vpmim("gaze", "predict", tmp_path / "g", made / "cache", "--out", tmp_path / "p", "--all", "--json")
    assert json.loads(told.stdout)["encoder_saw_gaze"] == "yes"
    assert "22 predictions for its patients are not out of fold" in told.stderr
    assert open_cache(tmp_path / "p").parameters["predictor"]["encoder_saw_gaze"] == "yes"


@pytest.mark.parametrize("source", ["gaze", "mean", "shuffled"])
def test_every_prior_made_of_gaze_counts_as_gaze_seen(made, tmp_path, source):
    run = rewritten(made / "attmask", tmp_path / "run", f"prior.source={source}", method="vp_mim")
    assert answer(run, made / "cache")[0] == "yes"


def test_a_run_without_gaze_has_seen_none(made, tmp_path):
    assert answer(made / "attmask", made / "cache")[0] == "no"  # on the same cache, whose gaze it has no use for
    for number, overrides in enumerate((["prior.source=uniform"], ["prior.source=none"])):
        run = rewritten(made / "attmask", tmp_path / f"{number}", *overrides, method="vp_mim")
        assert answer(run, made / "cache")[0] == "no"
    run = rewritten(made / "attmask", tmp_path / "images", method="vp_mim", with_gaze=0)
    assert answer(run, made / "cache")[0] == "no"
    results = fit_gaze([made / "cache"], tmp_path / "g", encoder=made / "attmask", **QUICK)
    assert results["encoder_saw_gaze"]["answer"] == load_predictor(tmp_path / "g").encoder_saw_gaze == "no"


def test_a_copy_of_the_cache_with_predictions_in_it_is_the_same_gaze(made, tmp_path):
    fit_gaze([made / "cache"], tmp_path / "g", encoder=made / "weights", **QUICK)
    write_predicted(tmp_path / "g", made / "cache", tmp_path / "copy")
    assert answer(made / "vp_mim_joint", tmp_path / "copy")[0] == "yes"
    train([tmp_path / "copy"], tmp_path / "run", load_config("vp_mim", [*TINY, "train.max_steps=1"]))
    assert answer(tmp_path / "run", made / "cache")[0] == "yes"


def test_what_is_not_recorded_is_not_known(made, tmp_path):
    other = write_cache(tmp_path / "other", images=6, seed=5)
    first = rewritten(made / "attmask", tmp_path / "first", "model.init=some.safetensors", method="mae")
    broken = rewritten(made / "attmask", tmp_path / "broken", method="mae")
    (broken / ENVIRONMENT).write_text("{")
    for encoder, cache, because in (
        (made / "weights", made / "cache", "no record"),
        (made / "vp_mim_joint", other, "gaze of cache, which may hold the same images"),
        (first, made / "cache", "began from some.safetensors"),
        (broken, made / "cache", "cannot be read"),
    ):
        found, why = answer(encoder, cache)
        assert found == "unknown"
        assert because in why
    results = fit_gaze([made / "cache"], tmp_path / "g", **QUICK)  # a U-Net stands on nothing
    assert results["encoder_saw_gaze"]["answer"] == "no"


# its moving average


def test_the_moving_average_of_an_encoder_is_the_teacher_of_its_run(made, tmp_path):
    run = made / "attmask"
    state = load_file(weights_file(run))
    for ema, prefix in ((False, "encoder.vit."), (True, "teacher.encoder.vit.")):
        vit = load_encoder(run, ema=ema).vit.state_dict()
        assert all(torch.equal(tensor, state[prefix + name]) for name, tensor in vit.items())
    assert any(not torch.equal(state[f"teacher.{name}"], state[name]) for name in state if name.startswith("encoder."))
    done = run_vpmim("gaze", "fit", made / "cache", "--out", tmp_path / "g", "--encoder", run, "--weights", "ema",
                     "--folds", 2, "--epochs", 1)  # fmt: skip
    assert done.code == 0, done.stderr
    results = json.loads((tmp_path / "g" / RESULTS).read_text())
    assert results["encoder"]["weights"] == "ema"
    kept = load_predictor(tmp_path / "g").encoder.vit.state_dict()
    assert all(torch.equal(tensor, state[f"teacher.encoder.vit.{name}"]) for name, tensor in kept.items())


def test_a_moving_average_that_is_not_there_is_refused(made, tmp_path):
    for encoder in (made / "vp_mim_joint", made / "weights"):
        with pytest.raises(WeightsError, match="no moving average of its encoder"):
            fit_gaze([made / "cache"], tmp_path / "g", encoder=encoder, ema=True, **QUICK)
    with pytest.raises(GazePredictionError, match="--weights ema"):
        fit_gaze([made / "cache"], tmp_path / "g", ema=True, **QUICK)
    wrong = run_vpmim("gaze", "fit", made / "cache", "--out", tmp_path / "g", "--weights", "best")
    assert (wrong.code, "expected trained or ema" in wrong.stderr) == (2, True)
