import numpy as np
import pytest

from gazekit.errors import InputError
from gazekit.overlays import colour_table, overlay, panels

GREY = np.full((32, 32), 100, np.uint8)


def test_an_overlay_without_layers_is_the_image() -> None:
    picture = overlay(GREY, size=64)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert (picture == 100).all()


def test_heat_shows_where_it_is_and_nowhere_else() -> None:
    heat = np.zeros((8, 8))
    heat[6, 1] = 5.0
    picture = overlay(GREY, size=64, heatmap=heat)
    assert (picture[:32, 32:] == 100).all()
    changed = np.abs(picture.astype(int) - 100).sum(axis=2)
    row, col = np.unravel_index(changed.argmax(), changed.shape)
    assert (row // 8, col // 8) == (6, 1)


def test_a_map_of_nothing_changes_nothing() -> None:
    np.testing.assert_array_equal(overlay(GREY, size=64, heatmap=np.zeros((4, 4))), overlay(GREY, size=64))


def test_a_fixation_is_drawn_at_its_pixel_and_a_longer_one_is_larger() -> None:
    points, durations = np.array([[8.0, 8.0], [24.0, 20.0]]), np.array([0.2, 0.8])
    picture = overlay(GREY, size=960, points=points, durations=durations, reading_index=[0, 1])
    changed = (picture.astype(int) != 100).any(axis=2)
    # pixel x of 32 has its centre at (x + 0.5) * 30 - 0.5 of 960
    first, second = changed[:450, :450], changed[450:, 450:]
    assert first.sum() + second.sum() == changed.sum(), "two readings are not joined by a line"
    for part, (x, y) in ((first, (254.5, 254.5)), (second, (734.5 - 450, 614.5 - 450))):
        rows, cols = np.nonzero(part)
        assert cols.mean() == pytest.approx(x, abs=1)
        assert rows.mean() == pytest.approx(y, abs=1)
    assert second.sum() == pytest.approx(4 * first.sum(), rel=0.2), "the area is the duration"


def test_fixations_of_one_reading_are_joined_in_order() -> None:
    points = np.array([[4.0, 4.0], [28.0, 4.0], [28.0, 28.0]])
    changed = (overlay(GREY, size=320, points=points) != 100).any(axis=2)
    assert changed[44, 160]
    assert changed[160, 284]
    assert not changed[120:200, 120:200].any(), "the first and the last are not joined"


def test_the_partition_is_drawn_as_a_boundary_and_dims_the_rest() -> None:
    relevance = np.zeros((4, 4))
    relevance[1, 2] = 1.0
    picture = overlay(GREY, size=160, relevance=relevance, relevant=relevance > 0)
    assert (picture[60, 80] == 255).all()
    assert (picture[10, 10] == 60).all(), "0.6 of the grey"
    red, green, blue = picture[60, 100].astype(int)
    assert green > blue, "the top of viridis is yellow"
    assert red > blue


def test_points_off_the_image_do_no_harm() -> None:
    overlay(GREY, size=64, points=[[-500.0, 9e4], [10, 10]], durations=[0.2, 0.0])
    assert (overlay(GREY, size=64, points=np.zeros((0, 2))) == 100).all()


def test_panels_stand_side_by_side_unchanged() -> None:
    one, two = np.full((50, 40, 3), 10, np.uint8), np.full((50, 60, 3), 200, np.uint8)
    sheet = panels([("one", one), ("two", two)], gap=5, heading="both")
    assert sheet.shape[1] == 5 + 40 + 5 + 60 + 5
    np.testing.assert_array_equal(sheet[-55:-5, 5:45], one)
    np.testing.assert_array_equal(sheet[-55:-5, 50:110], two)
    assert panels([("one", one)]).shape[0] < sheet.shape[0]


def test_colour_tables_grow_lighter_from_end_to_end() -> None:
    for name in ("inferno", "viridis", "plasma"):
        luminance = colour_table(name).astype(float) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(luminance) > -1.5).all()
        assert luminance[-1] > luminance[0] + 100


def test_only_a_square_grey_image_is_drawn_on() -> None:
    with pytest.raises(InputError, match="square grey"):
        overlay(np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match="size"):
        overlay(GREY, size=0)
