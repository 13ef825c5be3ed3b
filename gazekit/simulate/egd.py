"""A whole simulated EGD-CXR data set: sessions of up to thirty images and their calibration screens, tables, DICOMs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gazekit.errors import InputError
from gazekit.geometry import Screen
from gazekit.shards import fsync_directory
from gazekit.simulate.anatomy import Anatomy
from gazekit.simulate.dicom_out import Identity
from gazekit.simulate.egd_files import (
    BOXES_HEADER,
    CALIBRATION_AREA,
    GAZE_HEADER,
    SCREEN_HEIGHT,
    SCREEN_WIDTH,
    SHEET_HEADER,
    Medium,
    Shown,
    box_rows,
    csv_text,
    fixation_rows,
    gaze_rows,
    sheet_row,
    shown_in_canvas,
    transcript_json,
)
from gazekit.simulate.files import invented_identities, new_folder, picture_dicom, write_file, write_text
from gazekit.simulate.parameters import ReaderParameters
from gazekit.simulate.pictures import Picture, PictureMaker, check_source, folder_makers, phantom_makers, read_marks
from gazekit.simulate.reader import SimulatedReading, simulate_reading
from gazekit.simulate.reflacx import image_path
from gazekit.simulate.viewer import Station

PHANTOM_READINGS = 20
PHANTOM_SHAPE = (1160, 1000)
SESSION_IMAGES = 30
IMAGES_A_CALIBRATION = 20

SCREEN = Screen(size_px=(SCREEN_WIDTH, SCREEN_HEIGHT), size_mm=(597.7, 336.2), distance_mm=650.0)
"""A 27-inch display; the distance was not published (gaze-formats 2.2)."""


@dataclass(frozen=True, slots=True)
class EgdSummary:
    """What was written: counts, and the folder that was given."""

    out: str
    images: int
    readings: int
    sessions: int
    calibration_screens: int
    fixations: int
    samples: int


@dataclass(slots=True)
class EgdTables:
    """Rows of the tables of the whole data set, as they are made."""

    sheet: list[list[str]] = field(default_factory=list)
    boxes: list[list[str]] = field(default_factory=list)
    samples: list[list[str]] = field(default_factory=list)
    fixations: list[Sequence[str]] = field(default_factory=list)

    def enter(self, rows: list[list[str]]) -> None:
        """Add what was recorded of one medium."""
        self.samples += rows
        self.fixations += fixation_rows(rows)

    def extend(self, other: EgdTables) -> None:
        """Add all rows of other tables."""
        self.sheet += other.sheet
        self.boxes += other.boxes
        self.samples += other.samples
        self.fixations += other.fixations

    def write(self, folder: Path, *, sheet: str = "master_sheet.csv", samples: bool = True) -> None:
        """Write the tables of the data set's folder."""
        write_text(folder / sheet, csv_text(SHEET_HEADER, self.sheet))
        write_text(folder / "fixations.csv", csv_text(GAZE_HEADER, self.fixations))
        write_text(folder / "bounding_boxes.csv", csv_text(BOXES_HEADER, self.boxes))
        if samples:
            write_text(folder / "eye_gaze.csv", csv_text(GAZE_HEADER, self.samples))


