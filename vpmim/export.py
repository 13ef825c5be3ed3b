"""An encoder on its way out, as timm and Hugging Face lay weights out, and back in for evaluation.

::

    OUT_DIR/   model.safetensors  config.json
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save_file
from torch import Tensor

from vpmim.checkpoint import MODEL, fsync_path, model_metadata
from vpmim.encoder import Encoder, EncoderSpec
from vpmim.weight_files import (
    CONFIG,
    STEM,
    Weights,
    WeightsError,
    read_json,
    read_state,
    read_weights,
    timm_names,
    weights_file,
)
from vpmim.weights import load_weights

SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}
"""Width of a plain ViT -> its name in timm."""


class ExportError(ValueError):
    """An export that cannot be made as asked."""


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was exported.

    Attributes
    ----------
    out : folder
    architecture : timm's name
    in_chans : input channels of the stem
    input_size : pixels
    tensors, parameters : how many
    python : the call that loads it
    """

    out: str
    architecture: str
    in_chans: int
    input_size: int
    tensors: int
    parameters: int
    python: str


def export_timm(run_dir: str | Path, out_dir: str | Path, *, in_chans: int = 3) -> ExportSummary:
    """Write an encoder where ``timm.create_model`` finds it.

    Parameters
    ----------
    run_dir : a RUN (its newest whole checkpoint), or anything else `load_encoder` takes
    out_dir : a folder that does not exist yet, or is empty
    in_chans : 1, the grey stem as it is; 3, a third of it in each channel, so that a grey image copied to RGB and
        normalised as the written ``config.json`` says gives the same features

    Returns
    -------
    ExportSummary

    Raises
    ------
    ExportError
        The folder holds something, or `in_chans` is neither 1 nor 3.
    WeightsError, EncoderError
        There is nothing to export.
    """
    out = Path(out_dir)
    if in_chans not in (1, 3):
        raise ExportError(f"in_chans must be 1 (grey) or 3 (a grey image copied to RGB), got {in_chans}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} exists and is not an empty folder; name another one, or remove it")
    encoder = load_encoder(run_dir)
    spec = encoder.spec
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(encoder.vit.state_dict().items())}
    state[STEM] = (state[STEM] / in_chans).repeat(1, in_chans, 1, 1)
    _write_folder(out, state, timm_config(encoder, in_chans=in_chans))
    arguments = {"num_classes": 0, **({"in_chans": 1} if in_chans == 1 else {})}
    arguments |= {key: value for key, value in spec.timm_arguments().items() if _differs(spec, key, value)}
    written = "".join(f", {key}={value}" for key, value in arguments.items())
    return ExportSummary(
        out=str(out),
        architecture=spec.architecture,
        in_chans=in_chans,
        input_size=spec.input_size,
        tensors=len(state),
        parameters=sum(tensor.numel() for tensor in state.values()),
        python=f'timm.create_model("{spec.architecture}"{written}, checkpoint_path="{out / MODEL}")',
    )


