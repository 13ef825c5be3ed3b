"""Training on labels: recipes, optimisers, augmentation, resume, the command, and scores of new images."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_images import write_labelled, write_weights
from torch import nn

from vpmim.classifier import LARS, Classifier, make_optimizer, parameter_groups
from vpmim.config import ConfigError, file_names
from vpmim.evaluate import linear_eval
from vpmim.evaluation import Task
from vpmim.evaluation_dry_run import forecast_scores
from vpmim.export import load_encoder
from vpmim.finetune import finetune
from vpmim.predict import PredictError, load_predictor, predict
from vpmim.process import TrainingError
from vpmim.recipe import Recipe, dump_recipe, load_recipe
from vpmim.results import read_results
from vpmim.supervised import LabelledSquares, _learning_rate, augmented, blurred, fit, jittered, known_loss, score

CPU = torch.device("cpu")
QUICK = Recipe(epochs=3, batch_size=16, lr=1e-2, lr_per_256=False, crop="shift", drop_path=0.0, layer_decay=1.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def encoder(weights):
    return load_encoder(weights)


def squares(n: int, size: int, seed: int = 0) -> LabelledSquares:
    """Images of which the positives are bright; the second label is unknown for every third."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.5).astype(float)
    pixels = (40 + 60 * rng.random((n, size, size)) + 100 * labels[:, :1, None]).astype(np.uint8)
    labels[::3, 1] = np.nan
    return LabelledSquares(pixels, labels)


@pytest.fixture(scope="module")
def parts(encoder) -> tuple[LabelledSquares, LabelledSquares]:
    size = encoder.spec.input_size + 5
    return squares(48, size), squares(24, size, seed=1)


# recipes


def test_every_recipe_loads_and_survives_being_written(tmp_path):
    assert file_names("recipes") == ["finetune", "mae", "mrm", "sgd", "sgd_nih"]
    for name in file_names("recipes"):
        recipe = load_recipe(name)
        (tmp_path / "again.toml").write_text(dump_recipe(recipe))
        assert load_recipe(tmp_path / "again.toml") == recipe


def test_the_linear_recipes_are_the_published_ones():
    sgd, mae = load_recipe("sgd"), load_recipe("mae")
    assert (sgd.optimizer, sgd.lr, sgd.weight_decay, sgd.batch_size) == ("adam", 2e-3, 1e-5, 64)
    assert (sgd.epochs, sgd.warmup, sgd.patience, sgd.choose, sgd.seeds) == (50, 0.4, 10, "val_loss", (43, 44, 45))
    assert (mae.optimizer, mae.lr, mae.batch_size, mae.epochs, mae.weight_decay) == ("lars", 0.1, 16384, 90, 0)
    assert mae.head_norm == "batch"
    assert mae.peak_lr == pytest.approx(0.1 * 64)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("epoch=3", "unknown key 'epoch'; did you mean 'epochs'"),
        ("epochs=many", "epochs: expected an integer"),
        ("optimizer=adagrad", "optimizer: expected one of"),
        ("warmup=2.0", "warmup: expected a share"),
        ("crop_scale=[0.9, 0.5]", "crop_scale"),
        ("seeds=[]", "seeds: expected different integers from 0 up, at least one"),
        ("seeds=[-1]", "seeds: expected different integers"),
        ("seeds=[1, 1]", "seeds: expected different integers"),
        ("epochs", "expected key=value"),
    ],
)
def test_a_setting_that_cannot_be_is_named(override, says):
    with pytest.raises(ConfigError, match=says):
        load_recipe("sgd", [override])


def test_an_unknown_recipe_names_those_there_are():
    with pytest.raises(ConfigError, match="'adam'; there are finetune, mae"):
        load_recipe("adam")


def test_the_rate_rises_then_falls_to_its_floor():
    recipe = replace(QUICK, warmup=0.4, min_lr=0.1)
    rates = [_learning_rate(step, 10, recipe, 1.0) for step in range(11)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4] == pytest.approx(1.0)
    assert rates[7] == pytest.approx(0.55)
    assert rates[10] == pytest.approx(0.1)


