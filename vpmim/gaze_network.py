"""Networks that say where an X-ray will be looked at: the gaze head on a frozen encoder, and a small U-Net.

Both give one number a patch. A predicted distribution is the softmax, over the patches that hold image, of that number
plus the logarithm of the mean map of the images that the network was fitted on (as DeepGaze adds its centre bias,
Kuemmerer et al. 2016). So a network that has learned nothing predicts the mean map, and what it adds is the image's.

Legend of shape suffixes: B batch, S side of the stored square, L patches, D channels of the encoder, F Gaussians, 9
their columns, 6 frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpmim.encoder import Encoder
from vpmim.features import resample_square
from vpmim.localise import valid_patches
from vpmim.model import GazeHead
from vpmim.prior import grid_edges, original_boxes, patch_mass
from vpmim.prior_source import carry, prior_source
from vpmim.random import permutation

HEAD, UNET = "head", "unet"
MODELS = (HEAD, UNET)

PIXELS = 8
"""Pixels a patch side that the U-Net sees."""
UNIFORM_SHARE = 0.01
"""Of the mean map, so that no patch that holds image is impossible."""

_CHANNELS = (16, 32, 64, 64, 64)
_RATE = {HEAD: 3e-3, UNET: 3e-3}
_BATCH = 32
_DECAY = 0.01

Inputs = Callable[[Tensor], Tensor]
"""Stored squares (B, S, S) uint8 -> what a network takes, on the device of the squares."""


class PatchUNet(nn.Module):
    """A U-Net from pixels to patches: halved five times, doubled twice, with the skips of those two sizes.

    Parameters
    ----------
    grid : (rows, cols) of patches
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        before = (1, *_CHANNELS[:-1])
        self.down = nn.ModuleList(_block(i, o, stride=2) for i, o in zip(before, _CHANNELS, strict=True))
        wide = _CHANNELS[-1]
        self.up = nn.ModuleList(_block(wide + skip, wide) for skip in (_CHANNELS[3], _CHANNELS[2]))
        self.score = nn.Conv2d(wide, 1, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, grey_BHW: Tensor) -> Tensor:
        """(B, 8 rows, 8 cols) grey in [0, 1] to (B, L)."""
        levels = [grey_BHW[:, None] - 0.5]
        for block in self.down:
            levels.append(block(levels[-1]))
        x = levels[-1]
        for block, skip in zip(self.up, (levels[4], levels[3]), strict=True):
            x = block(torch.cat([F.interpolate(x, size=skip.shape[-2:], mode="nearest"), skip], dim=1))
        return self.score(x).flatten(1)


def build_network(model: str, *, grid: tuple[int, int], width: int | None, seed: int) -> nn.Module:
    """A network whose first weights depend on `seed` alone; `width` is the encoder's, for the head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if model == UNET:
            return PatchUNet(grid)
        assert width is not None, "the head stands on an encoder"
        return GazeHead(width)


def network_inputs(grid: tuple[int, int], encoder: Encoder | None) -> Inputs:
    """What the networks take: patch tokens (B, L, D) of the encoder, float16, or without one grey pixels."""
    if encoder is None:
        rows, cols = grid
        return lambda square_BSS: resample_square(square_BSS, (PIXELS * rows, PIXELS * cols))

    def tokens(square_BSS: Tensor) -> Tensor:
        grey_BHW = resample_square(square_BSS, encoder.spec.input_size)
        with torch.autocast(grey_BHW.device.type, torch.bfloat16, enabled=grey_BHW.device.type == "cuda"):
            return encoder.encode(grey_BHW)[:, encoder.prefix :].half()

    return tokens


def measured_masses(gaussians: Sequence[np.ndarray], frame_N6: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """Gaze mass of each patch of the stored square: (N, L) float64; not normalised."""
    masses = [
        patch_mass(torch.from_numpy(rows)[None], *grid_edges(_square(frame_6[None], size), *grid)).flatten(1)
        for rows, frame_6 in zip(gaussians, frame_N6, strict=True)
    ]
    return torch.cat(masses)


def holds_image(frame_N6: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """Patches of the stored square of which the image, and not its padding, covers at least half: (N, L) bool."""
    return torch.from_numpy(np.stack([valid_patches(frame_6, size, grid) for frame_6 in frame_N6.numpy()]))


def mean_row(gaussians: Sequence[np.ndarray], frame_N6: Tensor) -> Tensor:
    """The mean map of images as Gaussians over an image of 1 x 1 pixels, (F, 9): `vpmim.prior_source`'s control."""
    return prior_source(gaussians, frame_N6, source="mean").gaussians_RF9[1]


