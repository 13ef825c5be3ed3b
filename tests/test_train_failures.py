"""What a run does when something is wrong: each bad input in one line, each crash without loss."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from synthetic import TINY, write_cache, write_folder

from vpmim import checkpoint_writer
from vpmim.checkpoint import CheckpointError, newest_checkpoint, save_checkpoint
from vpmim.config import load_config
from vpmim.plain_cli import main
from vpmim.train import train

SHORT = (*TINY, "train.max_steps=6", "train.checkpoint_every=3", "train.keep=9")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_cache(tmp_path_factory.mktemp("failures") / "cache", images=12, without_gaze=3)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """An uninterrupted run of six steps."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    train([cache], out, load_config("vp_mim", [*SHORT]), device="cpu")
    return out


def final_bytes(out: Path) -> list[bytes]:
    folder = out / "checkpoints" / "step_00000006"
    return [(folder / name).read_bytes() for name in ("model.safetensors", "optimizer.pt")]


def command(data: Path, out: Path, *more: str, method: str = "vp_mim", overrides: tuple[str, ...] = ()) -> list[str]:
    words = [str(data), "--out", str(out), "--config", method, "--device", "cpu"]
    return words + [word for item in (*SHORT, *overrides) for word in ("--set", item)] + list(more)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that ends with exit code 2."""
    capsys.readouterr()
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    return line


# ------------------------------------------------------------------------------------------ bad input


def test_settings_that_cannot_be_are_refused_in_one_line(cache, tmp_path, capsys):
    for override, words in (
        ("train.batchsize=4", "did you mean 'train.batch_size'?"),
        ('train.epochs="many"', "train.epochs: expected"),
        ("train.batch_size=13", "train.batch_size = 13 is larger than the data, 12 images; lower it, such as --set"),
        ("train.accumulate=3", "train.batch_size: expected a multiple of train.accumulate = 3, got 4"),
        ("train.panels_every=0", "train.panels_every: expected a positive integer"),
        ('train.compile="fast"', 'train.compile: expected one of "auto", "off", "on", "graphs"'),
    ):
        assert words in refused(command(cache, tmp_path / "run", overrides=(override,)), capsys)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_trained_on_is_refused_in_one_line(tmp_path, capsys):
    other = write_cache(tmp_path / "other", images=4)
    header = json.loads((other / "cache.json").read_text())
    (other / "cache.json").write_text(json.dumps(header | {"format_version": 99}))
    assert "format version 99" in refused(command(other, tmp_path / "run"), capsys)

    bare = write_cache(tmp_path / "bare", images=4, without_gaze=4)
    line = refused(command(bare, tmp_path / "run"), capsys)
    assert "guided by gaze, and none of the 4 images in bare has any" in line
    assert "--config localmim, or --set prior.source=none" in line

    folder = write_folder(tmp_path / "images", images=4)
    assert "guided by gaze" in refused(command(folder, tmp_path / "run"), capsys)
    assert not (tmp_path / "run").exists()


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_first_weights_that_are_evil_or_cut_short_are_refused_and_not_run(cache, tmp_path, capsys):
    trace, evil = tmp_path / "trace", tmp_path / "evil.pth"
    torch.save({"model": Evil(trace)}, evil)
    line = refused(command(cache, tmp_path / "run", "--init", str(evil)), capsys)
    assert "evil.pth" in line
    assert not trace.exists()

    whole = tmp_path / "whole.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(1000)}, whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-100])
    assert "cut.safetensors" in refused(command(cache, tmp_path / "run", "--init", str(cut)), capsys)
    assert not (tmp_path / "run").exists()


def started(cache: Path, out: Path) -> Path:
    """The only checkpoint of a run stopped after three of its six steps."""
    config = load_config("vp_mim", [*SHORT])
    stop = {3: signal.SIGTERM}
    train([cache], out, config, device="cpu", on_step=lambda step, steps: os.kill(os.getpid(), stop.get(step, 0)))
    (out / "checkpoints" / "step_00000003").rename(out / "kept")
    for folder in (out / "checkpoints").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    return (out / "kept").rename(out / "checkpoints" / "step_00000003")


def seal(folder: Path) -> None:
    """Sums that fit the files, as someone who means harm would write them."""
    names = ("model.safetensors", "optimizer.pt", "state.json")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


def test_a_run_to_resume_that_is_evil_or_not_ours_is_refused_and_not_run(cache, tmp_path, capsys):
    folder, trace = started(cache, tmp_path / "run"), tmp_path / "trace"
    kept = (folder / "optimizer.pt").read_bytes()
    resume = command(cache, tmp_path / "run", "--resume")

    torch.save({"state": Evil(trace)}, folder / "optimizer.pt")
    seal(folder)
    assert "optimizer.pt: refused: damaged, or it holds more than tensors" in refused(resume, capsys)
    assert not trace.exists()

    for content in ({"state": {}}, {"state": {}, "param_groups": []}):
        torch.save(content, folder / "optimizer.pt")
        seal(folder)
        assert "step_00000003 does not hold what this configuration trains" in refused(resume, capsys)

    (folder / "optimizer.pt").write_bytes(kept)
    (folder / "state.json").write_text('{"step": "three"}')
    seal(folder)
    with pytest.warns(UserWarning, match=r"step_00000003/state\.json does not name"), pytest.raises(CheckpointError):
        newest_checkpoint(tmp_path / "run")

    (folder / "state.json").write_text('{"step": 3}')
    (folder / "model.safetensors").write_bytes(b"\x00" * 40)
    seal(folder)
    assert "step_00000003/model.safetensors" in refused(resume, capsys)

    safetensors.torch.save_file({"weight": torch.ones(3)}, folder / "model.safetensors")
    seal(folder)
    assert "step_00000003 does not hold what this configuration trains" in refused(resume, capsys)

    os.truncate(folder / "model.safetensors", 30)
    with pytest.warns(UserWarning, match="sha256 differs"), pytest.raises(CheckpointError, match="all 1 checkpoints"):
        newest_checkpoint(tmp_path / "run")


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "GPU memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 TB"), "memory"),
    ],
)
def test_out_of_memory_names_the_settings(cache, tmp_path, capsys, monkeypatch, error, memory):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("vpmim.step.training_losses", refuse)
    line = refused(command(cache, tmp_path / "run"), capsys)
    assert f"out of {memory}: lower train.batch_size (it is 4)" in line
    assert "raise train.accumulate (it is 1)" in line
    assert "data.residency=stream" in line


# ------------------------------------------------------------------------------- checkpoints on their way


def slow(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """Checkpoints whose writer waits before it writes."""

    def save(*args, **values):
        wait()
        return save_checkpoint(*args, **values)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", save)


def test_training_goes_on_while_a_checkpoint_is_written(cache, whole, tmp_path, monkeypatch):
    written, out = threading.Event(), tmp_path / "run"
    slow(monkeypatch, lambda: written.wait(10))

    def on_step(step: int, steps: int) -> None:
        if step == 5:  # that of step 3 is still under way
            assert newest_checkpoint(out) is None
            written.set()

    train([cache], out, load_config("vp_mim", [*SHORT]), device="cpu", on_step=on_step)
    assert final_bytes(out) == final_bytes(whole)
    third = [run / "checkpoints" / "step_00000003" / "SHA256SUMS" for run in (out, whole)]
    assert third[0].read_bytes() == third[1].read_bytes()  # as the state was then, not as it became


def test_a_stop_signal_waits_for_the_checkpoint_that_is_under_way(cache, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def on_step(step: int, steps: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    slow(monkeypatch, lambda: time.sleep(0.3))
    summary = train([cache], out, load_config("vp_mim", [*SHORT]), device="cpu", on_step=on_step)
    assert summary.interrupted
    assert newest_checkpoint(out).step == summary.step == 5
    train([cache], out, load_config("vp_mim", [*SHORT]), device="cpu", resume=True)
    assert final_bytes(out) == final_bytes(whole)


def test_a_full_disk_stops_training_at_the_next_step_with_exit_4(cache, tmp_path, capsys, monkeypatch):
    out, steps = tmp_path / "run", []

    def save(run, step, **values):
        if step == 6:
            raise OSError(28, "No space left on device", str(run))
        return save_checkpoint(run, step, **values)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", save)
    monkeypatch.setattr("vpmim.plain_cli._each_tenth", lambda: lambda step, of: (time.sleep(0.05), steps.append(step)))
    assert main(command(cache, out, overrides=("train.max_steps=60",))) == 4
    assert "the system refused: No space left on device" in capsys.readouterr().err
    assert newest_checkpoint(out).step == 3
    assert len(steps) < 12


KILLED = """
import os, signal, sys, time
import torch
from vpmim import checkpoint_writer
from vpmim.plain_cli import main

