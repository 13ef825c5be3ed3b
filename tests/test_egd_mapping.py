"""EGD-CXR: from shares of the screen to pixels of the image, and the published heatmap of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from egd_tree import PADS, SHAPE
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from gazekit import Screen, heatmap
from gazekit.sources.egd_mapping import ASSUMED_SCREEN, Placement

DISPLAY = Screen(size_px=(1920, 1080), size_mm=(600.0, 340.0), distance_mm=700.0)


@pytest.mark.parametrize(
    ("fraction", "pixel"), [((0.5, 0.5), (126, 150)), ((0.4, 0.3), (69, 90)), ((0.3, 0.0001), (13, 0))]
)
def test_the_published_formula_by_hand(fraction, pixel):
    points = np.array([fraction]) * (1920, 1080)
    placement = Placement(SHAPE, PADS)
    assert placement.inside(points).all()
    assert placement.published_pixels(points)[0].tolist() == list(pixel)


def test_inside_is_strict_at_all_four_sides():
    placement = Placement((300, 250), (10, 20, 500, 600))
    assert placement.drawn == (500, 10, 1320, 1060)
    edges = np.array([[500, 100], [1320, 100], [600, 10], [600, 1060]], float)
    inwards = np.array([[0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01]])
    assert not placement.inside(edges).any()
    assert placement.inside(edges + inwards).all()
    assert not placement.inside(np.array([[np.nan, 100.0]])).any()


@given(
    height=st.integers(50, 4000), width=st.integers(50, 4000), pads=st.tuples(*[st.integers(0, 500)] * 4),
    across=st.floats(0.001, 0.999), down=st.floats(0.001, 0.999),
)  # fmt: skip
def test_the_continuous_mapping_lies_in_the_published_pixel(height, width, pads, across, down):
    placement = Placement((height, width), pads)
    x0, y0, x1, y1 = placement.drawn
    point = np.array([[x0 + across * (x1 - x0), y0 + down * (y1 - y0)]])
    exact, pixel = placement.image_points(point), placement.published_pixels(point)
    assert (np.abs(exact - pixel) <= 0.5 + 1e-9).all()
    # an independent evaluation, in the words of the formula
    x = int((width + width % 2) / (1920 - pads[2] - pads[3]) * (point[0, 0] - pads[2]))
    y = int((height + height % 2) / (1080 - pads[0] - pads[1]) * (point[0, 1] - pads[0]))
    assert pixel[0].tolist() == [x, y]


@given(x=st.floats(0, 1920), y=st.floats(0, 1080))
def test_px_per_degree_is_how_far_a_small_turn_of_the_eye_moves_on_the_image(x, y):
    placement = Placement((3000, 2500), (0, 0, 533, 534))
    point = np.array([[x, y]])
    resolution = placement.px_per_degree(point, DISPLAY)[0]
    for axis, (size, mm, scale) in enumerate(zip((1920, 1080), (600.0, 340.0), (2500 / 853, 3000 / 1080), strict=True)):
        pitch = mm / size
        eccentricity = math.atan2((point[0, axis] - size / 2) * pitch, 700.0)
        moved = 700.0 * (math.tan(eccentricity + math.radians(0.005)) - math.tan(eccentricity - math.radians(0.005)))
        assert resolution[axis] == pytest.approx(100 * moved / pitch * scale, rel=1e-5)


def test_the_assumed_screen_has_about_36_px_a_degree():
    middle = Placement((1080, 1920), (0, 0, 0, 0)).px_per_degree(np.array([[960.0, 540.0]]), ASSUMED_SCREEN)
    np.testing.assert_allclose(middle, 36.4, atol=0.1)


def on_canvas(image):
    """An image as it was prepared: fitted into a black 1920 x 1024 canvas, and the pads (gaze-formats 2.6)."""
    ratio = 1024 / max(image.shape)
    height, width = (int(side * ratio) for side in image.shape)
    top, left = (1024 - height) // 2, (1920 - width) // 2
    canvas = np.zeros((1024, 1920), np.uint8)
    rows, columns = (np.arange(n) * side // n for n, side in ((height, image.shape[0]), (width, image.shape[1])))
    canvas[top : top + height, left : left + width] = image[np.ix_(rows, columns)]
    return canvas, (top, 1024 - height - top, left, 1920 - width - left)


@pytest.mark.parametrize(("shape", "worst"), [((3000, 2500), 0.002), ((2999, 2421), 0.002), ((1875, 2500), 0.009)])
def test_gaze_on_a_mark_in_the_shown_canvas_lies_on_the_mark_in_the_image(shape, worst):
    for across, down in ((0.02, 0.02), (0.5, 0.3), (0.98, 0.97)):
        x, y = int(across * shape[1]), int(down * shape[0])
        image = np.zeros(shape, np.uint8)
        image[y - 5 : y + 6, x - 5 : x + 6] = 255
        canvas, pads = on_canvas(image)
        fraction = (np.argwhere(canvas).mean(axis=0)[::-1] + 0.5) / (1920, 1024)  # the whole screen shows the canvas
        found = Placement(shape, pads).image_points(fraction[None] * (1920, 1080))[0]
        assert np.abs(found - (x, y)).max() <= worst * shape[0]


def test_counts_with_a_sigma_of_150_px_are_the_published_static_map_inside_and_not_at_borders():
    shape = (1260, 1231)
    inner = pd.DataFrame({"x_px": [610.0, 625.0, 610.0], "y_px": [600.0, 650.0, 600.0]})
    counts = np.zeros(shape)
    np.add.at(counts, (inner["y_px"].astype(int), inner["x_px"].astype(int)), 1)
    reference = gaussian_filter(counts, sigma=150)
    ours = heatmap(inner, image_shape=shape, sigma_px=150, weights="count", normalize=None)
    assert np.abs(ours - reference).max() <= 1e-3 * reference.max()
    assert ours.sum() == pytest.approx(3, rel=1e-3)  # the number of rows, as there: not a share

    shape = (640, 700)
    corner = pd.DataFrame({"x_px": [40.0], "y_px": [30.0]})
    counts = np.zeros(shape)
    counts[30, 40] = 1
    reflected = gaussian_filter(counts, sigma=150)
    ours = heatmap(corner, image_shape=shape, sigma_px=150, weights="count", normalize=None)
    # theirs folds back into the image what ours lets fall off it: nearly three times the true density here
    assert reflected.max() > 2.5 * ours.max()
    assert reflected.sum() == pytest.approx(1, rel=1e-6)
    assert ours.sum() == pytest.approx(0.36, abs=0.02)
