"""The whole method, read top to bottom from `reconstruct` on: from stored images and fixations to weighted errors.

Every method of the table in method.md (f) is this function under another configuration. All randomness is a function
of (seed, visit, image), all shapes are fixed, and nothing is read back from the device, so a step can be compiled,
captured in a graph and resumed from its number alone. Only the network runs in the precision of the caller's autocast;
crops, priors, targets, weights and losses are float32 or better.

Legend of shape suffixes: B batch, H W pixels, L patches of the grid, K visible patches, R and S rows and columns of
the finest grid (four cells a patch side), N cells of one scale, C target channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vpmim.augment import CROP_DRAWS, crop_images, draw_crops, draw_flips
from vpmim.cached_features import crop_features
from vpmim.loss import carry_mask, cell_errors, cell_weights, gaze_prediction_loss, ranking_loss, weighted_mean
from vpmim.masking import STRATEGIES, Cues, Plan, Selection, hidden_count, select
from vpmim.model import MaskedImageModel, Outputs
from vpmim.prior import crop_prior, original_boxes, pool_mass
from vpmim.pyramid import scale_grid
from vpmim.random import Stream, uniform
from vpmim.recalibrate import (
    beta_at,
    carry_shape,
    gaze_at_scale,
    mix,
    spread_by_attention,
    spread_by_prediction,
    spread_by_similarity,
)
from vpmim.settings import Config
from vpmim.targets import feature_target, grey_target, hog_pyramid, in_patch_units, pixel_target
from vpmim.teacher import Guidance

if TYPE_CHECKING:
    import numpy as np

    from vpmim.data import Samples


class Crops(NamedTuple):
    """What augmentation makes of a batch."""

    grey_BHW: Tensor
    """(B, H, W) grey in [0, 1]."""
    fine_BRS: Tensor
    """(B, R, S) measured gaze mass; zero for a sample without gaze."""
    relevant_BL: Tensor
    """(B, L) bool, diagnostically relevant patches."""
    confidence_B: Tensor
    """(B,) float32 in [0, 1], how far the gaze in the crop can be trusted; 0 where it holds none."""
    features_BLD: Tensor
    """(B, L, D) what was cached of each patch; D = 0 where nothing was."""


class Reconstruction(NamedTuple):
    """All that one step computes before its loss."""

    crops: Crops
    recalibrated_BRS: Tensor
    """(B, R, S) the gaze mass as the weights use it."""
    selection: Selection
    outputs: Outputs
    targets: list[Tensor]
    """(B, N, C) for each scale."""
    weights: list[Tensor]
    """(B, N) for each scale."""


def training_losses(
    model: MaskedImageModel, samples: Samples, config: Config, *, progress: float | Tensor
) -> dict[str, Tensor]:
    """Losses of one training step.

    Parameters
    ----------
    model : MaskedImageModel
    samples : Samples, on the model's device
    config : Config
    progress : share of the training done, in [0, 1]; a tensor where the step is compiled once for all steps

    Returns
    -------
    dict of scalar tensors
        ``loss``, their sum; ``loss_4x`` ... for each scale; ``loss_gaze``, the gaze head's, before its weight;
        ``loss_rank``, the loss predictor's.
    """
    return losses_of(reconstruct(model, samples, config, progress=progress), config)


def losses_of(step: Reconstruction, config: Config) -> dict[str, Tensor]:
    """The terms of `training_losses`, from what the step computed."""
    outputs, crops = step.outputs, step.crops
    with torch.autocast(crops.grey_BHW.device.type, enabled=False):
        errors = [
            cell_errors(prediction, target, norm=config.loss.norm)
            for prediction, target in zip(outputs.predictions, step.targets, strict=True)
        ]
        losses = {
            scale_name(scale): weighted_mean(errors_BN, weights, normalise=config.loss.normalise)
            for scale, errors_BN, weights in zip(config.decoder.scales, errors, step.weights, strict=True)
        }
        total = torch.stack(list(losses.values())).sum()
        if outputs.gaze_logits_BK is not None:
            losses["loss_gaze"] = gaze_prediction_loss(
                outputs.gaze_logits_BK,
                pool_mass(crops.fine_BRS, 1).flatten(1),
                step.selection.ids_keep_BK,
                crops.confidence_B,
            )
            total = total + config.loss.gaze_prediction * losses["loss_gaze"]
        if outputs.difficulty_BL is not None:
            per_patch_BL = errors[config.decoder.scales.index(1.0)]
            losses["loss_rank"] = ranking_loss(outputs.difficulty_BL, per_patch_BL, step.selection.mask_BL)
            total = total + losses["loss_rank"]
    return {"loss": total, **losses}


def reconstruct(
    model: MaskedImageModel, samples: Samples, config: Config, *, progress: float | Tensor
) -> Reconstruction:
    """The method: crop, prior, partition, mask, targets, network, recalibration, weights; arguments as above."""
    crops = draw_views(samples, config, grid=model.encoder.grid)
    guidance = None if model.teacher is None else model.teacher(crops.grey_BHW)
    plan = plan_masks(
        model, crops, guidance, config, visit_B=samples.visit_B, index_B=samples.index_B, progress=progress
    )
    keep = plan.score_BL.shape[1] - hidden_at(model, config, progress)
    selection = select(*plan, keep=keep)
    targets = make_targets(crops.grey_BHW, guidance, config, patch=model.encoder.patch, scales=config.decoder.scales)
    return complete(model, crops, guidance, selection, targets, config, progress=progress)


def draw_views(samples: Samples, config: Config, *, grid: tuple[int, int]) -> Crops:
    """(a) One box and one flip for the image and for its gaze."""
    grey_BHW, boxes_B4, flip_B = cut_images(samples, config)
    return Crops(grey_BHW, *read_gaze(samples, boxes_B4, flip_B, config, grid=grid))


def cut_images(samples: Samples, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """Crops (B, H, W) in [0, 1], their boxes (B, 4) in stored pixels, and which of them are mirrored (B,)."""
    seed, visit_B, index_B = config.seed, samples.visit_B, samples.index_B
    with torch.autocast(samples.image_BSS.device.type, enabled=False):
        boxes_B4 = draw_crops(
            uniform(seed, visit_B, index_B, stream=Stream.CROP, n=CROP_DRAWS),
            samples.valid_B4,
            scale=config.data.crop_scale,
            ratio=config.data.crop_ratio,
        )
        flip_B = draw_flips(uniform(seed, visit_B, index_B, stream=Stream.FLIP, n=1)[:, 0], config.data.hflip)
        return crop_images(samples.image_BSS, boxes_B4, flip_B, config.data.input_size), boxes_B4, flip_B


def read_gaze(
    samples: Samples, boxes_B4: Tensor, flip_B: Tensor, config: Config, *, grid: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mass, relevant patches and confidence of the gaze in the crops, and what it is spread by, as in `Crops`."""
    rows, cols = grid
    with torch.autocast(samples.image_BSS.device.type, enabled=False):
        prior = crop_prior(
            samples.gaussians_BF9,
            original_boxes(boxes_B4, samples.frame_B6),
            flip_B,
            samples.tau_B,
            rows=rows,
            cols=cols,
            method=config.prior.partition,
            otsu=config.prior.otsu,
            share=config.prior.share,
            k=config.prior.k,
        )
        # (e) without gaze nothing is relevant and lambda is 0: random masking and plain weights by the same formulas
        confidence_B = torch.where(prior.has_gaze_B, samples.confidence_B, 0.0)
        has_gaze_B = confidence_B > 0
        relevant_BL = prior.relevant_BL & has_gaze_B[:, None]
        fine_BRS = torch.where(has_gaze_B[:, None, None], prior.mass_BHW, 0.0)
        side = samples.image_BSS.shape[-1]
        features_BLD = crop_features(samples.features_BRCD, boxes_B4, flip_B, side=side, grid=grid)
    return fine_BRS, relevant_BL, confidence_B, features_BLD


