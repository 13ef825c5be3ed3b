"""A step's figures on their way from the device to the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from vpmim.process import Place


class Figures(NamedTuple):
    """Figures that may still be under way; `read` waits for them."""

    step: int
    lr: float
    names: list[str]
    values: Tensor
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, step: int, lr: float, terms: Mapping[str, Tensor], *, stop: bool, place: Place) -> Figures:
        """Start the copy. The processes' means are taken, so that all of them see the same, a wish to stop too."""
        wish = torch.tensor(float(stop), device=place.device)
        values = torch.stack([*(term.detach().float() for term in terms.values()), wish])
        if place.ranks > 1:
            dist.all_reduce(values)
            values /= place.ranks
        if place.device.type != "cuda":
            return cls(step, lr, list(terms), values, None)
        host = torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(step, lr, list(terms), host, arrived)

    def read(self) -> tuple[dict[str, float], bool]:
        """The figures by name, and whether any process wants to stop."""
        if self.arrived is not None:
            self.arrived.synchronize()
        *values, wish = self.values.tolist()
        return dict(zip(self.names, values, strict=True)), wish > 0
