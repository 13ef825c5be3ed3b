"""An encoder with a linear head, and the optimisers that train it.

Legend of shape suffixes: B batch, H W pixels, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vpmim.encoder import Encoder
from vpmim.recipe import Recipe


class Classifier(nn.Module):
    """Features of an encoder, a norm without parameters, one linear layer.

    Parameters
    ----------
    encoder : Encoder
    classes : number of labels
    features : what `Encoder.features` gives
    head_norm : ``none``, ``layer`` or ``batch``
    frozen : whether the encoder stays as it is, in evaluation mode
    seed : of the head's start, N(0, 0.01^2); its bias is 0
    """

    def __init__(
        self, encoder: Encoder, classes: int, *, features: str, head_norm: str, frozen: bool, seed: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.kind, self.frozen = features, frozen
        width = encoder.width * {"both": 2, "last4": min(4, encoder.depth)}.get(features, 1)
        norms: dict[str, nn.Module] = {
            "none": nn.Identity(),
            "layer": nn.LayerNorm(width, eps=1e-6, elementwise_affine=False),
            "batch": nn.BatchNorm1d(width, eps=1e-6, affine=False),
        }
        self.norm = norms[head_norm]
        self.head = nn.Linear(width, classes)
        start = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.head.weight, std=0.01, generator=start)
        nn.init.zeros_(self.head.bias)
        encoder.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> Classifier:
        """As of any module, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, grey_BHW: Tensor) -> Tensor:
        """Log-odds (B, C) of grey images (B, H, W) in [0, 1]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features_BD = self.encoder.features(grey_BHW, self.kind)
        return self.head(self.norm(features_BD.float()))


def make_optimizer(model: Classifier, recipe: Recipe, *, peak_lr: float) -> torch.optim.Optimizer:
    """The optimiser of a recipe over what it trains; each group has ``scale``, its share of the learning rate."""
    groups = parameter_groups(model, weight_decay=recipe.weight_decay, layer_decay=recipe.layer_decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=peak_lr)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=peak_lr)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=peak_lr, momentum=recipe.momentum)
    return LARS(groups, lr=peak_lr, momentum=recipe.momentum)


def parameter_groups(model: Classifier, *, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Parameters that are trained, by depth and by whether they decay.

    The head's rate is whole; each block's is `layer_decay` of the one above it, the embedding's of the first block's
    (BEiT, Bao et al. 2022). Biases, norms, tokens and positions do not decay.
    """
    depth = model.encoder.depth
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        level = _level(name, depth)
        decays = parameter.ndim > 1 and not name.endswith(("_token", "pos_embed"))
        group = groups.setdefault(
            (level, decays),
            {
                "params": [],
                "weight_decay": weight_decay if decays else 0.0,
                "scale": layer_decay ** (depth + 1 - level),
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _level(name: str, depth: int) -> int:
    """0 for the embedding, 1 to depth for the blocks, depth + 1 for the norm and the head."""
    if name.startswith("encoder.vit.blocks."):
        return int(name.split(".")[3]) + 1
    if name.startswith(("encoder.vit.patch_embed", "encoder.vit.cls_token", "encoder.vit.pos_embed")):
        return 0
    return 0 if name.startswith(("encoder.vit.reg_token", "encoder.vit.norm_pre")) else depth + 1


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman, Ginsburg 2017, algorithm 1), as MAE's linear probe uses it.

    Matrices take a rate in proportion to the ratio of their norm to that of their update; vectors take it whole.

    Parameters
    ----------
    params : parameters or groups
    lr, momentum, weight_decay : float
    trust : the ratio's factor
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if parameter.ndim > 1:
                    update = update + group["weight_decay"] * parameter
                    weight, change = parameter.norm(), update.norm()
                    usable = (weight > 0) & (change > 0)
                    update = update * torch.where(usable, group["trust"] * weight / change.clamp(min=1e-30), 1.0)
                state = self.state[parameter]
                velocity = state.get("velocity")
                state["velocity"] = update.clone() if velocity is None else group["momentum"] * velocity + update
                parameter.sub_(group["lr"] * state["velocity"])
