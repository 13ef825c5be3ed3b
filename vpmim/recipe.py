"""How a classifier is trained on labels: the published recipes as TOML files in ``configs/recipes``.

One trainer (`vpmim.supervised`) serves linear evaluation by gradient descent and fine-tuning; a recipe says which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpmim.config import check_fields, parse_override, read_named_file
from vpmim.setting_checks import require, toml_value

FOLDER = "recipes"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A supervised recipe; the values here are those of a plain fine-tuning of a ViT-B.

    Attributes
    ----------
    trains : ``head`` (the encoder is frozen, in evaluation mode) or ``all``
    features : what the head sees: ``cls``, ``mean``, ``both`` or ``last4``
    head_norm : before the linear layer: ``none``, ``layer`` (LayerNorm) or ``batch`` (BatchNorm), without parameters
    optimizer : ``adam`` (decay added to the gradient), ``adamw``, ``sgd`` or ``lars``
    lr : at the peak; where `lr_per_256` is true, for a batch of 256, and scaled with the batch
    momentum : of ``sgd`` and ``lars``
    layer_decay : factor of the learning rate from each block to the one below it (BEiT); 1 = none
    batch_size : no larger than the training part, which is then one batch
    epochs : passes over the training part
    steps : where set, the length of training, in place of epochs
    warmup : share of the steps over which the rate rises from 0; a cosine to `min_lr` follows
    crop : ``none`` (the whole stored square), ``shift`` (a window of the input's size at a random place of the square,
        its centre in evaluation) or ``resized`` (random resized crop; the window at the centre in evaluation)
    crop_scale : shares of the square that ``resized`` takes
    hflip : probability of a mirror image
    brightness, contrast : largest relative change, each with probability `jitter`
    blur : probability of a Gaussian blur, sigma 0.1 to 2 pixels of the input
    mixup : alpha of the Beta distribution that mixes pairs of images and labels; 0 = none
    drop_path : stochastic depth of the last block
    ema : decay of the averaged weights that are evaluated; 0 = none
    clip_grad : largest gradient norm; 0 = none
    choose : the epoch kept: ``val_loss`` (lowest), ``val_auc`` (highest mean) or ``last``
    patience : epochs without a better one after which training ends; 0 = never
    seeds : repetitions, each with another head and order
    """

    trains: Literal["head", "all"] = "all"
    features: Literal["cls", "mean", "both", "last4"] = "mean"
    head_norm: Literal["none", "layer", "batch"] = "layer"
    optimizer: Literal["adam", "adamw", "sgd", "lars"] = "adamw"
    lr: float = 5e-4
    lr_per_256: bool = True
    min_lr: float = 1e-6
    momentum: float = 0.9
    weight_decay: float = 0.05
    layer_decay: float = 0.65
    batch_size: int = 256
    epochs: int = 50
    steps: int | None = None
    warmup: float = 0.1
    crop: Literal["none", "shift", "resized"] = "resized"
    crop_scale: tuple[float, float] = (0.5, 1.0)
    hflip: float = 0.5
    jitter: float = 0.0
    brightness: float = 0.4
    contrast: float = 0.4
    blur: float = 0.0
    mixup: float = 0.0
    drop_path: float = 0.1
    ema: float = 0.0
    clip_grad: float = 0.0
    choose: Literal["val_loss", "val_auc", "last"] = "val_auc"
    patience: int = 0
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("lr", "batch_size", "epochs"):
            value = getattr(self, name)
            require(value > 0, name, "a number above 0", value)
        require(self.steps is None or self.steps > 0, "steps", "a number above 0", self.steps)
        for name in ("warmup", "hflip", "jitter", "blur"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, "a share from 0 to 1", value)
        for name in ("momentum", "ema", "drop_path"):
            value = getattr(self, name)
            require(0 <= value < 1, name, "a number from 0 to below 1", value)
        for name in ("min_lr", "weight_decay", "mixup", "clip_grad", "patience", "brightness", "contrast"):
            value = getattr(self, name)
            require(value >= 0, name, "a number that is not negative", value)
        require(0 < self.layer_decay <= 1, "layer_decay", "a factor above 0, at most 1", self.layer_decay)
        low, high = self.crop_scale
        require(0 < low <= high <= 1, "crop_scale", "two shares, the smaller first", self.crop_scale)
        different = bool(self.seeds) and len(set(self.seeds)) == len(self.seeds) and min(self.seeds) >= 0
        require(different, "seeds", "different integers from 0 up, at least one", self.seeds)

    @property
    def peak_lr(self) -> float:
        """For a batch of `batch_size`."""
        return self.lr * self.batch_size / 256 if self.lr_per_256 else self.lr


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or by file, and apply ``key=value`` overrides.

    Raises
    ------
    ConfigError
        Unknown name, file that cannot be read, unknown key (the nearest is named), wrong type, value out of range.
    """
    _, values = read_named_file(name_or_path, FOLDER, "recipe")
    values |= dict(parse_override(override, example="epochs=10") for override in overrides)
    return Recipe(**check_fields(Recipe, values))


def dump_recipe(recipe: Recipe) -> str:
    """As TOML that `load_recipe` reads back to an equal one."""
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in dataclasses.asdict(recipe).items())
