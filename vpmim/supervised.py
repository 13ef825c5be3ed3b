"""Training on labels, read from top to bottom: `fit` is the whole of it.

It serves linear evaluation by gradient descent (the encoder frozen) and fine-tuning. Everything random in a step is a
function of (seed, epoch, image), so a resumed run is the uninterrupted one.

Legend of shape suffixes: N images, B batch, S side of the stored square, H W input, C classes, 4 box edges.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpmim.augment import CROP_DRAWS, crop_images, draw_crops, draw_flips
from vpmim.checkpoint import newest_checkpoint, save_checkpoint, write_file
from vpmim.classifier import Classifier, make_optimizer
from vpmim.encoder import Encoder
from vpmim.images import stored_size
from vpmim.process import TrainingError
from vpmim.random import permutation, uniform
from vpmim.statistics import roc_auc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vpmim.recipe import Recipe

BEST = "best.safetensors"
_BATCH = {"cpu": 32, "cuda": 256}


class Draws(IntEnum):
    """What a draw is for; beside those of pre-training (`vpmim.random.Stream`)."""

    CROP = 16
    FLIP = 17
    TONE = 18
    BLUR = 19
    MIX = 20


@dataclass(frozen=True)
class LabelledSquares:
    """Images of one part with their labels.

    Attributes
    ----------
    square_NSS : (N, S, S) uint8
    labels_NC : (N, C) float64 of 0, 1, NaN (unknown)
    """

    square_NSS: NDArray[np.uint8]
    labels_NC: NDArray[np.float64]


@dataclass
class Fitted:
    """A trained classifier.

    Attributes
    ----------
    model : Classifier, holding the weights of the chosen epoch
    epoch : that epoch, from 1
    history : for each epoch its training loss, validation loss and AUC, and learning rate
    """

    model: Classifier
    epoch: int
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    encoder: Encoder,
    recipe: Recipe,
    train: LabelledSquares,
    val: LabelledSquares,
    *,
    seed: int,
    device: torch.device,
    folder: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda figures: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted | None:
    """Train a classifier on one part and choose its epoch on another.

    Parameters
    ----------
    encoder : Encoder
        Copied, with the recipe's stochastic depth: the one given stays as it is.
    recipe : Recipe
    train, val : LabelledSquares
    seed : of the head's start, the order and the augmentation
    device : where
    folder : where checkpoints are kept after each epoch, and gone on from; None keeps nothing
    on_epoch : told each epoch's figures
    stop : asked after each epoch whether to leave; then the result is None, and the checkpoint is there

    Raises
    ------
    TrainingError
        The loss is not finite; the stored squares are smaller than the window that the recipe takes of them; no epoch
        can be chosen by AUC.
    """
    size, side = encoder.spec.input_size, train.square_NSS.shape[-1]
    if recipe.crop != "none" and side < size:
        raise TrainingError(
            f'crop = "{recipe.crop}" takes a window of {size} pixels, and the images are stored at {side}; build their '
            f"cache with --image-size {stored_size(size)}, or --set crop=none"
        )
    count = len(train.labels_NC)
    recipe = dataclasses.replace(recipe, batch_size=min(recipe.batch_size, count))
    batch, peak = recipe.batch_size, recipe.peak_lr
    per_epoch = math.ceil(count / batch)
    steps = recipe.steps or recipe.epochs * per_epoch
    trained = Encoder(encoder.spec, drop_path=recipe.drop_path)
    trained.load_state_dict(encoder.state_dict())
    model = Classifier(
        trained,
        train.labels_NC.shape[1],
        features=recipe.features,
        head_norm=recipe.head_norm,
        frozen=recipe.trains == "head",
        seed=seed,
    ).to(device)
    optimizer = make_optimizer(model, recipe, peak_lr=peak)
    averaged = copy.deepcopy(model) if recipe.ema else None
    squares = torch.from_numpy(train.square_NSS)
    labels_NC = torch.from_numpy(train.labels_NC).float()
    done, best, history = _resumed(folder, model, averaged, optimizer)
    kept = _kept_weights(folder, best)
    if recipe.choose == "val_auc" and not with_both_values(val.labels_NC):
        raise TrainingError("no class has both label values among the validation images, so no epoch can be chosen")

    while done < steps and not _stopped_early(recipe, best, len(history)):
        epoch = len(history)
        model.train()
        total, seen = 0.0, 0
        order_N = torch.from_numpy(permutation(seed, epoch, count))
        for start in range(0, count, batch):
            if done == steps:
                break
            rows_B = order_N[start : start + batch]
            rate = _learning_rate(done, steps, recipe, peak)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            if recipe.drop_path and recipe.trains == "all":  # the one draw that comes from torch's own generator
                torch.manual_seed(seed * steps + done)
            grey_BHW, label_BC = augmented(
                squares[rows_B].to(device), labels_NC[rows_B].to(device), rows_B.to(device), recipe, size, seed, epoch
            )
            with _autocast(device):
                loss = known_loss(model(grey_BHW), label_BC)
            loss.backward()
            if recipe.clip_grad:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if averaged is not None:
                _average(averaged, model, recipe.ema)
            total, seen, done = total + float(loss.detach()) * len(rows_B), seen + len(rows_B), done + 1
            if not math.isfinite(total):
                raise TrainingError(
                    f"the loss is not finite in epoch {epoch + 1}, step {done}; lower lr (now {recipe.lr:g})"
                )
        shown = averaged or model
        val_loss, val_auc = _judge(score(shown, val.square_NSS, recipe, device=device), val.labels_NC)
        figures = {"epoch": epoch + 1, "step": done, "loss": total / seen, "lr": rate} | {
            "val_loss": val_loss,
            "val_auc": val_auc,
        }
        history.append(figures)
        on_epoch(figures)
        value = {"val_loss": -val_loss, "val_auc": val_auc, "last": epoch}[recipe.choose]
        if best is None or value > best["value"]:
            best = {"value": value, "epoch": epoch + 1}
            kept = {name: tensor.detach().cpu().clone() for name, tensor in shown.state_dict().items()}
        if folder is not None:
            _save(folder, done, model, averaged, optimizer, best, kept, history)
        if stop() and done < steps:
            return None
    assert best is not None
    model.load_state_dict(kept)
    return Fitted(model.eval(), best["epoch"], history)


def augmented(
    square_BSS: Tensor, label_BC: Tensor, index_B: Tensor, recipe: Recipe, size: int, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """A training batch as the recipe wants it: grey (B, H, W) in [0, 1], labels (B, C)."""
    count, side = len(square_BSS), square_BSS.shape[-1]

    def draw(stream: Draws, n: int) -> Tensor:
        return uniform(seed, epoch, index_B, stream=stream, n=n)

    if recipe.crop == "resized":
        whole_B4 = _boxes(count, -0.5, side - 0.5, square_BSS.device)
        boxes_B4 = draw_crops(draw(Draws.CROP, CROP_DRAWS), whole_B4, scale=recipe.crop_scale, ratio=(3 / 4, 4 / 3))
    elif recipe.crop == "shift":
        corner_B2 = torch.round(draw(Draws.CROP, 2).double() * (side - size)) - 0.5
        boxes_B4 = torch.cat([corner_B2, corner_B2 + size], dim=1)
    else:
        boxes_B4 = _boxes(count, -0.5, side - 0.5, square_BSS.device)
    grey_BHW = crop_images(square_BSS, boxes_B4, draw_flips(draw(Draws.FLIP, 1)[:, 0], recipe.hflip), size)
    if recipe.jitter:
        grey_BHW = jittered(grey_BHW, draw(Draws.TONE, 3), recipe)
    if recipe.blur:
        grey_BHW = blurred(grey_BHW, draw(Draws.BLUR, 2), recipe.blur)
    if recipe.mixup:
        share_B = torch.from_numpy(
            np.random.default_rng((seed, epoch, int(index_B[0]), Draws.MIX)).beta(recipe.mixup, recipe.mixup, count)
        ).to(grey_BHW)
        other = torch.roll(torch.arange(count, device=grey_BHW.device), 1)
        grey_BHW = share_B[:, None, None] * grey_BHW + (1 - share_B)[:, None, None] * grey_BHW[other]
        label_BC = share_B[:, None] * label_BC + (1 - share_B)[:, None] * label_BC[other]
    return grey_BHW, label_BC


def jittered(grey_BHW: Tensor, u_B3: Tensor, recipe: Recipe) -> Tensor:
    """Brightness times a factor, then contrast about the mean times another, as torchvision's ColorJitter does.

    Each image is changed with probability ``recipe.jitter``; the result is clipped to [0, 1].
    """
    changed_B = u_B3[:, 0] < recipe.jitter
    factors = (1 + recipe.brightness * (2 * u_B3[:, 1] - 1), 1 + recipe.contrast * (2 * u_B3[:, 2] - 1))
    brightness_B, contrast_B = (torch.where(changed_B, factor, 1.0)[:, None, None] for factor in factors)
    bright_BHW = (grey_BHW * brightness_B).clamp(0, 1)
    mean_B11 = bright_BHW.mean(dim=(1, 2), keepdim=True)
    return (mean_B11 + (bright_BHW - mean_B11) * contrast_B).clamp(0, 1)


def blurred(grey_BHW: Tensor, u_B2: Tensor, probability: float, *, radius: int = 11) -> Tensor:
    """A Gaussian blur of sigma 0.1 to 2 pixels (MoCo v2), with a probability; borders repeat."""
    sigma_B = 0.1 + 1.9 * u_B2[:, 1]
    offset_K = torch.arange(-radius, radius + 1, device=grey_BHW.device, dtype=grey_BHW.dtype)
    kernel_BK = torch.exp(-0.5 * (offset_K / sigma_B[:, None]) ** 2)
    kernel_BK = kernel_BK / kernel_BK.sum(dim=1, keepdim=True)
    count = len(grey_BHW)
    padded = F.pad(grey_BHW[None], (radius, radius, radius, radius), mode="replicate")
    across = F.conv2d(padded, kernel_BK[:, None, None, :], groups=count)
    whole_BHW = F.conv2d(across, kernel_BK[:, None, :, None], groups=count)[0]
    return torch.where((u_B2[:, 0] < probability)[:, None, None], whole_BHW, grey_BHW)


def known_loss(logit_BC: Tensor, label_BC: Tensor) -> Tensor:
    """Mean binary cross-entropy over the labels that are known."""
    known_BC = ~torch.isnan(label_BC)
    loss_BC = F.binary_cross_entropy_with_logits(logit_BC.float(), label_BC.nan_to_num(0.0), reduction="none")
    return (loss_BC * known_BC).sum() / known_BC.sum().clamp(min=1)


def score(
    model: Classifier, square_NSS: NDArray[np.uint8], recipe: Recipe, *, device: torch.device
) -> NDArray[np.float64]:
    """Log-odds (N, C) of images, unaugmented: the whole square, or the window at its centre."""
    size, side = model.encoder.spec.input_size, square_NSS.shape[-1]
    edge = 0.0 if recipe.crop == "none" else (side - size) / 2
    model.eval()
    parts = []
    with torch.inference_mode(), _autocast(device):
        for start in range(0, len(square_NSS), _BATCH[device.type]):
            square_BSS = torch.from_numpy(square_NSS[start : start + _BATCH[device.type]]).to(device)
            boxes_B4 = _boxes(len(square_BSS), edge - 0.5, side - edge - 0.5, device)
            unflipped_B = torch.zeros(len(square_BSS), dtype=torch.bool, device=device)
            parts.append(model(crop_images(square_BSS, boxes_B4, unflipped_B, size)).double().cpu().numpy())
    return np.concatenate(parts)


def _learning_rate(done: int, steps: int, recipe: Recipe, peak: float) -> float:
    """Of the step after `done`: linear warm-up, then half a cosine."""
    warmup = recipe.warmup * steps
    if done < warmup:
        return peak * (done + 1) / math.ceil(warmup)
    share = (done - warmup) / max(1.0, steps - warmup)
    floor = min(recipe.min_lr, peak)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * share))


def _judge(scores_NC: NDArray[np.float64], labels_NC: NDArray[np.float64]) -> tuple[float, float]:
    """Validation loss over known labels, and mean AUC over classes with both values (NaN where there is none)."""
    loss = float(known_loss(torch.from_numpy(scores_NC), torch.from_numpy(labels_NC)))
    aucs = [roc_auc(labels_NC[:, c], scores_NC[:, c]) for c in with_both_values(labels_NC)]
    return loss, float(np.mean(aucs)) if aucs else math.nan


def with_both_values(labels_NC: NDArray[np.float64]) -> list[int]:
    """Classes with both label values."""
    return [c for c, labels_N in enumerate(labels_NC.T) if {0.0, 1.0} <= set(np.unique(labels_N))]


def _stopped_early(recipe: Recipe, best: dict[str, Any] | None, epochs: int) -> bool:
    return bool(recipe.patience and best is not None and epochs - best["epoch"] >= recipe.patience)


def _boxes(count: int, low: float, high: float, device: torch.device) -> Tensor:
    return torch.tensor([[low, low, high, high]], dtype=torch.float64, device=device).expand(count, 4)


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    for old, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)


def _save(
    folder: Path,
    done: int,
    model: Classifier,
    averaged: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Any],
    kept: dict[str, Tensor],
    history: list[dict[str, float]],
) -> None:
    """A checkpoint after an epoch: what is trained, what is best so far, and the figures."""
    tensors = _trained(model, "model.") | ({} if averaged is None else _trained(averaged, "averaged."))
    if best["epoch"] == history[-1]["epoch"]:
        write_file(folder / BEST, safetensors.torch.save(dict(sorted(kept.items()))))
    save_checkpoint(
        folder,
        done,
        model=tensors,
        optimizer=optimizer.state_dict(),
        state={"best": best, "history": history},
        metadata=dataclasses.asdict(model.encoder.spec),
        keep=1,
    )


def _trained(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


def _resumed(
    folder: Path | None, model: Classifier, averaged: nn.Module | None, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any] | None, list[dict[str, float]]]:
    """Load the newest checkpoint, if there is one: steps done, the best epoch, the figures so far."""
    checkpoint = None if folder is None else newest_checkpoint(folder)
    if checkpoint is None:
        return 0, None, []
    tensors = checkpoint.model()
    for part, prefix in ((model, "model."), (averaged, "averaged.")):
        if part is not None:
            part.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    optimizer.load_state_dict(checkpoint.optimizer())
    return checkpoint.step, dict(checkpoint.state["best"]), list(checkpoint.state["history"])


def _kept_weights(folder: Path | None, best: dict[str, Any] | None) -> dict[str, Tensor]:
    """The best epoch's weights, of a resumed run."""
    return {} if folder is None or best is None else safetensors.torch.load_file(folder / BEST)
