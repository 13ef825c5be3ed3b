"""EGD-CXR as published: durations, sentinels, calibration screens, samples, annotations."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from egd_tree import (
    BOX_HEADER,
    GAZE_HEADER,
    PADS,
    SAMPLES,
    SCREEN_ID,
    SHAPE,
    SHEET,
    SHEET_HEADER,
    A,
    B,
    csv_text,
    gaze,
    write_egd,
    write_images,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from reflacx_tree import put

from gazekit import Screen, heatmap, read_egd, read_egd_calibration
from gazekit.errors import InputError, RecordError
from gazekit.reading import FIXATION_COLUMNS, SCREEN
from gazekit.sources import open_source
from gazekit.sources.egd_mapping import Placement

DISPLAY = Screen(size_px=(1920, 1080), size_mm=(600.0, 340.0), distance_mm=700.0)


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path / "images")
    return write_egd(tmp_path / "egd")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Not to be written to."""
    folder = tmp_path_factory.mktemp("published")
    write_images(folder / "images")
    return write_egd(folder / "egd")


def opened(root, **options):
    return read_egd(root, images=root.parent / "images", **options)


def with_fixations(root, rows):
    put(root / "fixations.csv", csv_text(GAZE_HEADER, rows))
    return opened(root)


@settings(max_examples=20, deadline=None)
@given(
    gaze_points=st.lists(
        st.tuples(st.floats(0.29, 0.71), st.floats(0.01, 0.99)), min_size=1, max_size=6, unique=True
    ),
    lasting=st.floats(0.05, 2.0),
)  # fmt: skip
def test_fixations_survive_a_round_trip_through_the_file(gaze_points, lasting, tmp_path_factory):
    folder = tmp_path_factory.mktemp("round")
    write_images(folder / "images")
    rows, expected = [], []
    for k, (x, y) in enumerate(gaze_points):
        pixel = [int(252 / 857 * (x * 1920 - 531)), int(300 / 1080 * (y * 1080))]
        rows.append(gaze(FPOGX=repr(x), FPOGY=repr(y), FPOGS=str(3 * k), FPOGD=repr(lasting), x=pixel[0], y=pixel[1]))
        expected.append([3 * k, 3 * k + lasting, min(pixel[0], 250), pixel[1]])
    root = write_egd(folder / "egd")
    fixations = with_fixations(root, [*rows, gaze(B, media=9)])[A].fixations
    np.testing.assert_allclose(fixations.iloc[:, :4], expected, rtol=0, atol=1e-12)


# --- what is there -------------------------------------------------------------------------------------------------


def test_the_index_is_the_master_sheet_in_order(published):
    readings = opened(published)
    assert readings.ids == (A, B)
    first, second = readings.entries
    assert (first.image_id, first.patient_id, first.split, first.image_shape) == (A, "99000003", None, None)
    assert second.image_path == f"files/p99/p99000004/s99000004/{B}.dcm"


def test_fixations_last_from_fpogs_for_fpogd_at_the_published_pixels(published):
    fixations = opened(published)[A].fixations
    assert list(fixations.columns) == [*FIXATION_COLUMNS, *SCREEN]
    assert fixations["onset_s"].tolist() == [0.1, 1.0]
    assert fixations["offset_s"].tolist() == [0.1 + 0.41666, 1.25]
    assert fixations[["x_px", "y_px"]].to_numpy().tolist() == [[126, 150], [69, 90]]
    assert fixations.iloc[0, 6:].tolist() == [0, 0, 251, 300, 531, 0, 1388, 1080]


def test_degrees_differ_between_the_axes_and_with_the_place(published):
    fixations = opened(published, screen=DISPLAY)[A].fixations
    placement = Placement(SHAPE, PADS)
    expected = placement.px_per_degree(np.array([[960, 540], [768, 324]], float), DISPLAY)
    np.testing.assert_allclose(fixations[["px_per_deg_x", "px_per_deg_y"]], expected)
    assert fixations["px_per_deg_x"][0] < fixations["px_per_deg_x"][1]
    assert fixations["px_per_deg_x"][0] > fixations["px_per_deg_y"][0] * 1.05


def test_a_sentinel_is_found_by_place_and_not_by_sign(root):
    rows = [
        gaze(),
        gaze(FPOGX="0.05", x=0, y=0),  # a scale below 1: the sentinel is 0
        gaze(FPOGX="0.05", x=-2, y=-2, FPOGS="1"),
        gaze(FPOGX="0.05", x=77, y=88, FPOGS="2"),
        gaze(FPOGX="0.3", FPOGY="0.0001", x=13, y=0, FPOGS="3"),  # row 0 of the image, which counts
    ]
    reading = with_fixations(root, rows)[A]
    assert reading.fixations["y_px"].tolist() == [150, 0]
    assert dict(reading.counts) == {"off_image": 3}


