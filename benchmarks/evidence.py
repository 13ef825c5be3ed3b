"""What the benchmarks of docs/evidence.md share: options, sizes, the index of X-rays, the random encoder, pictures."""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from vpmim.encoder import build_encoder
from vpmim.export import write_encoder
from vpmim.features import random_encoder
from vpmim.images import stored_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vpmim.settings import Config

INPUT = 64
"""Side of the square that encoders see, pixels."""

CACHE: dict[str, Any] = {
    "image_size": stored_size(INPUT),
    "grid": (8, 8),
    "heatmap_size": 0,
    "keep_no_gaze": True,
}
"""How caches are built."""

INTERRUPTED = 3
"""Exit code of a benchmark that was stopped; the same command goes on."""

HELD_FIXED = "Intervals and p are over patients of the test images; the seeds are held fixed."
"""To be said under a table."""

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"
"""Okabe and Ito's, which the colour-blind tell apart."""

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "vpmim", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def data_options(description: str | None) -> argparse.ArgumentParser:
    """The options of a make_data.py, to which it adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=None, help="only so many images, evenly from the index")
    return parser


def run_options(description: str | None) -> argparse.ArgumentParser:
    """The options of a run.py, to which it adds its own."""
    parser = data_options(description)
    parser.add_argument("--size", choices=("cpu", "gpu"), default="cpu", help="a file of benchmarks/sizes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every arm")
    parser.add_argument("--seeds", type=int, default=3, help="only so many of a grid's seeds")
    parser.add_argument("--devices", default="auto", help="one process each; a device may be named several times")
    return parser


def overrides(arguments: argparse.Namespace) -> list[str]:
    """The settings of every arm: those of ``--size``, then those of ``--set``."""
    file = Path(__file__).with_name("sizes") / f"{arguments.size}.toml"
    return [*tomllib.loads(file.read_text())["set"], *arguments.set]


def make_data(folder: Path, arguments: argparse.Namespace, *more: str) -> None:
    """Run the make_data.py of a benchmark's folder on the same index."""
    limit = [] if arguments.limit is None else ["--limit", str(arguments.limit)]
    command = [sys.executable, folder / "make_data.py", arguments.index, arguments.out, *limit, *more]
    subprocess.run(command, check=True)


def read_index(index: Path, limit: int | None) -> tuple[list[dict[str, str]], Path]:
    """Rows of an index of X-rays, and the folder that their ``path`` is relative to: its own, or the one above."""
    with index.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if limit is not None:
        rows = [rows[k] for k in np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    beside = (index.parent / rows[0]["path"]).exists()
    return rows, index.parent if beside else index.parent.parent


def random_weights(config: Config, folder: Path) -> Path:
    """A folder with an encoder of these sizes that has learned nothing, made where it is not there."""
    if not (folder / "config.json").exists():
        write_encoder(random_encoder(build_encoder(config).spec, 0), folder)
    return folder


def intervals_figure(rows: Sequence[Mapping[str, Any]], path: Path, *, label: str, line: float, colour: str) -> None:
    """AUC of each row of a table with its interval, the first row at the bottom, and a line across.

    Parameters
    ----------
    rows : of `vpmim.ablate.table`
    path : of the SVG
    label : under the axis
    line : an AUC that the others are seen against
    colour : of the line
    """
    figure, axes = plt.subplots(figsize=(6, 0.4 * len(rows) + 0.9), layout="constrained")
    for place, row in enumerate(rows):
        axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=BLUE, linewidth=2)
        axes.plot([100 * row["auc"]], [place], "o", color=BLUE)
    axes.set_yticks(range(len(rows)), [row["arm"] for row in rows])
    axes.axvline(100 * line, color=colour, linestyle="--", linewidth=1)
    axes.set_xlabel(label)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """As an SVG whose bytes depend on what is drawn alone; on white, since pages may be dark."""
    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    plt.close(figure)
