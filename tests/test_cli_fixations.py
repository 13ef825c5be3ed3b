"""``gazekit fixations``: csv and parquet in and out, options, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from cli_runner import Outcome, run_gazekit
from gaze_traces import SCREEN, make_gaze

import gazekit

GEOMETRY = ["--screen-px", "1920x1080", "--screen-mm", "530x300", "--distance-mm", "650"]


def call(*args: object) -> Outcome:
    return run_gazekit("fixations", *args)


@pytest.fixture
def samples() -> pd.DataFrame:
    table = make_gaze(seed=2).samples[["time_s", "x_px", "y_px"]]
    table.loc[40:45, ["x_px", "y_px"]] = float("nan")
    return table


@pytest.mark.parametrize(("given", "made"), [("csv", "csv"), ("csv", "parquet"), ("parquet", "csv")])
def test_the_command_writes_what_the_function_returns(samples, tmp_path: Path, given: str, made: str):
    source, out = tmp_path / f"gaze.{given}", tmp_path / f"fixations.{made}"
    samples.to_csv(source, index=False) if given == "csv" else samples.to_parquet(source)
    code, printed, _ = call(source, out, *GEOMETRY, "--algorithm", "ivt", "--velocity-threshold", 40, "--json")
    assert code == 0
    written = pd.read_csv(out) if made == "csv" else pd.read_parquet(out)
    expected = gazekit.detect_fixations(samples, SCREEN, "ivt", velocity_threshold=40)
    pd.testing.assert_frame_equal(written, expected)
    told = json.loads(printed)
    assert (told["samples"], told["fixations"], told["out"]) == (len(samples), len(expected), str(out))
    assert [path.name for path in tmp_path.iterdir() if path not in (source, out)] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "degrees need screen"),
        (["--screen-px", "1920x1080"], "a screen needs all of"),
        ([*GEOMETRY[:1], "wide", *GEOMETRY[2:]], "--screen-px must be WIDTHxHEIGHT"),
        ([*GEOMETRY, "--algorithm", "best"], "algorithm must be one of"),
        ([*GEOMETRY, "--velocity-threshold", "3"], "adaptive has no threshold 'velocity_threshold'"),
        ([*GEOMETRY, "--format", "runes"], "--format must be one of "),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(samples, tmp_path: Path, options: list[str], words: str):
    source, out = tmp_path / "gaze.csv", tmp_path / "fixations.csv"
    samples.to_csv(source, index=False)
    code, _, told = call(source, out, *options)
    assert code == 2
    assert words in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gaze.csv", "time_s,x_px,y_px\n0.0,1,2\n0.1,far,2\n", "line 3"),
        ("gaze.csv", "time,x_px,y_px\n0.0,1,2\n", "time_s"),
        ("gaze.csv", "time_s,x_px,y_px\n", "no row"),
        ("gaze.csv", "time_s,x_px,y_px\n0.0,,\n0.002,,\n", "has a position"),
        ("gaze.parquet", "PAR1 but no table", "not a Parquet table"),
        ("gaze.txt", "", "expected a name that ends in"),
        ("gaze.csv", None, "no such file"),
    ],
)
def test_wrong_tables_are_one_line_and_exit_2(tmp_path: Path, name: str, content: str | None, words: str):
    source, out = tmp_path / name, tmp_path / "fixations.csv"
    if content is not None:
        source.write_text(content)
    code, _, told = call(source, out, *GEOMETRY)
    assert code == 2
    assert words in told
    assert not out.exists()


def test_help_shows_an_example():
    code, out, _ = call("--help")
    assert code == 0
    assert "gazekit fixations gaze.csv fixations.csv" in " ".join(out.split())
