"""The report's panels: what a training step saw of an image, hid, made of it and weighed, with a slider over the steps.

What is the same at all steps is embedded once. Without the page's script the last step is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vpmim.markup import Html, join, tag
from vpmim.panel_pictures import (
    SIDE,
    Picture,
    has_reconstruction,
    loss_weights,
    reconstruction,
    scales_of,
    target_glyphs,
)
from vpmim.pictures import boundary, heat_overlay, squares, to_bytes
from vpmim.report_pictures import captioned, drawing, embedded
from vpmim.run_record import RunRecord, read_panels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

MAX_STEPS = 12
"""Steps on the slider; more, at four scales and four images, would make the page larger than a mail may be."""

_CARDS, _MORE_CARDS = 2, 2
_HOW = {
    "pixel": "Hidden patches show the reconstruction in the patch's own mean and contrast.",
    "feature": "What is reconstructed, features of the moving average of the encoder, is no picture.",
    "hog": "Glyphs are histograms of oriented gradients: a line for each orientation, as bright as the edges along "
    "it. In the reconstruction, amber glyphs are the model's, in what was hidden from it; grey ones are the "
    "target, in what it saw.",
}


class _Panel(NamedTuple):
    """One picture at one step: what is drawn in a view `SIDE` wide, its caption, and what it is, in words."""

    content: Html
    height: float
    caption: str
    label: str
    scale: str = ""


def panel_section(run: RunRecord) -> Html:
    """Panels of a run's saved steps; raises `RunError` for a file that cannot be read."""
    files = run.panel_files()
    if not files:
        return tag("p", "No panels were saved, so there is nothing to see of this run.", class_="note")
    places = sorted({round(place) for place in np.linspace(0, len(files) - 1, MAX_STEPS)})
    steps = [files[place][0] for place in places]
    kept = [read_panels(files[place][1]) for place in places]
    pixels = run.config.target.kind == "pixel"
    cards = training_cards(kept, pixels=pixels, count=_CARDS + _MORE_CARDS)
    saved = f"{len(steps)} of {len(files)} saved steps" if len(steps) < len(files) else "Steps shown"
    border = " The border (green) holds the diagnostically relevant patches." if kept[-1]["relevant"].any() else ""
    drawn = len(kept) > 1 and run.config.target.kind != "feature"
    return join(
        tag(
            "p",
            f"Every step is shown on the same images, crops and random numbers. {_HOW[run.config.target.kind]} Weights "
            f"go from dark (0) to yellow (the largest of all steps); dark cells are not in the loss.{border}",
        ),
        tag("p", f"{saved}: {', '.join(f'{step:,}' for step in steps)}.", class_="note"),
        _slider([_step_words(run, step) for step in steps]) if len(steps) > 1 else None,
        cards[:_CARDS],
        tag("details", tag("summary", f"{len(cards) - _CARDS} more images"), cards[_CARDS:])
        if len(cards) > _CARDS
        else None,
        [tag("h3", "The first image's reconstruction, step by step"), progress_strip(steps, kept, pixels=pixels)]
        if drawn
        else None,
    )


def training_cards(steps: Sequence[Arrays], *, pixels: bool, count: int) -> list[Html]:
    """One card an image: what each step saw, and for each scale the target, the reconstruction and the weights.

    Parameters
    ----------
    steps : a file of RUN/panels for each step, as `vpmim.objective.panels` makes them
    pixels : whether targets are pixels and not oriented gradients
    count : cards
    """
    images = min(len(arrays["image"]) for arrays in steps)
    return [_card(steps, sample, pixels=pixels) for sample in range(min(count, images))]


def progress_strip(steps: Sequence[int], kept: Sequence[Arrays], *, pixels: bool) -> Html:
    """The first image's reconstruction at each step, at the scale of one cell a patch, or the nearest there is."""
    scale = min(scales_of(kept[-1]), key=lambda name: abs(float(name) - 1))
    figures = []
    for step, arrays in zip(steps, kept, strict=True):
        panel = _drawn(reconstruction(arrays, 0, scale, pixels=pixels), f"step {step:,}", f"{scale}x reconstruction")
        figures.append(
            captioned(drawing(panel.content, _view(panel), label=f"{panel.label}, step {step}"), panel.caption)
        )
    return tag("div", figures, class_="strip")


def _step_words(run: RunRecord, step: int) -> str:
    """What the slider says of a step."""
    losses = {logged["step"]: logged.get("loss") for logged in run.metrics}
    of = f" of {run.planned:,}" if run.planned else ""
    if step == 0:
        return f"step 0{of}: before training"
    loss = losses.get(step)
    return f"step {step:,}{of}" + (f": loss {loss:.3f}" if isinstance(loss, int | float) else "")


def _slider(words: Sequence[str]) -> Html:
    """A slider over the steps; the script shows it, for without one it does nothing."""
    last = len(words) - 1
    return tag(
        "div",
        tag("label", "Training step", for_="panel-step"),
        tag(
            "input",
            id="panel-step",
            type="range",
            min=0,
            max=last,
            step=1,
            value=last,
            list="panel-steps",
            autocomplete="off",
            aria_valuetext=words[-1],
        ),
        tag("output", words[-1], for_="panel-step", aria_live="off"),
        tag("datalist", [tag("option", value=place, label=text) for place, text in enumerate(words)], id="panel-steps"),
        class_="slider",
        hidden="hidden",
    )


