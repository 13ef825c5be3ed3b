"""The files of one REFLACX reading (gaze-formats 1.3 to 1.6) as canonical tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import RecordError
from gazekit.reading import FIXATION_COLUMNS, OPTIONAL_COLUMNS, Entry, Reading
from gazekit.sources.fixation_rules import UsableFixations, usable_fixations
from gazekit.sources.paths import resolve_under
from gazekit.sources.reflacx_format import (
    BOX,
    CHEST_FILE,
    ELLIPSES_FILE,
    FIXATION,
    FIXATIONS_FILE,
    LABELS,
    SAMPLE,
    SAMPLES_FILE,
    TRANSCRIPT_FILES,
    WHOLE,
    WORD,
)
from gazekit.sources.tables import (
    Table,
    bad_table,
    finite_number,
    read_numbers,
    read_table,
    shorten,
    truth,
    whole_number,
)

if TYPE_CHECKING:
    import pandas as pd


def load_reading(entry: Entry, *, main: Path, gaze: Path, labels: Mapping[str, Mapping[str, Any]]) -> Reading:
    """Read the files of one reading, but for the raw gaze.

    Parameters
    ----------
    entry : Entry
    main, gaze : Path
        Folders that hold ``<reading id>/fixations.csv`` and ``<reading id>/gaze.csv``.
    labels : mapping
        Reading id to its labels.

    Raises
    ------
    RecordError
        ``bad_table``, ``no_gaze`` (no row at all) or ``empty_map`` (no usable row).
    """
    reading_id, phase, shape = entry.reading_id, entry.phase, entry.image_shape
    assert reading_id is not None
    assert phase is not None
    assert shape is not None
    folder = resolve_under(main, reading_id)
    counts: dict[str, int] = {}
    warnings: list[str] = []
    transcript = None
    if entry.discarded:
        fixations = _no_fixations()
        counts["no_gaze"] = 1
    else:
        usable = _fixations(folder / FIXATIONS_FILE, shape)
        fixations = usable.fixations
        counts |= usable.counts
        warnings += usable.warnings
        transcript = _annotation(folder, TRANSCRIPT_FILES, _transcript, counts, warnings)
    return Reading(
        reading_id=reading_id,
        image_id=entry.image_id,
        image_shape=shape,
        fixations=fixations,
        dataset="reflacx",
        phase=phase,
        patient_id=entry.patient_id,
        split=entry.split,
        view=entry.view,
        image_path=entry.image_path,
        transcript=transcript,
        boxes=_annotation(folder, (CHEST_FILE,), _chest_box, counts, warnings),
        ellipses=_annotation(folder, (ELLIPSES_FILE,), partial(_ellipses, LABELS[phase]), counts, warnings),
        labels=MappingProxyType(dict(labels[reading_id])),
        counts=MappingProxyType(counts),
        warnings=tuple(warnings),
        load_samples=partial(load_samples, gaze / reading_id / SAMPLES_FILE, discarded=entry.discarded),
    )


def load_samples(path: Path, *, discarded: bool = False) -> pd.DataFrame:
    """Raw gaze of one reading, 1000 Hz with gaps: ``time_s, x_px, y_px, ...``, NaN where the eye was lost.

    Raises
    ------
    RecordError
        ``no_gaze`` where there is no such file, ``bad_table`` where it is not as the format says.
    """
    import pandas as pd

    name = _name(path)
    if discarded:
        raise RecordError("no_gaze", f"{name}: this gaze was discarded by the data set's authors")
    if not path.exists():
        raise RecordError("no_gaze", f"{name}: no such file; unpack gaze_data beside main_data")
    required = [column for column, ours in SAMPLE.items() if ours not in OPTIONAL_COLUMNS]
    arrays = read_numbers(path, required=required, optional=SAMPLE, whole=WHOLE, name=name, refuse=bad_table)
    samples = pd.DataFrame({ours: arrays[column] for column, ours in SAMPLE.items() if column in arrays}, copy=False)
    time = samples["time_s"].to_numpy()
    if (timeless := int((~np.isfinite(time)).sum())) > 0:
        raise bad_table(f"{name}: {timeless} samples have no time; expected one in each row")
    if (backwards := int((np.diff(time) < 0).sum())) > 0:
        raise bad_table(f"{name}: the time runs backwards {backwards} times; expected samples in order of time")
    return samples


def _name(path: Path) -> str:
    """What messages call a file: its reading and itself, no folder of the user's machine."""
    return f"{path.parent.name}/{path.name}"


