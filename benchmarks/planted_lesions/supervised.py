"""What the labels of the planted lesions allow: a small convolutional network trained on them, and nothing else.

It says whether the task can be learned from the pixels at all: where it cannot, no ranking of pre-trained encoders
means anything. It is no competitor in the table, since every one of its weights is fitted to all labels.

Legend of shape suffixes: N images, B of a batch, K labels (presence, then each kind), H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpmim.datasets.folder import read_folder
from vpmim.images import read_square
from vpmim.statistics import roc_auc

WIDTHS = (16, 32, 64, 64)
SHIFT = 6
"""Pixels that an image is moved by at the most, in training."""


def supervised_auc(
    root: Path,
    *,
    side: int,
    epochs: int,
    seed: int = 0,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
    """Train on the training part and score the test part, with the weights of the best validation epoch.

    Parameters
    ----------
    root : folder with ``labels.csv``, as `vpmim.datasets.folder.read_folder` takes it
    side : of the square that the network sees, pixels
    epochs : passes over the training part
    seed : of the weights, the order and the augmentation
    device : ``cpu`` or ``cuda``
    say : gets a line an epoch

    Returns
    -------
    dict
        AUC on the test part of each label that has both values there.
    """
    data = read_folder(root, seed=0)
    part_N = np.array(data.parts)
    place = torch.device(device)
    image_N = torch.from_numpy(np.stack([read_square(path, side)[0] for path in data.paths]))
    image_NHW = (image_N.float() / 255 - 0.5).div_(0.25).to(place)
    label_NK = torch.from_numpy(np.asarray(data.labels, np.float32)).to(place)
    rows = {part: torch.from_numpy(np.flatnonzero(part_N == part)) for part in ("train", "val", "test")}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _network(label_NK.shape[1]).to(place)
        optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
        steps = epochs * -(-len(rows["train"]) // 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        best, test_NK = -1.0, np.empty(0)
        for epoch in range(epochs):
            network.train()
            for batch in rows["train"][torch.randperm(len(rows["train"]))].split(64):
                optimiser.zero_grad()
                _known_loss(network(_moved(image_NHW[batch])), label_NK[batch]).backward()
                optimiser.step()
                schedule.step()
            network.eval()
            reached = roc_auc(label_NK[rows["val"], 0].cpu().numpy(), _scores(network, image_NHW[rows["val"]])[:, 0])
            say(f"supervised, epoch {epoch + 1} of {epochs}: validation AUC {reached:.3f}")
            if reached > best:
                best, test_NK = reached, _scores(network, image_NHW[rows["test"]])
    truth_NK = label_NK[rows["test"]].cpu().numpy()
    found = {}
    for column, name in enumerate(data.classes):
        known_N = ~np.isnan(truth_NK[:, column])
        found[name] = roc_auc(truth_NK[known_N, column], test_NK[known_N, column])
    return {name: auc for name, auc in found.items() if not np.isnan(auc)}


def _network(labels: int) -> nn.Module:
    """Four stages of two 3 x 3 convolutions, halved between them, and the largest answer anywhere."""
    layers: list[nn.Module] = []
    before = 1
    for stage, width in enumerate(WIDTHS):
        for inside in (before, width):
            layers += [nn.Conv2d(inside, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if stage < len(WIDTHS) - 1 else []
        before = width
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(before, labels))


def _moved(image_BHW: Tensor) -> Tensor:
    """A channel, each image mirrored or not, and moved by up to `SHIFT` pixels."""
    side = image_BHW.shape[-1]
    mirrored = torch.rand(len(image_BHW), 1, 1, device=image_BHW.device) < 0.5
    image_BHW = torch.where(mirrored, image_BHW.flip(-1), image_BHW)
    padded = F.pad(image_BHW[:, None], (SHIFT,) * 4, mode="replicate")
    down, right = torch.randint(2 * SHIFT + 1, (2,)).tolist()
    return padded[..., down : down + side, right : right + side]


def _known_loss(score_BK: Tensor, label_BK: Tensor) -> Tensor:
    known_BK = ~label_BK.isnan()
    return F.binary_cross_entropy_with_logits(score_BK[known_BK], label_BK[known_BK])


@torch.inference_mode()
def _scores(network: nn.Module, image_NHW: Tensor) -> np.ndarray:
    return torch.cat([network(batch[:, None]) for batch in image_NHW.split(256)]).cpu().numpy()
