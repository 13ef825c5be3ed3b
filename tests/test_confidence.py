"""Confidence of gaze: what a prediction claims to tell, and how kappa, lambda and the gaze head scale with it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runner import run_vpmim
from synthetic import TINY, write_cache, write_folder
from tiny import batch, tiny_config
from torch.nn import functional as F

from gazekit.cache import open_cache
from gazekit.predicted import PredictedGaze, write_predicted_cache
from vpmim.config import Config, ConfigError, load_config
from vpmim.data import DataError, Samples, load_data
from vpmim.gaze_confidence import confidence_facts, confidence_of, information
from vpmim.loss import cell_weights, gaze_prediction_loss
from vpmim.masking import region_quota
from vpmim.model import build_model
from vpmim.objective import Reconstruction, losses_of, reconstruct
from vpmim.prior_source import prior_source
from vpmim.settings import LossConfig

CPU = torch.device("cpu")
WHOLE = "data.crop_scale=[1, 1]"


def step_of(config: Config, samples: Samples) -> Reconstruction:
    """A late step of a network made from the configuration's seed, its gaze head, if any, with an opinion."""
    model = build_model(config)
    if model.gaze_head is not None:
        with torch.no_grad():
            model.gaze_head.score.weight.normal_(generator=torch.Generator().manual_seed(0))
    return reconstruct(model, samples, config, progress=0.9)


def trusted(samples: Samples, *values: float) -> Samples:
    """The same samples, whose gaze has these confidences."""
    return dataclasses.replace(samples, confidence_B=torch.tensor(values))


def predicted_cache(source: Path, out: Path, confidence: dict[int, float]) -> Path:
    """A copy of a cache in which the gaze of the named rows counts as a prediction of that confidence."""
    cache = open_cache(source)
    rows = [(row, PredictedGaze(cache.fixations(row)[:, :9], value)) for row, value in sorted(confidence.items())]
    write_predicted_cache(cache, out, rows, predictor={"of": str(confidence)})
    return out


# what it is


def test_information_is_0_for_an_even_distribution_and_log_patches_for_a_single_one():
    share = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [1, 0, 0, 0]])
    valid = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    expected = [0, math.log(4), math.log(2), 0, 0]
    assert information(share.double(), valid).tolist() == pytest.approx(expected, abs=1e-12)


def test_confidence_is_the_information_as_a_share_of_measured_maps_and_no_more_than_1():
    assert [confidence_of(gain, 0.8) for gain in (0, 0.2, 0.8, 2)] == pytest.approx([0, 0.25, 1, 1])
    assert confidence_of(-1e-17, 0.8) == 0  # rounding
    assert confidence_of(0.0, 0.0) == 0


def test_what_a_confidence_promised_is_set_beside_what_came_true():
    target, even = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]).double(), torch.full((2, 4), 0.25).double()
    guess = torch.tensor([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]]).double()
    sure = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]]).double()
    valid = torch.ones(2, 4, dtype=torch.bool)
    gain = math.log(4)
    found = confidence_facts({"guess": guess, "even": even, "sure": sure}, target, valid, [gain, gain])
    # half of log 4 is claimed by each guess, and log 2 of it comes true
    assert found["guess"] == {"mean": pytest.approx(0.5), "came_true": pytest.approx(0.5), "correlation": None}
    assert found["even"]["mean"] == pytest.approx(0, abs=1e-12)
    assert found["even"]["came_true"] == pytest.approx(0, abs=1e-12)
    true = (math.log(0.7 * 4) + math.log(0.1 * 4)) / 2 / gain
    assert found["sure"]["came_true"] == pytest.approx(true)
    assert found["sure"]["mean"] > 0.3 > found["sure"]["came_true"]


# the step


@pytest.mark.parametrize("kappa", [0.0, 0.1, 0.29, 0.5, 0.57, 0.9, 1.0])
def test_gaze_of_confidence_1_is_masked_by_kappa_itself(kappa: float) -> None:
    step = step_of(tiny_config("vp_mim", f"mask.kappa={kappa}", "prior.partition=mass"), batch([1.0] * 16))
    relevant, mask = step.crops.relevant_BL, step.selection.mask_BL
    hidden = torch.stack([(mask & ~relevant).sum(dim=1), (mask & relevant).sum(dim=1)], dim=1)
    assert torch.equal(hidden, region_quota(relevant, kappa, 49 - 12))


