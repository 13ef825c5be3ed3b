"""Reconstruction loss: errors of cells, weighted by gaze, summed over the scales of the pyramid.

Everything here is float32, whatever precision the network runs in. One division by the sum of the weights a scale, so
that weights decide where the error counts and not how much there is of it.

Legend of shape suffixes: B batch, N cells of one scale, C target channels, L patches, K visible patches.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from vpmim.pooling import pool_mean
from vpmim.settings import LossConfig

REF_TEMPERATURE = 0.1
"""Temperature of the predecessor's softmax (method.md d, `ref`)."""

MIN_VISIBLE = 1e-8
"""Gaze mass on the visible patches below which there is no distribution to predict."""

_TINY = torch.finfo(torch.float32).tiny


def cell_errors(prediction_BNC: Tensor, target_BNC: Tensor, *, norm: str) -> Tensor:
    """Mean over channels of the squared (``l2``) or absolute (``l1``) error: (B, N) float32."""
    difference = prediction_BNC.float() - target_BNC
    return (difference.square() if norm == "l2" else difference.abs()).mean(dim=-1)


def carry_mask(mask_BL: Tensor, *, grid: tuple[int, int], scale: float) -> Tensor:
    """The mask of the patches on the grid of a scale.

    Parameters
    ----------
    mask_BL : (B, L) bool, True = hidden
    grid : (rows, cols) of patches
    scale : 4, 2 or 1 replicate a patch's value to its cells; 0.5 takes the mean over a cell's patches

    Returns
    -------
    (B, N) float32 in [0, 1]
    """
    mask = mask_BL.float().unflatten(1, grid)
    if scale < 1:
        return pool_mean(mask, round(1 / scale)).flatten(1)
    times = round(scale)
    return mask.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2).flatten(1)


def cell_weights(mask_BN: Tensor, gaze_BN: Tensor, lambda_B: Tensor, *, config: LossConfig) -> Tensor:
    """Weight of each cell's error at one scale (method.md d).

    Parameters
    ----------
    mask_BN : (B, N) float32, M, hidden share of each cell
    gaze_BN : (B, N) float32, G, gaze on each cell relative to the largest of them, hidden or not
    lambda_B : (B,) float32, strength of the gaze term; 0 for a sample without gaze, whose weights are then M exactly
    config : LossConfig

    Returns
    -------
    (B, N) float32, w
        ``none``: M. ``ref``: M + lambda softmax(M G / 0.1), the softmax over all cells. ``mass``: M + lambda N q, with
        q = M exp(G / T) / sum M exp(G / T) and N = sum M, clipped and rescaled once to the sum (1 + lambda) N. All zero
        for a sample of which nothing is hidden at this scale.
    """
    if config.gaze_weighting == "none":
        return mask_BN
    lambda_B1 = lambda_B[:, None]
    hidden_B1 = mask_BN.sum(dim=1, keepdim=True)
    if config.gaze_weighting == "ref":
        attention = torch.softmax(mask_BN * gaze_BN / REF_TEMPERATURE, dim=1)
        return torch.where(hidden_B1 > 0, mask_BN + lambda_B1 * attention, 0.0)
    # the largest hidden value is taken off, so that the hidden cells' exponentials neither overflow nor all vanish
    largest_B1 = torch.where(mask_BN > 0, gaze_BN, 0.0).amax(dim=1, keepdim=True)
    attention = mask_BN * torch.exp((gaze_BN - largest_B1).clamp(max=0.0) / config.temperature)
    share = attention / attention.sum(dim=1, keepdim=True).clamp(min=_TINY)
    weights = mask_BN + lambda_B1 * hidden_B1 * share
    clipped = weights.clamp(max=config.clip)
    return clipped * (weights.sum(dim=1, keepdim=True) / clipped.sum(dim=1, keepdim=True).clamp(min=_TINY))


def weighted_mean(errors_BN: Tensor, weights_BN: Tensor, *, normalise: str) -> Tensor:
    """The loss of one scale.

    Parameters
    ----------
    errors_BN, weights_BN : (B, N) float32
    normalise : ``sample``: the ratio sum w e / sum w of each sample, then the mean over the batch; ``batch``: one
        ratio, of the batch of all the processes that train together

    Returns
    -------
    scalar tensor
        A sample (or a batch) of which nothing is hidden contributes 0.
    """
    error, weight = (weights_BN * errors_BN).sum(dim=1), weights_BN.sum(dim=1)
    if normalise == "batch":
        return error.sum() / mean_over_processes(weight.sum()).clamp(min=_TINY)
    return (error / weight.clamp(min=_TINY)).mean()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a value without gradient over the processes that train together; alone, the value itself.

    DDP takes the mean of the processes' gradients. A process that divides its sum of errors by the mean of all sums of
    weights makes that mean the ratio over the whole batch.
    """
    if not dist.is_initialized():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def ranking_loss(difficulty_BL: Tensor, errors_BL: Tensor, mask_BL: Tensor) -> Tensor:
    """How badly the predicted order of the hidden patches' errors agrees with the true one (HPM, Wang et al. 2023).

    Parameters
    ----------
    difficulty_BL : (B, L), predicted
    errors_BL : (B, L) float32, the errors of scale 1; no gradient goes through them
    mask_BL : (B, L) bool, True = hidden

    Returns
    -------
    scalar tensor
        Mean of ``-log sigmoid(p_i - p_j)`` over the pairs of hidden patches of one image with error i > error j; the
        paper counts each such pair in both directions, which is the same mean. 0 without any.
    """
    errors_BL, difficulty_BL = errors_BL.detach(), difficulty_BL.float()
    both_BLL = mask_BL[:, :, None] & mask_BL[:, None, :]
    harder_BLL = (both_BLL & (errors_BL[:, :, None] > errors_BL[:, None, :])).float()
    disagreement_BLL = F.softplus(difficulty_BL[:, None, :] - difficulty_BL[:, :, None])
    return (harder_BLL * disagreement_BLL).sum() / harder_BLL.sum().clamp(min=1)


def gaze_prediction_loss(logits_BK: Tensor, mass_BL: Tensor, ids_keep_BK: Tensor, confidence_B: Tensor) -> Tensor:
    """Cross-entropy between the gaze on the visible patches and the gaze head's distribution (method.md e, g).

    Parameters
    ----------
    logits_BK : (B, K), the head's output for the visible patches
    mass_BL : (B, L) float32, gaze mass of every patch
    ids_keep_BK : (B, K) int64
    confidence_B : (B,), how far each sample's gaze can be trusted: 1 measured, 0 none

    Returns
    -------
    scalar tensor
        Sum of each sample's confidence times its cross-entropy, over the number of samples and not of confidences: what
        a sample teaches does not depend on the company it is in, and gaze of little confidence teaches little. A sample
        without gaze, or with none on its visible patches, contributes 0.
    """
    visible = mass_BL.gather(1, ids_keep_BK)
    total_B1 = visible.sum(dim=1, keepdim=True)
    counts_B1 = (confidence_B[:, None] > 0) & (total_B1 > MIN_VISIBLE)
    prior = torch.where(counts_B1, visible / total_B1.clamp(min=MIN_VISIBLE), 0.0)
    entropy_B = -(prior * F.log_softmax(logits_BK.float(), dim=1)).sum(dim=1)
    return (confidence_B * entropy_B).mean()
