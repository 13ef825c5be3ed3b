"""One self-contained HTML page about a run: pictures, curves, evaluations, settings, environment.

It reads what a run and its evaluations left on disk and computes nothing that they did not measure. The page needs no
network and no script, and says what such a run can and cannot show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from gazekit.cache import open_cache
from vpmim.checkpoint import LAST, write_file
from vpmim.config import Config
from vpmim.markup import Html, join, page, tag
from vpmim.report_pictures import progress_strip, readings_gallery, training_cards
from vpmim.report_sections import (
    config_section,
    environment_section,
    evaluation_section,
    figure,
    training_section,
)
from vpmim.results import read_results
from vpmim.run_folder import ENVIRONMENT, METRICS, PANELS, RunError, read_config

if TYPE_CHECKING:
    from gazekit.cache import PriorCache

REPORT = "report.html"
"""Default name, inside the RUN folder."""

RECIPE_IMAGES, RECIPE_STEPS = 2616, 8000
"""The published recipe (method.md): distinct images of REFLACX, and about 400 epochs of them."""

_PANEL_ARRAYS = {"image", "prior", "recalibrated", "relevant", "mask"}
_CARDS, _MORE_CARDS = 2, 2
_STEPS_SHOWN = 8
_TARGETS = {"hog": "oriented gradients", "pixel": "pixels", "feature": "features of its own moving average"}


def write_report(
    run_dir: str | Path,
    out_html: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    evaluations: Sequence[str | Path] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the report of a run.

    Parameters
    ----------
    run_dir : the RUN folder, finished or not
    out_html : the page; default ``RUN/report.html``
    cache : a cache the run was trained on, whose readings are shown
    evaluations : folders that ``vpmim linear-eval`` wrote
    notes : sentences to put on top, such as where the images come from

    Returns
    -------
    dict
        ``report`` (path), ``bytes``, ``sections`` (their titles).

    Raises
    ------
    RunError
        The folder holds no run, or its files cannot be read.
    ResultsError, gazekit.errors.CacheError
        An evaluation or the cache cannot be read.
    """
    run = Path(run_dir)
    config = read_config(run)
    environment = _read_environment(run)
    metrics = read_metrics(run)
    results = [(Path(folder), read_results(Path(folder))) for folder in evaluations]
    opened = None if cache is None else open_cache(cache)

    sections = []
    if opened is not None:
        sections.append(("Gaze on the images", _gaze_section(opened, environment)))
    sections.append(("What a step sees and makes", _panel_section(run, config)))
    sections.append(("Training", training_section(metrics)))
    sections.append(("Evaluation", evaluation_section(results)))
    sections.append(("Configuration", config_section(config)))
    sections.append(("Environment", environment_section(environment)))

    name = run.resolve().name
    links = [tag("a", title, href=f"#{_anchor(title)}") for title, _ in sections]
    body = tag(
        "main",
        _header(name, config, environment, metrics, _last_checkpoint(run), opened, results, notes),
        tag("nav", links),
        [tag("section", tag("h2", title), content, id=_anchor(title)) for title, content in sections],
    )
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    text = page(f"{name}: vpmim report", style, body)
    out = run / REPORT if out_html is None else Path(out_html)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, text)
    return {"report": str(out), "bytes": len(text.encode()), "sections": [title for title, _ in sections]}


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The logged steps of a run; a half-written last line is left out.

    Raises
    ------
    RunError
        A line in the middle is not a JSON object.
    """
    path = run / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    steps = []
    for number, line in enumerate(lines, start=1):
        try:
            steps.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            if number < len(lines):
                raise RunError(f"{path}: line {number} is not a JSON object; the file is damaged") from None
    return [step for step in steps if isinstance(step.get("step"), int)]


def simulated(cache: PriorCache) -> bool:
    """Whether all images and patients of a cache have invented ids, which begin with 99: gaze of no person."""
    names = [str(row.get("patient_id") or row["image_id"]) for row in cache.rows] + cache.ids
    return bool(names) and all(name.lstrip("pP").startswith("99") for name in names)


def _header(
    name: str,
    config: Config,
    environment: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    checkpoint: int | None,
    cache: PriorCache | None,
    results: Sequence[tuple[Path, Mapping[str, Any]]],
    notes: Sequence[str],
) -> Html:
    data = environment.get("data") or []
    images = sum(part.get("images", 0) for part in data)
    with_gaze = sum(part.get("with_gaze", 0) for part in data)
    if predicted := sum(part.get("predicted", 0) for part in data):
        notes = [
            *notes,
            f"Of {with_gaze:,} images with gaze, {predicted:,} have a model's prediction: nobody read them.",
        ]
    done = metrics[-1]["step"] if metrics else 0
    planned = environment.get("steps")
    method = {
        "regions": f"gaze-controlled masking (relevant patches hidden at {config.mask.kappa:g})",
        "random": "random masking",
    }.get(config.mask.kind, f"{config.mask.kind} masking")
    lead = (
        f"Masked image modelling of {config.model.encoder} at {config.data.input_size} px, started from "
        f"{Path(config.model.init).name}: {method}, {config.mask.ratio:.0%} of the patches hidden, "
        f"{_TARGETS[config.target.kind]} reconstructed at "
        f"{len(config.decoder.scales)} scale{'s' if len(config.decoder.scales) > 1 else ''}, "
        f"prior: {config.prior.source}."
    )
    tiles = [
        (f"{images:,}", f"images, {with_gaze:,} with gaze"),
        (f"{done:,}" + (f" of {planned:,}" if planned else ""), f"steps of {config.train.batch_size} images"),
        (figure(metrics[-1].get("loss")) if metrics else "none", "loss at the last logged step"),
        (_throughput(metrics), f"images a second on {environment.get('device', 'an unknown device')}"),
    ]
    for folder, record in results:
        first, system = next(iter(record["systems"].items()))
        auc = system["mean"]["auc"]
        title = f"mean AUC of the {first}, {folder.resolve().name}" + (
            f" ({auc['low']:.3f} to {auc['high']:.3f})" if auc["low"] is not None else ""
        )
        tiles.append((f"{auc['value']:.3f}", title))
    return join(
        tag("p", "vpmim training report", class_="eyebrow"),
        tag("h1", name),
        tag("p", lead),
        _callout(config, images, with_gaze, done, planned, checkpoint, cache, notes),
        tag(
            "div",
            [tag("div", tag("b", value), tag("span", what), class_="tile") for value, what in tiles],
            class_="tiles",
        ),
    )


def _callout(
    config: Config,
    images: int,
    with_gaze: int,
    done: int,
    planned: int | None,
    checkpoint: int | None,
    cache: PriorCache | None,
    notes: Sequence[str],
) -> Html | None:
    """What a reader must know before believing a figure."""
    lines: list[str] = list(notes)
    if cache is not None and simulated(cache):
        lines.append(
            join(
                tag("strong", "The gaze is simulated. "),
                "All its ids are invented (they begin with 99): no person read these images, and no figure here says ",
                "anything about radiologists.",
            )
        )
    if checkpoint is None:
        lines.append(
            "This run has not reached a checkpoint: there are no weights to evaluate or to resume from"
            + (f", and its last logged step is {done:,}." if done else ", and no step was logged.")
        )
    if planned and done < planned:
        lines.append(f"The run is not finished: {done:,} of {planned:,} steps.")
    if planned and (min(planned, RECIPE_STEPS) * config.train.batch_size < RECIPE_STEPS * 128 // 4 or images < 1000):
        lines.append(
            f"{images:,} images ({with_gaze:,} with gaze) for {planned:,} steps of {config.train.batch_size}: the "
            f"published recipe takes {RECIPE_IMAGES:,} images and about {RECIPE_STEPS:,} steps of 128. A run of this "
            "size shows that the parts work together; its figures are no evidence for or against the method."
        )
    if not lines:
        return None
    return tag("div", [tag("p", line) for line in lines], class_="callout", role="note")


def _gaze_section(cache: PriorCache, environment: Mapping[str, Any]) -> Html:
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


def _panel_section(run: Path, config: Config) -> Html:
    files = sorted((run / PANELS).glob("step_*.npz"))
    if not files:
        return tag("p", "No panels were saved, so there is nothing to see of this run.", class_="note")
    shown = [files[i] for i in sorted({round(i) for i in np.linspace(0, len(files) - 1, _STEPS_SHOWN)})]
    kept = [(int(path.stem.removeprefix("step_")), _read_panels(path)) for path in shown]
    pixels = config.target.kind == "pixel"
    step, arrays = kept[-1]
    cards = training_cards(arrays, pixels=pixels, count=_CARDS + _MORE_CARDS)
    how = {
        "pixel": "Hidden patches show the reconstruction in the patch's own mean and contrast.",
        "feature": "What is reconstructed, features of the moving average of the encoder, is no picture.",
        "hog": "Glyphs are histograms of oriented gradients: a line for each orientation, as bright as the edges along "
        "it. In the reconstruction, amber glyphs are the model's, in what was hidden from it; grey ones are the "
        "target, in what it saw.",
    }[config.target.kind]
    return join(
        tag(
            "p",
            f"At step {step:,}. {how} Weights are relative to the largest; dark cells are not in the loss."
            + (" The border (green) holds the diagnostically relevant patches." if arrays["relevant"].any() else ""),
        ),
        cards[:_CARDS],
        tag("details", tag("summary", f"{len(cards) - _CARDS} more images"), cards[_CARDS:])
        if len(cards) > _CARDS
        else None,
        [tag("h3", "The first image's finest reconstruction as training went on"), progress_strip(kept, pixels=pixels)]
        if len(kept) > 1 and config.target.kind != "feature"
        else None,
    )


def _read_environment(run: Path) -> dict[str, Any]:
    path = run / ENVIRONMENT
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: not a JSON object ({error})") from None


def _read_panels(path: Path) -> dict[str, np.ndarray]:
    try:
        # opened here: numpy leaves a file open that it cannot read
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise RunError(f"{path}: cannot be read ({error}); remove it to have a report without it") from None
    if missing := sorted(_PANEL_ARRAYS - set(arrays)):
        raise RunError(f"{path}: lacks {', '.join(missing)}; remove it to have a report without it")
    return arrays


def _last_checkpoint(run: Path) -> int | None:
    """Step of the newest complete checkpoint, or None."""
    try:
        return int(json.loads((run / LAST).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _throughput(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Median over the logged steps but the first tenth, which hold the warm-up of the machine."""
    speeds = [step["images_per_s"] for step in metrics if isinstance(step.get("images_per_s"), int | float)]
    return f"{np.median(speeds[len(speeds) // 10 :]):,.0f}" if speeds else "none"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
