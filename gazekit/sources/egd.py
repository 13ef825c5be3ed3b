"""EGD-CXR 1.0.0 (gaze-formats section 2): 1,083 MIMIC-CXR images read by one radiologist, Gazepoint GP3 HD at 60 Hz.

The gaze on all images is in two tables: ``fixations.csv``, read when the data set is opened, and ``eye_gaze.csv``
(406 MB), read when samples are asked for. No table has the size of an image, so the images are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.geometry import Screen, screen_degrees
from gazekit.reading import Entry, Reading, Readings
from gazekit.sources.egd_format import (
    BOXES_FILE,
    FIXATIONS_FILE,
    IMAGE_ID_LENGTH,
    SAMPLES_FILE,
    SHEET_FILE,
    TRANSCRIPT_FILE,
    TRANSCRIPTS_FOLDER,
)
from gazekit.sources.egd_mapping import ASSUMED_SCREEN, SCREEN_PX, Placement, check_screen
from gazekit.sources.egd_reading import READER, GazeOptions, egd_fixations, image_media
from gazekit.sources.egd_samples import read_egd_samples
from gazekit.sources.egd_tables import Case, GazeRows, read_boxes, read_fixation_rows, read_sheet
from gazekit.sources.egd_transcript import read_transcript
from gazekit.sources.paths import find_image
from gazekit.sources.table_file import Refuse
from gazekit.sources.tables_digest import tables_digest

if TYPE_CHECKING:
    import pandas as pd

TARGET_PX = (960, 540)
"""Where the disc of a calibration screen lies, screen pixels (gaze-formats 2.6)."""


@dataclass(frozen=True)
class EgdFiles:
    """Where the files of one EGD-CXR reading lie, and how a bad one is refused."""

    images: Path
    samples: Path
    transcripts: Path
    refuse: Refuse = InputError


def read_egd(
    root: str | Path,
    *,
    images: str | Path | None = None,
    screen: Screen | None = None,
    mapping: str = "published",
    recalibrate: bool = False,
    only_valid: bool = False,
) -> Readings:
    """Open an EGD-CXR data set: its tables are read, but for the raw gaze.

    Parameters
    ----------
    root : path
        The folder that holds ``master_sheet.csv`` and ``fixations.csv``.
    images : path
        Where the images lie (MIMIC-CXR or MIMIC-CXR-JPG): their headers say how large they are.
    screen : Screen, optional
        Size and distance of the display, of 1920 x 1080 px. Default: a 27-inch display at 65 cm, which is an
        assumption, for the distance was not published; `Readings.notes` says so.
    mapping : "published" or "recomputed"
        Positions as the data set has them, or by its formula from the gaze as fractions of the screen.
    recalibrate : bool
        Add to each session's gaze what brings the mean of its calibration screens onto their target. Needs
        ``mapping="recomputed"``.
    only_valid : bool
        Leave out fixations whose last record is flagged as no fixation (FPOGV = 0).

    Returns
    -------
    Readings
        One an image, in the order of the master sheet; `Reading.reading_id` is the image's, `Reading.reader_id` the
        same for all. `Reading.labels`: 1, 0 or -1 by the names of the master sheet. Calibration screens are left out
        and counted in the notes; `read_egd_calibration` has them. px_per_deg are exact for the screen at each place,
        and differ between the axes.

    Raises
    ------
    InputError
        No `images`; a table is missing or not as the format says; an id or path is unsafe, or an id occurs twice; an
        option is wrong.

    Notes
    -----
    Format: EGD-CXR 1.0.0 (physionet.org/content/egd-cxr), gaze-formats section 2.
    """
    if images is None:
        raise InputError("EGD-CXR needs images=DIR (--images): no table of it has the size of an image")
    if recalibrate and mapping != "recomputed":
        raise InputError('recalibrate=True needs mapping="recomputed": published positions cannot be moved')
    folder = _folder(Path(root))
    options = GazeOptions(check_screen(screen), mapping, only_valid)
    notes = [] if screen else [assumption()]
    cases = read_sheet(folder / SHEET_FILE, notes)
    rows = read_fixation_rows(folder / FIXATIONS_FILE, notes)
    boxes = read_boxes(folder / BOXES_FILE, notes)
    notes += table_gaps(cases, rows)
    offsets = _session_offsets(rows, notes) if recalibrate else {}
    files = EgdFiles(Path(images).absolute(), folder / SAMPLES_FILE, folder / TRANSCRIPTS_FOLDER)
    return Readings(
        "egd",
        [case_entry(case) for case in cases.values()],
        partial(_load, cases=cases, rows=rows, boxes=boxes, files=files, options=options, offsets=offsets),
        digest=partial(
            tables_digest, folder, egd_files(cases), sizes_only=(SAMPLES_FILE,), options=repr((options, recalibrate))
        ),
        notes=notes,
    )


def read_egd_calibration(root: str | Path, *, screen: Screen | None = None) -> pd.DataFrame:
    """Fixations on EGD-CXR's calibration screens: a disc in the middle, shown about every twentieth image.

    Parameters
    ----------
    root, screen
        As in `read_egd`.

    Returns
    -------
    DataFrame
        ``session_id, media_id, onset_s, offset_s, x_screen_px, y_screen_px`` and the error of the gaze in degrees of
        visual angle, ``error_x_deg, error_y_deg``, positive to the right and downwards.

    Raises
    ------
    InputError
        As `read_egd` for ``fixations.csv``.
    """
    import pandas as pd

    rows = read_fixation_rows(_folder(Path(root)) / FIXATIONS_FILE, [])
    own = rows.calibration_rows()
    points = own.fractions * SCREEN_PX
    display = check_screen(screen)
    error = screen_degrees(points - 0.5, display) - screen_degrees(np.array(TARGET_PX) - 0.5, display)
    onset = own.columns["FPOGS"]
    return pd.DataFrame(
        {
            "session_id": own.columns["SESSION_ID"],
            "media_id": own.columns["MEDIA_ID"],
            "onset_s": onset,
            "offset_s": onset + own.columns["FPOGD"],
            "x_screen_px": points[:, 0],
            "y_screen_px": points[:, 1],
            "error_x_deg": error[:, 0],
            "error_y_deg": error[:, 1],
        }
    )


def assumption() -> str:
    """What is said where the caller gives no screen."""
    width, height = ASSUMED_SCREEN.size_mm
    return (
        f"screen: {width} x {height} mm (27 inches) at {ASSUMED_SCREEN.distance_mm:.0f} mm is assumed, because the "
        "distance was not published; degrees, and so the spread of every fixation, hang on it; give yours to set it"
    )


def egd_files(image_ids: Iterable[str]) -> tuple[str, ...]:
    """The files that the readings come from, relative to the data set's folder."""
    transcripts = (f"{TRANSCRIPTS_FOLDER}/{image_id}/{TRANSCRIPT_FILE}" for image_id in image_ids)
    return (SHEET_FILE, FIXATIONS_FILE, SAMPLES_FILE, BOXES_FILE, *transcripts)