# the classifier and its optimisers


def test_a_frozen_encoder_keeps_its_weights_and_its_evaluation_mode(encoder):
    model = Classifier(encoder, 2, features="cls", head_norm="layer", frozen=True, seed=0).train()
    assert not model.encoder.training
    assert model.head.training
    assert sorted(name for name, p in model.named_parameters() if p.requires_grad) == ["head.bias", "head.weight"]
    encoder.requires_grad_(True)


def test_rates_fall_by_one_factor_a_block_from_the_head_down(encoder):
    model = Classifier(encoder, 2, features="mean", head_norm="layer", frozen=False, seed=0)
    groups = parameter_groups(model, weight_decay=0.1, layer_decay=0.5)
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    depth = encoder.depth
    assert scale[id(model.head.weight)] == 1
    assert scale[id(encoder.vit.blocks[-1].mlp.fc1.weight)] == 0.5
    assert scale[id(encoder.vit.blocks[0].mlp.fc1.weight)] == 0.5**depth
    assert scale[id(encoder.vit.patch_embed.proj.weight)] == 0.5 ** (depth + 1)
    assert decay[id(model.head.weight)] == 0.1
    assert {decay[id(p)] for p in (model.head.bias, encoder.vit.cls_token, encoder.vit.pos_embed)} == {0}
    assert len(scale) == sum(p.requires_grad for p in model.parameters())


def test_lars_moves_a_matrix_by_its_norm_and_a_vector_by_its_gradient():
    matrix, vector = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.tensor([1.0]))
    optimizer = LARS([matrix, vector], lr=10.0, momentum=0.5)
    matrix.grad, vector.grad = torch.tensor([[0.0, 2.0]]), torch.tensor([0.1])
    optimizer.step()
    # 0.001 * 5 / 2 * [0, 2] = [0, 0.005]
    torch.testing.assert_close(matrix.data, torch.tensor([[3.0, 4.0 - 0.05]]))
    torch.testing.assert_close(vector.data, torch.tensor([0.0]))
    vector.grad, matrix.grad = torch.tensor([0.0]), None
    optimizer.step()
    torch.testing.assert_close(vector.data, torch.tensor([-0.5]))  # what is left of the first step: 10 * 0.5 * 0.1


@pytest.mark.parametrize(("name", "lr"), [("adam", 0.05), ("adamw", 0.05), ("sgd", 0.05), ("lars", 10.0)])
def test_each_optimiser_lowers_the_loss(encoder, name, lr):
    model = Classifier(encoder, 1, features="mean", head_norm="batch", frozen=True, seed=0).train()
    optimizer = make_optimizer(model, replace(QUICK, optimizer=name), peak_lr=lr)
    label = (torch.arange(16) % 2).float()[:, None]
    side = encoder.spec.input_size
    grey = 0.5 * torch.rand(16, side, side, generator=torch.Generator().manual_seed(0)) + 0.5 * label[:, :, None]
    losses = []
    model.head.bias.requires_grad_(False)  # its rate is not scaled, and would drown what is tested
    for _ in range(12):
        loss = known_loss(model(grey), label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    encoder.requires_grad_(True)


def test_unknown_labels_count_for_nothing():
    logit = torch.tensor([[2.0, 5.0], [-1.0, -7.0]])
    label = torch.tensor([[1.0, torch.nan], [0.0, torch.nan]])
    expected = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log1p(torch.exp(torch.tensor(-1.0)))) / 2
    torch.testing.assert_close(known_loss(logit, label), expected)


# augmentation


def test_a_shift_is_a_window_of_whole_pixels(encoder):
    size, side = 8, 11
    pixels = torch.arange(side * side, dtype=torch.uint8).reshape(1, side, side).repeat(6, 1, 1)
    grey, _ = augmented(pixels, torch.zeros(6, 1), torch.arange(6), replace(QUICK, hflip=0.0), size, 0, 0)
    values = (grey * 255).round().long()
    corners = {int(v[0, 0]) for v in values}
    assert len(corners) > 1
    for window in values:
        y, x = divmod(int(window[0, 0]), side)
        assert torch.equal(window, pixels[0, y : y + size, x : x + size].long())


