"""Two evaluations of the same test images, compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vpmim.results import (
    ENCODER,
    ResultsError,
    SystemScores,
    beside_each_other,
    figures_of,
    measured,
    read_results,
    read_scores,
    same_test,
)


def compare_runs(first: Path, second: Path, *, draws: int = 1000) -> dict[str, Any]:
    """The first evaluation's encoder minus the second's.

    Parameters
    ----------
    first, second : folders of results
    draws : bootstrap draws over patients, the same for both

    Returns
    -------
    dict
        ``mean``: difference of the mean AUC with its interval, and ``p_bootstrap``; ``classes``: for each the same and
        ``p_delong``. Figures are fractions, not percent.

    Raises
    ------
    ResultsError
        No results, or of other test images, labels or classes.
    """
    a, b = _scores(first), _scores(second)
    if not same_test(a, b):
        raise ResultsError(
            f"{first} and {second} are of other test images, classes or labels; only evaluations of one test "
            "part compare"
        )
    systems = tuple(
        SystemScores(name=name, scores_SNC=scores[f"scores_{ENCODER}"], repeated="")
        for name, scores in (("first", a), ("second", b))
    )
    difference: dict[str, Any] = measured(beside_each_other(a, systems), draws=draws)[0]["differences"]["second"]
    return difference


def render_differences(folders: Sequence[Path]) -> str:
    """Each later evaluation's difference from the first, as a Markdown table; "" where none is of the same test images.

    Parameters
    ----------
    folders : of results
    """
    rows = []
    hash_of = [_test_sha256(folder) for folder in folders]
    for folder, test in zip(folders[1:], hash_of[1:], strict=True):
        if test != hash_of[0]:
            continue
        mean = compare_runs(folder, folders[0])["mean"]
        auc = mean["auc"]
        rows.append(
            f"| {folder.resolve().name} minus {folders[0].resolve().name} | {100 * auc['value']:+.2f} "
            f"({100 * auc['low']:+.2f} to {100 * auc['high']:+.2f}) | {mean['p_bootstrap']:.3g} |"
        )
    if not rows:
        return ""
    return "\n".join(["| encoder | mean AUC, paired difference | p (bootstrap) |", "| --- | --- | --- |", *rows]) + "\n"


def _scores(folder: Path) -> dict[str, np.ndarray]:
    read_results(folder)  # says what is wrong where this is no folder of results
    return read_scores(folder)


def _test_sha256(folder: Path) -> str:
    results = read_results(folder)
    with figures_of(folder):
        return str(results["split"]["test"]["sha256"])
