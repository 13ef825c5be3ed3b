"""Export to a zarr v3 group (package zarr, extra ``[zarr]``)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import InputError
from gazekit.export_files import INDEX_FIELDS, dense_arrays, row_facts
from gazekit.shards import FIXATION_FIELDS, fsync_directory, sync

if TYPE_CHECKING:
    from gazekit.cache import PriorCache

CHUNK_BYTES = 1 << 20
"""Least size of a chunk: a chunk is a file, and millions of small ones serve nobody."""


def import_zarr() -> ModuleType:
    """The package zarr; `InputError` where it is not installed, or is older than 3."""
    try:
        import zarr
    except ImportError:
        raise InputError("--to zarr needs the package zarr: pip install 'gazekit[zarr]'") from None
    if int(zarr.__version__.split(".")[0]) < 3:
        raise InputError(f"--to zarr needs zarr 3, found {zarr.__version__}: pip install 'gazekit[zarr]'")
    return zarr


def write_zarr(cache: PriorCache, directory: Path, on_row: Callable[[int], None]) -> None:
    """A group of ``images, frames, relevance, heatmaps, fixations, offsets, ids``, written chunk by chunk.

    The group's attributes hold the parameters and fingerprint of the cache and the names of the columns; ``facts``
    is one JSON object a row (`INDEX_FIELDS`).

    Raises
    ------
    InputError
        zarr is not installed, or is older than 3.
    """
    zarr = import_zarr()
    group = zarr.create_group(store=directory, zarr_format=3, overwrite=True)
    group.attrs.update(
        {
            "fingerprint": cache.fingerprint,
            "parameters": cache.parameters,
            "fixation_fields": list(FIXATION_FIELDS),
            "fact_fields": list(INDEX_FIELDS),
        }
    )
    arrays: dict[str, Any] = {
        name: group.create_array(name, shape=shape, dtype=dtype, chunks=_chunks(shape, dtype))
        for name, (shape, dtype) in dense_arrays(cache).items()
    }
    sources: dict[str, Any] = {
        "images": cache.images,
        "heatmaps": cache.heatmaps,
        "fixations": cache.all_fixations,
        "frames": cache.frames,
        "relevance": cache.relevance,
        "offsets": cache.offsets,
    }
    total = len(cache)
    for name, array in arrays.items():
        step = array.chunks[0]
        for start in range(0, array.shape[0], step):
            array[start : start + step] = sources[name][start : start + step]
            if name == "images":
                on_row(min(start + step, total))
    facts = [json.dumps(row_facts(record, row)) for row, record in enumerate(cache)]
    for name, texts in (("ids", cache.ids), ("facts", facts)):
        array = group.create_array(name, shape=(total,), dtype=np.dtypes.StringDType(), chunks=(max(1, total),))
        array[:] = np.array(texts, np.dtypes.StringDType())
    _sync_tree(directory)


def _chunks(shape: tuple[int, ...], dtype: str) -> tuple[int, ...]:
    row_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    return (min(max(1, shape[0]), max(1, CHUNK_BYTES // row_bytes)), *shape[1:])


def _sync_tree(directory: Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            with (Path(folder) / name).open("rb") as file:
                sync(file)
        fsync_directory(Path(folder))
