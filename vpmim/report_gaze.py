"""The report's section on gaze: images of a cache with their heatmap and fixations, patches and partition.

Legend of shape suffixes: S side of the stored square, F fixations, R C rows and columns of patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vpmim.markup import Html, join, tag
from vpmim.pictures import INFERNO, boundary, colour_map, heat_overlay, relative, resized, to_bytes
from vpmim.prior import crop_prior, grid_centres, original_boxes, point_density
from vpmim.prior_source import prior_source
from vpmim.report_pictures import drawing, embedded

if TYPE_CHECKING:
    from gazekit.cache import PriorCache, Record

_LATTICE = 128
_READERS = ("fixation", "fixation second", "fixation third")


def gaze_section(cache: PriorCache, environment: Mapping[str, Any]) -> Html:
    """Some readings of a cache; where the run was trained on another one, it says so."""
    known = {part.get("fingerprint") for part in environment.get("data") or []}
    other = None
    if cache.fingerprint not in known:
        other = tag(
            "p", "This cache is not among those the run was trained on (its fingerprint differs).", class_="note"
        )
    cards = readings_gallery(cache)
    if not cards:
        return join(other, tag("p", f"None of the {len(cache):,} images of this cache has gaze."))
    rows, cols = cache.grid
    return join(
        other,
        tag(
            "p",
            f"{len(cards)} of {len(cache):,} images. Left: the heatmap (square root, relative to its maximum) "
            "with the fixations in their order, area by duration, a colour a reader; dashed: what a reader "
            f"marked. Right: gaze of the {rows} × {cols} patches, and the border (green) of those that Otsu's "
            "threshold calls relevant.",
        ),
        tag("div", cards, class_="readings"),
    )


def readings_gallery(cache: PriorCache, *, count: int = 6) -> list[Html]:
    """Cards of images with gaze, evenly spaced over the cache: heatmap and fixations, patches and partition."""
    offsets = cache.offsets
    with_gaze = np.flatnonzero(np.diff(offsets) > 0)
    picked = with_gaze[np.linspace(0, len(with_gaze) - 1, min(count, len(with_gaze))).round().astype(int)]
    return [_reading(cache[int(row)], cache.grid) for row in picked]


def _reading(record: Record, grid: tuple[int, int]) -> Html:
    size = record.image.shape[0]
    frame = torch.from_numpy(record.frame.to_array())[None]
    square = original_boxes(torch.tensor([[-0.5, -0.5, size - 0.5, size - 0.5]], dtype=torch.float64), frame)
    source = prior_source([record.gaussians], frame)
    gaussians, tau, _ = source.gather(torch.tensor([0]), frame)
    prior = crop_prior(gaussians, square, torch.tensor([False]), tau, rows=grid[0], cols=grid[1])
    heat = point_density(gaussians, *grid_centres(square, _LATTICE, _LATTICE))[0].numpy()
    relevant = prior.relevant_BL[0].reshape(grid).numpy()
    mass = prior.mass_BHW[0].reshape(grid[0], 4, grid[1], 4).sum(dim=(1, 3)).numpy()

    grey = record.image / 255.0
    x0, y0, x1, y1 = record.frame.valid_box
    view = f"{x0 + 0.5:g} {y0 + 0.5:g} {x1 - x0:g} {y1 - y0:g}"
    patches = colour_map(INFERNO, resized(np.sqrt(relative(mass)), size, size, smooth=False))
    tinted = to_bytes(0.55 * grey[..., None] + 0.45 * patches)
    predicted = record.info.get("gaze") == "predicted"
    drawn = [*([] if predicted else _scanpaths(record, frame)), *_marks(record)]
    lines = [
        tag("path", d=_grid_lines(grid, size), class_="lines"),
        tag("path", d=boundary(relevant, size / grid[1]), class_="edge"),
    ]
    name = record.id
    seen = drawing([embedded(heat_overlay(grey, heat), size), drawn], view, label=f"gaze heatmap of {name}")
    split = drawing([embedded(tinted, size), lines], view, label=f"patches of {name} and their partition")
    info = record.info
    readers = info.get("n_readings", len(info.get("reading_ids", [])))
    facts = [
        "predicted gaze, of no reader" if predicted else f"{len(record.gaussians)} fixations",
        f"{info['dwell_s']:.1f} s" if isinstance(info.get("dwell_s"), int | float) and not predicted else None,
        None if predicted else f"{readers} readings" if readers != 1 else "1 reading",
        f"{int(relevant.sum())} of {relevant.size} patches relevant, with {mass[relevant].sum():.0%} of the gaze",
        f"{info['off_image_share']:.0%} of the time off the image" if info.get("off_image_share") else None,
    ]
    caption = tag("div", tag("b", record.id), tag("br"), "; ".join(fact for fact in facts if fact), class_="facts")
    return tag("div", tag("div", seen, split, class_="pair"), caption, class_="card")


def _scanpaths(record: Record, frame: torch.Tensor) -> list[Html]:
    """Each reading's fixations in their order, area by duration; positions are of the picture's edge, not centres."""
    scale, offset = frame[0, 0:2].numpy(), frame[0, 2:4].numpy()
    points = record.gaussians[:, 0:2] * scale + offset + 0.5
    duration = np.maximum(record.offset_s - record.onset_s, 0)
    radius = 5.5 * np.sqrt(duration / max(float(duration.max()), 1e-9))
    drawn: list[Html] = []
    for number, reading in enumerate(np.unique(record.reading_index)):
        mine = np.flatnonzero(record.reading_index == reading)
        mine = mine[np.argsort(record.onset_s[mine], kind="stable")]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points[mine].tolist())
        drawn.append(tag("polyline", points=line, class_="path"))
        drawn += [
            tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{r:.1f}", class_=_READERS[number % len(_READERS)])
            for (x, y), r in zip(points[mine].tolist(), radius[mine].tolist(), strict=True)
        ]
    return drawn


def _marks(record: Record) -> list[Html]:
    """The ellipses that readers drew around findings."""
    drawn = []
    for reading in record.readings:
        for mark in reading.get("ellipses") or []:
            box = np.array([[mark["xmin_px"], mark["ymin_px"]], [mark["xmax_px"], mark["ymax_px"]]])
            (x0, y0), (x1, y1) = record.frame.to_stored(box) + 0.5
            title = tag("title", ", ".join(map(str, mark.get("labels") or [])))
            ellipse = tag(
                "ellipse", title, cx=(x0 + x1) / 2, cy=(y0 + y1) / 2, rx=(x1 - x0) / 2, ry=(y1 - y0) / 2, class_="mark"
            )
            drawn.append(ellipse)
    return drawn


def _grid_lines(grid: tuple[int, int], size: int) -> str:
    across = "".join(f"M0 {size * row / grid[0]:g}h{size}" for row in range(1, grid[0]))
    return across + "".join(f"M{size * col / grid[1]:g} 0v{size}" for col in range(1, grid[1]))
