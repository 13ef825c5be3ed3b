"""EyeLink ASC files: each kind of line by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eyelink_lines import END, EVENTS, HEAD, MONO, START, block, efix, sample, samples

from gazekit.errors import RecordError
from gazekit.sources.eyelink import parse_eyelink
from gazekit.sources.recording import Recording


def parse(folder: Path, *lines: str, ending: str = "\n", **options: object) -> Recording:
    path = folder / "r.asc"
    path.write_bytes(ending.join([*lines, ""]).encode())
    return parse_eyelink(path, **options)


# ------------------------------------------------------------------------------------------------------- one trial


def test_samples_fixations_and_facts_are_those_of_the_lines(tmp_path: Path) -> None:
    recording = parse(
        tmp_path, *HEAD, "MSG\t95 TRIALID 7", "MSG\t99 RECCFG CR 1000 2 1 L", START, "PRESCALER\t1", EVENTS, MONO,
        "MSG\t100 !MODE RECORD CR 1000 2 1 L", sample(100, 10.5, 20.25), "SFIX L   101", sample(101, 11, 21),
        "102\t   .\t   .\t    0.0\t...", sample(103, 12, 22), efix(101, 103, 11.5, 21.5), END,
        "MSG\t120 TRIAL_RESULT 0",
    )  # fmt: skip
    [trial] = recording.trials
    assert (trial.name, trial.stimulus, trial.drawn, trial.units) == ("", None, None, "screen_px")
    assert trial.samples["time_s"].tolist() == [0.0, 0.001, 0.002, 0.003]
    np.testing.assert_array_equal(trial.samples["x_px"], [10.5, 11, np.nan, 12])
    np.testing.assert_array_equal(trial.samples["y_px"], [20.2, 21, np.nan, 22])
    assert set(trial.samples["px_per_deg_x"]) == {40.0}
    assert set(trial.samples["px_per_deg_y"]) == {41.0}
    assert trial.fixations is not None
    assert trial.fixations.iloc[0][:4].tolist() == [0.001, 0.003, 11.5, 21.5]
    assert trial.fixations["px_per_deg_y"].tolist() == [41.0]
    assert recording.screen_px == (1920, 1080)
    assert recording.facts["tracker"] == "EYELINK II CL v5.15"
    assert (recording.facts["sampling_rate_hz"], recording.facts["tracking_mode"]) == (1000.0, "CR")
    assert not recording.counts
    assert not recording.warnings


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_calibration_output_comments_and_blank_lines_are_no_data(tmp_path: Path, ending: str) -> None:
    noise = [
        "# a comment", "", "MSG\t91 !CAL", ">>>>>>> CALIBRATION (HV9,P-CR) FOR LEFT: <<<<<<<<<",
        "\t  -77     7   -80     7", "   7554.5  200.42  61.681  1.6336", "-5051  5051",
        "INPUT\t92\t127", "BUTTON\t93\t5\t1",
    ]  # fmt: skip
    recording = parse(tmp_path, *HEAD, *noise, *block(*samples(100, 104)), ending=ending)
    assert len(recording.trials[0].samples) == 5
    assert recording.counts == {"unknown_line": 1}  # "-5051", which begins like nothing that is known


def test_two_samples_of_one_millisecond_at_2000_hz_are_half_a_millisecond_apart(tmp_path: Path) -> None:
    fast = MONO.replace("1000.00", "2000.00")
    whole = parse(tmp_path, *HEAD, *block(*(sample(t, 5, 6) for t in (100, 100, 101, 101)), spec=fast))
    fractions = parse(tmp_path, *HEAD, *block(*(sample(t, 5, 6) for t in (100, 100.5, 101, 101.5)), spec=fast))
    for recording in (whole, fractions):
        assert recording.trials[0].samples["time_s"].tolist() == [0.0, 0.0005, 0.001, 0.0015]


@pytest.mark.parametrize(
    ("spec", "line", "px_per_deg"),
    [
        ("SAMPLES GAZE LEFT VEL RATE 1000.00", "100\t5.0\t6.0\t900.0\t-1.5\t2.5\t...", 40.0),
        ("SAMPLES GAZE LEFT RES RATE 1000.00", "100\t5.0\t6.0\t900.0\t33.0\t34.0\t...", 33.0),
        ("SAMPLES GAZE LEFT VEL RES RATE 1000.00 INPUT", "100\t5.0\t6.0\t900.0\t1\t2\t33.0\t34.0\t127.0\t...", 33.0),
        ("SAMPLES GAZE LEFT RATE 1000.00 INPUT BUTTONS", "100\t5.0\t6.0\t900.0\t127.0\t1.0\t...", 40.0),
        ("SAMPLES GAZE LEFT HTARGET RATE 1000.00", "100\t5.0\t6.0\t900.0\t... \t5069.0\t3637.0\t577.5 .......", 40.0),
        ("SAMPLES GAZE LEFT RATE 1000.00", "100\t5.0\t6.0\t900.0", 40.0),
    ],
    ids=["velocity", "resolution", "all", "ports", "remote", "bare"],
)
def test_columns_are_those_that_the_samples_line_announces(
    tmp_path: Path, spec: str, line: str, px_per_deg: float
) -> None:
    [trial] = parse(tmp_path, *HEAD, *block(line, line.replace("100", "101"), spec=spec.replace(" ", "\t"))).trials
    assert trial.samples[["x_px", "y_px"]].iloc[1].tolist() == [5.0, 6.0]
    assert trial.samples["px_per_deg_x"].tolist() == [px_per_deg] * 2


def test_two_eyes_are_both_in_the_samples_and_the_better_one_fixates(tmp_path: Path) -> None:
    both = "SAMPLES\tGAZE\tLEFT\tRIGHT\tRATE\t1000.00"
    lines = [f"{t}\t 1.0\t 2.0\t 900.0\t   .\t   .\t 0.0\t....." for t in (100, 101)]
    events = [efix(100, 101, 1, 2), efix(100, 101, 8, 9, eye="R")]
    errors = [
        f"MSG\t95 !CAL VALIDATION HV9 LR {eye} GOOD ERROR {error} avg. 0.64 max  OFFSET 0.1 deg. 1,2 pix."
        for eye, error in (("LEFT ", 0.5), ("RIGHT", 0.4))
    ]
    untold = parse(tmp_path, *HEAD, *block(*lines, *events, spec=both))
    told = parse(tmp_path, *HEAD, *errors, *block(*lines, *events, spec=both))
    for recording, eye, x in ((untold, "left", 1.0), (told, "right", 8.0)):
        [trial] = recording.trials
        assert trial.samples["x_left_px"].tolist() == [1.0, 1.0]
        assert trial.samples["x_right_px"].isna().all()
        assert trial.fixations is not None
        assert trial.fixations["x_px"].tolist() == [x]
        assert trial.facts["eye_of_fixations"] == eye
        assert recording.counts == {"fixations_of_other_eye": 1}
    assert told.trials[0].facts["validation_error_dva"] == {"left": 0.5, "right": 0.4}


def test_a_file_of_events_alone_has_fixations_and_no_samples(tmp_path: Path) -> None:
    [trial] = parse(tmp_path, *HEAD, "MSG\t99 TRIALID 1", START, EVENTS, efix(101, 108), END).trials
    assert len(trial.samples) == 0
    assert trial.fixations is not None
    assert trial.fixations["onset_s"].tolist() == [0.001]


def test_a_file_without_events_of_the_eye_has_no_fixations_of_its_own(tmp_path: Path) -> None:
    [trial] = parse(tmp_path, *HEAD, *block(*samples(100, 105))).trials
    assert trial.fixations is None


def test_the_resolution_of_a_fixation_is_its_own_or_that_of_its_middle_sample(tmp_path: Path) -> None:
    spec = "SAMPLES\tGAZE\tLEFT\tRES\tRATE\t1000.00"
    lines = [f"{100 + k}\t5.0\t6.0\t900.0\t{30 + k}.0\t{50 + k}.0\t..." for k in range(5)]
    for event, expected in ((efix(100, 104), 32.0), (efix(100, 104) + "\t  38.00\t  39.00", 38.0)):
        [trial] = parse(tmp_path, *HEAD, *block(*lines, event, spec=spec)).trials
        assert trial.fixations is not None
        assert trial.fixations["px_per_deg_x"].tolist() == [expected]


# ------------------------------------------------------------------------------------------------ trials and pictures


def test_a_trial_runs_from_its_trialid_to_its_result(tmp_path: Path) -> None:
    recording = parse(
        tmp_path, *HEAD, START, EVENTS, MONO, *samples(100, 102), "MSG\t103 TRIALID a b/c", *samples(103, 105),
        efix(101, 104), "MSG\t106 TRIALID a b/c", *samples(106, 109), efix(107, 108), "MSG\t110 TRIAL_RESULT 0",
        *samples(110, 111), END,
    )  # fmt: skip
    assert [trial.name for trial in recording.trials] == ["a-b-c", "a-b-c-2"]
    assert [len(trial.samples) for trial in recording.trials] == [3, 4]
    assert [trial.samples["x_px"].iloc[0] for trial in recording.trials] == [103, 106]
    assert recording.trials[1].fixations is not None
    assert recording.trials[1].fixations["onset_s"].tolist() == [0.001]
    # three samples before the first trial and two after the last; a fixation that began before its trial
    assert recording.counts == {"samples_outside_trial": 5, "fixations_outside_trial": 1}


def test_without_trialid_each_recording_is_a_trial(tmp_path: Path) -> None:
    later = [line.replace("START\t100", "START\t200") for line in block(*samples(200, 203), efix(200, 203))]
    recording = parse(tmp_path, *HEAD, *block(*samples(100, 104), efix(100, 104)), *later)
    assert [(trial.name, len(trial.samples)) for trial in recording.trials] == [("1", 5), ("2", 4)]


@pytest.mark.parametrize(
    ("message", "drawn", "anchor"),
    [
        ("!V IMGLOAD FILL x/chest.png", (0, 0, 1920, 1080), None),
        ("!V IMGLOAD TOP_LEFT ..\\x\\chest.png 100 50 800 900", (100, 50, 900, 950), None),
        ("!V IMGLOAD CENTER /x/chest.png 960 540 800 900", (560, 90, 1360, 990), None),
        ("!V IMGLOAD CENTER chest.png 960 540", None, (960, 540, 0.5)),
        ("!V IMGLOAD TOP_LEFT chest.png 10 20", None, (10, 20, 0.0)),
    ],
)
def test_the_image_message_names_the_picture_and_its_place(
    tmp_path: Path, message: str, drawn: object, anchor: object
) -> None:
    [trial] = parse(tmp_path, *HEAD, f"MSG\t99 {message}", *block(*samples(100, 104))).trials
    assert (trial.stimulus, trial.drawn, trial.anchor) == ("chest.png", drawn, anchor)


def test_a_screen_whose_coordinates_begin_elsewhere_is_moved_to_its_first_pixel(tmp_path: Path) -> None:
    message = "MSG\t99 !V IMGLOAD TOP_LEFT c.png -100 -50 200 100"
    head = ["MSG\t90 DISPLAY_COORDS -960 -540 959 539"]
    recording = parse(tmp_path, *head, message, *block(sample(100, -960, -540), efix(100, 100, 0, 0)))
    [trial] = recording.trials
    assert recording.screen_px == (1920, 1080)
    assert trial.samples[["x_px", "y_px"]].iloc[0].tolist() == [0, 0]
    assert trial.fixations is not None
    assert trial.fixations[["x_px", "y_px"]].iloc[0].tolist() == [960, 540]
    assert trial.drawn == (860, 490, 1060, 590)


def test_coordinates_of_the_tracker_come_before_those_of_the_experiment(tmp_path: Path) -> None:
    head = ["MSG\t90 GAZE_COORDS 0.00 0.00 1023.00 767.00", "MSG\t91 DISPLAY_COORDS 0 0 1919 1079"]
    assert parse(tmp_path, *head, *block(*samples(100, 101))).screen_px == (1024, 768)


def test_a_script_that_writes_the_size_for_the_last_pixel_is_understood(tmp_path: Path) -> None:
    assert parse(tmp_path, "MSG\t90 DISPLAY_COORDS 0 0 1920 1080", *block(*samples(100, 101))).screen_px == (1920, 1080)


def test_pictures_divide_a_trial_at_their_onset(tmp_path: Path) -> None:
    recording = parse(
        tmp_path, *HEAD, "MSG\t99 TRIALID 1", START, EVENTS, MONO, *samples(100, 103),
        "MSG\t106 2 !V IMGLOAD FILL a.png", *samples(104, 109), efix(105, 108), "MSG\t110 !V IMGLOAD FILL b.png",
        "MSG\t110 !V IMGLOAD FILL b.png",
        *samples(110, 114), efix(109, 112), efix(113, 114), "MSG\t115 !V CLEAR 0 0 0", *samples(115, 116), END,
    )  # fmt: skip
    first, second = recording.trials
    # the message of 106 says that a.png had been there for 2 ms
    assert (first.name, first.stimulus, first.samples["x_px"].tolist()) == ("1", "a.png", list(range(104, 110)))
    assert (second.name, second.stimulus, second.samples["x_px"].tolist()) == ("1-2", "b.png", list(range(110, 115)))
    assert first.fixations is not None
    assert first.fixations["onset_s"].tolist() == [0.001]
    assert second.fixations is not None
    assert second.fixations["onset_s"].tolist() == [0.003]
    assert recording.counts == {"samples_outside_trial": 6, "fixations_outside_trial": 1}


def test_a_picture_named_before_or_after_the_recording_was_there_all_the_time(tmp_path: Path) -> None:
    message = "MSG\t98 !V IMGLOAD FILL a.png"
    trial, result = "MSG\t97 TRIALID 1", "MSG\t120 TRIAL_RESULT 0"
    before = parse(tmp_path, *HEAD, trial, message, *block(*samples(100, 104)), result)
    after = parse(tmp_path, *HEAD, trial, *block(*samples(100, 104)), message, result)
    for recording in (before, after):
        assert [(t.stimulus, len(t.samples)) for t in recording.trials] == [("a.png", 5)]


def test_a_message_sent_after_the_recording_can_say_since_when_the_picture_was_there(tmp_path: Path) -> None:
    recording = parse(
        tmp_path, *HEAD, "MSG\t97 TRIALID 1", *block(*samples(100, 109)), "MSG\t120 13 !V IMGLOAD FILL b.png",
        "MSG\t121 19 !V IMGLOAD FILL a.png", "MSG\t122 TRIAL_RESULT 0",
    )  # fmt: skip
    shown = [(t.stimulus, t.samples["x_px"].tolist()) for t in recording.trials]
    assert shown == [("a.png", [102, 103, 104, 105, 106]), ("b.png", [107, 108, 109])]
    assert recording.counts == {"samples_outside_trial": 2}


def test_a_recording_that_was_cut_off_has_the_resolution_of_another(tmp_path: Path) -> None:
    cut = [START.replace("100", "200"), EVENTS, MONO, *samples(200, 204), efix(200, 204)]
    recording = parse(tmp_path, *HEAD, *block(*samples(100, 104)), *cut)
    assert set(recording.trials[1].samples["px_per_deg_x"]) == {40.0}


@pytest.mark.parametrize(
    ("message", "said", "stimulus"),
    [
        (None, ["!V TRIAL_VAR image D:\\x\\chest.png", "!V TRIAL_VAR answer yes"], "chest.png"),
        (None, ["!V TRIAL_VAR image a.png", "!V TRIAL_VAR mask b.png"], None),
        ("mask", ["!V TRIAL_VAR image a.png", "!V TRIAL_VAR mask b.png"], "b.png"),
        ("picture:", ["picture: chest 7.png", "!V IMGLOAD FILL a.png"], "chest 7.png"),
    ],
)
def test_a_variable_or_message_can_name_the_picture(
    tmp_path: Path, message: str | None, said: list[str], stimulus: str | None
) -> None:
    messages = [f"MSG\t120 {text}" for text in said]
    recording = parse(
        tmp_path,
        *HEAD,
        "MSG\t97 TRIALID 1",
        *block(*samples(100, 104)),
        *messages,
        "MSG\t121 TRIAL_RESULT",
        message=message,
    )
    assert [trial.stimulus for trial in recording.trials] == [stimulus]


# ------------------------------------------------------------------------------------------------------ damaged files


def test_a_file_that_ends_within_a_line_and_a_recording_loses_that_line(tmp_path: Path) -> None:
    path = tmp_path / "r.asc"
    path.write_text("\n".join([*HEAD, START, EVENTS, MONO, *samples(100, 104), "105\t  10"]))
    recording = parse_eyelink(path)
    assert len(recording.trials[0].samples) == 5
    assert recording.counts == {"cut_line": 1}
    assert any("line 3: START without END" in warning for warning in recording.warnings)
    assert any("line 11: the file ends within it" in warning for warning in recording.warnings)


def test_lines_that_are_not_numbers_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = [
        *samples(100, 102),
        "103\t12.0\t..",
        "104\tx\t1.0\t900.0\t...",
        *samples(105, 106),
        "NONSENSE 1",
        "EFIX L 1",
    ]
    recording = parse(tmp_path, *HEAD, *block(*lines))
    assert recording.trials[0].samples["x_px"].tolist() == [100, 101, 102, 105, 106]
    assert recording.counts == {"bad_sample_line": 2, "unknown_line": 1, "bad_fixation_line": 1}
    assert "line 3: 2 of 7 sample lines are left out" in recording.warnings[0]


def test_samples_out_of_order_are_sorted_and_counted(tmp_path: Path) -> None:
    recording = parse(tmp_path, *HEAD, *block(*samples(103, 105), *samples(100, 102)))
    assert recording.trials[0].samples["x_px"].tolist() == [100, 101, 102, 103, 104, 105]
    assert recording.counts == {"unsorted": 1}


def test_gaps_in_time_stay_gaps(tmp_path: Path) -> None:
    [trial] = parse(tmp_path, *HEAD, *block(*samples(100, 101), *samples(150, 151))).trials
    assert trial.samples["time_s"].tolist() == [0, 0.001, 0.05, 0.051]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"SR_RESEARCH_COMBINED_FILE_FORMAT\0", "convert it with SR Research's edf2asc"),
        (b"", "no START line"),
        (b"100\t1.0\t2.0\t900.0\t...\n", "converted with its events"),
        (b"\x1f\x8b\x08\x00", "gzip data"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"START\t100 \tLEFT\n\0", "a NUL byte at offset 16"),
        (b"START\t1 \tLEFT\nSAMPLES\tHREF\tLEFT\n1\t2.0\t3.0\t9.0\t...\n", "the samples are HREF"),
        (b"START\t1 \tLEFT\n1\t2.0\t3.0\t9.0\t...\n", "no SAMPLES line"),
    ],
)
def test_what_is_no_asc_file_is_refused_with_the_cure(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "r.asc").write_bytes(content)
    with pytest.raises(RecordError, match=words) as caught:
        parse_eyelink(tmp_path / "r.asc")
    assert caught.value.reason == "bad_table"
    assert str(tmp_path) not in str(caught.value)


def test_a_recording_without_gaze_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no sample and no fixation in 1 trials") as caught:
        parse(tmp_path, *HEAD, *block())
    assert caught.value.reason == "no_gaze"