def test_augmentation_depends_on_seed_epoch_and_image_alone():
    pixels = torch.randint(0, 255, (4, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = replace(QUICK, crop="resized", jitter=0.8, blur=0.5)
    labels, index = torch.zeros(4, 1), torch.arange(4)
    whole, _ = augmented(pixels, labels, index, recipe, 8, 3, 5)
    alone, _ = augmented(pixels[2:3], labels[2:3], index[2:3], recipe, 8, 3, 5)
    torch.testing.assert_close(alone[0], whole[2])
    other, _ = augmented(pixels, labels, index, recipe, 8, 3, 6)
    assert not torch.allclose(whole, other)


def test_jitter_is_a_factor_of_brightness_and_then_of_contrast():
    grey = torch.tensor([[[0.2, 0.6], [0.4, 0.4]]])
    recipe = replace(QUICK, jitter=0.5, brightness=0.4, contrast=0.4)
    torch.testing.assert_close(jittered(grey, torch.tensor([[0.5, 1.0, 1.0]]), recipe), grey)  # left alone
    changed = jittered(grey, torch.tensor([[0.4, 0.75, 0.0]]), recipe)  # x 1.2, then contrast x 0.6 about 0.48
    torch.testing.assert_close(changed, 0.48 + 0.6 * (1.2 * grey - 0.48))


def test_a_blur_keeps_the_mean_and_spreads_a_point_as_a_gaussian():
    point = torch.zeros(2, 41, 41)
    point[:, 20, 20] = 1
    spread = blurred(point, torch.tensor([[0.0, 1.0], [0.9, 1.0]]), 0.5)
    torch.testing.assert_close(spread[1], point[1])
    torch.testing.assert_close(spread[0].sum(), torch.tensor(1.0))
    offset = torch.arange(41) - 20
    variance = (spread[0].sum(0) * offset**2).sum()
    assert variance == pytest.approx(4.0, rel=0.01)  # sigma 2


def test_mixup_mixes_labels_as_it_mixes_images():
    pixels = torch.stack([torch.zeros(8, 8), torch.full((8, 8), 255)]).to(torch.uint8)
    recipe = replace(QUICK, mixup=1.0, crop="none", hflip=0.0)
    grey, label = augmented(pixels, torch.tensor([[0.0], [1.0]]), torch.arange(2), recipe, 8, 0, 0)
    torch.testing.assert_close(grey.mean(dim=(1, 2)), label[:, 0], atol=1e-5, rtol=0)
    assert 0 < label[0, 0] < 1


# the loop


def test_what_can_be_learned_is_learned_and_the_best_epoch_is_kept(encoder, parts):
    fitted = fit(encoder, replace(QUICK, epochs=4), *parts, seed=0, device=CPU)
    aucs = [figures["val_auc"] for figures in fitted.history]
    assert fitted.epoch == 1 + int(np.argmax(aucs))
    assert max(aucs) > 0.6
    odds = score(fitted.model, parts[1].square_NSS, QUICK, device=CPU)
    bright = parts[1].labels_NC[:, 0] == 1
    assert odds[bright, 0].mean() > odds[~bright, 0].mean()


def test_training_leaves_the_encoder_that_was_given_as_it_was(encoder, parts):
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    fit(encoder, replace(QUICK, epochs=1), *parts, seed=0, device=CPU)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_resumed_run_is_bitwise_the_uninterrupted_one(encoder, parts, tmp_path):
    recipe = replace(QUICK, epochs=3, jitter=0.5, mixup=0.4, ema=0.9, drop_path=0.2)
    whole = fit(encoder, recipe, *parts, seed=1, device=CPU)
    asked = iter([True])
    assert fit(encoder, recipe, *parts, seed=1, device=CPU, folder=tmp_path, stop=lambda: next(asked)) is None
    resumed = fit(encoder, recipe, *parts, seed=1, device=CPU, folder=tmp_path)
    assert resumed.history == whole.history
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    again = fit(encoder, recipe, *parts, seed=1, device=CPU, folder=tmp_path)  # nothing is left to do
    assert again.history == whole.history


def test_stochastic_depth_is_that_of_the_recipe(encoder, parts):
    losses = {
        rate: fit(encoder, replace(QUICK, epochs=1, drop_path=rate), *parts, seed=0, device=CPU).history[0]["loss"]
        for rate in (0.0, 0.9)
    }
    assert losses[0.0] != losses[0.9]


def test_patience_ends_training_when_validation_stops_getting_better(encoder, parts):
    recipe = replace(QUICK, epochs=30, lr=0.5, patience=2, choose="val_loss", trains="head", optimizer="sgd")
    fitted = fit(encoder, recipe, *parts, seed=0, device=CPU)
    losses = [figures["val_loss"] for figures in fitted.history]
    assert len(losses) < 30
    assert fitted.epoch == 1 + int(np.argmin(losses)) == len(losses) - 2


def test_a_number_of_steps_takes_the_place_of_epochs(encoder, parts):
    fitted = fit(encoder, replace(QUICK, steps=4, choose="last"), *parts, seed=0, device=CPU)
    assert [figures["step"] for figures in fitted.history] == [3, 4]


def test_a_loss_that_is_not_finite_ends_training_with_the_setting_to_lower(encoder, parts):
    with pytest.raises(TrainingError, match="lower lr"):
        fit(encoder, replace(QUICK, lr=1e30, optimizer="sgd"), *parts, seed=0, device=CPU)


@pytest.mark.parametrize("crop", ["shift", "resized"])
def test_stored_squares_smaller_than_the_window_are_refused_with_the_cure(encoder, crop):
    small = squares(8, encoder.spec.input_size - 4)
    with pytest.raises(
        TrainingError, match=r"window of 32 pixels, .* stored at 28; .* --image-size \d+, or --set crop"
    ):
        fit(encoder, replace(QUICK, crop=crop), small, small, seed=0, device=CPU)
    assert fit(encoder, replace(QUICK, crop="none", epochs=1), small, small, seed=0, device=CPU) is not None


# the command's library


def test_fine_tuning_reports_like_every_evaluation_and_leaves_a_classifier(weights, tmp_path):
    data = write_labelled(tmp_path / "data", images=60)
    recipe = replace(QUICK, epochs=2, seeds=(0, 1))
    results = finetune(weights, Task(data=data, draws=50), tmp_path / "run", recipe)
    assert results["repetitions" if "repetitions" in results else "protocol"] == "finetune"
    with np.load(tmp_path / "run" / "scores.npz") as scores:
        assert scores["scores_encoder"].shape[:2] == (2, results["split"]["test"]["images"])
        expected = 0.5 * (1 + np.tanh(scores["scores_encoder"][0] / 2))
        ids = scores["ids"].tolist()
    assert load_recipe(tmp_path / "run" / "recipe.toml") == recipe
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["seed"], line["epoch"]) for line in lines] == [(0, 1), (0, 2), (1, 1), (1, 2)]

    done = predict(tmp_path / "run", data, tmp_path / "scores.csv")
    assert done.images == 60
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())}
    found = [[float(rows[name][label]) for label in load_predictor(tmp_path / "run").classes] for name in ids]
    np.testing.assert_allclose(found, expected, atol=1e-5)

    with pytest.raises(ConfigError, match="holds a run already"):
        finetune(weights, Task(data=data), tmp_path / "run", recipe)
    with pytest.raises(ConfigError, match=r"another recipe: .*epochs = 2 -> epochs = 5"):
        finetune(weights, Task(data=data), tmp_path / "run", replace(recipe, epochs=5), resume=True)
    assert finetune(weights, Task(data=data), tmp_path / "run", recipe, resume=True) == read_results(tmp_path / "run")


