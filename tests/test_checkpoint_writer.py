"""Checkpoints written behind training's back: as the state was, one at a time, and whole whenever the kill comes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from vpmim import checkpoint_writer
from vpmim.checkpoint import newest_checkpoint, save_checkpoint
from vpmim.checkpoint_writer import CheckpointWriter


def state(value: float = 1.0) -> dict:
    tensor = torch.full((4,), value)
    optimizer = {"state": {0: {"exp_avg": torch.full((4,), value)}}, "param_groups": [{"lr": value, "params": [0]}]}
    return {"model": {"a": tensor}, "optimizer": optimizer, "state": {}, "metadata": {}}


class Gate:
    """`save_checkpoint` that waits until it is opened, or fails."""

    def __init__(self, error: OSError | None = None) -> None:
        self.opened, self.begun, self.steps, self.error = threading.Event(), threading.Event(), [], error

    def __call__(self, run: Path, step: int, **values) -> Path:
        self.begun.set()
        assert self.opened.wait(10)
        self.steps.append(step)
        if self.error is not None:
            raise self.error
        return save_checkpoint(run, step, **values)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", gate)
    return gate


def test_what_is_written_is_the_state_at_the_time_of_the_call(tmp_path: Path, gate: Gate) -> None:
    values = state(1.0)
    with CheckpointWriter(tmp_path, keep=3) as writer:
        writer.save(5, **values)
        assert newest_checkpoint(tmp_path) is None  # nothing is there yet, and training goes on
        values["model"]["a"].fill_(2.0)
        values["optimizer"]["state"][0]["exp_avg"].fill_(2.0)
        values["optimizer"]["param_groups"][0]["lr"] = 2.0
        gate.opened.set()
        writer.wait()
        found = newest_checkpoint(tmp_path)
    assert found.model()["a"].tolist() == [1.0] * 4
    assert found.optimizer()["state"][0]["exp_avg"].tolist() == [1.0] * 4
    assert found.optimizer()["param_groups"][0]["lr"] == 1.0


def test_it_writes_the_bytes_that_a_plain_save_writes(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "thread").mkdir()
    save_checkpoint(tmp_path / "plain", 5, **state(), keep=3)
    with CheckpointWriter(tmp_path / "thread", keep=3) as writer:
        writer.save(5, **state())
    plain, thread = (newest_checkpoint(tmp_path / name).path / "SHA256SUMS" for name in ("plain", "thread"))
    assert plain.read_text() == thread.read_text()


def test_at_most_one_is_under_way(tmp_path: Path, gate: Gate) -> None:
    with CheckpointWriter(tmp_path, keep=3) as writer:
        writer.save(5, **state())
        second = threading.Thread(target=lambda: writer.save(10, **state()))
        second.start()
        assert gate.begun.wait(10)
        second.join(0.1)
        assert second.is_alive()  # it waits for the first
        assert gate.steps == []
        gate.opened.set()
        second.join(10)
        assert gate.steps[0] == 5
    assert newest_checkpoint(tmp_path).step == 10


def test_the_end_waits_for_the_last_one_even_when_training_failed(tmp_path: Path, gate: Gate) -> None:
    def fail_after_saving() -> None:
        with CheckpointWriter(tmp_path, keep=3) as writer:
            writer.save(5, **state())
            threading.Timer(0.1, gate.opened.set).start()
            raise KeyError("training")

    with pytest.raises(KeyError, match="training"):
        fail_after_saving()
    assert newest_checkpoint(tmp_path).step == 5


@pytest.mark.parametrize("call", ["check", "save", "end"])
def test_an_error_of_the_write_is_raised_at_the_next_call_and_once(tmp_path: Path, gate: Gate, call: str) -> None:
    gate.error = OSError(errno.ENOSPC, "No space left on device")
    gate.opened.set()

    def write_on() -> None:
        with CheckpointWriter(tmp_path, keep=3) as writer:
            writer.save(5, **state())
            if call == "check":
                while gate.steps == [] or not writer._under_way.done():
                    pass
                writer.check()
            if call == "save":
                writer.save(10, **state())

    with pytest.raises(OSError, match="No space left"):
        write_on()
    assert gate.steps == [5]


KILLED = """
import os, signal, shutil, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_checkpoint_writer import state
from vpmim.checkpoint import newest_checkpoint, save_checkpoint
from vpmim.checkpoint_writer import CheckpointWriter

warnings.simplefilter("error")
root = Path(sys.argv[1])
(root / "start").mkdir()
save_checkpoint(root / "start", 5, **state(5.0), keep=1)
found, moment, status = [], 0, 1
while status:  # kill the writer before the first, second, ... thing it asks of the system, until it survives
    moment += 1
    run = root / f"run{moment}"
    shutil.copytree(root / "start", run)
    child = os.fork()
    if child == 0:
        left = moment

        def kill(event, arguments):
            global left
            if event.startswith(("open", "os.", "shutil.")):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        with CheckpointWriter(run, keep=1) as writer:
            sys.addaudithook(kill)
            writer.save(10, **state(10.0))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    newest = newest_checkpoint(run)
    assert newest.model()["a"].tolist() == [newest.step] * 4
    found.append(newest.step)
print(*found)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [int(step) for step in done.stdout.split()]
    assert len(found) > 15
    assert set(found) == {5, 10}
    assert found == sorted(found)  # from some moment on it is the new one
