"""Opens a DICOM file: what is read is checked before it is decoded, and only pixels and allow-listed facts come out.

The header is parsed by pydicom; limits, the codestream's own size and the deflate bound are checked before any pixel
is decoded or room for it is made. Whatever a hostile file provokes ends as `RecordError`.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import Tag

from gazekit.codecs import CODECS, decode_frame
from gazekit.codestream import StreamSize, joined_fragments
from gazekit.dicom_header import TAGS, Header, interpret_header
from gazekit.errors import InputError, RecordError
from gazekit.windowing import check_windowing, display

if TYPE_CHECKING:
    import os
    from typing import Any

    from numpy.typing import NDArray

    from gazekit.grey_levels import PixelDescription

MAX_PIXELS = 100_000_000
"""Default limit on Rows x Columns x Number of Frames."""

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

# what a file may hold beside the pixel data: header, overlays, icons, a second copy in a private element
_OTHER_BYTES = 64 * 2**20
# what a deflated file may expand to before its pixel data, and after them
_DEFLATED_HEADER = 16 * 2**20
_DEFLATED_TRAILER = 2**20

_TRANSFER_SYNTAX = Tag(0x0002, 0x0010)
_PIXEL_DATA = 0x7FE00010
_FIRST_PIXEL_TAG = 0x7FE00008
_UNDEFINED_LENGTH = 0xFFFFFFFF
_DEFLATED_BOMB = "the deflated data set expands beyond what its header announces"
_NO_PIXELS = "the file ends before its pixel data, or holds none: it is cut short, or not an image"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An image as it is shown, and what is known of it.

    Attributes
    ----------
    pixels : (H, W) float32 in [0, 1]
        Air dark; padding 0.
    facts : dict
        Allow-listed header elements by keyword, and: ``windowing`` (mode), ``voi`` ("lut", "window", "percentile",
        "full": the branch that was taken), ``inverted`` (bool), ``decoder``, ``flags`` (keys of
        `gazekit.dicom_header.FLAGS`). Plain numbers, texts and lists: ready for JSON.
    """

    pixels: NDArray[np.float32]
    facts: dict[str, Any]


class _Encoding(NamedTuple):
    """How the elements of a file are written; `syntax` is "" where the file does not say."""

    syntax: str
    implicit: bool
    little: bool


class _PixelElement(NamedTuple):
    """Value representation ("" if implicit) and length of Pixel Data; the stream stands at its value."""

    vr: str
    length: int


class _Parsed(NamedTuple):
    """A file up to its pixel data, which `stream` is about to give."""

    header: Header
    encoding: _Encoding
    element: _PixelElement
    stream: BinaryIO

    @property
    def has_excess_bytes(self) -> bool:
        """More uncompressed pixel data than the header asks for, beyond the byte that makes the length even."""
        if self.element.length == _UNDEFINED_LENGTH:
            return False
        return self.element.length > self.header.pixel_bytes + self.header.pixel_bytes % 2


def read_dicom(path: str | os.PathLike[str], *, windowing: str = "dicom", max_pixels: int = MAX_PIXELS) -> LoadedImage:
    """Read one DICOM image and show it.

    Parameters
    ----------
    path : path of a DICOM file
    windowing : {"dicom", "reflacx", "percentile", "mimic-jpg"}
        See `gazekit.windowing`.
    max_pixels : int
        Limit on Rows x Columns x Number of Frames.

    Returns
    -------
    LoadedImage

    Raises
    ------
    RecordError
        The file cannot be used; `reason` is a key of `gazekit.errors.REASONS`. The message never holds a value of
        the header.
    InputError
        The mode does not exist, or a decoder is not installed.
    """
    check_windowing(windowing)
    path = Path(path)
    with named_refusals(path), _quiet() as caught, path.open("rb") as file:
        if path.stat().st_size > 4 * max_pixels + _OTHER_BYTES:
            raise RecordError("too_large", f"the file is larger than an image of {max_pixels} pixels can be")
        parsed = _parse(file, max_pixels)
        codes, description, decoder = _decode(parsed)
        shown = display(codes, description, windowing=windowing)
    flags = {
        "header_warning": bool(caught),
        "no_transfer_syntax": not parsed.encoding.syntax,
        "excess_pixel_bytes": parsed.has_excess_bytes,
        "grey_rgb": parsed.header.samples == 3,
    }
    facts = parsed.header.facts | {
        "TransferSyntaxUID": parsed.encoding.syntax,
        "windowing": windowing,
        "voi": shown.voi,
        "inverted": shown.inverted,
        "decoder": decoder,
        "flags": [*parsed.header.flags, *(f for f, holds in flags.items() if holds), *shown.flags],
    }
    return LoadedImage(shown.pixels, facts)


