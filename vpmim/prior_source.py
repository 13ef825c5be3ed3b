"""Where a training image's prior comes from: its own gaze, or one of the negative controls.

Every source is the same thing to the training step: a table of clipped Gaussians with a row for each image, so that a
control differs from the real run in its numbers and in nothing else. A row is kept in the pixels of the image it was
measured on and carried over to the image it is used for in image-relative coordinates.

The mean map is a mixture of `MEAN_CELLS` squared Gaussians on a regular lattice over the image, as wide as the
lattice's step and weighted by the average gaze mass of the cells around them: smooth (such a lattice has no ripple
above 1e-8), blurred by a 24th of the image where it is broad anyway, and exact under any crop, as a picture would not
be. The uniform map is one Gaussian ten thousand times as wide as the image.

Shape suffixes: N images of the data set, R rows of the table, F Gaussians a row, B images of a batch, 9 and 6 the
columns of `vpmim.prior`, 2 width and height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vpmim.prior import grid_centres, grid_edges, otsu_threshold, patch_mass, point_density, whole_boxes

OTSU_GRID = 224
"""Cells a side of the whole-image map whose histogram gives Otsu's threshold (method.md a)."""

MEAN_CELLS = 24
_UNIFORM_SIGMA = 1e4
_CHUNK = 64


class GazeNeededError(ValueError):
    """The data has too little gaze for the prior that was asked for."""


