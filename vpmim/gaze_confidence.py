"""How far predicted gaze can be trusted: what it claims to know, known without the gaze of the image itself.

A network fitted with the cross-entropy predicts a distribution whose own uncertainty is what it expects to be wrong by.
So its information over the even distribution is what it claims to gain over it, and that, as a share of what measured
maps hold, is its confidence: 1 for a map as sharp as a reader's, 0 for one that says nothing. Only the gaze that the
network was fitted on goes into it. A network can claim too much (it does when it overfits): what came true out of fold
is recorded beside what was promised, and is not fed back.

Legend of shape suffixes: N and B images, L patches, V those of one image that hold image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vpmim.gaze_scores import EPS

CONFIDENCE = (
    "information of the predicted distribution over an even one, as a share of what the measured maps of the fit hold "
    "on average, at most 1: how much of what a reader would tell the prediction claims to tell"
)


def information(share_BL: Tensor, valid_BL: Tensor) -> Tensor:
    """How much more distributions say than the even one: log V - entropy over their V valid patches, (B,) nats.

    It is the divergence from the even distribution: 0 where all patches are as likely, log V on a single one; and what
    a distribution is expected to gain over the even one if it is right about its own uncertainty.
    """
    return valid_BL.sum(dim=1).double().log() - torch.special.entr(share_BL).sum(dim=1)


def confidence_of(gain: float, measured_gain: float) -> float:
    """`CONFIDENCE` of a prediction of that `information`, in [0, 1].

    The share of explained information of Kuemmerer et al. (PNAS 2015), with the gain that a prediction claims in place
    of the one that only its image's own gaze could tell.
    """
    return min(max(gain, 0.0) / max(measured_gain, EPS), 1.0)


def confidence_facts(
    systems: Mapping[str, Tensor], target_NL: Tensor, valid_NL: Tensor, measured_gain_N: Sequence[float]
) -> dict[str, Any]:
    """What the confidence of out-of-fold predictions promised, and what came true.

    Parameters
    ----------
    systems : name -> (N, L) predicted distributions
    target_NL : (N, L) measured ones
    valid_NL : (N, L) bool, the patches that hold image
    measured_gain_N : N, of the network of each image's fold

    Returns
    -------
    dict
        Of each system: ``mean`` of the confidence; ``came_true``, the gain over the even distribution that predictions
        really have, as a share of what the measured maps hold; ``correlation`` of an image's confidence with its own
        gain, None where either is constant.
    """
    measured_N = information(target_NL, valid_NL)
    found: dict[str, Any] = {"is": CONFIDENCE}
    for name, share_NL in systems.items():
        gains = information(share_NL, valid_NL).tolist()
        claimed = np.array([confidence_of(*pair) for pair in zip(gains, measured_gain_N, strict=True)])
        log_ratio_NL = torch.where(target_NL > 0, (target_NL / share_NL.clamp(min=EPS)).log(), 0.0)
        gained_N = (measured_N - (target_NL * log_ratio_NL).sum(dim=1)).numpy()
        varies = len(gained_N) > 1 and np.std(gained_N) > 0 and np.std(claimed) > 0
        found[name] = {
            "mean": float(claimed.mean()),
            "came_true": float(gained_N.mean() / max(float(measured_N.mean()), EPS)),
            "correlation": float(np.corrcoef(claimed, gained_N)[0, 1]) if varies else None,
        }
    return found