def simulate_egd(
    out: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    lesions: str | os.PathLike[str] | None = None,
    readings: int | None = None,
    readers: int | None = None,
    seed: int = 0,
    gaze_files: int | None = None,
    discarded: int | None = None,
    parameters: ReaderParameters | None = None,
    on_plan: Callable[[int], None] | None = None,
    on_image: Callable[[int], None] | None = None,
) -> EgdSummary:
    """Write a simulated data set in the form of EGD-CXR 1.0.0 and MIMIC-CXR 2.0.0.

    Parameters
    ----------
    out : path
        New or empty folder. Gets ``egd`` (the four tables and ``audio_segmentation_transcripts``), ``mimic-cxr/files``
        and SIMULATED.txt.
    images, lesions, seed, parameters, on_plan, on_image
        As in `gazekit.simulate.simulate_reflacx`; there are no buttons, no zoom and no windowing here.
    readings : int, optional
        One an image. Default: all images; of phantoms, 20.
    gaze_files : int, optional
        0 leaves out ``eye_gaze.csv``.
    readers, discarded
        Not for EGD-CXR, whose one radiologist read each image once.

    Returns
    -------
    EgdSummary

    Raises
    ------
    InputError
        Before anything is written, for options that do not fit; nothing stays behind for an unreadable image.
    """
    makers = egd_makers("egd", images, lesions, readings, readers, seed, discarded)
    rng = np.random.default_rng(seed)
    identities = invented_identities(len(makers), rng)
    behaviour = static_display(parameters)
    partial = new_folder(Path(out))
    if on_plan is not None:
        on_plan(len(makers))
    tables = EgdTables()
    try:
        media = _sessions(identities, rng)
        done = 0
        for (session, number, k), own in zip(media, rng.spawn(len(media)), strict=True):
            if k < 0:
                identity = identities[int(own.integers(len(identities)))]
                tables.enter(_calibration_rows(Medium(session, number, identity.dicom_id[:-5], CALIBRATION_AREA), own))
                continue
            picture_rng, reader_rng, facts_rng = own.spawn(3)
            picture = makers[k](picture_rng)
            write_file(partial / "mimic-cxr" / image_path(identities[k]), picture_dicom(picture, identities[k]))
            shown = shown_in_canvas(picture.shape)
            reading = read_on(shown, picture, reader_rng, behaviour)
            medium = Medium(session, number, identities[k].dicom_id, shown)
            enter_reading(tables, partial / "egd", medium, identities[k], picture, reading, facts_rng)
            done += 1
            if on_image is not None:
                on_image(done)
        tables.write(partial / "egd", samples=gaze_files != 0)
        write_text(partial / "SIMULATED.txt", notice("EGD-CXR 1.0.0", len(makers)))
        partial.replace(out)
        fsync_directory(Path(out).absolute().parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return EgdSummary(
        out=str(out), images=len(makers), readings=len(makers), sessions=media[-1][0],
        calibration_screens=sum(k < 0 for _, _, k in media),
        fixations=len(tables.fixations), samples=len(tables.samples) if gaze_files != 0 else 0,
    )  # fmt: skip


def egd_makers(
    dataset: str,
    images: str | os.PathLike[str] | None,
    lesions: str | os.PathLike[str] | None,
    readings: int | None,
    readers: int | None,
    seed: int,
    discarded: int | None,
) -> list[PictureMaker]:
    """A picture for each image; `InputError` for options that do not fit."""
    check_source(seed, images=images, lesions=lesions)
    if readers is not None or discarded is not None:
        raise InputError(f"--readers and --discarded are not for --dataset {dataset}; leave them out")
    if images is None:
        makers = phantom_makers(PHANTOM_READINGS if readings is None else max(readings, 0), PHANTOM_SHAPE)
    else:
        makers = folder_makers(Path(images), None if lesions is None else read_marks(Path(lesions)))
    wanted = len(makers) if readings is None else readings
    if not 1 <= wanted <= len(makers):
        raise InputError(f"--readings must be 1 to {len(makers)}, one an image, got {wanted}")
    return makers[:wanted]


def static_display(parameters: ReaderParameters | None) -> ReaderParameters:
    """The same reader before a display that can neither be zoomed nor windowed, and has no buttons."""
    return replace(parameters or ReaderParameters(), zooms=0.0, window_drags=0.0, button_glances=0.0)


def read_on(shown: Shown, picture: Picture, rng: np.random.Generator, behaviour: ReaderParameters) -> SimulatedReading:
    """A reading of a picture on EGD-CXR's screen; it often ends with a look at the keyboard, beside the image."""
    station = Station(SCREEN, shown.area, buttons=(20, 880, 220, 1060))
    return simulate_reading(picture.shape, picture.anatomy, picture.lesions, rng, parameters=behaviour, station=station)


def enter_reading(
    tables: EgdTables,
    folder: Path,
    medium: Medium,
    identity: Identity,
    picture: Picture,
    reading: SimulatedReading,
    rng: np.random.Generator,
) -> None:
    """Add a reading to the tables, and write its transcript into the data set's folder."""
    tables.sheet.append(sheet_row(identity, medium.shown, reading.reports, rng))
    tables.boxes += box_rows(identity.dicom_id, picture.anatomy)
    tables.enter(gaze_rows(medium, reading))
    path = folder / "audio_segmentation_transcripts" / identity.dicom_id / "transcript.json"
    write_text(path, transcript_json(reading.dictation))


def notice(form: str, images: int) -> str:
    """The text of SIMULATED.txt."""
    return (
        "SIMULATED. No person read these images and no eye was tracked.\n\n"
        f"gazekit simulate made readings of {images} images in the form of {form}: gaze, dictation, boxes, labels and\n"
        "all ids are invented by a program. Ids begin with 99. No result obtained on it says anything about\n"
        "radiologists.\n"
    )


def _sessions(identities: Sequence[Identity], rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """(session, medium, image) in order of recording; image -1 is a calibration screen, somewhere among the rest."""
    media: list[tuple[int, int, int]] = []
    for session, start in enumerate(range(0, len(identities), SESSION_IMAGES), start=1):
        count = min(SESSION_IMAGES, len(identities) - start)
        order = [*range(start, start + count), *[-1] * max(1, count // IMAGES_A_CALIBRATION)]
        media += [(session, number, k) for number, k in enumerate(rng.permutation(np.array(order)).tolist())]
    return media


def _calibration_rows(medium: Medium, rng: np.random.Generator) -> list[list[str]]:
    """Two seconds on the disc in the middle of an otherwise empty screen."""
    height, width = medium.shown.image_shape
    behaviour = replace(static_display(None), duration_s=2.0, lesion_dwell=0.0, landing_error_dva=0.1)
    middle = Anatomy((width / 2 - 10, height / 2 - 10, width / 2 + 10, height / 2 + 10))
    reading = simulate_reading(
        (height, width), middle, (), rng, parameters=behaviour,
        station=Station(SCREEN, medium.shown.area, buttons=(950, 530, 970, 550)),
    )  # fmt: skip
    return gaze_rows(medium, reading)
