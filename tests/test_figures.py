"""Figures for print: one a row or many on a sheet, in three formats, equal for equal caches."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from cli_runner import run_gazekit
from memory_source import HEIGHT, WIDTH
from PIL import Image
from report_case import SPECS, build_case

from gazekit.cache import open_cache
from gazekit.errors import InputError
from gazekit.figures import render_figures, row_figure, sheet_figure
from gazekit.plots import DENSITY_MAX


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    specs = [spec for spec in SPECS if spec.n_fixations < 100]
    return open_cache(build_case(tmp_path_factory.mktemp("figures"), specs))


@pytest.mark.parametrize(("format", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_each_format_is_written_the_same_twice(cache, tmp_path, format, magic):
    for name in ("one", "two"):
        assert render_figures(cache, tmp_path / name, rows=[1], format=format, dpi=60) == 1
    first, second = ((tmp_path / name / f"99b.{format}").read_bytes() for name in ("one", "two"))
    assert first.startswith(magic)
    assert first == second


def test_the_xray_is_seen_through_heat_and_patches_in_vector_formats_too(cache, tmp_path):
    render_figures(cache, tmp_path, rows=[1], format="svg", dpi=60)
    found = re.findall(r'data:image/png;base64,\s*([^"]+)"', (tmp_path / "99b.svg").read_text())
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")) for text in found]
    wide = [picture for picture in pictures if 0.2 < picture.shape[0] / picture.shape[1] < 5]  # no colour bar
    coloured = [picture.reshape(-1, 3) for picture in wide if np.ptp(picture.astype(int), axis=2).max() > 20]
    assert len(coloured) == 2, "heat and patches"
    assert all(len(np.unique(picture, axis=0)) > 4 * cache.grid[0] * cache.grid[1] for picture in coloured)


def test_a_reading_has_a_panel_of_its_own_and_an_image_without_gaze_only_its_picture(cache):
    def titles(i):
        return [ax.get_title(loc="left") for ax in row_figure(cache[i], cache).axes if ax.get_title(loc="left")]

    assert [title.partition(":")[0] for title in titles(0)[:-1]] == ["heatmap", "99R-a1", "99R-a2", "99R-a3"]
    assert titles(0)[-1].startswith("patches, Otsu")
    assert titles(cache.ids.index("99d")) == ["no gaze"]


def test_all_panels_of_a_row_show_the_same_part_of_the_image_in_its_pixels(cache):
    record = cache[0]
    panels = [ax for ax in row_figure(record, cache).axes if ax.get_title(loc="left")]
    corners = record.frame.to_stored(np.array([[-0.5, -0.5], [record.frame.width - 0.5, record.frame.height - 0.5]]))
    for ax in panels[:-1]:
        assert (*ax.get_xlim(), *ax.get_ylim()) == (-0.5, WIDTH - 0.5, HEIGHT - 0.5, -0.5)
    np.testing.assert_allclose((*panels[-1].get_xlim(), *panels[-1].get_ylim()[::-1]), corners.T.ravel(), atol=0.51)
    for axis, k in ((panels[-1].xaxis, 0), (panels[-1].yaxis, 1)):
        places, words = axis.get_major_locator()(), axis.get_major_formatter().seq
        points = np.zeros((len(places), 2))
        points[:, k] = np.asarray(words, float)
        np.testing.assert_allclose(record.frame.to_stored(points)[:, k], places)
        assert len(places) > 2


def test_fixations_off_the_image_are_counted_in_the_title(cache):
    record = cache[0]
    x, y = record.gaussians[record.reading_index == 0, :2].T
    off = ((x < -0.5) | (x >= WIDTH - 0.5) | (y < -0.5) | (y >= HEIGHT - 0.5)).sum()
    assert off > 0
    title = row_figure(record, cache).axes[1].get_title(loc="left")
    assert title == f"99R-a1: {len(x)} fixations, {off} off the image"


def test_words_on_a_sheet_lie_on_no_picture_and_inside_the_sheet(cache):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = sheet_figure(cache, list(range(len(cache))) * 3)
    FigureCanvasAgg(figure).draw()
    pictures = [ax for ax in figure.axes if ax.get_title()]
    places = [ax.get_window_extent() for ax in pictures]
    for ax in pictures:
        words = ax.title.get_window_extent()
        assert not any(words.overlaps(place) for place in places)
        assert words.y1 <= figure.bbox.y1
        assert words.x0 >= 0


def test_heat_has_the_same_scale_in_every_figure_and_on_every_sheet(cache):
    for figure in (row_figure(cache[0], cache), row_figure(cache[1], cache), sheet_figure(cache, [0, 1])):
        tops = {image.norm.vmax for ax in figure.axes for image in ax.images if image.get_cmap().name == "inferno"}
        assert tops == {DENSITY_MAX}


def test_dpi_is_that_of_the_file_and_a_sheet_holds_all_rows(cache, tmp_path):
    done = run_gazekit("render", cache.path, tmp_path, "--contact-sheet", "--dpi", "50", "--json")
    assert done.code == 0
    assert json.loads(done.stdout)["pictures"] == 1
    with Image.open(tmp_path / "contact-sheet-1.png") as sheet:
        assert round(sheet.info["dpi"][0]) == 50
    titled = [ax for ax in sheet_figure(cache, range(len(cache))).axes if ax.get_title()]
    assert len(titled) == len(cache)


def test_another_format_and_a_dpi_out_of_range_are_refused(cache, tmp_path):
    with pytest.raises(InputError, match="format"):
        render_figures(cache, tmp_path, rows=[0], format="bmp")
    with pytest.raises(InputError, match="dpi"):
        render_figures(cache, tmp_path, rows=[0], dpi=5)


@pytest.mark.parametrize("options", [(), ("--format", "pdf")], ids=["pictures", "figures"])
def test_a_file_in_place_of_the_folder_and_a_missing_shard_are_one_line(cache, tmp_path, options):
    (tmp_path / "taken").write_text("")
    taken = run_gazekit("render", cache.path, tmp_path / "taken", *options)
    shutil.copytree(cache.path, tmp_path / "cache")
    next((tmp_path / "cache").rglob("image.npy")).unlink()
    missing = run_gazekit("render", tmp_path / "cache", tmp_path / "out", *options)
    for done, told in ((taken, "is a file; expected a folder"), (missing, "image.npy is missing")):
        assert (done.code, done.stderr.count("\n")) == (2, 1)
        assert told in done.stderr
