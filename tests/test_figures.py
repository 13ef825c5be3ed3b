"""Figures for print: one a row or many on a sheet, in three formats, equal for equal caches."""

import json

import pytest
from cli_runner import run_gazekit
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


def test_a_reading_has_a_panel_of_its_own_and_an_image_without_gaze_only_its_picture(cache):
    def titles(i):
        return [ax.get_title(loc="left") for ax in row_figure(cache[i], cache).axes if ax.get_title(loc="left")]

    assert titles(0)[:-1] == ["heatmap", "99R-a1", "99R-a2", "99R-a3"]
    assert titles(0)[-1].startswith("patches, Otsu")
    assert titles(cache.ids.index("99d")) == ["no gaze"]


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