def _fixations(path: Path, image_shape: tuple[int, int]) -> UsableFixations:
    name = _name(path)
    required = [column for column, ours in FIXATION.items() if ours in FIXATION_COLUMNS]
    table = read_table(path, required=required, optional=FIXATION, name=name, refuse=bad_table, may_be_empty=True)
    if not len(table):
        raise RecordError("no_gaze", f"{name}: a header and no fixation")
    columns: dict[str, Any] = {}
    not_number = np.zeros(len(table), dtype=bool)
    warnings: list[str] = _unknown(table)
    for column, ours in FIXATION.items():
        if column in table:
            columns[ours], wrong = table.numbers(column)
            if wrong.any():
                refusal = table.refusal(int(wrong.argmax()), column, "a number")
                warnings.append(f"{refusal}; the row is dropped")
            not_number |= wrong
    usable = usable_fixations(columns, image_shape=image_shape, not_number=not_number, lines=table.lines, name=name)
    return UsableFixations(usable.fixations, {**table.fixes, **usable.counts}, (*warnings, *usable.warnings))


def _no_fixations() -> pd.DataFrame:
    import pandas as pd

    columns = [ours for ours in (*FIXATION_COLUMNS, *OPTIONAL_COLUMNS) if ours in FIXATION.values()]
    return pd.DataFrame(np.zeros((0, len(columns))), columns=columns)


def _annotation(
    folder: Path,
    files: Sequence[str],
    read: Callable[[Path, dict[str, int], list[str]], pd.DataFrame],
    counts: dict[str, int],
    warnings: list[str],
) -> pd.DataFrame | None:
    """The first of `files` that is there, read; None, with a warning, if none is: the gaze can be used without."""
    path = next((folder / file for file in files if (folder / file).exists()), None)
    if path is None:
        warnings.append(f"{_name(folder / files[0])}: no such file; the reading is used without it")
        return None
    return read(path, counts, warnings)


def _transcript(path: Path, counts: dict[str, int], warnings: list[str]) -> pd.DataFrame:
    import pandas as pd

    table = read_table(path, required=WORD, name=_name(path), refuse=bad_table, may_be_empty=True)
    warnings += _unknown(table)
    onset, offset = (
        np.array(table.parse(column, finite_number, "a time in seconds"), np.float64) for column in WORD[1:]
    )
    if (reversed_ := int((offset < onset).sum())) > 0:
        warnings.append(f"{table.name}: {reversed_} words end before they start; kept")
    # as objects, so that "null" and "nan" stay the words they are
    words = pd.Series(table.columns["word"], dtype=object)
    return pd.DataFrame({"word": words, "onset_s": onset, "offset_s": offset})


def _chest_box(path: Path, counts: dict[str, int], warnings: list[str]) -> pd.DataFrame:
    import pandas as pd

    table = read_table(path, required=BOX, name=_name(path), refuse=bad_table)
    warnings += _unknown(table)
    if len(table) != 1:
        raise bad_table(f"{table.name}: expected exactly one row, found {len(table)}")
    return pd.DataFrame({"name": pd.Series(["chest"], dtype=object)} | _corners(table, counts))


def _ellipses(labels: Sequence[str], path: Path, counts: dict[str, int], warnings: list[str]) -> pd.DataFrame:
    import pandas as pd

    required = (*BOX, "certainty")
    table = read_table(path, required=required, optional=labels, name=_name(path), refuse=bad_table, may_be_empty=True)
    warnings += _unknown(table)
    marked = {label: table.parse(label, truth, "True or False") for label in labels if label in table}
    names = [tuple(label for label, rows in marked.items() if rows[k]) for k in range(len(table))]
    certainty = np.array(table.parse("certainty", _certainty, "a certainty from 1 to 5"), np.int64)
    return pd.DataFrame({"labels": pd.Series(names, dtype=object), "certainty": certainty} | _corners(table, counts))


def _corners(table: Table, counts: dict[str, int]) -> dict[str, Any]:
    """Boxes in canonical columns; a minimum above its maximum is exchanged and counted (the authors take abs)."""
    x0, y0, x1, y1 = (np.array(table.parse(column, finite_number, "a number of pixels"), np.float64) for column in BOX)
    if (swapped := int(((x0 > x1) | (y0 > y1)).sum())) > 0:
        counts["swapped_corners"] = counts.get("swapped_corners", 0) + swapped
    return {
        "xmin_px": np.minimum(x0, x1),
        "ymin_px": np.minimum(y0, y1),
        "xmax_px": np.maximum(x0, x1),
        "ymax_px": np.maximum(y0, y1),
    }


def _unknown(table: Table) -> list[str]:
    names = ", ".join(map(shorten, table.unknown))
    return [f"{table.name}: unknown columns {names} are ignored"] if names else []


def _certainty(cell: str) -> int:
    certainty = whole_number(cell)
    if not 1 <= certainty <= 5:
        raise ValueError(cell)
    return certainty
