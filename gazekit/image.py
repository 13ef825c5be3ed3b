"""Images from DICOM, PNG and JPEG files as they are shown, fitted into a square without losing track of a pixel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gazekit.dicom import MAX_PIXELS, LoadedImage, dicom_size, grey_channel, named_refusals, read_dicom
from gazekit.errors import RecordError
from gazekit.geometry import fit_frame, identity_frame
from gazekit.grey_levels import PixelDescription
from gazekit.windowing import check_windowing, display

if TYPE_CHECKING:
    import os
    from typing import Any

    from numpy.typing import NDArray
    from PIL import Image, ImageFile

    from gazekit.geometry import ImageFrame

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""File name endings of images that are not DICOM, in lower case."""

_EXIF_ORIENTATION = 0x0112
# old pixels per new one from which `area_means` is faster than OpenCV, whose cost is per old pixel (measured)
_ROW_SUM_FACTOR = 32


def read_image(
    path: str | os.PathLike[str], size: int | None = None, windowing: str = "dicom"
) -> tuple[NDArray[np.float32], ImageFrame]:
    """Read an image as it is shown, and where its pixels went.

    Parameters
    ----------
    path : path of a DICOM, PNG or JPEG file
    size : int or None
        Side of the square that the image is fitted into; None keeps it as it is.
    windowing : {"dicom", "reflacx", "percentile", "mimic-jpg"}

    Returns
    -------
    pixels : (H, W) or (size, size) float32 in [0, 1]
        Air dark, padding 0.
    frame : ImageFrame

    Raises
    ------
    RecordError, InputError
        See `load_image`.
    """
    pixels = load_image(path, windowing=windowing).pixels
    if size is None:
        return pixels, identity_frame((pixels.shape[0], pixels.shape[1]))
    return fit_image(pixels, size)


