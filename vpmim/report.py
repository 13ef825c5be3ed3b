"""One self-contained HTML page about a run: pictures, curves, evaluations, settings, environment, beside other runs.

It reads what runs and their evaluations left on disk and computes nothing that they did not measure. The page needs no
network; its one script moves the slider of the panels. It says what such a run can and cannot show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazekit.cache import open_cache
from vpmim.checkpoint import write_file
from vpmim.markup import Html, address, callout, join, page, tag
from vpmim.report_comparison import MAX_RUNS, comparison_section
from vpmim.report_evaluation import Evaluation, evaluation_section, read_evaluations, rounded
from vpmim.report_gaze import gaze_section
from vpmim.report_panels import panel_section
from vpmim.report_sections import config_section, environment_section, training_section
from vpmim.run_folder import RunError
from vpmim.run_record import RunRecord, distinct_names, read_run

if TYPE_CHECKING:
    from gazekit.cache import PriorCache

REPORT = "report.html"
"""Default name, inside the RUN folder."""

RECIPE_IMAGES, RECIPE_STEPS = 2616, 8000
"""The published recipe (method.md): distinct images of REFLACX, and about 400 epochs of them."""

_TARGETS = {"hog": "oriented gradients", "pixel": "pixels", "feature": "features of its own moving average"}


def write_report(
    run_dir: str | Path,
    out_html: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    evaluations: Sequence[str | Path] = (),
    compare: Sequence[str | Path] = (),
    notes: Sequence[str] = (),
    title: str | None = None,
    contents: Path | None = None,
) -> dict[str, Any]:
    """Write the report of a run.

    Parameters
    ----------
    run_dir : the RUN folder, finished or not
    out_html : the page; default ``RUN/report.html``
    cache : a cache the run was trained on, whose readings are shown
    evaluations : folders that ``vpmim linear-eval`` wrote
    compare : other RUN folders, drawn beside this one
    notes : sentences to put on top, such as where the images come from
    title : heading; default the folder's name
    contents : a page that lists this one, to link back to

    Returns
    -------
    dict
        ``report`` (path), ``bytes``, ``sections`` (their titles).

    Raises
    ------
    RunError
        A folder holds no run, or its files cannot be read; a run is given twice, or too many are.
    ResultsError, gazekit.errors.CacheError
        An evaluation or the cache cannot be read.
    """
    run = read_run(Path(run_dir), title)
    out = run.folder / REPORT if out_html is None else Path(out_html)
    together = _together(run, [Path(other) for other in compare])
    results = read_evaluations([Path(folder) for folder in evaluations])
    opened = None if cache is None else open_cache(cache)

    sections = []
    if opened is not None:
        sections.append(("Gaze on the images", gaze_section(opened, run.environment)))
    sections.append(("What a step sees and makes", panel_section(run)))
    sections.append(("Training", training_section(run.metrics)))
    if together:
        sections.append(("Beside other runs", comparison_section(together)))
    sections.append(("Evaluation", evaluation_section(results)))
    sections.append(("Configuration", config_section(run.config)))
    sections.append(("Environment", environment_section(run.environment)))

    back = None
    if contents is not None:
        back = tag("p", tag("a", "All runs", href=address(contents, out)))
    text = document(run.name, _header(run, opened, [] if together else results, notes), sections, back=back)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, text)
    return {"report": str(out), "bytes": len(text.encode()), "sections": [name for name, _ in sections]}


def document(name: str, header: Html, sections: Sequence[tuple[str, Html]], *, back: Html | None = None) -> Html:
    """A whole page of sections with links to them; the slider's script where there is a slider.

    Parameters
    ----------
    name : in the window's title
    header : above the sections
    sections : title and content of each
    back : a link to another page
    """
    links = [tag("a", title, href=f"#{_anchor(title)}") for title, _ in sections]
    body = tag(
        "main",
        back,
        header,
        tag("nav", links, aria_label="Sections"),
        [
            tag(
                "section",
                tag("h2", title, id=f"{_anchor(title)}-title"),
                content,
                id=_anchor(title),
                aria_labelledby=f"{_anchor(title)}-title",
            )
            for title, content in sections
        ],
    )
    folder = Path(__file__).parent
    style = (folder / "report.css").read_text(encoding="utf-8")
    slides = any('id="panel-step"' in content for _, content in sections)
    script = (folder / "report_slider.js").read_text(encoding="utf-8") if slides else ""
    return page(f"{name}: vpmim report", style, body, script=script)


def size_caution(run: RunRecord) -> str | None:
    """What is to be said of a run much smaller than the published recipe."""
    planned, batch = run.planned, run.config.train.batch_size
    if not planned:
        return None
    images = run.images()
    if min(planned, RECIPE_STEPS) * batch >= RECIPE_STEPS * 128 // 4 and images >= 1000:
        return None
    return (
        f"{images:,} images ({run.images('with_gaze'):,} with gaze) for {planned:,} steps of {batch}: the "
        f"published recipe takes {RECIPE_IMAGES:,} images and about {RECIPE_STEPS:,} steps of 128. A run of this "
        "size shows that the parts work together; its figures are no evidence for or against the method."
    )


def _together(run: RunRecord, folders: Sequence[Path]) -> list[RunRecord]:
    """A run and those to draw beside it, with names that tell them apart; none where there are no others."""
    if not folders:
        return []
    everyone = [run.folder, *folders]
    if len({folder.resolve() for folder in everyone}) < len(everyone):
        raise RunError("a run was given twice; --compare takes other runs than RUN, each once")
    if len(everyone) > MAX_RUNS:
        raise RunError(f"at most {MAX_RUNS} runs can be told apart on one page, got {len(everyone)}")
    first, *names = distinct_names(everyone)
    return [replace(run, name=first), *(read_run(folder, name) for folder, name in zip(folders, names, strict=True))]


def _header(run: RunRecord, cache: PriorCache | None, evaluations: Sequence[Evaluation], notes: Sequence[str]) -> Html:
    config = run.config
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
        (f"{run.images():,}", f"images, {run.images('with_gaze'):,} with gaze"),
        (run.steps_in_words, f"steps of {config.train.batch_size} images"),
        (rounded(run.last_loss), "loss at the last logged step"),
        (run.speed_in_words, f"images a second on {run.environment.get('device', 'an unknown device')}"),
    ]
    tiles += [(rounded(one.auc["value"]), _auc_words(one)) for one in evaluations]
    return join(
        tag("p", "vpmim training report", class_="eyebrow"),
        tag("h1", run.name),
        tag("p", lead),
        _callout(run, cache, notes),
        tag(
            "div",
            [tag("div", tag("b", value), tag("span", what), class_="tile") for value, what in tiles],
            class_="tiles",
        ),
    )


def _auc_words(evaluation: Evaluation) -> str:
    low, high = evaluation.auc["low"], evaluation.auc["high"]
    interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
    return f"mean AUC of the {next(iter(evaluation.record['systems']))}, {evaluation.name}{interval}"


def _callout(run: RunRecord, cache: PriorCache | None, notes: Sequence[str]) -> Html | None:
    """What a reader must know before believing a figure."""
    lines: list[str] = list(notes)
    if predicted := run.images("predicted"):
        lines.append(
            f"Of {run.images('with_gaze'):,} images with gaze, {predicted:,} have a model's prediction: "
            "nobody read them."
        )
    if run.simulated_gaze or (cache is not None and cache.simulated_gaze):
        lines.append(
            join(
                tag("strong", "The gaze is simulated. "),
                "Its ids begin with 99, its data set is called simulated, or a model predicted it that was fitted to ",
                "such gaze: no person's gaze is in it, and no figure here says anything about radiologists.",
            )
        )
    if run.checkpoint is None:
        lines.append(
            "This run has not reached a checkpoint: there are no weights to evaluate or to resume from"
            + (f", and its last logged step is {run.done:,}." if run.done else ", and no step was logged.")
        )
    if run.unfinished:
        lines.append(f"The run is not finished: {run.done:,} of {run.planned:,} steps.")
    if caution := size_caution(run):
        lines.append(caution)
    return callout(lines)


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
