"""Several evaluations side by side, as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpmim.results import ResultsError, figures_of, read_results


def render_table(folders: Sequence[Path]) -> str:
    """Results side by side, as a Markdown table: one row a system, mean and per-class AUC x 100 with intervals.

    Evaluations on other test images than the first row's are marked, for their figures do not compare.

    Parameters
    ----------
    folders : of `write_results`
    """
    if not folders:
        raise ResultsError("name at least one folder of results")
    found, tests, classes = [], [], []
    for folder in folders:
        one = read_results(folder)
        with figures_of(folder):
            tests.append(one["split"]["test"]["sha256"])
            classes += [name for system in one["systems"].values() for name in system["classes"]]
        found.append(one)
    classes = list(dict.fromkeys(classes))
    head = ["results", "system", "protocol", "data, split", "labels", "chosen", "mean AUC"]
    head += [f"AP {classes[0]}"] if len(classes) == 1 else [f"AUC {name}" for name in classes]
    rows = []
    for folder, one, test in zip(folders, found, tests, strict=True):
        with figures_of(folder):
            rows += _table_rows(folder.resolve().name, one, classes, mark=" *" if test != tests[0] else "")
    lines = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines) + "\n"
    if set(tests) != {tests[0]}:
        text += "\n\\* other test images than in the first row: these figures do not compare.\n"
    return text


def _table_rows(folder: str, one: Mapping[str, Any], classes: Sequence[str], *, mark: str) -> list[list[str]]:
    """The cells of each system; `mark` stands behind the split."""
    rows = []
    for name, system in one["systems"].items():
        cells = [
            folder,
            name,
            f"{one['protocol']}, {one['features']}",
            f"{one['dataset']}, {one['split']['name']}{mark}",
            f"{one['label_fraction']:.0%}",
            chosen_words(one, name),
            _percent(system["mean"]["auc"]),
        ]
        figures = system["classes"]
        if len(classes) == 1:
            cells.append(_percent(figures[classes[0]]["ap"]))
        else:
            cells += [_percent(figures[label]["auc"]) if label in figures else "left out" for label in classes]
        rows.append(cells)
    return rows


def chosen_words(results: Mapping[str, Any], system: str) -> str:
    """What validation chose: the C, or the epoch, or the range of them over classes and repetitions."""
    choices = results["choice"][system]
    trained = "epoch" in choices[0]
    found = {choice["epoch"] for choice in choices} if trained else {c for one in choices for c in one["C"].values()}
    values = sorted(value for value in found if value is not None)
    if not values:
        return ""
    return ("epoch " if trained else "C ") + f"{values[0]:g}" + (f" to {values[-1]:g}" if len(values) > 1 else "")


def _percent(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None:
        return f"{100 * figure['value']:.2f}"
    return f"{100 * figure['value']:.2f} ({100 * figure['low']:.2f}-{100 * figure['high']:.2f})"


def _escaped(cell: str) -> str:
    """Text that stays one cell of a Markdown table and carries no HTML."""
    text = " ".join(cell.split())
    for mark, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(mark, instead)
    return text
