"""One step of the optimiser: forward, backward, update. `vpmim.train` repeats it, `vpmim.bench` measures it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from vpmim.data import Samples
from vpmim.model import MaskedImageModel
from vpmim.objective import training_losses
from vpmim.process import Place
from vpmim.settings import Config, ConfigError


class Objective(nn.Module):
    """The loss as a module, which is what DDP and compilation wrap."""

    def __init__(self, model: MaskedImageModel, config: Config) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, samples: Samples, *, progress: float | Tensor) -> dict[str, Tensor]:
        return training_losses(self.model, samples, self.config, progress=progress)


class TrainingStep:
    """A step, made once and called with each batch.

    Parameters
    ----------
    model : MaskedImageModel, on the device of `place`
    config : Config
    place : Place

    Attributes
    ----------
    optimizer : AdamW, fused
    bf16, compiled : what ``train.precision`` and ``train.compile`` come to here

    Raises
    ------
    ConfigError
        The batch cannot be shared out as asked, or CUDA graphs are asked of several processes.
    """

    def __init__(self, model: MaskedImageModel, config: Config, place: Place) -> None:
        batch, parts = config.train.batch_size, config.train.accumulate
        if batch % (place.ranks * parts):
            raise ConfigError(
                f"train.batch_size = {batch} is no multiple of {place.ranks} processes"
                + (f" times train.accumulate = {parts}" if parts > 1 else "")
            )
        graphs = config.train.compile == "graphs"
        if graphs and place.ranks > 1:
            raise ConfigError(
                f'train.compile = "graphs" is for one process, and there are {place.ranks}; set train.compile = "on"'
            )
        self.model, self.config, self.place = model, config, place
        self.optimizer = adamw(model, config)
        self.bf16 = uses_bf16(config, place.device)
        # a ratio that changes changes the shapes, and each would be compiled anew
        suits = place.device.type == "cuda" and config.mask.ratio_end is None
        self.compiled = suits if config.train.compile == "auto" else config.train.compile != "off"
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._objective: nn.Module = Objective(model, config)
        if place.ranks > 1:
            self._objective = nn.parallel.DistributedDataParallel(self._objective)
        if self.compiled:
            # Graphs save the host's launches and nothing else. A ViT-B of 128 images keeps a GPU busy for longer than
            # its launches take, so they are asked for by name and are not what "auto" means.
            self._objective.compile(dynamic=False, mode="reduce-overhead" if graphs else None)

    def __call__(self, samples: Samples, *, lr: float, progress: float) -> dict[str, Tensor]:
        """Take the step.

        Parameters
        ----------
        samples : this process's share of the batch
        lr : learning rate
        progress : share of the training done, in [0, 1)

        Returns
        -------
        dict of scalar tensors
            This process's terms of `training_losses`, and ``grad_norm``, of the whole gradient before it is clipped.
        """
        train, device = self.config.train, self.place.device
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        at: float | Tensor = progress
        if self.compiled:  # as a tensor, or the step would be compiled anew for each value
            torch.compiler.cudagraph_mark_step_begin()
            at = torch.full((), progress, dtype=torch.float64, device=device)
        parts = samples.split(len(samples.index_B) // train.accumulate)
        means: dict[str, Tensor] = {}
        for part in parts:
            # processes exchange gradients once a step, with the last part
            alone = self.place.ranks > 1 and part is not parts[-1]
            with self._objective.no_sync() if alone else nullcontext():
                with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                    terms = self._objective(part, progress=at)
                (terms["loss"] / len(parts)).backward()
            for name, term in terms.items():
                share = term.detach() / len(parts)
                means[name] = means[name] + share if name in means else share
        norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        if train.clip_grad is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, train.clip_grad, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.update_teacher(keep=train.ema)
        return means | {"grad_norm": norm}


def adamw(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """The fused optimiser of a run."""
    groups = parameter_groups(model, config.train.weight_decay)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.train.betas, fused=True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights that decay, and those that do not: norms, biases, tokens and positions."""
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or name.endswith(("_token", "pos_embed"))
            (others if plain else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def uses_bf16(config: Config, device: torch.device) -> bool:
    """What ``train.precision`` comes to on a device."""
    if config.train.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.train.precision == "bf16"
