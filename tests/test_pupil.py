"""Exports of Pupil Labs: origins, clocks, lost gaze, and that what a simulator wrote comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from desk_sessions import SCREEN_PX, make_trial, screen_trials, shares
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image

from gazekit import Screen, read_pupil
from gazekit.errors import InputError, RecordError
from gazekit.simulate.pupil import CORE_FIXATIONS, CORE_GAZE, core_surface, marker_mapper, reference_image_mapper
from gazekit.sources.pupil import parse_pupil

SCREEN = Screen(size_px=SCREEN_PX, size_mm=(531.0, 299.0), distance_mm=650.0)
COLUMNS = ["onset_s", "offset_s", "x_px", "y_px"]

SECTION, RECORDING = "99000000-0000-0000-0000-000000000001", "99000000-0000-0000-0000-000000000002"
NEON_GAZE = (
    "section id,recording id,timestamp [ns],gaze detected on surface,gaze position on surface x [normalized],"
    "gaze position on surface y [normalized],fixation id,blink id"
)
NEON_FIXATIONS = (
    "section id,recording id,fixation id,start timestamp [ns],end timestamp [ns],duration [ms],"
    "fixation detected on surface,fixation x [normalized],fixation y [normalized]"
)
ZERO_NS = 1_769_850_000_123_456_789


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in (header, *rows)))
    return path


@pytest.fixture
def core(tmp_path):
    """A surface of Pupil Core: two samples, one that is not to be trusted, one fixation seen by two frames."""
    gaze = ["10.0,0,10.5,0.25,0.75,0.25,0.75,True,0.9", "10.0,0,10.625,0.5,0.5,0.5,0.5,True,0.59"]
    gaze.append("10.0,0,10.75,0.5,1.25,0.5,1.25,False,0.9")
    fixations = [f"10.{k},{k},7,10.5,250.0,0.5,0.25,{y},0.25,{y},True" for k, y in ((0, 0.75), (1, 0.65))]
    write(tmp_path / "surfaces" / "fixations_on_surface_Screen.csv", CORE_FIXATIONS, fixations)
    return write(tmp_path / "surfaces" / "gaze_positions_on_surface_Screen.csv", CORE_GAZE, gaze)


def neon(folder: Path, gaze: list[str], fixations: list[str] | None = None) -> Path:
    if fixations is not None:
        write(folder / "fixations.csv", NEON_FIXATIONS, fixations)
    return write(folder / "gaze.csv", NEON_GAZE, gaze)


def test_a_surface_of_pupil_core_counts_from_its_bottom_left_corner(core):
    trial = parse_pupil(core).trials[0]
    assert (trial.units, trial.stimulus) == ("screen_share", "Screen")
    assert_allclose(trial.samples, [(0.0, 0.25, 0.25), (0.125, np.nan, np.nan), (0.25, 0.5, -0.25)])


def test_a_fixation_that_several_frames_saw_is_one_at_their_mean(core):
    trial = parse_pupil(core).trials[0]
    assert_allclose(trial.fixations[COLUMNS], [(0.0, 0.25, 0.25, 0.3)])


def test_gaze_of_low_confidence_is_lost_and_counted(core):
    assert dict(parse_pupil(core).counts) == {"low_confidence": 1}


def test_a_surface_of_neon_counts_from_its_top_left_corner_to_the_nanosecond(tmp_path):
    gaze = [f"{SECTION},{RECORDING},{ZERO_NS + k * 5_000_001},True,0.25,0.75,," for k in range(2)]
    fixations = [f"{SECTION},{RECORDING},1,{ZERO_NS + 7},{ZERO_NS + 200_000_007},200,True,0.25,0.75"]
    trial = parse_pupil(neon(tmp_path / "chest7", gaze, fixations)).trials[0]
    assert (trial.units, trial.stimulus, trial.name) == ("screen_share", "chest7", RECORDING)
    assert trial.samples["time_s"].tolist() == [0.0, 0.005000001]  # float64 of the nanoseconds would be off by 100
    assert_allclose(trial.samples[["x_px", "y_px"]], [(0.25, 0.75)] * 2)
    assert_allclose(trial.fixations[COLUMNS], [(7e-9, 0.200000007, 0.25, 0.75)], rtol=1e-12)


def test_gaze_in_a_blink_is_lost_and_counted(tmp_path):
    gaze = [f"{SECTION},{RECORDING},{ZERO_NS},True,0.25,0.75,,", f"{SECTION},{RECORDING},{ZERO_NS + 1},True,0.3,0.7,,4"]
    recording = parse_pupil(neon(tmp_path / "chest7", gaze))
    assert recording.trials[0].samples["x_px"].isna().tolist() == [False, True]
    assert dict(recording.counts) == {"blink": 1}


def test_fixations_that_were_not_mapped_leave_the_table_and_are_counted(tmp_path):
    gaze = [f"{SECTION},{RECORDING},{ZERO_NS},True,0.25,0.75,,"]
    fixations = [
        f"{SECTION},{RECORDING},{k},{ZERO_NS},{ZERO_NS + 10},0,{at}" for k, at in ((1, "True,0.5,0.5"), (2, "False,,"))
    ]
    recording = parse_pupil(neon(tmp_path / "chest7", gaze, fixations))
    assert len(recording.trials[0].fixations) == 1
    assert dict(recording.counts) == {"fixation_off_plane": 1}


def test_each_section_of_a_recording_is_a_trial_with_its_own_fixations(tmp_path):
    other = SECTION.replace("1", "3")
    gaze = [f"{section},{RECORDING},{ZERO_NS + k},True,0.25,0.75,," for k, section in enumerate((SECTION, other))]
    fixations = [f"{other},{RECORDING},1,{ZERO_NS + 1},{ZERO_NS + 9},0,True,0.5,0.5"]
    first, second = parse_pupil(neon(tmp_path / "chest7", gaze, fixations)).trials
    assert (first.name, second.name) == (RECORDING, f"{RECORDING}-2")
    assert (len(first.fixations), len(second.fixations)) == (0, 1)


def test_a_surface_of_neon_player_is_read_as_one_of_the_cloud(tmp_path):
    gaze = [f"{SECTION},{RECORDING},{ZERO_NS},True,0.25,0.75,,"]
    write(tmp_path / "gaze_positions_on_surface_chest7.csv", NEON_GAZE, gaze)
    fixations = [f"{SECTION},{RECORDING},1,{ZERO_NS},{ZERO_NS + 10**8},100,True,0.5,0.25"]
    write(tmp_path / "fixations_on_surface_chest7.csv", NEON_FIXATIONS, fixations)
    trial = parse_pupil(tmp_path / "gaze_positions_on_surface_chest7.csv").trials[0]
    assert (trial.stimulus, trial.units) == ("chest7", "screen_share")
    assert_allclose(trial.fixations[COLUMNS], [(0.0, 0.1, 0.5, 0.25)])


@pytest.mark.parametrize("time", ["soon", "1.5", str(10**30), ""])
def test_a_time_that_is_no_whole_nanosecond_is_refused_by_its_place(tmp_path, time):
    path = neon(tmp_path / "chest7", [f"{SECTION},{RECORDING},{time},True,0.25,0.75,,"])
    with pytest.raises(RecordError, match=r"line 2, column 'timestamp \[ns\]': expected a whole number of nanoseconds"):
        parse_pupil(path)


def test_the_wearer_is_the_reader(tmp_path):
    header = "section id,recording id,recording name,wearer id,wearer name"
    write(tmp_path / "chest7" / "sections.csv", header, [f"{SECTION},{RECORDING},a,99-wearer,Nobody"])
    gaze = [f"{SECTION},{RECORDING},{ZERO_NS},True,0.25,0.75,,"]
    assert parse_pupil(neon(tmp_path / "chest7", gaze)).trials[0].reader == "99-wearer"


def test_a_reference_image_takes_the_part_of_the_screen(tmp_path):
    trial = make_trial("990001", [(0.0, 10, 20), (0.005, 30, 40)], [(0.0, 0.005, 20, 30)])
    gaze, fixations, _ = reference_image_mapper([("9901", trial)], (400, 300))
    (tmp_path / "chest7").mkdir()
    (tmp_path / "chest7" / "gaze.csv").write_text(gaze)
    (tmp_path / "chest7" / "fixations.csv").write_text(fixations)
    Image.new("L", (400, 300)).save(tmp_path / "chest7" / "reference_image.jpeg")
    recording = parse_pupil(tmp_path / "chest7" / "gaze.csv")
    assert recording.screen_px == (400, 300)
    assert recording.trials[0].units == "screen_px"
    assert_allclose(recording.trials[0].samples, [(0.0, 10, 20), (0.005, 30, 40)])
    assert_allclose(recording.trials[0].fixations[COLUMNS], [(0.0, 0.005, 20, 30)])


def test_gaze_that_is_only_on_the_scene_is_refused_with_the_way_to_map_it(tmp_path):
    scene = write(
        tmp_path / "a" / "gaze.csv", "section id,recording id,timestamp [ns],gaze x [px],gaze y [px]", ["1,2,3,4,5"]
    )
    core = write(tmp_path / "b" / "gaze_positions.csv", "gaze_timestamp,world_index,confidence,norm_pos_x", ["1,2,3,4"])
    for path in (scene, core):
        with pytest.raises(RecordError, match="scene camera, which is not on any image: map it") as caught:
            parse_pupil(path)
        assert caught.value.reason == "bad_table"
    with pytest.raises(InputError, match="none of 2 files can be read"):
        read_pupil(tmp_path, screen=SCREEN)


def test_the_other_files_of_an_export_are_passed_over(core):
    export = core.parent.parent
    write(export / "gaze_positions.csv", "gaze_timestamp,world_index,confidence,norm_pos_x", ["1,2,3,4"])
    write(export / "surfaces" / "surface_visibility.csv", "frame_count,100", [])
    write(export / "blinks.csv", "id,start_timestamp", ["1,2"])
    readings = read_pupil(export, screen=SCREEN)
    assert readings.ids == ("Screen",)


@given(screen_trials(rate_hz=200.0))
@settings(max_examples=20, deadline=None)
def test_a_surface_that_the_simulator_writes_comes_back(tmp_path_factory, truth):
    folder = tmp_path_factory.mktemp("core")
    for name, text in zip(("gaze_positions", "fixations"), core_surface(truth, SCREEN_PX), strict=True):
        (folder / f"{name}_on_surface_990001.csv").write_text(text)
    read = parse_pupil(folder / "gaze_positions_on_surface_990001.csv").trials[0]
    check_same(read, truth)


@given(st.lists(screen_trials(rate_hz=200.0), min_size=1, max_size=3), st.booleans())
@settings(max_examples=20, deadline=None)
def test_enrichments_that_the_simulator_writes_come_back(tmp_path_factory, trials, surface):
    folder = tmp_path_factory.mktemp("neon")
    read = [(f"99{k}", trial) for k, trial in enumerate(trials)]
    texts = (marker_mapper if surface else reference_image_mapper)(read, SCREEN_PX)
    for name, text in zip(("gaze", "fixations", "sections"), texts, strict=True):
        (folder / f"{name}.csv").write_text(text)
    recording = parse_pupil(folder / "gaze.csv")
    assert len(recording.trials) == len(trials)
    for found, truth in zip(recording.trials, trials, strict=True):
        check_same(found, truth)


def check_same(read, truth):
    """A trial that was read is the one that was written, times counting from its first sample."""
    zero = truth.samples["time_s"].iloc[0]
    place = shares if read.units == "screen_share" else (lambda table: table[["x_px", "y_px"]].to_numpy())
    assert_allclose(read.samples["time_s"], truth.samples["time_s"] - zero, atol=2e-9)
    assert_allclose(read.samples[["x_px", "y_px"]], place(truth.samples), atol=1e-9)
    assert_allclose(read.fixations[["onset_s", "offset_s"]], truth.fixations[["onset_s", "offset_s"]] - zero, atol=2e-9)
    assert_allclose(read.fixations[["x_px", "y_px"]], place(truth.fixations), atol=1e-9)
