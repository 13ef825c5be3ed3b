"""Images to feature vectors: one pass over the files, through as many feature functions as are compared.

Every image goes the way of pre-training: the stored square of `vpmim.images`, then the whole square resampled to the
encoder's input by the very function that cuts training crops.

Legend of shape suffixes: N images, B of a batch, S side of the stored square, D features.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gazekit.errors import RecordError
from vpmim.augment import crop_images
from vpmim.encoder import Encoder, EncoderSpec
from vpmim.images import SquareBatch, stored_size
from vpmim.run_folder import ENVIRONMENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

FeatureFunction = Callable[[Tensor], Tensor]
"""Stored squares (B, S, S) uint8 on the device -> features (B, D)."""

PIXEL_SIDE = 32
"""Side, in pixels, to which images are reduced for the raw-pixel control."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to an image before the encoder's first layer.

    Attributes
    ----------
    stored_size : side of the stored square, pixels: aspect kept, area means, padded with black, 8 bits
    input_size : side of the encoder's input: the whole square, antialiased triangle filter
    mean, std : normalisation of grey values in [0, 1]
    """

    stored_size: int
    input_size: int
    mean: float
    std: float

    @property
    def fingerprint(self) -> str:
        """Equal for equal pre-processing."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Features:
    """Features of the images that could be read.

    Attributes
    ----------
    row_N : (N,) int64
        Place of each among all images.
    values : name -> (N, D) float32
        One table a feature function.
    failures : tuple of (place, RecordError)
        The images that could not be read.
    """

    row_N: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float32]]
    failures: tuple[tuple[int, RecordError], ...]


def preprocessing(source: Path, encoder: Encoder) -> Preprocessing:
    """How the images an encoder is to see are prepared.

    Parameters
    ----------
    source : what the encoder was loaded from; a RUN records the side of the squares it was trained on
    encoder : Encoder
    """
    spec = encoder.spec
    size = stored_size(spec.input_size)
    if (source / ENVIRONMENT).is_file():
        trained_on = json.loads((source / ENVIRONMENT).read_text(encoding="utf-8"))["data"]
        size = next((int(part["image_size"]) for part in trained_on), size)
    return Preprocessing(stored_size=size, input_size=spec.input_size, mean=spec.mean, std=spec.std)


def encoder_features(encoder: Encoder, kind: str, *, device: torch.device) -> FeatureFunction:
    """The encoder as a feature function, moved to the device; bfloat16 on a GPU, float32 on the CPU.

    Parameters
    ----------
    encoder : Encoder
        It normalises its input itself.
    kind : ``cls``, ``mean``, ``both`` or ``last4``; see `Encoder.features`
    device : torch.device
    """
    encoder = encoder.to(device).eval()

    def features(square_BSS: Tensor) -> Tensor:
        grey_BHW = resample_square(square_BSS, encoder.spec.input_size)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return encoder.features(grey_BHW, kind)

    return features


def patch_features(encoder: Encoder, *, device: torch.device) -> FeatureFunction:
    """The encoder's patch tokens in their places, (B, rows, columns, D); otherwise as `encoder_features`."""
    encoder = encoder.to(device).eval()

    def features(square_BSS: Tensor) -> Tensor:
        grey_BHW = resample_square(square_BSS, encoder.spec.input_size)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            return encoder.encode(grey_BHW)[:, encoder.prefix :].unflatten(1, encoder.grid)

    return features


def pixel_features(side: int = PIXEL_SIDE) -> FeatureFunction:
    """The image itself as a feature vector: the whole square at `side` x `side` pixels, row by row."""
    return lambda square_BSS: resample_square(square_BSS, side).flatten(1)


def random_encoder(spec: EncoderSpec, seed: int) -> Encoder:
    """An encoder of the same architecture with the random start of a seed, whatever the random state is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(spec).eval()


def resample_square(square_BSS: Tensor, side: int | tuple[int, int]) -> Tensor:
    """The whole stored square at another size, a side or (height, width): (B, H, W) float32 in [0, 1]."""
    edge = square_BSS.shape[-1] - 0.5
    whole_14 = torch.tensor([[-0.5, -0.5, edge, edge]], dtype=torch.float64, device=square_BSS.device)
    unflipped_1 = torch.zeros(1, dtype=torch.bool, device=square_BSS.device)
    return crop_images(square_BSS, whole_14, unflipped_1, side)


def extract(
    batches: Iterable[SquareBatch],
    functions: Mapping[str, FeatureFunction],
    *,
    device: torch.device,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Features of images, each seen once.

    Parameters
    ----------
    batches : iterable of SquareBatch
    functions : name -> feature function
    device : where the functions run
    progress : called with the number of images done

    Returns
    -------
    Features
    """
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in functions}
    rows: list[NDArray[np.int64]] = []
    failures: list[tuple[int, RecordError]] = []
    with torch.inference_mode():
        for batch in batches:
            failures += batch.failures
            if len(batch.index):
                rows.append(batch.index)
                square_BSS = torch.from_numpy(batch.squares).to(device)
                for name, function in functions.items():
                    parts[name].append(function(square_BSS).float().cpu().numpy())
            if progress is not None:
                progress(len(failures) + sum(map(len, rows)))
    return Features(
        row_N=np.concatenate(rows) if rows else np.empty(0, np.int64),
        values={name: np.concatenate(part) if part else np.empty((0, 0), np.float32) for name, part in parts.items()},
        failures=tuple(failures),
    )


def weights_fingerprint(encoder: Encoder) -> str:
    """sha256 over the encoder's tensors, by name: equal weights, equal fingerprint, whatever file held them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.vit.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.view(torch.uint8).numpy().tobytes() if values.ndim else bytes(str(values.item()), "ascii"))
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of what features and scores depend on."""
    names = ("gazekit", "torch", "timm", "numpy", "pillow")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}
