"""Files of trackers to readings: ids, images, the gaze in its place, and what is refused, counted and said."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gaze_traces import SCREEN, make_gaze
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image
from toy_tracker import parse_toy, read_toy

import gazekit
from gazekit import InputError, RecordError, Screen
from gazekit.build import build_heatmaps
from gazekit.geometry import placed_rectangle
from gazekit.reading import SCREEN as SCREEN_RECTANGLE
from gazekit.reading import SHOWN
from gazekit.sources.parsed_files import ParsedFiles
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.spec import parse_spec

WIDTH, HEIGHT = SCREEN.size_px


def draw_image(path: Path, shape: tuple[int, int] = (60, 80)) -> None:
    """A grey picture that is not flat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape).astype(np.uint8)).save(path)


def gaze_at(points: Sequence[tuple[float, float]], *, rate: float = 250.0, rest_s: float = 0.4) -> pd.DataFrame:
    """Samples of an eye that rests at each of some points, exactly."""
    each = int(rest_s * rate)
    xy = np.repeat(np.asarray(points, np.float64), each, axis=0)
    return pd.DataFrame({"time_s": np.arange(len(xy)) / rate, "x_px": xy[:, 0], "y_px": xy[:, 1]})


@dataclass(frozen=True)
class Kept:
    """A tracker whose files say nothing: each holds the recording given here."""

    recording: Recording

    def __call__(self, path: Path) -> Recording:
        return self.recording


