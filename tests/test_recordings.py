"""Files of trackers to readings: ids, images, spec and screen, and what is refused, counted and said."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gaze_traces import SCREEN
from kept_tracker import Kept, draw_image, gaze_at, one
from numpy.testing import assert_allclose
from toy_tracker import parse_toy, read_toy

import gazekit
from gazekit import InputError, RecordError, Screen
from gazekit.build import build_heatmaps
from gazekit.sources.parsed_files import ParsedFiles
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.spec import Spec, parse_spec


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


def test_ids_are_the_path_of_the_file_and_the_trial(lab: Path):
    readings = open_lab(lab)
    assert readings.ids == ("99a.chest1", "99a.chest2", "day2.99b.chest1")
    assert [entry.image_id for entry in readings.entries] == ["chest1", "chest2", "chest1"]
    assert readings["day2.99b.chest1"].reading_id == "day2.99b.chest1"


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


def test_a_file_that_names_no_stimulus_is_called_as_its_image_whatever_its_folder(tmp_path: Path):
    for file in ("99a/chest1.rec", "99a/chest.2.rec", "99b/chest.2.rec"):
        (tmp_path / "gaze" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "gaze" / file).write_bytes(b"")

    def images_of(spec: Spec | None) -> dict[str, str]:
        parse = Kept(Recording((Trial("", gaze_at([(300, 200)])),)))
        opened = read_recordings(
            tmp_path / "gaze", dataset="kept", parse=parse, suffixes=(".rec",), screen=SCREEN, spec=spec
        )
        return {str(entry.reading_id): entry.image_id for entry in opened.entries}

    assert images_of(None) == {"99a.chest1": "chest1", "99a.chest.2": "chest.2", "99b.chest.2": "chest.2"}
    said = images_of(parse_spec({"stimulus": [{"name": "99b.chest.2", "image": "chest3.png"}]}))
    assert said == {"99a.chest1": "chest1", "99a.chest.2": "chest.2", "99b.chest.2": "chest3"}


def test_stimuli_that_differ_after_their_last_dot_are_different_images(lab: Path):
    write_toy(lab / "gaze/99a.toy", ["99-1.2.840.10", "chest1.png", "chest2.BMP"])
    write_toy(lab / "gaze/day2/99b.toy", ["99-1.2.840.11"])
    images = [entry.image_id for entry in open_lab(lab).entries]
    assert images == ["99-1.2.840.10", "chest1", "chest2", "99-1.2.840.11"]


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


def test_spec_sections_of_tables_are_refused_by_other_formats(lab: Path):
    with pytest.raises(InputError, match=r"\[columns\], \[units\] and \[lost\] are for --dataset table"):
        open_lab(lab, spec=parse_spec({"columns": {"time": "t"}}))


def test_a_single_file_can_be_opened(lab: Path):
    assert read_toy(lab / "gaze" / "99a.toy", images=lab / "images", screen=SCREEN).ids == ("99a.chest1", "99a.chest2")
    with pytest.raises(InputError, match="no such file or folder"):
        read_toy(lab / "nothing")


def test_a_rectangle_that_nothing_says_is_a_default_that_is_said(lab: Path):
    said = "nothing says where 2 of the stimuli were drawn: taken to fill the screen with their aspect kept; say it by"
    assert any(note.startswith(said) for note in open_lab(lab).notes)
    centred = open_lab(lab, spec=parse_spec({"stimuli": {"placement": "centre"}}))
    assert any("taken to be centred" in note for note in centred.notes)
    # 80 x 60 pixels, one a screen pixel, from (920, 510) on
    assert_allclose(centred[0].fixations[["x_px", "y_px"]], [(300 - 920, 200 - 510), (900 - 920, 500 - 510)])
    rectangles = [{"name": f"chest{n}.png", "rectangle": [0, 0, 80, 60]} for n in (1, 2)]
    assert not any("nothing says" in note for note in open_lab(lab, spec=parse_spec({"stimulus": rectangles})).notes)


def test_without_images_the_screen_is_the_image(lab: Path):
    readings = open_lab(lab, images=None)
    assert "no images are given: positions are those on the screen" in readings.notes
    reading = readings[0]
    assert reading.image_shape == (1080, 1920)
    assert_allclose(reading.fixations[["x_px", "y_px"]], [(300, 200), (900, 500)], atol=1e-9)
    trial = Trial("", gaze_at([(300, 200)]), units="image_px")
    with pytest.raises(InputError, match="positions are those on the image, so images="):
        one(Recording((trial,)), lab, images=None)