def hidden_at(model: MaskedImageModel, config: Config, progress: float | Tensor) -> int:
    """(b) How many patches are hidden in every image: a number, since shapes depend on it."""
    rows, cols = model.encoder.grid
    return hidden_count(rows * cols, _ratio_at(config, progress))


def plan_masks(
    model: MaskedImageModel,
    crops: Crops,
    guidance: Guidance | None,
    config: Config,
    *,
    visit_B: Tensor,
    index_B: Tensor,
    progress: float | Tensor,
) -> Plan:
    """(b) Which patches to hide, in the terms of the selector: by ``mask.kind``, at this point of its schedules."""
    rows, cols = model.encoder.grid
    progress_t = _as_tensor(progress, index_B.device)

    def scheduled(start: float, end: float | None) -> float | Tensor:
        return start if end is None else start + (end - start) * progress_t.double()

    kind = config.mask.kind
    if kind == "regions" and config.prior.partition == "soft":
        kind = "soft"
    kappa = scheduled(config.mask.kappa, config.mask.kappa_end)
    if config.mask.kappa_jitter > 0:
        draw_B = uniform(config.seed, visit_B, index_B, stream=Stream.KAPPA, n=1)[:, 0].double()
        kappa = (kappa + config.mask.kappa_jitter * (2 * draw_B - 1)).clamp(0, 1)
    # (e) the less the gaze is trusted, the nearer to the random rate; in this form exactly kappa at a confidence of 1
    ratio = _ratio_at(config, progress)
    kappa_B = kappa + (1 - crops.confidence_B.double()) * (ratio - kappa)
    with torch.autocast(index_B.device.type, enabled=False):
        cues = Cues(
            draws_BL=uniform(config.seed, visit_B, index_B, stream=Stream.MASK, n=rows * cols),
            relevant_BL=crops.relevant_BL,
            mass_BL=pool_mass(crops.fine_BRS, 1).flatten(1),
            attention_BL=None if guidance is None else guidance.attention_BL,
            difficulty_BL=None if guidance is None else guidance.difficulty_BL,
            grid=model.encoder.grid,
            patch=model.encoder.patch,
            hidden=hidden_at(model, config, progress),
            ratio=ratio,
            kappa=kappa_B,
            hard=scheduled(config.mask.hard, config.mask.hard_end),
        )
        return STRATEGIES[kind](cues, config.mask)


