"""Which patches are hidden: one selector, with exact counts, for every masking strategy.

Planning is apart from selecting: a strategy of `STRATEGIES` makes a score a patch (random numbers, a predicted loss, an
attention), a group a patch and a quota a group, and `select` hides, in each group, as many patches as its quota says,
those with the highest scores. Shapes are fixed and nothing is read back from the device.

Shape suffixes: B images, L patches in row-major order, K visible patches, G groups, N blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vpmim.settings import MaskConfig


class Cues(NamedTuple):
    """What a strategy may go by."""

    draws_BL: Tensor
    """(B, L) uniform in [0, 1)."""
    relevant_BL: Tensor
    """(B, L) bool: diagnostically relevant patches."""
    mass_BL: Tensor
    """(B, L): gaze on each patch."""
    attention_BL: Tensor | None
    """(B, L): the teacher's attention to each patch."""
    difficulty_BL: Tensor | None
    """(B, L): the loss that the teacher predicts for each patch."""
    grid: tuple[int, int]
    patch: int
    """Pixels a patch side."""
    hidden: int
    """Patches to hide in all, m."""
    ratio: float
    kappa: float | Tensor
    hard: float | Tensor
    """`mask.ratio`, `mask.kappa` and `mask.hard` at this point of their schedules; kappa of each image, (B,), where its
    gaze is trusted more or less."""


class Plan(NamedTuple):
    """What `select` needs to know."""

    score_BL: Tensor
    """(B, L): the patches of a group are hidden in descending order."""
    group_BL: Tensor
    """(B, L) integer, in 0..G-1."""
    quota_BG: Tensor
    """(B, G) integer: patches to hide of each group; every row sums to m."""


class Selection(NamedTuple):
    """What is hidden, in the three forms a masked autoencoder asks for."""

    ids_keep_BK: Tensor
    """(B, K) int64: the visible patches, ascending."""
    ids_restore_BL: Tensor
    """(B, L) int64: place of each patch in the list [visible patches, hidden patches]."""
    mask_BL: Tensor
    """(B, L) bool, True = hidden."""


def hidden_count(patches: int, ratio: float) -> int:
    """Number of patches hidden at a mask ratio: all but ``int(patches * (1 - ratio))``, as MAE counts.

    Raises
    ------
    ValueError
        No patch would be visible, or none hidden.
    """
    keep = int(patches * (1 - ratio))
    if not 0 < keep < patches:
        raise ValueError(
            f"mask.ratio = {ratio:g} leaves {keep} of {patches} patches visible; "
            "at least one must be visible and one hidden: change mask.ratio, or take more patches"
        )
    return patches - keep


def region_quota(relevant_BL: Tensor, kappa: float | Tensor, hidden: int) -> Tensor:
    """How many patches to hide among the others and among the relevant ones.

    Parameters
    ----------
    relevant_BL : (B, L) bool
    kappa : float, or float64 tensor that broadcasts to (B,)
        Share of the relevant patches to hide, in [0, 1].
    hidden : int
        Patches to hide in all, m.

    Returns
    -------
    (B, 2) int64
        Column g is the quota of group g: 0 the others, 1 the relevant ones. Sums to m in every row, whatever the
        number of relevant patches: where one group is too small for its share the other makes up for it (method.md b).
    """
    patches = relevant_BL.shape[1]
    relevant_B = relevant_BL.sum(dim=1)
    # float64, where 0.29 * 100 is what it is in Python too
    wanted_B = torch.floor(relevant_B.double() * kappa).long().clamp(max=hidden)
    others_B = torch.minimum(hidden - wanted_B, patches - relevant_B)
    return torch.stack([others_B, hidden - others_B], dim=1)


