"""A whole simulated MIMIC-Eye data set: patients with REFLACX's readings, EGD-CXR's, or both, and JPEG images.

Source: gaze-formats section 3. Names of the unified labels are assumed: those of REFLACX's phases, the five that two
phases call differently merged, which makes the published number of 21.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazekit.shards import fsync_directory
from gazekit.simulate import reflacx
from gazekit.simulate.dicom_out import window_of
from gazekit.simulate.dictation import Report
from gazekit.simulate.egd import EgdTables, egd_makers, enter_reading, notice, read_on, static_display
from gazekit.simulate.egd_files import Medium, shown_in_canvas
from gazekit.simulate.files import invented_identities, new_folder, write_file, write_text
from gazekit.simulate.findings import LATER_LABELS, PHASE_1_LABELS, PRESENCE_LABELS
from gazekit.simulate.parameters import ReaderParameters
from gazekit.simulate.pictures import Picture
from gazekit.simulate.reader import SimulatedReading, simulate_reading

_MERGED = {
    "Acute fracture": "Fracture",
    "Emphysema": "High lung volume / emphysema",
    "Mass": "Lung nodule or mass",
    "Nodule": "Lung nodule or mass",
    "Wide mediastinum": "Abnormal mediastinal contour",
}
UNIFIED_LABELS: tuple[str, ...] = tuple(sorted({*PHASE_1_LABELS, *LATER_LABELS} - set(_MERGED)))
_PHASE_OF_READER = 3
_JPEG_QUALITY = 95
_SPLITS, _SPLIT_SHARES = ("train", "validate", "test"), (0.8, 0.02, 0.18)


@dataclass(frozen=True, slots=True)
class MimicEyeSummary:
    """What was written: counts, and the folder that was given."""

    out: str
    images: int
    readings: int
    reflacx: int
    eye_gaze: int


def simulate_mimic_eye(
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
) -> MimicEyeSummary:
    """Write a simulated data set in the form of MIMIC-Eye 1.0.0.

    Parameters
    ----------
    out : path
        New or empty folder. Gets ``mimic-eye`` (``patient_<subject_id>/`` and ``spreadsheets/``) and SIMULATED.txt.
    images, lesions, seed, parameters, on_plan, on_image
        As in `gazekit.simulate.simulate_reflacx`.
    readings : int, optional
        Number of images, each of a patient: in turn with a reading of REFLACX, of EGD-CXR, and of both. Default: all
        images; of phantoms, 20.
    gaze_files : int, optional
        0 leaves out ``gaze.csv`` and ``eye_gaze.csv``.
    readers, discarded
        Not for MIMIC-Eye.

    Returns
    -------
    MimicEyeSummary

    Raises
    ------
    InputError
        As `gazekit.simulate.simulate_egd`.
    """
    makers = egd_makers("mimic-eye", images, lesions, readings, readers, seed, discarded)
    rng = np.random.default_rng(seed)
    identities = invented_identities(len(makers), rng)
    digits = rng.permutation(10_000)
    partial = new_folder(Path(out))
    if on_plan is not None:
        on_plan(len(makers))
    everything = EgdTables()
    metadata: list[list[str]] = []
    try:
        for k, (maker, identity, own) in enumerate(zip(makers, identities, rng.spawn(len(makers)), strict=True)):
            picture_rng, facts_rng, reflacx_rng, egd_rng = own.spawn(4)
            picture = maker(picture_rng)
            patient = partial / "mimic-eye" / f"patient_{identity.subject}"
            write_file(patient / "CXR-JPG" / f"s{identity.study}" / f"{identity.dicom_id}.jpg", _jpeg(picture))
            if k % 3 != 1:
                reading = simulate_reading(
                    picture.shape, picture.anatomy, picture.lesions, reflacx_rng,
                    parameters=parameters, window=window_of(picture.encoding),
                )  # fmt: skip
                split = str(facts_rng.choice(_SPLITS, p=_SPLIT_SHARES))
                row = reflacx.MetadataRow(
                    f"P{_PHASE_OF_READER}00R99{digits[k]:04d}", split, False, identity, picture.shape,
                    unified_cells(reading.reports),
                )  # fmt: skip
                metadata.append(_metadata_cells(row))
                _write_reflacx(patient / "REFLACX", row.reading_id, reading, metadata[-1], samples=gaze_files != 0)
            if k % 3 != 0:
                shown = shown_in_canvas(picture.shape)
                tables = EgdTables()
                reading = read_on(shown, picture, egd_rng, static_display(parameters))
                medium = Medium(1 + k // 30, k % 30, identity.dicom_id, shown)
                enter_reading(tables, patient / "EyeGaze", medium, identity, picture, reading, facts_rng)
                tables.write(patient / "EyeGaze", samples=gaze_files != 0)
                everything.extend(tables)
            if on_image is not None:
                on_image(k + 1)
        spreadsheets = partial / "mimic-eye" / "spreadsheets"
        write_text(spreadsheets / "REFLACX" / "metadata.csv", _metadata_csv(metadata))
        if everything.sheet:
            sheet = "master_sheet_with_updated_stayId.csv"
            everything.write(spreadsheets / "EyeGaze", sheet=sheet, samples=gaze_files != 0)
        write_text(partial / "SIMULATED.txt", notice("MIMIC-Eye 1.0.0", len(makers)))
        partial.replace(out)
        fsync_directory(Path(out).absolute().parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return MimicEyeSummary(
        out=str(out), images=len(makers), readings=len(metadata) + len(everything.sheet),
        reflacx=len(metadata), eye_gaze=len(everything.sheet),
    )  # fmt: skip


def unified_cells(reports: tuple[Report, ...]) -> tuple[str, ...]:
    """Label cells of a metadata row, in the order of `UNIFIED_LABELS`: as REFLACX writes those of a phase."""
    greatest: dict[str, int] = {}
    for report in reports:
        name = _MERGED.get(report.finding, report.finding)
        greatest[name] = max(report.certainty, greatest.get(name, 0))
    return tuple(
        "False" if name in PRESENCE_LABELS else "" if name == "Other" else str(greatest.get(name, 0))
        for name in UNIFIED_LABELS
    )


def _write_reflacx(folder: Path, reading_id: str, reading: SimulatedReading, row: list[str], *, samples: bool) -> None:
    """REFLACX's files of one reading, and the patient's metadata table."""
    write_text(folder / "metadata.csv", _metadata_csv([row]))
    own = folder / "main_data" / reading_id
    write_text(own / "anomaly_location_ellipses.csv", reflacx.ellipses_csv(reading.reports, _PHASE_OF_READER))
    write_text(own / "chest_bounding_box.csv", reflacx.chest_box_csv(reading.chest_box))
    write_text(own / "fixations.csv", reflacx.fixations_csv(reading.fixations))
    write_text(own / "timestamps_transcription.csv", reflacx.transcript_csv(reading.dictation))
    write_text(own / "transcription.txt", reading.dictation.text)
    if samples:
        write_text(folder / "gaze_data" / reading_id / "gaze.csv", reflacx.gaze_csv(reading.samples))


def _metadata_cells(row: reflacx.MetadataRow) -> list[str]:
    height, width = row.image_shape
    ids = [row.image, row.identity.dicom_id, row.identity.subject]
    return [row.reading_id, row.split, str(row.discarded), *ids, str(width), str(height), *row.labels]


def _metadata_csv(rows: list[list[str]]) -> str:
    return reflacx.csv_text((*reflacx.METADATA_HEADER, *UNIFIED_LABELS), rows)


def _jpeg(picture: Picture) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.rint(picture.pixels * 255).astype(np.uint8)).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
