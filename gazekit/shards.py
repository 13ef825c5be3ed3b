"""The cache's files as they lie on disk, and the one way in which they are written.

A shard is a directory of plain ``.npy`` files that is filled as a temporary sibling, fsynced, renamed and then
never changed. Rows are written as they come, so that a worker holds one image, however large the shard.
Nothing here reads a clock, a host name or an environment, so equal rows are equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from gazekit.errors import CacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "gazekit-cache"
FORMAT_VERSION = 1

HEADER_FILE = "cache.json"
SHARDS = "shards"
SHARD_FILE = "shard.json"
READINGS_FILE = "readings.jsonl"
MANIFEST_FILE = "manifest.parquet"
FAILURES_FILE = "failures.csv"

FIXATION_FIELDS = (
    "x",
    "y",
    "sigma_x",
    "sigma_y",
    "weight",
    "clip_x0",
    "clip_y0",
    "clip_x1",
    "clip_y1",
    "reading",
    "onset_s",
    "offset_s",
)
"""Columns of ``fixations.npy``: the clipped Gaussian in original pixels, the reading's place in the row, times."""

GAUSSIAN_FIELDS = 9
"""The leading columns that are the Gaussian itself."""


class ArraySpec(NamedTuple):
    """Type of one array of a shard: numpy dtype string, and the shape of one row."""

    dtype: str
    row_shape: tuple[int, ...]


ROW_ARRAYS = ("image", "frame", "relevance", "heatmap")
"""The arrays with one entry a row; ``fixations`` is ragged, cut by ``offsets``."""


def array_specs(image_size: int, grid: tuple[int, int], heatmap_size: int) -> dict[str, ArraySpec]:
    """Arrays of every shard of a cache, by name.

    Parameters
    ----------
    image_size : int
        Side S of the stored square.
    grid : (rows, cols) of the relevance
    heatmap_size : int
        Side of the stored heatmap; 0 for none.
    """
    specs = {
        "image": ArraySpec("|u1", (image_size, image_size)),
        "frame": ArraySpec("<f8", (6,)),
        "fixations": ArraySpec("<f8", (len(FIXATION_FIELDS),)),
        "offsets": ArraySpec("<i8", ()),
        "relevance": ArraySpec("<f4", tuple(grid)),
    }
    if heatmap_size:
        specs["heatmap"] = ArraySpec("<f2", (heatmap_size, heatmap_size))
    return specs


@dataclass(frozen=True, slots=True)
class Row:
    """What one image (or one reading) puts into a shard.

    Attributes
    ----------
    info : dict
        What ``shard.json`` says of it; ``status`` is "ok" or "skipped".
    arrays : dict or None
        One array for each of `ROW_ARRAYS` that the cache holds; None for a skipped row.
    fixations : (F, 12) float64, columns `FIXATION_FIELDS`
    readings : tuple of dict
        One object a reading, in the order the ``reading`` column counts.
    """

    info: dict[str, Any]
    arrays: dict[str, NDArray[Any]] | None = None
    fixations: NDArray[np.float64] | None = None
    readings: tuple[dict[str, Any], ...] = ()


def shard_name(k: int) -> str:
    """Directory name of shard k."""
    return f"{k:05d}"