@pytest.mark.parametrize("name", ["vp_mim", "cxr_mim", "vp_mim_joint"])
@pytest.mark.parametrize("overrides", [(), ("prior.partition=soft",), ("mask.kappa_jitter=0.2",)])
def test_gaze_of_confidence_0_is_no_gaze(name: str, overrides: tuple[str, ...]) -> None:
    config = tiny_config(name, *overrides)
    looked_at, absent = trusted(batch([1.0] * 4), 0, 1, 0, 1), batch([0.0, 1.0, 0.0, 1.0])
    assert bool((looked_at.gaussians_BF9[..., 4] > 0).all())
    got, expected = step_of(config, looked_at), step_of(config, absent)
    assert torch.equal(got.selection.mask_BL, expected.selection.mask_BL)
    for one, other in zip(got.weights, expected.weights, strict=True):
        assert torch.equal(one, other)
    assert {n: v.item() for n, v in losses_of(got, config).items()} == {
        n: v.item() for n, v in losses_of(expected, config).items()
    }


def test_the_rate_goes_from_the_random_one_to_kappa_with_the_confidence() -> None:
    config = tiny_config("vp_mim", WHOLE, "prior.partition=topk", "mask.kappa=0")
    confidences = (0.2, 0.4, 0.6, 0.8, 1.0)
    step = step_of(config, trusted(batch([1.0] * 5), *confidences))
    relevant, mask = step.crops.relevant_BL, step.selection.mask_BL
    assert relevant.sum(dim=1).tolist() == [13] * 5
    # 13 times 0.75 + c (0 - 0.75): 7.8, 5.85, 3.9, 1.95 and 0, where one makes up for 36 others of which 37 are to hide
    assert (mask & relevant).sum(dim=1).tolist() == [7, 5, 3, 1, 1]
    assert mask.sum(dim=1).tolist() == [49 - 12] * 5


def test_relevant_patches_are_hidden_at_the_rate_of_their_confidence_whichever_they_are() -> None:
    n, confidence = 800, 0.6
    config = tiny_config("vp_mim", WHOLE, "data.hflip=0", "prior.partition=topk", "mask.kappa=0.1", "model.depth=1",
                         "decoder.taps=[1]", "decoder.scales=[1]", "recalibrate.mode=none")  # fmt: skip
    one = trusted(batch([1.0]), confidence)
    many = Samples(**{f.name: getattr(one, f.name).repeat(n, *[1] * (getattr(one, f.name).ndim - 1))
                      for f in dataclasses.fields(one)})  # fmt: skip
    step = step_of(config, dataclasses.replace(many, index_B=torch.arange(n)))
    relevant = step.crops.relevant_BL[0]
    rate = step.selection.mask_BL.float().mean(dim=0)
    a = math.floor((0.75 + confidence * (0.1 - 0.75)) * 13)
    for group, expected in ((relevant, a / 13), (~relevant, (37 - a) / 36)):
        assert (rate[group] - expected).abs().max() < 4.5 * math.sqrt(expected * (1 - expected) / n)


def test_soft_masking_moves_to_the_random_one_as_the_confidence_falls() -> None:
    config = tiny_config("vp_mim", WHOLE, "prior.partition=soft", "mask.kappa=0.01")
    often = []
    for confidence in (1.0, 0.5, 0.05):
        step = step_of(config, trusted(batch([1.0] * 64), *[confidence] * 64))
        mass = F.avg_pool2d(step.crops.fine_BRS[:, None], 4).flatten(1)
        often.append(step.selection.mask_BL.gather(1, mass.argmax(dim=1, keepdim=True)).float().mean().item())
    assert often[0] < often[1] - 0.1 < often[2] - 0.2
    assert often[2] == pytest.approx(0.75, abs=0.15)


def test_lambda_scales_with_the_confidence_on_a_tiny_tensor() -> None:
    mask, gaze = torch.tensor([[1.0, 0.0, 1.0, 0.5]]), torch.tensor([[0.5, 1.0, 0.25, 0.0]])
    e = [math.exp(2), 0.0, math.exp(1), 0.5]  # M exp(G / 0.25)
    for confidence in (1.0, 0.3):
        lambda_B = LossConfig().gaze_lambda * torch.tensor([confidence])
        expected = [m + confidence * 2.5 * q / sum(e) for m, q in zip(mask[0].tolist(), e, strict=True)]
        torch.testing.assert_close(cell_weights(mask, gaze, lambda_B, config=LossConfig()), torch.tensor([expected]))


