"""Scanpath similarity, agreement of readers, gaze on lesions: hand cases, slow oracles, properties."""

from __future__ import annotations

import heapq

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from skimage.draw import ellipse
from strategies import fixation_tables, image_shapes

import gazekit
from gazekit import metrics
from gazekit.errors import EmptyGazeError, InputError
from gazekit.prior import Prior, gaussians

SHAPE = (60, 80)
L_SHAPE = np.array([[10.0, 10, 0.2], [40, 10, 0.3], [40, 50, 0.4]])


@st.composite
def scanpaths(draw: st.DrawFn, *, least: int = 3, most: int = 7) -> np.ndarray:
    """(F, 3) x, y on an image of `SHAPE` and durations."""
    rows = draw(st.integers(least, most))
    column = lambda low, high: draw(st.lists(st.floats(low, high), min_size=rows, max_size=rows))  # noqa: E731
    return np.stack([column(-0.5, 79.0), column(-0.5, 59.0), column(0.05, 0.6)], axis=1)


def paths_by_search(cost: np.ndarray):
    """Every monotone path from the first cell to the last with its cost, by exhaustive search."""
    n, m = cost.shape

    def walk(i, j):
        if (i, j) == (n - 1, m - 1):
            yield cost[i, j], [(i, j)]
            return
        for a, b in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
            if a < n and b < m:
                for total, path in walk(a, b):
                    yield cost[i, j] + total, [(i, j), *path]

    return list(walk(0, 0))


def multimatch_by_shortest_path(one: np.ndarray, two: np.ndarray, shape: tuple[int, int]) -> list[float]:
    """MultiMatch after its publication: a graph of saccade pairs, Dijkstra, medians; complex numbers as vectors."""
    p, q = one[:, 0] + 1j * one[:, 1], two[:, 0] + 1j * two[:, 1]
    u, v = np.diff(p), np.diff(q)
    goal = (len(u) - 1, len(v) - 1)
    heap, done = [(0.0, (0, 0), None)], {}
    while goal not in done:
        cost, cell, parent = heapq.heappop(heap)
        if cell in done:
            continue
        done[cell] = parent
        i, j = cell
        for a, b in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
            if a < len(u) and b < len(v):
                heapq.heappush(heap, (cost + abs(u[a] - v[b]), (a, b), cell))
    cell, pairs = goal, []
    while cell is not None:
        pairs.append(cell)
        cell = done[cell]
    diagonal = abs(complex(*shape))
    return [
        1 - np.median([abs(u[i] - v[j]) for i, j in pairs]) / (2 * diagonal),
        1 - np.median([abs(np.angle(np.exp(1j * (np.angle(u[i]) - np.angle(v[j]))))) for i, j in pairs]) / np.pi,
        1 - np.median([abs(abs(u[i]) - abs(v[j])) for i, j in pairs]) / diagonal,
        1 - np.median([abs(p[i] - q[j]) for i, j in pairs]) / diagonal,
        1 - np.median([abs(one[i, 2] - two[j, 2]) / max(one[i, 2], two[j, 2]) for i, j in pairs]),
    ]


def test_multimatch_by_hand():
    # shifted by (3, 4), twice as slow: only position and duration differ
    moved = L_SHAPE + (3, 4, 0)
    moved[:, 2] *= 2
    assert metrics.multimatch(L_SHAPE, moved, image_shape=SHAPE).as_tuple() == pytest.approx((1, 1, 1, 0.95, 0.5))
    # turned by a right angle: the saccade vectors differ by sqrt(2) of their length, 30 and 40, median
    turned = L_SHAPE[:, [1, 0, 2]] * (-1, 1, 1)
    found = metrics.multimatch(L_SHAPE, turned, image_shape=SHAPE)
    assert found.direction == pytest.approx(0.5)
    assert found.vector == pytest.approx(1 - np.sqrt(2) * 35 / 200)


