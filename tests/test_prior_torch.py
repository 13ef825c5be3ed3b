"""The prior on the device: equal to gazekit's numbers, and moved by crop and flip exactly as the image is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import gaussian_rows, image_shapes

from gazekit.geometry import PatchGrid, fit_frame, whole_image
from gazekit.prior import Prior, density
from gazekit.prior import patch_mass as numpy_patch_mass
from gazekit.relevance import otsu_threshold as numpy_otsu
from gazekit.relevance import partition as numpy_partition
from vpmim.augment import crop_images
from vpmim.pooling import pool_mean, pool_sum
from vpmim.prior import (
    crop_prior,
    grid_centres,
    grid_edges,
    original_boxes,
    otsu_threshold,
    patch_mass,
    point_density,
    pool_mass,
    prior_maps,
    whole_boxes,
)
from vpmim.prior_source import prior_source

A = (60.0, 45.0, 12.0, 10.0, 0.307, 0, 0, 160, 120)
B = (-5.0, 70.0, 6.0, 6.0, 0.5, 0, 30, 80, 90)
SHAPE = (120, 160)  # the golden of heatmap-maths


def tensor(rows):
    return torch.as_tensor(np.asarray(rows), dtype=torch.float64)


def frame_tensor(shape, size=64):
    return torch.from_numpy(fit_frame(shape, size).to_array())[None]


def flips(*values):
    return torch.tensor(values, dtype=torch.bool)


@st.composite
def crops(draw, shape):
    x0, y0, x1, y1 = whole_image(shape)
    width, height = draw(st.floats(0.1, 1)) * (x1 - x0), draw(st.floats(0.1, 1)) * (y1 - y0)
    left, top = x0 + draw(st.floats(0, 1)) * (x1 - x0 - width), y0 + draw(st.floats(0, 1)) * (y1 - y0 - height)
    return left, top, left + width, top + height


@settings(deadline=None)
@given(st.data())
def test_torch_and_numpy_patch_masses_agree(data):
    shape = data.draw(image_shapes())
    rows = data.draw(gaussian_rows(shape))
    crop = data.draw(crops(shape))
    grid = PatchGrid(data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    got = patch_mass(tensor([rows]), *grid_edges(tensor([crop]), grid.rows, grid.cols))[0].numpy()
    np.testing.assert_allclose(got, numpy_patch_mass(rows, *grid.edges(crop)), rtol=1e-9, atol=1e-15)


@settings(deadline=None)
@given(
    centre=st.floats(-50, 200), sigma=st.floats(0.5, 80), left=st.floats(-0.5, 100), width=st.floats(0.001, 60),
    clip0=st.integers(0, 100), clip_width=st.integers(-3, 100),
)  # fmt: skip
def test_mass_of_one_gaussian_equals_scipys_distribution_far_into_the_tails(
    centre, sigma, left, width, clip0, clip_width
):
    from scipy.stats import norm

    row = (centre, 0.0, sigma, 1e-3, 1.0, clip0, 0, clip0 + clip_width, 1)
    edges = torch.tensor([[left, left + width]], dtype=torch.float64)
    got = float(patch_mass(tensor([[row]]), edges, tensor([[-0.5, 0.5]])))
    a, b = max(left, clip0 - 0.5), min(left + width, clip0 + clip_width - 0.5)
    # on the right of the centre, by the survival function: no difference of numbers close to 1
    tail = norm.sf if a > centre else norm.cdf
    expected = abs(tail(b, centre, sigma) - tail(a, centre, sigma)) if b > a else 0.0
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_masses_at_float32_scale_for_zoomed_fixations_of_a_large_image():
    rng = np.random.default_rng(0)
    rows = np.stack([
        rng.uniform(0, 3056, 50), rng.uniform(0, 2544, 50), rng.uniform(3, 90, 50), rng.uniform(3, 90, 50),
        rng.uniform(0.1, 1, 50), np.zeros(50), np.zeros(50), np.full(50, 3056.0), np.full(50, 2544.0),
    ], axis=1)  # fmt: skip
    crop = (700.3, 200.9, 2000.1, 1500.7)
    got = crop_prior(
        tensor([rows]), tensor([crop]), flips(False), torch.zeros(1), rows=14, cols=14
    ).mass_BHW[0].numpy()  # fmt: skip
    expected = numpy_patch_mass(rows, *PatchGrid(56, 56).edges(crop))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-30)


def test_density_reproduces_the_golden_map():
    box = tensor([whole_image(SHAPE)])
    got = point_density(tensor([[A, B]]), *grid_centres(box, *SHAPE))[0]
    got = got / got.sum()
    assert got.max() == pytest.approx(0.0037180937, abs=1e-9)
    assert divmod(int(got.argmax()), 160) == (70, 0)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_density_equals_gazekits_map_on_any_lattice(data):
    shape = data.draw(image_shapes())
    rows = data.draw(gaussian_rows(shape))
    out = data.draw(st.integers(40, 60)), data.draw(st.integers(40, 60))
    got = point_density(tensor([rows]), *grid_centres(tensor([whole_image(shape)]), *out))[0].numpy()
    per_cell = shape[0] * shape[1] / (out[0] * out[1])
    expected = density(rows, shape, out_shape=out, normalize=None)
    # a cell centre that falls on a clip edge is on one side or the other by a rounding error
    close = np.isclose(got * per_cell, expected, rtol=2e-5, atol=1e-5 * max(float(expected.max()), 1e-12))
    edges = np.unique(rows[:, 5:9]) - 0.5
    x, y = (axis[0].numpy() for axis in grid_centres(tensor([whole_image(shape)]), *out))
    on_edge = (np.abs(y[:, None] - edges).min(1) < 1e-6)[:, None] | (np.abs(x[:, None] - edges).min(1) < 1e-6)
    assert (close | on_edge).all()


def test_padding_rows_change_nothing_whatever_they_hold():
    box = tensor([whole_image(SHAPE)])
    junk = (1e9, -1e9, 0.0, 0.0, 0.0, 5, 5, 0, 0)
    edges = grid_edges(box, 7, 7)
    assert torch.equal(patch_mass(tensor([[A, B, junk]]), *edges), patch_mass(tensor([[A, B]]), *edges))
    points = grid_centres(box, 7, 7)
    assert torch.equal(point_density(tensor([[A, B, junk]]), *points), point_density(tensor([[A, B]]), *points))


def test_an_empty_clip_holds_no_mass():
    hidden = (*A[:5], 90, 0, 90, 120)
    edges = grid_edges(tensor([whole_image(SHAPE)]), 5, 5)
    assert patch_mass(tensor([[hidden]]), *edges).abs().max() == 0


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_crops_that_tile_the_image_share_out_its_mass(data):
    shape = data.draw(image_shapes())
    rows = tensor([data.draw(gaussian_rows(shape))])
    x0, y0, x1, y1 = whole_image(shape)
    x, y = data.draw(st.floats(x0 + 1, x1 - 1)), data.draw(st.floats(y0 + 1, y1 - 1))
    tiles = tensor([(x0, y0, x, y), (x, y0, x1, y), (x0, y, x, y1), (x, y, x1, y1)])
    maps = prior_maps(rows.expand(4, -1, -1), tiles, flips(*[False] * 4), rows=3, cols=3)
    whole = prior_maps(rows, tensor([(x0, y0, x1, y1)]), flips(False), rows=3, cols=3)
    assert float(maps.sum()) == pytest.approx(float(whole.sum()), rel=1e-9)


def test_flip_mirrors_the_prior_exactly():
    boxes = tensor([(3.0, 2.0, 120.0, 90.0)] * 2)
    maps = prior_maps(tensor([[A, B]] * 2), boxes, flips(False, True), rows=5, cols=6)
    assert torch.equal(maps[1], maps[0].flip(1))


@pytest.mark.parametrize("flip", [False, True])
def test_crop_and_flip_move_prior_and_image_together(flip):
    """A checkerboard whose white squares are looked at: the crop's prior is the crop's picture."""
    shape, square = (240, 200), 20
    board = np.indices((shape[0] // square, shape[1] // square)).sum(0) % 2
    frame = fit_frame(shape, 120)
    stored = np.zeros((120, 120), np.uint8)
    x0, y0, x1, y1 = (round(edge + 0.5) for edge in frame.valid_box)
    stored[y0:y1, x0:x1] = np.kron(board, np.ones((10, 10))) * 255
    rows = [
        (square * (c + 0.5) - 0.5, square * (r + 0.5) - 0.5, 1e4, 1e4, 1.0,
         square * c, square * r, square * (c + 1), square * (r + 1))
        for r, c in np.argwhere(board)
    ]  # fmt: skip  # flat squares: Gaussians far wider than the rectangle they are clipped to
    boxes = tensor([(x0 + 6.5, y0 + 12.5, x0 + 86.5, y0 + 112.5)])
    picture = crop_images(torch.from_numpy(stored)[None], boxes, flips(flip), (100, 80))[0]
    original = original_boxes(boxes, torch.from_numpy(frame.to_array())[None])
    mass = prior_maps(tensor([rows]), original, flips(flip), rows=25, cols=20)[0]
    torch.testing.assert_close((mass / mass.max()).float(), picture, atol=1e-4, rtol=0)


def test_original_boxes_invert_the_frame():
    frame = fit_frame((300, 200), 64)
    stored = (20.0, 3.5, 40.25, 60.0)
    got = original_boxes(tensor([stored]), torch.from_numpy(frame.to_array())[None])[0].tolist()
    assert got == pytest.approx(frame.original_box(stored))
    assert whole_boxes(torch.from_numpy(frame.to_array())[None])[0].tolist() == list(whole_image((300, 200)))


@given(rows=st.integers(1, 9), cols=st.integers(1, 9))
def test_coarser_masses_are_exact_sums_of_the_finest(rows, cols):
    fine = torch.randint(0, 1000, (2, 4 * rows, 4 * cols), generator=torch.Generator().manual_seed(rows)).double()
    assert torch.equal(pool_mass(fine, 4), fine)
    previous = fine
    for scale in (2, 1, 0.5):
        pooled = pool_mass(fine, scale)
        assert pooled.shape[1:] == (-(-int(4 * rows * scale) // 4), -(-int(4 * cols * scale) // 4))
        assert torch.equal(pooled, pool_sum(previous, 2))
        assert torch.equal(pooled.sum(dim=(1, 2)), fine.sum(dim=(1, 2)))
        previous = pooled


def test_edge_cells_average_the_cells_they_have():
    grid = torch.arange(9.0).reshape(1, 3, 3)
    assert torch.equal(pool_sum(grid, 2), torch.tensor([[[8.0, 7.0], [13.0, 8.0]]]))
    assert torch.equal(pool_mean(grid, 2), torch.tensor([[[2.0, 3.5], [6.5, 8.0]]]))


@settings(deadline=None)
@given(st.data())
def test_otsu_equals_numpys(data):
    shape = data.draw(image_shapes())
    values = density(data.draw(gaussian_rows(shape)), shape, out_shape=(37, 29), normalize=None).astype(np.float64)
    got = otsu_threshold(torch.from_numpy(values.reshape(1, -1)))
    assert float(got) == pytest.approx(numpy_otsu(values), rel=1e-12)


def test_otsu_equals_scikit_image_on_the_same_histogram():
    from skimage.filters import threshold_otsu

    values = np.random.default_rng(0).gamma(0.6, size=(3, 5000))
    for row, got in zip(values, otsu_threshold(torch.from_numpy(values)).tolist(), strict=True):
        counts, edges = np.histogram(row, bins=256, range=(0, row.max()))
        assert got == pytest.approx(threshold_otsu(hist=(counts, (edges[1:] + edges[:-1]) / 2)), rel=1e-6)


def test_otsu_of_zeros_is_zero_and_of_a_constant_is_below_it():
    got = otsu_threshold(torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]))
    assert got[0] == 0
    assert 0 < got[1] < 2


def load(rows, shape=SHAPE, **options):
    source = prior_source([np.asarray(rows)], frame_tensor(shape), **options)
    return source.gather(torch.tensor([0]), frame_tensor(shape))


def test_whole_image_partition_equals_gazekits_where_two_patches_have_one_mass():
    # a fixation halfway between the first row of patches and the third
    same_partition((8, 8), np.array([[1.0, 1.5, 2.0, 1.5, 1.0, 0, 0, 8, 8]]))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whole_image_partition_equals_gazekits(data):
    shape = data.draw(image_shapes())
    same_partition(shape, data.draw(gaussian_rows(shape)))


def same_partition(shape, rows):
    gaussians, tau, _ = load(rows, shape)
    box = tensor([whole_image(shape)])
    for method in ("mass", "topk"):
        got = crop_prior(gaussians, box, flips(False), tau, rows=6, cols=5, method=method).relevant_BL[0]
        relevance = Prior(rows, shape).patch_relevance((6, 5)).ravel()
        chosen, expected = got.numpy(), numpy_partition(relevance.reshape(6, 5), method=method).ravel()
        # of patches whose masses are equal but for rounding, either may be taken
        np.testing.assert_allclose(np.sort(relevance[chosen]), np.sort(relevance[expected]), rtol=1e-9, atol=1e-15)
    # the 4 x 4 points of 56 patches are the very lattice that the threshold is taken on
    got = crop_prior(gaussians, box, flips(False), tau, rows=56, cols=56).relevant_BL[0].reshape(56, 56)
    lattice = point_density(gaussians, *grid_centres(box, 224, 224))[0].numpy()
    expected = numpy_partition(lattice, grid=(56, 56))
    assert np.array_equal(got.numpy(), expected)


def test_a_patch_is_relevant_when_at_least_half_of_its_points_are_above_the_threshold():
    # one flat rectangle over 30 columns of 64: patches of 16 px, points 2, 6, 10, 14 from each patch's left edge
    rows = [(0.0, 0.0, 1e6, 1e6, 1.0, 0, 0, 26, 64)]
    gaussians, tau, _ = load(rows, (64, 64))
    for right, expected in ((26, [1, 1, 0, 0]), (22, [1, 0, 0, 0]), (23, [1, 1, 0, 0])):
        gaussians[0, 0, 7] = right
        got = crop_prior(gaussians, tensor([whole_image((64, 64))]), flips(False), tau, rows=4, cols=4)
        assert got.relevant_BL[0].reshape(4, 4).int().tolist() == [expected] * 4


def test_threshold_is_taken_once_from_the_whole_image_unless_asked_otherwise():
    gaussians, tau, _ = load([A, (140.0, 20.0, 5.0, 5.0, 3.0, 0, 0, 160, 120)])
    faint = tensor([(30.0, 20.0, 90.0, 70.0)])  # all of A, none of the brighter one
    options = {"rows": 7, "cols": 7}
    by_image = crop_prior(gaussians, faint, flips(False), tau, **options).relevant_BL
    by_crop = crop_prior(gaussians, faint, flips(False), tau, otsu="crop", **options).relevant_BL
    lattice = point_density(gaussians, *grid_centres(faint, 28, 28))[0]
    assert torch.equal(by_image[0].reshape(7, 7), pool_mean((lattice > tau).double()[None], 4)[0] >= 0.5)
    assert np.array_equal(by_crop[0].reshape(7, 7).numpy(), numpy_partition(lattice.numpy(), grid=(7, 7)))
    assert by_crop.sum() > by_image.sum()


def test_a_crop_without_gaze_has_no_relevant_patch_and_says_so():
    gaussians, tau, _ = load([A])
    boxes = tensor([(40.0, 30.0, 80.0, 60.0), (148.0, 108.0, 159.5, 119.5)])
    for method in ("otsu", "mass", "topk", "soft"):
        got = crop_prior(
            gaussians.expand(2, -1, -1), boxes, flips(False, False), tau.expand(2), rows=4, cols=4, method=method
        )
        assert got.has_gaze_B.tolist() == [True, False]
        assert not got.relevant_BL[1].any()
        assert got.relevant_BL[0].any() == (method != "soft")


def test_sources_are_scaled_to_a_mass_of_one_inside_the_image():
    for source in ("gaze", "mean", "uniform"):
        gaussians, _, confidence = load([A, B], source=source)
        assert confidence.tolist() == [1]
        total = patch_mass(gaussians, *grid_edges(tensor([whole_image(SHAPE)]), 1, 1))
        assert float(total) == pytest.approx(1, rel=1e-9)


def test_none_is_no_gaze():
    gaussians, tau, confidence = load([A, B], source="none")
    got = crop_prior(gaussians, tensor([whole_image(SHAPE)]), flips(False), tau, rows=3, cols=3)
    assert not confidence.any()
    assert not got.has_gaze_B.any()
    assert got.mass_BHW.sum() == 0


def test_uniform_is_area_and_hides_like_random():
    gaussians, tau, _ = load([A, B], source="uniform")
    crop = tensor([(10.0, 20.0, 90.0, 80.0)])
    got = crop_prior(gaussians, crop, flips(False), tau, rows=4, cols=4)
    expected = torch.full((1, 16, 16), 80 * 60 / (160 * 120) / 256)
    torch.testing.assert_close(got.mass_BHW, expected, rtol=1e-6, atol=0)
    # one group, all or none: the quota is that of random masking
    assert got.relevant_BL.all()


def three_images():
    shapes = [(120, 160), (200, 100), (90, 90)]
    rows = [np.array([A]), np.array([(30.0, 150.0, 9.0, 11.0, 0.4, 0, 0, 100, 200)]), np.zeros((0, 9))]
    return shapes, rows, torch.cat([frame_tensor(shape) for shape in shapes])


def unit_maps(source, frames):
    index = torch.arange(len(frames))
    gaussians, _, confidence = source.gather(index, frames)
    maps = patch_mass(gaussians, *grid_edges(whole_boxes(frames), 12, 12))
    return maps, confidence


def test_shuffled_gaze_is_another_images_in_image_relative_coordinates():
    _, rows, frames = three_images()
    own, _ = unit_maps(prior_source(rows, frames), frames)
    shuffled, confidence = unit_maps(prior_source(rows, frames, source="shuffled"), frames)
    torch.testing.assert_close(shuffled[0], own[1])
    torch.testing.assert_close(shuffled[1], own[0])
    assert confidence.tolist() == [1, 1, 0]


def test_thresholds_travel_with_the_gaze():
    _, rows, frames = three_images()
    source = prior_source(rows, frames, source="shuffled")
    gaussians, tau, _ = source.gather(torch.tensor([0]), frames[:1])
    lattice = point_density(gaussians, *grid_centres(whole_boxes(frames[:1]), 224, 224))
    assert float(tau) == pytest.approx(float(otsu_threshold(lattice.flatten(1))), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_shuffling_never_gives_an_image_its_own_gaze_nor_another_reading_of_it(seed):
    from vpmim.prior_source import exchange

    ids = ["99a", "99b", "99a", "99c", "99a", "99d", "99b"]
    donors = exchange(ids, seed=seed)
    assert all(ids[donor] != own for donor, own in zip(donors, ids, strict=True))
    assert donors == exchange(ids, seed=seed)
    single = [f"99{i}" for i in range(40)]
    assert sorted(exchange(single, seed=seed)) == list(range(40))
    assert exchange(single, seed=seed) != exchange(single, seed=seed + 1)


@pytest.mark.parametrize("source", ["shuffled", "mean"])
def test_a_control_without_the_gaze_it_needs_is_refused(source):
    rows = [np.array([A])] if source == "shuffled" else [np.zeros((0, 9))]
    with pytest.raises(ValueError, match=source):
        load(rows[0], source=source)


def test_mean_map_is_the_average_of_the_images_maps():
    _, rows, frames = three_images()
    own, _ = unit_maps(prior_source(rows, frames), frames)
    mean, confidence = unit_maps(prior_source(rows, frames, source="mean"), frames)
    assert confidence.tolist() == [1, 1, 0]
    expected = own[:2].mean(dim=0)
    torch.testing.assert_close(mean[0], mean[1])
    # blurred by a 24th of the image: the same centre of mass, and close as a whole
    axis = torch.arange(12).double()
    for weights in (lambda m: (m.sum(0) * axis).sum(), lambda m: (m.sum(1) * axis).sum()):
        assert float(weights(mean[0])) == pytest.approx(float(weights(expected)), abs=0.05)
    assert float((mean[0] - expected).abs().sum()) < 0.5
    assert float((mean[0] * expected).sum() / (mean[0].norm() * expected.norm())) > 0.9


def test_images_of_many_batches_and_lengths_keep_their_own_prior():
    rng = np.random.default_rng(0)
    rows = [np.tile(A, (int(n), 1)) for n in rng.integers(0, 5, 150)]
    for i, table in enumerate(rows):
        table[:, 0] = i
    frames = frame_tensor(SHAPE).expand(150, 6)
    source = prior_source(rows, frames)
    index = torch.tensor([149, 3, 77, 64, 0])
    gaussians, tau, confidence = source.gather(index, frames[index])
    for place, i in enumerate(index.tolist()):
        assert bool(confidence[place] > 0) == (len(rows[i]) > 0)
        if len(rows[i]):
            alone, alone_tau, _ = load(rows[i])
            edges = grid_edges(tensor([whole_image(SHAPE)]), 8, 8)
            torch.testing.assert_close(patch_mass(gaussians[place : place + 1], *edges), patch_mass(alone, *edges))
            assert float(tau[place]) == pytest.approx(float(alone_tau), rel=1e-9)


def test_the_prior_of_a_step_compiles_to_one_graph_with_the_same_numbers():
    gaussians, tau, _ = load([A, B])
    box = tensor([(3.0, 2.0, 120.0, 90.0)])

    def step(gaussians, box, flip, tau):
        return crop_prior(gaussians, box, flip, tau, rows=4, cols=5, otsu="crop")

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(
        compiled(gaussians, box, flips(True), tau), step(gaussians, box, flips(True), tau), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