def case_entry(case: Case) -> Entry:
    """The index row of an image."""
    return Entry(case.image_id, case.image_path, reading_id=case.image_id, patient_id=case.patient_id)


def load_egd_reading(
    entry: Entry,
    case: Case,
    rows: GazeRows,
    boxes: Mapping[str, pd.DataFrame],
    files: EgdFiles,
    options: GazeOptions,
    *,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> Reading:
    """One reading, but for the raw gaze.

    Raises
    ------
    RecordError
        ``missing_image``, or what is wrong with its header; ``no_gaze``; ``bad_table`` for the transcript;
        ``size_mismatch``; ``empty_map``.
    """
    from gazekit.image import image_size

    own = rows.of(case.image_id)
    if not len(own):
        raise RecordError("no_gaze", f"{rows.name}: no row of {case.image_id}")
    image = find_image(files.images, entry.image_path, entry.image_id)
    if image is None:
        raise RecordError(
            "missing_image",
            f"no image file for {entry.image_path} under the image root, nor {entry.image_id}.dcm, .jpg, .jpeg or .png",
        )
    placement = Placement(image_size(image), case.pads)
    usable = egd_fixations(own, placement, options, offset_px=offset_px)
    warnings: list[str] = []
    name = f"{case.image_id}/{TRANSCRIPT_FILE}"
    transcript = read_transcript(files.transcripts / name, name, warnings)
    return Reading(
        reading_id=case.image_id,
        image_id=case.image_id,
        image_shape=placement.image_shape,
        fixations=usable.fixations,
        reader_id=READER,
        dataset="egd",
        patient_id=case.patient_id,
        image_path=entry.image_path,
        transcript=transcript,
        boxes=boxes.get(case.image_id),
        labels=MappingProxyType(dict(case.labels)),
        counts=MappingProxyType(usable.counts),
        warnings=(*usable.warnings, *warnings),
        load_samples=partial(
            read_egd_samples, files.samples, case.image_id, placement, options,
            media=image_media(own, placement), offset_px=offset_px, refuse=files.refuse,
        ),
    )  # fmt: skip


def _load(
    entry: Entry,
    *,
    cases: Mapping[str, Case],
    rows: GazeRows,
    boxes: Mapping[str, pd.DataFrame],
    files: EgdFiles,
    options: GazeOptions,
    offsets: Mapping[float, tuple[float, float]],
) -> Reading:
    session = rows.of(entry.image_id).columns["SESSION_ID"]
    offset = offsets.get(float(session[0]), (0.0, 0.0)) if len(session) else (0.0, 0.0)
    return load_egd_reading(entry, cases[entry.image_id], rows, boxes, files, options, offset_px=offset)


def _folder(root: Path) -> Path:
    if (root / SHEET_FILE).exists() or (root / FIXATIONS_FILE).exists():
        return root.absolute()
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        raise InputError(f"{root}: {found}; expected the folder that holds {SHEET_FILE}")
    held = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    raise InputError(f"{root}: no {SHEET_FILE} and no {FIXATIONS_FILE} in it; it holds {held}; name EGD-CXR's folder")


def table_gaps(cases: Mapping[str, Case], rows: GazeRows) -> list[str]:
    """What the tables do not say of each other."""
    notes = []
    if screens := rows.calibration_ids:
        n = len(rows.calibration_rows())
        notes.append(
            f"{FIXATIONS_FILE}: {n} rows of {len(screens)} calibration screens (ids that are not {IMAGE_ID_LENGTH} "
            "characters) are left out; read_egd_calibration has them"
        )
    strangers = [i for i in rows.spans if i not in cases and len(i) == IMAGE_ID_LENGTH]
    if strangers:
        n = sum(rows.spans[i].stop - rows.spans[i].start for i in strangers)
        notes.append(
            f"{FIXATIONS_FILE}: {n} rows of {len(strangers)} images that {SHEET_FILE} does not name are left out"
        )
    if silent := [i for i in cases if i not in rows.spans]:
        notes.append(f"{SHEET_FILE}: {len(silent)} images have no row in {FIXATIONS_FILE}, first {silent[0]}")
    if len(silent) == len(cases):
        raise InputError(
            f"no image of {SHEET_FILE} has a row in {FIXATIONS_FILE}: they are not of one data set; download them again"
        )
    return notes


def _session_offsets(rows: GazeRows, notes: list[str]) -> dict[float, tuple[float, float]]:
    """Screen pixels from the mean gaze on a session's calibration screens to their target, every row counting once."""
    calibration = rows.calibration_rows()
    points = calibration.fractions * SCREEN_PX
    sessions = calibration.columns["SESSION_ID"]
    usable = np.isfinite(points).all(axis=1) & np.isfinite(sessions)
    offsets = {}
    for session in np.unique(sessions[usable]).tolist():
        x, y = np.subtract(TARGET_PX, points[usable & (sessions == session)].mean(axis=0)).tolist()
        offsets[session] = (x, y)
    without = np.setdiff1d(rows.columns["SESSION_ID"], [*offsets, np.nan])
    if len(without):
        notes.append(f"recalibrate: {len(without)} sessions have no calibration screen and stay as they are")
    return offsets
