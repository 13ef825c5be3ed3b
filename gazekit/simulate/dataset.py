"""A whole simulated REFLACX data set: who reads what, invented ids, DICOM files and tables on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from gazekit.errors import InputError
from gazekit.shards import fsync_directory
from gazekit.simulate import reflacx
from gazekit.simulate.assignment import MAX_READINGS, REFLACX_READERS, Assignment, assign, readings_for
from gazekit.simulate.dicom_out import window_of
from gazekit.simulate.files import invented_identities, new_folder, picture_dicom, write_file, write_text
from gazekit.simulate.parameters import ReaderParameters
from gazekit.simulate.pictures import PictureMaker, check_source, folder_makers, phantom_makers, read_marks
from gazekit.simulate.reader import SimulatedReading, simulate_reading

PHANTOM_READINGS = 20
PHANTOM_SHAPE = (1160, 1000)

_DISCARDED_SHARE = 20 / 545  # of the readings of phases 1 and 2 (gaze-formats 1.2)
_DEVICES_SHARE = 0.25  # of images; assumed
_SPLITS, _SPLIT_SHARES = ("train", "validate", "test"), (0.8, 0.02, 0.18)


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What was written: counts, and the folder that was given."""

    out: str
    images: int
    readings: int
    discarded: int
    phase_1: int
    phase_2: int
    phase_3: int
    gaze_files: int
    fixations: int


def simulate_reflacx(
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
) -> SimulationSummary:
    """Write a simulated data set in the form of REFLACX 1.0.0 and MIMIC-CXR 2.0.0.

    Parameters
    ----------
    out : path
        New or empty folder. Gets ``reflacx/main_data``, ``reflacx/gaze_data``, ``mimic-cxr/files`` and SIMULATED.txt.
    images : path, optional
        Folder of frontal chest X-rays (.png, .jpg, .dcm). Default: phantoms.
    lesions : path, optional
        CSV of marks on them (`pictures.read_marks`). Default: random plausible ellipses inside the lungs.
    readings, readers : int, optional
        In all, and of each image of phases 1 and 2. Default: as many as use each image once; of phantoms, 20.
    seed : int
        Equal seeds and equal images give equal bytes.
    gaze_files : int, optional
        How many readings get a ``gaze.csv``, from the first on. Default: all.
    discarded : int, optional
        How many readings of phases 1 and 2 lose their gaze. Default: REFLACX's share, 20 of 545.
    parameters : ReaderParameters, optional
    on_plan, on_image : callable, optional
        Called once with the number of images, and after each with the number done.

    Returns
    -------
    SimulationSummary

    Raises
    ------
    InputError
        Before anything is written, for options that do not fit; nothing stays behind for an unreadable image.
    """
    check_source(seed, images=images, lesions=lesions)
    if images is None:
        plan = assign(PHANTOM_READINGS if readings is None else readings, readers)
        makers = phantom_makers(len(plan), PHANTOM_SHAPE)
    else:
        marks = None if lesions is None else read_marks(Path(lesions))
        makers = folder_makers(Path(images), marks)
        if readings is None:
            several = REFLACX_READERS if readers is None else readers
            plan = assign(readings_for(len(makers), several), several, images=len(makers))
        else:
            plan = assign(readings, readers, images=len(makers))
    return write_reflacx(
        Path(out), makers[: len(plan)], plan, np.random.default_rng(seed),
        gaze_files=gaze_files, discarded=discarded, parameters=parameters, on_plan=on_plan, on_image=on_image,
    )  # fmt: skip


