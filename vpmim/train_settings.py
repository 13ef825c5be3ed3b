"""The settings of the optimisation, ``[train]`` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vpmim.setting_checks import ConfigError, require


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimisation.

    Attributes
    ----------
    batch_size : images a step, over all processes
    accumulate : parts that a process takes its share of a batch in, one after the other, to need less memory
    epochs : length of the training
    max_steps : where set, the length of training and of the schedule, in place of epochs
    base_lr : learning rate for 256 images a step; lr = base_lr * batch_size / 256
    lr : where set, the learning rate itself, in place of base_lr
    min_lr : where the cosine ends
    weight_decay : not applied to norms, biases and tokens
    betas : AdamW's
    warmup_epochs : linear warm-up, at most half of the run
    clip_grad : largest norm of the gradient; none = not clipped
    ema : share of itself that the teacher, a moving average of the encoder, keeps at each step, where there is one
    precision : ``bf16`` autocast, ``fp32``, or ``auto`` (bf16 on a GPU that has it)
    compile : ``on``, ``off``, ``auto`` (on a GPU), or ``graphs``: compiled, and replayed as CUDA graphs, for a single
        GPU that waits for its host (small encoders, small batches)
    checkpoint_every : steps between two checkpoints
    keep : newest checkpoints kept
    log_every : steps between two lines of metrics.jsonl
    panels_every : steps between two pictures of what a step sees and makes; none = a quarter of the run
    """

    batch_size: int = 128
    accumulate: int = 1
    epochs: int = 400
    max_steps: int | None = None
    base_lr: float = 3e-3
    lr: float | None = None
    min_lr: float = 1e-6
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warmup_epochs: float = 10.0
    clip_grad: float | None = None
    ema: float = 0.999
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: Literal["auto", "off", "on", "graphs"] = "auto"
    checkpoint_every: int = 500
    keep: int = 3
    log_every: int = 1
    panels_every: int | None = None

    def __post_init__(self) -> None:
        counts = ("batch_size", "accumulate", "epochs", "max_steps", "checkpoint_every", "keep", "log_every")
        for name in (*counts, "panels_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"train.{name}", "a positive integer", value)
        for name in ("base_lr", "lr", "clip_grad"):
            value = getattr(self, name)
            require(value is None or value > 0, f"train.{name}", "a positive number", value)
        for name in ("min_lr", "weight_decay", "warmup_epochs"):
            require(getattr(self, name) >= 0, f"train.{name}", "0 or more", getattr(self, name))
        require(0 <= self.ema <= 1, "train.ema", "a share in [0, 1]", self.ema)
        require(all(0 <= beta < 1 for beta in self.betas), "train.betas", "two numbers in [0, 1)", self.betas)
        batch, parts = self.batch_size, self.accumulate
        require(batch % parts == 0, "train.batch_size", f"a multiple of train.accumulate = {parts}", batch)
        if self.compile == "graphs" and parts > 1:
            raise ConfigError(
                f'train.compile = "graphs" replays whole steps, and train.accumulate = {parts} takes them in parts; '
                'set train.compile = "on", or train.accumulate = 1'
            )
