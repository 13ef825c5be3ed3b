"""A cache whose missing gaze is what a model expects: another cache with predicted rows, told apart in each row.

What the model is does not matter here: it comes as clipped Gaussians, which is what a prior is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.build import finalize
from gazekit.cache_files import MEASURED, PREDICTED, gaze_kind, read_shard_file
from gazekit.errors import InputError
from gazekit.new_directory import new_directory, refuse_inside
from gazekit.prior import total_mass
from gazekit.rows import stored_maps
from gazekit.shards import (
    FIXATION_FIELDS,
    FORMAT,
    FORMAT_VERSION,
    GAUSSIAN_FIELDS,
    HEADER_FILE,
    SHARDS,
    Row,
    replacing,
    to_json,
    write_shard,
)
from gazekit.verify import seal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache, Record


@dataclass(frozen=True)
class PredictedGaze:
    """What a model expects a reader to look at.

    Attributes
    ----------
    gaussians : (F, 9) float64
        Clipped Gaussians in original pixels (`gazekit.prior.GAUSSIAN_COLUMNS`).
    confidence : float
        How sure the model says it is; what that means is in the cache's header.
    """

    gaussians: NDArray[np.float64]
    confidence: float


def write_predicted_cache(
    source: PriorCache,
    out: str | Path,
    predictions: Iterable[tuple[int, PredictedGaze]],
    *,
    predictor: Mapping[str, Any],
    on_row: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Write a cache like another one, with predicted gaze in some of its rows.

    Parameters
    ----------
    source : PriorCache
        Whose images, sizes, grid and shards the new cache has.
    out : path
        A directory that does not exist yet, or is empty; it appears, whole, when everything is written.
    predictions : iterable of (int, PredictedGaze)
        Rows of `source`, ascending, with what is predicted for them; taken one at a time. Measured gaze of such a row,
        and its readings, are left out: nobody read a prediction. Every other row is copied as it is.
    predictor : mapping
        What ``cache.json`` says of the model, under ``parameters.predictor``, and what the new fingerprint is made of
        beside that of `source`: equal models, equal mappings. JSON can hold it.
    on_row : callable, optional
        Told the number of rows written so far.

    Returns
    -------
    dict
        Rows that are ``measured``, ``predicted`` and ``none``.

    Raises
    ------
    InputError
        `out` holds something or lies inside `source`; predicted gaze without mass inside its image, or not finite.
    OSError
        The system refused; nothing is left behind.
    """
    out = Path(out)
    refuse_inside(source, out)
    counts = {MEASURED: 0, PREDICTED: 0, "none": 0}
    coming = iter(predictions)
    ahead = next(coming, None)

    def rows_of(shard: str) -> Iterator[Row]:
        nonlocal ahead
        for info in read_shard_file(source.path / SHARDS / shard)["rows"]:
            if info["status"] != "ok":
                yield Row({name: value for name, value in info.items() if name != "row"})
                continue
            place = sum(counts.values())
            if ahead is not None and ahead[0] == place:
                row = _predicted_row(source, place, ahead[1])
                ahead = next(coming, None)
            else:
                row = _copied(source[place])
            counts[gaze_kind(row.info) or "none"] += 1
            yield row
            if on_row is not None:
                on_row(place + 1)

    header = _header(source, predictor)
    with new_directory(out) as directory:
        (directory / SHARDS).mkdir()
        with replacing(directory / HEADER_FILE) as file:
            file.write(seal(header))
        for shard in header["shards"]:
            path = directory / SHARDS / shard["name"]
            write_shard(path, rows_of(path.name), specs=source.specs, fingerprint=header["fingerprint"])
        if ahead is not None:
            raise InputError(
                f"predicted gaze of row {ahead[0]} came out of order, or {source.path.name} has no such row"
            )
        finalize(directory)
    return counts


def _header(source: PriorCache, predictor: Mapping[str, Any]) -> dict[str, Any]:
    """``cache.json`` before the shards are joined."""
    identity = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "parameters": source.parameters | {"predictor": dict(predictor)},
        "inputs": source.header.get("inputs", {}) | {"source": source.fingerprint},
    }
    kept = {name: source.header[name] for name in ("arrays", "packages") if name in source.header}
    shards = [shard | {"rows": 0, "fixations": 0, "sha256": None} for shard in source.header["shards"]]
    fingerprint = hashlib.sha256(to_json(identity)).hexdigest()
    return identity | kept | {"fingerprint": fingerprint, "complete": False, "shards": shards}


def _copied(record: Record) -> Row:
    """A row as it is, saying whose gaze it has."""
    fixations = np.column_stack([record.gaussians, record.reading_index, record.onset_s, record.offset_s])
    lines = [{name: value for name, value in line.items() if name not in ("row", "id")} for line in record.readings]
    info = _info(record) | {"gaze": gaze_kind(record.info)}
    return Row(info, _arrays(record), fixations, tuple(lines))


def _predicted_row(source: PriorCache, place: int, predicted: PredictedGaze) -> Row:
    record = source[place]
    gaussians = np.array(predicted.gaussians, np.float64)
    shape = record.frame.height, record.frame.width
    sound = gaussians.ndim == 2 and gaussians.shape[1] == GAUSSIAN_FIELDS and np.isfinite(gaussians).all()
    if not (sound and len(gaussians) and np.isfinite(predicted.confidence)):
        raise InputError(f"{record.id}: predicted gaze must be finite numbers, at least one row of {GAUSSIAN_FIELDS}")
    gaussians[:, 4] /= total_mass(gaussians, shape)
    maps, factor = stored_maps(
        gaussians,
        record.frame,
        image_size=source.image_size,
        grid=source.grid,
        heatmap_size=source.parameters["heatmap_size"],
    )
    fixations = np.zeros((len(gaussians), len(FIXATION_FIELDS)))  # of no reading, at no time
    fixations[:, :GAUSSIAN_FIELDS] = gaussians
    info = _info(record) | {
        "gaze": PREDICTED,
        "confidence": float(predicted.confidence),
        "reading_ids": [],
        "n_readings": 0,
        "n_fixations": len(fixations),
        "off_image_share": None,
        "dwell_s": 0.0,
        "heatmap_factor": factor,
        "counts": {},
        "warnings": [],
    }
    return Row(info, _arrays(record) | maps, fixations)


def _info(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.info.items() if name not in ("row", "readings_bytes")}


def _arrays(record: Record) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {
        "image": record.image,
        "frame": record.frame.to_array(),
        "relevance": record.relevance,
    }
    if record.heatmap is not None:
        found["heatmap"] = record.heatmap
    return found