def _card(steps: Sequence[Arrays], sample: int, *, pixels: bool) -> Html:
    largest = {
        scale: max(
            float(arrays[f"weights_{scale}x"][sample].max()) for arrays in steps if f"weights_{scale}x" in arrays
        )
        for scale in scales_of(steps[-1])
    }
    panels = [_panels(arrays, sample, largest, pixels=pixels) for arrays in steps]
    shared = [name for name in panels[-1] if all(name in step for step in panels)]
    scales: dict[str, list[Html]] = {}
    for name in shared:
        versions = [step[name] for step in panels]
        scales.setdefault(versions[-1].scale, []).append(_figure(versions))
    strip = scales.pop("")
    has_gaze = "prior" in panels[-1]
    note = None if has_gaze else tag("p", "No gaze went into this mask or these weights.", class_="note")
    title = tag("h3", f"Image {sample + 1}")
    if len(scales) == 1:  # one scale needs no heading
        return tag("div", title, tag("div", strip, *scales.values(), class_="strip"), note, class_="card")
    columns = []
    for scale, figures in scales.items():
        rows, cols = steps[-1][f"weights_{scale}x"].shape[1:]
        columns.append(tag("div", tag("h4", f"{scale}x: {rows} × {cols} cells"), figures, class_="column"))
    return tag(
        "div", title, tag("div", strip, class_="strip"), note, tag("div", columns, class_="scales"), class_="card"
    )


def _panels(arrays: Arrays, sample: int, largest: Mapping[str, float], *, pixels: bool) -> dict[str, _Panel]:
    """Every picture of an image at one step, by name."""
    grey, prior = arrays["image"][sample], arrays["prior"][sample]
    relevant, hidden = arrays["relevant"][sample], arrays["mask"][sample]
    patch = SIDE / relevant.shape[1]
    plain = embedded(to_bytes(grey), SIDE)
    found = {"crop": _Panel(plain, SIDE, "crop", "crop")}
    if prior.sum() > 0:
        outline = tag("path", d=boundary(relevant, patch), class_="edge")
        shade = tag("path", d=squares(~relevant, patch), class_="shade")
        spread = heat_overlay(grey, arrays["recalibrated"][sample])
        found |= {
            "prior": _Panel(embedded(heat_overlay(grey, prior), SIDE), SIDE, "gaze prior of the crop", "gaze prior"),
            "recalibrated": _Panel(embedded(spread, SIDE), SIDE, "recalibrated", "recalibrated prior"),
            "relevant": _Panel(
                join(plain, shade, outline), SIDE, f"relevant: {int(relevant.sum())} of {relevant.size}", "partition"
            ),
        }
    share = f", {int((relevant & hidden).sum())} of {int(relevant.sum())} relevant" if relevant.any() else ""
    covers = tag("path", d=squares(hidden, patch), class_="hide")
    counts = f"hidden: {int(hidden.sum())} of {hidden.size}{share}"
    found["hidden"] = _Panel(join(plain, covers), SIDE, counts, "what the encoder sees")
    several = len(scales_of(arrays)) > 1
    for scale in scales_of(arrays):
        at = f" at {scale}x" if several else ""
        if has_reconstruction(arrays):
            if not pixels:
                target = target_glyphs(arrays, sample, scale)
                found[f"target {scale}"] = _drawn(target, "target", f"target{at}", scale)
            made = reconstruction(arrays, sample, scale, pixels=pixels)
            found[f"made {scale}"] = _drawn(made, "reconstruction", f"reconstruction{at}", scale)
        weights = loss_weights(arrays, sample, scale, largest=largest[scale])
        words = f"weight of each cell's error, 0 to {largest[scale]:.2g}"
        found[f"weights {scale}"] = _drawn(weights, words, f"loss weights{at}", scale)
    return found


def _drawn(picture: Picture, caption: str, label: str, scale: str = "") -> _Panel:
    height = SIDE * picture.pixels.shape[0] / picture.pixels.shape[1]
    return _Panel(embedded(picture.pixels, SIDE, palette=picture.palette), height, caption, label, scale)


def _figure(versions: Sequence[_Panel]) -> Html:
    """A picture at all steps, the last one seen."""
    picture = _frames([panel.content for panel in versions], "g")
    caption = _frames([join(panel.caption) for panel in versions], "span")
    return captioned(drawing(picture, _view(versions[-1]), label=versions[-1].label), caption)


def _view(panel: _Panel) -> str:
    return f"0 0 {SIDE:g} {panel.height:g}"


def _frames(contents: Sequence[Html], element: str) -> Html:
    """What differs from step to step, once a version, in elements that tell the script when they are shown."""
    if len(set(contents)) == 1:
        return contents[0]
    versions, first = [], 0
    for content, group in groupby(contents):
        last = first + len(list(group)) - 1
        kind = "frame now" if last == len(contents) - 1 else "frame"
        versions.append(tag(element, content, class_=kind, data_first=first, data_last=last))
        first = last + 1
    return join(versions)
