"""A configuration small enough for a test to train, and a batch made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vpmim.config import Config, load_config
from vpmim.data import Samples
from vpmim.encoder import EncoderSpec

TINY = (
    "model.init=scratch",
    "model.encoder=vit_tiny_patch16_224",
    "model.depth=4",
    "model.width=48",
    "model.heads=3",
    "data.input_size=112",
    "decoder.width=32",
    "decoder.heads=4",
)
"""Overrides: 4 blocks of 48 channels on 7 x 7 patches, an odd grid."""


def tiny_config(name: str = "vp_mim", *overrides: str) -> Config:
    """A named configuration with a tiny network."""
    return load_config(name, [*TINY, *overrides])


def tiny_spec(**changes: object) -> EncoderSpec:
    """A tiny encoder on 32 x 32 pixels, 2 x 2 patches."""
    values: dict[str, object] = {
        "name": "vit_tiny_patch16_224",
        "input_size": 32,
        "mean": 0.5,
        "std": 0.25,
        "depth": 2,
        "width": 48,
        "heads": 3,
    }
    return EncoderSpec(**(values | changes))


def batch(gaze: Sequence[float], *, size: int = 128, seed: int = 0, visit: int = 0) -> Samples:
    """Smooth images, each with a bright blob that three fixations lie on where `gaze`, its confidence, is over 0."""
    n = len(gaze)
    generator = torch.Generator().manual_seed(seed)
    centre = (0.3 + 0.4 * torch.rand(n, 2, generator=generator)) * size
    line = torch.arange(size)
    x, y = line[None, None, :] - centre[:, 0, None, None], line[None, :, None] - centre[:, 1, None, None]
    noise = torch.rand(n, 1, size // 8, size // 8, generator=generator)
    texture = torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear")[:, 0]
    grey = 0.3 * texture + 0.6 * torch.exp(-0.5 * (x**2 + y**2) / (0.05 * size) ** 2)
    gaussians = torch.zeros(n, 3, 9, dtype=torch.float64)
    gaussians[..., 0:2] = centre[:, None] + 0.02 * size * torch.randn(n, 3, 2, generator=generator)
    gaussians[..., 2:4] = 0.05 * size
    gaussians[..., 4] = (torch.tensor(gaze)[:, None] > 0).double() / 3
    gaussians[..., 7:9] = size
    peak = 1 / (2 * torch.pi * (0.05 * size) ** 2)
    return Samples(
        image_BSS=(255 * grey.clamp(0, 1)).to(torch.uint8),
        frame_B6=torch.tensor([[1, 1, 0, 0, size, size]] * n, dtype=torch.float64),
        gaussians_BF9=gaussians,
        tau_B=torch.full((n,), 0.3 * peak, dtype=torch.float64),
        confidence_B=torch.tensor(gaze, dtype=torch.float32),
        valid_B4=torch.tensor([[-0.5, -0.5, size - 0.5, size - 0.5]] * n, dtype=torch.float64),
        index_B=torch.arange(n),
        visit_B=torch.full((n,), visit),
        features_BRCD=torch.zeros((n, 0, 0, 0), dtype=torch.float16),
    )