def write_toy(path: Path, stimuli: Sequence[str] = ("chest1.png",), points: Sequence[tuple[float, float]] = ()) -> None:
    rows = gaze_at(points or [(300, 200), (900, 500)]).to_numpy().tolist()
    lines = [f"{stimulus} {time:.4f} {x} {y}" for stimulus in stimuli for time, x, y in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Two recordings of two and one trials, and their images."""
    write_toy(tmp_path / "gaze/99a.toy", ["chest1.png", "chest2.png"])
    write_toy(tmp_path / "gaze/day2/99b.toy", ["chest1.png"])
    for name in ("chest1", "chest2"):
        draw_image(tmp_path / "images" / f"{name}.png")
    return tmp_path


def open_lab(lab: Path, **options: object) -> gazekit.Readings:
    given_: dict[str, object] = {"images": lab / "images", "screen": SCREEN} | options
    return read_toy(lab / "gaze", **given_)  # type: ignore[arg-type]


def one(recording: Recording, folder: Path, **options: object) -> gazekit.Reading:
    """The reading of a recording's only trial."""
    (folder / "gaze").mkdir(exist_ok=True)
    (folder / "gaze" / "chest1.rec").write_bytes(b"")
    options = {"images": folder / "images", "screen": SCREEN} | options
    kept = read_recordings(folder / "gaze", dataset="kept", parse=Kept(recording), suffixes=(".rec",), **options)  # type: ignore[arg-type]
    return kept[0]


def test_ids_are_the_path_of_the_file_and_the_trial(lab: Path):
    readings = open_lab(lab)
    assert readings.ids == ("99a.chest1", "99a.chest2", "day2.99b.chest1")
    assert [entry.image_id for entry in readings.entries] == ["chest1", "chest2", "chest1"]
    assert readings["day2.99b.chest1"].reading_id == "day2.99b.chest1"


def test_the_mapping_is_from_edge_to_edge_by_hand(tmp_path: Path):
    # an image of 30 x 20 pixels, each drawn 10 screen pixels wide and high, from screen pixel (100, 50) on
    draw_image(tmp_path / "images" / "chest1.png", (20, 30))
    samples = gaze_at([(104.5, 54.5), (394.5, 244.5), (99.5, 49.5)])
    reading = one(Recording((Trial("", samples, drawn=(100, 50, 400, 250)),)), tmp_path)
    assert reading.image_shape == (20, 30)
    # the centre of the first pixel, of the last, and the image's top left corner
    assert_allclose(reading.fixations[["x_px", "y_px"]], [(0, 0), (29, 19), (-0.5, -0.5)], atol=1e-12)
    assert_allclose(reading.fixations.iloc[0][list(SHOWN)].to_numpy(), [0, 0, 30, 20])
    assert_allclose(reading.fixations.iloc[0][list(SCREEN_RECTANGLE)].to_numpy(), [100, 50, 400, 250])


def test_degrees_on_the_image_are_those_of_the_screen_where_the_eye_rests(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png", (540, 960))  # drawn at twice its size
    middle, side = (959.5, 539.5), (1919.5, 539.5)
    reading = one(Recording((Trial("", gaze_at([middle, side])),)), tmp_path)
    # tan: in the middle 650 mm / 1 rad of 530 mm / 1920 px; at the side, 265 mm off, more by (650^2 + 265^2) / 650^2
    per_radian = 650 / (530 / 1920)
    expected = np.radians(np.array([per_radian, per_radian * (650**2 + 265**2) / 650**2])) / 2
    assert_allclose(reading.fixations["px_per_deg_x"], expected, rtol=1e-9)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Screen, tuple[float, float, float, float], tuple[int, int]]:
    """A screen, a rectangle on it (whole pixels or not), and an image's shape."""
    width, height = draw(st.integers(400, 4000)), draw(st.integers(400, 3000))
    size_mm = (draw(st.floats(300, 600)), draw(st.floats(300, 600)))
    screen = Screen(size_px=(width, height), size_mm=size_mm, distance_mm=650)
    x0, y0 = draw(st.floats(-50, width - 200)), draw(st.floats(-50, height - 200))
    drawn = (x0, y0, x0 + draw(st.floats(200, 2000)), y0 + draw(st.floats(200, 2000)))
    return screen, drawn, (draw(st.integers(300, 4000)), draw(st.integers(300, 4000)))


@given(scenes(), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_gaze_in_any_units_lands_on_the_same_place_of_the_image(tmp_path_factory, scene, shares):
    screen, drawn, shape = scene
    folder = tmp_path_factory.mktemp("scene")
    (folder / "images").mkdir()
    # only the header is read: a picture of one grey compresses to nothing
    Image.new("L", shape[::-1], 7).save(folder / "images" / "chest1.png")
    size = np.array(shape[::-1], np.float64)
    corner, extent = np.array(drawn[:2]), np.array(drawn[2:]) - drawn[:2]
    truth = np.array(shares) * size - 0.5
    on_screen = corner - 0.5 + np.array(shares) * extent
    same = {
        "screen_px": on_screen,
        "screen_share": (on_screen + 0.5) / screen.size_px,
        "image_px": truth,
        "image_share": np.array(shares),
    }
    tables = []
    for units, points in same.items():
        n = np.arange(len(points))
        own = pd.DataFrame({"onset_s": n, "offset_s": n + 0.5, "x_px": points[:, 0], "y_px": points[:, 1]})
        if units.endswith("_px") and np.abs(points).max() <= 1:
            return  # what looks like shares is refused as such
        trial = Trial("", pd.DataFrame(), fixations=own, drawn=drawn, units=units)
        tables.append(one(Recording((trial,)), folder, screen=screen).fixations)
    for table in tables:
        assert_allclose(table[["x_px", "y_px"]], truth, atol=1e-9 * max(shape))
        assert_allclose(table, tables[0], rtol=1e-9, atol=1e-9 * max(shape))


@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_a_fitted_image_keeps_its_aspect_fills_one_side_and_is_centred(shape, screen_px):
    x0, y0, x1, y1 = placed_rectangle(shape, screen_px)
    assert_allclose((x1 - x0) * shape[0], (y1 - y0) * shape[1], rtol=1e-9)
    assert_allclose([x0 + x1, y0 + y1], screen_px, rtol=1e-9)
    assert min(x0, y0) == pytest.approx(0, abs=1e-9)
    assert min(x0, y0) >= -1e-9


def test_other_placements_are_at_the_images_own_size_and_over_the_whole_screen():
    assert placed_rectangle((60, 80), (1920, 1080), "centre") == (920, 510, 1000, 570)
    assert placed_rectangle((60, 80), (1920, 1080), "stretch") == (0, 0, 1920, 1080)


def test_a_rectangle_that_nothing_says_is_a_default_that_is_said(lab: Path):
    said = "nothing says where 2 of the stimuli were drawn: taken to fill the screen with their aspect kept; say it by"
    assert any(note.startswith(said) for note in open_lab(lab).notes)
    centred = open_lab(lab, spec=parse_spec({"stimuli": {"placement": "centre"}}))
    assert any("taken to be centred" in note for note in centred.notes)
    # 80 x 60 pixels, one a screen pixel, from (920, 510) on
    assert_allclose(centred[0].fixations[["x_px", "y_px"]], [(300 - 920, 200 - 510), (900 - 920, 500 - 510)])
    rectangles = [{"name": f"chest{n}.png", "rectangle": [0, 0, 80, 60]} for n in (1, 2)]
    assert not any("nothing says" in note for note in open_lab(lab, spec=parse_spec({"stimulus": rectangles})).notes)


def test_the_spec_says_which_image_and_where_and_before_the_file(lab: Path):
    draw_image(lab / "images" / "files" / "99p.png", (10, 20))
    spec = lab / "lab.toml"
    spec.write_text(
        '[[stimulus]]\nname = "chest1.png"\nimage = "files/99p.png"\nrectangle = [100, 100, 300, 200]\n'
        'patient_id = "99001"\nsplit = "train"\nview = "PA"\n[readers]\n"99b" = "99reader"\n'
    )
    readings = open_lab(lab, spec=spec)
    entry = readings.entries[0]
    assert (entry.image_id, entry.image_path) == ("99p", "files/99p.png")
    assert (entry.patient_id, entry.split, entry.view) == ("99001", "train", "PA")
    reading = readings["day2.99b.chest1"]
    assert reading.image_shape == (10, 20)
    assert reading.reader_id == "99reader"
    assert readings["99a.chest1"].reader_id is None
    assert_allclose(reading.fixations["x_px"], (np.array([300, 900]) - 99.5) / 10 - 0.5)


def test_ignored_stimuli_are_counted_and_said(lab: Path):
    readings = open_lab(lab, spec=parse_spec({"stimuli": {"ignore": ["*2.png"]}}))
    assert readings.ids == ("99a.chest1", "day2.99b.chest1")
    assert "trials left out, as [stimuli] ignore says: 1 of chest2.png" in readings.notes
    with pytest.raises(InputError, match="every trial shows a stimulus that"):
        open_lab(lab, spec=parse_spec({"stimuli": {"ignore": ["*"]}}))


def test_a_stimulus_of_the_spec_that_no_trial_shows_is_said(lab: Path):
    spec = parse_spec({"stimulus": [{"name": "chset1.png"}]})
    assert any("chset1.png" in note for note in open_lab(lab, spec=spec).notes)


def test_a_trial_without_its_image_is_missing_image_and_the_others_go_on(lab: Path):
    (lab / "images" / "chest2.png").unlink()
    readings = open_lab(lab)
    with pytest.raises(RecordError) as refused:
        readings["99a.chest2"]
    assert refused.value.reason == "missing_image"
    summary = build_heatmaps(readings, lab / "images", lab / "cache", executor="serial")
    assert (summary.images, summary.readings) == (1, 2)
    assert [failure["reason"] for failure in summary.failures] == ["missing_image"]


def test_a_file_that_cannot_be_read_costs_itself_with_its_own_reason(lab: Path):
    (lab / "gaze" / "99c.toy").write_text("chest1.png 1 2\n")
    readings = open_lab(lab)
    assert len(readings) == 4
    summary = build_heatmaps(readings, lab / "images", lab / "cache", executor="serial")
    assert summary.readings == 3
    [failure] = summary.failures
    assert failure["reason"] == "bad_table"
    assert failure["reading_ids"] == ["99c"]
    assert failure["message"] == "99c.toy: expected lines of stimulus, time, x and y"


def test_an_import_without_any_reading_is_an_error(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png")
    (tmp_path / "gaze").mkdir()
    with pytest.raises(InputError, match=r"expected files that end in \.toy; it holds no file"):
        open_lab(tmp_path)
    (tmp_path / "gaze" / "99a.csv").write_text("a")
    with pytest.raises(InputError, match=r"it holds 1 of \.csv"):
        open_lab(tmp_path)
    (tmp_path / "gaze" / "99a.toy").write_text("a")
    with pytest.raises(InputError, match=r"none of 1 files can be read; the first: 99a\.toy: expected lines"):
        open_lab(tmp_path)


@pytest.mark.parametrize("name", ["..toy", "=HYPERLINK(a).toy", "a;b.toy", "é.toy", "x" * 140 + ".toy"])
def test_a_name_that_cannot_be_an_id_is_refused_before_any_file_is_opened(tmp_path: Path, name: str):
    draw_image(tmp_path / "images" / "chest1.png")
    write_toy(tmp_path / "gaze" / name)
    if name.startswith("."):
        with pytest.raises(InputError, match="it holds no file"):  # hidden
            open_lab(tmp_path)
        return
    with pytest.raises(InputError, match="cannot be an id"):
        read_recordings(tmp_path / "gaze", dataset="toy", parse=pytest.fail, suffixes=(".toy",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "stimulus", ["../../etc/passwd", "/etc/passwd", "C:\\stim\\a.png", "=cmd|a", "<script>", ".hidden"]
)
def test_a_hostile_stimulus_is_refused_with_the_cure(lab: Path, stimulus: str):
    write_toy(lab / "gaze" / "99z.toy", [stimulus])
    with pytest.raises(InputError, match=r"99z\.toy: the stimulus .* is no safe path of an image; .*\[\[stimulus\]\]"):
        open_lab(lab)


def test_two_files_or_trials_of_one_id_are_refused(lab: Path):
    write_toy(lab / "gaze" / "day2.99b.toy")
    with pytest.raises(InputError, match=r"would have the same id day2\.99b; rename one"):
        open_lab(lab)
    (lab / "gaze" / "day2.99b.toy").unlink()
    trial = Trial("a", gaze_at([(300, 200)]), stimulus="chest1.png")
    with pytest.raises(InputError, match="two readings would have the id"):
        one(Recording((trial, trial)), lab)


def test_of_two_kinds_of_files_of_one_recording_the_first_kind_is_read(lab: Path):
    for suffix in ("_all.txt", "_fix.txt"):
        (lab / "gaze" / f"99u{suffix}").write_text(suffix)
    seen = []

    def parse(path: Path) -> Recording:
        seen.append(path.name)
        return Recording((Trial("", gaze_at([(300, 200)]), stimulus="chest1.png"),))

    readings = read_recordings(
        lab / "gaze", dataset="x", parse=parse, suffixes=("_all.txt", "_fix.txt"), images=lab / "images", screen=SCREEN
    )
    assert (readings.ids, seen) == (("99u",), ["99u_all.txt"])
    before = readings.digest()
    (lab / "gaze" / "99u_fix.txt").write_text("changed")
    assert readings.digest() != before, "what may be read beside it counts"


def test_without_a_screen_one_clear_line_names_the_options_and_the_section(lab: Path):
    cure = re.escape(
        "--screen-px WxH --screen-mm WxH --distance-mm D, or size_px, size_mm and distance_mm under [screen]"
    )
    with pytest.raises(InputError, match=rf"99a\.toy: degrees of visual angle need .*{cure}"):
        open_lab(lab, screen=None)
    with pytest.raises(InputError, match=cure):
        open_lab(lab, screen=None, spec=parse_spec({"screen": {"size_px": [1920, 1080]}}))


def test_the_screen_of_the_spec_the_file_and_the_caller_go_together(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png")
    trial = Trial("", gaze_at([(300, 200)]))
    section = {"size_px": [1920, 1080], "size_mm": [530, 300], "distance_mm": 650}
    expected = one(Recording((trial,)), tmp_path).fixations
    said = one(Recording((trial,)), tmp_path, screen=None, spec=parse_spec({"screen": section})).fixations
    pd.testing.assert_frame_equal(said, expected)
    # the file knows the pixels, the spec the rest
    del section["size_px"]
    shared = one(
        Recording((trial,), screen_px=(1920, 1080)), tmp_path, screen=None, spec=parse_spec({"screen": section})
    )
    pd.testing.assert_frame_equal(shared.fixations, expected)
    with pytest.raises(InputError, match=r"its screen has 1024 x 768 pixels, but --screen-px or .* says 1920 x 1080"):
        one(Recording((trial,), screen_px=(1024, 768)), tmp_path)


def test_a_resolution_in_the_file_makes_a_screen_needless(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png", (60, 80))
    samples = gaze_at([(150, 120), (350, 220)]).assign(px_per_deg_x=40.0, px_per_deg_y=30.0)
    trial = Trial("", samples, drawn=(100, 100, 500, 400))
    reading = one(Recording((trial,)), tmp_path, screen=None)
    assert_allclose(reading.fixations[["px_per_deg_x", "px_per_deg_y"]], [(8, 6), (8, 6)])
    with pytest.raises(InputError, match="the size of the screen in pixels is not known"):
        one(Recording((replace(trial, drawn=None),)), tmp_path, screen=None)


def test_without_images_the_screen_is_the_image(lab: Path):
    readings = open_lab(lab, images=None)
    assert "no images are given: positions are those on the screen" in readings.notes
    reading = readings[0]
    assert reading.image_shape == (1080, 1920)
    assert_allclose(reading.fixations[["x_px", "y_px"]], [(300, 200), (900, 500)], atol=1e-9)
    trial = Trial("", gaze_at([(300, 200)]), units="image_px")
    with pytest.raises(InputError, match="positions are those on the image, so images="):
        one(Recording((trial,)), lab, images=None)


def test_the_trackers_own_fixations_are_taken_unless_the_spec_says_detect(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png", (1080, 1920))
    own = pd.DataFrame({"onset_s": [0.0], "offset_s": [0.3], "x_px": [700.0], "y_px": [600.0]})
    trial = Trial("", gaze_at([(300, 200), (900, 500)]), fixations=own)
    assert_allclose(one(Recording((trial,)), tmp_path).fixations["x_px"], [700])
    detect = parse_spec({"events": {"source": "detect", "algorithm": "ivt", "velocity_threshold": 40}})
    assert_allclose(one(Recording((trial,)), tmp_path, spec=detect).fixations["x_px"], [300, 900])
    tracker = parse_spec({"events": {"source": "tracker"}})
    with pytest.raises(RecordError, match="the file has no fixations of the tracker's own") as refused:
        one(Recording((replace(trial, fixations=None),)), tmp_path, spec=tracker)
    assert refused.value.reason == "no_gaze"


def test_detected_fixations_are_those_of_the_screen_in_image_pixels(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png", (540, 960))
    samples = make_gaze(seed=4).samples[["time_s", "x_px", "y_px"]]
    reading = one(Recording((Trial("", samples),)), tmp_path)
    expected = gazekit.detect_fixations(samples, SCREEN)
    assert_allclose(reading.fixations[["onset_s", "offset_s"]], expected[["onset_s", "offset_s"]])
    assert_allclose(reading.fixations["x_px"], (expected["x_px"] + 0.5) / 2 - 0.5)
    assert_allclose(reading.fixations["px_per_deg_y"], expected["px_per_deg_y"] / 2)
    again = gazekit.detect_fixations(reading.samples())
    assert_allclose(again[["onset_s", "x_px", "y_px"]], reading.fixations[["onset_s", "x_px", "y_px"]], atol=0.02)


def test_samples_come_in_order_in_image_pixels_with_both_eyes(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png", (540, 960))
    gaze = gaze_at([(300, 200), (900, 500)])
    samples = pd.DataFrame({"time_s": gaze["time_s"]})
    for eye, shift in (("left", -4.0), ("right", 4.0)):
        samples[f"x_{eye}_px"], samples[f"y_{eye}_px"] = gaze["x_px"] + shift, gaze["y_px"]
    samples.loc[3, ["x_left_px", "y_left_px"]] = np.nan
    reading = one(Recording((Trial("", samples[::-1]),)), tmp_path)
    placed = reading.samples()
    assert placed["time_s"].is_monotonic_increasing
    assert_allclose(placed["x_px"], (gaze["x_px"] + 0.5) / 2 - 0.5)
    assert_allclose(placed["x_right_px"] - placed["x_px"], 2.0)
    assert np.isnan(placed.loc[3, "x_left_px"])
    assert "time_s runs backwards" in " ".join(reading.warnings)


def test_what_a_file_dropped_as_a_whole_is_told_by_its_first_reading_alone(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png")
    trials = tuple(Trial(name, gaze_at([(300, 200)]), stimulus="chest1.png") for name in "abc")
    (tmp_path / "gaze").mkdir()
    (tmp_path / "gaze" / "99a.rec").write_bytes(b"")
    readings = read_recordings(
        tmp_path / "gaze", dataset="kept", suffixes=(".rec",), images=tmp_path / "images", screen=SCREEN,
        parse=Kept(Recording(trials, counts={"bad_line": 7}, warnings=("line 3 is odd",))),
    )  # fmt: skip
    assert [dict(reading.counts) for reading in readings] == [{"bad_line": 7}, {}, {}]
    assert [reading.warnings for reading in readings] == [("line 3 is odd",), (), ()]


def test_a_readers_name_that_is_no_id_is_left_out_and_not_shown(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png")
    recording = Recording((Trial("", gaze_at([(300, 200)]), reader="Doe, J."),))
    reading = one(recording, tmp_path)
    assert reading.reader_id is None
    assert "name the reader under [readers]" in reading.warnings[0]
    assert "Doe" not in " ".join(reading.warnings)
    mapped = parse_spec({"readers": {"Doe, J.": "99A"}})
    assert (
        one(Recording((Trial("", gaze_at([(300, 200)]), reader="Doe, J."),)), tmp_path, spec=mapped).reader_id == "99A"
    )


def test_a_file_is_parsed_once_while_its_trials_are_loaded_and_again_when_it_changed(lab: Path):
    parsed: list[str] = []

    def parse(path: Path) -> Recording:
        parsed.append(path.name)
        return parse_toy(path)

    readings = read_recordings(
        lab / "gaze", dataset="toy", parse=parse, suffixes=(".toy",), images=lab / "images", screen=SCREEN
    )
    for reading in readings:
        reading.samples()
    assert parsed == ["99a.toy", "99b.toy"]
    write_toy(lab / "gaze" / "99a.toy", ["chest1.png", "chest2.png"], [(500, 500)])
    assert_allclose(readings["99a.chest1"].samples()["x_px"].iloc[0], readings["99a.chest2"].samples()["x_px"].iloc[0])
    assert parsed == ["99a.toy", "99b.toy", "99a.toy"]


def test_the_memory_of_parsed_files_is_bounded_and_keeps_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gazekit.sources.parsed_files.MAX_BYTES", 25)
    counted: list[str] = []

    def parse(path: Path) -> Recording:
        counted.append(path.name)
        return Recording(())

    parsed = ParsedFiles(parse)
    for name in "abc":
        (tmp_path / name).write_bytes(b"x" * 10)
    for name in ("a", "b", "a", "c", "a", "b"):
        parsed(tmp_path / name)
    assert counted == ["a", "b", "c", "b"]
    (tmp_path / "huge").write_bytes(b"x" * 100)
    parsed(tmp_path / "huge")
    parsed(tmp_path / "huge")
    assert counted[-1] == "huge"
    assert counted.count("huge") == 1


def test_readings_of_trackers_are_built_by_worker_processes_as_by_one(lab: Path):
    readings = open_lab(lab)
    assert pickle.loads(pickle.dumps(readings.load)).keywords["source"].dataset == "toy"
    caches = []
    for executor, workers in (("serial", None), ("processes", 2)):
        out = lab / executor
        build_heatmaps(open_lab(lab), lab / "images", out, executor=executor, workers=workers, image_size=32)
        caches.append(sorted((p.relative_to(out), p.read_bytes()) for p in (out / "shards").rglob("*.np*")))
    assert caches[0] == caches[1]


def test_the_digest_changes_with_a_file_the_spec_and_the_screen_and_with_nothing_else(lab: Path):
    before = open_lab(lab).digest()
    assert open_lab(lab).digest() == before
    (lab / "gaze" / "99a.toy").touch()
    assert open_lab(lab).digest() == before
    other = Screen(size_px=SCREEN.size_px, size_mm=SCREEN.size_mm, distance_mm=600)
    assert open_lab(lab, screen=other).digest() != before
    assert open_lab(lab, spec=parse_spec({"stimuli": {"placement": "centre"}})).digest() != before
    with (lab / "gaze" / "99a.toy").open("a") as file:
        file.write("chest1.png 9.0 1 1\n")
    assert open_lab(lab).digest() != before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(time_s=t["time_s"] * 1000), r"the median sampling step lasts 4 s"),
        (lambda t: t.assign(time_s=t["time_s"] / 1000), r"the median sampling step lasts 4e-06 s"),
        (lambda t: t.assign(x_px=t["x_px"] / 1920, y_px=t["y_px"] / 1080), "every x and y is within 1: normalised"),
    ],
)
def test_units_that_the_numbers_contradict_are_an_error_that_asks_for_them(lab: Path, change, words: str):
    with pytest.raises(InputError, match=words):
        one(Recording((Trial("", change(gaze_at([(300, 200), (900, 500)]))),)), lab)


def test_pixels_where_shares_are_expected_are_an_error(lab: Path):
    trial = Trial("", gaze_at([(300, 200)]), units="screen_share")
    with pytest.raises(InputError, match=r"pixels where screen shares from 0 to 1 are expected"):
        one(Recording((trial,)), lab)


def test_gaze_that_is_mostly_off_the_screen_is_warned_of(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png")
    reading = one(Recording((Trial("", gaze_at([(2600, 1500), (3000, 200), (400, 300)])),)), tmp_path)
    assert any("67% of the fixations are off the screen of 1920 x 1080 pixels" in text for text in reading.warnings)


def test_spec_sections_of_tables_are_refused_by_other_formats(lab: Path):
    with pytest.raises(InputError, match=r"\[columns\], \[units\] and \[lost\] are for --dataset table"):
        open_lab(lab, spec=parse_spec({"columns": {"time": "t"}}))


def test_a_single_file_can_be_opened(lab: Path):
    assert read_toy(lab / "gaze" / "99a.toy", images=lab / "images", screen=SCREEN).ids == ("99a.chest1", "99a.chest2")
    with pytest.raises(InputError, match="no such file or folder"):
        read_toy(lab / "nothing")
