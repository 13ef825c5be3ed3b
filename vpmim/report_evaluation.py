"""The report's evaluations: each with its intervals and controls, and several of the same test images side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vpmim.charts import COLOURS, Dot, intervals
from vpmim.comparison import compare_runs
from vpmim.markup import Html, join, table, tag
from vpmim.results import ENCODER, PIXELS, RANDOM, figures_of, read_results, read_scores
from vpmim.run_record import distinct_names

_KINDS = {ENCODER: "c1", RANDOM: "c2", PIXELS: "c5"}


class Evaluation(NamedTuple):
    """One folder of results: what it is called on the page, where it is, and its ``results.json``."""

    name: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def auc(self) -> Mapping[str, Any]:
        """Mean AUC of what was evaluated, with its interval."""
        figures: Mapping[str, Any] = next(iter(self.record["systems"].values()))["mean"]["auc"]
        return figures


def read_evaluations(folders: Sequence[Path]) -> list[Evaluation]:
    """Results of ``vpmim linear-eval`` or ``finetune``, named so that they can be told apart.

    Raises
    ------
    ResultsError
        A folder without results, or with others.
    """
    names = distinct_names(folders)
    return [Evaluation(name, folder, read_results(folder)) for name, folder in zip(names, folders, strict=True)]


def evaluation_section(evaluations: Sequence[Evaluation]) -> Html:
    """All evaluations; raises `ResultsError` for one whose figures are not there."""
    if not evaluations:
        return tag("p", "No evaluation was given: vpmim linear-eval makes one, --eval shows it here.", class_="note")
    shown = []
    for evaluation in evaluations:
        with figures_of(evaluation.folder):
            shown.append(_evaluation(evaluation))
    # made after each alone, which needs the same figures and says whose are missing
    together = _side_by_side(evaluations) if len(evaluations) > 1 else None
    return join(together, shown)


def rounded(value: float | None) -> str:
    """Three digits, or none."""
    return "none" if value is None or not math.isfinite(value) else f"{value:.3f}"


def with_interval(figure: Mapping[str, Any], *, signed: bool = False) -> str:
    """A figure and its interval, where one could be drawn."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    how = "+.3f" if signed else ".3f"
    if value is None:
        return "none"
    if low is None:
        return f"{value:{how}}"
    return f"{value:{how}} ({low:{how}} to {high:{how}})"


def _side_by_side(evaluations: Sequence[Evaluation]) -> Html:
    """What was evaluated on the same test images and labels in one chart and one table, the first one's differences."""
    alike: dict[object, list[Evaluation]] = {}
    for evaluation in evaluations:
        test = evaluation.record["split"]["test"]
        labels = tuple(next(iter(evaluation.record["systems"].values()))["classes"])
        alike.setdefault((test.get("sha256"), test["images"], labels), []).append(evaluation)
    groups = [group for found in alike.values() for group in _of_same_labels(found)]
    parts = []
    for group in groups:
        first, *others = group
        dots = [
            Dot(one.name, one.auc["value"], one.auc["low"], one.auc["high"], f"c{place % COLOURS + 1}")
            for place, one in enumerate(group)
        ]
        rows = []
        for one in group:
            record = one.record
            change = _paired(one, first) if one is not first else None
            rows.append(
                [
                    one.name,
                    record["encoder"]["name"],
                    f"{record['protocol']}, {record['features']}, {record['label_fraction']:.0%} of the labels",
                    with_interval(one.auc),
                    "" if change is None else with_interval(change["auc"], signed=True),
                    "" if change is None else f"{change['p_bootstrap']:.3g}",
                ]
            )
        test = first.record["split"]["test"]
        head = ["results", "encoder", "how", "mean AUC (95 % interval)", f"minus {first.name} (95 % interval)", "p"]
        where = f"{first.record['dataset']}, {test['images']:,} test images of {test['patients']:,} patients"
        parts += [
            tag("p", tag("strong", where)) if len(groups) > 1 else tag("p", f"On {where}."),
            intervals(dots, title="Mean AUC on the test images", reference=0.5, reference_label="chance"),
            table(head, rows, label=f"Evaluations on {where}", numbers=(3, 4, 5)),
        ]
        if others:
            parts.append(
                tag(
                    "p",
                    "Differences are paired: on the same bootstrap draws of patients. One whose interval holds 0 is "
                    "not shown to be there; where several are looked at, some leave 0 out by chance.",
                    class_="note",
                )
            )
    other = "Evaluations of other test images or labels stand apart: their figures do not compare."
    return join(tag("h3", "Side by side"), tag("p", other) if len(groups) > 1 else None, parts)


