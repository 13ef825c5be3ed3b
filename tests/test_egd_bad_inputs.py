"""Each way in which a copy of EGD-CXR can be wrong (bad-inputs 1 to 40), and what is said of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bad_input_case import SKIPPED_ROWS, Break, built
from egd_tree import (
    BOX_HEADER,
    BOXES,
    FIXATIONS,
    GAZE_HEADER,
    SAMPLES,
    SHAPE,
    SHEET,
    SHEET_HEADER,
    A,
    B,
    case,
    csv_text,
    gaze,
    write_egd,
    write_images,
)
from reflacx_tree import put

from gazekit import read_egd
from gazekit.errors import InputError, RecordError


@pytest.fixture
def egd(tmp_path):
    write_images(tmp_path / "images")
    return write_egd(tmp_path / "egd")


def rewrite(file: str, change: Callable[[str], str | bytes]) -> Break:
    return lambda root: put(root / file, change((root / file).read_text()))


def table(file: str, header: list[str], rows: list[list[str]]) -> Break:
    return lambda root: put(root / file, csv_text(header, rows))


def fixations(*rows: list[str]) -> Break:
    """These rows of A, and one good one of B."""
    return table("fixations.csv", GAZE_HEADER, [*rows, gaze(B, media=2)])


def sheet(*rows: list[str]) -> Break:
    return table("master_sheet.csv", SHEET_HEADER, list(rows))


def without(header: list[str], rows: list[list[str]], column: str) -> tuple[list[str], list[list[str]]]:
    k = header.index(column)
    return header[:k] + header[k + 1 :], [row[:k] + row[k + 1 :] for row in rows]


# --- E: the run stops, exit 2, and nothing is written ---------------------------------------------------------------

STOPS: dict[str, tuple[Break, str]] = {
    "1 no fixations": (lambda r: (r / "fixations.csv").unlink(), "fixations.csv: no such file; download"),
    "1 no sheet": (lambda r: (r / "master_sheet.csv").unlink(), "master_sheet.csv: no such file; download"),
    "1 a folder": (
        lambda r: ((r / "fixations.csv").unlink(), (r / "fixations.csv").mkdir()),
        "fixations.csv: expected a file, found a folder",
    ),
    "2 empty": (rewrite("fixations.csv", lambda t: ""), "fixations.csv: the file is empty"),
    "2 header only": (table("fixations.csv", GAZE_HEADER, []), "fixations.csv: a header and no rows"),
    "2 sheet header only": (sheet(), "master_sheet.csv: a header and no rows"),
    "3 no FPOGX": (table("fixations.csv", *without(GAZE_HEADER, FIXATIONS, "FPOGX")), "missing column 'FPOGX'; found"),
    "3 no pad": (
        table("master_sheet.csv", *without(SHEET_HEADER, SHEET, "image_left_pad")),
        "missing column 'image_left",
    ),
    "4 twice": (
        rewrite("fixations.csv", lambda t: t.replace("BPOGX", "FPOGX", 1)),
        "column 'FPOGX' occurs more than once",
    ),
    "7 not UTF-8": (
        lambda r: put(r / "master_sheet.csv", (r / "master_sheet.csv").read_bytes().replace(b"40 - 50", b"40 \xff 50")),
        "not UTF-8 at byte offset",
    ),
    "7 NUL": (rewrite("fixations.csv", lambda t: t.replace("0.41666", "0.4\x00666")), "line 2: a NUL byte at offset"),
    "8 ragged": (rewrite("fixations.csv", lambda t: t + "1,2,3\n"), "line 7: expected 37 cells, found 3"),
    "8 quote": (rewrite("master_sheet.csv", lambda t: t + '"'), "a quote is opened here and never closed"),
    "9 semicolons": (rewrite("fixations.csv", lambda t: t.replace(",", ";")), "separated by semicolons"),
    "9 decimal comma": (
        fixations(gaze(FPOGX="0,5")),
        "line 2, column 'FPOGX': expected a number with a decimal point, found '0,5'",
    ),
    "10 gzip": (lambda r: put(r / "fixations.csv", b"\x1f\x8b\x08rest"), "gzip data; unpack it"),
    "11 huge line": (rewrite("fixations.csv", lambda t: t + "1" * (1 << 20) + "0\n"), "longer than 1,048,576 bytes"),
    "12 log-in page": (rewrite("master_sheet.csv", lambda t: "<!DOCTYPE html>"), "a web page (a log-in page?)"),
    "12 git-lfs": (
        rewrite("fixations.csv", lambda t: "version https://git-lfs.github.com/spec/v1\n"),
        "a git-lfs pointer",
    ),
    "12 boxes": (rewrite("bounding_boxes.csv", lambda t: "<html>"), "bounding_boxes.csv: expected a comma-separated"),
    "14 box text": (
        table("bounding_boxes.csv", BOX_HEADER, [[A, "heart", "left", "2", "3", "4"]]),
        "line 2, column 'x1': expected a number of pixels, found 'left'",
    ),
    "23 milliseconds": (
        fixations(*(gaze(FPOGS=str(k * 500), FPOGD="250") for k in range(3))),
        "milliseconds where seconds",
    ),
    "24 screen pixels": (
        table("fixations.csv", GAZE_HEADER, [gaze(FPOGX="960", FPOGY="540"), gaze(B, FPOGX="700", FPOGY="500")]),
        "screen pixels where fractions of the screen are expected; divide them by 1920 and 1080",
    ),
    "24 normalised positions": (fixations(gaze(x="0.5", y="0.5")), "normalised coordinates where image pixels"),
    "26 pads": (
        sheet(case(image_left_pad="1000", image_right_pad="920")),
        "leave nothing of the screen of 1920 x 1080",
    ),
    "26 negative pad": (
        sheet(case(image_top_pad="-1")),
        "column 'image_top_pad': expected a whole number of screen pixels",
    ),
    "31 no id": (sheet(case("")), "line 2, column 'dicom_id': '' is not an id"),
    "31 no id in the gaze": (fixations(gaze("")), "line 2, column 'DICOM_ID': expected an id, found ''"),
    "32 climbing id": (sheet(case("../../etc/x")), "'../../etc/x' is not an id"),
    "32 long id": (sheet(case("9" * 129)), "is not an id"),
    "32 absolute path": (sheet(case(path="/etc/passwd")), "column 'path': '/etc/passwd' is not a safe path"),
    "32 backslashes": (sheet(case(path="files\\p99\\x.dcm")), "is not a safe path"),
    "32 drive": (sheet(case(path="C:/x.dcm")), "is not a safe path"),
    "33 formula": (sheet(case('=HYPERLINK("http://x")')), "is not an id"),
    "33 markup": (sheet(case(patient_id="<script>")), "column 'patient_id': '<script>' is not an id"),
    "37 id twice": (sheet(case(), case()), "occurs twice; keep one of its rows"),
    "40 case": (sheet(case(), case(A.upper(), "99000007")), "differ only in case"),
    "a label of a class": (sheet(case(Normal="2")), "column 'Normal': expected 0 or 1, found '2'"),
    "no row of any image": (
        table("fixations.csv", GAZE_HEADER, [gaze("99" + "9" * 42)]),
        "no image of master_sheet.csv has a row in fixations.csv",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), STOPS.values(), ids=STOPS)
def test_egd_stops_before_anything_is_written(egd, spoil, words):
    spoil(egd)
    code, _, message = built(egd, "egd")
    assert code == 2
    assert words in message
    assert not (egd.parent / "cache").exists()


# --- S: the record is skipped with its reason, exit 1, and the others are built -------------------------------------

A_FILE = f"audio_segmentation_transcripts/{A}/transcript.json"
IMAGE = f"../images/{A}.png"
SKIPS: dict[str, tuple[Break, str, str]] = {
    "13 no position": (fixations(gaze(x="", y="")), "empty_map", "missing_position 1"),
    "13 nan": (fixations(gaze(FPOGX="nan", x="nan")), "empty_map", "missing_position 1"),
    "14 text": (fixations(gaze(x="left")), "empty_map", "not_a_number 1"),
    "16 all off the image": (fixations(gaze(FPOGX="0.05", x="-2", y="-2")), "empty_map", "is on it (off_image 1)"),
    "17 ends before it starts": (fixations(gaze(FPOGD="-0.1")), "empty_map", "end_before_start 1"),
    "28 only a calibration screen": (
        fixations(gaze(FPOGX="0.503", FPOGY="0.507", x="965", y="547")),
        "empty_map",
        "calibration_screen 1",
    ),
    "30 no duration": (fixations(gaze(FPOGD="0")), "zero_duration", "weights sum to zero"),
    "34 no image": (
        lambda r: (r / IMAGE).unlink(),
        "missing_image",
        f"no image file for files/p99/p99000003/s99000003/{A}",
    ),
    "35 no gaze": (fixations(), "no_gaze", f"fixations.csv: no row of {A}"),
    "38 another size": (
        lambda r: write_images(r.parent / "images", (SHAPE[0] // 2, SHAPE[1] // 2)),
        "size_mismatch",
        "positions up to (126, 150) on an image of 125 x 150: another size was shown",
    ),
    "41 no image in the file": (lambda r: put(r / IMAGE, "text"), "not_image", "neither a PNG nor a JPEG"),
    "transcript no JSON": (lambda r: put(r / A_FILE, '{"a":'), "bad_table", "transcript.json, line 1: not JSON"),
    "transcript no list": (lambda r: put(r / A_FILE, "[1]"), "bad_table", "no list time_stamped_text"),
    "transcript nested": (lambda r: put(r / A_FILE, "[" * 200_000), "bad_table", "transcript.json"),
    "transcript time": (
        lambda r: put(r / A_FILE, '{"time_stamped_text": [{"phrase": "x", "begin_time": NaN, "end_time": 1}]}'),
        "bad_table",
        "transcript.json, phrase 1, begin_time: expected a time in seconds, found 'nan'",
    ),
    "transcript phrase": (
        lambda r: put(r / A_FILE, '{"time_stamped_text": [{"phrase": 3}]}'),
        "bad_table",
        "phrase 1: expected a phrase with its times",
    ),
    "transcript no UTF-8": (lambda r: put(r / A_FILE, b'{"\xff'), "bad_table", "not UTF-8 at byte offset 2"),
}


@pytest.mark.parametrize(("spoil", "reason", "words"), SKIPS.values(), ids=SKIPS)
def test_egd_skips_a_reading_with_its_reason_and_builds_the_others(egd, spoil, reason, words):
    spoil(egd)
    code, printed, _ = built(egd, "egd")
    failures = [failure for failure in printed["failures"] if failure["image_id"] == A]
    assert code == 1
    assert [failure["reason"] for failure in failures] == [reason]
    assert words in failures[0]["message"]
    assert str(egd) not in failures[0]["message"]
    assert printed["images"] == (0 if reason == "size_mismatch" else 1)


# --- F and W: the reading is kept, what was done is counted or said -------------------------------------------------

KEPT: dict[str, tuple[Break, dict[str, int], str]] = {
    "6 mark, CRLF, blank lines": (
        rewrite("fixations.csv", lambda t: "\ufeff" + t.replace("\n", "\r\n") + "\r\n"),
        {"off_image": 1},
        "",
    ),
    "16 sentinels": (
        fixations(gaze(), gaze(FPOGX="0.05", x="0", y="0"), gaze(FPOGX="0.05", x="60", y="70")),
        {"off_image": 2},
        "",
    ),
    "16 even rounding": (fixations(gaze(FPOGX=f"{1387.9 / 1920:.6f}", x="251")), {"even_rounding": 1}, ""),
    "13 one row": (fixations(gaze(), gaze(FPOGS="1", x="")), {"missing_position": 1}, "dropped 1 of 2 rows"),
    "14 one row": (fixations(gaze(), gaze(FPOGS="1", x="left")), {"not_a_number": 1}, "the first at line 3"),
    "17 one row": (fixations(gaze(), gaze(FPOGD="-1")), {"end_before_start": 1}, "the end is before the start"),
    "18 zero duration": (fixations(gaze(), gaze(FPOGS="1", FPOGD="0")), {"zero_duration": 1}, ""),
    "19 long": (fixations(gaze(), gaze(FPOGS="1", FPOGD="11")), {}, "1 fixations are longer than 10 s"),
    "20 overlap": (fixations(gaze(), gaze(FPOGS="0.2")), {}, "1 fixations begin before an earlier one has ended; kept"),
    "21 unsorted": (fixations(gaze(FPOGS="5"), gaze()), {"unsorted": 1}, "1 rows begin before the row above them"),
    "22 duplicates": (fixations(gaze(), gaze()), {"duplicate": 1}, "an exact repetition"),
}


@pytest.mark.parametrize(("spoil", "counts", "words"), KEPT.values(), ids=KEPT)
def test_egd_keeps_a_reading_and_says_what_was_done(egd, spoil, counts, words):
    spoil(egd)
    code, printed, _ = built(egd, "egd")
    assert (code, printed["images"]) == (1 if SKIPPED_ROWS & counts.keys() else 0, 2)
    reading = read_egd(egd, images=egd.parent / "images")[A]
    assert dict(reading.counts) == counts
    assert printed["dropped_or_replaced"] == counts
    assert words in " ".join(reading.warnings)


def test_6_what_was_passed_over_is_said(egd):
    rewrite("fixations.csv", lambda t: "\ufeff" + t + "\n\n")(egd)
    notes = read_egd(egd, images=egd.parent / "images").notes
    assert "fixations.csv: passed over 1 byte_order_mark, 2 blank_lines" in notes


def test_5_unknown_columns_are_said_once(egd):
    put(egd / "fixations.csv", csv_text([*GAZE_HEADER, "NEW"], [[*row, "1"] for row in FIXATIONS]))
    notes = read_egd(egd, images=egd.parent / "images").notes
    assert [note for note in notes if "unknown" in note] == ["fixations.csv: unknown columns 'NEW' are ignored"]


def test_14_a_text_in_the_table_is_named_by_its_line(egd):
    fixations(gaze(), gaze(FPOGS="1", x="left"))(egd)
    (note,) = [n for n in read_egd(egd, images=egd.parent / "images").notes if "left" in n]
    assert "line 3, column 'X_ORIGINAL': expected a number, found 'left'; 1 such rows are dropped" in note


def test_27_swapped_axes_are_hinted_at_and_never_exchanged(egd):
    write_images(egd.parent / "images", (120, 500))
    sheet(case(image_left_pad="0", image_right_pad="0"), case(B, "99000004"))(egd)
    fixations(*(gaze(FPOGX="0.2", FPOGS=str(k), x="60", y="100") for k in range(3)))(egd)
    reading = read_egd(egd, images=egd.parent / "images")[A]
    assert reading.fixations["x_px"].tolist() == [60] * 3
    assert "3 of 3 positions are not where the published formula puts them on this image" in reading.warnings[0]


@pytest.mark.parametrize("sigma", ["0", "-1", "nan"])
def test_29_a_sigma_that_is_not_positive_is_refused(egd, sigma):
    code, _, message = built(egd, "egd", "--sigma-dva", sigma)
    assert code == 2
    assert "sigma_dva must be a positive number" in message


def test_31_ids_stay_the_text_that_they_are(egd):
    ids = ("1e5", "007")
    sheet(*(case(i) for i in ids))(egd)
    table("fixations.csv", GAZE_HEADER, [gaze()])(egd)
    with pytest.raises(InputError, match="no image of master_sheet"):
        read_egd(egd, images=egd.parent / "images")
    # ids of another length in the gaze table are calibration screens, whatever the sheet says
    table("fixations.csv", GAZE_HEADER, [gaze(i) for i in ids])(egd)
    assert read_egd(egd, images=egd.parent / "images").ids == ids


def test_35_an_image_without_gaze_is_kept_on_request(egd):
    fixations()(egd)
    code, printed, _ = built(egd, "egd", "--keep-no-gaze")
    assert (code, printed["images"], printed["readings"]) == (0, 2, 1)


def test_no_valid_row_at_all_is_no_success(egd):
    table("fixations.csv", GAZE_HEADER, [gaze(i, FPOGX="0.05", x="-2", y="-2") for i in (A, B)])(egd)
    code, printed, _ = built(egd, "egd")
    assert code != 0
    assert printed["images"] == 0
    assert printed["skipped"] == {"empty_map": 2}


# --- raw gaze, when it is asked for ---------------------------------------------------------------------------------

SAMPLE_STOPS: dict[str, tuple[Break, str]] = {
    "1 missing": (lambda r: (r / "eye_gaze.csv").unlink(), "eye_gaze.csv: no such file"),
    "2 empty": (lambda r: put(r / "eye_gaze.csv", ""), "the file is empty"),
    "2 header only": (table("eye_gaze.csv", GAZE_HEADER, []), "a header and no rows"),
    "3 column": (table("eye_gaze.csv", *without(GAZE_HEADER, SAMPLES, "BPOGX")), "missing column 'BPOGX'"),
    "7 NUL": (rewrite("eye_gaze.csv", lambda t: t.replace("0.11666", "0.1\x001")), "line 3: a NUL byte at offset"),
    "8 short row": (rewrite("eye_gaze.csv", lambda t: t + "1,0\n"), "line 8: expected 37 cells, found 2"),
    "8 ragged": (
        rewrite("eye_gaze.csv", lambda t: t.replace("0.52,", "0.52,9,", 1)),
        "line 7: expected 37 cells, found 38",
    ),
    "31 no id": (table("eye_gaze.csv", GAZE_HEADER, [gaze(), gaze("")]), "line 3, column 'DICOM_ID': expected an id"),
    "9 tabs": (rewrite("eye_gaze.csv", lambda t: t.replace(",", "\t")), "separated by tabs"),
    "11 huge line": (rewrite("eye_gaze.csv", lambda t: t + "1" * (1 << 20) + "0\n"), "longer than 1,048,576 bytes"),
    "12 log-in page": (lambda r: put(r / "eye_gaze.csv", "<html>"), "a web page"),
}


@pytest.mark.parametrize(("spoil", "words"), SAMPLE_STOPS.values(), ids=SAMPLE_STOPS)
def test_a_bad_table_of_all_samples_is_an_input_error(egd, spoil, words):
    reading = read_egd(egd, images=egd.parent / "images")[A]
    spoil(egd)
    with pytest.raises(InputError) as caught:
        reading.samples()
    assert words in str(caught.value)
    assert "eye_gaze.csv" in str(caught.value)


SAMPLE_SKIPS: dict[str, tuple[list[list[str]], str, str]] = {
    "14 text": ([gaze(time="0.1"), gaze(time="0.2", BPOGX="left")], "bad_table", "line 3, column 'BPOGX': expected a"),
    "21 backwards": ([gaze(time="0.2"), gaze(time="0.1")], "bad_table", "from line 2 on: the time of"),
    "no time": ([gaze(time="")], "bad_table", "is missing or runs backwards"),
    "35 none": ([gaze(B)], "no_gaze", f"eye_gaze.csv: no row of {A}"),
}


@pytest.mark.parametrize(("rows", "reason", "words"), SAMPLE_SKIPS.values(), ids=SAMPLE_SKIPS)
def test_bad_samples_of_one_image_cost_its_reading(egd, rows, reason, words):
    table("eye_gaze.csv", GAZE_HEADER, rows)(egd)
    with pytest.raises(RecordError) as caught:
        read_egd(egd, images=egd.parent / "images")[A].samples()
    assert caught.value.reason == reason
    assert words in str(caught.value)


def test_boxes_of_other_images_do_no_harm(egd):
    table("bounding_boxes.csv", BOX_HEADER, [*BOXES, ["99" + "9" * 42, "heart", "1", "2", "3", "4"]])(egd)
    assert len(read_egd(egd, images=egd.parent / "images")[A].boxes) == 2
