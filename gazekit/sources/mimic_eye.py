"""MIMIC-Eye 1.0.0 (gaze-formats section 3): REFLACX and EGD-CXR by patient, with the images as MIMIC-CXR-JPG.

``patient_<subject_id>/`` holds what there is of a patient; ``spreadsheets/`` holds the same tables for all of them,
which are quicker to read, and are preferred. The files of one reading are those of REFLACX and EGD-CXR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gazekit.errors import InputError
from gazekit.geometry import Screen
from gazekit.reading import Entry, Reading, Readings
from gazekit.sources.egd import EgdFiles, assumption, case_entry, egd_files, load_egd_reading, table_gaps
from gazekit.sources.egd_format import BOXES_FILE, FIXATIONS_FILE, SAMPLES_FILE, SHEET_FILE, TRANSCRIPTS_FOLDER
from gazekit.sources.egd_mapping import check_screen
from gazekit.sources.egd_reading import GazeOptions
from gazekit.sources.egd_tables import Case, GazeRows, read_boxes, read_fixation_rows, read_sheet
from gazekit.sources.paths import check_case, resolve_under
from gazekit.sources.reflacx_format import CHEST_FILE, ELLIPSES_FILE, METADATA_COLUMNS, TRANSCRIPT_FILES
from gazekit.sources.reflacx_format import FIXATIONS_FILE as REFLACX_FIXATIONS_FILE
from gazekit.sources.reflacx_format import SAMPLES_FILE as REFLACX_SAMPLES_FILE
from gazekit.sources.reflacx_metadata import check_entries, label_certainty, label_texts, metadata_entries
from gazekit.sources.reflacx_reading import load_reading
from gazekit.sources.tables import Table, bad_table, read_table, shorten, truth
from gazekit.sources.tables_digest import tables_digest

REFLACX_TABLE = "REFLACX/metadata.csv"
ALL_SHEETS = ("EyeGaze/master_sheet_with_updated_stayId.csv", f"EyeGaze/{SHEET_FILE}")
CLASSES = 21
"""Labels that radiologists made of those of REFLACX's phases."""

_NOT_LABELS = frozenset({"", "Unnamed: 0", "phase", "version", "study_id", "stay_id"})
_STUDY = re.compile(r"s\d+")


@dataclass(frozen=True)
class _EyeGaze:
    """The EGD-CXR part: its cases, and the tables of all patients, or None where each patient has their own."""

    cases: Mapping[str, Case]
    all_rows: GazeRows | None
    all_boxes: Mapping[str, Any]