@given(scanpaths(), scanpaths())
@settings(max_examples=40)
def test_multimatch_equals_a_shortest_path_search(one, two):
    one, two = (path + np.arange(len(path))[:, None] * (0.013, 0.0071, 0) for path in (one, two))  # no equal paths
    found = metrics.multimatch(one, two, image_shape=SHAPE).as_tuple()
    assert found == pytest.approx(multimatch_by_shortest_path(one, two, SHAPE), abs=1e-9)


@given(scanpaths())
@settings(max_examples=20)
def test_a_scanpath_is_like_itself(path):
    assert metrics.multimatch(path, path, image_shape=SHAPE).as_tuple() == pytest.approx((1,) * 5)
    assert metrics.scanmatch(path, path, image_shape=SHAPE) == pytest.approx(1)
    assert metrics.dtw(path, path) == 0


def test_dtw_by_hand():
    one, two = np.array([[0.0, 0, 1], [3, 4, 1]]), np.array([[0.0, 0, 1], [0, 1, 1], [3, 4, 1]])
    assert metrics.dtw(one, two) == pytest.approx(1)


@given(scanpaths(least=1, most=5), scanpaths(least=1, most=5))
@settings(max_examples=30)
def test_dtw_is_the_cheapest_of_all_paths(one, two):
    cost = np.array([[np.hypot(*(a - b)) for b in two[:, :2]] for a in one[:, :2]])
    expected = min(total for total, _ in paths_by_search(cost))
    assert metrics.dtw(one, two) == pytest.approx(expected, abs=1e-9)
    assert metrics.dtw(one, two) == pytest.approx(metrics.dtw(two, one), abs=1e-9)


def test_scanmatch_by_hand():
    # bins of 10 px: places (0, 0) and (1, 0) twice each at 50 ms; the second path stays in the first place
    one = np.array([[3.0, 3, 0.1], [13, 3, 0.1]])
    two = np.array([[3.0, 3, 0.2]])
    # equal places score 2, neighbours 2 - 1
    assert metrics.scanmatch(one, two, image_shape=SHAPE, bins=(8, 6), threshold=2) == pytest.approx((4 + 2) / (2 * 4))
    assert metrics.scanmatch(one, two, image_shape=SHAPE, bins=(8, 6), threshold=2, bin_s=0) == pytest.approx(2 / 4)