def dicom_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Rows and Columns of a DICOM image, its header read and checked, its pixels not read.

    Parameters and errors as in `read_dicom`, but for what only decoding can find.
    """
    path = Path(path)
    with named_refusals(path), _quiet(), path.open("rb") as file:
        header = _parse(file, max_pixels).header
    return header.rows, header.columns


@contextmanager
def named_refusals(path: Path) -> Iterator[None]:
    """Every failure to read `path` becomes a `RecordError` with its name; `InputError` passes."""
    try:
        yield
    except RecordError as error:
        raise RecordError(error.reason, f"{path.name}: {error}") from None
    except InputError:
        raise
    except FileNotFoundError:
        raise RecordError("missing_image", f"{path.name}: no such file") from None
    except OSError as error:
        raise RecordError("unreadable", f"{path.name}: {error.strerror or 'it cannot be read'}") from None
    except MemoryError:
        raise RecordError("too_large", f"{path.name}: not enough memory for this image") from None


@contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Collect what pydicom would warn of or log: its messages quote header values."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        logger.setLevel(level)


@contextmanager
def _bad_header() -> Iterator[None]:
    """Whatever parsing hits on malformed bytes becomes a `RecordError`."""
    try:
        yield
    except (RecordError, MemoryError):
        raise
    except RecursionError:
        raise RecordError("bad_header", "the header's sequences are nested too deeply") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the operating system, not of pydicom
            raise
        raise RecordError("bad_header", f"the header cannot be parsed ({type(error).__name__})") from None


def _parse(file: BinaryIO, max_pixels: int) -> _Parsed:
    """Read and check everything before the pixel data."""
    try:
        read_preamble(file, force=False)
    except InvalidDicomError:
        raise RecordError("not_dicom", "not a DICOM file: the mark DICM is missing after 128 bytes") from None
    with _bad_header():
        meta = read_dataset(file, False, True, stop_when=_after_meta, specific_tags=[_TRANSFER_SYNTAX])
        encoding = _encoding(str(meta.get("TransferSyntaxUID") or ""), file)
    inflater = _Inflater(file.read()) if encoding.syntax == DEFLATED else None
    stream = inflater.upto(_DEFLATED_HEADER) if inflater else file
    with _bad_header():
        dataset = read_dataset(
            stream,
            encoding.implicit,
            encoding.little,
            stop_when=_at_pixels,
            specific_tags=[Tag(keyword) for keyword in TAGS],
        )
        # some files are written without value representations although their transfer syntax has them
        encoding = encoding._replace(implicit=bool(dataset.original_encoding[0]))
        element = _pixel_element(stream, encoding)
        if element is None and inflater and inflater.has_more:
            raise RecordError("too_large", _DEFLATED_BOMB)
        if element is None and "Rows" not in dataset:
            raise RecordError("truncated", _NO_PIXELS)
        header = interpret_header(dataset, little_endian=encoding.little, max_pixels=max_pixels)
    if element is None:
        raise RecordError("truncated", _NO_PIXELS)
    if inflater:
        start = stream.tell()
        stream = inflater.upto(start + header.pixel_bytes + _DEFLATED_TRAILER)
        if inflater.has_more:
            raise RecordError("too_large", _DEFLATED_BOMB)
        stream.seek(start)
    return _Parsed(header, encoding, element, stream)


def _after_meta(tag: int, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    return tag >= _FIRST_PIXEL_TAG


def _encoding(syntax: str, file: BinaryIO) -> _Encoding:
    """How the data set is written (PS3.5 section 10 and annex A); found out from its first element if need be."""
    if syntax in (EXPLICIT_LITTLE, DEFLATED) or syntax in CODECS:
        return _Encoding(syntax, implicit=False, little=True)
    if syntax == IMPLICIT_LITTLE:
        return _Encoding(syntax, implicit=True, little=True)
    if syntax == EXPLICIT_BIG:
        return _Encoding(syntax, implicit=False, little=False)
    if syntax:
        raise RecordError("decode_failed", "the file's transfer syntax is not one that is read")
    first = file.read(6)
    file.seek(-len(first), io.SEEK_CUR)
    explicit = first[4:6].isalpha() and first[4:6].isupper()
    # the first group is small, so its high byte is zero: a low byte of zero means that it comes last
    return _Encoding("", implicit=not explicit, little=not (explicit and first[0] == 0))


class _Inflater:
    """Expands a deflated data set (PS3.5 A.5) only as far as it is asked to."""

    def __init__(self, deflated: bytes) -> None:
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS)
        self._rest = deflated
        self._data = b""

    def upto(self, limit: int) -> BinaryIO:
        """The data set as a stream, expanded to at most `limit` bytes."""
        try:
            self._data += self._engine.decompress(self._rest, max(1, limit - len(self._data)))
        except zlib.error:
            raise RecordError("decode_failed", "the deflated data set is damaged") from None
        self._rest = self._engine.unconsumed_tail
        return io.BytesIO(self._data)

    @property
    def has_more(self) -> bool:
        """The limit was met before the end."""
        return bool(self._rest) and not self._engine.eof


def _pixel_element(stream: BinaryIO, encoding: _Encoding) -> _PixelElement | None:
    """Read the head of Pixel Data (PS3.5 7.1); None where the stream has no element left."""
    order = "<" if encoding.little else ">"
    head = stream.read(8 if encoding.implicit else 12)
    if len(head) < (8 if encoding.implicit else 12):
        return None
    group, number = struct.unpack_from(f"{order}HH", head)
    if group << 16 | number != _PIXEL_DATA:
        raise RecordError("bad_header", "the pixel data are not whole numbers in Pixel Data (7FE0,0010)")
    vr = "" if encoding.implicit else head[4:6].decode("latin-1")
    if vr not in ("", "OB", "OW", "UN"):
        raise RecordError("bad_header", "Pixel Data has a value representation that is not allowed")
    (length,) = struct.unpack_from(f"{order}I", head, len(head) - 4)
    return _PixelElement(vr, length)


def _decode(parsed: _Parsed) -> tuple[NDArray[Any], PixelDescription, str]:
    """Codes (rows, columns) as stored, what they mean, and the name of the decoder ("raw" for none)."""
    header, encoding, element, stream = parsed
    description = header.description
    if encoding.syntax in CODECS:
        if element.length != _UNDEFINED_LENGTH:
            raise RecordError("bad_header", "the pixel data are not encapsulated, as the transfer syntax demands")
        expected = StreamSize(header.rows, header.columns, header.samples, header.bits_allocated)
        codes, codec, size = decode_frame(joined_fragments(stream.read()), encoding.syntax, expected)
        if codec.keeps_precision:
            description = replace(description, bits=size.precision)
        decoder = codec.name
    else:
        if element.length == _UNDEFINED_LENGTH:
            raise RecordError("bad_header", "the pixel data are compressed, but the transfer syntax says they are not")
        codes, decoder = _uncompressed(parsed), "raw"
    if header.samples == 3:
        codes = grey_channel(codes, luminance=description.photometric != "RGB" or decoder == "pillow")
    return codes, description, decoder


def _uncompressed(parsed: _Parsed) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, samples) codes of uncompressed pixel data (PS3.5 8.1.1 and 8.2)."""
    header, encoding, element, stream = parsed
    if header.description.photometric == "YBR_FULL_422":
        raise RecordError("not_grey", "the colour channels are subsampled")
    data = stream.read(header.pixel_bytes + header.pixel_bytes % 2)
    if len(data) < header.pixel_bytes or element.length < header.pixel_bytes:
        raise RecordError("truncated", "the pixel data are shorter than Rows and Columns need")
    if not encoding.little and element.vr == "OW" and header.bits_allocated == 8:
        # 8-bit samples packed into big-endian 16-bit words: the first sample is the low byte (PS3.5 8.1.1)
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    order = "<" if encoding.little else ">"
    codes = np.frombuffer(data, f"{order}u{header.bits_allocated // 8}", header.rows * header.columns * header.samples)
    codes = codes.astype(codes.dtype.newbyteorder("="), copy=False)
    if header.samples == 1:
        return codes.reshape(header.rows, header.columns)
    if header.planar:
        return codes.reshape(header.samples, header.rows, header.columns).transpose(1, 2, 0)
    return codes.reshape(header.rows, header.columns, header.samples)


def grey_channel(channels: NDArray[Any], *, luminance: bool = False) -> NDArray[Any]:
    """The one channel of a colour image that is grey.

    Parameters
    ----------
    channels : (H, W, 3) unsigned integers
    luminance : bool
        The channels may also be luminance and chrominance, grey where both chrominances are at their middle.

    Returns
    -------
    (H, W) of the same type.

    Raises
    ------
    RecordError
        ``not_grey``: the channels differ.
    """
    first, second, third = (channels[..., k] for k in range(3))
    if np.array_equal(first, second) and np.array_equal(first, third):
        return first
    neutral = 1 << (8 * channels.dtype.itemsize - 1)
    if luminance and bool((second == neutral).all() and (third == neutral).all()):
        return first
    raise RecordError("not_grey", "a colour image whose channels differ")