def test_one_past_the_end_of_an_odd_side_is_the_last_pixel_and_counted(root):
    rows = [gaze(), gaze(FPOGX=f"{1387.9 / 1920:.6f}", FPOGS="1", x=251)]
    for mapping in ("published", "recomputed"):
        with_fixations(root, rows)
        reading = opened(root, mapping=mapping)[A]
        assert reading.fixations["x_px"].tolist() == [126, 250]
        assert dict(reading.counts) == {"even_rounding": 1}
        assert reading.warnings == ()


def test_recomputed_positions_come_from_the_formula_and_published_ones_are_kept(root):
    rows = [gaze(x=100, y=100), gaze(FPOGX="0.4", FPOGY="0.3", FPOGS="1", x=69, y=90)]
    reading = with_fixations(root, rows)[A]
    assert reading.fixations["x_px"].tolist() == [100, 69]
    assert len(reading.warnings) == 1
    assert (
        "1 of 2 positions are not where the published formula puts them on this image, by up to 50 px"
        in reading.warnings[0]
    )
    recomputed = opened(root, mapping="recomputed")[A]
    assert recomputed.fixations["x_px"].tolist() == [126, 69]
    assert recomputed.warnings == ()


def test_fixations_flagged_as_none_are_left_out_on_request(root):
    rows = [gaze(), gaze(FPOGV="0", FPOGS="1")]
    assert len(with_fixations(root, rows)[A].fixations) == 2
    reading = opened(root, only_valid=True)[A]
    assert len(reading.fixations) == 1
    assert dict(reading.counts) == {"invalid": 1}


def test_a_reading_carries_what_the_data_set_says_of_it(published):
    reading = opened(published)[A]
    assert (reading.reading_id, reading.image_id, reading.reader_id) == (A, A, "egd")
    assert (reading.dataset, reading.image_shape, reading.patient_id) == ("egd", SHAPE, "99000003")
    assert dict(reading.counts) == {"off_image": 1}
    assert reading.warnings == ()
    assert reading.labels["Normal"] == 1
    assert (reading.labels["edema__chx"], reading.labels["consolidation"]) == (-1, 0)
    assert "atelectasis__chx" not in reading.labels
    assert not [name for name in reading.labels if name.startswith(("dx", "cxr_exam", "gender"))]


def test_boxes_are_read_with_both_x_before_both_y(published):
    boxes = opened(published)[A].boxes
    assert boxes.to_numpy().tolist() == [
        ["cardiac silhouette", 90.0, 130.0, 190.0, 230.0],
        ["left lung", 130.0, 40.0, 240.0, 250.0],
    ]
    assert list(boxes.columns) == ["name", "xmin_px", "ymin_px", "xmax_px", "ymax_px"]
    assert opened(published)[B].boxes is None


def test_every_word_of_a_phrase_carries_its_times_and_a_full_stop_is_a_word(published):
    transcript = opened(published)[A].transcript
    assert transcript["word"].tolist() == ["heart", "size", "is", "normal", "."]
    assert transcript["onset_s"].tolist() == [0.4, 0.7, 0.7, 0.7, 0.7]
    assert transcript["offset_s"].tolist() == [0.7, 1.6, 1.6, 1.6, 1.6]


def test_marks_inside_a_word_stay_and_words_like_null_survive(root):
    phrases = [{"phrase": "3.5 cm, null and/or none..", "begin_time": 0, "end_time": 1}]
    put(root / f"audio_segmentation_transcripts/{A}/transcript.json", json.dumps({"time_stamped_text": phrases}))
    words = opened(root)[A].transcript["word"].tolist()
    assert words == ["3.5", "cm", ",", "null", "and/or", "none", ".", "."]


def test_a_reading_without_boxes_or_transcript_is_used_and_says_so(root):
    (root / "bounding_boxes.csv").unlink()
    readings = opened(root)
    assert "bounding_boxes.csv: no such file; the readings have no boxes" in readings.notes
    reading = readings[B]
    assert (reading.boxes, reading.transcript) == (None, None)
    assert reading.warnings == (f"{B}/transcript.json: no such file; the reading is used without it",)


def test_readings_cross_process_boundaries(published):
    readings = pickle.loads(pickle.dumps(opened(published)))
    reading = pickle.loads(pickle.dumps(readings.load))(readings.entries[0])
    assert len(reading.samples()) == 4


def test_open_source_passes_images_and_screen(published):
    readings = open_source("egd", published, images=published.parent / "images", screen=DISPLAY)
    assert not any("assumed" in note for note in readings.notes)
    assert len(readings[A].fixations) == 2


