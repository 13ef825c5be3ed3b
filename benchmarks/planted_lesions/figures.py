"""The picture of the scaling curve, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence import BLUE, GREY, ORANGE, save
from matplotlib import pyplot as plt
from scaling import MEASURED, MEASURED_HALF, NONE, PREDICTED, PREDICTED_HALF, SIZES

LINES = {
    NONE: ("none", GREY, "-"),
    MEASURED: ("measured", BLUE, "-"),
    MEASURED_HALF: ("measured, drawn half of the time", BLUE, "--"),
    PREDICTED: ("measured, others predicted", ORANGE, "-"),
    PREDICTED_HALF: ("measured, drawn half of the time, others predicted", ORANGE, "--"),
}
"""Kind of gaze -> what it is called, colour, style."""


def scaling_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """AUC over the number of images, a line for each kind of gaze."""
    found = {row["arm"]: row for row in rows}
    figure, axes = plt.subplots(figsize=(6.4, 5), layout="constrained")
    for place, (kind, (name, colour, style)) in enumerate(LINES.items()):
        shares = [share for share in sorted(SIZES) if f"{share} % of the images, {kind}" in found]
        line = [found[f"{share} % of the images, {kind}"] for share in shares]
        around = [[100 * (row["auc"] - row["low"]) for row in line], [100 * (row["high"] - row["auc"]) for row in line]]
        middle = [100 * row["auc"] for row in line]
        beside = [share * 1.02 ** (place - 2) for share in shares]  # so that no interval hides another
        axes.errorbar(beside, middle, around, color=colour, linestyle=style, marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks(sorted(SIZES), [str(share) for share in sorted(SIZES)])
    axes.minorticks_off()
    axes.set_xlabel("per cent of the training images; a tenth of all has (simulated) gaze")
    axes.set_ylabel("AUC of a linear probe (95 %)")
    axes.legend(
        title="gaze", frameon=False, fontsize="small", handlelength=3.5, loc="upper left", bbox_to_anchor=(0, -0.2)
    )
    save(figure, path)