torch.set_num_threads(1)
save = checkpoint_writer.save_checkpoint

def killed(run, step, **values):
    if step == 6:
        write = type(run).write_bytes

        def half(path, data):
            write(path, bytes(data)[:100])
            os.kill(os.getpid(), signal.SIGKILL)

        type(run).write_bytes = half
    return save(run, step, **values)

checkpoint_writer.save_checkpoint = killed
main(sys.argv[1:])
"""


def test_a_kill_in_the_middle_of_a_write_costs_the_steps_since_the_last_one(cache, whole, tmp_path):
    words = [sys.executable, "-c", KILLED, *command(cache, tmp_path / "run")]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "run" / "checkpoints" / ".step_00000006.tmp").is_dir()
    assert newest_checkpoint(tmp_path / "run").step == 3
    train([cache], tmp_path / "run", load_config("vp_mim", [*SHORT]), device="cpu", resume=True)
    assert final_bytes(tmp_path / "run") == final_bytes(whole)


# ------------------------------------------------------------------------------------------------ pictures


def test_pictures_are_made_every_so_many_steps_and_at_both_ends(cache, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    train([cache], out, load_config("vp_mim", [*SHORT, "train.panels_every=4"]), device="cpu")
    assert sorted(path.stem for path in (out / "panels").iterdir()) == [f"step_{n:08d}" for n in (0, 4, 6)]
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    shown = events.Images("panels")
    assert [event.step for event in shown] == [0, 4, 6]
    assert (shown[0].height, shown[0].width) == (8 * 228, 12 * 228)  # crop, two priors, mask; two for each scale
    assert len({event.encoded_image_string for event in shown}) == 3


def test_accumulated_runs_follow_whole_ones_and_resume_bitwise(cache, whole, tmp_path):
    config = load_config("vp_mim", [*SHORT, "train.accumulate=2"])
    train([cache], tmp_path / "parts", config, device="cpu")

    def losses(out: Path) -> list[float]:
        return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]

    assert losses(tmp_path / "parts") == pytest.approx(losses(whole), rel=1e-4)
    stop = {4: signal.SIGTERM}
    kill = {"on_step": lambda step, steps: os.kill(os.getpid(), stop.get(step, 0))}
    assert train([cache], tmp_path / "run", config, device="cpu", **kill).interrupted
    train([cache], tmp_path / "run", config, device="cpu", resume=True)
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "parts")
