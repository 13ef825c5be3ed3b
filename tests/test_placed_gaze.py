"""Gaze of trackers in its place on the image: pixels, degrees, units, both eyes, the tracker's fixations and ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gaze_traces import SCREEN, make_gaze
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_tracker import draw_image, gaze_at, one
from numpy.testing import assert_allclose
from PIL import Image

import gazekit
from gazekit import InputError, RecordError, Screen
from gazekit.geometry import placed_rectangle
from gazekit.reading import SCREEN as SCREEN_RECTANGLE
from gazekit.reading import SHOWN
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.spec import parse_spec


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
        if units.endswith("_share") and np.median(points) > 2:
            return  # and what lies two screens away, as pixels
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


def test_a_resolution_in_the_file_makes_a_screen_needless(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png", (60, 80))
    samples = gaze_at([(150, 120), (350, 220)]).assign(px_per_deg_x=40.0, px_per_deg_y=30.0)
    trial = Trial("", samples, drawn=(100, 100, 500, 400))
    reading = one(Recording((trial,)), tmp_path, screen=None)
    assert_allclose(reading.fixations[["px_per_deg_x", "px_per_deg_y"]], [(8, 6), (8, 6)])
    with pytest.raises(InputError, match="the size of the screen in pixels is not known"):
        one(Recording((replace(trial, drawn=None),)), tmp_path, screen=None)


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(time_s=t["time_s"] * 1000), r"the median sampling step lasts 4 s"),
        (lambda t: t.assign(time_s=t["time_s"] / 1000), r"the median sampling step lasts 4e-06 s"),
        (lambda t: t.assign(x_px=t["x_px"] / 1920, y_px=t["y_px"] / 1080), "every x and y is within 1: normalised"),
    ],
)
def test_units_that_the_numbers_contradict_are_an_error_that_asks_for_them(tmp_path: Path, change, words: str):
    draw_image(tmp_path / "images" / "chest1.png")
    with pytest.raises(InputError, match=words):
        one(Recording((Trial("", change(gaze_at([(300, 200), (900, 500)]))),)), tmp_path)


def test_pixels_where_shares_are_expected_are_an_error(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png")
    trial = Trial("", gaze_at([(300, 200)]), units="screen_share")
    with pytest.raises(InputError, match=r"pixels where screen shares from 0 to 1 are expected"):
        one(Recording((trial,)), tmp_path)


def test_gaze_that_is_mostly_off_the_screen_is_warned_of(tmp_path: Path):
    draw_image(tmp_path / "images" / "chest1.png")
    reading = one(Recording((Trial("", gaze_at([(2600, 1500), (3000, 200), (400, 300)])),)), tmp_path)
    assert any("67% of the fixations are off the screen of 1920 x 1080 pixels" in text for text in reading.warnings)
