"""What readings are simulated of: phantoms, or a folder of images with or without marked lesions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.simulate.anatomy import Anatomy, Box, Lesion, default_anatomy, random_lesions
from gazekit.simulate.dicom_out import MIXED, Encoding
from gazekit.simulate.viewer import check_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".dcm"})
MARK_COLUMNS: tuple[str, ...] = ("image", "finding", "xmin", "ymin", "xmax", "ymax")
CHEST_MARK = "chest box"
"""In the `finding` column of a table of marks: the lungs-and-heart box of the image, not a lesion."""


@dataclass(frozen=True)
class Picture:
    """An image that will be read.

    Attributes
    ----------
    pixels : (H, W) float32 in [0, 1]
        Displayed polarity: air dark.
    anatomy : Anatomy
    lesions : tuple of Lesion
    encoding : Encoding
        How its DICOM file stores it.
    view_position : str
        ``PA`` or ``AP``.
    derivation : str
        What the picture is, for the DICOM header.
    """

    pixels: NDArray[np.float32]
    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    encoding: Encoding
    view_position: str = "PA"
    derivation: str = "Picture: as given to the simulator."

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.pixels.shape
        return height, width


PictureMaker = Callable[[np.random.Generator], Picture]
"""Makes one picture when its turn comes, so that a data set never lies in memory as a whole."""


@dataclass(frozen=True)
class Marks:
    """What is marked on one image; the anatomy is the assumed one where there is no chest box."""

    chest: Box | None = None
    lesions: tuple[Lesion, ...] = ()


def phantom_makers(
    count: int, image_shape: tuple[int, int], *, encodings: Sequence[Encoding] = MIXED
) -> list[PictureMaker]:
    """`count` phantoms of about one size, stored in turn in each of `encodings`."""
    check_size((round(0.9 * image_shape[0]), round(0.9 * image_shape[1])))
    return [partial(_phantom, image_shape=image_shape, encoding=encodings[i % len(encodings)]) for i in range(count)]


def _phantom(rng: np.random.Generator, *, image_shape: tuple[int, int], encoding: Encoding) -> Picture:
    from gazekit.simulate.phantom import chest_phantom

    # real films differ in size, and a reader of files should meet odd sizes too
    height, width = (round(side * rng.uniform(0.9, 1.1)) for side in image_shape)
    drawn = chest_phantom((height, width), rng)
    return Picture(drawn.pixels, drawn.anatomy, drawn.lesions, encoding, derivation="Picture: a drawn phantom.")


def check_source(seed: int, *, images: object | None, lesions: object | None) -> None:
    """`InputError` for a seed or marks that no simulator takes."""
    if seed < 0:
        raise InputError(f"--seed must be at least 0, got {seed}")
    if lesions is not None and images is None:
        raise InputError("--lesions marks lesions on images: give --images too")


def folder_makers(
    images: Path, marks: Mapping[str, Marks] | None = None, *, encodings: Sequence[Encoding] = MIXED
) -> list[PictureMaker]:
    """The images under a folder, in order of their relative path, stored in turn in each of `encodings`.

    Parameters
    ----------
    images : Path
        Searched to any depth for `IMAGE_SUFFIXES`.
    marks : mapping, optional
        Relative path with ``/`` to `Marks`; an image without any is then normal. None: random plausible lesions.
    encodings : sequence of Encoding

    Returns
    -------
    list of PictureMaker

    Raises
    ------
    InputError
        For no folder, no image, or marks on an image that is not there.
    """
    if not images.is_dir():
        raise InputError(f"no image folder at {images}")
    found = {p.relative_to(images).as_posix(): p for p in images.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES}
    if not found:
        raise InputError(f"no .png, .jpg, .jpeg or .dcm file under {images}")
    for name in marks or ():
        if name not in found:
            raise InputError(f"the table of marks names an image that is not under {images}: {name}")
    return [
        partial(
            read_picture,
            path=found[name],
            marks=None if marks is None else marks.get(name, Marks()),
            encoding=encodings[i % len(encodings)],
        )
        for i, name in enumerate(sorted(found))
    ]


def read_picture(
    rng: np.random.Generator,
    *,
    path: Path,
    marks: Marks | None,
    encoding: Encoding,
    view_position: str = "PA",
    derivation: str = "Picture: as given to the simulator.",
) -> Picture:
    """An image file as a picture; without `marks`, with random plausible lesions."""
    from gazekit.image import load_image

    try:
        pixels = load_image(path).pixels
    except RecordError as error:
        raise InputError(f"{path}: {error}; take it out of the folder") from error
    height, width = pixels.shape
    try:
        check_size((height, width))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    anatomy = Anatomy(marks.chest) if marks and marks.chest else default_anatomy((height, width))
    lesions = random_lesions(anatomy, rng) if marks is None else marks.lesions
    for lesion in lesions:
        x, y = lesion.centre
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(
                f"{path}: the centre of a marked {lesion.finding} lies outside the {width} x {height} image"
            )
    return Picture(pixels, anatomy, lesions, encoding, view_position, derivation)


def read_marks(path: Path) -> dict[str, Marks]:
    """A table of marks: one row a lesion (or chest box), in original image pixels.

    Parameters
    ----------
    path : Path
        CSV with the columns ``image, finding, xmin, ymin, xmax, ymax``; `finding` is a REFLACX label of any phase, or
        ``chest box``.

    Returns
    -------
    dict
        Image as written to `Marks`.

    Raises
    ------
    InputError
        Naming the row and column.
    """
    if not path.is_file():
        raise InputError(f"no table of marks at {path}")
    chests: dict[str, Box] = {}
    lesions: dict[str, list[Lesion]] = {}
    for where, row in _mark_rows(path):
        box = _box(row, where)
        if row["finding"] == CHEST_MARK:
            chests[row["image"]] = box
            continue
        try:
            lesions.setdefault(row["image"], []).append(Lesion(row["finding"], box))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return {name: Marks(chests.get(name), tuple(lesions.get(name, ()))) for name in dict.fromkeys((*chests, *lesions))}


def _mark_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a table of marks, each with the words that say where it is."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        missing = [name for name in MARK_COLUMNS if name not in names]
        if missing:
            raise InputError(f"{path}: missing column {', '.join(missing)}; found: {', '.join(names) or 'none'}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"{where}: expected {len(names)} cells")
            yield where, row
    except csv.Error as error:
        raise InputError(f"{path}, after line {reader.line_num}: not a CSV row: {error}") from None


def _box(row: Mapping[str, str], where: str) -> Box:
    values = []
    for name in MARK_COLUMNS[2:]:
        try:
            value = float(row[name])
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise InputError(f"{where}, column {name}: expected a number of pixels, got {row[name]!r}")
        values.append(value)
    x0, y0, x1, y1 = values
    if not (x0 < x1 and y0 < y1):
        raise InputError(f"{where}: expected xmin < xmax and ymin < ymax, got {x0:g}, {y0:g}, {x1:g}, {y1:g}")
    return x0, y0, x1, y1