def make_targets(
    grey_BHW: Tensor, guidance: Guidance | None, config: Config, *, patch: int, scales: Sequence[float]
) -> list[Tensor]:
    """(c) Targets at these scales, from the crop as it is, before any normalisation but their own."""
    settings = config.target
    with torch.autocast(grey_BHW.device.type, enabled=False):
        if settings.kind == "hog":
            options = {"bins": settings.bins, "gate": settings.gate, "magnitude": settings.magnitude}
            return hog_pyramid(grey_BHW, patch=patch, scales=scales, **options)
        if settings.kind == "feature":
            assert guidance is not None, "Config asks for a teacher"
            return [feature_target(guidance.tokens_BLD)]
        if settings.normalise == "patch":
            return [pixel_target(grey_BHW, patch=patch)]
        return [grey_target(grey_BHW, patch=patch, mean=config.data.mean, std=config.data.std)]


def complete(
    model: MaskedImageModel,
    crops: Crops,
    guidance: Guidance | None,
    selection: Selection,
    targets: list[Tensor],
    config: Config,
    *,
    progress: float | Tensor,
) -> Reconstruction:
    """(d) The network, then the heatmap spread over what looks alike, then the weights of the cells."""
    grid = model.encoder.grid
    outputs: Outputs = model(crops.grey_BHW, selection)
    recalibrated_BRS = crops.fine_BRS
    if config.recalibrates:
        mass_BL = pool_mass(crops.fine_BRS, 1).flatten(1)
        spread_BL = _spread(model, crops, guidance, outputs, mass_BL, config)
        beta = beta_at(_as_tensor(progress, mass_BL.device), config.recalibrate)
        recalibrated_BRS = carry_shape(crops.fine_BRS, mix(mass_BL, spread_BL, beta), grid=grid)
    lambda_B = config.loss.gaze_lambda * crops.confidence_B  # (e)
    weights = [
        cell_weights(
            carry_mask(selection.mask_BL, grid=grid, scale=scale),
            gaze_at_scale(recalibrated_BRS, grid=grid, scale=scale),
            lambda_B,
            config=config.loss,
        )
        for scale in config.decoder.scales
    ]
    return Reconstruction(crops, recalibrated_BRS, selection, outputs, targets, weights)


