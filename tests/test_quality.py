"""Precision, accuracy and the quality of readings: known noise is found, odd readings are flagged with their reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from cli_runner import Outcome, run_gazekit
from gaze_traces import PX_PER_DEG, SCREEN, make_gaze
from hypothesis import given
from hypothesis import strategies as st

import gazekit
from gazekit.errors import EmptyGazeError, InputError, RecordError
from gazekit.precision import bcea, rms_s2s, std, target_errors
from gazekit.quality import FLAGS, reading_quality
from gazekit.quality_report import dataset_quality, report_dict, write_quality
from gazekit.reading import Entry, Reading, Readings

SHAPE = (1080, 1920)


def make_reading(samples: pd.DataFrame | None, fixations: pd.DataFrame | None = None, name: str = "99R1") -> Reading:
    def load() -> pd.DataFrame:
        if samples is None:
            raise RecordError("no_gaze", "no samples in this test")
        return samples

    if fixations is None:
        fixations = gazekit.detect_fixations(samples, SCREEN)
    return Reading(name, "99img1", SHAPE, fixations, dataset="invented", load_samples=load)


@pytest.mark.parametrize("sd", [0.02, 0.7])
def test_white_noise_has_the_precision_that_theory_says(sd):
    xy = np.random.default_rng(1).normal(5.0, sd, (100_000, 2))
    assert rms_s2s(xy) == pytest.approx(2 * sd, rel=0.01)
    assert std(xy) == pytest.approx(sd * math.sqrt(2), rel=0.01)
    k = -math.log(1 - 0.6827)
    assert bcea(xy) == pytest.approx(2 * k * math.pi * sd * sd, rel=0.01)
    held = np.hypot(*(xy - 5.0).T) ** 2 <= bcea(xy) / math.pi
    assert held.mean() == pytest.approx(0.6827, abs=0.005)


def test_precision_by_hand():
    xy = [[0.0, 0.0], [3.0, 4.0], [np.nan, np.nan], [3.0, 0.0], [0.0, 0.0]]
    assert rms_s2s(xy) == pytest.approx(math.sqrt((25 + 9) / 2)), "pairs over the lost sample do not count"
    assert std(xy) == pytest.approx(math.sqrt(2.25 + 3.0))
    # covariance of x (0, 3, 3, 0) and y (0, 4, 0, 0): 1.5
    assert bcea(xy) == pytest.approx(2 * -math.log(1 - 0.6827) * math.pi * math.sqrt(2.25 * 3.0 - 1.5**2))


@given(st.floats(0, 2 * math.pi), st.floats(0.1, 10), st.integers(0, 100))
def test_precision_turns_and_scales_with_the_gaze(angle, scale, seed):
    xy = np.random.default_rng(seed).normal(0, 1, (50, 2)) * (1, 3)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = scale * xy @ turn.T + (7, -3)
    assert rms_s2s(moved) == pytest.approx(scale * rms_s2s(xy))
    assert std(moved) == pytest.approx(scale * std(xy))
    assert bcea(moved) == pytest.approx(scale**2 * bcea(xy))


def test_gaze_on_a_line_covers_no_area():
    assert bcea(np.outer(np.linspace(0, 1, 20), [1.0, 2.0])) == pytest.approx(0, abs=1e-7)


def test_precision_of_too_little_gaze_raises():
    for measure in (rms_s2s, std, bcea):
        with pytest.raises(InputError, match="needs two"):
            measure([[1.0, 2.0], [np.nan, 0.0]])
        with pytest.raises(InputError, match=r"\(N, 2\)"):
            measure([1.0, 2.0])
    with pytest.raises(InputError, match="share"):
        bcea([[0, 0], [1, 1]], share=1.0)


def target_gaze() -> tuple[pd.DataFrame, pd.DataFrame]:
    """One second on each of three targets, off by 1 degree right, then 1 right and 2 up, the last not recorded."""
    time = np.arange(3000) / 1000
    targets = pd.DataFrame(
        {
            "onset_s": [0.2, 1.2, 2.2],
            "offset_s": [0.9, 1.9, 2.9],
            "x_px": [960.0, 300.0, 960.0],
            "y_px": [540.0, 200.0, 900.0],
        }
    )
    place = targets[["x_px", "y_px"]].to_numpy()[np.minimum(time.astype(int), 2)]
    off = np.where(time[:, None] < 1, [40.0, 0.0], [40.0, -80.0])
    off[time >= 2] = np.nan
    samples = pd.DataFrame(np.column_stack([time, place + off]), columns=["time_s", "x_px", "y_px"])
    return samples, targets


def test_errors_at_targets_and_their_drift_by_hand():
    samples, targets = target_gaze()
    samples["px_per_deg_x"] = samples["px_per_deg_y"] = PX_PER_DEG
    found = target_errors(samples, targets)
    np.testing.assert_allclose(found["error_x_dva"], [1, 1, np.nan])
    np.testing.assert_allclose(found["error_y_dva"], [0, -2, np.nan], atol=1e-12)
    np.testing.assert_allclose(found["error_dva"], [1, math.sqrt(5), np.nan])
    np.testing.assert_allclose(found["drift_dva"], [0, 2, np.nan], atol=1e-12)


def test_errors_at_targets_on_a_screen_are_exact_angles():
    samples, targets = target_gaze()
    found = target_errors(samples, targets, SCREEN)
    pitch = 530 / 1920
    right = math.degrees(math.atan2((1000 - 959.5) * pitch, 650) - math.atan2(0.5 * pitch, 650))
    assert found["error_x_dva"][0] == pytest.approx(right)
    with pytest.raises(InputError, match="degrees need"):
        target_errors(samples, targets)
    with pytest.raises(InputError, match="targets lack onset_s"):
        target_errors(samples, targets.drop(columns="onset_s"), SCREEN)
    with pytest.raises(InputError, match="no target"):
        target_errors(samples, targets.iloc[:0], SCREEN)
    with pytest.raises(EmptyGazeError, match="clocks"):
        target_errors(samples, targets.assign(onset_s=100.0, offset_s=101.0), SCREEN)


def test_a_sound_reading_has_its_figures_and_no_flag():
    gaze = make_gaze(rate=500, fixations=40, noise_dva=0.05, seed=3)
    found = reading_quality(make_reading(gaze.samples))
    assert found.flags == found.reasons == ()
    assert found.samples == len(gaze.samples)
    assert found.sampling_rate_hz == pytest.approx(500)
    assert (found.data_loss, found.irregular_steps, found.blinks, found.longest_loss_s) == (0, 0, 0, 0)
    assert found.rms_s2s_dva == pytest.approx(0.1, rel=0.1)
    assert found.std_dva == pytest.approx(0.05 * math.sqrt(2), rel=0.15)
    assert found.bcea_dva2 == pytest.approx(2 * -math.log(1 - 0.6827) * math.pi * 0.05**2, rel=0.25)
    assert found.fixations == pytest.approx(40, abs=1)
    assert found.median_fixation_s == pytest.approx(np.median(np.diff(gaze.fixations[:, :2])), rel=0.1)
    assert found.seen_share == pytest.approx(1, abs=0.01)


def test_lost_and_absent_samples_are_lost_alike():
    samples = make_gaze(rate=500, fixations=20, seed=1).samples
    reading = make_reading(samples)
    n = len(samples)
    lost = samples.copy()
    lost.loc[1000:1099, ["x_px", "y_px"]] = np.nan
    absent = samples.drop(index=range(1000, 1100))
    found = [reading_quality(make_reading(table, reading.fixations)) for table in (lost, absent)]
    for quality in found:
        assert quality.data_loss == pytest.approx(100 / n)
        assert quality.longest_loss_s == pytest.approx(101 / 500)
        assert quality.blinks == 1
    assert found[0].irregular_steps == 0
    assert found[1].irregular_steps == pytest.approx(1 / (n - 101))


def lose_a_third(samples: pd.DataFrame) -> pd.DataFrame:
    return samples.assign(x_px=samples["x_px"].where(np.arange(len(samples)) % 600 >= 200))


def look_away(samples: pd.DataFrame) -> pd.DataFrame:
    away = samples["time_s"].between(2, 5.2)
    return samples.assign(x_px=samples["x_px"].mask(away))


def stutter(samples: pd.DataFrame) -> pd.DataFrame:
    return samples[np.arange(len(samples)) % 8 != 0].reset_index(drop=True)


def scatter(samples: pd.DataFrame) -> pd.DataFrame:
    noise = np.random.default_rng(0).normal(0, 0.6 * PX_PER_DEG, (len(samples), 2))
    return samples.assign(x_px=samples["x_px"] + noise[:, 0], y_px=samples["y_px"] + noise[:, 1])


def freeze(samples: pd.DataFrame) -> pd.DataFrame:
    table = samples.copy()
    table.loc[1000:1300, ["x_px", "y_px"]] = table.loc[1000, ["x_px", "y_px"]].to_numpy()
    return table


def run_late(samples: pd.DataFrame) -> pd.DataFrame:
    return samples.assign(time_s=samples["time_s"] + 1000)


@pytest.mark.parametrize(
    ("flag", "spoil"),
    [
        ("data_loss", lose_a_third),
        ("long_loss", look_away),
        ("irregular_sampling", stutter),
        ("imprecise", scatter),
        ("frozen_gaze", freeze),
        ("clock_mismatch", run_late),
    ],
)
def test_spoilt_samples_are_flagged_for_what_is_wrong_with_them(
    flag: str, spoil: Callable[[pd.DataFrame], pd.DataFrame]
):
    samples = make_gaze(rate=500, fixations=40, noise_dva=0.05, seed=3).samples
    fixations = make_reading(samples).fixations
    found = reading_quality(make_reading(spoil(samples), fixations))
    assert found.flags == (flag,)
    assert FLAGS[flag] in found.reasons[0]
    assert any(character.isdigit() for character in found.reasons[0])


@pytest.mark.parametrize(
    ("flag", "change"),
    [
        ("off_image", {"x_px": lambda t: t["x_px"] + 1200}),
        ("few_fixations", {}),
        ("fixation_rate", {"onset_s": lambda t: 5 * t["onset_s"], "offset_s": lambda t: t["onset_s"] + 0.2}),
        ("fixation_duration", {"offset_s": lambda t: t["onset_s"] + 0.05}),
    ],
)
def test_odd_fixations_are_flagged(flag, change):
    table = gazekit.detect_fixations(make_gaze(fixations=40, seed=3).samples, SCREEN)
    table = table.iloc[:6] if flag == "few_fixations" else table.assign(**change)
    assert reading_quality(make_reading(None, table)).flags == (flag,)


def test_without_samples_the_figures_of_fixations_remain():
    table = gazekit.detect_fixations(make_gaze(fixations=30, seed=3).samples, SCREEN)
    found = reading_quality(make_reading(None, table))
    assert found.fixations == len(table)
    assert found.sampling_rate_hz is found.data_loss is found.rms_s2s_dva is found.seen_share is None


def test_without_a_way_to_degrees_only_precision_is_missing():
    samples = make_gaze(fixations=30, seed=3).samples
    bare = make_reading(samples[["time_s", "x_px", "y_px"]], make_reading(samples).fixations)
    assert reading_quality(bare).std_dva is None
    assert reading_quality(bare).data_loss == 0


def test_off_image_shares_by_hand():
    table = pd.DataFrame(
        {"onset_s": [0.0, 1.0], "offset_s": [0.3, 1.1], "x_px": [5.0, -0.6], "y_px": [5.0, 5.0]},
    )
    samples = pd.DataFrame({"time_s": np.arange(4) / 100, "x_px": [0.0, 1919.4, 1919.6, np.nan], "y_px": 3.0})
    found = reading_quality(make_reading(samples, table))
    assert found.off_image == pytest.approx(0.25)
    assert found.samples_off_image == pytest.approx(1 / 3)


def test_readings_that_cannot_be_measured_raise():
    table = gazekit.detect_fixations(make_gaze(fixations=12, seed=3).samples, SCREEN)
    with pytest.raises(EmptyGazeError, match="99R1"):
        reading_quality(make_reading(None, table.iloc[:0]))
    with pytest.raises(EmptyGazeError, match="duration"):
        reading_quality(make_reading(None, table.assign(offset_s=table["onset_s"])))
    samples = make_gaze(fixations=12, seed=3).samples
    with pytest.raises(RecordError, match="divide milliseconds") as caught:
        reading_quality(make_reading(samples.assign(time_s=samples["time_s"] * 1000), table))
    assert caught.value.reason == "bad_table"


def make_readings() -> Readings:
    made = {}
    for i in range(5):
        samples = make_gaze(fixations=30, noise_dva=0.05, seed=i).samples
        fixations = gazekit.detect_fixations(samples, SCREEN)
        made[f"99R{i}"] = make_reading(freeze(samples) if i == 1 else samples, fixations, f"99R{i}")
    made["99R5"] = make_reading(None, made["99R0"].fixations.iloc[:0], "99R5")
    entries = [Entry("99img1", "99img1.png", reading_id) for reading_id in made]
    return Readings("invented", entries, lambda entry: made[str(entry.reading_id)], digest=lambda: "")


def test_a_data_set_is_measured_reading_by_reading_and_in_all(tmp_path):
    readings = make_readings()
    done: list[int] = []
    report = dataset_quality(readings, on_reading=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    assert [row.reading_id for row in report.readings] == [f"99R{i}" for i in range(5)]
    assert report.failures[0][:2] == ("99R5", "no_gaze")
    assert (report.flags, report.flagged) == ({"frozen_gaze": 1}, 1)
    noise = [row.rms_s2s_dva for row in report.readings]
    assert report.usual["rms_s2s_dva"] == {
        "readings": 5,
        "median": pytest.approx(np.median(noise)),
        "p5": pytest.approx(np.percentile(noise, 5)),
        "p95": pytest.approx(np.percentile(noise, 95)),
    }
    with pytest.raises(InputError, match="99R5: no_gaze"):
        dataset_quality(readings, strict=True)
    with pytest.raises(InputError, match="none of 1 readings"):
        dataset_quality(readings, ids=["99R5"])
    with pytest.raises(InputError, match="no reading"):
        dataset_quality(readings, ids=[])


def test_a_report_is_written_as_csv_parquet_and_json(tmp_path):
    report = dataset_quality(make_readings())
    for name in ("q.csv", "q.parquet", "q.json"):
        write_quality(report, tmp_path / name)
    csv, parquet = pd.read_csv(tmp_path / "q.csv"), pd.read_parquet(tmp_path / "q.parquet")
    pd.testing.assert_series_equal(csv["std_dva"], parquet["std_dva"])
    assert csv["flags"].fillna("").tolist() == ["", "frozen_gaze", "", "", ""]
    assert json.loads((tmp_path / "q.json").read_text()) == json.loads(json.dumps(report_dict(report)))
    with pytest.raises(InputError, match=r"\.csv, \.parquet, \.json"):
        write_quality(report, tmp_path / "q.xlsx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.csv", "q.json", "q.parquet"]


def call(*args: object) -> Outcome:
    return run_gazekit("quality", *args)


SAMPLE = "data/sample/reflacx"


def test_the_command_prints_a_table_and_exits_1_for_a_discarded_reading(tmp_path):
    code, out, err = call(SAMPLE, "--dataset", "reflacx", "--out", tmp_path / "q.csv")
    assert code == 1
    assert "no_gaze" in err
    assert "data loss" in out
    assert "P101R998518" in out
    assert len(pd.read_csv(tmp_path / "q.csv")) == 20


def test_the_command_says_everything_as_json(tmp_path):
    options = ("--dataset", "reflacx", "--limit", "3", "--json")
    code, out, _ = call(SAMPLE, *options)
    said = json.loads(out)
    written = json.loads(call(SAMPLE, *options, "--out", tmp_path / "q.csv").stdout)
    assert written == said | {"out": str(tmp_path / "q.csv")}
    assert code == 0
    assert said["readings"] == len(said["rows"]) == 3
    assert said["rows"][0]["sampling_rate_hz"] == pytest.approx(1000)
    assert said["rows"][1]["sampling_rate_hz"] is None
    assert said["usual"]["samples"]["readings"] == 2


def test_wrong_options_exit_2(tmp_path):
    assert call(SAMPLE, "--dataset", "reflax")[0] == 2
    assert call(tmp_path, "--dataset", "reflacx")[0] == 2
    code, _, err = call(SAMPLE, "--dataset", "reflacx", "--out", tmp_path / "q.xlsx")
    assert code == 2
    assert "q.xlsx" in err
    assert call(SAMPLE, "--dataset", "reflacx", "--strict")[0] == 2