def mean_maps(row_F9: Tensor, frame_N6: Tensor, size: int, valid_NL: Tensor, grid: tuple[int, int]) -> Tensor:
    """The mean map on the patches of each image: (N, L) float64 of sum 1, 0 where there is no image."""
    parts = []
    for frame_B6, valid_BL in zip(frame_N6.split(_BATCH), valid_NL.split(_BATCH), strict=True):
        rows_BF9 = carry(row_F9.expand(len(frame_B6), -1, -1), frame_B6[:, 4:6])
        mass_BL = patch_mass(rows_BF9, *grid_edges(_square(frame_B6, size), *grid)).flatten(1) * valid_BL
        even_BL = valid_BL / valid_BL.sum(dim=1, keepdim=True)
        mean_BL = mass_BL / mass_BL.sum(dim=1, keepdim=True).clamp(min=torch.finfo(mass_BL.dtype).tiny)
        mixed_BL = (1 - UNIFORM_SHARE) * mean_BL + UNIFORM_SHARE * even_BL
        parts.append(mixed_BL / mixed_BL.sum(dim=1, keepdim=True))
    return torch.cat(parts)


def log_distribution(logits_BL: Tensor, mean_BL: Tensor) -> Tensor:
    """Logarithm of the predicted distribution, (B, L) float64; -inf where the mean map is 0, which holds no image."""
    return F.log_softmax(logits_BL.double() + mean_BL.double().log(), dim=1)


def fit_network(
    network: nn.Module,
    model: str,
    input_N: Tensor,
    target_NL: Tensor,
    mean_NL: Tensor,
    *,
    epochs: int,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Fit a network: cross-entropy between the measured and the predicted distribution (method.md g).

    Parameters
    ----------
    network : from `build_network`
    model : one of `MODELS`
    input_N : (N, ...), see `network_inputs`
    target_NL : (N, L), measured, of sum 1 over the patches that hold image
    mean_NL : (N, L), from `mean_maps`
    epochs : int
    seed : of the order
    device : where it is fitted

    Returns
    -------
    nn.Module
        The network, on the CPU.
    """
    network = network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE[model], weight_decay=_DECAY)
    count = len(input_N)
    steps, done = epochs * math.ceil(count / _BATCH), 0
    for epoch in range(epochs):
        for rows_B in torch.from_numpy(permutation(seed, epoch, count)).split(_BATCH):
            for group in optimizer.param_groups:
                group["lr"] = _RATE[model] * 0.5 * (1 + math.cos(math.pi * done / steps))
            logits_BL = network(input_N[rows_B].to(device).float())
            target_BL = target_NL[rows_B].to(device)
            log_BL = log_distribution(logits_BL, mean_NL[rows_B].to(device))
            loss = -torch.where(target_BL > 0, target_BL * log_BL, 0.0).sum(dim=1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
    return network.cpu().eval()


def _square(frame_B6: Tensor, size: int) -> Tensor:
    """Edges of the stored square in original pixels, (B, 4)."""
    whole = torch.tensor([[-0.5, -0.5, size - 0.5, size - 0.5]], dtype=torch.float64)
    return original_boxes(whole.expand(len(frame_B6), 4), frame_B6)


def _block(inputs: int, outputs: int, *, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.GELU())
