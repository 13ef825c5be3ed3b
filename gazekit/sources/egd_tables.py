"""EGD-CXR's tables of the whole data set (gaze-formats 2.3 to 2.5): read once, and kept by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import InputError
from gazekit.sources.egd_format import (
    BOX_COLUMNS,
    CLASSES,
    FIXATION_COLUMNS,
    GAZE_ID,
    IMAGE_ID_LENGTH,
    LABELS,
    PADS,
    SHEET_COLUMNS,
    UNUSED_GAZE_COLUMNS,
    UNUSED_SHEET_COLUMNS,
)
from gazekit.sources.egd_mapping import SCREEN_PX
from gazekit.sources.paths import check_case, check_id, check_path
from gazekit.sources.table_file import Refuse
from gazekit.sources.tables import Table, finite_number, read_table, shorten, whole_number

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Case:
    """What the master sheet says of one image; `pads` are top, bottom, left, right in screen pixels."""

    image_id: str
    image_path: str
    patient_id: str
    pads: tuple[int, int, int, int]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class GazeRows:
    """Rows of ``fixations.csv``, those of one image together, otherwise in the order of the file.

    Attributes
    ----------
    name : str
        What messages call the file.
    columns : mapping
        Column to (N,) float64, NaN where empty or not a number.
    not_number : (N,) bool
        Rows with text where a number belongs.
    lines : (N,) int64
        Line of the file.
    spans : mapping
        Image id, or id of a calibration screen, to its rows.
    """

    name: str
    columns: Mapping[str, NDArray[np.float64]]
    not_number: NDArray[np.bool_]
    lines: NDArray[np.int64]
    spans: Mapping[str, slice]

    def of(self, image_id: str) -> GazeRows:
        """The rows of one id; none where the table does not name it."""
        return self._where(self.spans.get(image_id, slice(0, 0)))

    def calibration_rows(self) -> GazeRows:
        """The rows of all calibration screens, in the order of the file."""
        spans = [self.spans[screen] for screen in self.calibration_ids]
        rows = np.concatenate([np.zeros(0, np.intp), *(np.arange(span.start, span.stop) for span in spans)])
        return self._where(rows[np.argsort(self.lines[rows], kind="stable")])

    def _where(self, rows: slice | NDArray[np.intp]) -> GazeRows:
        columns = {name: values[rows] for name, values in self.columns.items()}
        return GazeRows(self.name, columns, self.not_number[rows], self.lines[rows], {})

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def fractions(self) -> NDArray[np.float64]:
        """(N, 2) fixation points as fractions of the screen."""
        return np.stack([self.columns["FPOGX"], self.columns["FPOGY"]], axis=1)

    @property
    def calibration_ids(self) -> list[str]:
        """Ids of calibration screens."""
        return [image_id for image_id in self.spans if len(image_id) != IMAGE_ID_LENGTH]


def read_sheet(path: Path, notes: list[str], *, name: str | None = None) -> dict[str, Case]:
    """The master sheet by image id; every id and path is checked here, before any is used.

    Raises
    ------
    InputError
        The table is not as the format says; an id or path is unsafe, or an id occurs twice; pads leave no image.
    """
    table = read_table(path, required=SHEET_COLUMNS, optional=LABELS, name=name)
    notes += _notes(table, UNUSED_SHEET_COLUMNS)
    pads = [table.parse(pad, _pad, "a whole number of screen pixels, 0 or more") for pad in PADS]
    labels = list(_labels(table, notes))
    cases: dict[str, Case] = {}
    for k, (top, bottom, left, right) in enumerate(zip(*pads, strict=True)):
        image_id = check_id(table.columns["dicom_id"][k], table.where(k, "dicom_id"))
        if left + right >= SCREEN_PX[0] or top + bottom >= SCREEN_PX[1]:
            raise InputError(
                f"{table.where(k, PADS[0])}: pads of {top}, {bottom}, {left} and {right} leave nothing of the screen "
                f"of {SCREEN_PX[0]} x {SCREEN_PX[1]}; correct the table"
            )
        if image_id in cases:
            raise InputError(f"{table.where(k, 'dicom_id')}: {image_id} occurs twice; keep one of its rows")
        cases[image_id] = Case(
            image_id,
            check_path(table.columns["path"][k], table.where(k, "path")),
            check_id(table.columns["patient_id"][k], table.where(k, "patient_id")),
            (top, bottom, left, right),
            labels[k],
        )
    check_case(sorted(cases), table.name)
    return cases


def read_fixation_rows(
    path: Path, notes: list[str], *, name: str | None = None, refuse: Refuse = InputError
) -> GazeRows:
    """``fixations.csv``; a text where a number belongs costs its row, by the line.

    Raises
    ------
    InputError, or what `refuse` makes
        The table is not as the format says, or has screen pixels where fractions of the screen belong.
    """
    table = read_table(path, required=(GAZE_ID, *FIXATION_COLUMNS), name=name, refuse=refuse)
    notes += _notes(table, UNUSED_GAZE_COLUMNS)
    columns: dict[str, NDArray[np.float64]] = {}
    not_number = np.zeros(len(table), dtype=bool)
    for column in FIXATION_COLUMNS:
        columns[column], wrong = table.numbers(column)
        if wrong.any():
            refusal = table.refusal(int(wrong.argmax()), column, "a number")
            notes.append(f"{refusal}; {int(wrong.sum())} such rows are dropped")
        not_number |= wrong
    _check_fractions(columns, table.name, refuse)
    if (blank := next((k for k, cell in enumerate(table.columns[GAZE_ID]) if not cell.strip()), None)) is not None:
        raise table.refusal(blank, GAZE_ID, "an id")
    ids = np.array(table.columns[GAZE_ID], dtype=object)
    order = np.argsort(ids.astype(str), kind="stable")
    # where the sorted ids change, an id's rows begin
    ordered = ids[order]
    starts = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist()]
    spans = {str(ordered[a]): slice(a, b) for a, b in zip(starts, [*starts[1:], len(ordered)], strict=True)}
    return GazeRows(
        path.name,
        {column: values[order] for column, values in columns.items()},
        not_number[order],
        np.array(table.lines, np.int64)[order],
        spans,
    )


def read_boxes(
    path: Path, notes: list[str], *, name: str | None = None, refuse: Refuse = InputError
) -> dict[str, pd.DataFrame]:
    """``bounding_boxes.csv`` by image id, as `Reading.boxes`; without the file none, which is noted."""
    import pandas as pd

    if not path.exists():
        notes.append(f"{path.name}: no such file; the readings have no boxes")
        return {}
    table = read_table(path, required=("dicom_id", "bbox_name", *BOX_COLUMNS), name=name, refuse=refuse)
    notes += _notes(table, ())
    x1, x2, y1, y2 = (np.array(table.parse(c, finite_number, "a number of pixels"), np.float64) for c in BOX_COLUMNS)
    if (swapped := int(((x1 > x2) | (y1 > y2)).sum())) > 0:
        notes.append(f"{table.name}: {swapped} boxes have exchanged corners; put right")
    corners = {
        "xmin_px": np.minimum(x1, x2),
        "ymin_px": np.minimum(y1, y2),
        "xmax_px": np.maximum(x1, x2),
        "ymax_px": np.maximum(y1, y2),
    }
    boxes = pd.DataFrame({"name": pd.Series(table.columns["bbox_name"], dtype=object)} | corners)
    groups = boxes.groupby(np.array(table.columns["dicom_id"], dtype=object), sort=False)
    return {str(image_id): rows.reset_index(drop=True) for image_id, rows in groups}


def _notes(table: Table, unused: Sequence[str]) -> Iterator[str]:
    name = Path(table.name).name
    unknown = [column for column in table.unknown if column not in unused]
    if unknown:
        yield f"{name}: unknown columns {', '.join(map(shorten, unknown))} are ignored"
    if table.fixes:
        yield f"{name}: passed over {', '.join(f'{n} {code}' for code, n in table.fixes.items())}"


def _labels(table: Table, notes: list[str]) -> Iterator[Mapping[str, int]]:
    """Labels of each row; a blank cell is no label, and neither, noted, is one that is not -1, 0 or 1."""
    parsed: dict[str, Sequence[int | None]] = {}
    odd: dict[str, int] = {}
    for label in LABELS:
        if label in CLASSES and label in table:
            parsed[label] = table.parse(label, _class, "0 or 1")
        elif label in table:
            parsed[label] = [_label(cell, label, odd) for cell in table.columns[label]]
        else:
            notes.append(f"{Path(table.name).name}: no column {label!r}; that label is left out")
    if odd:
        counts = ", ".join(f"{label} {n}" for label, n in odd.items())
        notes.append(f"{Path(table.name).name}: label cells that are not -1, 0 or 1 are left out: {counts}")
    for k in range(len(table)):
        yield {label: value for label, values in parsed.items() if (value := values[k]) is not None}


def _label(cell: str, label: str, odd: dict[str, int]) -> int | None:
    if not cell.strip():
        return None
    try:
        value = whole_number(cell)
    except ValueError:
        value = 2
    if value not in (-1, 0, 1):
        odd[label] = odd.get(label, 0) + 1
        return None
    return value


def _class(cell: str) -> int | None:
    if not cell.strip():
        return None
    value = whole_number(cell)
    if value not in (0, 1):
        raise ValueError(cell)
    return value


def _pad(cell: str) -> int:
    value = whole_number(cell)
    if value < 0:
        raise ValueError(cell)
    return value


def _check_fractions(columns: Mapping[str, Any], name: str, refuse: Refuse) -> None:
    """Gaze leaves the screen at times, but half of it does not lie a whole screen beyond."""
    values = np.abs(np.concatenate([columns["FPOGX"], columns["FPOGY"]]))
    values = values[np.isfinite(values)]
    if len(values) and np.median(values) > 2:
        raise refuse(
            f"{name}, columns FPOGX and FPOGY: the median is {np.median(values):.4g}: screen pixels where fractions of "
            f"the screen are expected; divide them by {SCREEN_PX[0]} and {SCREEN_PX[1]}"
        )