def load_image(path: str | os.PathLike[str], *, windowing: str = "dicom", max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Read an image file at its own size.

    Parameters
    ----------
    path : path of a DICOM file, or of a picture by its suffix (`PICTURE_SUFFIXES`)
    windowing : {"dicom", "reflacx", "percentile", "mimic-jpg"}
        A picture holds what a screen shows: "dicom" and "reflacx" leave it as it is.
    max_pixels : int
        Limit on the number of pixels.

    Returns
    -------
    LoadedImage

    Raises
    ------
    RecordError
        The file cannot be used; `reason` is a key of `gazekit.errors.REASONS`.
    InputError
        The mode does not exist, or a decoder is not installed.
    """
    if Path(path).suffix.lower() in PICTURE_SUFFIXES:
        return read_picture(path, windowing=windowing, max_pixels=max_pixels)
    return read_dicom(path, windowing=windowing, max_pixels=max_pixels)


def read_picture(
    path: str | os.PathLike[str], *, windowing: str = "dicom", max_pixels: int = MAX_PIXELS
) -> LoadedImage:
    """Read a PNG or JPEG of 8 or 16 bits, grey or with equal channels, opaque. See `load_image`."""
    check_windowing(windowing)
    path = Path(path)
    with named_refusals(path):
        codes, flags = _picture_codes(path, max_pixels)
        bits = 8 * codes.dtype.itemsize
        description = PixelDescription(bits=bits, bits_stored=bits, display_values=True)
        shown = display(codes, description, windowing=windowing)
    facts = {
        "Rows": codes.shape[0],
        "Columns": codes.shape[1],
        "BitsStored": bits,
        "windowing": windowing,
        "voi": shown.voi,
        "inverted": shown.inverted,
        "decoder": "pillow",
        "flags": [*flags, *shown.flags],
    }
    return LoadedImage(shown.pixels, facts)


def image_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Size of an image from its header alone: no pixel is decoded.

    Parameters
    ----------
    path : path of a DICOM file, or of a picture by its suffix (`PICTURE_SUFFIXES`)
    max_pixels : int
        Limit on the number of pixels.

    Returns
    -------
    (H, W) of the original image, as it is stored.

    Raises
    ------
    RecordError
        As `load_image`, but for what only decoding can find.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        return dicom_size(path, max_pixels=max_pixels)
    with named_refusals(path), _opened_picture(path, max_pixels) as image:
        return image.height, image.width


def _picture_codes(path: Path, max_pixels: int) -> tuple[NDArray[Any], list[str]]:
    """(H, W) uint8 or uint16 samples of a picture, and flags; `RecordError`."""
    with _opened_picture(path, max_pixels) as image:
        try:
            return _samples(image)
        except RecordError:
            raise
        except Exception as error:
            _reraise_of_system(error)
            reason = "truncated" if "truncated" in str(error) else "decode_failed"
            raise RecordError(reason, f"the decoder refused the pixels ({type(error).__name__})") from None


@contextmanager
def _opened_picture(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """A picture whose header has been read and checked; `RecordError`."""
    from PIL import Image, UnidentifiedImageError

    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(file, formats=("PNG", "JPEG"))
        except UnidentifiedImageError:
            raise RecordError("not_image", "neither a PNG nor a JPEG file") from None
        except Image.DecompressionBombError:
            raise RecordError("too_large", f"the image has more than {max_pixels} pixels") from None
        except Exception as error:  # Pillow lets through what its parsers hit on malformed bytes
            _reraise_of_system(error)
            raise RecordError("not_image", f"the file's header is damaged ({type(error).__name__})") from None
        if image.width * image.height > max_pixels:
            raise RecordError("too_large", f"the image has more than {max_pixels} pixels")
        if getattr(image, "n_frames", 1) > 1:
            raise RecordError("multi_frame", "more than one frame")
        yield image


def _reraise_of_system(error: Exception) -> None:
    """Let through what the operating system says; Pillow raises OSError for damaged files too, without a number."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        raise error


def _samples(image: ImageFile.ImageFile) -> tuple[NDArray[Any], list[str]]:
    """Grey samples of an opened picture, whatever its mode; `RecordError` where it is not grey or not opaque."""
    flags = []
    # before anything decodes the image, for the tiles say how it is coded only until then
    if image.mode in ("RGB", "RGBA") and any("16" in str(tile.args) for tile in image.tile):
        flags.append("reduced_to_8_bit")
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        flags.append("exif_orientation")
    image.load()
    if image.mode == "I;16":
        samples = np.asarray(image).astype(np.uint16, copy=False)
        if (samples == image.info.get("transparency", -1)).any():
            raise RecordError("not_image", "the image is transparent in places")
        return samples, flags
    opaque: Image.Image = image
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        if with_alpha.getchannel("A").getextrema() != (255, 255):
            raise RecordError("not_image", "the image is transparent in places")
        opaque = with_alpha.convert("RGB")
    if image.mode in ("1", "L", "LA"):
        return np.asarray(opaque.convert("L")), flags
    return grey_channel(np.asarray(opaque.convert("RGB"))), [*flags, "grey_rgb"]


def fit_image(pixels: NDArray[np.float32], size: int) -> tuple[NDArray[np.float32], ImageFrame]:
    """Fit an image into a square: aspect kept, centred, surrounded by 0.

    Parameters
    ----------
    pixels : (H, W) float32
    size : int
        Side of the square.

    Returns
    -------
    fitted : (size, size) float32
        Shrunk by the exact mean over each new pixel's area (no aliasing), or enlarged linearly.
    frame : ImageFrame
        Exact: both resampling rules map the image's edges onto the frame's `valid_box`.

    Raises
    ------
    InputError
        `size` is less than 1.
    """
    height, width = pixels.shape
    frame = fit_frame((height, width), size)
    left, top, right, bottom = (round(edge + 0.5) for edge in frame.valid_box)
    fitted = np.zeros((size, size), np.float32)
    # a mean of numbers in [0, 1] can leave it by rounding
    np.clip(_resized(pixels, bottom - top, right - left), 0, 1, out=fitted[top:bottom, left:right])
    return fitted, frame


def _resized(pixels: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """(rows, columns) float32: area means where the image shrinks, linear interpolation where it grows."""
    height, width = pixels.shape
    if (rows, columns) == (height, width):
        return pixels
    if rows > height or columns > width:
        return np.asarray(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_LINEAR))
    if height * width < _ROW_SUM_FACTOR * rows * columns:
        return np.asarray(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA))
    return area_means(np.ascontiguousarray(area_means(pixels, rows).T), columns).T


def area_means(pixels: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """Shrink an image from top to bottom, each new row the mean of the old ones by the share it covers.

    Parameters
    ----------
    pixels : (H, W) float32
    rows : int
        At most H.

    Returns
    -------
    (rows, W) float32. Equal to OpenCV's INTER_AREA to rounding, and three times as fast on a large image, because
    whole rows are summed.
    """
    height, width = pixels.shape
    means = np.empty((rows, width), np.float32)
    share = np.empty(width, np.float32)
    for k in range(rows):
        # in units of 1/rows of an old row, so that the edges are exact
        start, stop = k * height, (k + 1) * height
        first, last = -(-start // rows), stop // rows
        mean = np.add.reduce(pixels[first:last], axis=0, out=means[k])
        if first * rows > start:
            mean += np.multiply(pixels[first - 1], np.float32((first * rows - start) / rows), out=share)
        if stop > last * rows:
            mean += np.multiply(pixels[last], np.float32((stop - last * rows) / rows), out=share)
    means *= np.float32(rows / height)
    return means
