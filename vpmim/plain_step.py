"""The same methods written as they usually are, for `vpmim.bench` to measure beside ours in the same run.

Images are cropped one by one on the host, masks are picked one by one with ``nonzero``, each scale's target is a pass
of its own, nothing is compiled, and the loss is read after every step. The network, the weights of the loss and the
strategies of masking are ours, so that the ratio of the two speeds is about how the step is written and nothing else.

Legend of shape suffixes: B batch, S side of the stored square, K visible patches, L patches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vpmim.augment import CROP_DRAWS, draw_crops, draw_flips
from vpmim.cached_features import crop_features
from vpmim.data import Samples
from vpmim.masking import Plan, Selection
from vpmim.model import MaskedImageModel
from vpmim.objective import Crops, complete, hidden_at, losses_of, make_targets, plan_masks
from vpmim.prior import crop_prior, original_boxes
from vpmim.random import Stream, uniform
from vpmim.settings import Config


def plain_losses(model: MaskedImageModel, samples: Samples, config: Config, *, progress: float) -> dict[str, Tensor]:
    """What `vpmim.objective.training_losses` gives, from samples on the host; boxes are rounded to whole pixels."""
    device = next(model.parameters()).device
    views = [plain_view(one, config, grid=model.encoder.grid) for one in samples.split(1)]
    crops = Crops(*(torch.cat(parts).to(device) for parts in zip(*views, strict=True)))
    guidance = None if model.teacher is None else model.teacher(crops.grey_BHW)
    visit_B, index_B = samples.visit_B.to(device), samples.index_B.to(device)
    plan = plan_masks(model, crops, guidance, config, visit_B=visit_B, index_B=index_B, progress=progress)
    selection = plain_select(plan, hidden=hidden_at(model, config, progress))
    targets = [
        make_targets(crops.grey_BHW, guidance, config, patch=model.encoder.patch, scales=(scale,))[0]
        for scale in config.decoder.scales
    ]
    step = complete(model, crops, guidance, selection, targets, config, progress=progress)
    return losses_of(step, config)


def plain_view(sample: Samples, config: Config, *, grid: tuple[int, int]) -> Crops:
    """One image cut out, resized and mirrored on the host, and its prior; the box that ours takes, in whole pixels."""
    visit_1, index_1 = sample.visit_B, sample.index_B
    box_14 = draw_crops(
        uniform(config.seed, visit_1, index_1, stream=Stream.CROP, n=CROP_DRAWS),
        sample.valid_B4,
        scale=config.data.crop_scale,
        ratio=config.data.crop_ratio,
    )
    flip_1 = draw_flips(uniform(config.seed, visit_1, index_1, stream=Stream.FLIP, n=1)[:, 0], config.data.hflip)
    x0, y0, x1, y1 = (math.floor(edge + 1) for edge in box_14[0].tolist())  # the edge before pixel i is i - 0.5
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    cut = sample.image_BSS[:, y0:y1, x0:x1].float() / 255
    size = (config.data.input_size,) * 2
    grey = F.interpolate(cut[:, None], size=size, mode="bilinear", antialias=True)[:, 0]
    if flip_1.item():
        grey = grey.flip(2)
    edges_14 = torch.tensor([[x0, y0, x1, y1]]) - 0.5
    features_1LD = crop_features(
        sample.features_BRCD, edges_14.double(), flip_1, side=sample.image_BSS.shape[-1], grid=grid
    )
    prior = crop_prior(
        sample.gaussians_BF9,
        original_boxes(edges_14, sample.frame_B6),
        flip_1,
        sample.tau_B,
        rows=grid[0],
        cols=grid[1],
        method=config.prior.partition,
        otsu=config.prior.otsu,
        share=config.prior.share,
        k=config.prior.k,
    )
    if not ((sample.confidence_B > 0) & prior.has_gaze_B).item():
        nothing = torch.zeros_like(prior.relevant_BL)
        return Crops(grey, torch.zeros_like(prior.mass_BHW), nothing, torch.zeros(1), features_1LD)
    return Crops(grey, prior.mass_BHW, prior.relevant_BL, sample.confidence_B, features_1LD)


def plain_select(plan: Plan, *, hidden: int) -> Selection:
    """What `vpmim.masking.select` selects, image by image and group by group."""
    batch, patches = plan.score_BL.shape
    mask_BL = torch.zeros(batch, patches, dtype=torch.bool, device=plan.score_BL.device)
    for i in range(batch):
        for group, quota in enumerate(plan.quota_BG[i].tolist()):
            members = (plan.group_BL[i] == group).nonzero()[:, 0]
            order = plan.score_BL[i, members].argsort(descending=True, stable=True)
            mask_BL[i, members[order[:quota]]] = True
    ids_keep_BK = (~mask_BL).nonzero()[:, 1].view(batch, patches - hidden)
    ids_shuffle_BL = torch.cat([ids_keep_BK, mask_BL.nonzero()[:, 1].view(batch, hidden)], dim=1)
    return Selection(ids_keep_BK, ids_shuffle_BL.argsort(dim=1), mask_BL)
