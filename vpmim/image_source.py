"""Where an evaluation's images come from: files, or the stored squares of a gazekit cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.cache import PriorCache, open_cache
from gazekit.errors import RecordError
from vpmim.images import SquareBatch, read_square_batches

if TYPE_CHECKING:
    import torch

    from vpmim.features import Preprocessing

CACHE_HEADER = "cache.json"
DICOM_SUFFIXES = (".dcm", ".dicom")

_BATCH = {"cpu": 32, "cuda": 256}


class ImagesError(ValueError):
    """No images where they were said to be, or one that cannot be used."""


@dataclass(frozen=True)
class ImageFiles:
    """PNG and JPEG files."""

    paths: tuple[Path, ...]

    def absent(self) -> list[int]:
        """Positions of the images that are not there."""
        return [position for position, path in enumerate(self.paths) if not path.is_file()]

    def fingerprint(self) -> str:
        """Changes when a file is another: names, sizes and times of change."""
        digest = hashlib.sha256()
        for path in self.paths:
            found = path.stat() if path.exists() else None
            digest.update(f"{path.name} {found and (found.st_size, found.st_mtime_ns)}\n".encode())
        return digest.hexdigest()

    def batches(self, size: int, *, device: torch.device) -> Iterator[SquareBatch]:
        """Stored squares of `size` pixels, decoded by all processors, in batches that suit the device."""
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return read_square_batches(self.paths, size, batch_size=_BATCH[device.type], threads=threads)


@dataclass(frozen=True)
class CachedImages:
    """Rows of a cache.

    Attributes
    ----------
    cache : PriorCache
    rows : (N,) positions in the cache, -1 for an image that it does not have
    reasons : position -> why the cache does not have the image, where it says
    """

    cache: PriorCache
    rows: tuple[int, ...]
    reasons: dict[int, RecordError]

    def absent(self) -> list[int]:
        """Positions of the images that the cache never heard of; those it could not read are failures."""
        return [place for place, row in enumerate(self.rows) if row < 0 and place not in self.reasons]

    def fingerprint(self) -> str:
        """Changes when an image is another."""
        return hashlib.sha256(f"{self.cache.fingerprint} {self.rows}".encode()).hexdigest()

    def batches(self, size: int, *, device: torch.device) -> Iterator[SquareBatch]:
        """The stored squares as they are.

        Raises
        ------
        ImagesError
            They are of another size.
        """
        if self.cache.image_size != size:
            raise ImagesError(
                f"{self.cache.path.name}: stores squares of {self.cache.image_size} pixels, {size} are asked for; "
                f"build it with --image-size {size}"
            )
        step = _BATCH[device.type]
        for start in range(0, len(self.rows), step):
            places = range(start, min(start + step, len(self.rows)))
            found = [place for place in places if self.rows[place] >= 0]
            rows = [self.rows[place] for place in found]
            yield SquareBatch(
                index=np.array(found, np.int64),
                squares=np.array([self.cache.images[row] for row in rows], np.uint8).reshape(-1, size, size),
                frames=self.cache.frames[rows].reshape(-1, 6),
                failures=tuple((place, self._failure(place)) for place in places if self.rows[place] < 0),
            )

    def _failure(self, place: int) -> RecordError:
        return self.reasons.get(place) or RecordError("missing_image", "the cache has no such image")


ImageSource = ImageFiles | CachedImages


Convert = Callable[[Mapping[str, Path], int], Path]
"""DICOM files by id, and the side of the square to store -> a cache of them, whose ids are those."""


def tables_folder(data: Path, labels: str | Path | None) -> Path:
    """The folder that holds a data set's label tables.

    Raises
    ------
    ImagesError
        `data` is a cache, which holds no labels, and `labels` is not given; or the other way round.
    """
    if is_cache(data) and labels is None:
        raise ImagesError(
            f"{data} is a cache, which holds images and no labels; name the tables' folder by --labels DIR"
        )
    if labels is not None and not is_cache(data):
        raise ImagesError(f"--labels goes with a cache as --data, and {data} is none")
    return data if labels is None else Path(labels)


def open_images(
    ids: Sequence[str], paths: Sequence[Path], data: Path, prepared: Preprocessing, *, convert: Convert | None
) -> tuple[ImageSource, Preprocessing]:
    """The images of a data set, and how they are prepared then.

    Parameters
    ----------
    ids, paths : of the images
    data : its folder, or a cache
    prepared : Preprocessing
        Of the encoder. A cache's own size of the stored square replaces the one named here.
    convert : makes a cache of DICOM files; None where nothing here can read DICOM

    Raises
    ------
    ImagesError
        DICOM files and no `convert`, or a cache of something else.
    """
    if is_cache(data):
        images = cached_images(data, ids)
        return images, replace(prepared, stored_size=images.cache.image_size)
    dicom = dicom_files(paths, data)
    if not dicom:
        return ImageFiles(tuple(paths)), prepared
    if convert is None:
        raise ImagesError(
            f"{len(dicom)} of {len(paths)} images are DICOM; make a cache of them, gazekit build-heatmaps "
            f"{dicom[0].parent} CACHE --dataset images --image-size {prepared.stored_size}, and give it: --data CACHE "
            f"--labels {data}"
        )
    cache = convert(dict(zip(ids, paths, strict=True)), prepared.stored_size)
    return cached_images(cache, ids), prepared


def dicom_files(paths: Sequence[Path], data: Path) -> list[Path]:
    """Those images of a data set that are DICOM, and must be made a cache first; none where `data` is a cache."""
    return [] if is_cache(data) else [path for path in paths if path.suffix.lower() in DICOM_SUFFIXES]


def is_cache(path: Path) -> bool:
    """Whether a folder is a gazekit cache."""
    return (path / CACHE_HEADER).is_file()


def cached_images(path: Path, ids: Sequence[str]) -> CachedImages:
    """Rows of a cache by a data set's ids.

    Parameters
    ----------
    path : the cache
    ids : the data set's names of its images

    Returns
    -------
    CachedImages
        A cache of a folder names an image by its path, dots for slashes, without the ending. An id means the row of
        that very name; else of its file name without ending; else the one row whose name ends with a dot and that.

    Raises
    ------
    ImagesError
        Two rows that an id could mean, or not one image of the data set in the cache.
    """
    cache = open_cache(path)
    row_of: dict[str, list[int]] = {}
    for row, name in enumerate(cache.ids):
        for ending in name_endings(name):
            row_of.setdefault(ending, []).append(row)
    exact = {name: row for row, name in enumerate(cache.ids)}
    failed = {
        ending: RecordError(failure["reason"], failure["message"])
        for failure in cache.failures
        for ending in name_endings(failure["id"])
    }
    rows, reasons = [], {}
    for place, name in enumerate(ids):
        dotted = name.replace("/", ".")
        stem = dotted.rsplit(".", 1)[0] if Path(name).suffix.lower() in (".png", ".jpg", ".jpeg", ".dcm") else dotted
        matches = [exact[key] for key in (dotted, stem) if key in exact][:1] or row_of.get(stem, [])
        if len(matches) > 1:
            raise ImagesError(f"{path.name}: {name} could be {len(matches)} of its images; build it from one folder")
        rows.append(matches[0] if matches else -1)
        if not matches and stem in failed:
            reasons[place] = failed[stem]
    if not any(row >= 0 for row in rows):
        raise ImagesError(f"{path.name}: holds none of the {len(ids)} images, first {ids[0]}; is it of this data set?")
    return CachedImages(cache, tuple(rows), reasons)


def name_endings(name: str) -> Iterator[str]:
    """A row's name, and what remains of it when folders are taken off its front."""
    parts = name.split(".")
    for start in range(len(parts)):
        yield ".".join(parts[start:])
