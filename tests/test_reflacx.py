"""REFLACX as published: what is read of its tables and files, and the digest."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from bad_input_case import READING, changed
from hypothesis import given, settings
from hypothesis import strategies as st
from reflacx_tree import (
    DICOM_A,
    DICOM_B,
    ELLIPSES_HEADER,
    FIXATIONS_HEADER,
    GAZE,
    GAZE_HEADER,
    IMAGE_A,
    LABELS_1,
    LABELS_3,
    METADATA_1,
    METADATA_HEADER,
    WORDS_HEADER,
    csv_text,
    put,
    write_metadata,
    write_reading,
    write_reflacx,
)
from strategies import image_shapes, reflacx_fixations

from gazekit import read_reflacx
from gazekit.errors import RecordError
from gazekit.reading import FIXATION_COLUMNS, OPTIONAL_COLUMNS

ALL_COLUMNS = [*FIXATION_COLUMNS, *OPTIONAL_COLUMNS]
IN_FILE_ORDER = [
    *("onset_s", "offset_s", "x_px", "y_px", "pupil_area_norm", "px_per_deg_x", "px_per_deg_y"),
    *("window_width", "window_level"),
    *(f"{name}_{edge}_px" for name in ("shown", "screen") for edge in ("xmin", "ymin", "xmax", "ymax")),
]


@pytest.fixture
def root(tmp_path):
    return write_reflacx(tmp_path / "reflacx")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Not to be written to."""
    return write_reflacx(tmp_path_factory.mktemp("published"))


# --- what is there -------------------------------------------------------------------------------------------------


def test_the_index_is_every_row_of_every_phase_in_order(published):
    readings = read_reflacx(published)
    assert readings.ids == ("P102R000111", "P102R000222", "P102R000444", "P300R000333")
    assert readings.notes == ()
    first, discarded, _, last = readings.entries
    assert (first.image_id, first.image_path, first.patient_id) == (DICOM_A, IMAGE_A, "99000001")
    assert (first.image_shape, first.split, first.phase, first.discarded) == ((120, 160), "train", "1", False)
    assert discarded.discarded
    assert (last.image_shape, last.split, last.phase) == ((250, 201), "validate", "3")


@pytest.mark.parametrize("given", ["reflacx", "reflacx/main_data", "link"])
def test_the_root_may_be_the_folder_of_main_data_or_main_data_itself(root, tmp_path, given, monkeypatch):
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    readings = read_reflacx(given)
    monkeypatch.chdir("/")  # a relative root is settled when it is opened
    assert len(readings[READING].fixations) == 3
    assert len(readings[READING].samples()) == 4


def test_no_file_of_a_reading_is_opened_before_it_is_asked_for(root):
    for folder in (root / "main_data").glob("P*"):
        shutil.rmtree(folder)
    assert len(read_reflacx(root)) == 4


def test_fixations_are_canonical_and_keep_their_values(published):
    fixations = read_reflacx(published)[READING].fixations
    assert list(fixations.columns) == ALL_COLUMNS
    assert set(fixations.dtypes) == {np.dtype(np.float64)}
    assert fixations["onset_s"].tolist() == [0.105, 0.45, 1.004]
    assert fixations["offset_s"].tolist() == [0.412, 0.95, 1.31]
    assert fixations["x_px"].tolist() == [60, 40, -5]
    assert fixations["y_px"].tolist() == [45, 70, 88]
    assert fixations["px_per_deg_x"].tolist() == [12, 6, 12]
    assert fixations["px_per_deg_y"].tolist() == [10, 6, 10]
    shown = fixations[["shown_xmin_px", "shown_ymin_px", "shown_xmax_px", "shown_ymax_px"]]
    assert shown.to_numpy()[1].tolist() == [0, 30, 80, 90]
    screen = fixations[["screen_xmin_px", "screen_ymin_px", "screen_xmax_px", "screen_ymax_px"]]
    assert screen.to_numpy()[2].tolist() == [660, 135, 3180, 2025]
    assert fixations["pupil_area_norm"].tolist() == [1.021, 0.987, 0.99]
    assert fixations["window_width"].tolist() == [0.8125, 0.8125, 0.75342]
    assert fixations["window_level"].tolist() == [0.47, 0.47, 0.46118]


def test_a_reading_carries_what_the_data_set_says_of_it(published):
    reading = read_reflacx(published)[READING]
    assert (reading.reading_id, reading.image_id, reading.image_path) == (READING, DICOM_A, IMAGE_A)
    assert (reading.image_shape, reading.patient_id, reading.split) == ((120, 160), "99000001", "train")
    assert (reading.dataset, reading.phase, reading.reader_id, reading.view) == ("reflacx", "1", None, None)
    assert dict(reading.counts) == {}
    assert reading.warnings == ()


