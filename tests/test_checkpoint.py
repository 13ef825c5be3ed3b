"""Checkpoints: whole or not at all, verified before use, equal weights in equal bytes, nothing unpickled."""

from __future__ import annotations

import errno
import json
import pickle
import resource
import shutil

import pytest
import safetensors.torch
import torch

from vpmim import checkpoint as checkpoints
from vpmim.checkpoint import (
    CheckpointError,
    go_back_to,
    load_tensors,
    model_metadata,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
    write_file,
)


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"b.weight": torch.randn(3, 4, generator=generator), "a.bias": torch.randn(5, generator=generator)}


def save(run, step, *, model=None, keep=3):
    model = weights() if model is None else model
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.full((2,), float(step))
    optimizer.step()
    return save_checkpoint(
        run,
        step,
        model=model,
        optimizer=optimizer.state_dict(),
        state={"threads": 1},
        metadata={"name": "vit_tiny_patch16_224", "mean": 0.5, "std": 0.25},
        keep=keep,
    )


def damage(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-7])
    elif how == "altered":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()


def test_a_checkpoint_reads_back_as_written(tmp_path):
    save(tmp_path, 20)
    found = newest_checkpoint(tmp_path)
    assert found.step == 20
    assert found.state["threads"] == 1
    for name, tensor in weights().items():
        assert torch.equal(found.model()[name], tensor)
    assert torch.equal(found.optimizer()["state"][0]["exp_avg"], torch.full((2,), 2.0))
    assert json.loads((tmp_path / "last.json").read_text()) == {"step": 20, "checkpoint": "checkpoints/step_00000020"}


def test_sums_are_those_of_every_file(tmp_path):
    import hashlib

    folder = save(tmp_path, 20)
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {"model.safetensors", "optimizer.pt", "state.json"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_equal_weights_are_equal_bytes_whatever_order_time_or_place(tmp_path):
    model = weights()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = save(tmp_path / "one", 5, model=model)
    two = save(tmp_path / "two", 9, model=dict(reversed(model.items())))
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()


def test_weights_carry_what_the_encoder_is_and_how_its_input_was_normalised(tmp_path):
    folder = save(tmp_path, 1)
    assert model_metadata(folder / "model.safetensors") == {
        "name": "vit_tiny_patch16_224",
        "mean": 0.5,
        "std": 0.25,
    }
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file(weights(), other)
    assert model_metadata(other) == {}
    other.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        model_metadata(other)


def test_the_newest_k_are_kept(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step, keep=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000015", "step_00000020"]


def test_a_run_without_checkpoints_has_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["truncated", "altered", "missing"])
def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path, name, how):
    save(tmp_path, 5)
    newest = save(tmp_path, 10)
    damage(newest / name, how)
    with pytest.warns(UserWarning, match=r"passing over a damaged checkpoint: step_00000010"):
        assert newest_checkpoint(tmp_path).step == 5


def test_a_damaged_one_does_not_push_out_the_good_ones_of_a_resumed_run(tmp_path):
    save(tmp_path, 10)
    damage(save(tmp_path, 15) / "model.safetensors", "truncated")
    go_back_to(tmp_path, 10)
    assert json.loads((tmp_path / "last.json").read_text())["step"] == 10
    save(tmp_path, 12, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000012"]


def test_where_all_are_damaged_nothing_is_resumed(tmp_path):
    damage(save(tmp_path, 5) / "model.safetensors", "truncated")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(CheckpointError, match="all 1 checkpoints"):
        newest_checkpoint(tmp_path)


def test_a_damaged_one_of_the_same_step_is_replaced(tmp_path):
    damage(save(tmp_path, 5) / "model.safetensors", "missing")
    save(tmp_path, 5)
    assert read_checkpoint(tmp_path / "checkpoints" / "step_00000005").step == 5


def test_what_a_killed_writer_left_is_no_checkpoint_and_is_removed_by_the_next(tmp_path):
    save(tmp_path, 5)
    shutil.copytree(tmp_path / "checkpoints" / "step_00000005", tmp_path / "checkpoints" / ".step_00000010.tmp")
    assert newest_checkpoint(tmp_path).step == 5
    save(tmp_path, 10)
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_system_that_refuses_to_write_leaves_the_one_before_and_no_rubble(tmp_path):
    save(tmp_path, 5)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # the system refuses what is longer
    try:
        with pytest.raises(OSError, match="File too large"):
            save(tmp_path, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000005"]
    assert newest_checkpoint(tmp_path).step == 5


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys, write):
    path = tmp_path / "optimizer.pt"
    write({"state": Evil()}, path)
    with pytest.raises(CheckpointError, match="refused"):
        load_tensors(path)
    assert "executed" not in capsys.readouterr().out


def test_a_file_is_replaced_whole_or_stays(tmp_path, monkeypatch):
    path = tmp_path / "last.json"
    write_file(path, "old")

    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoints, "fsync_path", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write_file(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["last.json"]
