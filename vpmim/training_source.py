"""What a run trains on, opened on the host: a cache of gazekit, or a folder of PNG or JPEG images.

Both give the same columns, one entry an image, so that `vpmim.data` need not know which is which.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gazekit.cache import PriorCache, open_cache
from vpmim.images import SUFFIXES, read_square_batches


class DataError(ValueError):
    """Data that cannot be trained on as asked."""


class SquareArray(Protocol):
    """Stored squares by place or slice: a memory-mapped view of a cache's shards, or an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, item: Any) -> NDArray[np.uint8]: ...


class Part(NamedTuple):
    """One cache or folder, on the host. In a cache built ``--per reading`` several ids share an image."""

    ids: list[str]
    image_ids: list[str]
    squares: SquareArray
    frames: NDArray[np.float64]
    gaussians: list[NDArray[np.float64]]
    confidence: NDArray[np.float64]
    """In [0, 1]: how far each image's gaze can be trusted; 1 where there is none to trust."""
    measured: NDArray[np.bool_]
    """Whose gaze a person's tracker measured, rather than a model predicted; False where there is none."""
    facts: dict[str, Any]
    failures: list[tuple[str, str, str]]


def open_training_cache(path: Path, *, trusting: bool) -> Part:
    """The rows of a cache, its images left in their files.

    Parameters
    ----------
    path : the cache
    trusting : take predicted gaze for measured, whatever confidence its row states

    Raises
    ------
    DataError
        An empty cache, or predicted gaze without a confidence from 0 to 1.
    gazekit.errors.CacheError
        No cache, of another format version, or damaged.
    """
    cache = open_cache(path)
    if not len(cache):
        raise DataError(f"the cache {path.name} holds no image")
    gaussians = np.split(np.asarray(cache.all_fixations)[:, :9], cache.offsets[1:-1])
    kinds = cache.gaze_kinds
    predicted, measured = (np.array([kind == wanted for kind in kinds]) for wanted in ("predicted", "measured"))
    confidence = np.ones(len(cache))
    if not trusting:
        confidence[predicted] = [_confidence(cache, row) for row in np.flatnonzero(predicted)]
    facts = {
        "kind": "cache",
        "name": path.name,
        "fingerprint": cache.fingerprint,
        "images": len(cache),
        "image_size": cache.image_size,
        "with_gaze": sum(len(rows) > 0 for rows in gaussians),
        "predicted": int(predicted.sum()),
        "simulated": cache.simulated_gaze,
        "confidence": float(confidence[predicted].mean()) if predicted.any() else None,
        "predicted_from": cache.header.get("inputs", {}).get("source"),
    }
    image_ids = [str(row["image_id"]) for row in cache.rows]
    return Part(list(cache.ids), image_ids, cache.images, cache.frames, gaussians, confidence, measured, facts, [])


def read_training_folder(root: Path, size: int) -> Part:
    """All PNG and JPEG files below a folder, decoded once."""
    if not root.is_dir():
        came = "it is a file" if root.exists() else "it does not exist"
        raise DataError(f"{root}: expected a cache or a folder of images, but {came}")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise DataError(
            f"{root}: neither a cache (no cache.json) nor a folder of PNG or JPEG images; "
            "make a cache of DICOM files with: gazekit build-heatmaps DIR CACHE --dataset images --images DIR"
        )
    names = [path.relative_to(root).as_posix() for path in files]
    batches = list(read_square_batches(files, size, threads=os.cpu_count() or 1))
    failures = [(names[place], error.reason, str(error)) for batch in batches for place, error in batch.failures]
    read = [names[place] for batch in batches for place in batch.index]
    if not read:
        raise DataError(f"{root}: none of its {len(files)} images can be read; the first: {failures[0][2]}")
    listing = "".join(f"{name}\0{path.stat().st_size}\0" for name, path in zip(names, files, strict=True))
    facts = {
        "kind": "folder",
        "name": root.name,
        "fingerprint": hashlib.sha256(listing.encode()).hexdigest(),
        "images": len(read),
        "image_size": size,
        "with_gaze": 0,
        "predicted": 0,
        "simulated": False,
        "confidence": None,
        "predicted_from": None,
    }
    squares = np.concatenate([batch.squares for batch in batches])
    frames = np.concatenate([batch.frames for batch in batches])
    none, n = np.zeros((0, 9)), len(read)
    return Part(read, read, squares, frames, [none] * n, np.ones(n), np.zeros(n, bool), facts, failures)


def _confidence(cache: PriorCache, row: int) -> float:
    """What a row says of its predicted gaze."""
    value = cache.rows[row].get("confidence")
    if value is None or not 0 <= value <= 1:
        raise DataError(
            f"{cache.path.name}, row {cache.ids[row]}: predicted gaze with a confidence of {value}, expected a number "
            "from 0 to 1; write the cache anew with vpmim gaze predict, or set prior.confidence=ignore"
        )
    return float(value)
