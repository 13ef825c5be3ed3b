"""The sheet of pictures that a run shows: every column there, and each showing what its array says."""

from __future__ import annotations

import numpy as np
import pytest
from run_case import panel_arrays

from vpmim.panel_pictures import loss_weights, panel_sheet, reconstruction, scales_of, target_glyphs

TILE, STRIDE = 224, 228


def tiles(sheet: np.ndarray) -> np.ndarray:
    """(rows, columns, TILE, TILE, 3)."""
    rows, cols = sheet.shape[0] // STRIDE, sheet.shape[1] // STRIDE
    return sheet.reshape(rows, STRIDE, cols, STRIDE, 3).swapaxes(1, 2)[:, :, :TILE, :TILE]


@pytest.mark.parametrize(("pixels", "columns"), [(False, 4 + 2 * 4), (True, 4 + 2)])
def test_a_sheet_has_an_image_a_row_and_every_scale_in_its_columns(pixels: bool, columns: int) -> None:
    sheet = panel_sheet(panel_arrays(3, pixels=pixels), pixels=pixels)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (3 * STRIDE, columns * STRIDE, 3)
    flat = tiles(sheet).reshape(3 * columns, -1)
    assert len({tile.tobytes() for tile in flat}) == 3 * columns  # no column shows another's array


def test_features_of_a_teacher_are_left_out_of_the_sheet() -> None:
    arrays = {name: value for name, value in panel_arrays(2, pixels=True).items() if "_1x" not in name}
    arrays["weights_1x"] = np.ones((2, 5, 5), np.float32)
    assert panel_sheet(arrays, pixels=False).shape == (2 * STRIDE, 5 * STRIDE, 3)


def test_hidden_patches_are_dark_and_the_others_as_they_are() -> None:
    arrays = panel_arrays(1, side=7, patch=32)
    arrays["image"][:] = 0.8
    crop, _, _, masked = tiles(panel_sheet(arrays, pixels=False))[0, :4]
    assert (crop == 204).all()
    hidden = arrays["mask"][0].repeat(32, axis=0).repeat(32, axis=1)
    assert (masked[hidden] == round(204 * 0.15)).all()
    assert (masked[~hidden] == 204).all()


def test_without_gaze_the_prior_is_the_plain_crop() -> None:
    crop, prior, spread = tiles(panel_sheet(panel_arrays(1, gaze=False), pixels=False))[0, :3]
    assert (prior == crop).all()
    assert (spread == crop).all()


@pytest.mark.parametrize("side", [4, 5])
def test_pictures_of_all_scales_show_the_same_area(side: int) -> None:
    arrays = panel_arrays(1, side=side)
    assert scales_of(arrays) == ["4", "2", "1", "0.5"]
    for scale in scales_of(arrays):
        shapes = {
            picture.pixels.shape[:2]
            for picture in (
                target_glyphs(arrays, 0, scale),
                reconstruction(arrays, 0, scale, pixels=False),
                loss_weights(arrays, 0, scale),
            )
        }
        ((height, width),) = shapes
        assert height == width
        assert abs(height - 336) < 40