def test_labels_are_those_of_the_phase_with_their_kinds(published):
    readings = read_reflacx(published)
    labels = readings[READING].labels
    assert list(labels) == LABELS_1
    assert (labels["Atelectasis"], labels["Enlarged cardiac silhouette"], labels["Nodule"]) == (3, 5, 0)
    assert labels["Support devices"] is True
    assert labels["Quality issue"] is False
    assert labels["Other"] == ()
    assert readings["P102R000222"].labels["Other"] == ("scoliosis", "azygos lobe")
    phase_3 = readings["P300R000333"].labels
    assert list(phase_3) == LABELS_3
    assert (phase_3["Consolidation"], phase_3["Pleural abnormality"], phase_3["Support devices"]) == (4, 2, False)


def test_certainties_and_truths_are_read_as_other_tools_write_them_again(root):
    rows = METADATA_1
    for column, value in (("Atelectasis", "3.0"), ("Support devices", "TRUE"), ("image_size_x", "160.0")):
        rows = changed(rows, 0, column, value, [*METADATA_HEADER, *LABELS_1])
    write_metadata(root, 1, rows)
    reading = read_reflacx(root)[READING]
    assert reading.labels["Atelectasis"] == 3
    assert isinstance(reading.labels["Atelectasis"], int)
    assert reading.labels["Support devices"] is True
    assert reading.image_shape == (120, 160)


def test_an_empty_label_cell_is_no_label_and_is_noted(root):
    write_metadata(root, 1, changed(METADATA_1, 0, "Atelectasis", "", [*METADATA_HEADER, *LABELS_1]))
    readings = read_reflacx(root)
    assert "Atelectasis" not in readings[READING].labels
    assert readings.notes == ("metadata_phase_1.csv: 1 label cells are empty; those labels are left out",)


def test_the_transcript_keeps_every_word(root):
    said = ["null", "nan", ",", "none", "."]
    words = [[word, str(k), str(k + 0.5)] for k, word in enumerate(said)]
    put(root / "main_data" / READING / "timestamps_transcription.csv", csv_text(WORDS_HEADER, words))
    transcript = read_reflacx(root)[READING].transcript
    assert transcript["word"].tolist() == said
    assert transcript["onset_s"].tolist() == [0, 1, 2, 3, 4]
    assert transcript["offset_s"].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_both_spellings_of_the_transcript_are_read_and_the_singular_is_preferred(root):
    folder = root / "main_data" / READING
    put(folder / "timestamps_transcriptions.csv", csv_text(WORDS_HEADER, [["plural", "0", "1"]]))
    assert read_reflacx(root)[READING].transcript["word"][0] == "heart"
    (folder / "timestamps_transcription.csv").unlink()
    assert read_reflacx(root)[READING].transcript["word"].tolist() == ["plural"]


def test_boxes_and_ellipses_are_read(published):
    readings = read_reflacx(published)
    reading = readings[READING]
    assert reading.boxes.to_dict("records") == [
        {"name": "chest", "xmin_px": 14.0, "ymin_px": 9.0, "xmax_px": 148.0, "ymax_px": 113.0}
    ]
    assert reading.ellipses.to_dict("records") == [
        {
            "labels": ("Atelectasis", "Enlarged cardiac silhouette"),
            "certainty": 5,
            "xmin_px": 48.0,
            "ymin_px": 50.0,
            "xmax_px": 110.0,
            "ymax_px": 96.0,
        }
    ]
    none = readings["P102R000444"].ellipses
    assert len(none) == 0
    assert list(none.columns) == list(reading.ellipses.columns)
    assert readings["P300R000333"].ellipses["labels"].tolist() == [("Consolidation",)]


def test_exchanged_corners_are_put_right_and_counted(root):
    rows = [["110", "50", "48", "96", "5", *["False"] * len(LABELS_1)]]
    path = root / "main_data" / READING / "anomaly_location_ellipses.csv"
    put(path, csv_text([*ELLIPSES_HEADER, *LABELS_1], rows))
    reading = read_reflacx(root)[READING]
    assert reading.ellipses[["xmin_px", "ymin_px", "xmax_px", "ymax_px"]].to_numpy().tolist() == [[48, 50, 110, 96]]
    assert dict(reading.counts) == {"swapped_corners": 1}


def test_a_discarded_reading_has_labels_and_no_gaze(published):
    reading = read_reflacx(published)["P102R000222"]
    assert len(reading.fixations) == 0
    assert list(reading.fixations.columns) == ALL_COLUMNS
    assert set(reading.fixations.dtypes) == {np.dtype(np.float64)}
    assert dict(reading.counts) == {"no_gaze": 1}
    assert reading.transcript is None
    assert len(reading.boxes) == 1
    assert reading.labels["Enlarged cardiac silhouette"] == 4
    with pytest.raises(RecordError, match="discarded") as caught:
        reading.samples()
    assert caught.value.reason == "no_gaze"


