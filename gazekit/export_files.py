"""Exports that are plain files: PNG with tables, dense ``.npy`` arrays, and WebDataset's tar files."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.cache_files import gaze_kind
from gazekit.shards import FIXATION_FIELDS, fsync_directory, sync, to_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache, Record

ROW_FIELDS = ("id", "image_id", "reading_ids", "patient_id", "split", "view", "n_readings", "n_fixations")
FRAME_FIELDS = ("scale_x", "scale_y", "offset_x", "offset_y", "width", "height")
"""``stored = scale * original + offset``, and the original size."""

INDEX_FIELDS = ("row", *ROW_FIELDS, "gaze", *FRAME_FIELDS, "heatmap_factor")
TAR_ROWS = 1000
"""Rows a tar file of WebDataset."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def row_facts(record: Record, row: int) -> dict[str, Any]:
    """What an export says of one row: keys `INDEX_FIELDS`."""
    facts = {name: record.info[name] for name in ROW_FIELDS} | {"gaze": gaze_kind(record.info)}
    frame = dict(zip(FRAME_FIELDS, record.frame.to_array().tolist(), strict=True))
    return {"row": row} | facts | frame | {"heatmap_factor": record.info["heatmap_factor"]}


def fixation_rows(record: Record) -> NDArray[np.float64]:
    """(F, 12) float64, columns `FIXATION_FIELDS`."""
    return np.column_stack([record.gaussians, record.reading_index, record.onset_s, record.offset_s])


def write_png(cache: PriorCache, directory: Path, on_row: Callable[[int], None]) -> None:
    """``images/ID.png`` (8 bit), ``heatmaps/ID.png`` (16 bit, 65535 = maximum), and tables.

    ``index.csv`` has one line a row, ``relevance.csv`` its patches row by row, ``fixations.csv`` one line a fixation.
    """
    folders = ["images", "heatmaps"] if cache.heatmaps is not None else ["images"]
    for folder in folders:
        (directory / folder).mkdir()
    patches = [f"r{r}c{c}" for r in range(cache.grid[0]) for c in range(cache.grid[1])]
    with (
        _table(directory / "index.csv", INDEX_FIELDS) as index,
        _table(directory / "relevance.csv", ("id", *patches)) as relevance,
        _table(directory / "fixations.csv", ("id", *FIXATION_FIELDS)) as fixations,
    ):
        for row, record in enumerate(cache):
            _write_file(directory / "images" / f"{record.id}.png", png_bytes(record.image))
            if record.heatmap is not None:
                _write_file(directory / "heatmaps" / f"{record.id}.png", png_bytes(_to_16_bits(record.heatmap)))
            index(_cells(row_facts(record, row)))
            relevance([record.id, *map(str, record.relevance.ravel())])
            for fixation in fixation_rows(record).tolist():
                fixations([record.id, *fixation])
            on_row(row + 1)
    for folder in folders:
        fsync_directory(directory / folder)


def write_npy(cache: PriorCache, directory: Path, on_row: Callable[[int], None]) -> None:
    """One array a file, in the order of ``index.csv``; row i holds fixations ``offsets[i]`` to ``offsets[i + 1]``."""
    with _table(directory / "index.csv", INDEX_FIELDS) as index:
        dense = {name: _empty(directory / f"{name}.npy", array) for name, array in dense_arrays(cache).items()}
        for row, record in enumerate(cache):
            start, stop = cache.offsets[row : row + 2].tolist()
            dense["fixations"][start:stop] = cache.fixations(row)
            for name, array in row_arrays(record).items():
                dense[name][row] = array
            index(_cells(row_facts(record, row)))
            on_row(row + 1)
        dense["offsets"][:] = cache.offsets
    for name, array in dense.items():
        array.flush()
        with (directory / f"{name}.npy").open("rb") as file:
            sync(file)


def dense_arrays(cache: PriorCache) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each array over the whole cache, by its name in an export."""
    names = {"image": "images", "frame": "frames", "heatmap": "heatmaps"}
    lengths = {"fixations": int(cache.offsets[-1]), "offsets": len(cache) + 1}
    return {
        names.get(name, name): ((lengths.get(name, len(cache)), *spec.row_shape), spec.dtype)
        for name, spec in cache.specs.items()
    }


def row_arrays(record: Record) -> dict[str, NDArray[Any]]:
    """The arrays of one row with one entry in each of `dense_arrays`."""
    arrays: dict[str, NDArray[Any]] = {
        "images": record.image,
        "frames": record.frame.to_array(),
        "relevance": record.relevance,
    }
    return arrays if record.heatmap is None else arrays | {"heatmaps": record.heatmap}


def write_webdataset(cache: PriorCache, directory: Path, on_row: Callable[[int], None]) -> None:
    """``shard-000000.tar`` ...: ``KEY.image.png, .heatmap.png, .relevance.npy, .fixations.npy, .json``.

    KEY is the row number: WebDataset ends a key at its first dot, which an id may hold. Members carry no time, owner
    or host, so equal caches are equal bytes.
    """
    for first in range(0, len(cache), TAR_ROWS):
        with (directory / f"shard-{first // TAR_ROWS:06d}.tar").open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for row in range(first, min(first + TAR_ROWS, len(cache))):
                    for suffix, content in _members(cache[row], row):
                        member = tarfile.TarInfo(f"{row:08d}.{suffix}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
                    on_row(row + 1)
            sync(file)


def _members(record: Record, row: int) -> Iterator[tuple[str, bytes]]:
    yield "image.png", png_bytes(record.image)
    if record.heatmap is not None:
        yield "heatmap.png", png_bytes(_to_16_bits(record.heatmap))
    yield "relevance.npy", _npy_bytes(record.relevance)
    yield "fixations.npy", _npy_bytes(fixation_rows(record))
    yield "json", to_json(row_facts(record, row))


def png_bytes(pixels: NDArray[Any]) -> bytes:
    """(H, W) uint8 or uint16 as PNG."""
    import cv2

    encoded: NDArray[np.uint8] = cv2.imencode(".png", pixels)[1]
    return encoded.tobytes()


def _to_16_bits(heatmap: NDArray[np.float16]) -> NDArray[np.uint16]:
    return np.rint(heatmap.astype(np.float64) * 65535).astype(np.uint16)


def _npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _empty(path: Path, array: tuple[tuple[int, ...], str]) -> np.memmap[Any, Any]:
    shape, dtype = array
    mapped: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    return mapped


def _write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        sync(file)


@contextmanager
def _table(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[Any]], Any]]:
    """A CSV file to write line by line, with its header."""
    with path.open("xb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerow
        text.flush()
        sync(file)
        text.detach()


def _cells(facts: dict[str, Any]) -> list[Any]:
    """Facts as cells: lists joined by spaces; a text that a spreadsheet would take for a formula is quoted."""
    cells = [" ".join(value) if isinstance(value, list) else value for value in facts.values()]
    return [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