def select(score_BL: Tensor, group_BL: Tensor, quota_BG: Tensor, *, keep: int) -> Selection:
    """Hide the patches with the highest scores of each group.

    Parameters
    ----------
    score_BL : (B, L)
        Of equal scores, the earlier patch counts as higher.
    group_BL : (B, L) integer or bool, each in 0..G-1
    quota_BG : (B, G) integer
        Patches to hide of each group; rows sum to L - keep, and no quota exceeds its group.
    keep : int
        Patches left visible in every image.

    Returns
    -------
    Selection
        Always exactly `keep` visible patches, because shapes depend on it.
    """
    order_BL = score_BL.argsort(dim=1, descending=True, stable=True)
    sorted_group_BL = group_BL.gather(1, order_BL)
    hidden_BL = torch.zeros_like(order_BL, dtype=torch.bool)
    for group in range(quota_BG.shape[1]):
        member_BL = sorted_group_BL == group
        hidden_BL = hidden_BL | (member_BL & (member_BL.cumsum(dim=1) <= quota_BG[:, group, None]))
    hidden_BL = torch.zeros_like(hidden_BL).scatter(1, order_BL, hidden_BL)

    place_visible_BL = (~hidden_BL).cumsum(dim=1) - 1
    place_hidden_BL = keep + hidden_BL.cumsum(dim=1) - 1
    ids_restore_BL = torch.where(hidden_BL, place_hidden_BL, place_visible_BL)
    patch_BL = torch.arange(score_BL.shape[1], device=score_BL.device).expand_as(ids_restore_BL)
    ids_shuffle_BL = torch.zeros_like(ids_restore_BL).scatter(1, ids_restore_BL, patch_BL)
    return Selection(ids_shuffle_BL[:, :keep], ids_restore_BL, hidden_BL)


def plan_random(cues: Cues, config: MaskConfig) -> Plan:
    """Any patches: one group (MAE, He et al., CVPR 2022)."""
    return _one_group(cues.draws_BL, cues.hidden)


def plan_regions(cues: Cues, config: MaskConfig) -> Plan:
    """The share kappa of the relevant patches and as many others as make m: two groups (method.md b).

    With random scores the choice inside each group is uniform. Without a relevant patch this is `plan_random`.
    """
    return Plan(cues.draws_BL, cues.relevant_BL.long(), region_quota(cues.relevant_BL, cues.kappa, cues.hidden))


def plan_soft(cues: Cues, config: MaskConfig) -> Plan:
    """Any patches, the more gaze the less or more likely, without a partition: see `soft_scores`."""
    kappa = cues.kappa.reshape(-1, 1) if isinstance(cues.kappa, Tensor) else cues.kappa
    return _one_group(soft_scores(cues.draws_BL, cues.mass_BL, kappa, cues.ratio), cues.hidden)


def plan_blocks(cues: Cues, config: MaskConfig) -> Plan:
    """Whole squares of patches in random order, the last one cut to make m (SimMIM, Xie et al., CVPR 2022)."""
    rows, cols = cues.grid
    side = config.block // cues.patch
    blocks = math.ceil(rows / side) * math.ceil(cols / side)
    return _one_group(expand_blocks(cues.draws_BL[:, :blocks], rows=rows, cols=cols, block=side), cues.hidden)


def plan_attention(cues: Cues, config: MaskConfig) -> Plan:
    """The patches with most or least attention (AttMask, Kakogeorgiou et al., ECCV 2022).

    ``hint`` shows a share ``mask.hint`` of all patches, drawn at random from the share ``mask.hint_from`` with most
    attention. The paper hides so many fewer; here those next in attention take their place, so that m are hidden.
    """
    assert cues.attention_BL is not None, "Config asks for a teacher"
    attention_BL = cues.attention_BL
    if config.attention != "hint":
        return _one_group(attention_BL if config.attention == "high" else -attention_BL, cues.hidden)
    batch, patches = attention_BL.shape
    shown = min(int(config.hint * patches), patches - cues.hidden)
    top = min(max(int(config.hint_from * patches), shown), cues.hidden + shown)
    top_BL = ranks(attention_BL) < top
    quotas = (cues.hidden - (top - shown), top - shown)
    quota_B2 = torch.stack([torch.full((batch,), n, device=attention_BL.device) for n in quotas], dim=1)
    return Plan(torch.where(top_BL, cues.draws_BL, attention_BL), top_BL.long(), quota_B2)