@dataclass(frozen=True, eq=False)
class PriorSource:
    """Priors of all images of a data set, on the device.

    Attributes
    ----------
    gaussians_RF9 : float64
        Weights scaled so that the mass inside the row's own image is 1; padding has weight 0. Row 0 is empty.
    size_R2 : float64, the image that a row was measured on
    tau_R : float64, Otsu's threshold of the row on its own image, density per pixel squared
    row_N : int64, the row of each image of the data set
    confidence_N : float32, how far the gaze of each image can be trusted: in (0, 1], and 0 where row_N is 0
    """

    gaussians_RF9: Tensor
    size_R2: Tensor
    tau_R: Tensor
    row_N: Tensor
    confidence_N: Tensor

    def gather(self, index_B: Tensor, frame_B6: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The priors of a batch, in the original pixels of its images.

        Parameters
        ----------
        index_B : (B,) int64, places in the data set
        frame_B6 : (B, 6) frames of these images

        Returns
        -------
        gaussians_BF9 : (B, F, 9) float64
        tau_B : (B,) float64, density per original pixel squared
        confidence_B : (B,) float32, 0 for an image without gaze
        """
        row_B = self.row_N[index_B]
        ratio_B2 = frame_B6[:, 4:6].double() / self.size_R2[row_B]
        gaussians_BF9 = carry(self.gaussians_RF9[row_B], ratio_B2)
        return gaussians_BF9, self.tau_R[row_B] / ratio_B2.prod(dim=1), self.confidence_N[index_B]


def prior_source(
    gaussians: Sequence[np.ndarray],
    frame_N6: Tensor,
    *,
    source: str = "gaze",
    seed: int = 0,
    image_ids: Sequence[str] | None = None,
    confidence: np.ndarray | None = None,
) -> PriorSource:
    """Prepare the priors of a data set: scale, choose the source, take Otsu's thresholds once.

    Parameters
    ----------
    gaussians : N arrays (F_i, 9), original pixels
        Empty for an image without gaze.
    frame_N6 : (N, 6) float64
        Its device is where the table is made and lives.
    source : "gaze", "mean", "shuffled", "uniform" or "none"
    seed : int
        Of the exchange of gaze between images (shuffled).
    image_ids : N ids, optional
        Rows of one image (several readings of it) share an id and never get gaze from each other; default: all differ.
    confidence : (N,) in [0, 1], optional
        How far each image's gaze can be trusted; default 1. Gaze of confidence 0 is none.

    Returns
    -------
    PriorSource
        Images without gaze stay without, whatever the source, and each keeps its confidence: a control changes the map,
        not who has one nor how much it counts.

    Raises
    ------
    GazeNeededError
        "mean" of no gaze at all, "shuffled" of fewer than two images with gaze.
    """
    size_N2 = frame_N6[:, 4:6].cpu().numpy()
    trusted_N = np.ones(len(gaussians)) if confidence is None else confidence
    scaled = _scaled_rows(
        [rows if trusted > 0 else rows[:0] for rows, trusted in zip(gaussians, trusted_N, strict=True)], frame_N6
    )
    looked_at = np.array([i for i, row in enumerate(scaled) if row is not None], dtype=np.int64)
    rows = [row for row in scaled if row is not None]
    row_N = np.zeros(len(gaussians), dtype=np.int64)
    if source == "none":
        return _table([], np.ones((0, 2)), row_N, trusted_N, frame_N6.device)
    if source in ("mean", "uniform"):
        if source == "mean" and not rows:
            raise GazeNeededError('prior.source = "mean" averages gaze, and none of the images has any')
        row_N[looked_at] = 1
        shared = _uniform_row() if source == "uniform" else _mean_row(rows, size_N2[looked_at], frame_N6.device)
        return _table([shared], np.ones((1, 2)), row_N, trusted_N, frame_N6.device)

    donor = np.arange(len(rows))
    if source == "shuffled":
        ids = [str(i) for i in range(len(gaussians))] if image_ids is None else image_ids
        donor = np.array(exchange([ids[i] for i in looked_at], seed=seed))
    row_N[looked_at] = donor + 1
    return _table(rows, size_N2[looked_at], row_N, trusted_N, frame_N6.device)


def carry(gaussians_BF9: Tensor, ratio_B2: Tensor) -> Tensor:
    """Gaussians moved to an image of another size, in image-relative coordinates.

    Parameters
    ----------
    gaussians_BF9 : (B, F, 9), pixels of the image they were measured on
    ratio_B2 : (B, 2), width and height of the new image over those of the old one

    Returns
    -------
    (B, F, 9), pixels of the new image. Positions count from the image's edge at -0.5; masses stay what they were.
    """
    ratio_B12 = ratio_B2[:, None, :]
    position = (gaussians_BF9[..., 0:2] + 0.5) * ratio_B12 - 0.5
    sigma = gaussians_BF9[..., 2:4] * ratio_B12
    # clip holds half-open indices, whose edges are 0.5 lower, so they scale without a shift
    clip = gaussians_BF9[..., 5:9] * ratio_B12.repeat(1, 1, 2)
    return torch.cat([position, sigma, gaussians_BF9[..., 4:5], clip], dim=-1)


def exchange(image_ids: Sequence[str], *, seed: int) -> list[int]:
    """For each row, the place of a row of another image: a fixed derangement of the images.

    Images are put in random order and each takes from the next one; where images have several rows, they are taken in
    turn.

    Raises
    ------
    GazeNeededError
        Fewer than two images.
    """
    places: dict[str, list[int]] = {}
    for place, image_id in enumerate(image_ids):
        places.setdefault(image_id, []).append(place)
    if len(places) < 2:
        raise GazeNeededError(
            f'prior.source = "shuffled" needs at least two images with gaze, and there are {len(places)}'
        )
    ring = sorted(places)
    ring = [ring[i] for i in np.random.default_rng((seed, len(ring))).permutation(len(ring))]
    donor = [-1] * len(image_ids)
    for image_id, giver in zip(ring, ring[1:] + ring[:1], strict=True):
        for turn, place in enumerate(places[image_id]):
            donor[place] = places[giver][turn % len(places[giver])]
    return donor


def pad_rows(rows: Sequence[np.ndarray], *, device: torch.device) -> Tensor:
    """(R, F, 9) float64 from R arrays (F_i, 9): padded to the longest with Gaussians of weight 0 and sigma 1."""
    longest = max((len(row) for row in rows), default=0)
    table = np.zeros((len(rows), max(longest, 1), 9))
    table[..., 2:4] = 1.0
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table).to(device)


def _table(
    rows: Sequence[np.ndarray], size_R2: np.ndarray, row_N: np.ndarray, trusted_N: np.ndarray, device: torch.device
) -> PriorSource:
    """The table with its empty row 0 in front, and thresholds."""
    size_R2 = np.concatenate([np.ones((1, 2)), size_R2.reshape(-1, 2)])
    gaussians_RF9 = pad_rows([np.zeros((0, 9)), *rows], device=device)
    size = torch.from_numpy(size_R2).to(device)
    taus = [
        _thresholds(gaussians_RF9[start : start + _CHUNK], size[start : start + _CHUNK])
        for start in range(0, len(size), _CHUNK)
    ]
    confidence_N = np.where(row_N > 0, trusted_N, 0).astype(np.float32)
    return PriorSource(
        gaussians_RF9,
        size,
        torch.cat(taus),
        torch.from_numpy(row_N.astype(np.int64)).to(device),
        torch.from_numpy(confidence_N).to(device),
    )


def _thresholds(gaussians_BF9: Tensor, size_B2: Tensor) -> Tensor:
    """Otsu's threshold of whole images, (B,) float64, density per pixel squared."""
    boxes_B4 = torch.cat([torch.full_like(size_B2, -0.5), size_B2 - 0.5], dim=1)
    density = point_density(gaussians_BF9, *grid_centres(boxes_B4, OTSU_GRID, OTSU_GRID))
    return otsu_threshold(density.flatten(1))


def _scaled_rows(gaussians: Sequence[np.ndarray], frame_N6: Tensor) -> list[np.ndarray | None]:
    """Each image's Gaussians with a mass of 1 inside the image; None where there is no gaze."""
    scaled: list[np.ndarray | None] = [None] * len(gaussians)
    looked_at = [i for i, rows in enumerate(gaussians) if len(rows)]
    for start in range(0, len(looked_at), _CHUNK):
        chunk = looked_at[start : start + _CHUNK]
        rows_BF9 = pad_rows([gaussians[i] for i in chunk], device=frame_N6.device)
        boxes_B4 = whole_boxes(frame_N6[chunk])
        totals = patch_mass(rows_BF9, *grid_edges(boxes_B4, 1, 1))[:, 0, 0].cpu().numpy()
        for i, total in zip(chunk, totals, strict=True):
            if total > 0:
                scaled[i] = np.array(gaussians[i], dtype=np.float64)
                scaled[i][:, 4] /= total
    return scaled


def _uniform_row() -> np.ndarray:
    """One Gaussian so wide that it is flat over an image of 1 x 1 pixels."""
    row = np.array([[0.0, 0.0, _UNIFORM_SIGMA, _UNIFORM_SIGMA, 1.0, 0.0, 0.0, 1.0, 1.0]])
    return _with_unit_mass(row)


def _mean_row(rows: Sequence[np.ndarray], size_R2: np.ndarray, device: torch.device) -> np.ndarray:
    """The average map as a mixture on a lattice over an image of 1 x 1 pixels."""
    total = np.zeros((MEAN_CELLS, MEAN_CELLS))
    for start in range(0, len(rows), _CHUNK):
        rows_BF9 = pad_rows(rows[start : start + _CHUNK], device=device)
        size_B2 = torch.from_numpy(size_R2[start : start + _CHUNK]).to(device)
        boxes_B4 = torch.cat([torch.full_like(size_B2, -0.5), size_B2 - 0.5], dim=1)
        total += patch_mass(rows_BF9, *grid_edges(boxes_B4, MEAN_CELLS, MEAN_CELLS)).sum(dim=0).cpu().numpy()
    step = 1 / MEAN_CELLS
    centres = (np.arange(MEAN_CELLS) + 0.5) * step - 0.5
    y, x = (axis.ravel() for axis in np.meshgrid(centres, centres, indexing="ij"))
    flat = np.ones_like(x)
    row = np.stack([x, y, step * flat, step * flat, total.ravel() / len(rows), 0 * flat, 0 * flat, flat, flat], axis=1)
    return _with_unit_mass(row)


def _with_unit_mass(row: np.ndarray) -> np.ndarray:
    """A row over an image of 1 x 1 pixels, its mass inside scaled to 1."""
    edges = torch.tensor([[-0.5, 0.5]], dtype=torch.float64)
    row[:, 4] /= float(patch_mass(torch.from_numpy(row)[None], edges, edges))
    return row