def write_shard(path: Path, rows: Iterable[Row], *, specs: Mapping[str, ArraySpec], fingerprint: str) -> dict[str, Any]:
    """Write one shard, all of it or none.

    Parameters
    ----------
    path : Path
        The shard's directory, which must not exist; temporaries that a killed writer left there are removed.
    rows : iterable of Row
        In the order of their ids; taken one at a time.
    specs : mapping
        As from `array_specs`.
    fingerprint : str
        Of the plan the rows belong to.

    Returns
    -------
    dict
        The content of ``shard.json``.

    Raises
    ------
    OSError
        The system refused (disk full, permission); nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        content = _fill(temporary, rows, specs) | {"shard": path.name, "fingerprint": fingerprint}
        content["files"] = {
            file.name: {"sha256": sha256_file(file), "bytes": file.stat().st_size}
            for file in sorted(temporary.iterdir())
        }
        with (temporary / SHARD_FILE).open("wb") as file:
            file.write(to_json(content))
            sync(file)
        fsync_directory(temporary)
        temporary.rename(path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _name(path, error)
        raise
    fsync_directory(path.parent)
    return content


def _fill(directory: Path, rows: Iterable[Row], specs: Mapping[str, ArraySpec]) -> dict[str, Any]:
    infos: list[dict[str, Any]] = []
    fixations_so_far = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(_ArrayFile(directory / f"{name}.npy", spec)) for name, spec in specs.items()}
        readings = stack.enter_context((directory / READINGS_FILE).open("wb"))
        files["offsets"].append(np.zeros(1))
        n_ok = n_readings = 0
        for row in rows:
            if row.arrays is None or row.fixations is None:
                infos.append(row.info | {"row": None})
                continue
            for name in ROW_ARRAYS:
                if name in files:
                    files[name].append(row.arrays[name][None])
            files["fixations"].append(row.fixations)
            fixations_so_far += len(row.fixations)
            files["offsets"].append(np.array([fixations_so_far]))
            start = readings.tell()
            for reading in row.readings:
                readings.write(to_json({"row": n_ok, "id": row.info["id"]} | reading))
            infos.append(row.info | {"row": n_ok, "readings_bytes": [start, readings.tell()]})
            n_ok += 1
            n_readings += len(row.readings)
        sync(readings)
    counts = {
        "planned": len(infos),
        "rows": n_ok,
        "skipped": len(infos) - n_ok,
        "fixations": fixations_so_far,
        "readings": n_readings,
    }
    return {"format_version": FORMAT_VERSION, "counts": counts, "rows": infos}


class _ArrayFile:
    """A ``.npy`` file that grows by rows; its header is completed when it is closed."""

    def __init__(self, path: Path, spec: ArraySpec) -> None:
        self._spec = spec
        self._rows = 0
        self._file: IO[bytes] = path.open("wb")
        self._header_size = self._file.write(self._header())

    def __enter__(self) -> _ArrayFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                header = self._header()
                if len(header) != self._header_size:
                    raise CacheError(f"{self._file.name}: too many rows for one shard")
                self._file.seek(0)
                self._file.write(header)
                sync(self._file)
        finally:
            self._file.close()

    def append(self, block: NDArray[Any]) -> None:
        """Add a block of rows, converted to the dtype of the file."""
        if block.shape[1:] != self._spec.row_shape:
            raise CacheError(f"{self._file.name}: a row is {block.shape[1:]}, expected {self._spec.row_shape}")
        self._file.write(np.ascontiguousarray(block, dtype=self._spec.dtype).tobytes())
        self._rows += len(block)

    def _header(self) -> bytes:
        # numpy leaves room for the first axis to grow, so that the header keeps its length
        buffer = io.BytesIO()
        shape = (self._rows, *self._spec.row_shape)
        npy.write_array_header_1_0(buffer, {"descr": self._spec.dtype, "fortran_order": False, "shape": shape})
        return buffer.getvalue()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once it is whole and on the disk, or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            sync(file)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _name(path, error)
        raise
    fsync_directory(path.parent)


def _name(path: Path, error: BaseException) -> None:
    """Let a full disk say where it is: the system's answer to a write names no file."""
    if isinstance(error, OSError) and error.filename is None:
        error.filename = str(path)


def sync(file: IO[bytes]) -> None:
    """Bring a file's content to the disk."""
    file.flush()
    os.fsync(file.fileno())


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(content: Any, *, indent: int | None = None) -> bytes:
    """JSON as the cache holds it: one form for equal content, ASCII, no NaN, ended by a newline."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(content, allow_nan=False, indent=indent, separators=separators)
    return text.encode("ascii") + b"\n"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
