"""Read a cache: memory-mapped, checked before it is mapped, never unpickled. numpy and the standard library only.

The layout is written by `gazekit.build`. Everything a file claims (format version, dtype, shape, length, offsets)
is checked before it is trusted; what is handed out is a copy, so nothing can be altered through it.
"""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.array_view import ArrayView, row_position
from gazekit.cache_files import (
    PREDICTED,
    check_finite,
    check_values,
    gaze_kind,
    is_invented,
    map_array,
    read_header,
    read_readings,
    read_shard_file,
    row_failures,
)
from gazekit.errors import CacheError
from gazekit.geometry import ImageFrame
from gazekit.shards import (
    GAUSSIAN_FIELDS,
    HEADER_FILE,
    MANIFEST_FILE,
    READINGS_FILE,
    SHARD_FILE,
    SHARDS,
    array_specs,
    sha256_file,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.prior import Prior

MAX_OPEN_MAPS = 256
"""Memory maps kept open at once: each holds a file descriptor, of which a process often has 1,024."""

MAX_SHARD_ROWS = 64
"""Shards whose ``shard.json`` stays parsed for single rows."""

_IN_MEMORY = ("frame", "offsets")  # small, checked as a whole, and wanted with every row


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a cache.

    Attributes
    ----------
    id : str
        Image id, or reading id in a cache built ``--per reading``.
    image : (S, S) uint8, grey, displayed polarity, padded with black
    frame : ImageFrame
        Original pixels to stored pixels.
    gaussians : (F, 9) float64, original pixels (`gazekit.prior.GAUSSIAN_COLUMNS`); (0, 9) without gaze
    reading_index : (F,) intp
        Which of `readings` a fixation belongs to.
    onset_s, offset_s : (F,) float64
    relevance : (rows, cols) float32, over the stored square; sums to 1, or to 0 without gaze
    heatmap : (h, w) float16 or None
        Over the stored square, maximum 1; times ``info["heatmap_factor"]`` it is the share of gaze a pixel.
    info : dict
        What ``shard.json`` says of the row.
    """

    id: str
    image: NDArray[np.uint8]
    frame: ImageFrame
    gaussians: NDArray[np.float64]
    reading_index: NDArray[np.intp]
    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    relevance: NDArray[np.float32]
    heatmap: NDArray[np.float16] | None
    info: dict[str, Any]
    _shard: Path = field(repr=False)

    @property
    def readings(self) -> list[dict[str, Any]]:
        """Reader, transcript, boxes, ellipses, labels and flags of each reading; read from disk at each call."""
        return read_readings(self._shard / READINGS_FILE, *self.info["readings_bytes"])


class PriorCache:
    """An opened cache, read-only; made by `open_cache`.

    Shards are opened when first used and at most `MAX_OPEN_MAPS` arrays stay mapped. It can be pickled (then only
    its path travels) and used on both sides of a fork.

    Attributes
    ----------
    path : Path
    parameters : dict
        What it was built with.
    fingerprint : str
        Of parameters and inputs.
    header : dict
        All of ``cache.json``.
    specs : dict
        `ArraySpec` of each array.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.header = header
        self.parameters: dict[str, Any] = header["parameters"]
        self.fingerprint: str = header["fingerprint"]
        self.image_size: int = self.parameters["image_size"]
        self.grid: tuple[int, int] = tuple(self.parameters["grid"])
        self.specs = array_specs(self.image_size, self.grid, self.parameters["heatmap_size"])
        self._shards: list[dict[str, Any]] = header["shards"]
        self._starts = _starts(s["rows"] for s in self._shards)
        self._fixation_starts = _starts(s["fixations"] for s in self._shards)
        self._maps: dict[tuple[int, str], NDArray[Any]] = {}
        self._infos: dict[int, list[dict[str, Any]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return open_cache, (self.path,)

    def __repr__(self) -> str:
        return f"PriorCache({str(self.path)!r}, {len(self)} rows of {self.image_size} x {self.image_size})"

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: int) -> Record:
        """Row `key` (negative counts from the end), copied out of the files."""
        i = row_position(key, len(self))
        k = bisect.bisect_right(self._starts, i) - 1
        j = i - self._starts[k]
        fixations = self.fixations(i)
        heatmap = self.shard_array(k, "heatmap")[j].copy() if "heatmap" in self.specs else None
        info = self._info(k, j)
        return Record(
            id=info["id"],
            image=self.shard_array(k, "image")[j].copy(),
            frame=ImageFrame.from_array(self.shard_array(k, "frame")[j]),
            gaussians=fixations[:, :GAUSSIAN_FIELDS],
            reading_index=fixations[:, 9].astype(np.intp),
            onset_s=fixations[:, 10],
            offset_s=fixations[:, 11],
            relevance=self.shard_array(k, "relevance")[j].copy(),
            heatmap=heatmap,
            info=info,
            _shard=self._directory(k),
        )

    @cached_property
    def ids(self) -> list[str]:
        """Id of each row: image ids, or reading ids in a cache built ``--per reading``; sorted."""
        return [row["id"] for row in self._all_rows() if row["status"] == "ok"]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """What the shards say of each row, in the order of `ids`."""
        return [row for row in self._all_rows() if row["status"] == "ok"]

    @cached_property
    def gaze_kinds(self) -> list[str | None]:
        """Whose gaze each row has: "measured", "predicted" (a model's, no person's) or None; in the order of `ids`."""
        return [gaze_kind(row) for row in self.rows]

    @cached_property
    def simulated_rows(self) -> list[bool | None]:
        """Whether each row's gaze is of no person, as predictions fitted to such gaze are; None without gaze."""
        predictor = self.parameters.get("predictor")
        fitted_to_it = isinstance(predictor, dict) and predictor.get("fitted_on_simulated_gaze") is True
        return [
            None if kind is None else is_invented(row) or (kind == PREDICTED and fitted_to_it)
            for kind, row in zip(self.gaze_kinds, self.rows, strict=True)
        ]

    @cached_property
    def simulated_gaze(self) -> bool:
        """Whether it has gaze, and all of it is of no person."""
        of_gaze = [simulated for simulated in self.simulated_rows if simulated is not None]
        return bool(of_gaze) and all(of_gaze)

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """What was skipped: id, image_id, reading_ids, reason, message; readings of usable images too."""
        return [failure for row in self._all_rows() for failure in row_failures(row)]

    @cached_property
    def images(self) -> ArrayView:
        """(n, S, S) uint8 over the memory-mapped shards."""
        return ArrayView(self, "image", self._starts)

    @cached_property
    def heatmaps(self) -> ArrayView | None:
        """(n, h, w) float16 over the memory-mapped shards, or None in a cache without heatmaps."""
        return ArrayView(self, "heatmap", self._starts) if "heatmap" in self.specs else None

    @cached_property
    def frames(self) -> NDArray[np.float64]:
        """(n, 6) float64: scale x, y, offset x, y, original width, height."""
        return np.asarray(ArrayView(self, "frame", self._starts))

    @cached_property
    def relevance(self) -> NDArray[np.float32]:
        """(n, rows, cols) float32."""
        return np.asarray(ArrayView(self, "relevance", self._starts))

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(n + 1,) int64: row i holds the fixations ``offsets[i]`` to ``offsets[i + 1]`` of `all_fixations`."""
        parts = [self.shard_array(k, "offsets")[1:] + self._fixation_starts[k] for k in range(len(self._shards))]
        return np.concatenate([np.zeros(1, np.int64), *parts])

    @cached_property
    def all_fixations(self) -> ArrayView:
        """(sum F, 12) float64 over the memory-mapped shards; columns as in `gazekit.shards.FIXATION_FIELDS`."""
        return ArrayView(self, "fixations", self._fixation_starts)

    def fixations(self, i: int) -> NDArray[np.float64]:
        """(F, 12) float64 of row i."""
        i = row_position(i, len(self))
        k = bisect.bisect_right(self._starts, i) - 1
        start, stop = self.shard_array(k, "offsets")[i - self._starts[k] :][:2].tolist()
        copied: NDArray[np.float64] = np.array(self.shard_array(k, "fixations")[start:stop])
        check_finite(copied, self._directory(k))
        return copied

    def prior(self, i: int) -> Prior:
        """The gaze prior of row i, in original pixels."""
        from gazekit.prior import Prior

        i = row_position(i, len(self))
        k = bisect.bisect_right(self._starts, i) - 1
        frame = ImageFrame.from_array(self.shard_array(k, "frame")[i - self._starts[k]])
        return Prior(self.fixations(i)[:, :GAUSSIAN_FIELDS], (frame.height, frame.width))

    @property
    def manifest(self) -> pd.DataFrame:
        """``manifest.parquet``: one row an image, skipped ones included (needs pandas and pyarrow)."""
        import pandas as pd

        path = self.path / MANIFEST_FILE
        cure = f"`gazekit finalize {self.path}` makes it again"
        if not path.is_file():
            raise CacheError(f"{path} is missing; {cure}")
        if sha256_file(path) != self.header["files"][MANIFEST_FILE]["sha256"]:
            raise CacheError(f"{path} is damaged: it differs from its checksum; {cure}")
        return pd.read_parquet(path)

    def shard_array(self, k: int, name: str) -> NDArray[Any]:
        """Array `name` of shard k, read-only, checked before it is mapped."""
        array = self._maps.pop((k, name), None)  # taken out, to be put back as the newest
        array = self._open_array(k, name) if array is None else array
        _keep(self._maps, (k, name), array, MAX_OPEN_MAPS)
        return array

    def _open_array(self, k: int, name: str) -> NDArray[Any]:
        shard = self._shards[k]
        n = {"fixations": shard["fixations"], "offsets": shard["rows"] + 1}.get(name, shard["rows"])
        path = self._directory(k) / f"{name}.npy"
        array = map_array(path, self.specs[name], n)
        if name in _IN_MEMORY:
            array = np.array(array)
            check_values(path, name, array, shard["fixations"])
            array.flags.writeable = False
        return array

    def _directory(self, k: int) -> Path:
        return self.path / SHARDS / str(self._shards[k]["name"])

    def _all_rows(self) -> Iterator[dict[str, Any]]:
        for k in range(len(self._shards)):
            yield from self._read_rows(k)

    def _read_rows(self, k: int) -> list[dict[str, Any]]:
        content = read_shard_file(self._directory(k))
        if content["fingerprint"] != self.fingerprint:
            raise CacheError(f"{self._directory(k)} belongs to another cache: its fingerprint differs")
        if any(content["counts"][name] != self._shards[k][name] for name in ("rows", "fixations")):
            raise CacheError(f"{self._directory(k) / SHARD_FILE}: its counts are not those of {HEADER_FILE}")
        rows: list[dict[str, Any]] = content["rows"]
        return rows

    def _info(self, k: int, j: int) -> dict[str, Any]:
        rows = self._infos.pop(k, None)
        if rows is None:
            rows = [row for row in self._read_rows(k) if row["status"] == "ok"]
        _keep(self._infos, k, rows, MAX_SHARD_ROWS)
        return rows[j]


def open_cache(path: str | os.PathLike[str], verify: bool = False) -> PriorCache:
    """Open a finished cache for reading.

    Parameters
    ----------
    path : path
        The cache's directory.
    verify : bool
        Re-hash every file first, and refuse a cache that is not intact.

    Raises
    ------
    CacheError
        Not a cache, not finished, of another format version, or (with `verify`) damaged. A damaged file is
        otherwise found, and refused with its name, when it is first used.
    """
    root = Path(path).absolute()
    header = read_header(root)
    if not header["complete"]:
        raise CacheError(
            f"{root} is not finished: run the same `gazekit build-heatmaps` again, "
            f"or `gazekit finalize {root}` once every task has ended"
        )
    if verify:
        from gazekit.verify import damage

        problems = damage(root)
        if problems:
            raise CacheError(f"{root} is damaged: {'; '.join(problems)}")
    return PriorCache(root, header)


def _keep(kept: dict[Any, Any], key: object, value: object, limit: int) -> None:
    """Put in the newest and drop the oldest: without a lock, which a fork could leave held for ever."""
    kept[key] = value
    while len(kept) > limit:
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread was quicker
            del kept[next(iter(kept))]


def _starts(lengths: Iterable[int]) -> list[int]:
    return list(itertools.accumulate(lengths, initial=0))