def read_mimic_eye(
    root: str | Path,
    *,
    images: str | Path | None = None,
    screen: Screen | None = None,
    mapping: str = "published",
    only_valid: bool = False,
) -> Readings:
    """Open a MIMIC-Eye data set: the tables that name its readings are read, no file of a reading is.

    Parameters
    ----------
    root : path
        The folder that holds ``patient_<subject_id>/``, and ``spreadsheets/`` where they were downloaded.
    images : path, optional
        Where the images lie as MIMIC-CXR or MIMIC-CXR-JPG. Default: the JPGs inside `root`.
    screen, mapping, only_valid
        Of the EGD-CXR part, as in `gazekit.read_egd`.

    Returns
    -------
    Readings
        REFLACX's readings, then EGD-CXR's, as `read_reflacx` and `read_egd` return them but for: `Reading.dataset` is
        ``mimic-eye``; `Entry.phase` is what the reading's id says; `Reading.labels` of REFLACX are the unified ones
        (certainty as int, presence as bool, ``Other`` as texts), while ellipses keep the names of their phase.

    Raises
    ------
    InputError
        Neither part is there; a table of all patients is not as the format says; an id or path is unsafe, or an id
        occurs twice; readings of one image contradict each other; a patient is in two splits.

    Notes
    -----
    Format: MIMIC-Eye 1.0.0 (physionet.org/content/mimic-eye-multimodal-datasets), gaze-formats section 3. Calibration
    screens that it gave the id of an image are recognised by their positions, left out and counted.
    """
    folder = _folder(Path(root))
    own_images = images is None or Path(images).resolve() == folder.resolve()
    options = GazeOptions(check_screen(screen), mapping, only_valid)
    notes: list[str] = []
    entries, labels = _reflacx(folder, notes)
    eye_gaze = _eye_gaze(folder, notes)
    entries += [case_entry(case) for case in eye_gaze.cases.values()]
    if not entries:
        raise InputError(f"{folder}: no {REFLACX_TABLE} and no EyeGaze/{SHEET_FILE} in spreadsheets/ or any patient_*")
    if eye_gaze.cases and screen is None:
        notes.append(assumption())
    check_case(sorted(str(entry.reading_id) for entry in entries), "MIMIC-Eye")
    if own_images:
        entries = [replace(entry, image_path=_own_path(entry)) for entry in entries]
    return Readings(
        "mimic-eye",
        entries,
        partial(
            _load,
            root=folder,
            images=folder if own_images else Path(str(images)).absolute(),
            labels=labels,
            eye_gaze=eye_gaze,
            options=options,
        ),
        digest=partial(
            tables_digest,
            folder,
            tuple(_files(folder, entries)),
            sizes_only=(SAMPLES_FILE, REFLACX_SAMPLES_FILE),
            options=repr(options),
        ),
        notes=tuple(dict.fromkeys(notes)),
    )


def _folder(root: Path) -> Path:
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        raise InputError(f"{root}: {found}; expected the folder that holds patient_<subject_id>/ and spreadsheets/")
    return root.absolute()


def _reflacx(root: Path, notes: list[str]) -> tuple[list[Entry], dict[str, Mapping[str, Any]]]:
    """Entries and labels of REFLACX's part; none where it is not there."""
    entries: list[Entry] = []
    labels: dict[str, Mapping[str, Any]] = {}
    for path in _one_or_each(root, REFLACX_TABLE):
        header = read_table(path, required=METADATA_COLUMNS)
        table = read_table(path, required=METADATA_COLUMNS, optional=header.unknown)
        found = metadata_entries(table)
        entries += found
        labels.update(zip((str(entry.reading_id) for entry in found), _unified_labels(table, notes), strict=True))
    check_entries(entries, "MIMIC-Eye's REFLACX metadata")
    return entries, labels


def _eye_gaze(root: Path, notes: list[str]) -> _EyeGaze:
    """EGD-CXR's part: from the tables of all patients where they are there, else the sheet of each patient."""
    spreadsheets = root / "spreadsheets"
    for sheet in ALL_SHEETS:
        fixations = spreadsheets / "EyeGaze" / FIXATIONS_FILE
        if (spreadsheets / sheet).exists() and fixations.exists():
            cases = read_sheet(spreadsheets / sheet, notes)
            rows = read_fixation_rows(fixations, notes)
            notes += table_gaps(cases, rows)
            return _EyeGaze(cases, rows, read_boxes(spreadsheets / "EyeGaze" / BOXES_FILE, notes))
    cases = {}
    for path in sorted(root.glob(f"patient_*/EyeGaze/{SHEET_FILE}")):
        for image_id, case in read_sheet(path, notes).items():
            if image_id in cases:
                raise InputError(f"{path}: {image_id} is in the sheet of another patient too; keep one of its rows")
            cases[image_id] = case
    return _EyeGaze(cases, None, {})


def _one_or_each(root: Path, table: str) -> list[Path]:
    """The table of all patients, or where there is none that of each patient."""
    whole = root / "spreadsheets" / table
    return [whole] if whole.exists() else sorted(root.glob(f"patient_*/{table}"))


