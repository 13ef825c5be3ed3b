"""The report's pictures: gaze on the images of a cache, and what a training step sees and makes.

X-rays are embedded pictures; outlines, patches and fixations are drawn over them as vectors, sharp at any size.

Legend of shape suffixes: S side of the stored square, F fixations, R C rows and columns of patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vpmim.markup import Html, tag
from vpmim.panel_pictures import (
    SIDE,
    Picture,
    has_reconstruction,
    loss_weights,
    reconstruction,
    scales_of,
    target_glyphs,
)
from vpmim.pictures import (
    INFERNO,
    boundary,
    colour_map,
    data_uri,
    heat_overlay,
    relative,
    resized,
    squares,
    to_bytes,
)
from vpmim.prior import crop_prior, grid_centres, original_boxes, point_density
from vpmim.prior_source import prior_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache, Record

    Arrays = Mapping[str, NDArray[Any]]

_LATTICE = 128
_READERS = ("fixation", "fixation second", "fixation third")


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
    seen = _picture(heat_overlay(grey, heat), size, drawn, view=view, label="gaze heatmap")
    split = _picture(
        tinted,
        size,
        [
            tag("path", d=_grid_lines(grid, size), class_="lines"),
            tag("path", d=boundary(relevant, size / grid[1]), class_="edge"),
        ],
        view=view,
        label="patches and their partition",
    )
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


def training_cards(arrays: Arrays, *, pixels: bool, count: int) -> list[Html]:
    """One card an image: what the step saw, and for each scale the target, the reconstruction and the weights.

    Parameters
    ----------
    arrays : a file of RUN/panels, as `vpmim.objective.panels` makes them
    pixels : whether targets are pixels and not oriented gradients
    count : cards
    """
    return [_training_card(arrays, sample, pixels=pixels) for sample in range(min(count, len(arrays["image"])))]


def progress_strip(steps: Sequence[tuple[int, Arrays]], *, pixels: bool) -> Html:
    """The first image's finest reconstruction at each step that was kept; crop and mask are the same at all of them."""
    figures = []
    for step, arrays in steps:
        made = reconstruction(arrays, 0, scales_of(arrays)[0], pixels=pixels)
        figures.append(_captioned(_drawn(made, "reconstruction"), f"step {step:,}"))
    return tag("div", figures, class_="strip")


def _training_card(arrays: Arrays, sample: int, *, pixels: bool) -> Html:
    grey, prior = arrays["image"][sample], arrays["prior"][sample]
    relevant, hidden = arrays["relevant"][sample], arrays["mask"][sample]
    patch = SIDE / relevant.shape[1]
    plain = to_bytes(grey)
    has_gaze = bool(prior.sum() > 0)
    pictures = [_captioned(_picture(plain, SIDE, [], label="crop"), "crop")]
    if has_gaze:
        overlay = heat_overlay(grey, prior)
        outline = tag("path", d=boundary(relevant, patch), class_="edge")
        shade = tag("path", d=squares(~relevant, patch), class_="shade")
        spread = heat_overlay(grey, arrays["recalibrated"][sample])
        pictures += [
            _captioned(_picture(overlay, SIDE, [], label="gaze prior"), "gaze prior of the crop"),
            _captioned(_picture(spread, SIDE, [], label="recalibrated prior"), "recalibrated"),
            _captioned(
                _picture(plain, SIDE, [shade, outline], label="partition"),
                f"relevant: {int(relevant.sum())} of {relevant.size}",
            ),
        ]
    share = f", {int((relevant & hidden).sum())} of {int(relevant.sum())} relevant" if relevant.any() else ""
    covers = tag("path", d=squares(hidden, patch), class_="hide")
    pictures.append(
        _captioned(
            _picture(plain, SIDE, [covers], label="what the encoder sees"),
            f"hidden: {int(hidden.sum())} of {hidden.size}{share}",
        )
    )
    note = None if has_gaze else tag("p", "No gaze went into this mask or these weights.", class_="note")
    scales = scales_of(arrays)
    if len(scales) == 1:
        figures = _scale(arrays, sample, scales[0], pixels=pixels)[1:]  # one scale needs no heading
        return tag("div", tag("div", pictures, figures, class_="strip"), note, class_="card")
    columns = [tag("div", _scale(arrays, sample, scale, pixels=pixels), class_="column") for scale in scales]
    return tag("div", tag("div", pictures, class_="strip"), note, tag("div", columns, class_="scales"), class_="card")


def _scale(arrays: Arrays, sample: int, scale: str, *, pixels: bool) -> list[Html]:
    """Heading, target, reconstruction and weights of one scale."""
    cells = arrays[f"weights_{scale}x"].shape[1:]
    figures = [tag("h4", f"{scale}x: {cells[0]} × {cells[1]} cells")]
    if has_reconstruction(arrays):
        if not pixels:
            figures.append(_captioned(_drawn(target_glyphs(arrays, sample, scale), "target"), "target"))
        made = reconstruction(arrays, sample, scale, pixels=pixels)
        figures.append(_captioned(_drawn(made, "reconstruction"), "reconstruction"))
    weights = loss_weights(arrays, sample, scale)
    figures.append(_captioned(_drawn(weights, "loss weights"), "weight of each cell's error"))
    return figures


def _drawn(picture: Picture, label: str) -> Html:
    return _picture(picture.pixels, SIDE, [], palette=picture.palette, label=label)


def _picture(
    picture: NDArray[np.uint8],
    units: float,
    over: Sequence[Html],
    *,
    label: str,
    view: str | None = None,
    palette: NDArray[np.uint8] | None = None,
) -> Html:
    """A picture drawn `units` wide, with vectors in these units over it."""
    height = units * picture.shape[0] / picture.shape[1]
    image = tag("image", href=data_uri(picture, palette=palette), width=f"{units:g}", height=f"{height:g}")
    box = f"0 0 {units:g} {height:g}" if view is None else view
    return tag("svg", image, over, viewBox=box, role="img", aria_label=label, class_="picture")


def _captioned(picture: Html, caption: str) -> Html:
    return tag("figure", picture, tag("figcaption", caption))


def _grid_lines(grid: tuple[int, int], size: int) -> str:
    across = "".join(f"M0 {size * row / grid[0]:g}h{size}" for row in range(1, grid[0]))
    return across + "".join(f"M{size * col / grid[1]:g} 0v{size}" for col in range(1, grid[1]))
