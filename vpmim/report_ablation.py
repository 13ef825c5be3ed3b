"""The page of an ablation: its arms with intervals and paired differences, what they differ in, and every run's report.

It is made from what the folder holds: ``table.json``, runs, evaluations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vpmim.ablation_grid import EVAL, RUN, SEED, slug
from vpmim.charts import COLOURS, Dot, intervals
from vpmim.checkpoint import write_file
from vpmim.markup import Html, address, callout, join, table, tag
from vpmim.report import REPORT, document, size_caution, write_report
from vpmim.report_comparison import MAX_RUNS, comparison_charts, differing_settings
from vpmim.report_evaluation import rounded, with_interval
from vpmim.results import RESULTS, ResultsError, figures_of, read_results
from vpmim.run_folder import CONFIG, METRICS
from vpmim.run_record import RunRecord, read_run

TABLE = "table.json"
SHARED_SEEDS = (
    "An arm with fewer seeds than the first is compared with it over the seeds that both have, so its difference need "
    "not be that of the two mean AUCs in the table."
)
"""To be said where arms have different numbers of seeds."""
_FIGURES = ("low", "high", "sd_over_seeds", "difference", "difference_low", "difference_high", "p")
"""Figures that need not exist: the first arm has no difference, a single seed no spread."""


class _Trained(NamedTuple):
    """One run of an arm: its folder, its evaluation where there is one, and its report or why there is none."""

    seed: str
    run: RunRecord | None
    results: Mapping[str, Any] | None
    report: Path | None
    trouble: str


def is_ablation(folder: Path) -> bool:
    """Whether a folder is that of an ablation, and of no run."""
    return (folder / TABLE).exists() and not (folder / CONFIG).exists()


def write_ablation_report(
    folder: str | Path, out_html: str | Path | None = None, *, title: str | None = None
) -> dict[str, Any]:
    """Write the page of an ablation, and the report of each of its runs that has none newer than its evaluation.

    Parameters
    ----------
    folder : what ``vpmim ablate`` wrote, finished or not
    out_html : the page; default ``report.html`` in the folder
    title : heading; default the folder's name

    Returns
    -------
    dict
        ``report`` (path), ``bytes``, ``sections`` (their titles).

    Raises
    ------
    ResultsError
        The folder holds no table of an ablation, or its table or an evaluation cannot be read.
    """
    folder = Path(folder)
    out = folder / REPORT if out_html is None else Path(out_html)
    rows = _read_table(folder)
    arms = {row["arm"]: _arm_runs(folder, row["arm"], out) for row in rows}
    everything = [trained for runs in arms.values() for trained in runs]
    evaluated = [trained.results for trained in everything if trained.results is not None]
    first = {
        name: run for name, runs in arms.items() if (run := next((t.run for t in runs if t.run), None)) is not None
    }
    named = [replace(run, name=name) for name, run in first.items()]

    sections = [("Arms", _arms_section(rows, arms, out))]
    if len(named) > 1:
        sections.append(("What the arms differ in", _differences_section(named)))
        sections.append(("Training", _training_section(named)))
    sections.append(("Runs", _runs_section(arms, out)))
    name = folder.resolve().name if title is None else title
    text = document(name, _header(name, rows, everything, evaluated), sections)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, text)
    return {"report": str(out), "bytes": len(text.encode()), "sections": [title for title, _ in sections]}


def _read_table(folder: Path) -> list[dict[str, Any]]:
    path = folder / TABLE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{folder}: no {TABLE}; give the folder of vpmim ablate") from None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); the same vpmim ablate command writes it anew") from None
    if not isinstance(rows, list) or not rows or not all(map(_is_row, rows)):
        raise ResultsError(f"{path}: not the table of an ablation; the same vpmim ablate command writes it anew")
    return rows


def _is_row(row: Any) -> bool:
    """Whether this is a line of the table, with every figure that the page shows."""
    if not isinstance(row, dict) or not {"arm", "seeds", "auc", *_FIGURES} <= set(row):
        return False
    figures = [row[name] for name in _FIGURES] + [value for name, value in row.items() if name.startswith("auc ")]
    intervals_whole = all((row[f"{of}low"] is None) == (row[f"{of}high"] is None) for of in ("", "difference_"))
    return (
        isinstance(row["arm"], str)
        and isinstance(row["seeds"], int)
        and isinstance(row["auc"], int | float)
        and all(figure is None or isinstance(figure, int | float) for figure in figures)
        and intervals_whole
        and (row["difference"] is None or row["p"] is not None)
    )


def _arm_runs(folder: Path, arm: str, page: Path) -> list[_Trained]:
    """The runs of an arm in the order of their seeds, each with its report."""
    found = sorted((folder / slug(arm)).glob(f"{SEED}*"), key=lambda path: (len(path.name), path.name))
    return [_trained(cell, arm, page) for cell in found]


def _trained(cell: Path, arm: str, page: Path) -> _Trained:
    seed = cell.name.removeprefix(SEED)
    report = cell / RUN / REPORT
    results = _read_evaluation(cell / EVAL)
    try:
        run = read_run(cell / RUN)
        written = [path.stat().st_mtime_ns for path in (cell / RUN / METRICS, cell / EVAL / RESULTS) if path.exists()]
        newest = max(written, default=0)  # nothing is written of a run that has just begun
        if not report.exists() or report.stat().st_mtime_ns < newest:
            folders = [] if results is None else [cell / EVAL]
            write_report(run.folder, report, evaluations=folders, title=f"{arm}, seed {seed}", contents=page)
    except (ValueError, OSError) as error:  # one run that cannot be shown does not cost the page of all
        return _Trained(seed, None, results, None, str(error))
    return _Trained(seed, run, results, report, "")


def _read_evaluation(folder: Path) -> Mapping[str, Any] | None:
    """Results of a run with the figures that the page shows of them; None where it is not evaluated yet."""
    if not (folder / RESULTS).exists():
        return None
    results = read_results(folder)
    with figures_of(folder, cure=f"remove {folder}, and the same vpmim ablate command evaluates the run anew"):
        with_interval(_auc(results))
        _evaluated_how(results)
    return results


def _auc(results: Mapping[str, Any]) -> Mapping[str, Any]:
    figure: Mapping[str, Any] = next(iter(results["systems"].values()))["mean"]["auc"]
    return figure


def _evaluated_how(results: Mapping[str, Any]) -> str:
    test = results["split"]["test"]
    return (
        f"Evaluated by the {results['protocol']} protocol, features {results['features']}, on {results['dataset']} "
        f"(split: {results['split']['name']}): {test['images']:,} test images of {test['patients']:,} patients. "
        f"Intervals are of {results['bootstrap']['draws']:,} bootstrap draws of patients. They do not say how far "
        "another seed of training would lead: the spread over seeds does."
    )


def _header(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    trained: Sequence[_Trained],
    evaluated: Sequence[Mapping[str, Any]],
) -> Html:
    runs = [one.run for one in trained if one.run is not None]
    lead = (
        f"{len(rows)} arms, {len(evaluated)} evaluated runs. Each arm is compared with the first, {rows[0]['arm']}, on "
        "the same test images and the same draws of patients."
    )
    lines = []
    if len({row["seeds"] for row in rows}) > 1:
        lines.append(f"The arms have different numbers of evaluated runs: the ablation is not finished. {SHARED_SEEDS}")
    begun = [one for one in trained if one.results is None]
    if begun:
        were = "run was begun and is" if len(begun) == 1 else "runs were begun and are"
        lines.append(f"{len(begun)} {were} not evaluated yet, and no figure of an arm holds them.")
    if (same := _same_data(runs)) is False:
        lines.append("Not all runs were trained on the same data: see the runs below.")
    elif same is None:
        lines.append("Whether all runs were trained on the same data is not recorded.")
    if predicted := max((run.images("predicted") for run in runs), default=0):
        lines.append(f"Up to {predicted:,} images of a run have a model's prediction as gaze: nobody read them.")
    if any(run.simulated_gaze for run in runs):
        lines.append(
            "The gaze is simulated: no person's is in it, and no figure here says anything about radiologists."
        )
    cautions = {caution for run in runs if (caution := size_caution(run))}
    lines += sorted(cautions)[:1]
    return join(
        tag("p", "vpmim ablation", class_="eyebrow"),
        tag("h1", name),
        tag("p", lead),
        callout(lines),
        tag("p", _evaluated_how(evaluated[0])) if evaluated else None,
    )


def _arms_section(rows: Sequence[Mapping[str, Any]], arms: Mapping[str, Sequence[_Trained]], page: Path) -> Html:
    kinds = [f"c{place % COLOURS + 1}" for place in range(len(rows))]
    aucs = [Dot(row["arm"], row["auc"], row["low"], row["high"], kind) for row, kind in zip(rows, kinds, strict=True)]
    changes = [
        Dot(row["arm"], row["difference"], row["difference_low"], row["difference_high"], kind)
        for row, kind in zip(rows, kinds, strict=True)
        if row["difference"] is not None
    ]
    labels = [key for key in rows[0] if key.startswith("auc ")]
    each = labels if len(labels) > 1 else []
    lines = []
    for row in rows:
        change = {"value": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
        first = row["difference"] is None
        lines.append(
            [
                row["arm"],
                str(row["seeds"]),
                with_interval({"value": row["auc"], "low": row["low"], "high": row["high"]}),
                "" if row["sd_over_seeds"] is None else f"{row['sd_over_seeds']:.4f}",
                "" if first else with_interval(change, signed=True),
                "" if first else f"{row['p']:.3g}",
                *(rounded(row.get(label)) for label in each),
                tag("td", _links(arms[row["arm"]], page)),
            ]
        )
    head = ["arm", "runs", "mean AUC (95 % interval)", "SD over seeds", f"minus {rows[0]['arm']} (95 % interval)", "p"]
    head += [f"AUC {label.removeprefix('auc ')}" for label in each] + ["reports"]
    charts = [intervals(aucs, title="Mean AUC on the test images", reference=0.5, reference_label="chance")]
    if changes:
        title = f"Difference from {rows[0]['arm']}, paired"
        charts.append(intervals(changes, title=title, reference=0, reference_label="no difference", signed=True))
    return join(
        tag("div", charts, class_="charts"),
        table(head, lines, label="Arms", numbers=range(1, len(head) - 1)),
        tag(
            "p",
            "A difference whose interval holds 0 is not shown to be there. p is of the bootstrap and not corrected for "
            "the number of arms: of twenty that differ in nothing, one has p below 0.05.",
            class_="note",
        ),
    )


def _links(trained: Sequence[_Trained], page: Path) -> Html:
    """A link to the report of each run of an arm."""
    return join(*(tag("span", _link(one, page), class_="entry") for one in trained))


def _link(one: _Trained, page: Path) -> Html:
    if one.report is None:
        return join(f"seed {one.seed}: none")
    return tag("a", f"seed {one.seed}", href=address(one.report, page))


def _differences_section(runs: Sequence[RunRecord]) -> Html:
    note = {
        True: "They were trained on the same data.",
        False: "They were not trained on the same data.",
        None: "Whether they were trained on the same data is not recorded.",
    }[_same_data(runs)]
    return join(tag("p", f"Settings of each arm's first run. {note}"), differing_settings(runs))


def _same_data(runs: Sequence[RunRecord]) -> bool | None:
    """Whether runs were trained on the same data; None where a run does not tell and the others do not differ."""
    recorded = {run.environment.get("data_fingerprint") for run in runs}
    if len(recorded - {None}) > 1:
        return False
    return None if None in recorded else True


def _training_section(runs: Sequence[RunRecord]) -> Html:
    shown = runs[:MAX_RUNS]
    left_out = "" if len(shown) == len(runs) else f", of the first {len(shown)} of {len(runs)} arms"
    return join(
        tag(
            "p",
            f"The first run of each arm{left_out}. Where arms differ in masks, targets, weights or priors their losses "
            "measure different things, and a lower curve does not mean a better encoder.",
        ),
        comparison_charts(shown),
    )


def _runs_section(arms: Mapping[str, Sequence[_Trained]], page: Path) -> Html:
    rows = []
    for arm, runs in arms.items():
        for one in runs:
            run = one.run
            auc = None if one.results is None else _auc(one.results)
            rows.append(
                [
                    join(arm, ", ", _link(one, page)),
                    "" if run is None else run.steps_in_words,
                    "" if run is None else run.images_in_words,
                    "none" if run is None else rounded(run.last_loss),
                    "none" if run is None else run.speed_in_words,
                    "not evaluated" if auc is None else with_interval(auc),
                    one.trouble or ("" if run is None else str(run.environment.get("device", "not recorded"))),
                ]
            )
    head = ["run", "steps", "images", "last loss", "images a second", "mean AUC (95 % interval)", "device"]
    return table(head, rows, label="Runs", numbers=range(1, 6))