@pytest.mark.parametrize("weighting", ["mass", "ref"])
def test_the_gaze_term_of_every_weight_is_the_confidence_times_that_of_measured_gaze(weighting: str) -> None:
    config = tiny_config("vp_mim", "mask.kind=random", f"loss.gaze_weighting={weighting}", "loss.gaze_lambda=2",
                         "loss.clip=1e6", "recalibrate.mode=none")  # fmt: skip
    confidences = torch.tensor([1.0, 0.7, 0.25, 0.01])
    samples = batch([1.0] * 4)
    full, scaled = step_of(config, samples), step_of(config, trusted(samples, *confidences.tolist()))
    plain = step_of(config, batch([0.0] * 4))
    assert torch.equal(full.selection.mask_BL, scaled.selection.mask_BL)
    for measured, ours, without in zip(full.weights, scaled.weights, plain.weights, strict=True):
        torch.testing.assert_close(ours - without, confidences[:, None] * (measured - without), rtol=1e-4, atol=1e-5)
        assert (measured - without).abs().sum() > 0


def test_the_gaze_head_learns_from_each_sample_in_proportion_to_its_confidence() -> None:
    logits, mass = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.25, 0.75, 0.0]] * 3)
    ids_keep = torch.tensor([[0, 1]] * 3)
    entropy = [-(0.25 * row[0] + 0.75 * row[1]) for row in torch.log_softmax(logits, dim=1).tolist()]
    got = gaze_prediction_loss(logits, mass, ids_keep, torch.tensor([1.0, 0.4, 0.0]))
    assert got.item() == pytest.approx((entropy[0] + 0.4 * entropy[1]) / 3)  # over all three samples


def test_the_gaze_heads_loss_in_a_step_is_the_confidences_mean_of_the_single_ones() -> None:
    config = tiny_config("vp_mim_joint", "mask.kind=random")
    samples, values = batch([1.0] * 3), (1.0, 0.4, 0.0)
    alone = [losses_of(step_of(config, one), config)["loss_gaze"].item() for one in samples.split(1)]
    together = losses_of(step_of(config, trusted(samples, *values)), config)["loss_gaze"].item()
    assert together == pytest.approx(sum(c * loss for c, loss in zip(values, alone, strict=True)) / 3, rel=1e-4)


