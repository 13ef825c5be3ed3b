"""Rows of a cache as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.cache import PriorCache
from gazekit.cache_files import PREDICTED, gaze_kind
from gazekit.errors import InputError
from gazekit.geometry import ImageFrame
from gazekit.overlays import overlay, panels
from gazekit.shards import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

OTSU_SIDE = 224
"""Side of the map that Otsu's threshold is taken from, whatever the size of the picture."""


def choose_rows(cache: PriorCache, *, ids: Sequence[str] | None = None, limit: int | None = None) -> list[int]:
    """Rows to draw: those of `ids` (default all), at most `limit`; `InputError` for an id that is not there."""
    place = {id_: i for i, id_ in enumerate(cache.ids)}
    unknown = [id_ for id_ in ids or () if id_ not in place]
    if unknown:
        raise InputError(f"no row {unknown[0]!r} among the {len(place)} of {cache.path}")
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    return [place[id_] for id_ in (ids or cache.ids)][:limit]


def make_folder(out_dir: Path) -> None:
    """The folder of the pictures, made where it is missing; `InputError` where a file is in its place."""
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"{out_dir} is a file; expected a folder for the pictures")
    out_dir.mkdir(parents=True, exist_ok=True)


def render_cache(
    cache: PriorCache,
    out_dir: Path,
    *,
    rows: Sequence[int],
    size: int = 640,
    on_row: Callable[[int], None] | None = None,
) -> int:
    """Write ``<id>.png`` for each of `rows`: heatmap, scanpath, patch relevance with its Otsu partition.

    Returns
    -------
    int
        Number of pictures written.
    """
    import cv2

    if not 64 <= size <= 4096:
        raise InputError(f"size must be from 64 to 4096 pixels, got {size}")
    make_folder(out_dir)
    for done, i in enumerate(rows, start=1):
        encoded = cv2.imencode(".png", np.ascontiguousarray(draw_row(cache, i, size=size)[:, :, ::-1]))[1]
        with replacing(out_dir / f"{cache[i].id}.png") as file:
            file.write(encoded.tobytes())
        if on_row is not None:
            on_row(done)
    return len(rows)


def draw_row(cache: PriorCache, i: int, *, size: int = 640) -> NDArray[np.uint8]:
    """Three panels of one row, (H, W, 3) uint8 RGB; no scanpath of predicted gaze, the X-ray alone without any."""
    from gazekit.prior import density
    from gazekit.relevance import partition

    record = cache[i]
    frame: ImageFrame = record.frame
    heading = f"{record.id}   {frame.width} x {frame.height}"
    if not len(record.gaussians):
        return panels([("no gaze", overlay(record.image, size=size))], heading=heading)
    square = frame.original_box((-0.5, -0.5, cache.image_size - 0.5, cache.image_size - 0.5))
    shape = (frame.height, frame.width)
    heat = density(record.gaussians, shape, out_shape=(size, size), crop=square)
    whole = density(record.gaussians, shape, out_shape=(OTSU_SIDE, OTSU_SIDE), crop=square)
    relevant = partition(whole, cache.grid)
    of_patches = f"relevance of {cache.grid[0]} x {cache.grid[1]} patches, Otsu: {relevant.mean():.0%} relevant"
    patches = of_patches, overlay(record.image, size=size, relevance=record.relevance, relevant=relevant)
    if gaze_kind(record.info) == PREDICTED:
        title = f"predicted gaze, of no reader; confidence {record.info['confidence']:.2f}"
        return panels([(title, overlay(record.image, size=size, heatmap=heat)), patches], heading=heading)
    durations = record.offset_s - record.onset_s
    points = frame.to_stored(record.gaussians[:, :2])
    scanpath = overlay(record.image, size=size, points=points, durations=durations, reading_index=record.reading_index)
    readers = record.info["n_readings"]
    gaze = f"{len(points)} fixations, {durations.sum():.1f} s" + (f", {readers} readers" if readers > 1 else "")
    return panels(
        [
            ("heatmap", overlay(record.image, size=size, heatmap=heat)),
            (f"scanpath: {gaze}", scanpath),
            patches,
        ],
        heading=heading,
    )
