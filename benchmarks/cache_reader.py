"""Random access to a cache beside file-per-image PNG, HDF5 and zarr: the same records, one run.

    pip install 'gazekit[bench,zarr]'
    python benchmarks/cache_reader.py [--rows 2000] [--reads 2000] [--json]

A record is an image of 256 x 256 (8 bit), a heatmap of 224 x 224 and 14 x 14 relevances; all arrays are checked to be
equal before anything is timed. Files are in the page cache, one process, one thread, rows in random order:

* cache: `cache[i]`, with everything that a record has (fixations, frame, facts), copied out
* cache, arrays alone: the three arrays by `cache.images[i]` and its like
* png: two PNG files a row (the heatmap as 16 bit), as `gazekit export --to png` writes them; relevance in memory
* hdf5: one file, one chunk a row, not compressed
* zarr: version 3, one chunk a row, not compressed
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas as pd
import zarr

from gazekit.build import build_heatmaps
from gazekit.cache import PriorCache, open_cache
from gazekit.export import export_cache
from gazekit.reading import FIXATION_COLUMNS, Entry, Reading, Readings

SIDE, ROUNDS = 256, 3
Read = Callable[[int], tuple[Any, Any, Any]]


def make_cache(folder: Path, rows: int) -> PriorCache:
    """`rows` invented images with 40 to 80 fixations each."""
    images = folder / "pictures"
    images.mkdir()
    y, x = np.mgrid[:SIDE, :SIDE]
    for i in range(rows):
        rng = np.random.default_rng(i)
        lungs = 120 + 70 * np.sin(x / 30 + rng.uniform(0, 6)) * np.cos(y / 40) + rng.normal(0, 8, (SIDE, SIDE))
        cv2.imwrite(str(images / f"99{i:06d}.png"), np.clip(lungs, 0, 255).astype(np.uint8))
    entries = [Entry(f"99{i:06d}", f"99{i:06d}.png", f"99{i:06d}.r", image_shape=(SIDE, SIDE)) for i in range(rows)]
    readings = Readings("invented", entries, load, digest=functools.partial(str, "0" * 64))
    build_heatmaps(readings, images, folder / "cache", executor="serial")
    return open_cache(folder / "cache")


def load(entry: Entry) -> Reading:
    """The invented reading of an image."""
    rng = np.random.default_rng(int(entry.image_id))
    n = int(rng.integers(40, 80))
    table = pd.DataFrame(0.0, index=range(n), columns=list(FIXATION_COLUMNS))
    table["onset_s"] = np.arange(n) * 0.4
    table["offset_s"] = table["onset_s"] + rng.uniform(0.1, 0.4, n)
    table["x_px"], table["y_px"] = rng.uniform(0, SIDE, n), rng.uniform(0, SIDE, n)
    table["px_per_deg_x"] = table["px_per_deg_y"] = 9.0
    table["shown_xmax_px"] = table["shown_ymax_px"] = float(SIDE)
    return Reading(str(entry.reading_id), entry.image_id, (SIDE, SIDE), table)


def of_cache(cache: PriorCache) -> Read:
    def read(i: int) -> tuple[Any, Any, Any]:
        record = cache[i]
        return record.image, record.heatmap, record.relevance

    return read


def of_arrays(cache: PriorCache) -> Read:
    heatmaps = cache.heatmaps
    assert heatmaps is not None
    return lambda i: (cache.images[i], heatmaps[i], cache.relevance[i])


def of_png(cache: PriorCache, folder: Path) -> Read:
    export_cache(cache, folder / "png", to="png")
    relevance = np.array(cache.relevance)

    def read(i: int) -> tuple[Any, Any, Any]:
        name = f"{cache.ids[i]}.png"
        image = cv2.imread(str(folder / "png" / "images" / name), cv2.IMREAD_UNCHANGED)
        heatmap = cv2.imread(str(folder / "png" / "heatmaps" / name), cv2.IMREAD_UNCHANGED)
        return image, heatmap / np.float32(65535), relevance[i]

    return read


def of_hdf5(cache: PriorCache, folder: Path) -> Read:
    with h5py.File(folder / "rows.h5", "w") as file:
        for name, array in arrays(cache).items():
            file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]))
    opened = h5py.File(folder / "rows.h5", "r")
    return lambda i: (opened["images"][i], opened["heatmaps"][i], opened["relevance"][i])


def of_zarr(cache: PriorCache, folder: Path) -> Read:
    group = zarr.create_group(folder / "rows.zarr", zarr_format=3)
    for name, array in arrays(cache).items():
        made = group.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=(1, *array.shape[1:]), compressors=None
        )
        made[:] = array
    opened = zarr.open_group(folder / "rows.zarr", mode="r")
    images, heatmaps, relevance = opened["images"], opened["heatmaps"], opened["relevance"]
    return lambda i: (images[i], heatmaps[i], relevance[i])


def arrays(cache: PriorCache) -> dict[str, np.ndarray]:
    return {
        "images": np.asarray(cache.images),
        "heatmaps": np.asarray(cache.heatmaps),
        "relevance": np.asarray(cache.relevance),
    }


def check_equal(readers: dict[str, Read], i: int) -> None:
    """Every store gives the same record."""
    image, heatmap, relevance = readers["cache"](i)
    for read in readers.values():
        other = read(i)
        np.testing.assert_array_equal(other[0], image)
        np.testing.assert_allclose(other[1].astype(np.float64), heatmap.astype(np.float64), atol=1 / 65535)
        np.testing.assert_array_equal(other[2], relevance)


def records_per_s(read: Read, order: np.ndarray) -> float:
    started = time.perf_counter()
    for i in order.tolist():
        read(i)
    return len(order) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = make_cache(folder, options.rows)
        readers = {
            "cache": of_cache(cache),
            "cache, arrays alone": of_arrays(cache),
            "png": of_png(cache, folder),
            "hdf5": of_hdf5(cache, folder),
            "zarr": of_zarr(cache, folder),
        }
        rng = np.random.default_rng(0)
        for i in rng.integers(0, options.rows, 20).tolist():
            check_equal(readers, i)
        rates: dict[str, list[float]] = {store: [] for store in readers}
        for _ in range(ROUNDS):
            order = rng.integers(0, options.rows, options.reads)
            for store, read in readers.items():
                rates[store].append(records_per_s(read, order))
    median = {store: statistics.median(values) for store, values in rates.items()}
    if options.json:
        print(json.dumps({store: round(rate, 1) for store, rate in median.items()}))
        return
    for store, rate in median.items():
        print(f"{store:20} {rate:9.0f} records/s   the cache is {median['cache'] / rate:6.1f} times as fast")


if __name__ == "__main__":
    main()
