"""Training: the schedule, the RUN folder, bitwise resume, signals, refusals, golden loss curves, several processes."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_losses import GOLDEN, METHODS, curve
from safetensors import safe_open
from synthetic import TINY, write_cache, write_folder

from gazekit.errors import GazekitError
from vpmim import run_folder
from vpmim.checkpoint import CheckpointError, newest_checkpoint
from vpmim.config import Config, ConfigError, load_config
from vpmim.data import DataError, load_data
from vpmim.model import build_model
from vpmim.objective import training_losses
from vpmim.plain_cli import main
from vpmim.process import TrainingError
from vpmim.run_folder import RunError, read_config, requested_config
from vpmim.schedule import plan_schedule
from vpmim.step import parameter_groups
from vpmim.train import train


@pytest.fixture(autouse=True)
def one_thread():
    """Such small sums gain nothing from threads, and lose where the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_cache(tmp_path_factory.mktemp("train") / "cache", images=12, without_gaze=3)


def config_for(*overrides: str, method: str = "vp_mim") -> Config:
    """Small and short: 9 steps, a checkpoint after 3, 6 and 9."""
    short = ["train.max_steps=9", "train.checkpoint_every=3", "train.keep=9"]
    return load_config(method, [*TINY, *short, *overrides])


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """An uninterrupted run."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train([cache], out, config_for(), device="cpu")


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def without_speed(out: Path) -> list[dict]:
    return [{key: value for key, value in line.items() if key != "images_per_s"} for line in lines(out)]


def final_bytes(out: Path, step: int = 9) -> list[bytes]:
    folder = out / "checkpoints" / f"step_{step:08d}"
    return [(folder / name).read_bytes() for name in ("model.safetensors", "optimizer.pt")]


class CrashError(Exception):
    """Stands for anything that ends a process between two steps."""


def crash_at(step: int):
    def on_step(done: int, steps: int) -> None:
        if done == step:
            raise CrashError

    return on_step


# ---------------------------------------------------------------------------------------------- schedule


def test_learning_rate_rises_to_its_peak_and_falls_to_its_floor():
    config = load_config(
        "vp_mim",
        ["train.batch_size=10", "train.epochs=20", "train.warmup_epochs=2", "train.lr=0.1", "train.min_lr=0.01"],
    )
    schedule = plan_schedule(config, 105)
    assert (schedule.steps, schedule.steps_per_epoch, schedule.warmup) == (200, 10, 20)
    rates = [schedule.learning_rate(step) for step in range(1, 201)]
    assert rates[0] == pytest.approx(0.1 / 20)
    assert rates[19] == max(rates) == pytest.approx(0.1)
    assert rates[109] == pytest.approx((0.1 + 0.01) / 2)  # half of the cosine
    assert rates[199] == pytest.approx(0.01)
    assert all(np.diff(rates[:20]) > 0)
    assert all(np.diff(rates[20:]) < 0)


def test_the_published_recipe_is_eight_thousand_steps_at_its_rate():
    schedule = plan_schedule(load_config("vp_mim"), 2616)
    assert (schedule.steps, schedule.warmup) == (400 * 20, 10 * 20)
    assert schedule.peak == pytest.approx(1.5e-3)
    assert schedule.epoch(20) == 0
    assert schedule.epoch(21) == 1


def test_max_steps_stands_in_place_of_epochs():
    schedule = plan_schedule(load_config("vp_mim", ["train.max_steps=30", "train.batch_size=4"]), 12)
    assert schedule.steps == 30
    assert schedule.warmup == 15  # ten epochs are 30 steps, more than half of the run
    assert schedule.learning_rate(30) == pytest.approx(1e-6)


def test_a_batch_larger_than_the_data_is_refused(cache, tmp_path):
    with pytest.raises(ConfigError, match=r"train\.batch_size = 13 is larger than the data, 12 images"):
        train([cache], tmp_path / "run", config_for("train.batch_size=13"), device="cpu")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------ RUN folder


def test_a_run_leaves_what_the_contract_names(whole, cache):
    out, summary = whole
    assert {path.name for path in out.iterdir()} - {".lock"} == {
        "config.toml",
        "environment.json",
        "metrics.jsonl",
        "checkpoints",
        "last.json",
        "panels",
        "tensorboard",
    }
    assert read_config(out) == config_for()
    assert json.loads((out / "last.json").read_text())["checkpoint"] == "checkpoints/step_00000009"
    assert (summary.step, summary.steps, summary.images, summary.interrupted) == (9, 9, 12, False)
    assert summary.loss == lines(out)[-1]["loss"]


def test_metrics_hold_one_line_a_step_with_the_figures_of_the_contract(whole):
    out, _ = whole
    assert [line["step"] for line in lines(out)] == list(range(1, 10))
    for line in lines(out):
        parts = sum(line[name] for name in ("loss_4x", "loss_2x", "loss_1x", "loss_0.5x"))
        assert line["loss"] == pytest.approx(parts + 0.3 * line["loss_gaze"], rel=1e-6)
        assert line["images_per_s"] > 0
    schedule = plan_schedule(config_for(), 12)
    assert [line["lr"] for line in lines(out)] == [schedule.learning_rate(step) for step in range(1, 10)]


def test_the_logged_loss_is_that_of_its_step(whole, cache):
    out, _ = whole
    config = config_for()
    data = load_data([cache], config, device=torch.device("cpu"))
    _, samples = next(data.batches(plan_schedule(config, 12), seed=0, batch_size=4))
    first = training_losses(build_model(config), samples, config, progress=0.0)
    assert lines(out)[0]["loss"] == pytest.approx(first["loss"].item(), rel=1e-6)


def test_log_every_thins_the_lines(cache, tmp_path):
    train([cache], tmp_path / "run", config_for("train.log_every=4"), device="cpu")
    assert [line["step"] for line in lines(tmp_path / "run")] == [4, 8]


def test_the_environment_says_what_the_run_depends_on_and_no_path(whole, cache):
    out, _ = whole
    text = (out / "environment.json").read_text()
    facts = json.loads(text)
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert facts["data"][0]["fingerprint"] == "synthetic-12-3-64-0"
    assert (facts["seed"], facts["threads"], facts["precision"]) == (0, 1, "fp32")
    assert str(cache.parent) not in text
    assert set(facts["git"] or {"commit": 0, "dirty": 0}) == {"commit", "dirty"}


def test_weights_say_which_encoder_and_normalisation_they_belong_to(whole):
    out, _ = whole
    with safe_open(out / "checkpoints" / "step_00000009" / "model.safetensors", framework="pt") as file:
        spec = json.loads(file.metadata()["vpmim"])
    assert spec["name"] == "vit_tiny_patch16_224"
    assert (spec["mean"], spec["std"], spec["input_size"]) == (0.5, 0.25, 64)


def test_panels_are_saved_at_start_middle_and_end(whole):
    out, _ = whole
    names = sorted(path.name for path in (out / "panels").iterdir())
    assert names[0] == "step_00000000.npz"
    assert names[-1] == "step_00000009.npz"
    assert len(names) == 5
    with np.load(out / "panels" / names[-1], allow_pickle=False) as arrays:
        assert arrays["image"].shape == (8, 64, 64)
        assert arrays["mask"].shape == (8, 4, 4)
        assert (arrays["prior"].sum(axis=(1, 2)) > 0).all()  # images with gaze are shown first


def test_tensorboard_gets_the_same_figures(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _ = whole
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (line["step"], pytest.approx(line["loss"])) for line in lines(out)
    ]


def test_without_tensorboard_there_is_one_warning_and_a_run(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.warns(UserWarning, match="tensorboard is not installed") as caught:
        train([cache], tmp_path / "run", config_for("train.max_steps=2"), device="cpu")
    assert len(caught) == 1
    assert len(lines(tmp_path / "run")) == 2


def test_unreadable_images_are_listed_and_counted(tmp_path):
    folder = write_folder(tmp_path / "images", images=6)
    (folder / "990000.png").write_bytes(b"")
    config = config_for("train.max_steps=1", method="localmim")
    summary = train([folder], tmp_path / "run", config, device="cpu")
    assert summary.skipped == {"not_image": 1}
    assert (tmp_path / "run" / "failures.csv").read_text().splitlines()[1].startswith("990000.png,not_image,")
    with pytest.raises(DataError, match=r"--strict: 990000\.png"):
        train([folder], tmp_path / "strict", config, device="cpu", strict=True)
    assert not (tmp_path / "strict").exists()


# ------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_resume_is_bitwise_from_any_step(whole, cache, tmp_path, step):
    out = tmp_path / "run"
    with pytest.raises(CrashError):
        train([cache], out, config_for(), device="cpu", on_step=crash_at(step))
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": %d, "loss": 1.2' % (step + 1))  # what a kill in mid-write leaves
    torch.set_num_threads(2)  # a resumed run takes the number of threads it was started with
    summary = train([cache], out, config_for(), device="cpu", resume=True)
    assert summary.step == 9
    assert without_speed(out) == without_speed(whole[0])
    assert final_bytes(out) == final_bytes(whole[0])
    resumed = json.loads((out / "environment.json").read_text())["resumed"]
    assert [entry["from_step"] for entry in resumed] == [(step - 1) // 3 * 3]  # it crashed before saving its own


@pytest.mark.slow
def test_resume_is_bitwise_after_kill_9(cache, tmp_path):
    # `python -m vpmim.train` in a process of its own, so this is also the test that it runs without typer
    overrides = [*TINY, "train.max_steps=60", "train.checkpoint_every=7"]
    words = [sys.executable, "-m", "vpmim.train", str(cache), "--out", str(tmp_path / "run"), "--config", "vp_mim"]
    words += [word for override in overrides for word in ("--set", override)]
    process = subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.is_file() or metrics.read_bytes().count(b"\n") < 9:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(metrics.read_bytes().splitlines()) < 60

    config = load_config("vp_mim", overrides)
    train([cache], tmp_path / "run", config, device="cpu", resume=True)
    train([cache], tmp_path / "whole", config, device="cpu")
    assert without_speed(tmp_path / "run") == without_speed(tmp_path / "whole")
    assert final_bytes(tmp_path / "run", 60) == final_bytes(tmp_path / "whole", 60)


def test_a_truncated_newest_checkpoint_falls_back_and_still_ends_the_same(whole, cache, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(CrashError):
        train([cache], out, config_for(), device="cpu", on_step=crash_at(7))
    weights = out / "checkpoints" / "step_00000006" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.warns(UserWarning, match="step_00000006"), pytest.raises(CrashError):
        train([cache], out, config_for(), device="cpu", resume=True, on_step=crash_at(5))
    assert json.loads((out / "last.json").read_text())["step"] == 3
    train([cache], out, config_for(), device="cpu", resume=True)
    assert without_speed(out) == without_speed(whole[0])
    assert final_bytes(out) == final_bytes(whole[0])


def test_images_with_measured_gaze_are_drawn_more_often_and_resumed_so(cache, tmp_path):
    mixed = [cache, write_folder(tmp_path / "folder", images=24)]
    config = config_for("data.measured_share=0.75")
    train(mixed, tmp_path / "plain", config_for(), device="cpu")
    said: list[str] = []
    train(mixed, tmp_path / "whole", config, device="cpu", say=said.append)
    assert said[-1] == "9 images with measured gaze are visited 3 times an epoch each (data.measured_share = 0.75)"
    with pytest.raises(CrashError):
        train(mixed, tmp_path / "run", config, device="cpu", on_step=crash_at(7))
    train(mixed, tmp_path / "run", config, device="cpu", resume=True)
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole") != final_bytes(tmp_path / "plain")


def test_drop_path_draws_are_resumed_too(cache, tmp_path):
    config = config_for("model.drop_path=0.3")
    train([cache], tmp_path / "whole", config, device="cpu")
    with pytest.raises(CrashError):
        train([cache], tmp_path / "run", config, device="cpu", on_step=crash_at(4))
    train([cache], tmp_path / "run", config, device="cpu", resume=True)
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(whole, cache, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole[0], out)
    summary = train([cache], out, config_for(), device="cpu", resume=True)
    assert (summary.step, summary.loss) == (9, None)
    assert final_bytes(out) == final_bytes(whole[0])
    assert without_speed(out) == without_speed(whole[0])


def test_resuming_with_another_configuration_shows_the_difference(whole, cache):
    with pytest.raises(RunError, match=r"mask\.ratio: 0\.75 -> 0\.6"):
        train([cache], whole[0], config_for("mask.ratio=0.6"), device="cpu", resume=True)


def test_resuming_on_other_data_is_refused(whole, tmp_path):
    other = write_cache(tmp_path / "other", images=12, seed=1)
    with pytest.raises(RunError, match="started on other data"):
        train([other], whole[0], config_for(), device="cpu", resume=True)


def test_a_run_that_exists_is_not_written_over(whole, cache, tmp_path):
    with pytest.raises(RunError, match="exists already; go on with --resume"):
        train([cache], whole[0], config_for(), device="cpu")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run; choose another --out"):  # --resume would not help
        train([cache], tmp_path / "other", config_for(), device="cpu")
    (tmp_path / "empty").mkdir()
    train([cache], tmp_path / "empty", config_for("train.max_steps=1"), device="cpu")


def test_there_must_be_a_run_to_resume(cache, tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        train([cache], tmp_path / "run", config_for(), device="cpu", resume=True)


def test_two_processes_cannot_write_one_run(whole, cache, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole[0], out)
    with run_folder.held(out), pytest.raises(RunError, match="written by another process"):
        train([cache], out, config_for(), device="cpu", resume=True)


def test_without_a_config_a_resumed_run_takes_its_own(whole, tmp_path):
    out, _ = whole
    assert requested_config(out, config=None, overrides=[], init=None, resume=True) == config_for()
    with pytest.raises(ConfigError, match="--config is missing"):
        requested_config(out, config=None, overrides=[], init=None, resume=False)
    with pytest.raises(RunError, match="holds no run"):
        requested_config(tmp_path, config=None, overrides=[], init=None, resume=True)


# ------------------------------------------------------------------------------------ signals, failures


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stop_signal_saves_a_checkpoint_and_the_run_goes_on_later(whole, cache, tmp_path, number):
    out = tmp_path / "run"

    def on_step(step: int, steps: int) -> None:
        if step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    summary = train([cache], out, config_for(), device="cpu", on_step=on_step)
    assert summary.interrupted
    assert signal.getsignal(number) == before
    assert newest_checkpoint(out).step == summary.step == 5
    train([cache], out, config_for(), device="cpu", resume=True)
    assert final_bytes(out) == final_bytes(whole[0])
    assert without_speed(out) == without_speed(whole[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stop_signal_before_the_first_step_exits_3_and_writes_nothing(cache, tmp_path, monkeypatch, capsys, number):
    before = signal.getsignal(number)
    monkeypatch.setattr("vpmim.train.load_data", lambda *_, **__: os.kill(os.getpid(), number))
    words = [str(cache), "--out", str(tmp_path / "run"), "--config", "vp_mim", "--init", "scratch", "--device", "cpu"]
    assert main(words) == 3
    assert "run the same command again" in capsys.readouterr().err
    assert signal.getsignal(number) == before
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(cache, tmp_path, monkeypatch):
    calls = iter(range(100))

    def broken(*args, **options):
        terms = training_losses(*args, **options)
        return {**terms, "loss": terms["loss"] * (math.nan if next(calls) == 4 else 1)}

    monkeypatch.setattr("vpmim.step.training_losses", broken)
    with pytest.raises(TrainingError, match=r"step 5: loss, grad_norm is not finite.*checkpoints/step_00000003"):
        train([cache], tmp_path / "run", config_for(), device="cpu")
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3, 4]
    assert newest_checkpoint(tmp_path / "run").step == 3


def test_out_of_gpu_memory_names_the_setting_to_lower(cache, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("vpmim.step.training_losses", refuse)
    with pytest.raises(TrainingError, match=r"lower train\.batch_size \(it is 4\).*data\.residency=stream"):
        train([cache], tmp_path / "run", config_for(), device="cpu")


def test_nothing_is_written_before_everything_asked_for_was_found_right(cache, tmp_path):
    wrong = [
        config_for("model.init=missing.safetensors"),
        config_for("model.encoder=vit_nonsense"),
        config_for("mask.ratio=0.999"),
        config_for("decoder.taps=[2, 3, 9, 0]"),
    ]
    for config in wrong:
        with pytest.raises(ValueError):
            train([cache], tmp_path / "run", config, device="cpu")
        assert not list(tmp_path.iterdir())
    for device in ("cuda:99", "tpu", "meta"):
        with pytest.raises(ConfigError, match="--device"):
            train([cache], tmp_path / "run", config_for(), device=device)


# ------------------------------------------------------------------------------------------ method, optimiser


@pytest.mark.parametrize("method", METHODS)
def test_loss_curve_is_the_golden_one(method, tmp_path):
    # Other vector units and thread counts were seen to change losses by 2e-7; a change of the method changes them by
    # percents. The tolerance leaves room for other BLAS libraries between the two.
    golden = json.loads(GOLDEN.read_text())[method]
    np.testing.assert_allclose(curve(method, tmp_path), golden, rtol=1e-4)


def test_vp_mim_without_its_prior_is_localmim_digit_for_digit(cache, tmp_path):
    bare = config_for("loss.gaze_lambda=0", "prior.source=none", "recalibrate.mode=none")
    train([cache], tmp_path / "bare", bare, device="cpu")
    train([cache], tmp_path / "localmim", config_for(method="localmim"), device="cpu")
    assert without_speed(tmp_path / "bare") == without_speed(tmp_path / "localmim")


def test_bf16_follows_fp32(cache, tmp_path):
    for precision in ("fp32", "bf16"):
        train([cache], tmp_path / precision, config_for(f"train.precision={precision}"), device="cpu")
    fp32, bf16 = ([line["loss"] for line in lines(tmp_path / name)] for name in ("fp32", "bf16"))
    assert fp32 != bf16
    np.testing.assert_allclose(bf16, fp32, rtol=0.02)


def test_training_lowers_the_loss(cache, tmp_path):
    config = config_for("train.max_steps=60", "train.checkpoint_every=60", "train.lr=2e-3")
    train([cache], tmp_path / "run", config, device="cpu")
    losses = [line["loss"] for line in lines(tmp_path / "run")]
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])


def test_norms_biases_tokens_and_positions_do_not_decay():
    model = build_model(config_for("loss.gaze_prediction=0.1"))
    decayed, others = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    plain = {names[id(parameter)] for parameter in others["params"]}
    rest = {names[id(parameter)] for parameter in decayed["params"]}
    assert {"encoder.vit.cls_token", "encoder.vit.pos_embed"} <= plain
    assert {name for name in names.values() if "norm" in name or name.endswith(("bias", "token"))} <= plain
    assert all(name.endswith("weight") for name in rest)
    assert len(plain) + len(rest) == len(names)


def test_clip_grad_limits_the_step_and_the_norm_is_logged_as_it_was(cache, tmp_path):
    config = config_for("train.max_steps=2", "train.clip_grad=0.5")
    train([cache], tmp_path / "run", config, device="cpu")
    assert lines(tmp_path / "run")[0]["grad_norm"] > 0.5
    moment = newest_checkpoint(tmp_path / "run").optimizer()["state"]
    # after the second step the first moment is 0.9 * 0.1 g1 + 0.1 g2, with both gradients clipped to norm 0.5
    total = math.sqrt(sum(float(state["exp_avg"].square().sum()) for state in moment.values()))
    assert total <= 0.19 * 0.5 + 1e-6


# ------------------------------------------------------------------------------------------ command lines


def test_exit_codes_and_summary_of_the_plain_command_line(cache, tmp_path, capsys, monkeypatch):
    words = [str(cache), "--out", str(tmp_path / "run"), "--config", "vp_mim", "--json", "--device", "cpu"]
    words += [word for override in (*TINY, "train.max_steps=2") for word in ("--set", override)]
    assert main(words) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["step"], summary["checkpoint"]) == (2, "checkpoints/step_00000002")
    assert summary["out"] == str(tmp_path / "run")
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "exists already; go on with --resume" in error
    assert main([*words, "--set", "mask.ration=0.5"]) == 2
    assert "did you mean 'mask.ratio'?" in capsys.readouterr().err
    assert main([*words[1:], str(tmp_path / "nowhere"), "--out", str(tmp_path / "other")]) == 2
    assert "it does not exist" in capsys.readouterr().err

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vpmim.plain_cli.train", refuse)
    assert main(words) == 4
    assert "the system refused: No space left on device" in capsys.readouterr().err


def test_an_interrupted_command_exits_3_and_goes_on_with_resume(cache, tmp_path, monkeypatch):
    words = [str(cache), "--out", str(tmp_path / "run"), "--config", "vp_mim", "--device", "cpu"]
    words += [word for override in (*TINY, "train.max_steps=3") for word in ("--set", override)]
    stop = {1: signal.SIGTERM}
    with monkeypatch.context() as patched:
        patched.setattr(
            "vpmim.plain_cli._each_tenth",
            lambda: lambda step, steps: os.kill(os.getpid(), stop.get(step, 0)),  # signal 0 does nothing
        )
        assert main(words) == 3
    assert main([*words, "--resume"]) == 0
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3]


def test_skipped_images_have_their_exit_code(tmp_path, capsys):
    folder = write_folder(tmp_path / "images", images=6)
    (folder / "990000.png").write_bytes(b"")
    words = [str(folder), "--out", str(tmp_path / "run"), "--config", "localmim", "--device", "cpu"]
    words += [word for override in (*TINY, "train.max_steps=1") for word in ("--set", override)]
    assert main(words) == 1
    assert "not_image" in capsys.readouterr().out


def test_init_on_the_command_line_overrides_the_configuration(cache, tmp_path):
    run = tmp_path / "run"
    chosen = requested_config(run, config="vp_mim", overrides=[*TINY], init="imagenet", resume=False)
    assert chosen.model.init == "imagenet"


def test_typer_and_plain_command_lines_take_the_same_options():
    import inspect

    from vpmim.plain_cli import _parser
    from vpmim_cli.train import train as command

    plain = {action.dest for action in _parser()._actions} - {"help"}
    typed = {{"overrides": "set", "as_json": "json"}.get(name, name) for name in inspect.signature(command).parameters}
    assert typed == plain


def test_the_typer_command_trains_and_prints_json(cache, tmp_path):
    from typer.testing import CliRunner

    from vpmim_cli.main import app

    words = ["train", str(cache), "--out", str(tmp_path / "run"), "--config", "mae", "--json", "--device", "cpu"]
    overrides = (*TINY, "train.max_steps=1", "decoder.depth=1")
    words += [word for override in overrides for word in ("--set", override)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 1


# ------------------------------------------------------------------------------------------ several processes


@pytest.mark.slow
def test_two_gloo_processes_train_as_one_each_with_its_share_in_parts(cache, tmp_path):
    overrides = [*TINY, "train.max_steps=6"]
    train([cache], tmp_path / "one", load_config("vp_mim", overrides), device="cpu")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "vpmim_cli", "train", str(cache), "--out", str(tmp_path / "two"), "--config", "vp_mim", "--json"]
    words += [word for override in (*overrides, "train.accumulate=2") for word in ("--set", override)]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images_per_s"] > 0  # one summary, from one of the two
    one, two = ([line["loss"] for line in lines(tmp_path / name)] for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=1e-5)


def test_every_error_raised_on_purpose_is_a_value_error():
    for error in (ConfigError, RunError, CheckpointError, TrainingError, GazekitError):
        assert issubclass(error, ValueError)