def test_the_assumed_screen_is_said_and_a_given_one_is_not(published):
    (note,) = [note for note in opened(published).notes if note.startswith("screen")]
    assert "597.7 x 336.2 mm (27 inches) at 650 mm is assumed, because the distance was not published" in note
    assert not any("assumed" in note for note in opened(published, screen=DISPLAY).notes)


# --- calibration screens -------------------------------------------------------------------------------------------


def test_calibration_screens_are_left_out_reported_and_exposed(published):
    readings = opened(published)
    assert (
        "fixations.csv: 1 rows of 1 calibration screens (ids that are not 44 characters) are left out; "
        "read_egd_calibration has them"
    ) in readings.notes
    table = read_egd_calibration(published, screen=DISPLAY)
    assert table[["session_id", "media_id"]].to_numpy().tolist() == [[1, 1]]
    np.testing.assert_allclose(table[["x_screen_px", "y_screen_px"]], [[965.76, 547.56]])
    np.testing.assert_allclose(table["error_x_deg"], np.degrees(np.arctan(5.76 * 600 / 1920 / 700)), rtol=1e-4)
    np.testing.assert_allclose(table["error_y_deg"], np.degrees(np.arctan(7.56 * 340 / 1080 / 700)), rtol=1e-4)


def test_a_calibration_screen_under_the_id_of_an_image_is_recognised_and_left_out(root):
    screen = gaze(media=1, FPOGX="0.503", FPOGY="0.507", FPOGS="0.2", x=965, y=547)
    reading = with_fixations(root, [gaze(), screen])[A]
    assert reading.fixations["x_px"].tolist() == [126]
    assert dict(reading.counts) == {"calibration_screen": 1}
    rows = [gaze(time="0.1"), gaze(time="0.2"), gaze(media=1, time="0.05"), gaze(media=1, time="0.1")]
    put(root / "eye_gaze.csv", csv_text(GAZE_HEADER, rows))
    assert reading.samples()["time_s"].tolist() == [0.1, 0.2]


def test_an_image_without_pads_in_screen_size_is_no_calibration_screen(tmp_path):
    write_images(tmp_path / "images", (1080, 1920))
    root = write_egd(tmp_path / "egd")
    pads = {"image_left_pad": "0", "image_right_pad": "0"}
    rows = [[pads.get(column, cell) for column, cell in zip(SHEET_HEADER, row, strict=True)] for row in SHEET]
    put(root / "master_sheet.csv", csv_text(SHEET_HEADER, rows))
    reading = with_fixations(root, [gaze(x=960, y=540)])[A]
    assert len(reading.fixations) == 1
    assert dict(reading.counts) == {}


def test_recalibration_moves_a_session_by_the_mean_error_over_all_rows_of_its_screens(root):
    screens = [gaze(SCREEN_ID, media=1, FPOGX=x, FPOGY="0.5", x=0, y=0) for x in ("0.51", "0.51", "0.54")]
    with_fixations(root, [*screens, gaze(), gaze(B, session=2, media=2)])
    readings = opened(root, mapping="recomputed", recalibrate=True)
    moved, plain = readings[A].fixations["x_px"][0], readings[B].fixations["x_px"][0]
    assert plain == 126
    assert moved == int(252 / 857 * (960 - 0.02 * 1920 - 531))
    assert "recalibrate: 1 sessions have no calibration screen and stay as they are" in readings.notes
    shifted = readings[A].samples()["x_px"] - opened(root)[A].samples()["x_px"]
    np.testing.assert_allclose(shifted.dropna(), -0.02 * 1920 * 252 / 857)
    assert opened(root, mapping="recomputed")[A].fixations["x_px"][0] == 126


def test_recalibration_is_not_for_published_positions(published):
    with pytest.raises(InputError, match='needs mapping="recomputed"'):
        opened(published, recalibrate=True)


# --- raw gaze ------------------------------------------------------------------------------------------------------


def test_samples_are_bpog_through_the_mapping_with_lost_ones_nan(published):
    samples = opened(published)[A].samples()
    assert samples["time_s"].tolist() == [0.1, 0.11666, 0.13333, 0.15]
    points = np.array([[960, 540], [np.nan, np.nan], [480, 270], [0.52 * 1920, 540]])
    expected = (points - (531, 0)) * (252 / 857, 300 / 1080) - 0.5
    np.testing.assert_allclose(samples[["x_px", "y_px"]], expected)
    assert samples["x_px"][2] < 0  # off the image, and still where the eye was
    assert np.isnan(samples["px_per_deg_x"][1])
    assert samples["shown_xmax_px"].tolist() == [251] * 4


def test_samples_of_one_image_are_all_its_rows_wherever_they_lie(published):
    assert len(opened(published)[A].samples()) == 4
    assert opened(published)[B].samples()["time_s"].tolist() == [0.2]


