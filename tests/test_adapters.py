"""What other toolkits read from our tables is what is in them, and what they compute agrees."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from gaze_traces import SCREEN, make_gaze
from hypothesis import given, settings
from PIL import Image
from strategies import fixation_tables

import gazekit
from gazekit.adapters import to_multimatch, to_pymovements
from gazekit.errors import InputError
from gazekit.metrics import fixation_path, multimatch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the peers' own imports warn of
    import multimatch_gaze
    import pymovements as pm


@given(fixation_tables((96, 128), min_size=4, max_size=8), fixation_tables((96, 128), min_size=4, max_size=8))
@settings(max_examples=15, deadline=None)
def test_multimatch_gaze_gives_our_five_numbers(first, second):
    theirs = multimatch_gaze.docomparison(to_multimatch(first), to_multimatch(second), screensize=[128, 96])
    ours = multimatch(fixation_path(first), fixation_path(second), image_shape=(96, 128))
    assert ours.as_tuple() == pytest.approx([float(value) for value in theirs], abs=1e-9)


def test_multimatch_rows_are_positions_and_seconds():
    table = make_gaze(fixations=5).samples
    fixations = gazekit.detect_fixations(table)
    rows = to_multimatch(fixations)
    assert rows.dtype.names == ("start_x", "start_y", "duration")
    np.testing.assert_array_equal(rows["start_y"], fixations["y_px"])
    np.testing.assert_allclose(rows["duration"], fixations["offset_s"] - fixations["onset_s"])


def test_pymovements_has_our_times_pixels_and_degrees():
    samples = make_gaze(rate=300, fixations=5).samples[["time_s", "x_px", "y_px"]]
    samples.loc[100:180, ["x_px", "y_px"]] = np.nan
    gaze = to_pymovements(samples, screen=SCREEN)
    assert isinstance(gaze, pm.Gaze)
    np.testing.assert_allclose(gaze.samples["time"], 1e3 * samples["time_s"], atol=1e-6)
    assert gaze.samples["pixel"][50].to_list() == samples.loc[50, ["x_px", "y_px"]].tolist()
    assert gaze.samples["pixel"][140].to_list() == [None, None]
    assert gaze.experiment.sampling_rate == pytest.approx(300)
    ours = np.array(gaze.samples["position"].to_list(), dtype=float)
    gaze.pix2deg()
    theirs = np.array(gaze.samples["position"].to_list(), dtype=float)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_pymovements_finds_our_fixations_on_what_it_is_given():
    samples = make_gaze(rate=1000, fixations=8).samples
    fixations = gazekit.detect_fixations(samples, algorithm="idt")
    gaze = to_pymovements(samples, fixations=fixations)
    assert gaze.events.frame["name"].to_list() == ["fixation"] * len(fixations)
    assert gaze.events.frame["location"][2].to_list() == fixations.loc[2, ["x_px", "y_px"]].tolist()
    ours = gaze.events.frame["onset", "offset"].to_numpy()
    position = np.array(gaze.samples["position"].to_list())
    theirs = pm.events.idt(position, gaze.samples["time"].to_numpy()).frame["onset", "offset"].to_numpy()
    np.testing.assert_allclose(ours, theirs)


def test_samples_without_degrees_have_none_in_pymovements():
    samples = make_gaze(fixations=3).samples[["time_s", "x_px", "y_px"]]
    gaze = to_pymovements(samples)
    assert "position" not in gaze.samples.columns
    assert gaze.experiment.sampling_rate == pytest.approx(500)


def test_readings_written_as_bids_are_read_with_their_fixations(tmp_path):
    fixations = gazekit.detect_fixations(make_gaze(fixations=5).samples)
    reading = gazekit.Reading("990001", "99chest7", (1080, 1920), fixations)
    assert gazekit.adapters.to_bids([reading], tmp_path / "bids", samples=False) == 1
    Image.new("L", (1920, 1080)).save(tmp_path / "99chest7.png")
    [found] = gazekit.read_bids(tmp_path / "bids", images=tmp_path)
    columns = list(fixations.columns)
    np.testing.assert_allclose(found.fixations[columns], fixations[columns], atol=1e-9)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymovements", None)
    with pytest.raises(InputError, match="pip install pymovements"):
        to_pymovements(make_gaze(fixations=3).samples)
