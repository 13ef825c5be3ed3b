"""How much arithmetic a method takes, by formula: multiply-adds of its matrix products, image by image.

What a normalisation, an activation, a crop, a target or an optimiser costs is not counted, as is usual for model FLOP
utilisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vpmim.masking import hidden_count
from vpmim.model import MaskedImageModel
from vpmim.pyramid import PatchTokens, ScaleHead, scale_grid
from vpmim.settings import Config

FORMULA = (
    "block of width d, hidden h, on T tokens: T (4 d^2 + 2 d h) + 2 T^2 d multiply-adds; training FLOP an image = "
    "2 (3 F + G), F what learns (forward, and twice that backward), G what only runs forward"
)


@dataclass(frozen=True)
class FlopCount:
    """Forward multiply-adds of one image.

    Attributes
    ----------
    learning : by part of the model, of what gradients flow through
    guiding : of what runs without gradient
    """

    learning: dict[str, int]
    guiding: dict[str, int]

    @property
    def training_flop(self) -> int:
        """Floating-point operations of a training step, an image."""
        return 2 * (3 * sum(self.learning.values()) + sum(self.guiding.values()))


def count_flops(model: MaskedImageModel, config: Config) -> FlopCount:
    """Count the method of a configuration at the start of its schedules."""
    encoder = model.encoder
    patches = encoder.grid[0] * encoder.grid[1]
    hidden = hidden_count(patches, config.mask.ratio)
    seen = patches if config.mask.tokens == "replace" else patches - hidden
    channels = model.pyramid.heads[0].predict.out_features
    tokens = encoder.prefix + seen

    def encoder_on(count: int) -> int:
        wide = encoder.vit.blocks[0].mlp.fc1.out_features
        blocks = encoder.depth * block_macs(encoder.prefix + count, encoder.width, wide)
        return count * encoder.patch**2 * encoder.width + blocks

    def token_decoder(count: int) -> int:
        decoder = config.decoder
        block = block_macs(encoder.prefix + patches, decoder.width, int(decoder.width * decoder.mlp_ratio))
        return count * encoder.width * decoder.width + decoder.depth * block

    decoders = sum(
        (0 if isinstance(decoder, PatchTokens) else token_decoder(tokens)) + scale_head_macs(head, channels)
        for decoder, head in zip(model.pyramid.decoders, model.pyramid.heads, strict=True)
    )
    # a joint of two scales: query, key, value and projection, and attention in and out
    decoders += len(model.pyramid.topdown) * block_macs(patches, config.decoder.width, 0)
    learning = {"encoder": encoder_on(seen), "decoders": decoders}
    if model.gaze_head is not None:
        learning["gaze head"] = seen * encoder.width
    if model.loss_predictor is not None:
        learning["loss predictor"] = token_decoder(tokens) + patches * config.decoder.width
    guiding = {}
    if model.teacher is not None:
        guiding["teacher"] = encoder_on(patches)
        if model.loss_predictor is not None:
            guiding["teacher"] += token_decoder(encoder.prefix + patches) + patches * config.decoder.width
    if config.recalibrates and config.recalibrate.mode == "predicted":
        guiding["expected gaze"] = encoder_on(patches) + patches * encoder.width
    return FlopCount(learning, guiding)


def block_macs(tokens: int, width: int, hidden: int) -> int:
    """Multiply-adds of a transformer block: four square matrices, the two of the MLP, attention in and out."""
    return tokens * (4 * width**2 + 2 * width * hidden) + 2 * tokens**2 * width


def scale_head_macs(head: ScaleHead, channels: int) -> int:
    """Multiply-adds from the tokens of a decoder to its prediction."""
    rows, cols = head.grid
    cells = math.prod(scale_grid(head.grid, head.scale))
    doublings = sum(rows * cols * 4**level * double.weight.numel() for level, double in enumerate(head.upsample))
    return doublings + cells * head.predict.in_features * channels
