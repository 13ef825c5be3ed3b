"""A small cache built in this process, and what lies in its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from memory_source import Spec, make_source, write_images

from gazekit.build import BuildSummary, build_heatmaps

SMALL: dict[str, Any] = {"image_size": 32, "grid": (4, 4), "heatmap_size": 16, "shard_size": 4}


def build(specs: list[Spec], base: Path, name: str = "cache", **options: Any) -> BuildSummary:
    """Build a small cache of `specs` in this process under `base`."""
    images = base / "images"
    if not images.exists():
        write_images(images, specs)
    source = make_source(specs, **({"digest": options.pop("digest")} if "digest" in options else {}))
    return build_heatmaps(source, images, base / name, **SMALL | {"executor": "serial"} | options)


def tree(root: Path, under: str = "shards") -> dict[str, str]:
    """File to SHA-256 of everything under ``root/under``."""
    files = (f for f in (root / under).rglob("*") if f.is_file())
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def names(directory: Path) -> list[str]:
    """Names in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def leftovers(root: Path) -> list[str]:
    """Temporaries and locks."""
    return [f.relative_to(root).as_posix() for f in root.rglob(".*")]
