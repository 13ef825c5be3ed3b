"""Files of weights: read without running anything they carry, and named as timm names them.

Files read: safetensors, and ``.pth`` / ``.pt`` / ``.bin`` by PyTorch's restricted unpickler, with
`argparse.Namespace` as the one class allowed besides tensors (MAE's checkpoints hold one). Nothing else is ever
unpickled, and there is no fallback.
"""

from __future__ import annotations

import argparse
import json
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from vpmim.checkpoint import FOLDER, MODEL, model_metadata, newest_checkpoint

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
STEM = "patch_embed.proj.weight"
TEACHER = "teacher."
CONFIG = "config.json"
CURE = "give --init scratch, or --init PATH to a .safetensors or .pth file"


class WeightsError(ValueError):
    """Weights that are not to be had, are unsafe or damaged, or belong to another architecture."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A state dict in timm's names, and what its stem expects.

    Attributes
    ----------
    state : name -> tensor
    unused : names in the file that are no part of a timm ViT's body, as the file has them
    mean, std : normalisation of each input channel that the weights were trained with
    normalisation : where `mean` and `std` were learned from
    """

    state: Mapping[str, Tensor]
    unused: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalisation: str


def weights_file(path: Path, *, cure: str = CURE) -> Path:
    """The file of weights that a path means: itself, a RUN's newest whole checkpoint, or an exported folder's.

    Where there is none, the error ends with `cure`.

    Raises
    ------
    WeightsError
        There is none.
    CheckpointError
        A RUN's checkpoints are all damaged.
    """
    if (path / FOLDER).is_dir():
        newest = newest_checkpoint(path)
        if newest is None:
            raise WeightsError(f"{path}: this RUN has no checkpoint yet")
        return newest.path / MODEL
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"no weights file {file}; {cure}")
    return file


def read_weights(path: Path, *, name: str, ema: bool = False) -> Weights:
    """Read a weights file, a RUN or an exported folder under timm's names.

    Parameters
    ----------
    path : Path, as for `weights_file`
    name : timm architecture whose published normalisation is assumed where the file's is not recorded
    ema : take the moving average that a method with a teacher keeps of the encoder, in place of the encoder itself

    Raises
    ------
    WeightsError
    """
    path = weights_file(path)
    raw = read_state(path)
    if ema:
        raw = {key.removeprefix(TEACHER): tensor for key, tensor in raw.items() if key.startswith(TEACHER)}
        if not raw:
            raise WeightsError(
                f"{path}: holds no moving average of its encoder: methods with mask.kind=attention or hard, "
                "target.kind=feature, or recalibrate.mode=ema or attn keep one; take the trained weights"
            )
    state, unused = timm_names(raw, source=str(path))
    # a two-dimensional stem is a linear layer over flattened RGB patches
    channels = state[STEM].shape[1] if state[STEM].ndim == 4 else 3
    mean, std, origin = _normalisation(path, raw, name)
    return Weights(
        state=state,
        unused=unused,
        mean=_per_channel(mean, channels),
        std=_per_channel(std, channels),
        normalisation=origin,
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, without running anything that the file may carry.

    Parameters
    ----------
    path : Path to ``.safetensors``, ``.pth``, ``.pt``, ``.bin``, ``.ckpt`` or ``.tar``

    Returns
    -------
    dict of name -> tensor
        The dict itself, or what lies under its key ``model`` or ``state_dict``.

    Raises
    ------
    WeightsError
        Missing, truncated, not weights, or holding anything that only unrestricted unpickling could read.
    """
    if path.suffix not in (".safetensors", *PICKLED):
        raise WeightsError(f"{path.name}: weights are read from .safetensors and {', '.join(PICKLED)} files only")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # of a pickle protocol that the restricted reader may not know: it says so by an error, too
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise WeightsError(
            f"{path}: refused, it is damaged or holds more than tensors ({reason or 'not readable'}); "
            "convert it to safetensors where you trust it"
        ) from None
    except Exception as error:  # damaged bytes make the readers stumble anywhere: IndexError, struct.error, ...
        first = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: damaged or truncated, or not a weights file ({first})") from None
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors by name, neither itself nor under 'model' or 'state_dict'")
    return tensors


def timm_names(raw: Mapping[str, Tensor], *, source: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors under timm's names: prefixes of wrappers removed, Hugging Face transformers' names translated.

    Returns
    -------
    dict of timm name -> tensor, names that belong to something else

    Raises
    ------
    WeightsError
        If no stem, or more than one, tells which part is the vision transformer.
    """
    for ending in (STEM, TRANSFORMERS_STEM):
        stems = [key for key in raw if key == ending or key.endswith("." + ending)]
        # the moving average that some methods keep of the encoder, beside it and named after it
        stems = [key for key in stems if not (key.startswith(TEACHER) and key.removeprefix(TEACHER) in raw)]
        if len(stems) > 1:
            raise WeightsError(f"{source}: holds several encoders ({', '.join(stems)}); save the one you mean alone")
        if stems:
            prefix = stems[0].removesuffix(ending)
            inside = {key.removeprefix(prefix): t for key, t in raw.items() if key.startswith(prefix)}
            outside = tuple(sorted(key for key in raw if not key.startswith(prefix)))
            return (inside if ending == STEM else _from_transformers(inside)), outside
    raise WeightsError(f"{source}: no {STEM}, so no vision transformer that is known; {CURE}")


TRANSFORMERS_STEM = "embeddings.patch_embeddings.projection.weight"
_TRANSFORMERS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "layernorm.": "norm.",
    ".layernorm_before.": ".norm1.",
    ".layernorm_after.": ".norm2.",
    ".attention.output.dense.": ".attn.proj.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
    "encoder.layer.": "blocks.",
}
"""Parts of the names of transformers' ViTModel -> timm's; in this order, the longer before what it contains."""


