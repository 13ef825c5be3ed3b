"""Small invented training data: grey squares with a bright blob that a reader looked at, as a cache or as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gazekit.shards import (
    FAILURES_FILE,
    FORMAT,
    FORMAT_VERSION,
    HEADER_FILE,
    MANIFEST_FILE,
    SHARD_FILE,
    SHARDS,
    Row,
    array_specs,
    sha256_file,
    shard_name,
    write_shard,
)
from gazekit.verify import seal

TINY = (
    "model.encoder=vit_tiny_patch16_224",
    "model.init=scratch",
    "model.depth=4",
    "model.width=48",
    "data.input_size=64",
    "decoder.width=32",
    "decoder.heads=2",
    "train.batch_size=4",
    "train.lr=1e-3",
)
"""Overrides that make any method small enough for a test: 16 patches, four blocks of 48 channels."""


def squares(n: int, *, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, size, size) uint8 with texture and one blob each, and the blobs' centres (n, 2) in pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size]
    centres = rng.uniform(0.2 * size, 0.8 * size, (n, 2))
    waves = rng.uniform(0.05, 0.4, (n, 2))
    texture = 0.3 + 0.1 * np.sin(waves[:, 0, None, None] * x + waves[:, 1, None, None] * y)
    distance = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    grey = texture + 0.5 * np.exp(-0.5 * distance / (0.07 * size) ** 2)
    return np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8), centres


def fixations_at(centre: np.ndarray, *, size: int, count: int, seed: int) -> np.ndarray:
    """(count, 12) fixations of one reading around a point of a size x size image."""
    rng = np.random.default_rng(seed)
    table = np.zeros((count, 12))
    table[:, 0:2] = centre + rng.normal(0, 0.03 * size, (count, 2))
    table[:, 2:4] = 0.06 * size
    table[:, 4] = rng.uniform(0.2, 0.6, count)
    table[:, 7:9] = size
    table[:, 10] = np.arange(count)
    table[:, 11] = table[:, 10] + table[:, 4]
    return table


def write_cache(
    path: Path,
    *,
    images: int = 12,
    without_gaze: int = 0,
    size: int = 64,
    seed: int = 0,
    shard_size: int = 8,
    images_a_patient: int = 0,
) -> Path:
    """A finished cache of `images` square images, the last `without_gaze` of which nobody looked at.

    Row i has 3 + i % 3 fixations; ids begin with 99. Without `images_a_patient` nobody knows whose the images are.
    """
    pixels, centres = squares(images, size=size, seed=seed)
    specs = array_specs(size, (4, 4), 0)
    fingerprint = f"synthetic-{images}-{without_gaze}-{size}-{seed}"
    (path / SHARDS).mkdir(parents=True)
    shards = []
    for k, start in enumerate(range(0, images, shard_size)):
        rows = []
        for i in range(start, min(start + shard_size, images)):
            count = 0 if i >= images - without_gaze else 3 + i % 3
            arrays = {
                "image": pixels[i],
                "frame": np.array([1.0, 1.0, 0.0, 0.0, size, size]),
                "relevance": np.zeros((4, 4), np.float32),
            }
            info = {
                "id": f"99{seed:02d}{i:04d}",
                "image_id": f"99{seed:02d}{i:04d}",
                "reading_ids": [],
                "status": "ok",
                "reason": None,
                "patient_id": f"99p{i // images_a_patient:03d}" if images_a_patient else None,
                "split": None,
                "view": None,
                "dwell_s": 0.0,
                "off_image_share": None,
                "heatmap_factor": None,
                "image": {"flags": []},
                "image_bytes": -1,
                "counts": {},
                "warnings": [],
                "n_readings": int(count > 0),
                "n_fixations": count,
                "failures": [],
            }
            rows.append(Row(info, arrays, fixations_at(centres[i], size=size, count=count, seed=i)))
        content = write_shard(path / SHARDS / shard_name(k), rows, specs=specs, fingerprint=fingerprint)
        counts = content["counts"]
        sha256 = sha256_file(path / SHARDS / shard_name(k) / SHARD_FILE)
        shards.append(
            {"name": shard_name(k), "rows": counts["rows"], "fixations": counts["fixations"], "sha256": sha256}
        )
    for name in (MANIFEST_FILE, FAILURES_FILE):
        (path / name).touch()
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "complete": True,
        "parameters": {"dataset": "synthetic", "image_size": size, "grid": [4, 4], "heatmap_size": 0},
        "shards": shards,
        "files": {name: {"sha256": sha256_file(path / name)} for name in (MANIFEST_FILE, FAILURES_FILE)},
    }
    (path / HEADER_FILE).write_bytes(seal(header))
    return path


def write_folder(path: Path, *, images: int = 6, size: int = 64, seed: int = 0) -> Path:
    """A folder of PNG files."""
    from PIL import Image

    path.mkdir(parents=True)
    for i, pixels in enumerate(squares(images, size=size, seed=seed)[0]):
        Image.fromarray(pixels).save(path / f"99{i:04d}.png")
    return path
