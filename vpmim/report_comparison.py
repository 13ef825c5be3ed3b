"""The report's section on several runs: their curves in one chart, what differs, and what does not compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vpmim.charts import COLOURS, curves, key
from vpmim.config import flatten
from vpmim.markup import Html, callout, join, table, tag
from vpmim.report_evaluation import rounded
from vpmim.report_sections import LEVELS, code, logged, scale_losses
from vpmim.run_record import RunRecord
from vpmim.setting_checks import toml_value

MAX_RUNS = 2 * COLOURS
"""More lines could not be told apart in one chart."""

_MEASURE = ("target.", "loss.", "mask.", "prior.", "recalibrate.", "data.input_size", "data.crop", "decoder.scales")
"""Settings that change what a loss is, or how hard its task is; not how well it is solved."""

_MACHINE = ("device", "threads", "processes", "precision", "compiled", "images_on_device")


def comparison_section(runs: Sequence[RunRecord]) -> Html:
    """A run and others.

    Parameters
    ----------
    runs : the reported run first; names differ
    """
    return join(
        tag(
            "p",
            "Each line is a single run. Runs that differ in nothing but their seed differ in their curves and figures "
            "too, so a difference between two runs is not yet one between two methods.",
        ),
        _cautions(runs),
        _overview(runs),
        comparison_charts(runs),
        tag("h3", "Settings that differ"),
        differing_settings(runs),
    )


def comparison_charts(runs: Sequence[RunRecord]) -> Html:
    """Loss, the loss of each scale, and throughput, a line a run."""
    steps = [step for run in runs for step in run.metrics]
    if not steps:
        return tag("p", "None of these runs logged a step.", class_="note")
    titles = {"loss": "Loss"}
    titles |= {name: f"Reconstruction loss at {name.removeprefix('loss_')}" for name in scale_losses(steps)}
    titles |= {"loss_gaze": "Gaze head: cross-entropy, nats"} if any("loss_gaze" in step for step in steps) else {}
    titles["images_per_s"] = LEVELS["images_per_s"]
    charts = [
        curves({run.name: logged(run.metrics, name) for run in runs}, title=title, logarithmic=name not in LEVELS)
        for name, title in titles.items()
    ]
    return tag("div", charts, class_="charts")


def differing_settings(runs: Sequence[RunRecord]) -> Html:
    """A row for each setting in which runs differ; what differs from the first run is marked."""
    flat = [flatten(run.config) for run in runs]
    keys = [name for name in flat[0] if any(one[name] != flat[0][name] for one in flat)]
    if not keys:
        return tag("p", "None: these runs have the same settings.", class_="note")
    rows = [
        [
            code(name),
            *(
                tag("td", code(toml_value(one[name])), class_=None if one[name] == flat[0][name] else "changed")
                for one in flat
            ),
        ]
        for name in keys
    ]
    return table(["setting", *(run.name for run in runs)], rows, label="Settings that differ")


def _overview(runs: Sequence[RunRecord]) -> Html:
    rows = []
    for place, run in enumerate(runs):
        rows.append(
            [
                join(key(f"c{place % COLOURS + 1} d{place // COLOURS}"), run.name),
                run.steps_in_words,
                run.images_in_words,
                str(run.config.seed),
                rounded(run.last_loss),
                run.speed_in_words,
                str(run.environment.get("device", "not recorded")),
            ]
        )
    head = ["run", "steps", "images", "seed", "last loss", "images a second", "device"]
    return table(head, rows, label="Runs compared", numbers=(1, 2, 3, 4, 5))


def _cautions(runs: Sequence[RunRecord]) -> Html | None:
    """What does not compare, and why."""
    first, *others = runs
    lines = [
        f"{run.name} is not finished: {run.done:,} of {run.planned:,} steps."
        if run.done
        else f"{run.name} logged no step: it has no curve."
        for run in runs
        if run.unfinished or not run.done
    ]
    lengths = {run.planned or run.done for run in runs}
    if len(lengths) > 1:
        lines.append(
            "The runs were planned for different numbers of steps. The learning rate and the schedules follow the "
            "length of a run, so the shorter one is no beginning of the longer one."
        )
    lines += [f"{run.name} {_other_data(first, run)}" for run in others if _other_data(first, run)]
    measures = _differing(runs, _MEASURE)
    if measures:
        lines.append(
            f"What the loss measures, or how hard its task is, differs ({', '.join(measures)}): a lower curve does not "
            "mean a better encoder."
        )
    machines = [name for name in _MACHINE if len({str(run.environment.get(name)) for run in runs}) > 1]
    if machines:
        words = ", ".join(name.replace("_", " ") for name in machines)
        lines.append(
            f"They ran on different machines or in different ways ({words}): their throughput does not compare."
        )
    return callout(lines)


def _differing(runs: Sequence[RunRecord], prefixes: tuple[str, ...]) -> list[str]:
    """Settings of some sections in which runs differ."""
    flat: list[Mapping[str, Any]] = [flatten(run.config) for run in runs]
    return [name for name in flat[0] if name.startswith(prefixes) and any(one[name] != flat[0][name] for one in flat)]


def _other_data(first: RunRecord, run: RunRecord) -> str:
    """What is to be said of the data of a run beside those of the first one."""
    mine, theirs = (one.environment.get("data_fingerprint") for one in (first, run))
    if mine is None or theirs is None:
        return "and the first run may have been trained on different data: a fingerprint was not recorded."
    if mine == theirs:
        return ""
    return (
        f"was trained on other data than {first.name}: {run.images():,} images, {run.images('with_gaze'):,} with gaze, "
        f"fingerprint {theirs[:12]} and not {mine[:12]}."
    )
