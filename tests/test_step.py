"""A step of the optimiser: a batch in parts is the batch, gradients are exchanged once, settings that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_methods import small
from tiny import batch
from torch import nn

from vpmim.config import Config, ConfigError
from vpmim.model import build_model
from vpmim.process import Place
from vpmim.step import TrainingStep

HERE = Place(torch.device("cpu"), 0, 1)
GAZE = [True, True, False, True, False, False]
METHODS = ("vp_mim", "vp_mim_joint", "mae", "simmim", "attmask", "hpm", "localmim")


class Gradients(torch.optim.Optimizer):
    """Keeps the gradients it is given and changes nothing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(list(model.parameters()), {"lr": 0.0})
        self.model, self.seen = model, {}

    def step(self) -> None:
        named = self.model.named_parameters()
        self.seen = {name: p.grad.clone() for name, p in named if p.grad is not None}


def one_step(config: Config, place: Place = HERE) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Terms and gradients of a step on six images, three with gaze, unevenly shared out."""
    model = build_model(config)
    step = TrainingStep(model, config, place)
    step.optimizer = Gradients(model)
    terms = step(batch(GAZE), lr=1e-3, progress=0.5)
    return {name: term.item() for name, term in terms.items()}, step.optimizer.seen


@pytest.mark.parametrize(("name", "parts"), [*((name, 3) for name in METHODS), ("vp_mim_joint", 2), ("vp_mim", 6)])
def test_a_batch_in_parts_has_the_losses_and_gradients_of_the_whole(name: str, parts: int) -> None:
    size = ("train.batch_size=6", "loss.normalise=sample")
    whole, gradients = one_step(small(name, *size))
    terms, accumulated = one_step(small(name, *size, f"train.accumulate={parts}"))
    assert list(terms) == list(whole)
    assert terms == pytest.approx(whole, rel=1e-5)
    assert set(accumulated) == set(gradients)
    for key, expected in gradients.items():
        torch.testing.assert_close(accumulated[key], expected, rtol=1e-3, atol=1e-6)


def test_the_gradient_is_clipped_as_a_whole_and_its_norm_is_from_before() -> None:
    size = ("train.batch_size=6", "train.accumulate=3", "train.clip_grad=0.01")
    terms, gradients = one_step(small("vp_mim", *size))
    assert terms["grad_norm"] > 0.01
    assert torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt().item() == pytest.approx(0.01)


def test_the_teacher_moves_once_a_step() -> None:
    size = ("train.batch_size=6", "train.accumulate=3", "train.ema=0.5")
    model = build_model(small("attmask", *size))
    before = [p.clone() for p in model.teacher.encoder.parameters()]
    TrainingStep(model, small("attmask", *size), HERE)(batch(GAZE), lr=1e-2, progress=0.5)
    moved = zip(before, model.teacher.encoder.parameters(), model.encoder.parameters(), strict=True)
    for old, new, learnt in moved:
        torch.testing.assert_close(new, 0.5 * old + 0.5 * learnt)


def test_processes_exchange_gradients_once_a_step(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        counts = []
        for parts in (1, 3):
            config = small("vp_mim", "train.batch_size=6", f"train.accumulate={parts}")
            step = TrainingStep(build_model(config), config, Place(torch.device("cpu"), 0, 2))
            calls = []

            def note(calls, bucket):  # torch reads annotations, and not as text
                calls.append(bucket.index())
                future = torch.futures.Future()
                future.set_result(bucket.buffer())
                return future

            step._objective.register_comm_hook(calls, note)
            step(batch(GAZE), lr=1e-3, progress=0.5)
            counts.append(len(calls))
        assert counts[0] == counts[1] > 0
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(("setting", "mode"), [("on", None), ("graphs", "reduce-overhead"), ("off", "eager")])
def test_what_is_compiled_and_how_is_a_setting(monkeypatch: pytest.MonkeyPatch, setting: str, mode: str | None) -> None:
    asked = ["eager"]
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: asked.append(options["mode"]))
    config = small("mae", f"train.compile={setting}", "train.batch_size=6")
    step = TrainingStep(build_model(config), config, HERE)
    assert (asked[-1], step.compiled) == (mode, setting != "off")
    assert step(batch(GAZE), lr=1e-3, progress=0.5)["loss"].isfinite()


def test_what_cannot_be_taken_in_parts_is_refused_by_name() -> None:
    cases = (
        (
            ("train.batch_size=6", "train.accumulate=4"),
            r"a multiple of train\.accumulate = 4, got 6",
        ),
        (("train.accumulate=0",), r"train\.accumulate: expected a positive integer"),
        (("train.accumulate=2", "loss.normalise=batch"), r'set loss\.normalise = "sample", or train\.accumulate = 1'),
        (("train.accumulate=2", "train.compile=graphs"), r'set train\.compile = "on", or train\.accumulate = 1'),
    )
    for overrides, message in cases:
        with pytest.raises(ConfigError, match=message):
            small("vp_mim", "train.batch_size=8", *overrides)


def test_what_processes_cannot_share_is_refused_by_name() -> None:
    four = Place(torch.device("cpu"), 0, 4)
    for overrides, message in (
        (("train.batch_size=6",), "train.batch_size = 6 is no multiple of 4 processes$"),
        (
            ("train.batch_size=12", "train.accumulate=2"),
            r"12 is no multiple of 4 .* times train\.accumulate = 2",
        ),
        (("train.batch_size=8", "train.compile=graphs"), r'"graphs" is for one process, and there are 4'),
    ):
        config = small("vp_mim", *overrides)
        with pytest.raises(ConfigError, match=message):
            TrainingStep(build_model(config), config, four)
