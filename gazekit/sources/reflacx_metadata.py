"""REFLACX's metadata tables (gaze-formats 1.2): rows to index entries and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gazekit.errors import InputError
from gazekit.reading import Entry
from gazekit.sources.paths import check_case, check_id, check_path
from gazekit.sources.reflacx_format import LABELS, PRESENCE_LABELS
from gazekit.sources.tables import Table, shorten, truth, whole_number


def metadata_entries(table: Table, phase: str | None = None) -> list[Entry]:
    """Index rows; every id and path is checked here, before any is used.

    Parameters
    ----------
    table : Table
        With `METADATA_COLUMNS`.
    phase : str, optional
        Of all rows; default: of each what its id says, and `InputError` for an id that says none.
    """
    columns = table.columns
    discarded = table.parse("eye_tracking_data_discarded", truth, "True or False")
    widths, heights = (table.parse(f"image_size_{axis}", _size, "a positive whole number") for axis in "xy")
    return [
        Entry(
            image_id=check_id(columns["dicom_id"][k], table.where(k, "dicom_id")),
            image_path=check_path(columns["image"][k], table.where(k, "image")),
            reading_id=check_id(columns["id"][k], table.where(k, "id")),
            patient_id=check_id(columns["subject_id"][k], table.where(k, "subject_id")),
            split=columns["split"][k] or None,
            phase=phase or _phase(columns["id"][k], table.where(k, "id")),
            image_shape=(heights[k], widths[k]),
            discarded=discarded[k],
        )
        for k in range(len(table))
    ]


def _phase(reading_id: str, where: str) -> str:
    if len(reading_id) < 2 or reading_id[1] not in LABELS:
        raise InputError(
            f"{where}: {shorten(reading_id)} says no phase: expected P and the phase (1, 2 or 3), as in REFLACX"
        )
    return reading_id[1]


def _size(cell: str) -> int:
    size = whole_number(cell)
    if size < 1:
        raise ValueError(cell)
    return size


def phase_labels(table: Table, phase: str, file: str, notes: list[str]) -> Iterator[Mapping[str, Any]]:
    """Labels of each row; a label whose column is missing or whose cell is empty is left out."""
    parsed: dict[str, Sequence[Any]] = {}
    for label in LABELS[phase]:
        if label not in table:
            notes.append(f"{file}: no column {label!r}; that label is left out")
        elif label == "Other":
            parsed[label] = table.parse(label, label_texts, "text")
        elif label in PRESENCE_LABELS:
            parsed[label] = table.parse(label, _presence, "True or False")
        else:
            parsed[label] = table.parse(label, label_certainty, "a certainty from 0 to 5")
    if (blank := sum(value is None for values in parsed.values() for value in values)) > 0:
        notes.append(f"{file}: {blank} label cells are empty; those labels are left out")
    for k in range(len(table)):
        yield {label: values[k] for label, values in parsed.items() if values[k] is not None}


def label_texts(cell: str) -> tuple[str, ...]:
    """A cell of ``Other``: its texts."""
    return tuple(text for item in cell.split("|") if (text := item.strip()))


def _presence(cell: str) -> bool | None:
    return truth(cell) if cell else None


def label_certainty(cell: str) -> int | None:
    """A certainty from 0 to 5; None if blank; `ValueError` for anything else."""
    if not cell:
        return None
    certainty = whole_number(cell)
    if not 0 <= certainty <= 5:
        raise ValueError(cell)
    return certainty


def table_notes(table: Table, file: str) -> Iterator[str]:
    if table.unknown:
        yield f"{file}: unknown columns {', '.join(map(shorten, table.unknown))} are ignored"
    if table.fixes:
        yield f"{file}: passed over {', '.join(f'{n} {code}' for code, n in table.fixes.items())}"


def check_entries(entries: Sequence[Entry], what: str) -> None:
    """What must agree across rows and phases; `what` names the tables in messages."""
    readings: set[str] = set()
    images: dict[str, Entry] = {}
    for entry in entries:
        reading_id = str(entry.reading_id)
        if reading_id in readings:
            raise InputError(f"{what}: the id {reading_id} occurs twice; keep one of its rows")
        readings.add(reading_id)
        same = images.setdefault(entry.image_id, entry)
        for name in ("image_path", "image_shape", "patient_id"):
            if getattr(same, name) != getattr(entry, name):
                raise InputError(
                    f"{what}: {same.reading_id} and {reading_id} are of one image, {entry.image_id}, but "
                    f"differ in {name}: {getattr(same, name)} and {getattr(entry, name)}; correct the table"
                )
    check_case(sorted(readings), what)
    check_case(sorted(images), what)
