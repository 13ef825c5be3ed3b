"""One marker from the DICOM to the hot patch: at every stage and size it is where the gaze on it is.

A marker is drawn in a DICOM. A reader looks at it on a screen on which the image is zoomed and panned over time, as
REFLACX records it. The marker's place is then measured, in pixels, at each stage: the opened image, the stored square,
the cache, a crop, a mirrored crop; and so is the place of the gaze, in the table, the samples, the dense map, the
stored heatmap, the patches, and the torch twin's cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_factory import make_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reflacx_tree import (
    DICOM_A,
    FIXATIONS_HEADER,
    GAZE_HEADER,
    LABELS_1,
    METADATA_1,
    csv_text,
    put,
    write_metadata,
    write_reading,
)

import gazekit
from gazekit.geometry import PatchGrid, containing_pixels, image_to_screen, screen_to_image
from vpmim.prior import FINE, original_boxes, prior_maps

READING = METADATA_1[0][0]
DARK, BRIGHT, PADDING = 800, 3600, 4000
"""Displayed samples of 12 bits: the background, the marker, and what pads the image's margin."""
LAST = 4095
DRAWN = (660, 0, 3180, 2160)
GRID = (5, 7)


@dataclass(frozen=True)
class Scene:
    """An image with a marker of `side` x `side` pixels about the pixel `marker` (x, y), and how it was looked at.

    `views` are the rectangles of the image that were shown, one after the other, with image pixels per degree.
    """

    shape: tuple[int, int]
    marker: tuple[int, int]
    side: int
    views: tuple[tuple[tuple[int, int, int, int], tuple[int, int]], ...]
    image_size: int
    photometric: str = "MONOCHROME2"
    spacing: tuple[float, float] = (0.14, 0.14)
    margin: int = 0

    @property
    def sigma(self) -> np.ndarray:
        """Greatest spread along x and y, pixels."""
        return np.max([per_degree for _, per_degree in self.views], axis=0)

    def write(self, root: Path) -> Path:
        """The DICOM under ``root/images`` and the recording under ``root/reflacx``."""
        shown = np.full(self.shape, DARK, np.uint16)
        x, y, reach = *self.marker, self.side // 2
        shown[y - reach : y + reach + 1, x - reach : x + reach + 1] = BRIGHT
        pixels = LAST - shown if self.photometric == "MONOCHROME1" else shown
        if self.margin:
            # padding is told by its stored value and is black, whatever the polarity
            inside = np.zeros(self.shape, bool)
            inside[self.margin : -self.margin, self.margin : -self.margin] = True
            pixels[~inside] = PADDING
        (root / "images").mkdir(parents=True)
        make_dicom(
            root / "images" / f"{DICOM_A}.dcm", pixels, bits_stored=12, photometric=self.photometric,
            WindowCenter="2048", WindowWidth="4096", PixelSpacing=list(self.spacing),
            **({"PixelPaddingValue": PADDING} if self.margin else {}),
        )  # fmt: skip
        height, width = self.shape
        write_metadata(root / "reflacx", 1, [[*METADATA_1[0][:6], str(width), str(height), *METADATA_1[0][8:]]])
        write_reading(root / "reflacx", READING, LABELS_1)
        fixations, gaze = [], []
        for k, (view, per_degree) in enumerate(self.views):
            # the eye is on the marker as it is on the screen then; the tracker writes whole image pixels
            drawn = self.drawn(view)
            eye = np.round(image_to_screen(self.marker, view, drawn), 1)
            seen = [str(round(v)) for v in screen_to_image(eye, view, drawn)]
            state = [*seen, "1.0", *map(str, per_degree), "0.8", "0.5", *map(str, view), *map(str, drawn)]
            fixations.append([f"{k + 0.1:.3f}", f"{k + 0.3:.3f}", *state])
            gaze += [[f"{k + 0.1 + n / 1000:.3f}", *state] for n in range(20)]
            gaze.append([f"{k + 0.2:.3f}", "", "", "", "", "", *state[5:]])
        put(root / "reflacx" / "main_data" / READING / "fixations.csv", csv_text(FIXATIONS_HEADER, fixations))
        put(root / "reflacx" / "gaze_data" / READING / "gaze.csv", csv_text(GAZE_HEADER, gaze))
        return root

    def drawn(self, view: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Where a view is drawn: as large as the screen's area allows, aspect kept, centred, whole pixels."""
        x0, y0, x1, y1 = DRAWN
        scale = min((x1 - x0) / (view[2] - view[0]), (y1 - y0) / (view[3] - view[1]))
        w, h = round(scale * (view[2] - view[0])), round(scale * (view[3] - view[1]))
        left, top = x0 + (x1 - x0 - w) // 2, y0 + (y1 - y0 - h) // 2
        return left, top, left + w, top + h


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Any shape, odd and even, wider and taller, larger and smaller than the stored square."""
    height, width = draw(st.integers(40, 140)), draw(st.integers(40, 140))
    image_size = draw(st.sampled_from([24, 31, 64, 150]))
    side = 2 * max(1, round(max(height, width) / image_size)) + 1
    margin = draw(st.sampled_from([0, 2]))
    # a cell of the coarsest map: where the shown part of the image ends closer to the marker, the cell that holds the
    # marker can have its centre outside, and is then empty in a map that is evaluated at the centres
    cell = -(-max(height, width) // 17)
    # black padding that touches the marker would pull at the centre of what is bright
    gap = margin + -(-max(height, width) // image_size) + 1 if margin else 0
    low = max(2, side // 2 + gap, cell // 2 + 1)
    x, y = draw(st.integers(low, width - 1 - low)), draw(st.integers(low, height - 1 - low))
    views = [((0, 0, width, height), (4, 3))]
    for _ in range(draw(st.integers(0, 3))):
        x0, y0 = draw(st.integers(0, max(x - cell, 0))), draw(st.integers(0, max(y - cell, 0)))
        x1 = draw(st.integers(min(x + 1 + cell, width), width))
        zoomed = (x0, y0, x1, draw(st.integers(min(y + 1 + cell, height), height)))
        views.append((zoomed, (draw(st.integers(1, 3)), draw(st.integers(1, 3)))))
    return Scene(
        (height, width), (x, y), side, tuple(views), image_size,
        photometric=draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        spacing=draw(st.sampled_from([(0.14, 0.14), (0.1, 0.35)])),
        margin=margin,
    )  # fmt: skip


def bright_centre(image: np.ndarray) -> np.ndarray:
    """(x, y) of the centre of what is brighter than the background, in pixels of the image."""
    weight = np.clip(image - (DARK / LAST + 0.02), 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def peak(dense: np.ndarray) -> np.ndarray:
    """(x, y) of the cell with most."""
    return np.array(np.unravel_index(dense.argmax(), dense.shape))[::-1]


def check_cell(at: np.ndarray, place: np.ndarray, sigma: np.ndarray) -> None:
    """The hot cell `at` holds `place` (cells), or only a border of the image within a sigma of it cuts it off."""
    assert (np.abs(at - place) <= 0.5 + sigma + 1e-6).all()
    inside = np.abs(place - np.round(place)) < 0.5 - 2 * sigma - 1e-6
    assert_array_equal(at[inside], np.round(place)[inside])


def check_scene(scene: Scene, root: Path) -> None:
    scene.write(root)
    marker, (height, width) = np.array(scene.marker), scene.shape
    [reading] = gazekit.read_reflacx(root / "reflacx")

    # the screen, at each zoom and pan: where the marker is drawn is where the eye was, to half a screen pixel
    for (view, _), (_, row) in zip(scene.views, reading.fixations.iterrows(), strict=True):
        drawn = scene.drawn(view)
        across = np.stack([np.arange(drawn[0], drawn[2]), np.full(drawn[2] - drawn[0], drawn[1])], axis=1)
        on_marker = across[containing_pixels(screen_to_image(across, view, drawn))[:, 0] == marker[0], 0]
        if on_marker.min() > drawn[0] and on_marker.max() < drawn[2] - 1:
            eye = image_to_screen((row.x_px, row.y_px), view, drawn)
            assert abs(on_marker.mean() - eye[0]) <= 0.5 + 1e-6
        assert_array_equal(row[["shown_xmin_px", "shown_ymin_px", "shown_xmax_px", "shown_ymax_px"]], view)

    # the tables
    assert_array_equal(reading.fixations[["x_px", "y_px"]], np.tile(marker, (len(scene.views), 1)))
    samples = gazekit.samples_as_fixations(reading.samples())
    assert_array_equal(np.unique(samples[["x_px", "y_px"]], axis=0), [marker])

    # the opened image, in its own pixels and in a square of any size
    file = root / "images" / f"{DICOM_A}.dcm"
    image, frame = gazekit.read_image(file)
    assert image.shape == scene.shape
    assert_allclose(bright_centre(image), marker, atol=1e-3)
    assert_array_equal(frame.to_stored(marker), marker)
    for size in (scene.image_size, 2 * scene.image_size + 1):
        fitted, frame = gazekit.read_image(file, size=size)
        assert_allclose(bright_centre(fitted), frame.to_stored(marker), atol=0.3)
        assert_allclose(frame.to_original(frame.to_stored(marker)), marker)

    # the dense maps, at the image's size and at others
    for table in (reading.fixations, samples):
        dense = gazekit.heatmap(table, image_shape=scene.shape)
        assert_array_equal(peak(dense), marker)
        for out_shape in ((17, 23), (height // 2, width // 2)):
            scale = np.array([out_shape[1] / width, out_shape[0] / height])
            small = gazekit.heatmap(table, image_shape=scene.shape, out_shape=out_shape)
            check_cell(peak(small), scale * (marker + 0.5) - 0.5, 0 * scale)

    for gaze in ("fixations", "samples"):
        check_cache(scene, root, gaze)


def check_cache(scene: Scene, root: Path, gaze: str) -> None:
    marker, size = np.array(scene.marker), scene.image_size
    gazekit.build_heatmaps(
        gazekit.read_reflacx(root / "reflacx"), root / "images", root / gaze, image_size=size, grid=GRID,
        heatmap_size=19, gaze=gaze, executor="serial",
    )  # fmt: skip
    record = gazekit.open_cache(root / gaze)[0]
    place = record.frame.to_stored(marker)
    sigma = scene.sigma * [record.frame.scale_x, record.frame.scale_y]

    # the stored pixel, the stored heatmap, the hot patch
    assert_allclose(bright_centre(record.image / 255), place, atol=0.3)
    assert_array_equal(record.gaussians[:, :2], np.tile(marker, (len(record.gaussians), 1)))
    check_cell(peak(record.heatmap), (place + 0.5) * 19 / size - 0.5, sigma * 0)
    cells = np.array([GRID[1], GRID[0]]) / size
    check_cell(peak(record.relevance), (place + 0.5) * cells - 0.5, sigma * cells)

    # crops of the valid area in stored pixels, as they are and mirrored, here and in the trainer's twin
    x0, y0, x1, y1 = (round(edge + 0.5) for edge in record.frame.valid_box)
    column, row = containing_pixels(place)
    reach = np.ceil(scene.side * np.array([record.frame.scale_x, record.frame.scale_y]) / 2 + 1).astype(int)
    left, top = (x0 + max(column - reach[0], x0)) // 2, max(row - reach[1], y0)
    right, bottom = min(column + 2 * reach[0], x1), (y1 + min(row + reach[1] + 1, y1)) // 2
    box = (left - 0.5, top - 0.5, right - 0.5, bottom - 0.5)
    inside, cells = place - (left, top), np.array([GRID[1] / (right - left), GRID[0] / (bottom - top)])
    crop = record.image[top:bottom, left:right] / 255
    assert_allclose(bright_centre(crop), inside, atol=0.35)
    original = record.frame.original_box(box)
    prior = gazekit.Prior(record.gaussians, scene.shape)
    hot = prior.patch_relevance(GRID, crop=original)
    check_cell(peak(hot), (inside + 0.5) * cells - 0.5, sigma * cells)
    check_cell(peak(prior.heatmap((bottom - top, right - left), crop=original)), inside, sigma * 0)

    frames, boxes = torch.tensor(record.frame.to_array())[None], torch.tensor([box])
    for mirrored in (False, True):
        fine = prior_maps(
            torch.tensor(record.gaussians)[None], original_boxes(boxes, frames), torch.tensor([mirrored]),
            rows=GRID[0], cols=GRID[1],
        )[0].numpy()  # fmt: skip
        shown = crop[:, ::-1] if mirrored else crop
        centre = bright_centre(shown)
        expected = (right - left - 1 - inside[0], inside[1]) if mirrored else inside
        assert_allclose(centre, expected, atol=0.35)
        check_cell(peak(fine), (np.array(expected) + 0.5) * cells * FINE - 0.5, sigma * cells * FINE)
        patches = fine.reshape(GRID[0], FINE, GRID[1], FINE).sum(axis=(1, 3))
        total = gazekit.prior.total_mass(record.gaussians, scene.shape)
        assert_allclose(patches[:, ::-1] if mirrored else patches, hot * total, atol=1e-9)
    edges = PatchGrid(*GRID).edges(original)
    assert edges[0][0] <= marker[0] <= edges[0][-1]


WHOLE = ((0, 0, 91, 63), (4, 3))
ZOOMED = ((20, 11, 60, 47), (2, 1))
PANNED = ((33, 8, 73, 44), (2, 1))
CASES = {
    "odd": Scene((63, 91), (40, 31), 5, (WHOLE, ZOOMED, PANNED), 32),
    "monochrome 1": Scene((63, 91), (40, 31), 5, (WHOLE, ZOOMED, PANNED), 32, photometric="MONOCHROME1"),
    "anisotropic": Scene((63, 91), (40, 31), 5, (WHOLE, ZOOMED, PANNED), 32, spacing=(0.1, 0.35)),
    "padded": Scene((63, 91), (40, 31), 5, (WHOLE, ZOOMED, PANNED), 32, margin=6),
    "padded monochrome 1": Scene((63, 91), (40, 31), 5, (WHOLE,), 32, photometric="MONOCHROME1", margin=6),
    "enlarged": Scene((63, 91), (40, 31), 5, (WHOLE, ZOOMED), 200),
    "same size": Scene((91, 91), (40, 31), 5, (((0, 0, 91, 91), (4, 3)),), 91),
    "first pixels": Scene((63, 91), (2, 2), 5, (WHOLE,), 32),
    "last pixels": Scene((63, 91), (88, 60), 5, (WHOLE,), 32),
    "tall": Scene((141, 24), (12, 99), 11, (((0, 0, 24, 141), (3, 5)), ((8, 90, 20, 120), (1, 2))), 32),
}


@pytest.mark.parametrize("scene", CASES.values(), ids=CASES)
def test_marker_gaze_and_hot_patch_coincide(scene, tmp_path):
    check_scene(scene, tmp_path)


@settings(max_examples=25, deadline=None)
@given(scene=scenes())
def test_they_coincide_for_any_shape_zoom_and_pan(scene, tmp_path_factory):
    check_scene(scene, tmp_path_factory.mktemp("scene"))


def test_a_marker_one_pixel_off_would_be_noticed(tmp_path):
    # the proof can fail: gaze that is a pixel off the marker is off in every stage
    root = CASES["odd"].write(tmp_path)
    image, _ = gazekit.read_image(root / "images" / f"{DICOM_A}.dcm")
    assert np.abs(bright_centre(image) - (41, 31)).max() > 0.9
    [reading] = gazekit.read_reflacx(root / "reflacx")
    moved = reading.fixations.assign(x_px=reading.fixations["x_px"] + 1)
    assert_array_equal(peak(gazekit.heatmap(moved, image_shape=CASES["odd"].shape)), (41, 31))
