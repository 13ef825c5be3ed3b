"""PNG and JPEG files, and the fit into a square: nothing moves, nothing is lost."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from dicom_factory import gradient, make_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gazekit.errors import InputError, RecordError
from gazekit.geometry import identity_frame
from gazekit.image import area_means, fit_image, image_size, load_image, read_image

GREY = gradient((46, 37), 8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def png(path: Path, width: int, height: int, depth: int, kind: int, row: bytes, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG of equal rows, of any bit depth and colour type."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    body = b"".join(chunk(*c) for c in chunks) + chunk(b"IDAT", zlib.compress((b"\0" + row) * height))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    return path


def refusal(path: Path, **options: object) -> RecordError:
    with pytest.raises(RecordError) as caught:
        load_image(path, **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path.name}: ")
    return caught.value


# --- reading pictures


def test_an_8_bit_png_is_shown_as_it_is(tmp_path: Path) -> None:
    for windowing in ("dicom", "reflacx"):
        loaded = load_image(save(tmp_path / "a.png", GREY), windowing=windowing)
        np.testing.assert_allclose(loaded.pixels, GREY / 255, atol=1e-7)
        assert loaded.facts == {
            "Rows": 46,
            "Columns": 37,
            "BitsStored": 8,
            "windowing": windowing,
            "voi": "full",
            "inverted": False,
            "decoder": "pillow",
            "flags": [],
        }


def test_a_16_bit_png_keeps_its_depth(tmp_path: Path) -> None:
    pixels = gradient((46, 37), 16)
    loaded = load_image(save(tmp_path / "a.png", pixels))
    np.testing.assert_allclose(loaded.pixels, pixels / 65535, atol=1e-7)
    assert loaded.facts["BitsStored"] == 16


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_a_jpeg_is_read(tmp_path: Path, suffix: str) -> None:
    loaded = load_image(save(tmp_path / f"a{suffix}", GREY, format="JPEG", quality=98))
    assert np.abs(loaded.pixels * 255 - GREY).max() <= 4


def test_equal_channels_are_read_as_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.dstack([GREY] * 3))
    np.testing.assert_allclose(load_image(path).pixels, GREY / 255, atol=1e-7)
    assert load_image(path).facts["flags"] == ["grey_rgb"]


def test_a_grey_palette_and_black_and_white_are_read(tmp_path: Path) -> None:
    Image.fromarray(GREY).convert("P").save(tmp_path / "a.png")
    np.testing.assert_allclose(load_image(tmp_path / "a.png").pixels, GREY / 255, atol=1e-7)
    Image.fromarray(GREY > 90).save(tmp_path / "b.png")
    np.testing.assert_array_equal(load_image(tmp_path / "b.png").pixels, GREY > 90)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_must_be_opaque(tmp_path: Path, channels: int) -> None:
    alpha = np.full_like(GREY, 255)
    path = save(tmp_path / "a.png", np.dstack([*[GREY] * (channels - 1), alpha]))
    np.testing.assert_allclose(load_image(path).pixels, GREY / 255, atol=1e-7)
    alpha[3, 4] = 254
    assert refusal(save(path, np.dstack([*[GREY] * (channels - 1), alpha]))).reason == "not_image"


def test_a_transparent_value_of_16_bits_is_refused_where_it_occurs(tmp_path: Path) -> None:
    row = struct.pack(">3H", 0, 500, 65535)
    assert load_image(png(tmp_path / "a.png", 3, 2, 16, 0, row, (b"tRNS", struct.pack(">H", 501)))).pixels[0, 2] == 1
    transparent = png(tmp_path / "a.png", 3, 2, 16, 0, row, (b"tRNS", struct.pack(">H", 500)))
    assert refusal(transparent).reason == "not_image"


def test_colour_of_16_bits_is_reduced_and_flagged(tmp_path: Path) -> None:
    row = b"".join(struct.pack(">3H", *[v] * 3) for v in (0, 256 * 99, 65535))
    loaded = load_image(png(tmp_path / "a.png", 3, 2, 16, 2, row))
    np.testing.assert_allclose(loaded.pixels[0] * 255, [0, 99, 255], atol=1e-4)
    assert loaded.facts["flags"] == ["reduced_to_8_bit", "grey_rgb"]


def test_a_rotation_that_a_viewer_would_make_is_flagged_and_not_made(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    loaded = load_image(save(tmp_path / "a.jpg", GREY, exif=exif))
    assert loaded.pixels.shape == GREY.shape
    assert loaded.facts["flags"] == ["exif_orientation"]


def test_percentiles_apply_to_pictures_when_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY // 2)
    low, high = np.percentile(GREY // 2, (0.5, 99.5))
    shown = load_image(path, windowing="percentile").pixels
    np.testing.assert_allclose(shown, np.clip((GREY // 2 - low) / (high - low), 0, 1), atol=1e-6)


def test_mimic_jpg_equalises_pictures(tmp_path: Path) -> None:
    shown = load_image(save(tmp_path / "a.png", GREY), windowing="mimic-jpg").pixels
    np.testing.assert_allclose(shown * 255, cv2.equalizeHist(GREY), atol=1e-4)


def test_bad_pictures_are_refused_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = save(tmp_path / "whole.png", gradient((300, 200), 8)).read_bytes()
    for content, reason in (
        (b"", "not_image"),
        (b"<html>", "not_image"),
        (whole[:20], "not_image"),
        (whole[: len(whole) // 2], "truncated"),
        (whole[:500] + b"\0" * 900 + whole[1400:], "decode_failed"),
    ):
        path.write_bytes(content)
        assert refusal(path).reason == reason
    colour = np.random.default_rng(0).integers(0, 255, (9, 8, 3)).astype(np.uint8)
    assert refusal(save(path, colour)).reason == "not_grey"
    assert refusal(save(path, np.full((9, 8), 3, np.uint8))).reason == "flat_image"
    assert refusal(save(path, GREY), max_pixels=46 * 37 - 1).reason == "too_large"
    assert refusal(tmp_path / "none.png").reason == "missing_image"
    (tmp_path / "folder.png").mkdir()
    assert refusal(tmp_path / "folder.png").reason == "unreadable"


def test_a_jpeg_cut_short_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", gradient((300, 200), 8))
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(path).reason == "truncated"


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert refusal(tmp_path / "a.png").reason == "multi_frame"


def test_a_header_that_announces_a_huge_picture_is_refused_before_decoding(tmp_path: Path) -> None:
    for side in (12_000, 60_000):
        path = png(tmp_path / "a.png", side, side, 8, 0, b"")
        assert refusal(path).reason == "too_large"


def test_the_size_is_the_images_whatever_the_format(tmp_path: Path) -> None:
    assert image_size(save(tmp_path / "a.png", GREY)) == (46, 37)
    assert image_size(save(tmp_path / "a.JPG", GREY)) == (46, 37)
    make_dicom(tmp_path / "a.dcm", gradient((46, 37), 12), bits_stored=12)
    assert image_size(tmp_path / "a.dcm") == (46, 37)


def test_the_size_comes_from_the_header_alone(tmp_path: Path) -> None:
    path = make_dicom(tmp_path / "a.dcm", gradient((46, 37), 12), bits_stored=12)
    path.write_bytes(path.read_bytes()[:-1000])
    assert image_size(path) == (46, 37)
    assert refusal(path).reason == "truncated"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("a.dcm", b"text", "not_dicom"), ("a.png", b"text", "not_image"), ("b.dcm", None, "missing_image")],
)
def test_a_file_without_a_size_is_refused_as_when_it_is_read(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError, match=name) as caught:
        image_size(tmp_path / name)
    assert caught.value.reason == refusal(tmp_path / name).reason == reason


def test_a_size_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="more than 1000 pixels"):
        image_size(save(tmp_path / "a.png", GREY), max_pixels=1000)


def test_an_unknown_mode_is_an_input_error(tmp_path: Path) -> None:
    for path in (save(tmp_path / "a.png", GREY), make_dicom(tmp_path / "a.dcm", GREY)):
        with pytest.raises(InputError, match="windowing must be one of"):
            read_image(path, windowing="bone")


# --- the fit into a square


def test_read_image_without_a_size_keeps_every_pixel(tmp_path: Path) -> None:
    pixels, frame = read_image(save(tmp_path / "a.png", GREY))
    np.testing.assert_allclose(pixels, GREY / 255, atol=1e-7)
    assert frame == identity_frame(GREY.shape)


def blob(shape: tuple[int, int], centre: tuple[float, float], spread: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * spread**2)).astype(np.float32)


def centroid(pixels: np.ndarray) -> np.ndarray:
    y, x = np.indices(pixels.shape)
    weight = pixels.astype(np.float64)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(60, 400),
    aspect=st.floats(0.6, 1.6),
    size=st.integers(24, 300),
    across=st.floats(0.35, 0.65),
    down=st.floats(0.35, 0.65),
)
def test_a_marker_is_where_the_frame_says(height: int, aspect: float, size: int, across: float, down: float) -> None:
    width = round(height * aspect)
    centre = (across * width, down * height)
    # wide enough to be sampled well before and after, narrow enough to stay inside
    marker = blob((height, width), centre, 0.06 * min(height, width))
    fitted, frame = fit_image(marker, size)
    # 8 bits and the resize allow no less: 0.018 was the largest of some thousand markers of 2 pixels
    np.testing.assert_allclose(centroid(fitted), frame.to_stored(centre), atol=0.025)


def test_a_single_pixel_of_a_large_image_lands_in_its_place() -> None:
    # 3001 x 2503 shrinks by whole-row sums; the marker is one bright pixel
    pixels = np.zeros((3001, 2503), np.float32)
    pixels[1777, 901] = 1
    fitted, frame = fit_image(pixels, 256)
    expected = frame.to_stored((901, 1777))
    # its mass falls on the stored pixel that covers it, whose centre is at most half a pixel away
    assert np.abs(centroid(fitted) - expected).max() <= 0.5
    assert fitted.sum() == pytest.approx(frame.scale_x * frame.scale_y, rel=1e-5)


@pytest.mark.parametrize("shape", [(3001, 2503), (2503, 3001), (1024, 1023), (97, 61), (31, 300)])
@pytest.mark.parametrize("size", [256, 37])
def test_corners_and_padding_are_exact(shape: tuple[int, int], size: int) -> None:
    fitted, frame = fit_image(np.ones(shape, np.float32), size)
    x0, y0, x1, y1 = frame.valid_box
    inside = np.zeros((size, size), bool)
    inside[round(y0 + 0.5) : round(y1 + 0.5), round(x0 + 0.5) : round(x1 + 0.5)] = True
    np.testing.assert_allclose(fitted, inside, atol=1e-6)
    assert not fitted[~inside].any()
    assert fitted.dtype == np.float32
    assert fitted.max() <= 1


def test_an_image_of_the_squares_size_is_untouched() -> None:
    pixels = gradient((64, 64), 8).astype(np.float32) / 255
    np.testing.assert_array_equal(fit_image(pixels, 64)[0], pixels)


def test_a_small_image_is_enlarged_linearly() -> None:
    fitted, _ = fit_image(np.array([[0.0, 1.0], [0.0, 1.0]], np.float32), 4)
    np.testing.assert_allclose(fitted, [[0, 0.25, 0.75, 1]] * 4, atol=1e-6)


def test_area_means_by_hand() -> None:
    # 5 rows on 2: each new row covers 2.5 old ones
    column = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]], np.float32)
    np.testing.assert_allclose(area_means(column, 2), [[(1 + 2 + 1.5) / 2.5], [(1.5 + 4 + 5) / 2.5]], rtol=1e-6)


def area_oracle(pixels: np.ndarray, rows: int) -> np.ndarray:
    """Every new row as a mean over finely repeated old ones."""
    return np.repeat(pixels.astype(np.float64), rows, axis=0).reshape(rows, len(pixels), -1).mean(axis=1)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 9), rows=st.integers(1, 60), seed=st.integers(0, 99))
def test_area_means_equal_the_mean_of_repeated_rows(height: int, width: int, rows: int, seed: int) -> None:
    rows = min(rows, height)
    pixels = np.random.default_rng(seed).random((height, width), np.float32)
    np.testing.assert_allclose(area_means(pixels, rows), area_oracle(pixels, rows), atol=1e-6)


@pytest.mark.parametrize("shape", [(1501, 1250), (1250, 1501), (2048, 2048)])
def test_both_ways_of_shrinking_agree(shape: tuple[int, int]) -> None:
    # large enough for whole-row sums, checked against OpenCV's area rule
    pixels = np.random.default_rng(0).random(shape, np.float32)
    fitted, frame = fit_image(pixels, 128)
    x0, y0, x1, y1 = (round(edge + 0.5) for edge in frame.valid_box)
    expected = cv2.resize(pixels, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(fitted[y0:y1, x0:x1], expected, atol=1e-6)


def test_fine_stripes_do_not_alias() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (999, 500))
    fitted, _ = fit_image(stripes[:, :999], 100)
    np.testing.assert_allclose(fitted, 0.5, atol=0.06)


def test_a_dicom_and_its_png_fit_alike(tmp_path: Path) -> None:
    window = {"WindowCenter": 127.5, "WindowWidth": 255, "VOILUTFunction": "LINEAR_EXACT"}
    dicom, frame = read_image(make_dicom(tmp_path / "a.dcm", GREY, **window), 20)
    picture, other = read_image(save(tmp_path / "a.png", GREY), 20)
    np.testing.assert_allclose(dicom, picture, atol=1e-6)
    assert frame == other
    assert dicom.shape == (20, 20)


def test_a_size_below_one_is_an_input_error() -> None:
    with pytest.raises(InputError):
        fit_image(np.ones((4, 4), np.float32), 0)