def plan_hard(cues: Cues, config: MaskConfig) -> Plan:
    """The share `hard` of m by predicted loss, the highest, and the others at random (HPM, Wang et al., CVPR 2023)."""
    assert cues.difficulty_BL is not None, "Config asks for a teacher"
    share = torch.zeros_like(cues.draws_BL[:, 0], dtype=torch.float64) + cues.hard
    hardest_B = torch.floor(cues.hidden * share).long()
    group_BL = ranks(cues.difficulty_BL) < hardest_B[:, None]
    return Plan(cues.draws_BL, group_BL.long(), torch.stack([cues.hidden - hardest_B, hardest_B], dim=1))


STRATEGIES: dict[str, Callable[[Cues, MaskConfig], Plan]] = {
    "random": plan_random,
    "regions": plan_regions,
    "soft": plan_soft,
    "blocks": plan_blocks,
    "attention": plan_attention,
    "hard": plan_hard,
}
"""`mask.kind` -> its plan; ``soft`` is that of ``regions`` where `prior.partition` is."""


def ranks(score_BL: Tensor) -> Tensor:
    """Place of each patch in descending order of its score, from 0; of equal scores, the earlier patch comes first."""
    order_BL = score_BL.argsort(dim=1, descending=True, stable=True)
    place_BL = torch.arange(score_BL.shape[1], device=score_BL.device).expand_as(order_BL)
    return torch.zeros_like(order_BL).scatter(1, order_BL, place_BL)


def soft_scores(u_BL: Tensor, mass_BL: Tensor, kappa: float | Tensor, ratio: float) -> Tensor:
    """Scores for hiding without a partition: the chance of being hidden changes gradually with the gaze on a patch.

    Parameters
    ----------
    u_BL : (B, L) uniform in [0, 1)
    mass_BL : (B, L)
        Gaze mass; 0 everywhere where there is no gaze.
    kappa : float, or tensor that broadcasts to (B, 1)
        Rate at which the most looked-at patch is hidden.
    ratio : float
        Rate at which a patch without gaze is hidden.

    Returns
    -------
    (B, L) float32
        Keys of weighted sampling without replacement (Efraimidis and Spirakis, 2006): log(u) / w. Such sampling hides
        what fires first of clocks with hazards w, so w goes from log(1 - ratio) to log(1 - kappa), geometrically in
        the mass relative to the crop's maximum, in units of the former. Our reading of "soft"; equal rates, or no
        gaze, are plain random masking by the same draws.
    """
    peak_B1 = mass_BL.amax(dim=1, keepdim=True)
    level_BL = (mass_BL / peak_B1.clamp(min=torch.finfo(torch.float32).tiny)).float()
    log_weight_BL = level_BL * (_log_hazard(kappa, mass_BL) - _log_hazard(ratio, mass_BL))
    return torch.log(u_BL.clamp(min=2.0**-25)) * torch.exp(-log_weight_BL)


def expand_blocks(score_BN: Tensor, *, rows: int, cols: int, block: int) -> Tensor:
    """The score of each patch's block.

    Parameters
    ----------
    score_BN : (B, ceil(rows / block) * ceil(cols / block))
        Row-major. Blocks at the right and bottom edge may be partial.
    rows, cols : patches
    block : patches a block side

    Returns
    -------
    (B, rows * cols)
        The score of each patch's block: blocks are hidden whole, in their order, and `select` cuts the last one so that
        the count is exact (method.md c, SimMIM).
    """
    row_R = torch.arange(rows, device=score_BN.device) // block
    col_C = torch.arange(cols, device=score_BN.device) // block
    return score_BN[:, (row_R[:, None] * math.ceil(cols / block) + col_C).flatten()]


def _one_group(score_BL: Tensor, hidden: int) -> Plan:
    """Hide those with the highest scores."""
    quota_B1 = torch.full((score_BL.shape[0], 1), hidden, device=score_BL.device)
    return Plan(score_BL, torch.zeros_like(score_BL, dtype=torch.long), quota_B1)


def _log_hazard(rate: float | Tensor, like: Tensor) -> Tensor:
    """log(-log(1 - rate)), kept finite at 0 and 1."""
    if not isinstance(rate, Tensor):
        rate = torch.full((), rate, dtype=torch.float64, device=like.device)
    return torch.log(-torch.log1p(-rate.double().clamp(1e-6, 1 - 1e-6))).float()
