"""HOG against a naive loop, exact nesting, robustness to signs and noise; pixel targets against MAE's formula."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmim.targets import feature_target, hog_pyramid, orientation_bin, patchify, pixel_target, resize, sobel

SCALES = (4, 2, 1, 0.5)
KERNEL = [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]


def picture(height, width, seed=0, batch=1):
    return torch.rand(batch, height, width, generator=torch.Generator().manual_seed(seed))


def slow_hog(grey, cell, bins, gate):
    """Histograms pixel by pixel, cells that run over the border cut there: (rows, cols, bins) float64."""
    height, width = grey.shape
    padded = np.pad(grey.astype(np.float64), 1, mode="reflect")
    magnitude = np.zeros((height, width))
    rows, cols = math.ceil(height / cell), math.ceil(width / cell)
    histogram, pixels = np.zeros((rows, cols, bins)), np.zeros((rows, cols))
    for r, c in itertools.product(range(height), range(width)):
        gx = gy = 0.0
        for i, j in itertools.product(range(3), range(3)):
            gx += KERNEL[j][i] * padded[r + i, c + j]
            gy += KERNEL[i][j] * padded[r + i, c + j]
        magnitude[r, c] = math.hypot(gx, gy)
        angle = math.atan2(gx, gy) % math.pi
        histogram[r // cell, c // cell, min(int(angle / math.pi * bins), bins - 1)] += magnitude[r, c]
        pixels[r // cell, c // cell] += 1
    histogram /= pixels[..., None]
    floor = gate * magnitude.mean()
    return histogram / np.sqrt((histogram**2).sum(-1, keepdims=True) + floor**2 + 1e-24)


@pytest.mark.parametrize(("height", "width", "patch", "bins", "gate"), [
    (32, 48, 16, 9, 0.05), (24, 24, 8, 9, 0.0), (40, 24, 8, 6, 0.3), (64, 32, 32, 12, 0.1),
])  # fmt: skip
def test_hog_equals_a_naive_loop_at_every_scale_on_odd_grids_too(height, width, patch, bins, gate):
    grey = picture(height, width, seed=height)
    for scale, got in zip(SCALES, hog_pyramid(grey, patch=patch, scales=SCALES, bins=bins, gate=gate), strict=True):
        expected = slow_hog(grey[0].numpy(), round(patch / scale), bins, gate)
        np.testing.assert_allclose(got[0].numpy(), expected.reshape(-1, bins), atol=1e-5)


def test_token_counts_are_those_of_the_method():
    pyramid = hog_pyramid(picture(224, 224), patch=16, scales=SCALES)
    assert [tuple(level.shape) for level in pyramid] == [(1, 3136, 9), (1, 784, 9), (1, 196, 9), (1, 49, 9)]


def test_hand_case_a_vertical_edge_fills_one_bin():
    # gradients point across, a quarter turn from the vertical where bin 0 begins: bin floor(9 * 0.5) = 4
    grey = torch.zeros(1, 16, 16)
    grey[:, :, 8:] = 1
    (level,) = hog_pyramid(grey, patch=16, scales=(1,), gate=0.0)
    torch.testing.assert_close(level[0, 0], F.one_hot(torch.tensor(4), 9).float())
    (level,) = hog_pyramid(grey.mT, patch=16, scales=(1,), gate=0.0)
    torch.testing.assert_close(level[0, 0], F.one_hot(torch.tensor(0), 9).float())


def test_reference_is_reached_without_the_gate():
    """The published layer: convolution, atan2 of (x, y), floor modulo the bins, sum over the cell, normalised."""
    grey = picture(32, 32, seed=4)
    weight = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    padded = F.pad(grey[:, None], (1, 1, 1, 1), mode="reflect")
    gx, gy = F.conv2d(padded, weight[None, None]), F.conv2d(padded, weight.T[None, None])
    phase = torch.atan2(gx, gy) / math.pi * 9
    norm = torch.stack([gx, gy], dim=-1).norm(dim=-1)
    out = torch.zeros(1, 9, 32, 32).scatter_add_(1, phase.floor().long() % 9, norm)
    expected = F.normalize(F.avg_pool2d(out, 8) * 64, p=2, dim=1).flatten(2).mT
    (got,) = hog_pyramid(grey, patch=8, scales=(1,), gate=0.0)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


@given(patch=st.sampled_from([8, 16]), rows=st.integers(1, 5), cols=st.integers(1, 5))
@settings(deadline=None, max_examples=20)
def test_nested_pooling_is_exact(patch, rows, cols):
    """Each scale asked for alone is bitwise what it is in the pyramid, and does not depend on the others."""
    grey = picture(patch * rows, patch * cols, seed=rows)
    together = hog_pyramid(grey, patch=patch, scales=SCALES)
    for scale, level in zip(SCALES, together, strict=True):
        assert torch.equal(level, hog_pyramid(grey, patch=patch, scales=(scale,))[0])
    assert torch.equal(together[2], hog_pyramid(grey, patch=patch, scales=(0.5, 1))[1])


def test_bins_do_not_depend_on_the_sign_of_a_gradient_or_of_zero():
    values = torch.tensor([-2.0, -1.0, -0.3, -0.0, 0.0, 0.3, 1.0, 2.0])
    x, y = (axis.flatten()[None, None] for axis in torch.meshgrid(values, values, indexing="ij"))
    here, opposite = orientation_bin(x, y, 9), orientation_bin(-x, -y, 9)
    some = (x != 0) | (y != 0)
    assert torch.equal(here[some], opposite[some])
    assert torch.equal(here, orientation_bin(x + 0.0, y + 0.0, 9))
    assert here.min() == 0
    assert here.max() == 8


@settings(deadline=None)
@given(angle=st.floats(0, math.pi, exclude_max=True), length=st.floats(1e-3, 10), bins=st.integers(2, 18))
def test_bins_are_equal_sectors(angle, length, bins):
    # further from a sector's boundary than rounding to float32 can carry
    position = angle / math.pi * bins
    if abs(position - round(position)) < 1e-5:
        return
    x, y = torch.tensor([[[length * math.sin(angle)]]]), torch.tensor([[[length * math.cos(angle)]]])
    assert orientation_bin(x, y, bins).item() == int(position)


def test_sobel_reflects_at_the_border():
    x, y = sobel(picture(5, 6))
    assert torch.equal(x[0, :, 0], torch.zeros(5))
    assert torch.equal(y[0, -1], torch.zeros(6))


def test_flat_air_is_no_target_while_anatomy_keeps_its_length():
    grey = picture(64, 64, seed=1)
    grey[:, :, :32] = 0.001 * grey[:, :, :32]  # the noise of a detector in air
    for level in hog_pyramid(grey, patch=16, scales=(4, 1)):
        side = round(math.sqrt(level.shape[1]))
        length = level.norm(dim=2).reshape(side, side)
        assert length[:, : side // 2 - 1].max() < 0.1
        assert length[:, side // 2 + 1 :].min() > 0.9
    (reference,) = hog_pyramid(grey, patch=16, scales=(4,), gate=0.0)
    torch.testing.assert_close(reference.norm(dim=2), torch.ones(1, 256))


def test_contrast_and_brightness_of_the_image_do_not_matter():
    grey = picture(32, 32, seed=2)
    for ours, theirs in zip(
        hog_pyramid(grey, patch=16, scales=SCALES), hog_pyramid(0.3 * grey + 0.2, patch=16, scales=SCALES), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_a_blank_image_gives_zeros_not_nan():
    for level in hog_pyramid(torch.full((1, 32, 32), 0.5), patch=16, scales=SCALES, gate=0.0):
        assert torch.equal(level, torch.zeros_like(level))


def test_patch_14_is_resampled_to_16_pixels_a_patch():
    grey = picture(42, 28, seed=3)
    bigger = F.interpolate(grey[:, None], size=(48, 32), mode="bilinear", antialias=True)[:, 0]
    torch.testing.assert_close(resize(grey, 48, 32), bigger, atol=1e-5, rtol=0)
    expected = hog_pyramid(bigger, patch=16, scales=SCALES)
    for ours, theirs in zip(hog_pyramid(grey, patch=14, scales=SCALES), expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().mean() < 1e-4


def test_targets_are_float32_whatever_the_precision_of_the_step():
    grey = picture(28, 28)
    plain = hog_pyramid(grey, patch=14, scales=(1,))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(hog_pyramid(grey, patch=14, scales=(1,))[0], plain)
        assert pixel_target(grey, patch=14).dtype == torch.float32


def test_a_mirrored_image_has_mirrored_histograms():
    grey = picture(48, 32, seed=5)
    here = hog_pyramid(grey, patch=16, scales=(2,), gate=0.0)[0].reshape(6, 4, 9)
    there = hog_pyramid(grey.flip(2), patch=16, scales=(2,), gate=0.0)[0].reshape(6, 4, 9)
    # angles from the vertical turn into their negatives: bin k into bin 8 - k. Not in the outer columns, where the
    # reflection makes gradients exactly vertical, which are in bin 0 either way
    torch.testing.assert_close(there[:, 1:3], here.flip(1).flip(2)[:, 1:3], atol=1e-5, rtol=1e-4)


def test_patches_come_in_timms_order():
    from timm.layers import PatchEmbed

    grey = torch.arange(24.0 * 16).reshape(1, 24, 16)
    embed = PatchEmbed(img_size=(24, 16), patch_size=8, in_chans=1, embed_dim=64, bias=False)
    with torch.no_grad():
        embed.proj.weight.copy_(torch.eye(64).reshape(64, 1, 8, 8))
        assert torch.equal(patchify(grey, 8), embed(grey[:, None]))


def test_pixels_are_normalised_patch_by_patch():
    grey = picture(24, 16, seed=6)
    got = pixel_target(grey, patch=8)
    for number, (r, c) in enumerate(itertools.product(range(3), range(2))):
        patch = grey[0, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].numpy().ravel().astype(np.float64)
        expected = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
        np.testing.assert_allclose(got[0, number].numpy(), expected, atol=1e-4)
    assert torch.equal(pixel_target(torch.full((1, 8, 8), 0.25), patch=8), torch.zeros(1, 1, 64))


@pytest.mark.parametrize("gate", [0.0, 0.3])
def test_the_magnitude_channel_is_the_log_of_the_contrast_beside_the_images(gate):
    grey = picture(32, 48, seed=5)
    plain = hog_pyramid(grey, patch=16, scales=SCALES, gate=gate)
    for scale, without, got in zip(
        SCALES, plain, hog_pyramid(grey, patch=16, scales=SCALES, gate=gate, magnitude=True), strict=True
    ):
        assert torch.equal(got[..., :9], without)
        # cells without a norm: a gate so wide that h / sqrt(|h|^2 + (gate g)^2) is h / (gate g)
        h = slow_hog(grey[0].numpy(), round(16 / scale), 9, 1e6) * 1e6  # in units of g
        np.testing.assert_allclose(got[0, :, 9], np.log1p(np.linalg.norm(h, axis=2)).ravel(), rtol=1e-4)


def test_the_magnitude_tells_faint_edges_from_strong_ones_where_the_orientations_do_not():
    grey = torch.zeros(1, 16, 32)
    grey[:, :, 8:16], grey[:, :, 24:] = 1.0, 0.1
    level = hog_pyramid(grey[:, :, :32], patch=16, scales=(1,), gate=0.0, magnitude=True)[0][0]
    torch.testing.assert_close(level[1, :9].norm(), torch.tensor(1.0))
    assert level[0, 9] > 1.5 * level[1, 9] > 0
    assert torch.equal(
        hog_pyramid(torch.zeros(1, 16, 16), patch=16, scales=(1,), magnitude=True)[0], torch.zeros(1, 1, 10)
    )


def test_feature_targets_are_tokens_without_their_mean_and_length():
    tokens = 7 + 3 * torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    got = feature_target(tokens.bfloat16())
    assert got.dtype == torch.float32
    for image, patch in itertools.product(range(2), range(5)):
        t = tokens[image, patch].bfloat16().double()
        expected = (t - t.mean()) / (t.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(got[image, patch].double(), expected, atol=1e-5, rtol=1e-5)
