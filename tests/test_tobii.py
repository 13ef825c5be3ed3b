"""Tobii exports: each kind of column by hand, whole files by an independent writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gazekit import Screen, read_tobii
from gazekit.errors import RecordError
from gazekit.simulate.desk import ScreenTrial, Session
from gazekit.simulate.tobii import CALIBRATION_ROWS, RATE_HZ, VERGENCE_PX, pro_lab_text, studio_text
from gazekit.sources.recording import Recording
from gazekit.sources.tobii import parse_tobii

SCREEN = Screen(size_px=(1920, 1080), size_mm=(531.0, 299.0), distance_mm=650.0)
TIME, X, Y = "Recording timestamp [ms]", "Gaze point X [DACS px]", "Gaze point Y [DACS px]"
LEFT = ("Gaze point left X [DACS px]", "Gaze point left Y [DACS px]", "Validity left")
RIGHT = ("Gaze point right X [DACS px]", "Gaze point right Y [DACS px]", "Validity right")
TYPE, INDEX = "Eye movement type", "Eye movement type index"


def text(header: Sequence[str], *rows: Sequence[object], ending: str = "\r\n") -> str:
    return ending.join("\t".join(map(str, row)) for row in (header, *rows)) + ending


def parse(folder: Path, content: str | bytes) -> Recording:
    path = folder / "r.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_tobii(path)


# ------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("time", "stamps"),
    [
        ("Recording timestamp [ms]", (1000, 1004, 1008)),
        ("Recording timestamp [μs]", (1000000, 1004000, 1008000)),
        ("Recording timestamp [µs]", (1000000, 1004000, 1008000)),
        ("Recording timestamp", (1000, 1004, 1008)),
        ("Recording timestamp", (1000000, 1004000, 1008000)),
        ("RecordingTimestamp", (1000, 1004, 1008)),
        ("Eyetracker timestamp [μs]", (7000000, 7004000, 7008000)),
        ("EyeTrackerTimestamp", (7000000, 7004000, 7008000)),
        ("device_time_stamp", (7000000, 7004000, 7008000)),
        ("Time", (7000000, 7004000, 7008000)),
        ("Timestamp", (10, 14, 18)),
    ],
)
def test_time_is_in_the_unit_of_its_column(tmp_path: Path, time: str, stamps: Sequence[int]) -> None:
    recording = parse(tmp_path, text((time, X, Y), *((t, 5, 6) for t in stamps)))
    np.testing.assert_allclose(recording.trials[0].samples["time_s"], [0, 0.004, 0.008], atol=1e-12)
    assert recording.facts["sampling_rate_hz"] == 250.0


def test_the_clock_of_the_tracker_is_finer_than_that_of_the_recording(tmp_path: Path) -> None:
    rows = [(10, 100, 5, 6), (13, 3433, 5, 6), (17, 6766, 5, 6)]
    [trial] = parse(tmp_path, text(("RecordingTimestamp", "EyeTrackerTimestamp", X, Y), *rows)).trials
    np.testing.assert_allclose(trial.samples["time_s"], [0, 0.003333, 0.006666], atol=1e-12)


@pytest.mark.parametrize(
    ("columns", "units"),
    [
        (("Gaze point left X [DACS px]", "Gaze point left Y [DACS px]"), "screen_px"),
        (("Gaze point left X", "Gaze point left Y"), "screen_px"),
        (("GazePointLeftX (ADCSpx)", "GazePointLeftY (ADCSpx)"), "screen_px"),
        (("GazePointXLeft", "GazePointYLeft"), "screen_px"),
        (("LGazePos2dx", "LGazePos2dy"), "screen_share"),
        (("left_gaze_point_on_display_area_x", "left_gaze_point_on_display_area_y"), "screen_share"),
    ],
)
def test_gaze_of_one_eye_is_found_by_the_names_of_each_program(
    tmp_path: Path, columns: tuple[str, str], units: str
) -> None:
    millimetres = ("Gaze point left X [DACS mm]", "Gaze point left Y [DACS mm]")
    [trial] = parse(tmp_path, text((TIME, *millimetres, *columns), (0, 9, 9, 0.25, 0.5), (4, 9, 9, 0.5, 0.75))).trials
    assert trial.units == units
    assert trial.samples[["x_px", "y_px"]].to_numpy().tolist() == [[0.25, 0.5], [0.5, 0.75]]


def test_positions_in_millimetres_or_on_the_medium_are_not_taken_for_pixels(tmp_path: Path) -> None:
    for unit in ("DACS mm", "MCS norm", "MCS px"):
        with pytest.raises(RecordError, match="expected a column of time") as caught:
            parse(tmp_path, text((TIME, f"Gaze point X [{unit}]", f"Gaze point Y [{unit}]"), (0, 1, 2)))
        assert caught.value.reason == "bad_table"


@pytest.mark.parametrize(
    ("columns", "codes", "seen"),
    [
        (("Validity left", "Validity right"), ("Valid", "Invalid", "Valid", "Invalid", ""), [1, 0, 1, 0]),
        (("ValidityLeft", "ValidityRight"), ("0", "1", "2", "3", "4"), [1, 1, 0, 0, 0]),
        (("LValidity", "RValidity"), ("0", "1", "2", "3", "4"), [1, 1, 0, 0, 0]),
        (("left_gaze_point_validity", "right_gaze_point_validity"), ("1", "0", "1", "0", "0"), [1, 0, 1, 0, 0]),
    ],
)
def test_validity_says_which_eye_is_lost(
    tmp_path: Path, columns: tuple[str, str], codes: Sequence[str], seen: list[int]
) -> None:
    header = (TIME, LEFT[0], LEFT[1], columns[0], RIGHT[0], RIGHT[1], columns[1])
    rows = [(4 * k, 10, 20, code, 30, 40, codes[0]) for k, code in enumerate(codes)]
    if not codes[-1]:
        rows[-1] = (*rows[-1][:6], "")  # neither eye has a validity: the row of an event
    [trial] = parse(tmp_path, text(header, *rows)).trials
    assert trial.samples["x_left_px"].notna().tolist() == [bool(s) for s in seen]
    assert trial.samples["x_right_px"].notna().all()


def test_the_sentinel_of_the_sdk_is_lost_gaze_whatever_its_validity(tmp_path: Path) -> None:
    header = ("Time", "LGazePos2dx", "LGazePos2dy", "RGazePos2dx", "RGazePos2dy")
    [trial] = parse(tmp_path, text(header, (0, -1, -1, 0.5, 0.5), (3333, -0.1, 0.2, -1, 0.5))).trials
    assert trial.samples["x_left_px"].isna().tolist() == [True, False]
    assert trial.samples["x_right_px"].tolist() == [0.5, -1.0]


def test_rows_of_events_and_of_other_sensors_are_no_samples(tmp_path: Path) -> None:
    rows = [
        (0, "", "RecordingStart", "", ""), (0, "Eye Tracker", "", 1, 2), (2, "Mouse", "", "", ""),
        (4, "Eye Tracker", "", "", ""), (5, "", "ImageStimulusStart", "", ""), (8, "Eye Tracker", "", 3, 4),
    ]  # fmt: skip
    recording = parse(tmp_path, text((TIME, "Sensor", "Event", X, Y), *rows))
    np.testing.assert_array_equal(recording.trials[0].samples["x_px"], [1, np.nan, 3])
    assert recording.counts == {"other_rows": 3}


# ------------------------------------------------------------------------------------------------ media and fixations


def test_each_run_of_a_medium_is_a_trial_in_its_place(tmp_path: Path) -> None:
    header = (
        TIME, X, Y, "Presented Stimulus name", "Presented Media name", "Presented Media width [px]",
        "Presented Media height [px]", "Presented Media position X [DACS px]", "Presented Media position Y [DACS px]",
        "Recording resolution width [px]", "Recording resolution height [px]", "Participant name",
    )  # fmt: skip
    place = (800, 900, 560, 90, 1920, 1080, "99A")
    nowhere = ("", "", "", "", 1920, 1080, "99A")
    rows = [
        (0, 1, 1, "Eyetracker Calibration", "", *nowhere), (4, 1, 1, "", "", *nowhere),
        (8, 2, 2, "chest", "chest 7.png", *place), (12, 3, 3, "chest", "chest 7.png", *place),
        (16, 4, 4, "", "", *nowhere), (20, 5, 5, "chest", "chest 7.png", *place), (24, 6, 6, "other", "b.png", *place),
    ]  # fmt: skip
    recording = parse(tmp_path, text(header, *rows))
    assert [(t.name, t.stimulus, t.reader) for t in recording.trials] == [
        ("chest-7", "chest 7.png", "99A"), ("chest-7-2", "chest 7.png", "99A"), ("b", "b.png", "99A"),
    ]  # fmt: skip
    assert [t.samples["x_px"].tolist() for t in recording.trials] == [[2, 3], [5], [6]]
    assert recording.trials[0].samples["time_s"].tolist() == [0, 0.004]
    assert recording.trials[0].drawn == (560, 90, 1360, 990)
    assert recording.screen_px == (1920, 1080)
    assert recording.counts == {"samples_outside_trial": 3}


def test_the_stimulus_stands_in_where_no_medium_is_exported(tmp_path: Path) -> None:
    rows = [(0, 1, 1, "Eyetracker Calibration"), (4, 2, 2, "chest7"), (8, 3, 3, "chest7")]
    recording = parse(tmp_path, text((TIME, X, Y, "Presented Stimulus name"), *rows))
    assert [(t.name, t.stimulus, len(t.samples)) for t in recording.trials] == [("", "chest7", 2)]
    assert recording.counts == {"samples_outside_trial": 1}


def test_recordings_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    rows = [(t, 1, 1, recording, "a.png") for recording in ("Recording 1", "Recording 2") for t in (0, 4, 8)]
    recording = parse(tmp_path, text((TIME, X, Y, "Recording name", "MediaName"), *rows))
    assert [(t.name, t.samples["time_s"].tolist()) for t in recording.trials] == [
        ("Recording-1-a", [0, 0.004, 0.008]),
        ("Recording-2-a", [0, 0.004, 0.008]),
    ]


def test_a_file_without_media_is_one_trial(tmp_path: Path) -> None:
    [trial] = parse(tmp_path, text((TIME, X, Y), (0, 1, 2), (4, 1, 2))).trials
    assert (trial.name, trial.stimulus, trial.fixations) == ("", None, None)


def test_a_fixation_lasts_from_the_first_to_the_last_sample_of_its_number(tmp_path: Path) -> None:
    header = (TIME, X, Y, TYPE, INDEX, "Fixation point X [DACS px]", "Fixation point Y [DACS px]")
    kinds = (
        [("Fixation", 1, 50, 60)] * 3 + [("Saccade", 1, "", "")] + [("Fixation", 2, 70, 80), ("Fixation", 3, 90, 95)]
    )
    [trial] = parse(tmp_path, text(header, *((4 * k, k, k, *kind) for k, kind in enumerate(kinds)))).trials
    assert trial.fixations is not None
    assert trial.fixations.to_numpy().tolist() == [[0, 0.008, 50, 60], [0.016, 0.016, 70, 80], [0.02, 0.02, 90, 95]]


def test_a_fixation_goes_on_where_its_number_does(tmp_path: Path) -> None:
    kinds = [("Fixation", 1), ("EyesNotFound", 1), ("Fixation", 1), ("EyesNotFound", 2), ("Fixation", 2)]
    rows = [(4 * k, 5, 6, *kind) for k, kind in enumerate(kinds)]
    [numbered] = parse(tmp_path, text((TIME, X, Y, TYPE, INDEX), *rows)).trials
    [plain] = parse(tmp_path, text((TIME, X, Y, TYPE), *(row[:4] for row in rows))).trials
    assert numbered.fixations is not None
    assert plain.fixations is not None
    assert numbered.fixations["offset_s"].tolist() == [0.008, 0.016]
    assert plain.fixations["offset_s"].tolist() == [0.0, 0.008, 0.016]


def test_a_fixation_whose_point_is_on_the_medium_is_at_the_mean_of_its_samples(tmp_path: Path) -> None:
    header = (
        "RecordingTimestamp", "GazePointLeftX (ADCSpx)", "GazePointLeftY (ADCSpx)", "GazePointRightX (ADCSpx)",
        "GazePointRightY (ADCSpx)", "GazeEventType", "FixationIndex", "FixationPointX (MCSpx)",
        "FixationPointY (MCSpx)",
    )  # fmt: skip
    rows = [(0, 10, 20, 14, 24, "Fixation", 1, 3, 3), (4, 12, 22, "", "", "Fixation", 1, 3, 3)]
    [trial] = parse(tmp_path, text(header, *rows)).trials
    assert trial.fixations is not None
    assert trial.fixations[["x_px", "y_px"]].iloc[0].tolist() == [12, 22]


def test_a_fixation_across_two_media_is_in_neither(tmp_path: Path) -> None:
    kinds = [("a.png", "Fixation", 1), ("a.png", "Fixation", 2), ("b.png", "Fixation", 2), ("b.png", "Fixation", 3)]
    recording = parse(
        tmp_path, text((TIME, X, Y, "MediaName", TYPE, INDEX), *((4 * k, 5, 6, *kind) for k, kind in enumerate(kinds)))
    )
    assert [len(t.fixations) for t in recording.trials if t.fixations is not None] == [1, 1]
    assert recording.counts == {"fixations_outside_trial": 1}


# ------------------------------------------------------------------------------------------- encodings and bad files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_encoding_decimal_sign_and_line_ends_do_not_matter(
    tmp_path: Path, encoding: str, decimal: str, ending: str
) -> None:
    rows = [(k, *(f"{v:.2f}".replace(".", decimal) for v in (k + 0.25, k + 0.5))) for k in (10, 14)]
    content = text(("Recording timestamp [μs]", X, Y, ""), *((*row, "") for row in rows), ending=ending)
    [trial] = parse(tmp_path, content.encode(encoding)).trials
    assert trial.samples[["x_px", "y_px"]].to_numpy().tolist() == [[10.25, 10.5], [14.25, 14.5]]


def test_blank_lines_at_the_end_are_passed_over(tmp_path: Path) -> None:
    assert len(parse(tmp_path, text((TIME, X, Y), (0, 1, 2), (4, 1, 2)) + "\r\n\r\n").trials[0].samples) == 2


GOOD = text((TIME, X, Y), (0, 1, 2), (4, 1, 2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        (b"\x1f\x8b\x08\x00", "expected a tab-separated table, found gzip data"),
        (b"PK\x03\x04", "an Excel workbook"),
        ("<html>", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (GOOD.replace("\t", ";"), "separated by semicolons; expected tabs"),
        (GOOD.replace("\t", ","), "separated by commas; expected tabs"),
        (GOOD.replace(X, Y), "column"),
        (GOOD.replace(X, "Pupil"), "expected a column of time, such as 'Recording timestamp"),
        (GOOD + "8\t1\r\n", "line 4: expected 3 cells, found 2"),
        (GOOD + "8\tfar\t2\r\n", r"line 4, column 'Gaze point X \[DACS px\]': expected a number, found 'far'"),
        (GOOD.encode() + b"8\t\xff\t2\r\n", "line 4: not UTF-8 at byte offset"),
        (GOOD.encode() + b"8\t\0\t2\r\n", "line 4: a NUL byte"),
        (GOOD.encode("utf-16")[:-1] + b"\xd8\x00\xd8", "not UTF-16 at byte offset"),
        (GOOD.encode("utf-16-le"), "a NUL byte at offset 1"),
    ],
)
def test_what_is_no_export_is_refused_with_the_place(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(RecordError, match=words) as caught:
        parse(tmp_path, content)
    assert caught.value.reason == "bad_table"
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (text((TIME, X, Y)), "a header and no row"),
        (text((TIME, "Sensor", X, Y), (0, "Mouse", "", "")), "no row holds a sample of the eye tracker"),
        (text((TIME, X, Y, "MediaName"), (0, 1, 2, "")), "none of 1 samples belongs to a medium"),
    ],
)
def test_an_export_without_gaze_is_refused(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(RecordError, match=words) as caught:
        parse(tmp_path, content)
    assert caught.value.reason == "no_gaze"


def test_shares_of_the_screen_are_mapped_from_edge_to_edge(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.arange(192, dtype=np.uint8), (108, 1))).save(tmp_path / "chest.png")
    header = ("Time", "LGazePos2dx", "LGazePos2dy", "RGazePos2dx", "RGazePos2dy")
    corner = [(4000 * k, 1, 1, 1, 1) for k in range(60)]
    (tmp_path / "chest.tsv").write_text(text(header, *corner))
    [reading] = read_tobii(tmp_path / "chest.tsv", images=tmp_path, screen=SCREEN)
    assert reading.fixations[["x_px", "y_px"]].iloc[0].tolist() == pytest.approx([191.5, 107.5])


# ----------------------------------------------------------------------------------------------------- round trips


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    trials = []
    for number in range(draw(st.integers(1, 3))):
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        edges = np.cumsum(rng.integers(2, 9, size=2 * draw(st.integers(1, 4)))).reshape(-1, 2)
        n = int(edges[-1, 1]) + 3
        gaze = rng.uniform(20, 1000, size=(n, 2))
        lost = rng.random(n) < 0.3
        lost[edges[:, 0]] = False
        gaze[lost] = np.nan
        times = (draw(st.integers(0, 50)) + np.arange(n)) / RATE_HZ
        x, y = np.array([np.nanmean(gaze[a : b + 1], axis=0) for a, b in edges]).T
        onset, offset = times[edges].T
        trials.append(
            ScreenTrial(
                f"99{number}",
                (90, 80),
                (10 * number, 5, 500, 400),
                pd.DataFrame({"time_s": times, "x_px": gaze[:, 0], "y_px": gaze[:, 1]}),
                pd.DataFrame({"onset_s": onset, "offset_s": offset, "x_px": x, "y_px": y}),
            )
        )
    return Session("9901", tuple(trials))


@given(session=sessions(), program=st.sampled_from(["Pro Lab", "Studio", "Studio, decimal comma"]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_writer_writes_is_read_back(tmp_path: Path, session: Session, program: str) -> None:
    path = tmp_path / "9901.tsv"
    if program == "Pro Lab":
        path.write_bytes(pro_lab_text(session, screen=SCREEN).encode())
    else:
        decimal = "," if "comma" in program else "."
        path.write_bytes(studio_text(session, decimal=decimal, screen=SCREEN).encode("utf-16"))
    recording = parse_tobii(path)
    assert recording.screen_px == SCREEN.size_px
    assert recording.counts.get("samples_outside_trial", 0) == (CALIBRATION_ROWS if program == "Pro Lab" else 0)
    assert "fixations_outside_trial" not in recording.counts
    # Pro Lab writes whole pixels, Studio two decimals
    atol = 0.51 if program == "Pro Lab" else 0.0051
    for read, true in zip(recording.trials, session.trials, strict=True):
        assert (read.stimulus, read.drawn, read.reader) == (f"{true.image_id}.dcm", true.drawn, "9901")
        written = true.samples.to_numpy()
        np.testing.assert_allclose(read.samples["time_s"], written[:, 0] - written[0, 0], atol=1.1e-6)
        np.testing.assert_allclose(read.samples[["x_left_px", "y_left_px"]], written[:, 1:], atol=atol)
        right = read.samples[["x_right_px", "y_right_px"]] - np.array(VERGENCE_PX)
        np.testing.assert_allclose(right, written[:, 1:], atol=atol)
        assert read.fixations is not None
        times = true.fixations[["onset_s", "offset_s"]] - written[0, 0]
        np.testing.assert_allclose(read.fixations[["onset_s", "offset_s"]], times, atol=1.1e-6)
        # Studio's point is on the medium: the mean of both eyes stands in
        shift = 0.0 if program == "Pro Lab" else np.array(VERGENCE_PX) / 2
        np.testing.assert_allclose(
            read.fixations[["x_px", "y_px"]], true.fixations[["x_px", "y_px"]] + shift, atol=atol
        )
