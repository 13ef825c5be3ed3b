"""The encoder: a timm vision transformer on one grey channel that embeds and sees visible patches only.

Legend of shape suffixes: B batch, H W pixels, L patches of the grid, K visible patches, P prefix tokens (class and
registers), D channels of the encoder, p side of a patch.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.layers import Attention, resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from vpmim.settings import Config
from vpmim.targets import patchify

FEATURES = ("cls", "mean", "both", "last4")
"""What `Encoder.features` makes of the tokens."""


class EncoderError(ValueError):
    """An encoder that cannot be built as asked."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """What it takes to build an encoder again, and to feed it as it was trained.

    Attributes
    ----------
    name : timm model, with or without the tag that names weights (``vit_base_patch16_224.mae``)
    input_size : side of the input the positional embedding is for, pixels
    mean, std : normalisation of grey values in [0, 1]
    depth, width, heads : overrides of the architecture's own numbers; 0 = its own
    """

    name: str
    input_size: int
    mean: float
    std: float
    depth: int = 0
    width: int = 0
    heads: int = 0

    @property
    def architecture(self) -> str:
        """The name without the tag of weights."""
        return self.name.partition(".")[0]

    def timm_arguments(self) -> dict[str, Any]:
        """Arguments of ``timm.create_model`` beside the name and the number of channels."""
        overrides = {"depth": self.depth, "embed_dim": self.width, "num_heads": self.heads}
        return {"img_size": self.input_size, "num_classes": 0} | {k: v for k, v in overrides.items() if v}


class Encoder(nn.Module):
    """A timm ViT read after several blocks.

    Parameters
    ----------
    spec : EncoderSpec
    taps : block numbers, from 1; 0 is the last block, -2 the second before it
    drop_path : stochastic depth rate of the last block

    Attributes
    ----------
    vit : the timm model, which is all that an export takes away
    blocks_read : tap after which block, 1 to depth
    last : index among the taps of the last block's; its LayerNorm is the model's own final one, so that the norm
        that was trained is the one a downstream user loads. Every other tap has a LayerNorm of its own.
    grid : (rows, cols) of patches at `spec.input_size`
    """

    def __init__(self, spec: EncoderSpec, *, taps: tuple[int, ...] = (0,), drop_path: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        self.vit = _grey_vit(spec, drop_path)
        self.patch = int(self.vit.patch_embed.patch_size[0])
        self.width = int(self.vit.embed_dim)
        self.depth = len(self.vit.blocks)
        self.prefix = int(self.vit.num_prefix_tokens)
        self.grid: tuple[int, int] = tuple(self.vit.patch_embed.grid_size)
        self.blocks_read = tuple(tap if tap > 0 else self.depth + tap for tap in taps)
        if not all(1 <= block <= self.depth for block in self.blocks_read):
            raise EncoderError(
                f"decoder.taps {list(taps)} name blocks {list(self.blocks_read)}, but {spec.name} has {self.depth}"
            )
        if self.depth not in self.blocks_read:
            raise EncoderError(
                f"decoder.taps {list(taps)} leave out the last block of {spec.name}, so the blocks after "
                f"{max(self.blocks_read)} would learn nothing; one tap must be 0"
            )
        self.last = max(i for i, block in enumerate(self.blocks_read) if block == self.depth)
        own = [nn.LayerNorm(self.width, eps=1e-6) if i != self.last else nn.Identity() for i in range(len(taps))]
        self.tap_norms = nn.ModuleList(own)

    @property
    def has_class_token(self) -> bool:
        """Whether token 0 is a class token."""
        return self.vit.cls_token is not None

    def forward(
        self,
        grey_BHW: Tensor,
        ids_keep_BK: Tensor | None = None,
        *,
        replaced: tuple[Tensor, Tensor] | None = None,
    ) -> list[Tensor]:
        """Tokens after each tap's block and LayerNorm.

        Parameters
        ----------
        grey_BHW : (B, H, W) float, grey in [0, 1]; normalised here, so that no caller can do it otherwise
        ids_keep_BK : (B, K) int64, visible patches in row-major numbers; None = all
        replaced : (B, L) bool and (D,), where all patches are embedded: those to put a mask token in place of

        Returns
        -------
        list of (B, P + K, D)
            In the order of the taps; prefix tokens first, then patches in the order of `ids_keep_BK`.
        """
        x = self._embed(grey_BHW, ids_keep_BK, replaced)
        after: dict[int, Tensor] = {}
        for number, block in enumerate(self.vit.blocks, start=1):
            x = block(x)
            if number in self.blocks_read:
                after[number] = x
        return [
            self._final_norm(after[block]) if i == self.last else self.tap_norms[i](after[block])
            for i, block in enumerate(self.blocks_read)
        ]

    def encode(self, grey_BHW: Tensor) -> Tensor:
        """All tokens after the last block and the final LayerNorm, the features of evaluation.

        Parameters
        ----------
        grey_BHW : (B, H, W) float, grey in [0, 1]; H and W any multiples of the patch, positions are interpolated

        Returns
        -------
        (B, P + L, D)
        """
        return self._final_norm(self.vit.blocks(self._embed(grey_BHW, None)))

    def features(self, grey_BHW: Tensor, kind: str = "cls") -> Tensor:
        """One vector an image.

        Parameters
        ----------
        grey_BHW : (B, H, W) float, grey in [0, 1]
        kind : ``cls`` the class token, ``mean`` of the patch tokens, ``both`` side by side; ``last4`` the class tokens
            (of an encoder without one, the means) after each of the last four blocks side by side, as DINO takes them

        Returns
        -------
        (B, D), (B, 2 D) for ``both``, (B, 4 D) for ``last4``

        Raises
        ------
        EncoderError
            For an unknown kind, or one that needs a class token where there is none.
        """
        if kind not in FEATURES:
            raise EncoderError(f"features: expected one of {', '.join(FEATURES)}, got {kind!r}")
        if kind == "last4":
            return torch.cat([self._pooled(tokens) for tokens in self._last_blocks(grey_BHW, 4)], dim=1)
        if kind != "mean" and not self.has_class_token:
            raise EncoderError(f"{self.spec.name} has no class token for features {kind!r}; use features 'mean'")
        tokens = self.encode(grey_BHW)
        if kind == "cls":
            return tokens[:, 0]
        mean = tokens[:, self.prefix :].mean(dim=1)
        return mean if kind == "mean" else torch.cat([tokens[:, 0], mean], dim=1)

    def _last_blocks(self, grey_BHW: Tensor, count: int) -> list[Tensor]:
        """All tokens after each of the last blocks, each through the final norm; the deepest last."""
        x = self._embed(grey_BHW, None)
        after = []
        for number, block in enumerate(self.vit.blocks, start=1):
            x = block(x)
            if number > self.depth - count:
                after.append(self._final_norm(x))
        return after

    def _pooled(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0] if self.has_class_token else tokens[:, self.prefix :].mean(dim=1)

    def encode_with_attention(self, grey_BHW: Tensor, queries: slice) -> tuple[Tensor, Tensor]:
        """What `encode` gives, and the attention of the last block.

        Parameters
        ----------
        grey_BHW : (B, H, W) float, grey in [0, 1]
        queries : tokens whose attention is wanted

        Returns
        -------
        (B, P + L, D), (B, Q, P + L) float32
            Each row of the attention, a mean over the heads, sums to 1.

        Raises
        ------
        EncoderError
            The last block's attention is not the plain one.
        """
        *blocks, last = self.vit.blocks
        if type(getattr(last, "attn", None)) is not Attention:
            raise EncoderError(f"the attention of {self.spec.name} cannot be read; take a plain vision transformer")
        x = self._embed(grey_BHW, None)
        for block in blocks:
            x = block(x)
        attn, y = last.attn, last.norm1(x)
        query, key, _ = attn.qkv(y).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        query, key = attn.q_norm(query)[:, :, queries], attn.k_norm(key)
        with torch.autocast(grey_BHW.device.type, enabled=False):
            weights = torch.softmax(query.float() @ key.float().mT * attn.scale, dim=-1).mean(dim=1)
        return self._final_norm(last(x)), weights

    def _embed(
        self, grey_BHW: Tensor, ids_keep_BK: Tensor | None, replaced: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Prefix and visible patch tokens with their positions, (B, P + K, D)."""
        height, width = grey_BHW.shape[1:]
        if height % self.patch or width % self.patch:
            raise EncoderError(f"an image of {height} x {width} cannot be cut into patches of {self.patch} pixels")
        grid = (height // self.patch, width // self.patch)
        patches = patchify((grey_BHW.float() - self.spec.mean) / self.spec.std, self.patch)
        position_prefix, position_LD = self._positions(grid)
        if ids_keep_BK is None:
            position = position_LD
        else:
            # gathered before the linear layer: hidden patches cost nothing
            patches = patches.gather(1, ids_keep_BK.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
            position = None if position_LD is None else F.embedding(ids_keep_BK, position_LD)
        stem = self.vit.patch_embed
        x = stem.norm(F.linear(patches, stem.proj.weight.flatten(1), stem.proj.bias))
        if replaced is not None:
            hidden_BL, token_D = replaced
            x = torch.where(hidden_BL.unsqueeze(-1), token_D.to(x.dtype), x)
        if position is not None:
            x = x + position
        prefix = [token for token in (self.vit.cls_token, self.vit.reg_token) if token is not None]
        if prefix:
            tokens = torch.cat(prefix, dim=1)
            tokens = tokens if position_prefix is None else tokens + position_prefix
            x = torch.cat([tokens.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        return self.vit.norm_pre(x)

    def _positions(self, grid: tuple[int, int]) -> tuple[Tensor | None, Tensor | None]:
        """Positional embedding of the prefix (1, P, D) and of the patches (L, D), interpolated to `grid`."""
        embedding = self.vit.pos_embed
        if embedding is None:
            return None, None
        inside = 0 if self.vit.no_embed_class else self.prefix
        if grid != self.grid:
            embedding = resample_abs_pos_embed(
                embedding, new_size=list(grid), old_size=list(self.grid), num_prefix_tokens=inside, verbose=False
            )
        return (embedding[:, :inside] if inside else None), embedding[0, inside:]

    def _final_norm(self, x: Tensor) -> Tensor:
        # models that pool first keep their norm behind the pooling (fc_norm); here it acts on tokens
        return self.vit.fc_norm(self.vit.norm(x))


def encoder_spec(config: Config) -> EncoderSpec:
    """The encoder a configuration asks for."""
    return EncoderSpec(
        name=config.model.encoder,
        input_size=config.data.input_size,
        mean=config.data.mean,
        std=config.data.std,
        depth=config.model.depth,
        width=config.model.width,
        heads=config.model.heads,
    )


def build_encoder(config: Config) -> Encoder:
    """The configured encoder with random weights; `vpmim.weights.initialise` fills it.

    Raises
    ------
    EncoderError
        Unknown or unsupported architecture, an input size that is no multiple of the patch, taps out of range.
    """
    return Encoder(encoder_spec(config), taps=config.decoder.taps, drop_path=config.model.drop_path)


def _grey_vit(spec: EncoderSpec, drop_path: float) -> VisionTransformer:
    """The timm model with one input channel and no head."""
    if not timm.is_model(spec.architecture):
        known = timm.list_models("*vit*") + timm.list_models("deit*")
        nearest = difflib.get_close_matches(spec.architecture, known, n=3, cutoff=0.0)
        raise EncoderError(f"model.encoder: timm knows no {spec.architecture!r}; did you mean {', '.join(nearest)}?")
    if spec.width and spec.width % (spec.heads or 1):
        raise EncoderError(f"model.width {spec.width} is no multiple of model.heads {spec.heads}")
    try:
        vit = timm.create_model(spec.architecture, in_chans=1, drop_path_rate=drop_path, **spec.timm_arguments())
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise EncoderError(f"model.encoder: timm cannot build {spec.name} as configured: {error}") from error
    if type(vit) is not VisionTransformer or not isinstance(getattr(vit.patch_embed, "proj", None), nn.Conv2d):
        raise EncoderError(
            f"model.encoder: {spec.name} is a {type(vit).__name__}; only plain vision transformers "
            "with learned positions can leave patches out"
        )
    patch = vit.patch_embed.patch_size[0]
    if spec.input_size % patch:
        raise EncoderError(
            f"data.input_size {spec.input_size} is no multiple of the patch of {spec.name}, {patch} pixels; "
            f"take {spec.input_size // patch * patch or patch} or {(spec.input_size // patch + 1) * patch}"
        )
    if vit.attn_pool is not None:
        # never part of masked pre-training; left as it is, and no gradient may wait for it
        vit.attn_pool.requires_grad_(False)
    return vit
