"""Raw samples in the place of fixations: their weights by hand and against an oracle, and maps that stay the same."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import fixation_tables, gaussian_rows, image_shapes

import gazekit
from gazekit import metrics
from gazekit.errors import EmptyGazeError, InputError
from gazekit.prior import GAUSSIANS_A_BLOCK, Prior, gaussians
from gazekit.reading import FIXATION_COLUMNS
from gazekit.samples import merge_equal
from gazekit.simulate import ReaderParameters
from gazekit.simulate.assignment import assign
from gazekit.simulate.dataset import write_reflacx
from gazekit.simulate.pictures import phantom_makers

NAN = float("nan")


def samples(time, x, **more):
    return pd.DataFrame({"time_s": np.array(time, float), "x_px": np.array(x, float), "y_px": 5.0, **more})


def test_weights_by_hand():
    # 10 ms a sample: a lost one adds its time to the one before, up to 2 periods; the last stands for one
    time = [0.00, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.30, 0.31]
    x = [1, 1, NAN, 2, NAN, NAN, 3, 4, 5]
    assert_allclose(gazekit.sample_weights(samples(time, x)), [0.01, 0.02, 0, 0.02, 0, 0, 0.02, 0.01, 0.01], atol=1e-12)


def test_a_sample_without_resolution_or_rectangle_is_lost():
    table = samples([0, 1, 2, 3], [1, 2, 3, 4], px_per_deg_x=[9, 0, 9, 9], px_per_deg_y=9.0, shown_xmin_px=0.0)
    table.loc[2, "shown_xmin_px"] = NAN
    assert_array_equal(gazekit.sample_weights(table), [2, 0, 0, 1])


@given(st.lists(st.tuples(st.floats(0, 0.1), st.booleans()), min_size=2, max_size=30))
def test_weights_equal_a_slow_loop(drawn):
    time = np.cumsum([step for step, _ in drawn])
    seen = [k for k, (_, valid) in enumerate(drawn) if valid]
    table = samples(time, [float(k) if valid else NAN for k, (_, valid) in enumerate(drawn)])
    if not seen:
        with pytest.raises(EmptyGazeError, match="no gaze"):
            gazekit.sample_weights(table)
        return
    period = np.median([b - a for a, b in itertools.pairwise(time)])
    expected = np.zeros(len(time))
    for k in seen:
        later = [n for n in seen if n > k]
        expected[k] = min(time[later[0]] - time[k], 2 * period) if later else period
    weights = gazekit.sample_weights(table)
    assert_allclose(weights, expected, atol=1e-12)
    fixations = gazekit.samples_as_fixations(table)
    assert_allclose(fixations["offset_s"] - fixations["onset_s"], expected[expected > 0], atol=1e-9)
    assert fixations.index.tolist() == np.flatnonzero(weights).tolist()


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        (samples([0, 2, 1], [1, 1, 1]), InputError, "ascending"),
        (samples([0, NAN], [1, 1]), InputError, "finite"),
        (samples([0, 1], [1, 1]).drop(columns="y_px"), InputError, "samples lack y_px"),
        (samples([0], [1]), EmptyGazeError, "1 of 1 samples"),
        (samples([0, 1], [NAN, NAN]), EmptyGazeError, "0 of 2 samples"),
    ],
)
def test_samples_that_cannot_be_weighed_are_refused(table, error, words):
    with pytest.raises(error, match=words):
        gazekit.sample_weights(table)


@given(st.data())
def test_samples_along_resting_fixations_make_the_map_of_the_fixations(data):
    # an eye that rests where the fixation is, sampled without loss: one sample after the other is the fixation
    shape = data.draw(image_shapes(largest=60))
    fixations = data.draw(fixation_tables(shape, max_size=4))
    n = data.draw(st.integers(3, 9))
    parts = []
    for row in fixations.to_dict("records"):
        step = (row["offset_s"] - row["onset_s"]) / n
        parts.append(pd.DataFrame([row] * n).assign(onset_s=row["onset_s"] + step * np.arange(n)))
        parts[-1]["offset_s"] = parts[-1]["onset_s"] + step
    cut = pd.concat(parts, ignore_index=True)
    assert_allclose(
        gazekit.heatmap(cut, image_shape=shape), gazekit.heatmap(fixations, image_shape=shape), rtol=1e-5, atol=1e-9
    )
    one = fixations.iloc[[0]]
    rate = n / float((one["offset_s"] - one["onset_s"]).iloc[0])
    steady = pd.concat([one] * n, ignore_index=True).assign(time_s=np.arange(n) / rate)
    table = gazekit.samples_as_fixations(steady)
    assert set(table.columns) == set(FIXATION_COLUMNS)
    assert_allclose(
        gazekit.patch_relevance(table, image_shape=shape), gazekit.patch_relevance(one, image_shape=shape), atol=1e-12
    )
    assert_allclose((table["offset_s"] - table["onset_s"]).sum(), n / rate)


def test_a_simulated_reading_looks_the_same_from_its_samples(tmp_path):
    # 1000 Hz with blinks, zoom and pan, in whole pixels; fixations by the simulated tracker
    parameters = ReaderParameters(duration_s=6.0, zooms=1.5, blink_rate_hz=0.6)
    plan = assign(2, 1)
    write_reflacx(
        tmp_path, phantom_makers(len(plan), (190, 170)), plan, np.random.default_rng(3), parameters=parameters
    )
    for reading in gazekit.read_reflacx(tmp_path / "reflacx"):
        table = gazekit.samples_as_fixations(reading.samples())
        masses = [gazekit.patch_relevance(t, image_shape=reading.image_shape) for t in (table, reading.fixations)]
        assert metrics.cc(*masses) > 0.99
        # what is between fixations, saccades, is gaze too
        dwell = [float((t["offset_s"] - t["onset_s"]).sum()) for t in (reading.fixations, table)]
        assert dwell[0] < dwell[1] < 1.3 * dwell[0]


# --- equal Gaussians as one


@given(st.data())
def test_merging_changes_no_map_and_no_mass(data):
    shape = data.draw(image_shapes(largest=40))
    rows = data.draw(gaussian_rows(shape))
    again = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    repeated = np.concatenate([rows, rows[again]])
    onset = np.arange(len(repeated), dtype=float)
    merged, times = merge_equal(repeated, np.stack([onset, onset + 1], axis=1))
    assert len(np.unique(np.delete(merged, 4, axis=1), axis=0)) == len(merged) <= len(rows)
    assert_allclose(merged[:, 4].sum(), repeated[:, 4].sum())
    before, after = Prior(repeated, shape), Prior(merged, shape)
    assert_allclose(after.patch_relevance(), before.patch_relevance(), atol=1e-13)
    assert_allclose(after.heatmap(), before.heatmap(), rtol=1e-5, atol=1e-9)
    assert (np.diff(times[:, 0]) >= 0).all()
    for row, (first, last) in zip(merged, times, strict=True):
        here = np.flatnonzero((np.delete(repeated, 4, axis=1) == np.delete(row, 4)).all(axis=1))
        assert (first, last) == (here[0], here[-1] + 1)


def test_a_map_of_more_gaussians_than_a_block_is_the_sum_of_its_parts():
    rng = np.random.default_rng(5)
    n = 2 * GAUSSIANS_A_BLOCK + 7
    table = pd.DataFrame(
        {"onset_s": 0.0, "offset_s": rng.uniform(0, 1, n), "x_px": rng.uniform(-20, 60, n)}
        | {"y_px": rng.uniform(0, 30, n), "px_per_deg_x": 4.0, "px_per_deg_y": 3.0}
    )
    table.loc[: GAUSSIANS_A_BLOCK - 1, "x_px"] = 5000.0  # a whole block without gaze on the image
    shape, crop = (31, 43), (3.5, 2.5, 20.5, 30.5)
    rows = gaussians(table, image_shape=shape)
    for normalize in ("sum", "max", None):
        for box in (None, crop):
            whole = Prior(rows, shape).heatmap(crop=box, normalize=normalize)
            parts = [Prior(rows[k : k + 500], shape) for k in range(GAUSSIANS_A_BLOCK, n, 500)]
            expected = np.sum([part.heatmap(crop=box, normalize=None) for part in parts], axis=0, dtype=np.float64)
            if normalize == "sum":
                expected /= np.sum([part.heatmap(normalize=None).sum(dtype=np.float64) for part in parts])
            elif normalize == "max":
                expected /= expected.max()
            assert_allclose(whole, expected, rtol=2e-5, atol=1e-6 * expected.max())
