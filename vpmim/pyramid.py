"""The pyramid of decoders: one for each tap of the encoder, each at its own number of cells a patch.

One tap, scale 1, eight blocks and pixels are MAE's decoder; four taps with one block each and HOG are LocalMIM's, which
CXR-MIM and VP-MIM share.

Legend of shape suffixes: B batch, L patches of the grid, K visible patches, P prefix tokens (class and registers),
D channels of the encoder, W width of a decoder, N cells at a decoder's scale, C target channels.
"""

from __future__ import annotations

import itertools
import math

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from vpmim.pooling import pool_mean
from vpmim.settings import DecoderConfig

EPS = 1e-6


class TokenDecoder(nn.Module):
    """From the visible tokens of one tap to a token for every patch; the same shapes at every scale.

    Linear layer, mask tokens, unshuffle, fixed sine-cosine positions, pre-norm transformer blocks, LayerNorm. Prefix
    tokens take part in the attention, have position zero, and are dropped at the end (MAE, He et al., CVPR 2022).
    """

    positions_LW: Tensor

    def __init__(self, encoder_width: int, config: DecoderConfig, *, grid: tuple[int, int], prefix: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.embed = nn.Linear(encoder_width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.register_buffer("positions_LW", sincos_positions(*grid, config.width), persistent=False)
        self.blocks = nn.ModuleList(
            [Block(config.width, config.heads, mlp_ratio=config.mlp_ratio, qkv_bias=True) for _ in range(config.depth)]
        )
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.apply(_initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens_BTD: Tensor, ids_restore_BL: Tensor) -> Tensor:
        """(B, P + K, D) and each patch's place among [visible, hidden] to (B, L, W), in row-major order."""
        x = self.embed(tokens_BTD)
        prefix, visible = x[:, : self.prefix], x[:, self.prefix :]
        batch, patches = ids_restore_BL.shape
        hidden = self.mask_token.to(x.dtype).expand(batch, patches - visible.shape[1], -1)
        shuffled = torch.cat([visible, hidden], dim=1)
        patches_BLW = shuffled.gather(1, ids_restore_BL.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        x = torch.cat([prefix, patches_BLW + self.positions_LW], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, self.prefix :])


class ScaleHead(nn.Module):
    """From a token a patch to the prediction of every cell of a finer, equal or coarser grid.

    Scale 4: two transposed convolutions with LayerNorm and GELU between; 2: one; 1: none; 0.5: mean of 2 x 2 tokens.
    Each transposed convolution halves the channels. Then a 1 x 1 convolution to the target's channels.
    """

    def __init__(self, width: int, channels: int, *, scale: float, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.scale = scale
        doublings = int(math.log2(scale)) if scale >= 1 else 0
        self.upsample = nn.ModuleList([Doubling(width >> i, width >> (i + 1)) for i in range(doublings)])
        self.between = nn.ModuleList([nn.LayerNorm(width >> (i + 1), eps=EPS) for i in range(doublings - 1)])
        self.predict = nn.Linear(width >> doublings, channels)
        _initialise(self.predict)

    def forward(self, tokens_BLW: Tensor) -> Tensor:
        """(B, L, W) to (B, N, C), cells in row-major order."""
        rows, cols = self.grid
        if self.scale < 1:
            pooled = pool_mean(tokens_BLW.mT.unflatten(2, self.grid), round(1 / self.scale))
            return self.predict(pooled.flatten(2).mT)
        # The cells of a patch stay beside it until the end: a transposed convolution whose stride is its kernel is
        # one matrix product a token, and only the few channels of the prediction are put into row-major order.
        x = tokens_BLW
        for i, double in enumerate(self.upsample):
            if i > 0:
                x = F.gelu(self.between[i - 1](x))
            x = double(x)
        x = self.predict(x)
        levels = len(self.upsample)
        cells = x.reshape(x.shape[0], rows, cols, *([2, 2] * levels), x.shape[-1])
        down = [1, *range(3, 3 + 2 * levels, 2)]
        across = [2, *range(4, 4 + 2 * levels, 2)]
        return cells.permute(0, *down, *across, cells.ndim - 1).reshape(x.shape[0], -1, x.shape[-1])


class TopDown(nn.Module):
    """A finer scale's tokens look at the next coarser one's: cross-attention behind a gate that starts at 0.

    ``x + tanh(gate) * attention(LN(x), LN(coarser))``: at the start nothing but x, so that training begins as without
    it, and the gate is the first to learn (method.md c; gates as in Flamingo, Alayrac et al., NeurIPS 2022).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_coarser = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(1))
        self.apply(_initialise)

    def forward(self, tokens_BLW: Tensor, coarser_BLW: Tensor) -> Tensor:
        """(B, L, W) and (B, L, W) to (B, L, W)."""
        query = self.query(self.norm(tokens_BLW))
        key, value = self.key_value(self.norm_coarser(coarser_BLW)).chunk(2, dim=2)
        query, key, value = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        seen_BLW = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return tokens_BLW + torch.tanh(self.gate) * self.project(seen_BLW)


class Doubling(nn.Module):
    """A transposed convolution of kernel and stride 2, on tokens: (B, ..., I) to (B, ..., 2, 2, O).

    ``weight[i, a, b, o]`` is the weight from channel i to channel o of the cell in row a, column b.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels_in, 2, 2, channels_out))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        # each output cell is a linear layer of its own
        bound = math.sqrt(6 / (channels_in + channels_out))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Four cells for each cell."""
        product = F.linear(x, self.weight.flatten(1).mT, self.bias.repeat(4))
        return product.unflatten(-1, self.weight.shape[1:])


class PatchTokens(nn.Module):
    """The encoder's own tokens as a decoder of depth 0 gives them: no prefix, every patch in its place (SimMIM)."""

    def __init__(self, *, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, tokens_BTD: Tensor, ids_restore_BL: Tensor) -> Tensor:
        """(B, P + L, D), none hidden, to (B, L, D)."""
        return tokens_BTD[:, self.prefix :]


class Pyramid(nn.Module):
    """A `TokenDecoder`, or `PatchTokens` for depth 0, and a `ScaleHead` for each tap; a `TopDown` between two scales.

    Parameters
    ----------
    encoder_width : channels of the taps, D
    channels : of the target, C
    config : DecoderConfig
    grid : (rows, cols) of patches
    prefix : prefix tokens of the taps, P
    """

    def __init__(
        self, encoder_width: int, channels: int, config: DecoderConfig, *, grid: tuple[int, int], prefix: int
    ) -> None:
        super().__init__()
        self.scales = config.scales
        self.decoders = nn.ModuleList(
            [
                TokenDecoder(encoder_width, config, grid=grid, prefix=prefix)
                if config.depth
                else PatchTokens(prefix=prefix)
                for _ in config.scales
            ]
        )
        width = config.width if config.depth else encoder_width
        self.heads = nn.ModuleList([ScaleHead(width, channels, scale=scale, grid=grid) for scale in config.scales])
        # from the second coarsest scale to the finest; made last, so that all else starts as without them
        joints = len(config.scales) - 1 if config.topdown else 0
        self.topdown = nn.ModuleList([TopDown(width, config.heads) for _ in range(joints)])

    def forward(self, taps: list[Tensor], ids_restore_BL: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Predictions at each scale, and the tokens behind that of scale 1.

        Parameters
        ----------
        taps : list of (B, P + K, D), one a scale
        ids_restore_BL : (B, L) int64

        Returns
        -------
        list of (B, N, C), (B, L, W) or None where there is no scale 1
        """
        tokens = [decoder(tap, ids_restore_BL) for decoder, tap in zip(self.decoders, taps, strict=True)]
        if self.topdown:
            coarse_to_fine = sorted(range(len(tokens)), key=lambda i: self.scales[i])
            for (coarser, finer), joint in zip(itertools.pairwise(coarse_to_fine), self.topdown, strict=True):
                tokens[finer] = joint(tokens[finer], tokens[coarser])
        predictions = [head(x) for head, x in zip(self.heads, tokens, strict=True)]
        return predictions, tokens[self.scales.index(1.0)] if 1.0 in self.scales else None


def sincos_positions(rows: int, cols: int, width: int) -> Tensor:
    """Fixed two-dimensional sine-cosine positions.

    Parameters
    ----------
    rows, cols : of the grid
    width : channels, a multiple of 4

    Returns
    -------
    (rows * cols, width) float32
        Sines and cosines of the column, then of the row, at wavelengths from 2 pi to 2 pi 10^4 patches, as MAE's.
    """
    frequency = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    angles = [place.flatten().double()[:, None] * frequency for place in (col, row)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1).float()


def scale_grid(grid: tuple[int, int], scale: float) -> tuple[int, int]:
    """(rows, cols) of the cells at a scale; at 0.5 an odd grid has a last cell of the patches that are left."""
    return math.ceil(grid[0] * scale), math.ceil(grid[1] * scale)


def _initialise(module: nn.Module) -> None:
    """Xavier-uniform linear layers without bias, as MAE's."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
