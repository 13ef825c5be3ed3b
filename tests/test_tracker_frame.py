"""Screen to image to patch: gaze on a marker, as a tracker records it, is hot where the marker is stored."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from gaze_traces import SCREEN
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image
from toy_tracker import read_toy

from gazekit.build import build_heatmaps
from gazekit.cache import open_cache
from gazekit.sources.spec import parse_spec

STORED, GRID = 96, (8, 6)
DARK, BRIGHT = 30, 250


@dataclass(frozen=True)
class Scene:
    """An image of `shape`, its `marker` (column, row) with 2 `half` + 1 pixels a side, and where it was drawn."""

    shape: tuple[int, int]
    marker: tuple[int, int]
    half: int
    rectangle: tuple[int, int, int, int] | None = None

    def draw(self, path: Path) -> None:
        pixels = np.full(self.shape, DARK, np.uint8)
        (column, row), half = self.marker, self.half
        pixels[row - half : row + half + 1, column - half : column + half + 1] = BRIGHT
        Image.fromarray(pixels).save(path)

    def on_screen(self) -> tuple[float, float]:
        """The marker's middle on the screen, reckoned in exact fractions of the rectangle's whole pixels."""
        height, width = self.shape
        if self.rectangle is None:  # as large as fits, centred
            scale = min(Fraction(SCREEN.size_px[0], width), Fraction(SCREEN.size_px[1], height))
            size = (width * scale, height * scale)
            corner = [(whole - part) / 2 for whole, part in zip(SCREEN.size_px, size, strict=True)]
        else:
            x0, y0, x1, y1 = self.rectangle
            corner, size = [Fraction(x0), Fraction(y0)], (Fraction(x1 - x0), Fraction(y1 - y0))
        column, row = self.marker
        # screen pixel n covers n to n + 1 from the corner of the screen, and its own coordinate is its centre
        x = corner[0] + size[0] * Fraction(2 * column + 1, 2 * width) - Fraction(1, 2)
        y = corner[1] + size[1] * Fraction(2 * row + 1, 2 * height) - Fraction(1, 2)
        return float(x), float(y)


def centre_of(weights: np.ndarray) -> np.ndarray:
    """(x, y) of the middle of mass, between pixel centres."""
    rows, columns = np.indices(weights.shape)
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def check(scene: Scene, folder: Path, *, within: float = 0.1) -> None:
    (folder / "gaze").mkdir()
    (folder / "images").mkdir()
    scene.draw(folder / "images" / "99chest.png")
    x, y = scene.on_screen()
    (folder / "gaze" / "99a.toy").write_text("".join(f"99chest.png {k / 250} {x!r} {y!r}\n" for k in range(100)))
    stimulus = {"name": "99chest.png"} | ({"rectangle": scene.rectangle} if scene.rectangle else {})
    readings = read_toy(
        folder / "gaze", images=folder / "images", spec=parse_spec({"stimulus": [stimulus]}), screen=SCREEN
    )
    # in the table: the pixel itself
    assert_allclose(readings[0].fixations[["x_px", "y_px"]], [scene.marker], atol=1e-8 * max(scene.shape))
    build_heatmaps(
        readings, folder / "images", folder / "cache", executor="serial",
        sigma_dva=0.25, image_size=STORED, heatmap_size=STORED, grid=GRID,
    )  # fmt: skip
    [record] = list(open_cache(folder / "cache"))
    stored = np.asarray(record.image, np.float64)
    marker = centre_of(np.clip(stored - stored[stored > 5].min() - 1, 0, None))
    heatmap = np.asarray(record.heatmap, np.float64)
    # in the stored picture and in the stored map: the same place, to a fraction of a stored pixel
    assert_allclose(centre_of(heatmap), marker, atol=within)
    hottest = np.unravel_index(np.argmax(heatmap), heatmap.shape)[::-1]
    assert_allclose(hottest, marker, atol=0.75)
    # of the patches: the one that holds the marker, or one of those at whose common edge it lies
    place = (marker + 0.5) / STORED * GRID[::-1]
    row, column = np.unravel_index(np.argmax(record.relevance), GRID)
    assert column - 0.1 <= place[0] <= column + 1.1
    assert row - 0.1 <= place[1] <= row + 1.1


@pytest.mark.parametrize(
    "scene",
    [
        Scene((301, 257), (60, 222), 9),
        Scene((257, 301), (240, 60), 9),
        Scene((301, 257), (60, 222), 9, (100, 37, 951, 1034)),  # off centre, of another aspect
        Scene((300, 400), (333, 41), 12, (-60, -20, 1990, 1103)),  # larger than the screen
        Scene((640, 211), (170, 500), 7, (1200, 11, 1533, 1000)),
    ],
    ids=str,
)
def test_gaze_on_a_marker_on_the_screen_is_hot_where_the_marker_is_stored(scene: Scene, tmp_path: Path):
    check(scene, tmp_path)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    shape = draw(st.integers(160, 500)), draw(st.integers(160, 500))
    half = max(shape) // 40
    # so far from the border that neither the marker nor its Gaussian is cut
    marker = tuple(draw(st.integers(side // 5, side - side // 5)) for side in shape[::-1])
    x0, y0 = draw(st.integers(-50, 700)), draw(st.integers(-50, 300))
    rectangle = (x0, y0, x0 + draw(st.integers(700, 1200)), y0 + draw(st.integers(600, 900)))
    return Scene(shape, (marker[0], marker[1]), half, draw(st.none() | st.just(rectangle)))


@given(scenes())
@settings(max_examples=12, deadline=None)
def test_any_image_in_any_rectangle_has_its_hot_patch_where_the_eye_was(tmp_path_factory, scene: Scene):
    # 8 bits and the resize allow no more: the centre of an odd square was found 0.1003 of a stored pixel off
    check(scene, tmp_path_factory.mktemp("scene"), within=0.15)