def _unified_labels(table: Table, notes: list[str]) -> Iterator[Mapping[str, Any]]:
    """Labels of each row: every column that is not REFLACX's metadata and whose cells read as labels."""
    names = [name for name in table.columns if name not in METADATA_COLUMNS and name not in _NOT_LABELS]
    rows: list[dict[str, Any]] = [{} for _ in range(len(table))]
    found = 0
    for name in names:
        try:
            values = [_label(name, cell) for cell in table.columns[name]]
        except ValueError:
            notes.append(f"metadata.csv: column {shorten(name)} holds no labels and is ignored")
            continue
        found += 1
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row[name] = value
    if found != CLASSES:
        notes.append(f"metadata.csv: {found} label columns, where the data set's description says {CLASSES}")
    return iter(rows)


def _label(name: str, cell: str) -> int | bool | tuple[str, ...] | None:
    """A certainty, a presence, or under ``Other`` texts; None if blank; `ValueError` for what is no label."""
    if name == "Other":
        return label_texts(cell)
    if cell.strip().lower() in ("true", "false"):
        return truth(cell)
    return label_certainty(cell.strip())


def _own_path(entry: Entry) -> str:
    """Where the image lies inside the data set, if its published path names a study."""
    study = next((part for part in entry.image_path.split("/") if _STUDY.fullmatch(part)), None)
    return entry.image_path if study is None else f"{_patient(entry)}/CXR-JPG/{study}/{entry.image_id}.jpg"


def _patient(entry: Entry) -> str:
    return f"patient_{entry.patient_id}"


def _load(
    entry: Entry,
    *,
    root: Path,
    images: Path,
    labels: Mapping[str, Mapping[str, Any]],
    eye_gaze: _EyeGaze,
    options: GazeOptions,
) -> Reading:
    if entry.phase is not None:
        part = resolve_under(root, f"{_patient(entry)}/REFLACX")
        reading = load_reading(entry, main=part / "main_data", gaze=part / "gaze_data", labels=labels)
    else:
        part = resolve_under(root, f"{_patient(entry)}/EyeGaze")
        rows, boxes = eye_gaze.all_rows, eye_gaze.all_boxes
        notes: list[str] = []
        if rows is None:
            rows = read_fixation_rows(part / FIXATIONS_FILE, notes, name=FIXATIONS_FILE, refuse=bad_table)
            boxes = read_boxes(part / BOXES_FILE, notes, name=BOXES_FILE, refuse=bad_table)
        own_samples = part / SAMPLES_FILE
        samples = own_samples if own_samples.exists() else root / "spreadsheets" / "EyeGaze" / SAMPLES_FILE
        files = EgdFiles(images, samples, part / TRANSCRIPTS_FOLDER, bad_table)
        reading = load_egd_reading(entry, eye_gaze.cases[entry.image_id], rows, boxes, files, options)
        reading = replace(reading, warnings=(*notes, *reading.warnings))
    return replace(reading, dataset="mimic-eye")


def _files(root: Path, entries: list[Entry]) -> Iterator[str]:
    """The files that the readings come from."""
    for table in (REFLACX_TABLE, *ALL_SHEETS, *(f"EyeGaze/{f}" for f in (FIXATIONS_FILE, BOXES_FILE, SAMPLES_FILE))):
        yield f"spreadsheets/{table}"
    yield from sorted(path.relative_to(root).as_posix() for path in root.glob(f"patient_*/{REFLACX_TABLE}"))
    for entry in entries:
        if entry.phase is None:
            yield from (f"{_patient(entry)}/EyeGaze/{file}" for file in egd_files([entry.image_id]))
        else:
            part, reading_id = f"{_patient(entry)}/REFLACX", entry.reading_id
            for file in (REFLACX_FIXATIONS_FILE, *TRANSCRIPT_FILES, ELLIPSES_FILE, CHEST_FILE):
                yield f"{part}/main_data/{reading_id}/{file}"
            yield f"{part}/gaze_data/{reading_id}/{REFLACX_SAMPLES_FILE}"