def timm_config(encoder: Encoder, *, in_chans: int) -> dict[str, Any]:
    """The ``config.json`` of timm's local folders and of the Hugging Face hub: architecture, input, normalisation."""
    spec = encoder.spec
    return {
        "architecture": spec.architecture,
        "num_classes": 0,
        "num_features": encoder.width,
        "global_pool": encoder.vit.global_pool,
        "model_args": {"in_chans": in_chans, **spec.timm_arguments()},
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [in_chans, spec.input_size, spec.input_size],
            "fixed_input_size": True,
            # the longer side fitted to the input and the rest padded with black, resampled with a triangle filter
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "border",
            "mean": [spec.mean] * in_chans,
            "std": [spec.std] * in_chans,
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def write_encoder(encoder: Encoder, out: Path) -> None:
    """Write an encoder as it is in memory, as the folder that `load_encoder` and timm take, with its one-channel stem.

    Parameters
    ----------
    encoder : Encoder
    out : a folder that does not exist yet, or is empty; it appears whole or not at all
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.vit.state_dict().items()}
    _write_folder(out, state, timm_config(encoder, in_chans=1))


def load_encoder(path: str | Path, *, ema: bool = False) -> Encoder:
    """An encoder for evaluation, in evaluation mode on the CPU, that takes grey values in [0, 1].

    Parameters
    ----------
    path : one of
        a RUN (its newest whole checkpoint); an exported folder; a ``.safetensors`` or ``.pth`` file, of ours, with a
        timm ``config.json`` beside it, or of a plain ViT whose size its tensors tell
    ema : of a RUN whose method has a teacher, the teacher: the moving average of the encoder

    Returns
    -------
    Encoder
        One tap, after the last block. Warns of tensors that were missing or not used, unless they are the decoders of
        a RUN.

    Raises
    ------
    WeightsError
        Nothing there, damaged, unsafe, of no architecture that is known, or without the moving average asked for.
    """
    file = weights_file(Path(path), cure="give a RUN, an exported folder, or a .safetensors or .pth file")
    recorded = _recorded_spec(file)
    if recorded is None:
        spec, weights = _foreign(file, ema=ema)
    else:
        spec, weights = recorded, read_weights(file, name=recorded.architecture, ema=ema)
    encoder = Encoder(spec)
    report = load_weights(encoder, weights, source=str(path))
    if report.missing or (report.unused and recorded is None):
        warnings.warn(str(report), stacklevel=2)
    return encoder.eval()


def _recorded_spec(file: Path) -> EncoderSpec | None:
    """What a checkpoint of ours says about its encoder, inside the file; None for a file of another origin."""
    recorded = model_metadata(file) if file.suffix == ".safetensors" else {}
    if not recorded:
        return None
    known = {item.name for item in fields(EncoderSpec)}
    try:
        return EncoderSpec(**{key: value for key, value in recorded.items() if key in known})
    except TypeError:
        raise WeightsError(f"{file}: its own description is incomplete; was it written by another version?") from None


def _foreign(file: Path, *, ema: bool) -> tuple[EncoderSpec, Weights]:
    """Weights of another origin, and their encoder as a timm ``config.json`` beside them or else their shapes tell."""
    beside = file.parent / CONFIG
    config = read_json(beside) if beside.is_file() else {}
    arguments: Mapping[str, Any] = {}
    if "architecture" in config:
        name, arguments = str(config["architecture"]), config.get("model_args", {})
        size = arguments.get("img_size") or config.get("pretrained_cfg", config).get("input_size", [3, 224, 224])[-1]
        input_size = int(size if isinstance(size, int) else size[0])
    else:
        state, _ = timm_names(read_state(file), source=str(file))
        name, input_size = _architecture(state, source=str(file))
    weights = read_weights(file, name=name, ema=ema)
    # a grey value has one mean and one deviation; the stem is folded exactly, so any choice gives the same features
    spec = EncoderSpec(
        name=name,
        input_size=input_size,
        mean=sum(weights.mean) / len(weights.mean),
        std=sum(weights.std) / len(weights.std),
        depth=int(arguments.get("depth", 0)),
        width=int(arguments.get("embed_dim", 0)),
        heads=int(arguments.get("num_heads", 0)),
    )
    return spec, weights


def _architecture(state: Mapping[str, Tensor], *, source: str) -> tuple[str, int]:
    """timm's name of a plain ViT with a class token, and its input size, from the shapes of its tensors.

    Raises
    ------
    WeightsError
        If the shapes are of no such model.
    """
    stem, positions = state[STEM], state.get("pos_embed")
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    size = SIZES.get(stem.shape[0])
    patch = stem.shape[-1] if stem.ndim == 4 else 0
    name = f"vit_{size}_patch{patch}_224"
    standard = depth == (24 if size == "large" else 12) and "cls_token" in state and "reg_token" not in state
    side = round((positions.shape[1] - 1) ** 0.5) if positions is not None else 0
    if not (standard and timm.is_model(name) and side):
        raise WeightsError(
            f"{source}: {depth} blocks of width {stem.shape[0]} with patches of {patch} pixels are no plain timm ViT; "
            f"put a {CONFIG} with its architecture beside it, as timm and vpmim export write it"
        )
    return name, side * patch


def _differs(spec: EncoderSpec, key: str, value: int) -> bool:
    """Whether an argument is not what timm's name stands for by itself."""
    if key == "img_size":
        published = timm.get_pretrained_cfg(spec.architecture, allow_unregistered=True)
        return published is None or value != published.input_size[-1]
    return key != "num_classes"


def _write_folder(out: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Both files at once or neither: a temporary sibling, fsynced and renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        save_file(dict(state), temporary / MODEL, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for path in (temporary / MODEL, temporary / CONFIG, temporary):
            fsync_path(path)
        temporary.replace(out)  # an empty folder may stand there
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_path(out.parent)
