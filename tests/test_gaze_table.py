"""Tables of gaze with any columns, units and codes become the readings that are in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from gaze_traces import SCREEN
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

import gazekit
from gazekit import InputError, RecordError
from gazekit.simulate import simulate_table
from gazekit.simulate.desk import ScreenTrial, Session
from gazekit.simulate.table import gaze_csv, spec_toml
from gazekit.sources.gaze_table import parse_table
from gazekit.sources.recording import Trial
from gazekit.sources.recording_reading import load_samples
from gazekit.sources.spec import parse_spec, read_spec
from gazekit.sources.table_columns import read_columns

COLUMNS = {"time": "t", "x": "gx", "y": "gy"}
PLACES = np.array([(300.0, 200.0), (900.0, 500.0), (1500.0, 800.0)])


def rests(repeat: int = 100, rate: float = 250.0) -> pd.DataFrame:
    """Samples of an eye that rests at each of `PLACES`, in our own columns."""
    xy = np.repeat(PLACES, repeat, axis=0)
    return pd.DataFrame({"time_s": np.arange(len(xy)) / rate, "x_px": xy[:, 0], "y_px": xy[:, 1]})


def parse(path: Path, text: str, **sections: Any) -> tuple[Trial, ...]:
    path.write_text(text, encoding="utf-8")
    return parse_table(path, spec=parse_spec(sections)).trials


def open_table(path: Path, sections: Mapping[str, Any] | None = None, **options: Any) -> gazekit.Readings:
    return gazekit.read_table(path, spec=parse_spec(sections or {}), **{"screen": SCREEN, **options})


def test_columns_are_those_that_the_spec_names(tmp_path: Path):
    [trial] = parse(tmp_path / "a.csv", "other,gy,t,gx\n9,2.5,10.25,1.5\n9,3.5,10.50,2\n", columns=COLUMNS)
    assert list(trial.samples.columns) == ["time_s", "x_px", "y_px"]
    assert_array_equal(trial.samples, [(0, 1.5, 2.5), (0.25, 2, 3.5)])


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_times_of_any_unit_are_seconds_from_the_trials_start(tmp_path: Path, unit: str, factor: float):
    text = "t,gx,gy\n" + "".join(f"{(5 + k / 8) * factor:.0f},1,2\n" for k in (0, 8, 16))
    [trial] = parse(tmp_path / "a.csv", text, columns=COLUMNS, units={"time": unit})
    assert_allclose(trial.samples["time_s"], [0, 1, 2])


def test_fixations_have_an_offset_or_a_duration(tmp_path: Path):
    columns = {"onset": "on", "x": "gx", "y": "gy"}
    text = "on,off,gx,gy\n100,350,1,2\n400,900,3,4\n"
    [by_offset] = parse(tmp_path / "a.csv", text, columns={**columns, "offset": "off"}, units={"time": "ms"})
    lasting = "on,d,gx,gy\n100,250,1,2\n400,500,3,4\n"
    [by_duration] = parse(tmp_path / "b.csv", lasting, columns={**columns, "duration": "d"}, units={"time": "ms"})
    for trial in (by_offset, by_duration):
        assert trial.fixations is not None
        assert len(trial.samples) == 0
        assert_allclose(trial.fixations[["onset_s", "offset_s", "x_px"]], [(0.1, 0.35, 1), (0.4, 0.9, 3)])
        assert_array_equal(trial.fixations["line"], [2, 3])


def test_lost_gaze_is_a_code_in_both_axes_a_validity_or_nothing(tmp_path: Path):
    text = "t,gx,gy,ok\n0,-1,-1,1\n1,-1,5,1\n2,7,8,0\n3,,8,1\n4,NA,8,1\n5,inf,8,1\n6,7,nan,1\n7,5,6,1\n"
    [trial] = parse(
        tmp_path / "a.csv", text,
        columns={**COLUMNS, "validity": "ok"}, lost={"positions": [-1, "NA"], "validity": [0]},
    )  # fmt: skip
    seen = np.isfinite(trial.samples[["x_px", "y_px"]].to_numpy())
    assert_array_equal(seen[:, 0], seen[:, 1])
    assert_array_equal(seen[:, 0], [False, True, False, False, False, False, False, True])


def test_two_eyes_are_kept_and_one_eye_alone_is_the_gaze(tmp_path: Path):
    text = "t,lx,ly,rx,ry,vl,vr\n0,1,2,3,4,0,0\n1,1,2,3,4,1,0\n"
    both = {"time": "t", "x_left": "lx", "y_left": "ly", "x_right": "rx", "y_right": "ry", "validity_left": "vl"}
    [trial] = parse(tmp_path / "a.csv", text, columns=both, lost={"validity": ["1"]})
    assert_array_equal(trial.samples["x_left_px"], [1, np.nan])
    assert_array_equal(trial.samples["x_right_px"], [3, 3])
    [right] = parse(tmp_path / "a.csv", text, columns={"time": "t", "x_right": "rx", "y_right": "ry"})
    assert list(right.samples.columns) == ["time_s", "x_px", "y_px"]
    assert_array_equal(right.samples["x_px"], [3, 3])


def test_readers_stimuli_and_trials_make_trials_in_the_order_of_their_first_rows(tmp_path: Path):
    text = (
        "who,pic,n,t,gx,gy\nB,chest2.png,1,10,1,1\nB,chest2.png,1,11,1,1\nA,chest1.png,007,20,1,1\n"
        "B,chest2.png,1,12,9,9\nA,chest1.png,1e5,21,1,1\nA,,1,30,1,1\n"
    )
    spec = parse_spec({"columns": {**COLUMNS, "reader": "who", "stimulus": "pic", "trial": "n"}})
    (tmp_path / "a.csv").write_text(text)
    recording = parse_table(tmp_path / "a.csv", spec=spec)
    assert [trial.name for trial in recording.trials] == ["B.chest2.1", "A.chest1.007", "A.chest1.1e5"]
    assert [trial.reader for trial in recording.trials] == ["B", "A", "A"]
    assert recording.trials[0].stimulus == "chest2.png"
    assert_array_equal(recording.trials[0].samples["time_s"], [0, 1, 2])
    assert dict(recording.counts) == {"no_stimulus": 1}


def test_a_stimulus_may_be_a_path_and_the_spec_may_rename_everything(tmp_path: Path):
    columns = {**COLUMNS, "reader": "who", "stimulus": "pic"}
    text = "who,pic,t,gx,gy\nDr. Doe,a b.png,0,1,1\nDr. Doe,files/99p/99s.dcm,0,1,1\nDr. Doe,+,0,1,1\n"
    trials = parse(
        tmp_path / "a.csv", text, columns=columns, readers={"Dr. Doe": "99D"}, stimuli={"ignore": ["+"]},
        stimulus=[{"name": "a b.png", "image_id": "99ab"}],
    )  # fmt: skip
    assert [trial.name for trial in trials] == ["99D.99ab", "99D.99s", "99D.+"]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("../../etc/x,p.png,1", r"a\.csv, line 3, reader: '../../etc/x' is not an id"),
        ("A,../../etc/x,1", r"a\.csv, line 3, stimulus: '../../etc/x' is not a safe path"),
        ("A,p.png,=HYPERLINK(1)", r"a\.csv, line 3, trial: '=HYPERLINK\(1\)' is not an id"),
    ],
)
def test_a_hostile_id_is_refused_by_its_line(tmp_path: Path, cells: str, words: str):
    columns = {**COLUMNS, "reader": "who", "stimulus": "pic", "trial": "n"}
    with pytest.raises(InputError, match=words):
        parse(tmp_path / "a.csv", f"who,pic,n,t,gx,gy\nA,p.png,1,0,1,1\n{cells},0,1,1\n", columns=columns)


def test_without_a_spec_the_columns_are_called_as_in_gazekits_own_tables(tmp_path: Path):
    rests().to_csv(tmp_path / "99chest.csv", index=False)
    Image.new("L", (1920, 1080), 5).save(tmp_path / "99chest.png")
    readings = gazekit.read_table(tmp_path / "99chest.csv", images=tmp_path, screen=SCREEN)
    assert readings.ids == ("99chest",)
    assert_allclose(readings[0].fixations[["x_px", "y_px"]], PLACES)
    detected = readings[0].fixations
    detected.to_csv(tmp_path / "fixations.csv", index=False)
    again = gazekit.read_table(tmp_path / "fixations.csv", screen=SCREEN)[0]
    assert_allclose(
        again.fixations[["onset_s", "offset_s", "x_px", "px_per_deg_x"]],
        detected[["onset_s", "offset_s", "x_px", "px_per_deg_x"]],
    )


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"time": "t"}, "found time"),
        ({"time": "t", "x": "a", "y_left": "b"}, "found time, x, y_left"),
        ({"onset": "t", "x": "a", "y": "b"}, "found onset, x, y"),
        ({"time": "t", "onset": "o", "x": "a", "y": "b"}, "found time, onset, x, y"),
    ],
)
def test_columns_that_make_neither_samples_nor_fixations_are_refused(tmp_path: Path, columns: dict, found: str):
    with pytest.raises(
        InputError, match=rf"\[columns\]: expected time and x, y .*{found}; name them under \[columns\]"
    ):
        open_table(tmp_path, {"columns": columns})


def test_csv_tsv_quoted_and_parquet_tables_are_the_same(tmp_path: Path):
    table = rests().rename(columns={"time_s": "t", "x_px": "gx", "y_px": "gy"}).assign(pic="99chest.png")
    table.loc[5, ["gx", "gy"]] = np.nan
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "b.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "c.csv", index=False, quoting=2)  # every text in quotes, as R writes them
    table.assign(pic=table["pic"].astype("category")).to_parquet(tmp_path / "d.parquet")
    (tmp_path / "e.csv").write_bytes(
        b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes().replace(b"\n", b"\r\n") + b"\r\n"
    )
    spec = parse_spec({"columns": {**COLUMNS, "stimulus": "pic"}})
    trials = [parse_table(path, spec=spec).trials for path in sorted(tmp_path.iterdir())]
    assert [[trial.name for trial in own] for own in trials] == [["99chest"]] * 5
    for [trial] in trials:
        pd.testing.assert_frame_equal(trial.samples, trials[0][0].samples)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B b", "7", "1e5", 'q"q', ""]),
            st.floats(allow_nan=True, allow_infinity=False, width=32),
            st.floats(-1e5, 1e5),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_fast_way_reads_what_the_strict_one_reads(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("ways")
    table = pd.DataFrame(rows, columns=["n", "gx", "gy"]).assign(t=range(len(rows)))
    table.to_csv(folder / "fast.csv", index=False)
    options = {"numbers": ("t", "gx", "gy"), "texts": ("n",), "name": "fast.csv"}
    fast = read_columns(folder / "fast.csv", **options)
    with mock.patch("gazekit.sources.table_columns._csv", return_value=None):
        strict = read_columns(folder / "fast.csv", **options)
    for column in ("t", "gx", "gy"):
        assert_array_equal(fast.numbers[column], strict.numbers[column])
    assert [fast.texts["n"].values[k] for k in fast.texts["n"].codes] == [row[0] for row in rows]
    assert [strict.texts["n"].values[k] for k in strict.texts["n"].codes] == [row[0] for row in rows]


def test_a_plain_table_is_read_by_the_fast_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gazekit.sources.table_columns.read_table", pytest.fail)
    n = 100_000
    pd.DataFrame({"t": np.arange(n) * 4, "gx": 1.5, "gy": -1, "who": "A"}).to_csv(tmp_path / "a.csv", index=False)
    spec = parse_spec({"columns": {**COLUMNS, "reader": "who"}, "units": {"time": "ms"}})
    [trial] = parse_table(tmp_path / "a.csv", spec=spec).trials
    assert len(trial.samples) == n


def test_a_parquet_file_that_is_damaged_or_of_other_types_is_refused(tmp_path: Path):
    spec = parse_spec({"columns": {**COLUMNS, "stimulus": "pic"}})
    table = pd.DataFrame({"t": [0.0, 1.0], "gx": [5.0, 6.0], "gy": [7.0, 8.0], "pic": ["a.png", "a.png"]})
    path = tmp_path / "a.parquet"

    def refused(words: str) -> None:
        with pytest.raises(RecordError, match=words) as error:
            parse_table(path, spec=spec)
        assert error.value.reason == "bad_table"

    table.assign(gx=[["a"], ["b"]]).to_parquet(path)
    refused(r"a\.parquet, column 'gx': expected numbers, found list")
    table.assign(gx=["5", "left"]).to_parquet(path)
    refused("column 'gx': expected numbers, found string|column 'gx': expected numbers, found large_string")
    table.assign(pic=[["a"], ["b"]]).to_parquet(path)
    refused("column 'pic': expected texts in UTF-8, found list")
    table.drop(columns="gy").to_parquet(path)
    refused("missing column gy; found t, gx, pic")
    table.iloc[:0].to_parquet(path)
    refused("columns and no rows")
    table.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-9])
    refused("not a Parquet file, or a damaged one")
    path.write_text("t,gx,gy,pic\n")
    refused("not a Parquet file, or a damaged one")


def test_text_among_fixations_drops_the_row_by_its_line_and_among_samples_the_file(tmp_path: Path):
    columns = {"onset": "on", "offset": "off", "x": "gx", "y": "gy"}
    [trial] = parse(tmp_path / "a.csv", "on,off,gx,gy\n0,1,5,5\n1,2,oops,5\n2,3,7,7\n", columns=columns)
    assert trial.fixations is not None
    assert_array_equal(trial.fixations["not_number"], [False, True, False])
    reading = open_table(tmp_path / "a.csv", {"columns": columns})[0]
    assert dict(reading.counts) == {"not_a_number": 1}
    assert "dropped 1 of 3 rows, the first at line 3: text where a number belongs" in " ".join(reading.warnings)
    with pytest.raises(RecordError, match=r"b\.csv, line 3, column 'gx': expected a number, found text"):
        parse(tmp_path / "b.csv", "t,gx,gy\n0,5,5\n1,oops,5\n", columns=COLUMNS)


def test_a_row_of_samples_without_a_time_refuses_the_file_by_its_line(tmp_path: Path):
    with pytest.raises(RecordError, match=r"a\.csv, line 3: 1 rows have no time"):
        parse(tmp_path / "a.csv", "t,gx,gy\n0,5,5\n,5,5\n", columns=COLUMNS)


def test_a_simulated_table_comes_back_to_the_rounding_of_its_cells(tmp_path: Path):
    simulate_table(tmp_path / "sim", readings=2, seed=3)
    root = tmp_path / "sim"
    readings = gazekit.read_table(root / "table", images=root / "images", spec=root / "table.toml")
    assert [reading.reader_id for reading in readings] == ["9901", "9902"]
    raw = pd.read_csv(root / "table" / "gaze.csv", dtype={"observer": str})
    x0, y0, x1, y1 = read_spec(root / "table.toml").stimulus[raw["picture"][0]].rectangle
    for reading in readings:
        height, width = reading.image_shape
        own = raw[raw["observer"] == reading.reader_id]
        samples = reading.samples()
        lost = (own["gaze x"] == -1).to_numpy()
        assert 0 < lost.sum() < len(own)
        assert_array_equal(np.isnan(samples["x_px"]), lost)
        assert_allclose(samples["time_s"], (own["time [ms]"] - own["time [ms]"].min()) / 1000, atol=1e-9)
        share = (own["gaze x"].to_numpy() + 0.5 - x0) / (x1 - x0), (own["gaze y"].to_numpy() + 0.5 - y0) / (y1 - y0)
        assert_allclose(samples["x_px"][~lost], (share[0] * width - 0.5)[~lost], atol=1e-6)
        assert_allclose(samples["y_px"][~lost], (share[1] * height - 0.5)[~lost], atol=1e-6)
        assert len(reading.fixations) > 10


@given(
    shape=st.tuples(st.integers(200, 3000), st.integers(200, 3000)),
    corner=st.tuples(st.integers(-100, 900), st.integers(-100, 500)),
    size=st.tuples(st.integers(200, 1900), st.integers(200, 1000)),
    shares=st.lists(st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)), min_size=3, max_size=9),
)
@settings(max_examples=25, deadline=None)
def test_what_the_simulator_writes_lands_where_the_gaze_was(tmp_path_factory, shape, corner, size, shares):
    folder = tmp_path_factory.mktemp("table")
    drawn = (*corner, corner[0] + size[0], corner[1] + size[1])
    truth = np.array(shares) * shape[::-1] - 0.5
    points = np.array(corner) - 0.5 + np.array(shares) * size
    points[0] = (400.0, 300.0)  # so that no table looks like shares
    truth[0] = (points[0] + 0.5 - corner) / size * shape[::-1] - 0.5
    samples = pd.DataFrame({"time_s": np.arange(len(points)) / 250, "x_px": points[:, 0], "y_px": points[:, 1]})
    trial = ScreenTrial("99image", shape, drawn, samples, pd.DataFrame())
    (folder / "gaze.csv").write_text(gaze_csv([Session("9901", (trial,))]))
    (folder / "table.toml").write_text(spec_toml([Session("9901", (trial,))]))
    Image.new("L", shape[::-1], 5).save(folder / "99image.png")
    readings = gazekit.read_table(folder / "gaze.csv", images=folder, spec=folder / "table.toml")
    placed = _samples(readings)
    # a cell is rounded to a hundredth of a screen pixel
    assert_allclose(placed["x_px"], truth[:, 0], atol=0.00501 * shape[1] / size[0])
    assert_allclose(placed["y_px"], truth[:, 1], atol=0.00501 * shape[0] / size[1])


def _samples(readings: gazekit.Readings) -> pd.DataFrame:
    """Samples of the first reading, which need no fixation to be found."""
    return load_samples(readings.entries[0], source=readings.load.keywords["source"])  # type: ignore[attr-defined]
