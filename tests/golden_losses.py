"""Twenty steps of each method at a tiny size: the loss curves that ``tests/golden/losses.json`` guards.

``python tests/golden_losses.py`` writes the file anew, after a change that is meant to change the losses.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from synthetic import TINY, write_cache

from vpmim.config import Config, load_config
from vpmim.train import train

GOLDEN = Path(__file__).parent / "golden" / "losses.json"
METHODS = (
    "vp_mim",
    "vp_mim_joint",
    "paper/vp_mim",
    "cxr_mim",
    "localmim",
    "mae",
    "medical_mae",
    "simmim",
    "attmask",
    "hpm",
)


def quick_config(method: str, *overrides: str) -> Config:
    """A method at a tiny size, its decoder too where it is MAE's."""
    deep = load_config(method).decoder.depth > 2
    return load_config(method, [*TINY, *(["decoder.depth=2"] if deep else []), *overrides])


def curve(method: str, folder: Path) -> list[float]:
    """Loss of each of the first twenty steps of a method on twelve synthetic images, three without gaze."""
    cache = folder / "cache"
    if not cache.exists():
        write_cache(cache, images=12, without_gaze=3)
    train([cache], folder / method, quick_config(method, "train.max_steps=20"), device="cpu")
    lines = (folder / method / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def main() -> None:
    """Write the golden file."""
    with TemporaryDirectory() as folder:
        curves = {method: curve(method, Path(folder)) for method in METHODS}
    GOLDEN.write_text(json.dumps(curves, indent=1) + "\n")


if __name__ == "__main__":
    main()
