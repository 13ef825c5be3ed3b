"""The benchmark: its FLOP are those that torch counts, its plain form is the same method, and it runs on a CPU."""

from __future__ import annotations

import json

import pytest
import torch
from test_methods import SMALL_DECODER, small
from tiny import TINY, batch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from vpmim.bench import bench, random_data, step_breakdown
from vpmim.config import Config, ConfigError, load_config
from vpmim.flops import count_flops
from vpmim.masking import select
from vpmim.model import build_model
from vpmim.objective import hidden_at, plan_masks, reconstruct, training_losses
from vpmim.plain_step import plain_losses, plain_select
from vpmim_cli.main import app

METHODS = ("vp_mim", "vp_mim_joint", "mae", "simmim", "attmask", "hpm")
WHOLE = ("data.crop_scale=[1, 1]", "data.crop_ratio=[1, 1]", "data.input_size=128")
"""Crops that need no resampling: HOG's bins jump where two ways of resampling differ by a rounding error."""


@pytest.mark.parametrize(
    ("name", "option"), [*((name, "seed=0") for name in METHODS), ("vp_mim", "decoder.topdown=true")]
)
@pytest.mark.parametrize("size", [96, 112])
def test_flops_are_those_torch_counts(name: str, option: str, size: int) -> None:
    config = small(name, f"data.input_size={size}", option)
    model, samples = build_model(config), batch([True])
    step = reconstruct(model, samples, config, progress=0)
    count = count_flops(model, config)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(step.crops.grey_BHW, step.selection)
    assert counter.get_total_flops() == 2 * sum(count.learning.values())
    if name == "hpm":
        with FlopCounterMode(display=False) as counter:
            model.teacher(step.crops.grey_BHW)
        assert counter.get_total_flops() == 2 * count.guiding["teacher"]


def test_flops_of_the_published_sizes() -> None:
    expected = {"vp_mim": 31.4, "localmim": 31.4, "cxr_mim": 31.4, "mae": 58.7, "simmim": 106}
    for name, gflop in expected.items():
        config = load_config(name)
        with torch.device("meta"):
            count = count_flops(build_model(config), config)
        # published counts embed three channels, and hidden patches too
        assert count.training_flop / 1e9 == pytest.approx(gflop, rel=0.04)


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, ()) for name in METHODS), ("mae", ("target.kind=feature",)), ("vp_mim", ("target.magnitude=true",))],
)
def test_the_plain_form_is_the_same_method(name: str, options: tuple[str, ...]) -> None:
    config = small(name, *WHOLE, *options)
    model, samples = build_model(config), batch([True, False, True], visit=2)
    ours = training_losses(model, samples, config, progress=0.5)
    plain = plain_losses(model, samples, config, progress=0.5)
    assert {key: value.item() for key, value in plain.items()} == pytest.approx(
        {key: value.item() for key, value in ours.items()}, rel=1e-5
    )


@pytest.mark.parametrize("name", ["vp_mim", "attmask", "hpm", "simmim"])
def test_the_plain_selector_selects_the_same(name: str) -> None:
    config = small(name, "mask.attention=hint", "mask.hint_from=0.3", "mask.hint=0.1")
    model, samples = build_model(config), batch([True, False] * 3)
    crops = reconstruct(model, samples, config, progress=0.5).crops
    guidance = None if model.teacher is None else model.teacher(crops.grey_BHW)
    plan = plan_masks(model, crops, guidance, config, visit_B=samples.visit_B, index_B=samples.index_B, progress=0.5)
    hidden = hidden_at(model, config, 0.5)
    for got, expected in zip(plain_select(plan, hidden=hidden), select(*plan, keep=49 - hidden), strict=True):
        assert torch.equal(got, expected)


def quick(name: str) -> Config:
    return small(name, "train.batch_size=4", "model.depth=2", "decoder.taps=[0]", "decoder.scales=[1]")


def test_the_benchmark_runs_on_a_cpu_and_its_figures_agree() -> None:
    summary = bench({"vp_mim": quick("vp_mim")}, device="cpu", images=8, steps=2, rounds=2, peak_tflops=0.5)
    assert [(row.config, row.form) for row in summary.rows] == [("vp_mim", "ours"), ("vp_mim", "plain")]
    for row in summary.rows:
        assert row.images_per_s == pytest.approx(4000 / row.step_ms)
        assert row.tflops == pytest.approx(row.images_per_s * row.gflop_per_image / 1000)
        assert row.utilisation == pytest.approx(row.tflops / 0.5)
        assert 0 <= row.input_stall < 1
        assert row.memory_gb > 0.01
        assert (row.precision, row.compiled) == ("fp32", False)
    ours, plain = summary.rows
    assert summary.ratios == {"vp_mim": ours.images_per_s / plain.images_per_s}
    assert summary.peak_source == "given"


def test_every_part_of_a_step_is_named_and_takes_time() -> None:
    parts = step_breakdown(quick("hpm"), torch.device("cpu"), images=8, steps=2)
    assert list(parts) == [
        "batch",
        "crops",
        "prior",
        "teacher",
        "masks",
        "targets",
        "network and loss",
        "backward",
        "optimiser",
    ]
    assert all(value > 0 for value in parts.values())


def test_random_data_is_what_training_sees() -> None:
    config = quick("vp_mim")
    data = random_data(config, 5, torch.device("cpu"))
    samples = data.gather([0, 4])
    assert samples.image_BSS.shape == (2, 128, 128)
    assert samples.gaussians_BF9.shape == (2, 60, 9)
    assert bool((samples.confidence_B > 0).all())
    streamed = random_data(small("vp_mim", "data.residency=stream"), 5, torch.device("cpu"))
    assert streamed.image_NSS is None
    assert torch.equal(streamed.gather([0, 4]).image_BSS, samples.image_BSS)
    again = random_data(config, 5, torch.device("cpu")).gather([0, 4])
    assert torch.equal(samples.image_BSS, again.image_BSS)


def test_what_cannot_be_measured_is_refused() -> None:
    for wrong, message in (
        ({"images": 3}, r"train\.batch_size = 4 is larger than the data, 3 images"),
        ({"steps": 0}, "--steps"),
        ({"rounds": 0}, "--rounds"),
        ({"peak_tflops": -1.0}, "--peak-tflops"),
        ({"device": "cuda:99"}, "--device"),
    ):
        with pytest.raises(ConfigError, match=message):
            bench({"vp_mim": quick("vp_mim")}, **({"device": "cpu", "images": 8, "steps": 1} | wrong))


def test_the_command_prints_one_json_object() -> None:
    overrides = (*TINY, *SMALL_DECODER, "train.batch_size=2", "model.depth=1")
    words = ["bench", "--config", "mae", "--device", "cpu", "--images", "2", "--steps", "1", "--rounds", "1", "--json"]
    words += [word for override in overrides for word in ("--set", override)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert [row["form"] for row in content["rows"]] == ["ours", "plain"]
    assert content["peak_source"].startswith("a matrix product measured here")
    assert content["breakdown_ms"]["mae"]["backward"] > 0
    assert "4 d^2" in content["formula"]