def write_reflacx(
    out: Path,
    makers: Sequence[PictureMaker],
    plan: Sequence[Assignment],
    rng: np.random.Generator,
    *,
    gaze_files: int | None = None,
    discarded: int | None = None,
    parameters: ReaderParameters | None = None,
    on_plan: Callable[[int], None] | None = None,
    on_image: Callable[[int], None] | None = None,
) -> SimulationSummary:
    """Write a data set of given pictures; `simulate_reflacx` says what the parameters are.

    Parameters
    ----------
    makers : sequence of PictureMaker
        One for each entry of `plan`.
    plan : sequence of Assignment
        As `assign` returns: phase by phase.
    rng : Generator
        Gives each image and each reading a generator of its own.
    """
    withdrawn = _withdrawn(plan, discarded, rng)
    identities = invented_identities(len(plan), rng)
    digits = rng.permutation(MAX_READINGS)
    partial = new_folder(out)
    if on_plan is not None:
        on_plan(len(plan))
    book = _Book(partial / "reflacx", gaze_files)
    in_phase = dict.fromkeys((1, 2, 3), 0)
    try:
        for i, (maker, place, own) in enumerate(zip(makers, plan, rng.spawn(len(plan)), strict=True)):
            in_phase[place.phase] += 1
            prefix = f"P{place.phase}{0 if place.phase == 3 else in_phase[place.phase]:02d}R99"
            picture_rng, facts_rng, *reader_rngs = own.spawn(2 + place.readers)
            picture = maker(picture_rng)
            write_file(partial / "mimic-cxr" / reflacx.image_path(identities[i]), picture_dicom(picture, identities[i]))
            split = str(facts_rng.choice(_SPLITS, p=_SPLIT_SHARES))
            devices = facts_rng.random() < _DEVICES_SHARE
            for reader_rng in reader_rngs:
                reading = simulate_reading(
                    picture.shape, picture.anatomy, picture.lesions, reader_rng,
                    parameters=parameters, window=window_of(picture.encoding),
                )  # fmt: skip
                labels = reflacx.label_cells(reading.reports, place.phase, present=_present(devices, facts_rng))
                row = reflacx.MetadataRow(
                    f"{prefix}{digits[book.readings]:04d}", split, book.readings in withdrawn, identities[i],
                    picture.shape, labels,
                )  # fmt: skip
                book.enter(reading, row, place.phase)
            if on_image is not None:
                on_image(i + 1)
        book.close()
        write_text(partial / "SIMULATED.txt", _notice(len(plan), book.readings, parameters or ReaderParameters()))
        partial.replace(out)
        fsync_directory(out.absolute().parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return SimulationSummary(
        out=str(out), images=len(plan), readings=book.readings, discarded=len(withdrawn),
        phase_1=len(book.rows[1]), phase_2=len(book.rows[2]), phase_3=len(book.rows[3]),
        gaze_files=book.gaze_files, fixations=book.fixations,
    )  # fmt: skip


@dataclass(slots=True)
class _Book:
    """Files of the readings written so far, and the rows that the metadata tables will have."""

    root: Path
    most_gaze_files: int | None
    rows: dict[int, list[reflacx.MetadataRow]] = field(default_factory=lambda: {1: [], 2: [], 3: []})
    readings: int = 0
    gaze_files: int = 0
    fixations: int = 0

    def enter(self, reading: SimulatedReading, row: reflacx.MetadataRow, phase: int) -> None:
        """Write a reading's files: of a discarded one only what REFLACX kept, its labels, ellipses and chest box."""
        folder = self.root / "main_data" / row.reading_id
        write_text(folder / "anomaly_location_ellipses.csv", reflacx.ellipses_csv(reading.reports, phase))
        write_text(folder / "chest_bounding_box.csv", reflacx.chest_box_csv(reading.chest_box))
        self.rows[phase].append(row)
        self.readings += 1
        if row.discarded:
            return
        write_text(folder / "fixations.csv", reflacx.fixations_csv(reading.fixations))
        write_text(folder / "timestamps_transcription.csv", reflacx.transcript_csv(reading.dictation))
        write_text(folder / "transcription.txt", reading.dictation.text)
        self.fixations += len(reading.fixations)
        if self.most_gaze_files is None or self.gaze_files < self.most_gaze_files:
            write_text(self.root / "gaze_data" / row.reading_id / "gaze.csv", reflacx.gaze_csv(reading.samples))
            self.gaze_files += 1

    def close(self) -> None:
        """Write the metadata table of each phase that has a reading."""
        for phase, rows in self.rows.items():
            if rows:
                path = self.root / "main_data" / f"metadata_phase_{phase}.csv"
                write_text(path, reflacx.metadata_csv(rows, phase))


def _withdrawn(plan: Sequence[Assignment], discarded: int | None, rng: np.random.Generator) -> set[int]:
    """Which readings, counted from 0 through the plan, lose their gaze: only ones of phases 1 and 2 do."""
    several = sum(place.readers for place in plan if place.phase < 3)
    number = round(_DISCARDED_SHARE * several) if discarded is None else discarded
    if not 0 <= number <= several:
        raise InputError(f"--discarded must be 0 to the {several} readings of phases 1 and 2, got {number}")
    return set(rng.choice(several, number, replace=False).tolist()) if number else set()


def _present(devices: bool, rng: np.random.Generator) -> frozenset[str]:
    """Presence labels of one reading: readers agree on devices nine times in ten."""
    seen = {"Support devices"} if devices != (rng.random() < 0.1) else set()
    return frozenset(seen | ({"Quality issue"} if rng.random() < 0.03 else set()))


def _notice(images: int, readings: int, parameters: ReaderParameters) -> str:
    lines = [
        "SIMULATED. No person read these images and no eye was tracked.",
        "",
        f"gazekit simulate made {readings} readings of {images} images in the form of REFLACX 1.0.0 over",
        "MIMIC-CXR 2.0.0: gaze, dictation, ellipses, labels and all ids are invented by a program. Ids begin with 99.",
        "Nothing here is a row, an id or an image of REFLACX or MIMIC-CXR, and no result obtained on it says",
        "anything about radiologists.",
        "",
        "parameters of the simulated reader:",
        *(f"  {f.name} = {getattr(parameters, f.name)!r}" for f in fields(parameters)),
    ]
    return "\n".join(lines) + "\n"