def _of_same_labels(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations of test images of the same ids, split by the values of their labels, which no record holds."""
    if len(evaluations) == 1:
        return [list(evaluations)]
    groups: dict[object, list[Evaluation]] = {}
    for evaluation in evaluations:
        arrays = read_scores(evaluation.folder)
        values = np.asarray(arrays["labels"], np.float64)
        ids, classes = (tuple(arrays[name].tolist()) for name in ("ids", "classes"))
        key = (ids, classes, np.nan_to_num(values, nan=-1.0).tobytes())
        groups.setdefault(key, []).append(evaluation)
    return list(groups.values())


def _paired(one: Evaluation, first: Evaluation) -> Mapping[str, Any]:
    """The mean difference of two evaluations of the same test images."""
    difference: Mapping[str, Any] = compare_runs(one.folder, first.folder)["mean"]
    return difference


def _evaluation(evaluation: Evaluation) -> Html:
    record = evaluation.record
    systems, test = record["systems"], record["split"]["test"]
    classes = list(dict.fromkeys(label for system in systems.values() for label in system["classes"]))
    several = len(classes) > 1
    dots, rows = [], []
    for system, figures in systems.items():
        auc = figures["mean"]["auc"]
        dots.append(Dot(system, auc["value"], auc["low"], auc["high"], _KINDS.get(system, "c3")))
        cells = [system, with_interval(auc), with_interval(figures["mean"]["ap"])]
        if several:
            cells += [rounded(figures["classes"].get(label, {}).get("auc", {}).get("value")) for label in classes]
        rows.append(cells)
    head = ["system", "mean AUC (95 % interval)", "mean AP (95 % interval)"]
    head += [f"AUC {label}" for label in classes] if several else []
    first = next(iter(systems))
    charts = [intervals(dots, title="Mean AUC on the test images", reference=0.5, reference_label="chance")]
    if several:
        aucs = {label: figures["auc"] for label, figures in systems[first]["classes"].items()}
        each = [Dot(label, auc["value"], auc["low"], auc["high"], "c1") for label, auc in aucs.items()]
        charts.append(intervals(each, title=f"AUC of each label: {first}", reference=0.5, reference_label="chance"))
    compared = [_comparison(first, other, change["mean"]) for other, change in record["differences"].items()]
    left_out = [f"{entry['class']}: {entry['reason']}" for entry in record["left_out"]]
    return tag(
        "div",
        tag("h3", evaluation.name),
        tag(
            "p",
            f"Encoder {record['encoder']['name']}, {record['protocol']} protocol on {record['dataset']} (split: "
            f"{record['split']['name']}), features "
            f"{record['features']}, {record['label_fraction']:.0%} of the training labels; {test['images']:,} test "
            f"images of {test['patients']:,} patients; labels: {', '.join(classes)}. Intervals: "
            f"{record['bootstrap']['interval']} over {record['bootstrap']['draws']:,} bootstrap draws of patients.",
        ),
        tag("div", charts, class_="charts"),
        table(head, rows, label=f"Figures of {evaluation.name}", numbers=range(1, len(head))),
        [tag("p", text) for text in compared],
        tag("p", f"Left out: {'; '.join(left_out)}.", class_="note") if left_out else None,
        [tag("p", str(text), class_="note") for text in record.get("notes") or []],
    )


def _comparison(first: str, other: str, change: Mapping[str, Any]) -> str:
    """A difference in words that claim no more than its interval does."""
    auc = change["auc"]
    text = f"{first} minus {other}: {with_interval(auc, signed=True)}"
    if auc["low"] is None:
        return f"{text}; no interval could be drawn."
    verdict = ": the interval holds 0, so no difference is shown" if auc["low"] <= 0 <= auc["high"] else ""
    return f"{text}{verdict}."
