"""`open_source` and the options of the commands that open data sets: what fits together, and the cure where not."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from cli_runner import run_gazekit
from gaze_traces import SCREEN, make_gaze
from numpy.testing import assert_allclose

import gazekit
from gazekit import InputError
from gazekit.simulate import SIMULATORS, simulate_table
from gazekit.sources import SOURCES, open_source, users_of

GEOMETRY = ("--screen-px", "1920x1080", "--screen-mm", "530x300", "--distance-mm", "650")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sources") / "sim"
    simulate_table(out, readings=2, seed=5)
    return out


def test_every_format_can_be_simulated_and_every_simulated_one_opened():
    assert set(SIMULATORS) | {"images"} == set(SOURCES)


def test_the_spec_is_used_by_trackers_and_tables():
    assert {"table", "eyelink", "tobii", "gazepoint", "pupil", "bids"} <= set(users_of("spec"))
    assert not {"reflacx", "images"} & set(users_of("spec"))


def test_a_source_is_opened_by_its_name_with_what_it_uses(simulated: Path):
    readings = open_source("table", simulated / "table", images=simulated / "images", spec=simulated / "table.toml")
    assert len(readings) == 2
    pictures = open_source("images", simulated / "images", images=simulated)  # images are themselves: not used
    assert len(pictures.entries) == 1


def test_an_option_that_a_source_does_not_use_is_refused_with_those_that_do(simulated: Path):
    with pytest.raises(InputError, match=r"--spec: not used by --dataset images, but by .*table.*; leave it out"):
        open_source("images", simulated / "images", spec=simulated / "table.toml")
    with pytest.raises(InputError, match=r"--screen-px, --screen-mm and --distance-mm: not used by --dataset images"):
        open_source("images", simulated / "images", screen=SCREEN)
    with pytest.raises(InputError, match=r"--dataset must be one of reflacx, .*table.*, got 'tabel'"):
        open_source("tabel", simulated)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "needs --images DIR"),
        (("--images", "{sim}/images"), "expected time and x, y"),
        (("--images", "{sim}/images", "--spec", "{sim}/nothing.toml"), "no such file; --spec names a TOML file"),
        (
            ("--images", "{sim}/images", "--spec", "{sim}/table.toml", "--screen-px", "1920x1080"),
            "a screen needs all of",
        ),
        (("--images", "{sim}/nothing", "--spec", "{sim}/table.toml"), "is not a directory"),
        (("--images", "{sim}/images", "--spec", "{sim}/SIMULATED.txt"), "not a TOML file"),
    ],
)
def test_options_of_build_heatmaps_that_do_not_fit_are_exit_2(simulated: Path, tmp_path: Path, options, words: str):
    given = [str(option).format(sim=simulated) for option in options]
    left = run_gazekit("build-heatmaps", simulated / "table", tmp_path / "cache", "--dataset", "table", *given)
    assert left.code == 2
    assert words in left.stderr
    assert not (tmp_path / "cache").exists()


def test_build_heatmaps_of_a_table_makes_a_cache(simulated: Path, tmp_path: Path):
    built = run_gazekit(
        "build-heatmaps", simulated / "table", tmp_path / "cache", "--dataset", "table", "--executor", "serial",
        "--images", simulated / "images", "--spec", simulated / "table.toml", "--json",
    )  # fmt: skip
    assert built.code == 0, built
    told = json.loads(built.stdout)
    assert (told["images"], told["readings"], told["skipped"]) == (1, 2, {})


def test_fixations_of_every_trial_are_one_table(simulated: Path, tmp_path: Path):
    out = tmp_path / "fixations.csv"
    options = ("--spec", simulated / "table.toml", "--json")
    left = run_gazekit("fixations", simulated / "table" / "gaze.csv", out, *options, "--images", simulated / "images")
    assert left.code == 0, left
    table = pd.read_csv(out)
    assert list(table.columns[:4]) == ["reading_id", "image_id", "onset_s", "offset_s"]
    readings = gazekit.read_table(simulated / "table", images=simulated / "images", spec=simulated / "table.toml")
    assert list(table["reading_id"].unique()) == list(readings.ids)
    expected = pd.concat([reading.fixations for reading in readings], ignore_index=True)
    assert_allclose(table[expected.columns], expected)
    assert json.loads(left.stdout)["samples"] == sum(len(reading.samples()) for reading in readings)
    on_screen = run_gazekit("fixations", simulated / "table" / "gaze.csv", out, *options)
    assert on_screen.code == 0
    assert pd.read_csv(out)["shown_xmax_px"].unique() == [1920]


def test_options_of_the_command_count_before_the_spec(simulated: Path, tmp_path: Path):
    spec = tmp_path / "lab.toml"
    section = '[events]\nalgorithm = "ivt"\nvelocity_threshold = 30\n'
    spec.write_text(section + (simulated / "table.toml").read_text())
    source, out = simulated / "table" / "gaze.csv", tmp_path / "f.csv"
    counts = {}
    for name, options in {
        "spec": (),
        "threshold": ("--velocity-threshold", 100),
        "algorithm": ("--algorithm", "idt"),
    }.items():
        told = run_gazekit("fixations", source, out, "--spec", spec, "--json", *options)
        assert told.code == 0, told
        counts[name] = json.loads(told.stdout)
    assert [counts[name]["algorithm"] for name in counts] == ["ivt", "ivt", "idt"]
    assert len({counts[name]["seconds_fixated"] for name in counts}) == 3


def test_a_trial_that_cannot_be_used_is_listed_and_the_others_are_written(tmp_path: Path):
    good = make_gaze(seed=3).samples[["time_s", "x_px", "y_px"]].assign(trial="1")
    lost = good.assign(trial="2", x_px=float("nan"))
    pd.concat([good, lost]).to_csv(tmp_path / "99a.csv", index=False)
    spec = tmp_path / "lab.toml"
    spec.write_text('[columns]\ntime = "time_s"\nx = "x_px"\ny = "y_px"\ntrial = "trial"\n')
    out = tmp_path / "fixations.parquet"
    left = run_gazekit("fixations", tmp_path / "99a.csv", out, "--spec", spec, *GEOMETRY, "--json")
    assert left.code == 1
    assert "99a.2: no_gaze: " in left.stderr
    assert json.loads(left.stdout)["skipped"] == 1
    table = pd.read_parquet(out)
    assert list(table["reading_id"].unique()) == ["99a.1"]
    lost.to_csv(tmp_path / "99a.csv", index=False)
    none = run_gazekit("fixations", tmp_path / "99a.csv", tmp_path / "no.csv", "--spec", spec, *GEOMETRY)
    assert none.code == 2
    assert "none of 1 readings can be used" in none.stderr
    assert not (tmp_path / "no.csv").exists()