def _spread(
    model: MaskedImageModel,
    crops: Crops,
    guidance: Guidance | None,
    outputs: Outputs,
    mass_BL: Tensor,
    config: Config,
) -> Tensor:
    """The gaze mass of the patches spread as ``recalibrate.mode`` says, (B, L)."""
    settings = config.recalibrate
    if settings.mode == "predicted":
        return spread_by_prediction(mass_BL, model.expected_gaze(crops.grey_BHW))
    if settings.mode == "attn":
        assert guidance is not None, "Config asks for a teacher"
        assert guidance.attention_BLL is not None, "the teacher knows that it is asked for its attention"
        return spread_by_attention(mass_BL, guidance.attention_BLL)
    if settings.mode == "ema":
        assert guidance is not None, "Config asks for a teacher"
        tokens = guidance.tokens_BLD
    elif settings.mode == "cached":
        tokens = crops.features_BLD
    else:
        assert outputs.tokens_BLW is not None, "Config asks for a decoder of scale 1"
        tokens = outputs.tokens_BLW
    return spread_by_similarity(
        mass_BL, tokens, grid=model.encoder.grid, temperature=settings.temperature, sigma=settings.sigma
    )


def _ratio_at(config: Config, progress: float | Tensor) -> float:
    start, end = config.mask.ratio, config.mask.ratio_end
    return start if end is None else start + (end - start) * float(progress)


def _as_tensor(progress: float | Tensor, device: torch.device) -> Tensor:
    return progress if isinstance(progress, Tensor) else torch.full((), progress, dtype=torch.float32, device=device)


@torch.no_grad()
def panels(
    model: MaskedImageModel, samples: Samples, config: Config, *, progress: float | Tensor
) -> dict[str, np.ndarray]:
    """What a step sees and makes, for pictures; arguments as for `training_losses`.

    Returns
    -------
    dict of arrays
        ``image`` (B, H, W) grey in [0, 1]; ``prior`` and ``recalibrated`` (B, 4 rows, 4 cols) gaze mass; ``relevant``
        and ``mask`` (B, rows, cols) bool; and for each scale, here 4: ``weights_4x`` (B, rows, cols), rows and cols of
        the scale, and ``prediction_4x`` and ``target_4x`` (B, rows, cols, C), C the orientations of a cell or the
        pixels of a patch; a teacher's features are no picture and are left out.
    """
    # nothing may be drawn from the global generator (drop path), or a run would depend on its panels
    was_training = model.training
    model.eval()
    step = reconstruct(model, samples, config, progress=progress)
    model.train(was_training)
    grid = model.encoder.grid
    pictures = {
        "image": step.crops.grey_BHW,
        "prior": step.crops.fine_BRS,
        "recalibrated": step.recalibrated_BRS,
        "relevant": step.crops.relevant_BL.unflatten(1, grid),
        "mask": step.selection.mask_BL.unflatten(1, grid),
    }
    for scale, prediction, target, weights in zip(
        config.decoder.scales, step.outputs.predictions, step.targets, step.weights, strict=True
    ):
        cells = scale_grid(grid, scale)
        pictures[f"weights_{scale:g}x"] = weights.unflatten(1, cells)
        if config.target.kind == "feature":
            continue
        pair = prediction.float(), target
        if config.target.kind == "hog":
            pair = tuple(cell[..., : config.target.bins] for cell in pair)
        if config.target.kind == "pixel" and config.target.normalise == "image":
            # pixels are drawn from one form, whichever they were learnt in
            units = {"patch": model.encoder.patch, "mean": config.data.mean, "std": config.data.std}
            pair = tuple(in_patch_units(pixels, step.crops.grey_BHW, **units) for pixels in pair)
        pictures[f"prediction_{scale:g}x"], pictures[f"target_{scale:g}x"] = (x.unflatten(1, cells) for x in pair)
    return {name: picture.cpu().numpy() for name, picture in pictures.items()}


def scale_name(scale: float) -> str:
    """``loss_4x`` for scale 4."""
    return f"loss_{scale:g}x"
