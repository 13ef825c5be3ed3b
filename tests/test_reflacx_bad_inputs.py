"""Each way in which a copy of REFLACX can be wrong (bad-inputs 1 to 40), as its reader says it."""

from __future__ import annotations

import shutil

import pytest
from bad_input_case import READING, changed
from reflacx_tree import (
    DICOM_A,
    ELLIPSES_HEADER,
    FIXATIONS,
    FIXATIONS_HEADER,
    GAZE,
    GAZE_HEADER,
    IMAGE_B,
    LABELS_1,
    LABELS_3,
    METADATA_1,
    METADATA_3,
    METADATA_HEADER,
    csv_text,
    put,
    write_metadata,
    write_reflacx,
)

from gazekit import read_reflacx
from gazekit.errors import InputError, RecordError


@pytest.fixture
def root(tmp_path):
    return write_reflacx(tmp_path / "reflacx")


# --- the data set's own tables -------------------------------------------------------------------------------------


def test_a_root_without_tables_is_refused_with_what_it_holds(tmp_path):
    with pytest.raises(InputError, match="no such folder; expected the folder that holds main_data"):
        read_reflacx(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a file; expected the folder"):
        read_reflacx(put(tmp_path / "main_data.zip", "PK"))
    with pytest.raises(InputError, match=r"no metadata_phase_1\.csv, _2 or _3 .* it holds main_data\.zip"):
        read_reflacx(tmp_path)


def test_one_phase_is_enough(root):
    (root / "main_data" / "metadata_phase_1.csv").unlink()
    readings = read_reflacx(root)
    assert readings.ids == ("P300R000333",)
    assert readings.notes == ()


def test_a_table_that_is_a_dangling_link_is_not_an_absent_phase(root, tmp_path):
    path = root / "main_data" / "metadata_phase_1.csv"
    path.unlink()
    path.symlink_to(tmp_path / "not-fetched")
    with pytest.raises(InputError, match=r"metadata_phase_1\.csv: no such file"):
        read_reflacx(root)


BAD_CELLS = {
    "id with a path": ("id", "../../etc/x", "line 2, column 'id': '../../etc/x' is not an id"),
    "id with a formula": ("id", '=HYPERLINK("http://x")', "is not an id"),
    "id too long": ("id", "P" * 129, "is not an id"),
    "id empty": ("id", "", "line 2, column 'id': '' is not an id"),
    "image id": ("dicom_id", "a/b", "column 'dicom_id': 'a/b' is not an id"),
    "patient id": ("subject_id", "<script>", "column 'subject_id'"),
    "path absolute": ("image", "/etc/passwd", "line 2, column 'image': '/etc/passwd' is not a safe path"),
    "path that climbs": ("image", "files/../../x.dcm", "is not a safe path"),
    "path with backslashes": ("image", "files\\p99\\x.dcm", "is not a safe path"),
    "path with a drive": ("image", "C:/x.dcm", "is not a safe path"),
    "discarded": ("eye_tracking_data_discarded", "maybe", "expected True or False, found 'maybe'"),
    "width text": ("image_size_x", "wide", "column 'image_size_x': expected a positive whole number, found 'wide'"),
    "width 0": ("image_size_x", "0", "expected a positive whole number, found '0'"),
    "height fraction": ("image_size_y", "120.5", "expected a positive whole number"),
    "height empty": ("image_size_y", "", "expected a positive whole number, found ''"),
    "certainty out of range": ("Atelectasis", "6", "column 'Atelectasis': expected a certainty from 0 to 5, found '6'"),
    "certainty text": ("Atelectasis", "high", "expected a certainty from 0 to 5"),
    "presence": ("Support devices", "3", "column 'Support devices': expected True or False"),
}


@pytest.mark.parametrize(("column", "value", "words"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_bad_cell_of_the_metadata_stops_before_anything_is_opened(root, column, value, words):
    path = write_metadata(root, 1, changed(METADATA_1, 0, column, value, [*METADATA_HEADER, *LABELS_1]))
    with pytest.raises(InputError) as caught:
        read_reflacx(root)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


CONTRADICTIONS = {
    "an id twice": ("id", "P102R000222", "the id P102R000222 occurs twice"),
    "ids that differ in case": ("id", "p102r000222", "differ only in case"),
    "two paths": ("image", IMAGE_B, "are of one image, .* but differ in image_path"),
    "two sizes": ("image_size_x", "161", "differ in image_shape"),
    "two patients": ("subject_id", "99000009", "differ in patient_id"),
    "two splits": ("split", "test", "patient 99000001 is in split 'test' .* in 'train' .* leak"),
    "image ids that differ in case": ("dicom_id", DICOM_A.upper(), "differ only in case"),
}


@pytest.mark.parametrize(("column", "value", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_rows_that_contradict_each_other_are_refused(root, column, value, words):
    write_metadata(root, 1, changed(METADATA_1, 0, column, value, METADATA_HEADER))
    with pytest.raises(InputError, match=words):
        read_reflacx(root)


def test_a_patient_in_the_splits_of_two_phases_is_a_leak(root):
    write_metadata(root, 3, changed(METADATA_3, 0, "subject_id", "99000001", METADATA_HEADER))
    with pytest.raises(InputError, match="leak"):
        read_reflacx(root)


def test_an_unreadable_table_is_refused_by_its_path(root):
    path = put(root / "main_data" / "metadata_phase_3.csv", "id;split\r\n1;train\r\n")
    with pytest.raises(InputError, match="separated by semicolons") as caught:
        read_reflacx(root)
    assert str(path) in str(caught.value)
    put(path, csv_text([*METADATA_HEADER, *LABELS_3], []))
    with pytest.raises(InputError, match="a header and no rows"):
        read_reflacx(root)
    put(path, csv_text(METADATA_HEADER[1:], []))
    with pytest.raises(InputError, match="missing column 'id'; found 'split'"):
        read_reflacx(root)


def test_unknown_and_missing_label_columns_are_noted_once(root):
    labels = [*LABELS_3[:-1], "Novel sign"]
    put(root / "main_data" / "metadata_phase_3.csv", csv_text([*METADATA_HEADER, *labels], METADATA_3))
    readings = read_reflacx(root)
    assert readings.notes == (
        "metadata_phase_3.csv: no column 'Support devices'; that label is left out",
        "metadata_phase_3.csv: unknown columns 'Novel sign' are ignored",
    )
    assert list(readings["P300R000333"].labels) == LABELS_3[:-1]


def test_marks_and_blank_lines_of_a_table_are_passed_over_and_noted(root):
    path = root / "main_data" / "metadata_phase_1.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")
    assert read_reflacx(root).notes == ("metadata_phase_1.csv: passed over 1 byte_order_mark, 2 blank_lines",)


# --- the files of a reading ----------------------------------------------------------------------------------------

BAD_FILES = {
    "fixations missing": ("fixations.csv", None, "bad_table", "no such file"),
    "fixations empty": ("fixations.csv", "", "bad_table", "the file is empty"),
    "fixations header only": ("fixations.csv", csv_text(FIXATIONS_HEADER, []), "no_gaze", "a header and no fixation"),
    "fixations without x": (
        "fixations.csv",
        csv_text(["timestamp_start_fixation", "y_position"], [["1", "2"]]),
        "bad_table",
        "'x_position'",
    ),
    "fixations log-in page": ("fixations.csv", "<!DOCTYPE html>", "bad_table", "web page"),
    "fixations ragged": ("fixations.csv", csv_text(FIXATIONS_HEADER, [*FIXATIONS, ["1"]]), "bad_table", "line 5"),
    "fixations decimal comma": (
        "fixations.csv",
        csv_text(FIXATIONS_HEADER, changed(FIXATIONS, 1, "x_position", "40,5", FIXATIONS_HEADER)),
        "bad_table",
        "line 3, column 'x_position': expected a number with a decimal point",
    ),
    "no usable fixation": (
        "fixations.csv",
        csv_text(FIXATIONS_HEADER, changed(FIXATIONS[:1], 0, "x_position", "", FIXATIONS_HEADER)),
        "empty_map",
        "missing_position 1",
    ),
    "transcript time": (
        "timestamps_transcription.csv",
        "word,timestamp_start_word,timestamp_end_word\r\nheart,soon,1\r\n",
        "bad_table",
        "line 2, column 'timestamp_start_word': expected a time in seconds, found 'soon'",
    ),
    "ellipse truth": (
        "anomaly_location_ellipses.csv",
        csv_text([*ELLIPSES_HEADER, "Mass"], [["1", "2", "3", "4", "5", "2"]]),
        "bad_table",
        "column 'Mass': expected True or False",
    ),
    "ellipse certainty": (
        "anomaly_location_ellipses.csv",
        csv_text([*ELLIPSES_HEADER, "Mass"], [["1", "2", "3", "4", "0", "True"]]),
        "bad_table",
        "a certainty from 1 to 5, found '0'",
    ),
    "chest box without a row": ("chest_bounding_box.csv", "xmin,ymin,xmax,ymax\r\n", "bad_table", "no rows"),
    "two chest boxes": (
        "chest_bounding_box.csv",
        "xmin,ymin,xmax,ymax\r\n1,2,3,4\r\n1,2,3,4\r\n",
        "bad_table",
        "expected exactly one row, found 2",
    ),
    "chest box not finite": ("chest_bounding_box.csv", "xmin,ymin,xmax,ymax\r\n1,2,inf,4\r\n", "bad_table", "'inf'"),
}


@pytest.mark.parametrize(("file", "content", "reason", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_costs_its_reading_and_no_other(root, file, content, reason, words):
    path = root / "main_data" / READING / file
    path.unlink() if content is None else put(path, content)
    readings = read_reflacx(root)
    with pytest.raises(RecordError) as caught:
        readings[READING]
    assert caught.value.reason == reason
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{READING}/{file}")
    assert str(root) not in str(caught.value)
    with pytest.warns(UserWarning, match="1 of 4 readings could not be read"):
        assert [r.reading_id for r in readings] == ["P102R000222", "P102R000444", "P300R000333"]


BAD_SAMPLES = {
    "text": (changed(GAZE, 1, "x_position", "left", GAZE_HEADER), "line 3, column 'x_position': expected a number"),
    "no time": (changed(GAZE, 1, "timestamp_sample", "", GAZE_HEADER), "1 samples have no time"),
    "time backwards": (GAZE[::-1], "the time runs backwards 3 times"),
    "ragged": ([*GAZE, ["1"]], "line 6: expected 16 cells, found 1"),
    "none": ([], "a header and no rows"),
}


@pytest.mark.parametrize(("rows", "words"), BAD_SAMPLES.values(), ids=BAD_SAMPLES)
def test_bad_samples_are_refused_when_they_are_asked_for(root, rows, words):
    put(root / "gaze_data" / READING / "gaze.csv", csv_text(GAZE_HEADER, rows))
    reading = read_reflacx(root)[READING]
    with pytest.raises(RecordError) as caught:
        reading.samples()
    assert caught.value.reason == "bad_table"
    assert words in str(caught.value)


def test_a_text_where_a_number_belongs_costs_its_row_and_is_named_by_its_line(root):
    rows = changed(FIXATIONS, 1, "x_position", "forty", FIXATIONS_HEADER)
    put(root / "main_data" / READING / "fixations.csv", csv_text(FIXATIONS_HEADER, rows))
    reading = read_reflacx(root)[READING]
    assert reading.fixations["x_px"].tolist() == [60, -5]
    assert dict(reading.counts) == {"not_a_number": 1}
    assert (
        f"{READING}/fixations.csv, line 3, column 'x_position': expected a number, found 'forty'; the row is dropped"
    ) in reading.warnings


def test_drops_fixes_and_unknown_columns_of_a_reading_are_reported_in_it(root):
    header = [*FIXATIONS_HEADER, "eye"]
    rows = [[*row, "left"] for row in [FIXATIONS[1], FIXATIONS[0], FIXATIONS[0], FIXATIONS[2]]]
    put(root / "main_data" / READING / "fixations.csv", "\ufeff" + csv_text(header, rows) + "\r\n")
    reading = read_reflacx(root)[READING]
    assert reading.fixations["onset_s"].tolist() == [0.105, 0.45, 1.004]
    assert dict(reading.counts) == {"byte_order_mark": 1, "blank_lines": 1, "duplicate": 1, "unsorted": 1}
    assert f"{READING}/fixations.csv: unknown columns 'eye' are ignored" in reading.warnings


def test_normalised_coordinates_stop_the_run(root):
    rows = [[*row[:2], "0.4", "0.6", *row[4:]] for row in FIXATIONS]
    put(root / "main_data" / READING / "fixations.csv", csv_text(FIXATIONS_HEADER, rows))
    readings = read_reflacx(root)
    with pytest.raises(InputError, match="normalised coordinates"):
        list(readings)


def test_a_reading_without_its_annotations_is_used_and_says_so(root):
    folder = root / "main_data" / READING
    files = ("timestamps_transcription.csv", "chest_bounding_box.csv", "anomaly_location_ellipses.csv")
    for file in files:
        (folder / file).unlink()
    reading = read_reflacx(root)[READING]
    assert len(reading.fixations) == 3
    assert (reading.transcript, reading.boxes, reading.ellipses) == (None, None, None)
    assert reading.warnings == tuple(
        f"{READING}/{file}: no such file; the reading is used without it" for file in files
    )


def test_a_reading_folder_that_is_a_link_out_of_the_data_set_is_refused(root, tmp_path):
    folder = root / "main_data" / READING
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link that leads out of"):
        read_reflacx(root)[READING]


def test_a_word_that_ends_before_it_starts_is_kept_and_warned_of(root):
    content = "word,timestamp_start_word,timestamp_end_word\r\nheart,1,0.5\r\n"
    put(root / "main_data" / READING / "timestamps_transcription.csv", content)
    reading = read_reflacx(root)[READING]
    assert reading.transcript["offset_s"].tolist() == [0.5]
    assert reading.warnings == (f"{READING}/timestamps_transcription.csv: 1 words end before they start; kept",)
