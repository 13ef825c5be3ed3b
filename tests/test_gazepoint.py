"""Gazepoint Analysis exports: what is read of them, and that what a simulator wrote comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from desk_sessions import SCREEN_PX, make_trial, screen_trials, shares
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gazekit import Screen, read_gazepoint
from gazekit.errors import RecordError
from gazekit.simulate.gazepoint import HEADER, exports
from gazekit.sources.gazepoint import parse_gazepoint

SCREEN = Screen(size_px=SCREEN_PX, size_mm=(531.0, 299.0), distance_mm=650.0)

SHORT = (
    "MEDIA_ID,MEDIA_NAME,CNT,TIME(2026/01/31 09:00:00.000),FPOGX,FPOGY,FPOGS,FPOGD,FPOGID,FPOGV,BPOGX,BPOGY,BPOGV,\n"
)
ROWS = [
    "0,a.png,0,0.10000,0.50000,0.50000,0.05000,0.05000,1,1,0.50100,0.49900,1,",
    "0,a.png,1,0.20000,0.51000,0.50000,0.05000,0.15000,1,1,0.50200,0.49800,1,",
    "0,a.png,2,0.30000,0.51000,0.50000,0.05000,0.15000,1,0,0.00000,0.00000,0,",
    "0,a.png,3,0.40000,0.25000,0.75000,0.35000,0.05000,2,1,0.25000,0.75000,1,",
    "1,b.png,4,0.10000,0.30000,0.30000,0.02000,0.08000,1,1,0.30000,0.30000,1,",
    "0,a.png,5,0.10000,0.40000,0.40000,0.02000,0.08000,1,1,0.40000,0.40000,1,",
]


def write(folder: Path, rows: list[str], *, header: str = SHORT, name: str = "User 0_all_gaze.csv") -> Path:
    path = folder / name
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


def test_a_fixation_is_the_last_valid_record_of_its_number(tmp_path):
    first = parse_gazepoint(write(tmp_path, ROWS)).trials[0]
    fixations = first.fixations[["onset_s", "offset_s", "x_px", "y_px"]]
    assert_allclose(fixations, [(0.05, 0.20, 0.51, 0.5), (0.35, 0.40, 0.25, 0.75)], atol=1e-12)


def test_samples_are_the_best_point_of_gaze_and_lost_where_it_is_not_valid(tmp_path):
    first = parse_gazepoint(write(tmp_path, ROWS)).trials[0]
    assert first.units == "screen_share"
    expected = [(0.1, 0.501, 0.499), (0.2, 0.502, 0.498), (0.3, np.nan, np.nan), (0.4, 0.25, 0.75)]
    assert_allclose(first.samples, expected)


def test_each_run_of_a_medium_is_a_trial_and_one_shown_again_is_another(tmp_path):
    trials = parse_gazepoint(write(tmp_path, ROWS)).trials
    assert [(trial.name, trial.stimulus) for trial in trials] == [("0", "a.png"), ("1", "b.png"), ("0-2", "a.png")]
    assert [trial.samples["time_s"].tolist() for trial in trials[1:]] == [[0.1], [0.1]]


def test_the_fixations_file_alone_gives_the_same_fixations_and_no_samples(tmp_path):
    whole = parse_gazepoint(write(tmp_path, ROWS)).trials[0]
    rows = [ROWS[k] for k in (1, 3)]
    alone = parse_gazepoint(write(tmp_path, rows, name="User 1_fixations.csv")).trials[0]
    columns = ["onset_s", "offset_s", "x_px", "y_px"]
    assert_allclose(alone.fixations[columns], whole.fixations[columns])
    assert alone.samples.empty


def test_fixations_beside_an_all_gaze_file_are_not_read_twice(tmp_path):
    write(tmp_path, ROWS)
    write(tmp_path, [ROWS[1]], name="User 0_fixations.csv")
    assert read_gazepoint(tmp_path, screen=SCREEN).ids == ("User-0.0", "User-0.1", "User-0.0-2")


def test_the_date_in_the_header_is_neither_kept_nor_told(tmp_path):
    path = write(tmp_path, ROWS, header=SHORT.replace("FPOGX", "GPOGX"))
    with pytest.raises(RecordError) as caught:
        parse_gazepoint(path)
    assert "'FPOGX'" in str(caught.value)
    assert "'TIME'" in str(caught.value)
    assert "2026" not in str(caught.value)


def test_the_columns_of_the_format_are_known_and_others_are_told_once(tmp_path):
    trial = make_trial("990001", [(0.1, 5, 5), (0.2, 5, 5)], [(0.05, 0.25, 5, 5)])
    known = tmp_path / "a_all_gaze.csv"
    known.write_text(exports([trial], SCREEN_PX)[0])
    assert parse_gazepoint(known).warnings == ()
    other = write(tmp_path, [f"{row}7," for row in ROWS], header=SHORT.replace(",\n", ",MOOD,\n"))
    assert parse_gazepoint(other).warnings == ("User 0_all_gaze.csv: unknown columns 'MOOD' are ignored",)


def test_the_simulator_writes_the_columns_of_version_7_3():
    assert len(HEADER.split(",")) == 63
    assert HEADER.endswith("SACCADE_MAG,SACCADE_DIR,VID_FRAME,")
    trial = make_trial("990001", [(0.1, 5, 5)], [(0.05, 0.25, 5, 5)])
    gaze, fixations = exports([trial], SCREEN_PX)
    assert {line.count(",") for line in (gaze + fixations).splitlines()} == {62}


@given(st.lists(screen_trials(rate_hz=60.0), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_what_the_simulator_writes_comes_back_to_the_last_decimal(tmp_path_factory, trials):
    folder = tmp_path_factory.mktemp("gazepoint")
    texts = exports(trials, SCREEN_PX)
    files = [folder / "a_all_gaze.csv", folder / "b_fixations.csv"]
    for path, text in zip(files, texts, strict=True):
        path.write_text(text, newline="")
    recording = parse_gazepoint(files[0])
    assert len(recording.trials) == len(trials)
    for truth, read in zip(trials, recording.trials, strict=True):
        assert read.stimulus == f"{truth.image_id}.png"
        assert_allclose(read.samples["time_s"], truth.samples["time_s"], atol=1e-5)
        assert_allclose(read.samples[["x_px", "y_px"]], shares(truth.samples), atol=1e-5)
        times = truth.samples["time_s"].to_numpy()
        within = [times[(times >= on) & (times <= off)] for on, off in truth.fixations.to_numpy()[:, :2]]
        seen = [k for k, own in enumerate(within) if len(own)]
        assert_allclose(read.fixations["onset_s"], truth.fixations["onset_s"].iloc[seen], atol=2e-5)
        assert_allclose(read.fixations["offset_s"], [within[k][-1] for k in seen], atol=3e-5)
        assert_allclose(read.fixations[["x_px", "y_px"]], shares(truth.fixations)[seen], atol=1e-5)
    if any(len(trial.fixations) for trial in recording.trials):
        alone = parse_gazepoint(files[1]).trials
        both = [trial.fixations.drop(columns="line") for trial in recording.trials if len(trial.fixations)]
        for one, other in zip(alone, both, strict=True):
            assert_allclose(one.fixations.drop(columns="line"), other)
