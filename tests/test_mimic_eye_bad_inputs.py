"""Each way in which the tables that MIMIC-Eye adds can be wrong (bad-inputs 1 to 40), and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_input_case import Break, built
from egd_tree import A
from mimic_eye_tree import HEADER, ROWS, write_mimic_eye
from reflacx_tree import FIXATIONS as REFLACX_FIXATIONS
from reflacx_tree import FIXATIONS_HEADER, put
from reflacx_tree import csv_text as reflacx_text

from gazekit import read_mimic_eye
from gazekit.errors import InputError


@pytest.fixture
def mimic_eye(tmp_path):
    return write_mimic_eye(tmp_path / "mimic-eye")


METADATA = "spreadsheets/REFLACX/metadata.csv"
EYE_GAZE = "spreadsheets/EyeGaze"


def metadata(column: str, value: str) -> Break:
    def spoil(root: Path) -> None:
        rows = [list(row) for row in ROWS]
        rows[0][HEADER.index(column)] = value
        put(root / METADATA, reflacx_text(HEADER, rows))

    return spoil


MIMIC_STOPS: dict[str, tuple[Break, str]] = {
    "2 empty": (lambda r: put(r / METADATA, ""), "metadata.csv: the file is empty"),
    "2 header only": (lambda r: put(r / METADATA, reflacx_text(HEADER, [])), "a header and no rows"),
    "3 column": (
        lambda r: put(r / METADATA, reflacx_text(HEADER[1:], [row[1:] for row in ROWS])),
        "missing column 'id'",
    ),
    "4 twice": (lambda r: put(r / METADATA, reflacx_text([*HEADER, "id"], [])), "occurs more than once"),
    "7 not UTF-8": (lambda r: put(r / METADATA, b"\xff\xff\n"), "not UTF-8 at byte offset 0"),
    "8 ragged": (
        lambda r: put(r / METADATA, reflacx_text(HEADER, [*ROWS, ["1"]])),
        "line 6: expected 12 cells, found 1",
    ),
    "9 semicolons": (
        lambda r: put(r / METADATA, reflacx_text(HEADER, ROWS).replace(",", ";")),
        "separated by semicolons",
    ),
    "10 zip": (lambda r: put(r / METADATA, b"PK\x03\x04"), "a zip archive"),
    "11 huge line": (lambda r: put(r / METADATA, "i" * (2 << 20)), "longer than 1,048,576 bytes"),
    "12 log-in page": (lambda r: put(r / METADATA, "<!DOCTYPE html>"), "a web page"),
    "12 fixations": (lambda r: put(r / EYE_GAZE / "fixations.csv", "<html>"), "a web page"),
    "32 id": (metadata("id", "../../etc/x"), "'../../etc/x' is not an id"),
    "32 path": (metadata("image", "/etc/passwd"), "is not a safe path"),
    "33 formula": (metadata("subject_id", "=1+1"), "'=1+1' is not an id"),
    "36 id twice": (metadata("id", "P102R000222"), "occurs twice; keep one of its rows"),
    "37 two patients": (metadata("subject_id", "99000009"), "are of one image"),
    "39 two splits": (metadata("split", "test"), "leak"),
    "40 case": (metadata("dicom_id", ROWS[0][4].upper()), "differ only in case"),
    "discarded": (metadata("eye_tracking_data_discarded", "maybe"), "expected True or False, found 'maybe'"),
    "38 size": (metadata("image_size_x", "0"), "expected a positive whole number, found '0'"),
}


@pytest.mark.parametrize(("spoil", "words"), MIMIC_STOPS.values(), ids=MIMIC_STOPS)
def test_mimic_eye_stops_before_anything_is_written(mimic_eye, spoil, words):
    spoil(mimic_eye)
    code, _, message = built(mimic_eye, "mimic-eye")
    assert code == 2
    assert words in message
    assert not (mimic_eye.parent / "cache").exists()


def reading_table(rows: list[list[str]]) -> Break:
    file = "patient_99000002/REFLACX/main_data/P300R000333/fixations.csv"
    return lambda root: put(root / file, reflacx_text(FIXATIONS_HEADER, rows))


def cell(column: str, value: str) -> list[list[str]]:
    row = list(REFLACX_FIXATIONS[0])
    row[FIXATIONS_HEADER.index(column)] = value
    return [row]


def one_size(root: Path) -> None:
    rows = [[*row[:6], "777", *row[7:]] if row[0] == "P300R000333" else row for row in ROWS]
    put(root / METADATA, reflacx_text(HEADER, rows))


MIMIC_SKIPS: dict[str, tuple[Break, str, str]] = {
    "1 no fixations": (
        lambda r: (r / "patient_99000002/REFLACX/main_data/P300R000333/fixations.csv").unlink(),
        "bad_table",
        "no such file",
    ),
    "2 header only": (reading_table([]), "no_gaze", "a header and no fixation"),
    "13 nan": (reading_table(cell("x_position", "nan")), "empty_map", "missing_position 1"),
    "14 text": (reading_table(cell("x_position", "left")), "empty_map", "not_a_number 1"),
    "17 end": (reading_table(cell("timestamp_end_fixation", "0")), "empty_map", "end_before_start 1"),
    "25 resolution": (
        reading_table(cell("angular_resolution_x_pixels_per_degree", "0")),
        "empty_map",
        "bad_resolution 1",
    ),
    "26 rectangle": (reading_table(cell("xmax_shown_from_image", "0")), "empty_map", "bad_rectangle 1"),
    "30 no duration": (reading_table(cell("timestamp_end_fixation", "0.105")), "zero_duration", "sum to zero"),
    "38 size": (one_size, "size_mismatch", "the table says 777 x 250 pixels, the image file has 201 x 250"),
}


@pytest.mark.parametrize(("spoil", "reason", "words"), MIMIC_SKIPS.values(), ids=MIMIC_SKIPS)
def test_mimic_eye_skips_a_reading_with_its_reason(mimic_eye, spoil, reason, words):
    spoil(mimic_eye)
    code, printed, _ = built(mimic_eye, "mimic-eye")
    failures = [failure for failure in printed["failures"] if "P300R000333" in failure["reading_ids"]]
    assert code == 1
    assert [failure["reason"] for failure in failures] == [reason]
    assert words in failures[0]["message"]
    assert printed["images"] == 3  # the image has its other part's reading still


def test_34_an_image_that_is_not_in_the_tree_is_skipped(mimic_eye):
    next(mimic_eye.glob("patient_99000001/CXR-JPG/*/*.jpg")).unlink()
    code, printed, _ = built(mimic_eye, "mimic-eye")
    assert code == 1
    assert printed["skipped"]["missing_image"] == 1


def test_a_patients_folder_that_is_a_link_out_of_the_tree_is_refused(mimic_eye, tmp_path):
    folder = mimic_eye / "patient_99000003" / "EyeGaze"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link that leads out of"):
        read_mimic_eye(mimic_eye)[A]
