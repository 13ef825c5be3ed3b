"""Figures of an evaluation broken down by sex, age group, view, or whatever else a data set tells of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vpmim.results import ResultsError, SystemScores, TestScores, measured

AGE = "age"
AGE_BANDS = ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (80, "60 to 79"))
"""Upper bounds, in years, and names of the age groups; who is older is "80 and over"."""

FEWEST = 20
"""Groups of fewer test images are counted and get no figure."""


def subgroup_figures(test: TestScores, attributes: Mapping[str, Sequence[str]], *, draws: int) -> dict[str, Any]:
    """Figures of the first system within each group of test images.

    Parameters
    ----------
    test : TestScores
    attributes : name -> text of each test image, "" where unknown; ages are put into `AGE_BANDS`
    draws : bootstrap draws over the patients of the group

    Returns
    -------
    dict
        Attribute -> group -> ``images``, ``patients`` and, where the group has `FEWEST` images and a class with both
        label values, ``mean`` and ``classes`` as of a whole evaluation. Groups are in the order of their names; images
        of unknown group are under "unknown".
    """
    figures: dict[str, Any] = {}
    for attribute, values in attributes.items():
        group_N = np.array([age_group(value) if attribute == AGE else value or "unknown" for value in values])
        figures[attribute] = {
            str(group): _figures(test, np.flatnonzero(group_N == group), draws) for group in np.unique(group_N)
        }
    return figures


def age_group(years: str) -> str:
    """The name of an age's group."""
    if not years.isdigit():
        return "unknown"
    return next((name for bound, name in AGE_BANDS if int(years) < bound), "80 and over")


def _figures(test: TestScores, rows: np.ndarray, draws: int) -> dict[str, Any]:
    first = test.systems[0]
    group = replace(
        test,
        ids=tuple(test.ids[row] for row in rows),
        patients=tuple(test.patients[row] for row in rows),
        labels_NC=test.labels_NC[rows],
        systems=(SystemScores(first.name, first.scores_SNC[:, rows], first.repeated),),
    )
    counted = {"images": len(rows), "patients": len(set(group.patients))}
    if len(rows) < FEWEST:
        return counted
    try:
        results, _ = measured(group, draws=draws)
    except ResultsError:  # no class has both label values
        return counted
    system = results["systems"][first.name]
    return counted | {"mean": system["mean"], "classes": system["classes"], "left_out": results["left_out"]}
