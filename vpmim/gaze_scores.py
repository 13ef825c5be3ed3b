"""How well predicted gaze agrees with measured gaze, at patch resolution: NSS, CC, KL and information gain.

Definitions as in `gazekit.metrics` (Bylinskii et al. 2019; information gain: Kuemmerer et al. 2015), over the patches
that hold image. A fixation counts once, at the patch that its centre falls into.

Legend of shape suffixes: N images, V patches of one image that hold image, F its fixations on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vpmim.statistics import bootstrap_p, draw_patients, interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

EPS = float(np.finfo(np.float64).eps)
"""Keeps KL and information gain finite where a density is zero."""

SCORES = ("nss", "cc", "kl", "ig")


def patch_scores(predicted_V: Floats, measured_V: Floats, baseline_V: Floats, fixated_F: Ints) -> dict[str, float]:
    """Scores of one image's predicted distribution.

    Parameters
    ----------
    predicted_V, measured_V, baseline_V : (V,) float64, each of sum 1
        What a model expects, where the gaze was, and where it is without looking at the image (the mean map).
    fixated_F : (F,) int64
        Patch of each fixation, at least one.

    Returns
    -------
    dict
        ``nss``: mean z-score at the fixations, population's standard deviation; ``cc``: Pearson's correlation with the
        measured distribution; ``kl``: divergence from it, nats, the smaller the better; ``ig``: bits a fixation over
        the baseline. NSS and CC of a constant map are 0, which is their value of chance.
    """
    centred, spread = predicted_V - predicted_V.mean(), predicted_V.std()
    varies = spread > EPS * predicted_V.max()
    both = spread * measured_V.std()
    return {
        "nss": float(centred[fixated_F].mean() / spread) if varies else 0.0,
        "cc": float((centred * (measured_V - measured_V.mean())).mean() / both) if varies and both > 0 else 0.0,
        "kl": float((measured_V * np.log(EPS + measured_V / (predicted_V + EPS))).sum()),
        "ig": float((np.log2(EPS + predicted_V[fixated_F]) - np.log2(EPS + baseline_V[fixated_F])).mean()),
    }


def compare_scores(
    systems: Mapping[str, Sequence[Mapping[str, float]]], patients: Sequence[str], *, draws: int
) -> dict[str, Any]:
    """Means over images with 95 % intervals by bootstrap over patients, and the paired difference of two systems.

    Parameters
    ----------
    systems : two of them, name -> scores of each of the N images
    patients : N
    draws : bootstrap draws

    Returns
    -------
    dict
        ``systems``: name -> score -> value, low, high; ``difference``: the same of the first minus the second, with
        ``p_bootstrap``.
    """
    drawn = draw_patients(patients, draws=draws)
    count_NR = drawn.counts_PR[drawn.patient_N].astype(np.float64)
    total_R = count_NR.sum(axis=0)

    def figure(value_N: Floats) -> tuple[dict[str, float], Floats]:
        means_R = value_N @ count_NR / total_R
        bounds = interval(means_R)
        return {"value": float(value_N.mean()), "low": bounds.low, "high": bounds.high}, means_R

    tables = {
        name: {score: np.array([image[score] for image in images]) for score in SCORES}
        for name, images in systems.items()
    }
    first, second = tables.values()
    differences = {score: figure(first[score] - second[score]) for score in SCORES}
    return {
        "systems": {
            name: {score: figure(value_N)[0] for score, value_N in table.items()} for name, table in tables.items()
        },
        "difference": {
            score: shown | {"p_bootstrap": bootstrap_p(means_R)} for score, (shown, means_R) in differences.items()
        },
        "bootstrap": {"draws": draws, "unit": "patient", "patients": len(drawn.counts_PR)},
    }
