"""The pictures of the planted-lesion benchmark, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from scaling import MEASURED, NONE, PREDICTED, SIZES

COLOURS = {NONE: "#777777", MEASURED: "#0072b2", PREDICTED: "#d55e00"}
"""Okabe and Ito's, which the colour-blind tell apart."""

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "vpmim", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def arms_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Mean AUC of each arm with its interval, best on top."""
    ordered = sorted(rows, key=lambda row: row["auc"])
    figure, axes = plt.subplots(figsize=(6, 0.4 * len(rows) + 0.9), layout="constrained")
    for place, row in enumerate(ordered):
        axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=COLOURS[MEASURED], linewidth=2)
        axes.plot([100 * row["auc"]], [place], "o", color=COLOURS[MEASURED])
    axes.set_yticks(range(len(ordered)), [row["arm"] for row in ordered])
    axes.axvline(50, color="#777777", linestyle=":", linewidth=1)
    axes.set_xlabel("AUC of a linear probe, 95 %; simulated gaze")
    _save(figure, path)


def scaling_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """AUC over the number of images, a line for each kind of gaze."""
    found = {row["arm"]: row for row in rows}
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for kind, colour in COLOURS.items():
        shares = [share for share in sorted(SIZES) if f"{share} % of the images, {kind}" in found]
        line = [found[f"{share} % of the images, {kind}"] for share in shares]
        around = [[100 * (row["auc"] - row["low"]) for row in line], [100 * (row["high"] - row["auc"]) for row in line]]
        axes.errorbar(
            shares, [100 * row["auc"] for row in line], around, color=colour, marker="o", capsize=3, label=kind
        )
    axes.set_xscale("log")
    axes.set_xticks(sorted(SIZES), [str(share) for share in sorted(SIZES)])
    axes.minorticks_off()
    axes.set_xlabel("per cent of the training images; a tenth of all has (simulated) gaze")
    axes.set_ylabel("AUC of a linear probe (95 %)")
    axes.legend(title="gaze", frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    plt.close(figure)