@given(scanpaths(), scanpaths(), st.sampled_from([0.0, -0.5]))
@settings(max_examples=25)
def test_scanmatch_equals_a_recursive_alignment(one, two, gap):
    places = []
    for path in (one, two):
        cells = [(int((x + 0.5) // 10), int((y + 0.5) // 10)) for x, y, _ in path]
        places.append([cell for cell, (_, _, d) in zip(cells, path, strict=True) for _ in range(int(d / 0.2 + 0.5))])
    if not all(places):
        return
    memo = {}

    def best(i, j):
        if i == 0 or j == 0:
            return gap * (i + j)
        if (i, j) not in memo:
            alike = 3.5 - np.hypot(*np.subtract(places[0][i - 1], places[1][j - 1]))
            memo[i, j] = max(best(i - 1, j - 1) + alike, best(i - 1, j) + gap, best(i, j - 1) + gap)
        return memo[i, j]

    expected = best(*map(len, places)) / (3.5 * max(map(len, places)))
    found = metrics.scanmatch(one, two, image_shape=SHAPE, bins=(8, 6), bin_s=0.2, gap=gap)
    assert found == pytest.approx(expected, abs=1e-9)


def test_scanpaths_that_have_no_score_raise():
    with pytest.raises(InputError, match="2 fixations, this measure needs at least 3"):
        metrics.multimatch(L_SHAPE, L_SHAPE[:2], image_shape=SHAPE)
    with pytest.raises(EmptyGazeError, match="second scanpath holds no fixation"):
        metrics.dtw(L_SHAPE, L_SHAPE[:0])
    with pytest.raises(InputError, match="positive durations"):
        metrics.dtw(L_SHAPE, L_SHAPE * (1, 1, 0))
    with pytest.raises(InputError, match="lie off the image"):
        metrics.scanmatch(L_SHAPE, L_SHAPE + (80, 0, 0), image_shape=SHAPE)
    with pytest.raises(EmptyGazeError, match="no fixation lasts half"):
        metrics.scanmatch(L_SHAPE, L_SHAPE, image_shape=SHAPE, bin_s=2.0)


@given(fixation_tables(SHAPE))
@settings(max_examples=10)
def test_a_scanpath_of_a_table_holds_positions_and_durations(table):
    path = metrics.fixation_path(table)
    np.testing.assert_array_equal(path[:, :2], table[["x_px", "y_px"]])
    np.testing.assert_allclose(path[:, 2], table["offset_s"] - table["onset_s"])


def make_prior(points, *, sigma: float = 6.0) -> Prior:
    table = pd.DataFrame(points, columns=["x_px", "y_px"], dtype=float)
    return Prior(gaussians(table, image_shape=SHAPE, sigma_px=sigma, weights="count"), SHAPE)


def test_readers_who_look_alike_agree_and_one_who_does_not_stands_out():
    alike = [make_prior([(20 + i, 30), (22, 31 - i)]) for i in range(3)]
    found = metrics.reader_agreement([*alike, make_prior([(65, 10), (200, 10)])])
    assert (found.cc[:3, :3] > 0.9).all()
    assert (found.cc[3, :3] < 0.1).all()
    assert found.nss[3] < 0 < found.nss[:3].min()
    assert found.auc_judd[3] < 0.5 < found.auc_judd[:3].min()
    assert found.off_map.tolist() == [0, 0, 0, 1]


def test_reader_agreement_is_the_plain_metric_of_each_pair_and_of_each_with_the_mean_of_the_others():
    priors = [make_prior([(10, 10)]), make_prior([(40, 30), (41, 30)]), make_prior([(12, 40)])]
    maps = [prior.heatmap() for prior in priors]
    found = metrics.reader_agreement(priors)
    assert found.cc[0, 1] == pytest.approx(metrics.cc(maps[0], maps[1]))
    assert found.kl[0, 1] == pytest.approx(metrics.kl(maps[0], maps[1]))
    assert found.nss[1] == pytest.approx(metrics.nss((maps[0] + maps[2]) / 2, [(40, 30), (41, 30)]), rel=1e-5)
    np.testing.assert_allclose(found.sim, found.sim.T)
    np.testing.assert_array_equal(np.diag(found.sim), 1)


def test_the_agreement_map_by_hand():
    shared = metrics.agreement_map([[[2, 1, 1]], [[1, 3, 0]]])
    assert_allclose(shared, [[0.25, 0.25, 0]])
    assert_allclose(metrics.agreement_map([[[2, 1, 1]], [[1, 3, 0]], [[0, 0, 5]]]), [[0, 0, 0]])


@given(st.data())
def test_the_agreement_map_sums_to_sim_and_falls_with_each_reader(data):
    shape = data.draw(image_shapes(largest=40))
    tables = [data.draw(fixation_tables(shape, max_size=4)) for _ in range(3)]
    maps = [gazekit.heatmap(table, image_shape=shape) for table in tables]
    assert_allclose(metrics.agreement_map(maps[:2]).sum(), metrics.sim(*maps[:2]), rtol=1e-6)
    assert_allclose(metrics.agreement_map([maps[0]] * 3), maps[0] / maps[0].sum(dtype=np.float64), rtol=1e-6)
    of_two, of_three = metrics.agreement_map(maps[:2]), metrics.agreement_map(maps[::-1])
    assert (of_three <= of_two).all()
    patches = [gazekit.patch_relevance(table, image_shape=shape, grid=(4, 3)) for table in tables]
    slow = [[min(p[r, c] for p in patches) for c in range(3)] for r in range(4)]
    assert_allclose(metrics.agreement_map(patches), slow, atol=1e-12)


@pytest.mark.parametrize(
    "maps", [[[[1.0]]], [[[1.0]], [[1.0, 2.0]]], [[[1.0]], [[0.0]]], [[[2.0, -1.0]]] * 2, [[1.0]] * 2]
)
def test_an_agreement_map_needs_densities_of_one_shape(maps):
    with pytest.raises(InputError):
        metrics.agreement_map(maps)


def test_agreement_needs_two_readings_of_one_image():
    with pytest.raises(InputError, match="at least two readings"):
        metrics.reader_agreement([make_prior([(1, 1)])])


FIXATIONS = pd.DataFrame(
    {
        "onset_s": [0.5, 1.0, 2.0, 4.0],
        "offset_s": [1.0, 2.0, 4.0, 4.5],
        "x_px": [5.0, 30.0, 20.0, 39.9],
        "y_px": [5.0, 20.0, 20.0, 10.1],
    }
)


def test_dwell_share_and_time_to_first_fixation_by_hand():
    # the ellipse of centre (30, 20) and radii 10, 10 holds the second fixation; its box the last one too
    (on_ellipse, never), union = metrics.lesion_gaze(FIXATIONS, [(20, 10, 40, 30), (60, 0, 70, 9)], outline="ellipse")
    assert (on_ellipse.dwell_share, on_ellipse.dwell_s, on_ellipse.first_fixation_s) == (0.25, 1.0, 1.0)
    assert (never.dwell_share, never.fixations, never.first_fixation_s) == (0.0, 0, None)
    assert union == on_ellipse
    (on_box,), _ = metrics.lesion_gaze(FIXATIONS, [(20, 10, 40, 30)], outline="box")
    assert (on_box.dwell_share, on_box.fixations) == (3.5 / 4, 3)


def test_what_two_regions_share_counts_once_in_their_union():
    box = (20, 10, 40, 30)
    each, union = metrics.lesion_gaze(FIXATIONS, [box, box], outline="box")
    assert union == each[0] == each[1]


@given(st.integers(5, 30), st.integers(5, 20), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=30)
def test_an_ellipse_is_drawn_as_scikit_image_draws_it(x, y, a, b):
    expected = np.zeros(SHAPE, dtype=bool)
    expected[ellipse(y, x, b, a, shape=SHAPE)] = True
    found = metrics.lesion_mask([(x - a, y - b, x + a, y + b)], image_shape=SHAPE, outline="ellipse")
    np.testing.assert_array_equal(found, expected)


def test_a_mask_on_a_coarser_map_samples_the_same_region():
    box = [(9.5, 19.5, 29.5, 39.5)]
    full = metrics.lesion_mask(box, image_shape=SHAPE, outline="box")
    half = metrics.lesion_mask(box, image_shape=SHAPE, outline="box", out_shape=(30, 40))
    np.testing.assert_array_equal(half, full.reshape(30, 2, 40, 2).all(axis=(1, 3)))


def test_ncc_is_the_correlation_with_the_mask():
    heatmap = make_prior([(30, 20)]).heatmap()
    box = [(20, 10, 40, 30)]
    mask = metrics.lesion_mask(box, image_shape=SHAPE, outline="ellipse")
    found = metrics.lesion_ncc(heatmap, box, image_shape=SHAPE)
    assert found == pytest.approx(np.corrcoef(heatmap.ravel(), mask.ravel())[0, 1], abs=1e-6)
    assert found > 0.7
    assert metrics.lesion_ncc(mask, box, image_shape=SHAPE) == pytest.approx(1)


def test_gaze_on_no_region_or_no_gaze_raises():
    with pytest.raises(EmptyGazeError, match="no fixation"):
        metrics.lesion_gaze(FIXATIONS.iloc[:0], [(0, 0, 1, 1)], outline="box")
    with pytest.raises(EmptyGazeError, match="no total duration"):
        metrics.lesion_gaze(FIXATIONS.assign(offset_s=FIXATIONS["onset_s"]), [(0, 0, 1, 1)], outline="box")
    for regions, words in (([], "at least one"), ([(3, 3, 2, 9)], "xmin < xmax")):
        with pytest.raises(InputError, match=words):
            metrics.lesion_gaze(FIXATIONS, regions, outline="box")
    with pytest.raises(InputError, match="constant"):
        metrics.lesion_ncc(np.ones(SHAPE), [(0, 0, 9, 9)], image_shape=SHAPE)
