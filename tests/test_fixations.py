"""The analyst's filters."""

from __future__ import annotations

import pandas as pd
import pytest

import gazekit

ROWS = pd.DataFrame(
    {
        "onset_s": [0.0, 1.0, 2.0, 3.0],
        "offset_s": [0.3, 1.05, 2.5, 3.4],
        "x_px": [50.0, 60.0, -15.0, 99.6],
        "y_px": [50.0, 60.0, 50.0, 50.0],
        "px_per_deg_x": 10.0,
        "px_per_deg_y": 20.0,
        "shown_xmin_px": 0.0,
        "shown_ymin_px": 0.0,
        "shown_xmax_px": 100.0,
        "shown_ymax_px": 100.0,
    },
    index=[10, 11, 12, 13],
)


def test_no_condition_keeps_everything():
    pd.testing.assert_frame_equal(gazekit.filter_fixations(ROWS), ROWS)


def test_on_image_ends_half_a_pixel_beyond_the_last_centre():
    assert list(gazekit.filter_fixations(ROWS, image_shape=(100, 100), on_image=True).index) == [10, 11]
    assert list(gazekit.filter_fixations(ROWS, image_shape=(100, 101), on_image=True).index) == [10, 11, 13]


def test_minimum_duration_is_inclusive():
    assert list(gazekit.filter_fixations(ROWS, min_duration_s=0.3).index) == [10, 12, 13]


def test_distance_is_in_degrees_of_each_axis():
    # row 12 is 14.5 px left of the edge at -0.5: 1.45 degrees at 10 px a degree
    assert list(gazekit.filter_fixations(ROWS, max_outside_dva=1.44).index) == [10, 11, 13]
    assert list(gazekit.filter_fixations(ROWS, max_outside_dva=1.46).index) == [10, 11, 12, 13]
    above = ROWS.assign(y_px=-15.0)
    assert 10 in gazekit.filter_fixations(above, max_outside_dva=0.73).index  # 14.5 / 20


def test_on_image_needs_the_image():
    with pytest.raises(ValueError, match="image_shape"):
        gazekit.filter_fixations(ROWS, on_image=True)


# --- REFLACX's own rule

# a 100 x 100 image drawn at 10 screen pixels an image pixel, from x 700 and y 600 on
DRAWN = {"screen_xmin_px": 700.0, "screen_ymin_px": 600.0, "screen_xmax_px": 1700.0, "screen_ymax_px": 1600.0}


def test_reflacx_rule_by_hand():
    # inside; 0.4 degrees left of it and 16 screen pixels from the buttons; 0.4 left and above them; 0.6 above
    places = {"x_px": [50.0, -4.5, -4.5, 50.0], "y_px": [50.0, 50.0, 10.0, -12.5]}
    kept = gazekit.filter_reflacx(ROWS.assign(**places, **DRAWN))
    assert list(kept.index) == [10, 12]
    above = ROWS.assign(x_px=50.0, y_px=-10.4, **DRAWN)
    assert len(gazekit.filter_reflacx(above)) == 4  # 9.9 / 20 degrees
    assert len(gazekit.filter_reflacx(above.assign(y_px=-10.6))) == 0


def test_reflacx_rule_keeps_a_far_fixation_inside_the_image_by_the_buttons():
    # zoomed in, so that the image is drawn over the buttons: what is on the image is kept
    over = dict(zip(DRAWN, (0.0, 0.0, 2000.0, 2000.0), strict=True))
    assert len(gazekit.filter_reflacx(ROWS.assign(x_px=20.0, y_px=50.0, **over))) == 4


def test_reflacx_rule_needs_the_screen():
    with pytest.raises(ValueError, match="lack screen_xmin_px"):
        gazekit.filter_reflacx(ROWS)
