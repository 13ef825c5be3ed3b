"""BIDS eye tracking: what is read of it, and that what is written is BIDS and comes back the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk_sessions import screen_trials
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gazekit import read_bids
from gazekit.errors import InputError, RecordError
from gazekit.geometry import screen_degrees, screen_px_per_degree
from gazekit.simulate.bids import write_run
from gazekit.simulate.desk import DESK, Session
from gazekit.sources.bids import parse_bids

RUN = "sub-9901_task-read_run-1"
SCREEN = DESK.screen
PHYSIO = {
    "PhysioType": "eyetrack",
    "RecordedEye": "left",
    "SampleCoordinateSystem": "gaze-on-screen",
    "SamplingFrequency": 100,
    "StartTime": 0,
    "Columns": ["timestamp", "x_coordinate", "y_coordinate"],
    "timestamp": {"Units": "ms"},
    "x_coordinate": {"Units": "pixel"},
    "y_coordinate": {"Units": "pixel"},
}
EVENTS = {
    "StimulusPresentation": {
        "ScreenDistance": 0.65,
        "ScreenOrigin": ["top", "left"],
        "ScreenResolution": [1920, 1080],
        "ScreenSize": [0.531, 0.299],
    }
}
PHYSIOEVENTS = {"OnsetSource": "timestamp", "Columns": ["onset", "duration", "trial_type"]}
SAMPLES = [(5000 + 10 * k, 100.0 + k, 50.0) for k in range(100)]


def put_table(path: Path, rows: list[tuple[Any, ...]], sidecar: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join("\t".join(map(str, row)) + "\n" for row in rows).encode()))
    path.with_name(path.name.replace(".tsv.gz", ".json")).write_text(json.dumps(sidecar))


def put_run(
    root: Path,
    *,
    samples: list[tuple[Any, ...]] = SAMPLES,
    physio: dict[str, Any] | None = None,
    fixations: list[tuple[Any, ...]] | None = None,
    events: str = "onset\tduration\tstim_file\n0\t1\tchest7.png\n",
    presentation: dict[str, Any] | None = None,
    eye: str = "eye1",
) -> Path:
    """A run with one eye; returns its events file."""
    folder = root / "sub-9901" / "beh"
    put_table(folder / f"{RUN}_recording-{eye}_physio.tsv.gz", samples, PHYSIO | (physio or {}))
    if fixations is not None:
        put_table(folder / f"{RUN}_recording-{eye}_physioevents.tsv.gz", fixations, PHYSIOEVENTS)
    (root / "dataset_description.json").write_text('{"Name": "t", "BIDSVersion": "1.11.1"}')
    (folder / f"{RUN}_events.json").write_text(json.dumps(presentation or EVENTS))
    (folder / f"{RUN}_events.tsv").write_text(events)
    return folder / f"{RUN}_events.tsv"


# --- reading -------------------------------------------------------------------------------------------------------


def test_samples_count_from_their_event_and_are_screen_pixels(tmp_path):
    events = "onset\tduration\tstim_file\n0.2\t0.1\tchest7.png\n0.5\tn/a\tn/a\n0.6\tn/a\timages/chest8.png\n"
    path = put_run(tmp_path, events=events, physio={"StartTime": 0.1})
    recording = parse_bids(path)
    assert recording.screen_px == (1920, 1080)
    first, last = recording.trials
    assert [(t.name, t.stimulus, t.reader, t.units) for t in (first, last)] == [
        ("0001", "chest7.png", "9901", "screen_px"),
        ("0003", "images/chest8.png", "9901", "screen_px"),
    ]
    # the first sample is at 0.1 s of the run, so that the event begins with the eleventh
    assert_allclose(first.samples["time_s"], np.arange(10) / 100, atol=1e-9)
    assert_allclose(first.samples["x_px"], 110 + np.arange(10))
    assert len(last.samples) == 50


def test_degrees_of_the_screen_come_from_the_events_sidecar(tmp_path):
    samples = parse_bids(put_run(tmp_path)).trials[0].samples
    expected = screen_px_per_degree(samples[["x_px", "y_px"]].to_numpy(), SCREEN)
    assert_allclose(samples[["px_per_deg_x", "px_per_deg_y"]], expected)


def test_a_fixation_lies_where_its_samples_are(tmp_path):
    rows = [(5100, 40, "fixation"), (5160, 30, "saccade"), (5200, 0, "fixation"), (4000, "n/a", "n/a")]
    trial = parse_bids(put_run(tmp_path, fixations=rows)).trials[0]
    assert_allclose(
        trial.fixations[["onset_s", "offset_s", "x_px", "y_px"]], [(0.1, 0.14, 112, 50), (0.2, 0.2, 120, 50)]
    )
    assert trial.fixations["line"].tolist() == [1, 3]


def test_a_quote_in_a_message_is_a_letter_like_any_other(tmp_path):
    path = put_run(tmp_path, fixations=[(5050, "n/a", 'a "message'), (5100, 40, "fixation"), (5200, "n/a", '"')])
    assert len(parse_bids(path).trials[0].fixations) == 1


def test_a_fixation_without_a_sample_has_no_position(tmp_path):
    lost = [(t, "n/a", "n/a") if 5100 <= t <= 5140 else (t, x, y) for t, x, y in SAMPLES]
    trial = parse_bids(put_run(tmp_path, samples=lost, fixations=[(5100, 40, "fixation")])).trials[0]
    assert trial.fixations[["x_px", "y_px"]].isna().all(axis=None)


def test_two_eyes_are_side_by_side_and_the_fixations_are_those_of_the_left(tmp_path):
    put_run(tmp_path, fixations=[(5100, 40, "fixation")])
    right = [(t, x + 4, y) for t, x, y in SAMPLES[50:]]
    path = put_run(tmp_path, samples=right, physio={"RecordedEye": "right", "StartTime": 0.5}, eye="eye2", fixations=[])
    trial = parse_bids(path).trials[0]
    assert trial.samples["x_left_px"].notna().sum() == 100
    assert trial.samples["x_right_px"].notna().sum() == 50
    assert_allclose((trial.samples["x_right_px"] - trial.samples["x_left_px"]).dropna(), 4)
    assert len(trial.fixations) == 1


def test_a_cyclopean_eye_is_preferred_to_those_it_is_made_of(tmp_path):
    put_run(tmp_path)
    path = put_run(
        tmp_path, physio={"RecordedEye": "cyclopean"}, samples=[(t, 7, 7) for t, _, _ in SAMPLES], eye="eye3"
    )
    samples = parse_bids(path).trials[0].samples
    assert set(samples["x_px"]) == {7.0}
    assert "x_left_px" not in samples


def test_recordings_that_are_not_of_the_eye_are_passed_over(tmp_path):
    path = put_run(tmp_path)
    cardiac = {"Columns": ["cardiac"], "SamplingFrequency": 10, "StartTime": 0}
    put_table(path.parent / f"{RUN}_recording-pulse_physio.tsv.gz", [(1,), (2,)], cardiac)
    assert len(parse_bids(path).trials[0].samples) == 100


def test_the_nearest_of_the_inherited_sidecars_counts(tmp_path):
    path = put_run(tmp_path)
    own = path.parent / f"{RUN}_recording-eye1_physio.json"
    own.write_text(json.dumps({"RecordedEye": "left"}))
    (tmp_path / "task-read_physio.json").write_text(json.dumps(PHYSIO | {"StartTime": 9.0}))
    (tmp_path / "task-read_run-1_physio.json").write_text(json.dumps({"StartTime": 0.5}))
    (tmp_path / "physio.json").write_text(json.dumps({"StartTime": 7.0}))
    (tmp_path / "task-other_physio.json").write_text(json.dumps({"StartTime": 77.0, "PhysioType": "generic"}))
    assert_allclose(parse_bids(path).trials[0].samples["time_s"].iloc[0], 0.5)


def test_the_digest_follows_every_file_that_counts(tmp_path):
    path = put_run(tmp_path, fixations=[(5100, 40, "fixation")])
    inherited = tmp_path / "task-read_physio.json"
    inherited.write_text("{}")
    digests = [read_bids(tmp_path).digest(), read_bids(tmp_path).digest()]
    assert digests[0] == digests[1]
    inherited.write_text('{"StartTime": 0}')
    digests.append(read_bids(tmp_path).digest())
    put_run(tmp_path, fixations=[(5100, 41, "fixation")])
    digests.append(read_bids(tmp_path).digest())
    path.write_text(path.read_text().replace("\t1\t", "\t0.9\t"))
    digests.append(read_bids(tmp_path).digest())
    assert len(set(digests)) == 4


@pytest.mark.parametrize("unit", ["pixel", "deg", "mm", "cm", "m"])
@pytest.mark.parametrize("origin", [("top", "left"), ("bottom", "left"), ("center", "center")])
def test_units_and_origins_are_one_place_on_the_screen(tmp_path, unit, origin):
    if unit == "deg" and origin != ("center", "center"):
        origin = ("center", "center")  # an angle counts from the centre whatever the origin of the pixels
    truth = np.array([(959.5, 539.5), (100.0, 50.0), (1700.0, 900.0)])
    pitch = np.array(SCREEN.size_mm) / SCREEN.size_px
    written = truth.copy()
    if unit == "deg":
        written = screen_degrees(truth, SCREEN)
    else:
        if origin[0] == "bottom":
            written[:, 1] = 1079 - written[:, 1]
        if origin[0] == "center":
            written = written - (959.5, 539.5)
        if unit != "pixel":
            # a length counts from the edge of the screen
            written = (written + (0.0 if origin[0] == "center" else 0.5)) * pitch / {"mm": 1, "cm": 10, "m": 1000}[unit]
    samples = [(5000 + 10 * k, *map(repr, point)) for k, point in enumerate(written.tolist())]
    units = {name: {"Units": unit} for name in ("x_coordinate", "y_coordinate")}
    presentation = {"StimulusPresentation": EVENTS["StimulusPresentation"] | {"ScreenOrigin": list(origin)}}
    path = put_run(tmp_path, samples=samples, physio=units, presentation=presentation)
    assert_allclose(parse_bids(path).trials[0].samples[["x_px", "y_px"]], truth, atol=1e-9)


@given(st.lists(screen_trials(rate_hz=500.0), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_what_the_simulator_writes_comes_back_to_the_last_decimal(tmp_path_factory, trials):
    root = tmp_path_factory.mktemp("bids")
    (root / "dataset_description.json").write_text("{}")
    physio = PHYSIO | {"Columns": [*PHYSIO["Columns"], "pupil_size"]}
    (root / "task-read_physio.json").write_text(json.dumps(physio))
    (root / "task-read_events.json").write_text(json.dumps(EVENTS))
    columns = [*PHYSIOEVENTS["Columns"], "blink", "message"]
    (root / "task-read_physioevents.json").write_text(json.dumps(PHYSIOEVENTS | {"Columns": columns}))
    write_run(root, Session("9901", tuple(trials)))
    recording = parse_bids(root / "sub-9901" / "beh" / f"{RUN}_events.tsv")
    assert [trial.stimulus for trial in recording.trials] == [f"{trial.image_id}.dcm" for trial in trials]
    for read, truth in zip(recording.trials, trials, strict=True):
        seen = truth.samples[truth.samples["time_s"] <= read.samples["time_s"].iloc[-1] + 1e-6]
        assert len(seen) == len(read.samples) == len(truth.samples)
        mean = (read.samples[["x_left_px", "y_left_px"]].to_numpy() + read.samples[["x_right_px", "y_right_px"]]) / 2
        assert_allclose(mean, seen[["x_px", "y_px"]], atol=0.0051)
        assert_allclose(read.samples["time_s"], seen["time_s"], atol=1e-3)
        begun = truth.fixations[truth.fixations["onset_s"] < truth.samples["time_s"].iloc[-1]]
        assert_allclose(read.fixations["onset_s"].iloc[: len(begun)], begun["onset_s"], atol=1e-3)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"physio": {"SampleCoordinateSystem": "eye-in-head"}}, "expected SampleCoordinateSystem gaze-on-screen"),
        ({"physio": {"PhysioType": "generic"}}, "with PhysioType eyetrack beside it"),
        ({"physio": {"RecordedEye": "both"}}, "expected RecordedEye cyclopean, left, right, found 'both'"),
        ({"physio": {"Columns": ["timestamp", "x_coordinate"]}}, "missing column y_coordinate in its sidecar"),
        ({"physio": {"Columns": "timestamp"}}, "expected a list of names as Columns"),
        ({"physio": {"StartTime": "0"}}, "expected a number as StartTime"),
        ({"physio": {"timestamp": {"Units": "samples"}}}, "expected Units of timestamp s, ms, us, ns"),
        ({"physio": {"x_coordinate": {"Units": "arbitrary"}}}, "x_coordinate is in 'arbitrary', y_coordinate"),
        ({"presentation": {"TaskName": "read"}}, "no StimulusPresentation in its sidecar"),
        ({"presentation": {"StimulusPresentation": {"ScreenDistance": "n/a"}}}, "expected ScreenResolution [px, px]"),
        ({"presentation": {"StimulusPresentation": {"ScreenResolution": [1e999, 1]}}}, "expected ScreenResolution [px"),
        ({"samples": [(1, 2, 3), (4, 5)]}, "line 2: expected 3 cells, as in Columns, found 2"),
        ({"samples": [(1, 2, 3), (4, "abc", 5)]}, "line 2, column 'x_coordinate': expected a number or n/a"),
        ({"events": "onset\tduration\tstim_file\n0\t1\tn/a\n"}, "no event has a stim_file"),
        ({"events": "onset\tduration\tstim_file\nfirst\t1\ta.png\n"}, "line 2, column 'onset': expected seconds"),
        ({"events": "onset,duration,stim_file\n0,1,a.png\n"}, "separated by commas; expected tabs"),
    ],
)  # fmt: skip
def test_a_run_that_is_not_as_bids_says_is_refused_by_its_place(tmp_path, change, words):
    with pytest.raises(RecordError) as caught:
        parse_bids(put_run(tmp_path, **change))
    assert words in str(caught.value)
    assert caught.value.reason == ("no_gaze" if "no event" in words else "bad_table")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\t2\t3\n", "not gzip data"),
        (gzip.compress(b"1\t2\t3\n" * 900)[:40], "cut off or damaged"),
    ],
)
def test_a_table_that_does_not_unpack_is_refused(tmp_path, content, words):
    path = put_run(tmp_path)
    (path.parent / f"{RUN}_recording-eye1_physio.tsv.gz").write_bytes(content)
    with pytest.raises(RecordError, match=words):
        parse_bids(path)


@pytest.mark.parametrize("content", ["[1]", "{", "\xff", "[" * 100_000])
def test_a_sidecar_that_is_no_json_object_is_refused(tmp_path, content):
    path = put_run(tmp_path)
    (path.parent / f"{RUN}_recording-eye1_physio.json").write_text(content, encoding="latin-1")
    with pytest.raises(RecordError, match="expected a JSON object"):
        parse_bids(path)


def test_events_that_subjects_inherit_are_refused_with_the_cure(tmp_path):
    path = put_run(tmp_path)
    path.rename(tmp_path / "task-read_events.tsv")
    with pytest.raises(InputError, match="an events file that subjects inherit is not read: copy it to each run"):
        read_bids(tmp_path)
