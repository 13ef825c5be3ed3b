"""The picture of the scaling curve, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence import BLUE, GREY, ORANGE, save
from matplotlib import pyplot as plt
from scaling import MEASURED, MEASURED_HALF, NONE, PREDICTED, PREDICTED_HALF, SIZES

LINES = {
    NONE: (GREY, "-"),
    MEASURED: (BLUE, "-"),
    PREDICTED: (ORANGE, "-"),
    MEASURED_HALF: (BLUE, "--"),
    PREDICTED_HALF: (ORANGE, "--"),
}


def scaling_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """AUC over the number of images, a line for each kind of gaze."""
    found = {row["arm"]: row for row in rows}
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for kind, (colour, style) in LINES.items():
        shares = [share for share in sorted(SIZES) if f"{share} % of the images, {kind}" in found]
        line = [found[f"{share} % of the images, {kind}"] for share in shares]
        around = [[100 * (row["auc"] - row["low"]) for row in line], [100 * (row["high"] - row["auc"]) for row in line]]
        middle = [100 * row["auc"] for row in line]
        axes.errorbar(shares, middle, around, color=colour, linestyle=style, marker="o", capsize=3, label=kind)
    axes.set_xscale("log")
    axes.set_xticks(sorted(SIZES), [str(share) for share in sorted(SIZES)])
    axes.minorticks_off()
    axes.set_xlabel("per cent of the training images; a tenth of all has (simulated) gaze")
    axes.set_ylabel("AUC of a linear probe (95 %)")
    axes.legend(title="gaze", frameon=False, fontsize="small")
    save(figure, path)