def _from_transformers(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of Hugging Face transformers' ViTModel as timm's; query, key and value joined."""
    state: dict[str, Tensor] = {}
    for key, tensor in raw.items():
        if ".attention.attention." in key:
            block, _, kind = key.partition(".attention.attention.")
            if kind.startswith("query."):
                parts = [raw.get(f"{block}.attention.attention.{p}.{kind[6:]}") for p in ("query", "key", "value")]
                joined = [part for part in parts if part is not None]
                state[f"{block.replace('encoder.layer.', 'blocks.')}.attn.qkv.{kind[6:]}"] = torch.cat(joined)
            continue
        for old, new in _TRANSFORMERS.items():
            key = key.replace(old, new)
        state[key] = tensor
    return state


def _normalisation(path: Path, raw: Mapping[str, Tensor], name: str) -> tuple[Sequence[float], Sequence[float], str]:
    """Mean and standard deviation that a file's weights expect, and how that is known."""
    if path.suffix == ".safetensors":
        recorded = model_metadata(path)
        if {"mean", "std"} <= recorded.keys():
            return [recorded["mean"]], [recorded["std"]], "recorded with the weights"
    beside = path.parent / CONFIG
    if beside.is_file():
        config = read_json(beside)
        recorded = config.get("pretrained_cfg", config)
        if "mean" in recorded and "std" in recorded:
            return recorded["mean"], recorded["std"], f"from {CONFIG} beside them"
    if any(key.rpartition(".")[2] == "mask_token" or "decoder_embed" in key for key in raw):
        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, "ImageNet's, as MAE's checkpoints do not record theirs"
    published = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if published is None:
        return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, "ImageNet's, as the file does not record its own"
    return published.mean, published.std, f"timm's for {name}, as the file does not record its own"


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One value a channel; where there are more or fewer channels than values, their mean for each."""
    if len(values) == channels:
        return tuple(float(value) for value in values)
    return (sum(map(float, values)) / len(values),) * channels


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or `WeightsError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a JSON object")
    return content
