"""REFLACX 1.0.0 (gaze-formats section 1): readings of MIMIC-CXR images by radiologists, in three phases.

``main_data/`` holds one table a phase and one folder a reading; ``gaze_data/`` beside it holds the raw gaze, which
is read only when asked for. The identity of the readers was not released.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gazekit.errors import InputError
from gazekit.reading import Entry, Readings
from gazekit.sources.reflacx_format import (
    CHEST_FILE,
    ELLIPSES_FILE,
    FIXATIONS_FILE,
    LABELS,
    METADATA_COLUMNS,
    SAMPLES_FILE,
    TRANSCRIPT_FILES,
)
from gazekit.sources.reflacx_metadata import check_entries, metadata_entries, phase_labels, table_notes
from gazekit.sources.reflacx_reading import load_reading
from gazekit.sources.tables import read_table

_METADATA = {phase: f"metadata_phase_{phase}.csv" for phase in LABELS}


def read_reflacx(root: str | Path) -> Readings:
    """Open a REFLACX data set: the tables of its phases are read, no file of a reading is.

    Parameters
    ----------
    root : path
        The folder that holds ``main_data`` (and ``gaze_data``), or ``main_data`` itself. Phases whose table is not
        there are left out.

    Returns
    -------
    Readings
        In the order of the tables, phase by phase. `Reading.reader_id` is None. A reading whose gaze was discarded
        by the authors has no fixations, and ``no_gaze`` in its counts. `Reading.labels` are those of its phase:
        certainties as int, presence as bool, ``Other`` as a tuple of texts.

    Raises
    ------
    InputError
        No table was found; a table is not as the format says; an id or path is unsafe; an id occurs twice; readings
        of one image contradict each other; a patient is in two splits.

    Notes
    -----
    Format: REFLACX 1.0.0 (physionet.org/content/reflacx-xray-localization), gaze-formats section 1.
    """
    main = _main_folder(Path(root))
    gaze = main.parent / "gaze_data"
    entries: list[Entry] = []
    labels: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    for phase, file in _METADATA.items():
        if os.path.lexists(main / file):  # a dangling link is a fault, not an absent phase
            table = read_table(main / file, required=METADATA_COLUMNS, optional=LABELS[phase])
            found = metadata_entries(table, phase)
            entries += found
            labels.update(zip((str(e.reading_id) for e in found), phase_labels(table, phase, file, notes), strict=True))
            notes += table_notes(table, file)
    check_entries(entries, "REFLACX metadata")
    return Readings(
        "reflacx",
        entries,
        partial(load_reading, main=main, gaze=gaze, labels=labels),
        digest=partial(_digest, tuple(str(e.reading_id) for e in entries), main, gaze),
        notes=notes,
    )


def _main_folder(root: Path) -> Path:
    try:
        for folder in (root / "main_data", root):
            if any(os.path.lexists(folder / file) for file in _METADATA.values()):
                return folder.absolute()
        if not root.is_dir():
            found = "a file" if root.exists() else "no such folder"
            raise InputError(f"{root}: {found}; expected the folder that holds main_data")
        held = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    except PermissionError:
        raise InputError(f"{root}: permission denied; make the folder readable") from None
    raise InputError(
        f"{root}: no metadata_phase_1.csv, _2 or _3 in it or in its main_data; it holds {held}; name the folder that "
        "holds main_data, with main_data.zip unpacked"
    )


def _digest(reading_ids: Sequence[str], main: Path, gaze: Path) -> str:
    """Sha256 over the bytes of every table; of the raw gaze (10 GB) over the sizes."""
    sha256 = hashlib.sha256()

    def add(name: str, content: bytes | None) -> None:
        sha256.update(f"{name} {-1 if content is None else len(content)}\n".encode())
        sha256.update(content or b"")

    for file in _METADATA.values():
        add(file, _content(main / file))
    for reading_id in reading_ids:
        for file in (FIXATIONS_FILE, *TRANSCRIPT_FILES, ELLIPSES_FILE, CHEST_FILE):
            add(f"{reading_id}/{file}", _content(main / reading_id / file))
        samples = gaze / reading_id / SAMPLES_FILE
        sha256.update(f"{reading_id}/{SAMPLES_FILE} {samples.stat().st_size if samples.is_file() else -1}\n".encode())
    return sha256.hexdigest()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