def test_linear_evaluation_by_a_recipe_trains_the_head_alone(weights, tmp_path):
    data = write_labelled(tmp_path / "data", images=60)
    results = linear_eval(weights, data=data, out=tmp_path / "eval", protocol="mae", seeds=1, draws=50)
    assert results["protocol"] == "mae"
    assert results["recipe"]["trains"] == "head"
    kept = load_predictor(tmp_path / "eval").model.encoder.state_dict()
    for name, tensor in load_encoder(weights).state_dict().items():
        assert torch.equal(tensor, kept[name])


def test_a_killed_run_that_goes_on_tells_no_epoch_twice(weights, tmp_path):
    data = write_labelled(tmp_path / "data", images=60)
    recipe = replace(QUICK, epochs=3)

    def killed_at_the_second(line: str) -> None:
        if "epoch 2" in line:
            raise KeyboardInterrupt  # after the line of the epoch and before its checkpoint

    with pytest.raises(KeyboardInterrupt):
        finetune(weights, Task(data=data, draws=20), tmp_path / "run", recipe, say=killed_at_the_second)
    finetune(weights, Task(data=data, draws=20), tmp_path / "run", recipe, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_a_run_goes_on_only_with_its_own_task(weights, tmp_path):
    data, out = write_labelled(tmp_path / "data", images=60), tmp_path / "run"
    recipe = replace(QUICK, epochs=1)
    finetune(weights, Task(data=data, draws=20), out, recipe)
    with pytest.raises(ConfigError, match=r"another task: label_fraction 1.0 -> 0.5; name another folder"):
        finetune(weights, Task(data=data, fraction=0.5), out, recipe, resume=True)
    with pytest.raises(ConfigError, match=r"another task: weights_sha256"):
        finetune(write_weights(tmp_path / "other", seed=3), Task(data=data), out, recipe, resume=True)
    table = data / "labels.csv"
    head, first, *rest = table.read_text().splitlines()
    path, patient, blob, chance, never, part = first.split(",")
    first = ",".join((path, patient, blob, str(1 - int(chance)), never, part))
    table.write_text("\n".join([head, first, *rest]) + "\n")
    with pytest.raises(ConfigError, match=r"another task: labels_sha256"):
        finetune(weights, Task(data=data), out, recipe, resume=True)


def test_results_of_another_protocol_are_never_taken_for_a_recipes(weights, tmp_path):
    data, out = write_labelled(tmp_path / "data", images=60), tmp_path / "eval"
    linear_eval(weights, data=data, out=out, draws=20)
    with pytest.raises(ConfigError, match="results of another protocol, cached; name another folder"):
        linear_eval(weights, data=data, out=out, protocol="mae", seeds=1, draws=20)


def test_a_class_with_one_label_value_in_training_is_left_out_of_a_recipes_figures_too(weights, tmp_path):
    data = write_labelled(tmp_path / "data", images=60)
    head, *lines = (data / "labels.csv").read_text().splitlines()
    taught = []
    for line in lines:
        path, patient, blob, chance, never, part = line.split(",")
        taught.append(",".join((path, patient, blob, "0" if part == "train" else chance, never, part)))
    (data / "labels.csv").write_text("\n".join([head, *taught]) + "\n")
    results = linear_eval(weights, data=data, out=tmp_path / "eval", protocol="mae", seeds=1, draws=20)
    assert {"class": "chance", "part": "train", "reason": "one label value among the training images used"} in results[
        "left_out"
    ]
    assert list(results["systems"]["encoder"]["classes"]) == ["blob"]


def test_a_dry_scoring_refuses_a_table_of_another_suffix_as_the_scoring_does(tmp_path):
    for refused in (predict, partial(forecast_scores, device="cpu")):
        with pytest.raises(PredictError, match=r"scores\.txt: expected a file name ending in \.csv"):
            refused(tmp_path, tmp_path, tmp_path / "scores.txt")


def test_a_folder_without_a_classifier_or_with_a_damaged_one_is_refused(tmp_path):
    with pytest.raises(PredictError, match=r"no classifier.json; give a folder of vpmim finetune"):
        load_predictor(tmp_path)
    (tmp_path / "classifier.json").write_text("{}")
    with pytest.raises(PredictError, match="cannot be read"):
        load_predictor(tmp_path)