# the data


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A cache of measured gaze, three images without; one of predictions; and a folder without gaze."""
    base = tmp_path_factory.mktemp("confidence")
    source = write_cache(base / "source", images=5, seed=4)
    return [
        write_cache(base / "measured", images=12, without_gaze=3),
        predicted_cache(source, base / "predicted", {0: 0.2, 1: 0.9, 3: 0.0, 4: 0.55}),
        write_folder(base / "folder", images=4),
    ]


EXPECTED = [1.0] * 9 + [0.0] * 3 + [0.2, 0.9, 1.0, 0.0, 0.55] + [0.0] * 4


def mixed_config(*overrides: str) -> Config:
    return load_config("vp_mim_joint", [*TINY, "train.max_steps=2", "train.batch_size=8", *overrides])


def test_measured_predicted_and_absent_rows_have_their_own_confidence(mixed: list[Path]) -> None:
    data = load_data(mixed, mixed_config(), device=CPU)
    got = data.gather(range(21)).confidence_B
    np.testing.assert_allclose(got.numpy(), EXPECTED, rtol=1e-6)
    assert data.gather([13, 0, 20]).confidence_B.tolist() == pytest.approx([0.9, 1.0, 0.0])
    assert [part["confidence"] for part in data.facts] == [None, pytest.approx(1.65 / 4), None]
    # the third row that is to be predicted keeps the gaze it was read with
    assert np.flatnonzero(data.measured_N).tolist() == [*range(9), 14]
    assert data.gaze_counts == {
        "gaze_measured": 10,
        "gaze_predicted": 4,
        "gaze_absent": 7,
        "gaze_confidence": pytest.approx(1.65 / 4),
    }


def test_each_row_of_a_mixed_batch_is_treated_as_if_it_were_alone(mixed: list[Path]) -> None:
    config = mixed_config("mask.kappa=0", "recalibrate.mode=none")
    model, data = build_model(config), load_data(mixed, config, device=CPU)
    places = [0, 10, 12, 13, 14, 15, 18]
    whole = reconstruct(model, data.gather(places), config, progress=0.5)
    for row, place in enumerate(places):
        alone = reconstruct(model, data.gather([place]), config, progress=0.5)
        assert torch.equal(whole.selection.mask_BL[row], alone.selection.mask_BL[0])
        for one, other in zip(whole.weights, alone.weights, strict=True):
            torch.testing.assert_close(one[row], other[0])
    trusting = load_data(mixed, mixed_config("prior.confidence=ignore"), device=CPU)
    ignored = reconstruct(model, trusting.gather(places), config, progress=0.5)
    changed = (ignored.weights[2] != whole.weights[2]).any(dim=1)
    assert changed.tolist() == [False, False, True, True, False, True, False]


def test_confidence_can_be_ignored_and_is_scaled_by_by_default(mixed: list[Path]) -> None:
    assert mixed_config().prior.confidence == "scale"
    data = load_data(mixed, mixed_config("prior.confidence=ignore"), device=CPU)
    expected = [1.0] * 9 + [0.0] * 3 + [1.0] * 5 + [0.0] * 4
    assert data.gather(range(21)).confidence_B.tolist() == expected
    assert data.gaze_counts["gaze_confidence"] == 1
    with pytest.raises(ConfigError, match=r"prior\.confidence"):
        mixed_config("prior.confidence=none")


@pytest.mark.parametrize("source", ["gaze", "mean", "shuffled", "uniform"])
def test_a_control_changes_the_map_and_not_how_much_it_counts(mixed: list[Path], source: str) -> None:
    data = load_data(mixed, mixed_config(f"prior.source={source}"), device=CPU)
    np.testing.assert_allclose(data.gather(range(21)).confidence_B.numpy(), EXPECTED, rtol=1e-6)


def test_gaze_of_confidence_0_is_in_no_mean_map_and_is_nobodys_to_take() -> None:
    rows = [np.array([[x, 5.0, 2.0, 2.0, 1.0, 0, 0, 32, 32]]) for x in (4.0, 16.0, 28.0)]
    frames = torch.tensor([[1.0, 1, 0, 0, 32, 32]] * 3, dtype=torch.float64)
    trust = np.array([1.0, 0.5, 0.0])
    mean = prior_source(rows, frames, source="mean", confidence=trust)
    alone = prior_source(rows[:2], frames[:2], source="mean")
    assert torch.equal(mean.gaussians_RF9, alone.gaussians_RF9)
    shuffled = prior_source(rows, frames, source="shuffled", confidence=trust)
    assert shuffled.row_N.tolist() == [2, 1, 0]
    assert shuffled.confidence_N.tolist() == [1, 0.5, 0]


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_confidence_that_is_no_share_is_refused_with_row_and_cure(
    mixed: list[Path], tmp_path: Path, value: float
) -> None:
    wrong = predicted_cache(mixed[0], tmp_path / "wrong", {2: value})
    with pytest.raises(DataError, match=rf"wrong, row 99000002: .*confidence of {value}.*prior\.confidence=ignore"):
        load_data([wrong], mixed_config(), device=CPU)
    for config in (mixed_config("prior.confidence=ignore"), load_config("mae", TINY)):
        assert len(load_data([wrong], config, device=CPU)) == 12


def test_training_says_whose_gaze_it_had(mixed: list[Path], tmp_path: Path) -> None:
    sets = [word for override in (*TINY, "train.max_steps=2", "train.batch_size=8") for word in ("--set", override)]
    command = ("train", *mixed, "--out", tmp_path / "run", "--config", "vp_mim", *sets, "--json")
    forecast = json.loads(run_vpmim(*command, "--dry-run").stdout)
    done = run_vpmim(*command)
    assert done.code == 0, done.stderr
    for said in (forecast, json.loads(done.stdout)):
        assert (said["gaze_measured"], said["gaze_predicted"], said["gaze_absent"]) == (10, 4, 7)
        assert said["gaze_confidence"] == pytest.approx(1.65 / 4)
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [math.isfinite(step["loss"]) for step in steps] == [True, True]