@pytest.mark.parametrize("again", [lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, lambda t: t + "\n\n"])
def test_samples_that_another_tool_has_written_again_are_the_same(root, again):
    before = opened(root)[A].samples()
    put(root / "eye_gaze.csv", again(csv_text(GAZE_HEADER, SAMPLES)))
    pd.testing.assert_frame_equal(opened(root)[A].samples(), before)


def test_quoted_and_reordered_samples_are_the_same(root):
    before = opened(root)[A].samples()
    lines = [",".join(f'"{cell}"' for cell in row[::-1]) for row in [GAZE_HEADER, *SAMPLES]]
    put(root / "eye_gaze.csv", "\n".join(lines) + "\n")
    pd.testing.assert_frame_equal(opened(root)[A].samples(), before)


def test_a_table_that_changes_is_read_anew(root):
    reading = opened(root)[A]
    assert len(reading.samples()) == 4
    put(root / "eye_gaze.csv", csv_text(GAZE_HEADER, SAMPLES[:2]))
    assert len(reading.samples()) == 2


def test_detected_fixations_of_the_samples_need_no_screen(root):
    from gazekit import detect_fixations

    rows = [gaze(time=f"{k / 60:.5f}", BPOGX=0.4 if k < 60 else 0.6, BPOGY=0.5) for k in range(120)]
    put(root / "eye_gaze.csv", csv_text(GAZE_HEADER, rows))
    found = detect_fixations(opened(root)[A].samples())
    assert len(found) == 2
    np.testing.assert_allclose(
        found["x_px"], [(0.4 * 1920 - 531) * 252 / 857 - 0.5, (0.6 * 1920 - 531) * 252 / 857 - 0.5]
    )


# --- the digest ----------------------------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_content_and_the_options(root, tmp_path):
    digest = opened(root).digest()
    copy = shutil.copytree(root, tmp_path / "elsewhere" / "copy")
    assert read_egd(copy, images=root.parent / "images").digest() == digest
    assert opened(root, screen=DISPLAY).digest() != digest
    assert opened(root, mapping="recomputed").digest() != digest
    assert opened(root, only_valid=True).digest() != digest


@pytest.mark.parametrize(
    "file",
    ["master_sheet.csv", "fixations.csv", "eye_gaze.csv", "bounding_boxes.csv",
     f"audio_segmentation_transcripts/{A}/transcript.json"],
)  # fmt: skip
def test_the_digest_changes_with_every_table(root, file):
    readings = opened(root)
    before = readings.digest()
    path = root / file
    path.write_bytes(path.read_bytes() + b"\n")
    assert readings.digest() != before
    path.unlink()
    assert readings.digest() != before


# --- parity with the published heatmap -----------------------------------------------------------------------------


def test_the_published_static_map_of_a_reading_can_be_made_from_it(published):
    reading = opened(published)[A]
    made = heatmap(reading.fixations, image_shape=SHAPE, sigma_px=150, weights="count", normalize=None)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    slow = sum(
        np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 150**2)) / (2 * np.pi * 150**2)
        for cx, cy in [(126, 150), (69, 90)]
    )
    np.testing.assert_allclose(made, slow, rtol=1e-5)


def test_a_bad_option_is_refused(published):
    with pytest.raises(InputError, match="mapping must be one of published, recomputed"):
        opened(published, mapping="raw")
    with pytest.raises(InputError, match="images=DIR"):
        read_egd(published)
    with pytest.raises(InputError, match="screen of 1920 x 1080 px"):
        opened(published, screen=Screen((1024, 768), (300.0, 200.0), 600.0))


def test_exchanged_corners_of_a_box_are_put_right_and_noted(root):
    put(root / "bounding_boxes.csv", csv_text(BOX_HEADER, [[A, "heart", "190", "90", "130", "230"]]))
    readings = opened(root)
    assert readings[A].boxes.iloc[0, 1:].tolist() == [90, 130, 190, 230]
    assert any("1 boxes have exchanged corners; put right" in note for note in readings.notes)


def test_an_image_shown_twice_is_warned_of(root):
    reading = with_fixations(root, [gaze(), gaze(session=2, media=5, FPOGS="2")])[A]
    assert len(reading.fixations) == 2
    assert "fixations.csv: this image was shown 2 times; the times of both overlap" in reading.warnings


def test_an_image_that_cannot_be_opened_costs_its_reading(root):
    (root.parent / "images" / f"{A}.png").write_bytes(b"text")
    with pytest.raises(RecordError, match=r"\.png: neither a PNG nor a JPEG") as caught:
        opened(root)[A]
    assert caught.value.reason == "not_image"
    assert len(opened(root)[B].fixations) == 1
