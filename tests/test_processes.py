"""Two processes with half a batch each have the loss and the gradients of one process with all of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_methods import small
from tiny import batch
from torch import nn

from vpmim.config import Config
from vpmim.data import Samples
from vpmim.model import build_model
from vpmim.objective import training_losses

GAZE = [True, True, False, True, False, False]
"""Uneven halves: the gaze weights of the first sum to more than those of the second."""
METHODS = ("cxr_mim", "vp_mim_joint", "hpm")


class Loss(nn.Module):
    """The loss as a module, which is what DDP wraps."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model, self.config = build_model(config), config

    def forward(self, samples: Samples) -> torch.Tensor:
        return training_losses(self.model, samples, self.config, progress=0.5)["loss"]


def half(rank: int, folder: str) -> None:
    """One of two processes: the loss of its half, and the gradients as DDP leaves them, for each method."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    whole = batch(GAZE)
    mine = Samples(**{f.name: getattr(whole, f.name).split(3)[rank] for f in dataclasses.fields(whole)})
    found = {}
    for name in METHODS:
        config = small(name)
        objective = nn.parallel.DistributedDataParallel(Loss(config))
        loss = objective(mine)
        loss.backward()
        found[name] = {"loss": loss.detach()} | gradients(objective.module.model)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, torch.Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("processes")
    mp.spawn(half, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_over_processes_is_that_of_the_whole_batch(name: str, halves) -> None:
    objective = Loss(small(name))
    loss = objective(batch(GAZE))
    loss.backward()
    assert (halves[0][name]["loss"] + halves[1][name]["loss"]).item() / 2 == pytest.approx(loss.item(), rel=1e-6)
    for key, expected in gradients(objective.model).items():
        torch.testing.assert_close(halves[1][name][key], expected, rtol=1e-3, atol=1e-6)
        assert torch.equal(halves[0][name][key], halves[1][name][key])
