"""Labels that say "perhaps": what CheXpert and MIMIC-CXR write as -1, and what is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from vpmim.datasets.labelled import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vpmim.datasets.label_table import LabelTable

POLICIES = ("mgca", "ones", "zeros", "unknown")
"""``mgca``: a value for each class, as MGCA publishes it; ``ones`` and ``zeros``: one value for all; ``unknown``: the
label is left out of training and of the figures."""

MGCA: Mapping[str, float] = MappingProxyType(
    {"Atelectasis": 1.0, "Edema": 1.0, "Pleural Effusion": 1.0, "Cardiomegaly": 0.0, "Consolidation": 0.0}
)
"""What MGCA makes of an uncertain label of the five competition classes."""

_VALUES = {"": 0.0, "0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0}
_UNCERTAIN = ("-1", "-1.0")


def labels_with_uncertain(
    table: LabelTable, classes: Sequence[str], rows: Sequence[int], *, policy: str
) -> NDArray[np.float64]:
    """Labels of some rows of a table.

    Parameters
    ----------
    table : LabelTable
        1, 0, -1 (uncertain) or blank (not mentioned, which counts as 0).
    classes : columns
    rows : positions in the table
    policy : one of `POLICIES`

    Returns
    -------
    (N, C) float64 of 0, 1, NaN

    Raises
    ------
    DatasetError
        Another value, an unknown policy, or ``mgca`` for a class that it does not cover.
    """
    if policy not in POLICIES:
        raise DatasetError(f"uncertain labels: expected {', '.join(POLICIES)}, got {policy!r}")
    if policy == "mgca" and (beyond := [name for name in classes if name not in MGCA]):
        raise DatasetError(f"mgca says nothing of uncertain labels of {', '.join(beyond)}; choose another policy")
    labels = np.empty((len(rows), len(classes)))
    for column, name in enumerate(classes):
        cells = table.column(name)
        uncertain = {"mgca": MGCA.get(name, math.nan), "ones": 1.0, "zeros": 0.0, "unknown": math.nan}[policy]
        values = _VALUES | dict.fromkeys(_UNCERTAIN, uncertain)
        for place, row in enumerate(rows):
            if cells[row] not in values:
                raise DatasetError(
                    f"{table.name}, line {table.lines[row]}, column {name!r}: expected 1, 0, -1 or blank, got "
                    f"{cells[row][:20]!r}"
                )
            labels[place, column] = values[cells[row]]
    return labels