def test_several_readings_of_one_image_stay_apart(published):
    readings = read_reflacx(published)
    same = [entry.reading_id for entry in readings.entries if entry.image_id == DICOM_A]
    assert same == ["P102R000111", "P102R000222", "P102R000444"]
    assert [r.reading_id for r in readings] == list(readings.ids)


def test_samples_are_canonical_with_blinks_as_nan_and_gaps_as_gaps(published):
    samples = read_reflacx(published)[READING].samples()
    assert list(samples.columns) == ["time_s", *IN_FILE_ORDER[2:]]
    assert set(samples.dtypes) == {np.dtype(np.float64)}
    assert samples["time_s"].tolist() == [0.104, 0.105, 0.106, 0.108]
    np.testing.assert_array_equal(samples["x_px"], [60, 60, np.nan, 61])
    np.testing.assert_array_equal(samples["px_per_deg_y"], [10, 10, np.nan, 10])
    assert samples["shown_xmax_px"].tolist() == [160] * 4


def test_samples_that_another_tool_has_written_again_are_the_same(root):
    path = root / "gaze_data" / READING / "gaze.csv"
    before = read_reflacx(root)[READING].samples()
    again = [[f"{float(cell):.4f}" if cell else "" for cell in row] for row in GAZE]
    put(path, csv_text(GAZE_HEADER[::-1], [row[::-1] for row in again]).replace("\r", ""))
    pd.testing.assert_frame_equal(read_reflacx(root)[READING].samples(), before)


def test_samples_are_read_at_each_call_and_only_then(root):
    reading = read_reflacx(root)[READING]
    path = root / "gaze_data" / READING / "gaze.csv"
    put(path, csv_text(GAZE_HEADER, GAZE[:2]))
    assert len(reading.samples()) == 2
    path.unlink()
    with pytest.raises(RecordError, match=r"P102R000111/gaze\.csv: no such file; unpack gaze_data") as caught:
        reading.samples()
    assert caught.value.reason == "no_gaze"


def test_readings_cross_process_boundaries(published):
    readings = pickle.loads(pickle.dumps(read_reflacx(published)))
    reading = pickle.loads(pickle.dumps(readings.load))(readings.entries[0])
    assert len(reading.samples()) == 4


@settings(max_examples=30, deadline=None)
@given(data=st.data(), shape=image_shapes())
def test_fixations_survive_a_round_trip_through_the_file(data, shape, tmp_path_factory):
    fixations = data.draw(reflacx_fixations(shape))
    texts = {name: [str(int(v)) if v.is_integer() else repr(v) for v in fixations[name]] for name in fixations}
    root = tmp_path_factory.mktemp("round")
    row = METADATA_1[0][:6] + [str(shape[1]), str(shape[0])] + METADATA_1[0][8:]
    write_metadata(root, 1, [row])
    write_reading(root, READING, LABELS_1)
    rows = zip(*(texts[name] for name in IN_FILE_ORDER), strict=True)
    put(root / "main_data" / READING / "fixations.csv", csv_text(FIXATIONS_HEADER, rows))
    reading = read_reflacx(root)[READING]
    pd.testing.assert_frame_equal(reading.fixations, fixations, check_exact=True)
    assert dict(reading.counts) == {}
    assert reading.image_shape == shape


# --- the digest ----------------------------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_content_wherever_it_lies(root, tmp_path):
    digest = read_reflacx(root).digest()
    copy = shutil.copytree(root, tmp_path / "elsewhere" / "copy")
    assert read_reflacx(copy).digest() == digest
    assert read_reflacx(copy / "main_data").digest() == digest


@pytest.mark.parametrize(
    "file",
    [
        "main_data/metadata_phase_3.csv",
        "main_data/P102R000111/fixations.csv",
        "main_data/P102R000111/timestamps_transcription.csv",
        "main_data/P102R000222/chest_bounding_box.csv",
        "main_data/P300R000333/anomaly_location_ellipses.csv",
        "gaze_data/P300R000333/gaze.csv",
    ],
)
def test_the_digest_changes_with_every_table(root, file):
    readings = read_reflacx(root)
    before = readings.digest()
    path = root / file
    content = path.read_bytes()
    path.write_bytes(content + b"\r\n")
    assert readings.digest() != before
    path.unlink()
    without = readings.digest()
    assert without != before
    path.write_bytes(b"")
    assert readings.digest() != without
    path.write_bytes(content)
    assert readings.digest() == before


def test_an_image_id_is_not_a_reading_id(published):
    with pytest.raises(KeyError, match="no reading"):
        read_reflacx(published)[DICOM_B]
