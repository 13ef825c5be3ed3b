"""Charts: drawn into the axes given, at the right place, on scales that do not depend on the data."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from gaze_traces import SCREEN, make_gaze
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import gazekit
from gazekit import plots
from gazekit.errors import InputError
from gazekit.events import measure_saccades
from gazekit.quality import Quality

SHAPE = (90, 120)
FIXATIONS = pd.DataFrame(
    {"onset_s": [0.1, 0.6], "offset_s": [0.5, 1.4], "x_px": [59.5, -20.0], "y_px": [44.5, 10.0]},
)
UNIFORM = ("inferno", "viridis", "cividis", "magma", "plasma")


@pytest.fixture
def ax():
    return Figure().subplots()


def test_importing_plots_does_not_load_matplotlib():
    code = "import sys, gazekit.plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_chart_returns_the_axes_it_was_given(ax):
    heat = np.eye(3)
    assert plots.overlay(np.zeros((9, 12)), heat, ax=ax) is ax
    assert plots.patch_grid(heat, image_shape=SHAPE, ax=ax) is ax
    assert plots.scanpath(FIXATIONS, image_shape=SHAPE, ax=ax) is ax
    assert plots.timeline(FIXATIONS, image_shape=SHAPE, ax=ax) is ax


def test_without_axes_a_figure_is_made():
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    ax = plots.timeline(FIXATIONS, image_shape=SHAPE)
    assert ax.figure.get_figwidth() == 12
    plt.close(ax.figure)


def test_heat_lies_over_the_whole_image_in_its_pixels(ax):
    heat = np.zeros((9, 12))
    heat[2, 7] = 1.0
    plots.overlay(np.zeros((45, 60)), heat, image_shape=SHAPE, ax=ax)
    grey, drawn = ax.images
    assert list(grey.get_extent()) == list(drawn.get_extent()) == [-0.5, 119.5, 89.5, -0.5]
    shown = np.asarray(drawn.get_array())
    assert shown[2, 7] == shown.sum() == heat.size, "all the gaze in one of 108 cells is 108 times an even spread"
    assert drawn.get_alpha()[2, 7] > 0.5
    assert drawn.get_alpha()[0, 0] == 0


@pytest.mark.parametrize("draw", ["overlay", "patch_grid", "scanpath", "main_sequence"])
def test_scales_do_not_depend_on_the_data_and_have_a_unit(draw):
    limits = set()
    for factor in (1.0, 3.0):
        ax = Figure().subplots()
        if draw == "overlay":
            plots.overlay(np.zeros(SHAPE), np.eye(3) * factor + 0.1, ax=ax)
        elif draw == "patch_grid":
            plots.patch_grid(np.eye(3) + factor, image_shape=SHAPE, ax=ax)
        elif draw == "scanpath":
            plots.scanpath(FIXATIONS * [factor, factor, 1, 1], image_shape=SHAPE, ax=ax)
        else:
            table = measure_saccades(make_gaze().samples, gazekit.detect_fixations(make_gaze().samples))
            plots.main_sequence(table * [1, 1, factor, factor], ax=ax)
        mapped = (*ax.images, *ax.collections)
        drawn = next(one for one in reversed(mapped) if one.get_array() is not None and one.get_cmap().name in UNIFORM)
        limits.add((*drawn.get_clim(), *ax.get_ylim()))
        (bar,) = ax.child_axes
        assert any(word in bar.get_ylabel() for word in ("1 = spread evenly", "time, s", "duration, ms"))
    assert len(limits) == 1


def test_the_partition_is_outlined(ax):
    relevance = np.full((3, 4), 0.01)
    relevance[1, 2] = 1.0
    plots.patch_grid(relevance, image_shape=SHAPE, relevant=relevance > 0.5, ax=ax)
    corners = np.concatenate([line.get_xydata() for line in ax.lines])
    assert len(ax.lines) == 4
    np.testing.assert_allclose([corners.min(axis=0), corners.max(axis=0)], [(59.5, 29.5), (89.5, 59.5)])
    with pytest.raises(InputError, match="one flag a patch"):
        plots.patch_grid(relevance, image_shape=SHAPE, relevant=[[True]], ax=ax)


def test_a_disc_lies_on_its_fixation_with_an_area_of_its_duration(ax):
    plots.scanpath(FIXATIONS, image_shape=SHAPE, ax=ax)
    discs = ax.collections[-1]
    np.testing.assert_array_equal(discs.get_offsets(), FIXATIONS[["x_px", "y_px"]])
    np.testing.assert_allclose(discs.get_sizes(), [0.4 * plots.POINTS2_PER_S, 0.8 * plots.POINTS2_PER_S])
    np.testing.assert_array_equal(discs.get_array(), FIXATIONS["onset_s"])
    assert [text.get_text() for text in ax.texts] == ["1", "2"]
    assert ax.get_xlim()[0] < -20, "a fixation off the image is in sight"
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "rows run downwards"


def test_the_timeline_has_words_where_they_were_said_and_a_break_where_gaze_was_lost(ax):
    samples = pd.DataFrame({"time_s": [0.0, 0.1, 0.2], "x_px": [59.5, np.nan, 119.5], "y_px": 44.5})
    words = pd.DataFrame({"word": ["no", "nodule", "."], "onset_s": [0.2, 0.5, 1.0], "offset_s": [0.4, 0.9, 1.0]})
    plots.timeline(FIXATIONS, image_shape=SHAPE, samples=samples, transcript=words, ax=ax)
    said = {text.get_text(): text.xy[0] for text in ax.texts}
    assert said == {"no": 0.2, "nodule": 0.5}
    trace = ax.lines[0].get_ydata()
    np.testing.assert_allclose(trace, [50, np.nan, 100])
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose(segments[0], [(0.1, 50), (0.5, 50)])


def test_quality_marks_flagged_readings_and_bounds():
    sound = {"fixations": 40, "fixated_s": 10.0, "span_s": 14.0, "longest_fixation_s": 1.0}
    sound |= {"fixations_per_s": 3.0, "median_fixation_s": 0.25}
    readings = [
        Quality("99R0", "99img0", None, off_image=0.1, **sound),
        Quality("99R1", "99img1", None, off_image=0.6, **sound),
    ]
    axes = Figure().subplots(2, 3).ravel()
    panels = plots.quality_summary(readings, axes=axes)
    assert list(panels) == list(axes)
    off = axes[list(plots.TITLES).index("off_image")]
    kept, flagged = off.collections
    assert kept.get_offsets()[:, 0].tolist() == [0.1]
    assert flagged.get_offsets()[:, 0].tolist() == [0.6]
    assert to_hex(flagged.get_facecolor()[0]).upper() == plots.WARM
    assert sorted(line.get_xdata()[0] for line in off.lines) == pytest.approx([0.2, 0.35])
    assert axes[0].texts[0].get_text() == "not recorded"
    with pytest.raises(InputError, match="6 axes"):
        plots.quality_summary(readings, axes=axes[:2])
    with pytest.raises(InputError, match="no reading"):
        plots.quality_summary([], axes=axes)


def test_what_cannot_be_drawn_is_refused(ax):
    with pytest.raises(InputError, match="grey"):
        plots.overlay(np.zeros((4, 4, 3)), np.eye(4), ax=ax)
    with pytest.raises(InputError, match="above zero"):
        plots.overlay(np.zeros((4, 4)), np.zeros((4, 4)), ax=ax)
    with pytest.raises(InputError, match="rows, cols"):
        plots.overlay(np.zeros((4, 4)), np.zeros(4), ax=ax)


def test_a_made_saccade_is_measured():
    """Minimum jerk over d degrees in T seconds has a peak velocity of 15 d / 8 T."""
    time = np.arange(600) / 1000
    share = np.clip((time - 0.25) / 0.05, 0, 1)
    x = 400 + 400 * share**3 * (10 - 15 * share + 6 * share**2)
    samples = pd.DataFrame({"time_s": time, "x_px": x, "y_px": 300.0, "px_per_deg_x": 40.0, "px_per_deg_y": 40.0})
    rests = pd.DataFrame({"onset_s": [0.0, 0.3], "offset_s": [0.25, 0.599]})
    (saccade,) = measure_saccades(samples, rests).itertuples(index=False)
    assert saccade.amplitude_dva == pytest.approx(10)
    assert saccade.peak_velocity_dva_s == pytest.approx(15 / 8 * 10 / 0.05, rel=0.02)
    assert (saccade.onset_s, saccade.offset_s) == (0.25, 0.3)
    samples.loc[275, "x_px"] = np.nan
    assert measure_saccades(samples, rests).empty, "nobody saw the peak"
    assert measure_saccades(samples.iloc[:250], rests).empty


def test_saccades_are_those_between_the_fixations():
    gaze = make_gaze(rate=1000, fixations=9, seed=4)
    found = measure_saccades(gaze.samples, gazekit.detect_fixations(gaze.samples, SCREEN))
    amplitudes = np.hypot(*np.diff(gaze.fixations[:, 2:], axis=0).T) / 40
    np.testing.assert_allclose(found["amplitude_dva"], amplitudes, atol=0.25)
    assert (found["peak_velocity_dva_s"] > 20).all()
