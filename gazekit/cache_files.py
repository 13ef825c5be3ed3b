"""Read the files of a cache with every claim checked before it is trusted. numpy and the standard library only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.lib import format as npy

from gazekit.errors import CacheError
from gazekit.ids import is_id
from gazekit.shards import (
    FAILURES_FILE,
    FORMAT,
    FORMAT_VERSION,
    HEADER_FILE,
    MANIFEST_FILE,
    SHARD_FILE,
    SHARDS,
    ArraySpec,
    shard_name,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEASURED, PREDICTED = "measured", "predicted"
"""Whose gaze a row has: a person's, or what a model expects. A row that does not say has measured gaze."""

_MAX_NPY_HEADER = 1000
_MAX_COUNT = 1 << 48  # sums of counts stay what len() can say

_ROW_MEMBERS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "image_id": (str,),
    "reading_ids": (list,),
    "failures": (list,),
}
_OK_MEMBERS: dict[str, tuple[type, ...]] = {
    "readings_bytes": (list,),
    "patient_id": (str, NoneType),
    "split": (str, NoneType),
    "view": (str, NoneType),
    "dwell_s": (int, float),
    "off_image_share": (int, float, NoneType),
    "heatmap_factor": (int, float, NoneType),
    "image": (dict,),
}
_FAILURE_MEMBERS: dict[str, tuple[type, ...]] = {"reading_ids": (list,), "reason": (str,), "message": (str,)}


def read_header(root: Path) -> dict[str, Any]:
    """``cache.json``, with the members a reader relies on; `CacheError` for anything else."""
    path = root / HEADER_FILE
    if not root.is_dir():
        raise CacheError(f"{root} is not a directory; expected a cache made by `gazekit build-heatmaps`")
    if not os.path.lexists(path):
        raise CacheError(f"{root} is not a cache: it has no {HEADER_FILE}")
    header = _read_json(path)
    if header.get("format") != FORMAT:
        raise CacheError(f"{path} is not the header of a gazekit cache")
    if header.get("format_version") != FORMAT_VERSION:
        raise CacheError(
            f"{path}: format version {header.get('format_version')!r}, this gazekit reads {FORMAT_VERSION}; "
            "build the cache again, or use the gazekit that built it"
        )
    parameters = header.get("parameters")
    sound = (
        isinstance(header.get("fingerprint"), str)
        and isinstance(header.get("complete"), bool)
        and isinstance(parameters, dict)
        and all(_is_count(parameters.get(name)) for name in ("image_size", "heatmap_size"))
        and isinstance(parameters.get("grid"), list)
        and len(parameters["grid"]) == 2
        and all(_is_count(n) for n in parameters["grid"])
        and isinstance(header.get("shards"), list)
        and all(
            isinstance(shard, dict)
            and _is_count(shard.get("rows"))
            and _is_count(shard.get("fixations"))
            and str(shard.get("name")).isdecimal()
            for shard in header["shards"]
        )
        and (not header["complete"] or _is_sealed(header))
    )
    if not sound:
        raise CacheError(f"{path} does not hold what format version {FORMAT_VERSION} requires")
    return header


def read_shard_file(directory: Path) -> dict[str, Any]:
    """``shard.json`` of one shard, with the members a reader relies on."""
    path = directory / SHARD_FILE
    if directory.is_symlink():
        raise CacheError(f"{directory} is a link; a cache holds plain folders and files: copy it in")
    content = _read_json(path)
    counts, rows, files = (content.get(name) for name in ("counts", "rows", "files"))
    sound = (
        content.get("format_version") == FORMAT_VERSION
        and isinstance(content.get("fingerprint"), str)
        and isinstance(files, dict)
        and all(is_id(name) and _has(entry, {"sha256": (str,), "bytes": (int,)}) for name, entry in files.items())
        and isinstance(counts, dict)
        and all(_is_count(counts.get(name)) for name in ("rows", "fixations"))
        and isinstance(rows, list)
        and all(_is_row(row) for row in rows)
        and sum(row.get("status") == "ok" for row in rows) == counts["rows"]
    )
    if not sound:
        raise CacheError(f"{path} does not hold what format version {FORMAT_VERSION} requires")
    return content


def finished_shard(root: Path, k: int, fingerprint: str) -> dict[str, Any] | None:
    """``shard.json`` of shard k if it is there, None if not; `CacheError` for one that is another's or damaged."""
    directory = root / SHARDS / shard_name(k)
    if not directory.exists():
        return None
    content = read_shard_file(directory)
    cure = f"remove {directory} and run again to make it anew"
    if content["fingerprint"] != fingerprint:
        raise CacheError(f"{directory} belongs to another cache: its fingerprint differs; {cure}")
    for name, entry in content["files"].items():
        file = directory / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise CacheError(f"{file} is damaged: expected {entry['bytes']} bytes; {cure}")
    return content


def missing_shards(root: Path) -> list[str]:
    """Names of the shards that the plan has and the disk has not."""
    names = (str(shard["name"]) for shard in read_header(root)["shards"])
    return [name for name in names if not (root / SHARDS / name).exists()]


def row_failures(row: dict[str, Any]) -> list[dict[str, Any]]:
    """What was skipped of one row of ``shard.json``, with the row's ids."""
    ids = {"id": row["id"], "image_id": row["image_id"]}
    return [ids | failure for failure in row["failures"]]


def gaze_kind(row: Mapping[str, Any]) -> str | None:
    """Whose gaze a row of ``shard.json`` has: `MEASURED`, `PREDICTED` or nobody's, None."""
    return (row.get("gaze") or MEASURED) if row.get("n_fixations") else None


def is_invented(row: Mapping[str, Any]) -> bool:
    """Whether a row of ``shard.json`` is of no person: its data set says so, or its patient's or image's id.

    The ids that ``gazekit simulate`` invents begin with 99; a source of one's own may call its data set "simulated".
    """
    name = str(row.get("patient_id") or row["image_id"])
    return row.get("dataset") == "simulated" or name.lstrip("pP").startswith("99")


def map_array(path: Path, spec: ArraySpec, n: int) -> NDArray[Any]:
    """Memory-map one ``.npy`` file after checking that it is exactly what it must be.

    Raises
    ------
    CacheError
        Missing, not ``.npy``, another dtype (pickled objects among them), order, shape or length.
    """
    expected = (n, *spec.row_shape)
    check_plain_file(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if npy.read_magic(file) != (1, 0):
                raise ValueError("not version 1.0 of the npy format")
            shape, fortran_order, dtype = npy.read_array_header_1_0(file, max_header_size=_MAX_NPY_HEADER)
            start = file.tell()
    except OSError:
        raise
    except Exception as error:  # whatever numpy's header parser lets through on bytes it was not made for
        raise CacheError(f"{path} is damaged: its npy header cannot be read ({type(error).__name__})") from None
    if dtype != np.dtype(spec.dtype) or fortran_order or shape != expected:
        raise CacheError(f"{path} is damaged: it holds {dtype} {shape}, expected {spec.dtype} {expected}")
    length = start + dtype.itemsize * int(np.prod(expected, dtype=object))
    if size != length:
        raise CacheError(f"{path} is damaged: {size} bytes long, expected {length}")
    if length == start:  # an empty file cannot be mapped
        return np.empty(expected, dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=start, shape=expected))


def read_readings(path: Path, start: int, stop: int) -> list[dict[str, Any]]:
    """The objects that bytes `start` to `stop` of ``readings.jsonl`` hold, one a line."""
    check_plain_file(path)
    with path.open("rb") as file:
        file.seek(start)
        return [_parse_json(line, path) for line in file.read(stop - start).splitlines()]


def check_values(path: Path, name: str, array: NDArray[Any], fixations: int) -> None:
    """`CacheError` for frames or offsets that cannot be."""
    if name == "offsets":
        sound = array[0] == 0 and array[-1] == fixations and bool((np.diff(array) >= 0).all())
    else:
        sound = bool(np.isfinite(array).all() and (array[:, [0, 1, 4, 5]] > 0).all())
    if not sound:
        raise CacheError(f"{path} is damaged: its values contradict each other")


def check_finite(fixations: NDArray[np.float64], where: Path) -> None:
    """One NaN in a weight would make a whole map NaN, far from here."""
    if not np.isfinite(fixations).all():
        raise CacheError(f"{where} is damaged: a fixation is not finite; `gazekit verify` names the file")


def check_plain_file(path: Path) -> None:
    """`CacheError` for what is missing, or is no file of its own: a link may lead anywhere, a pipe never ends."""
    if not os.path.lexists(path):
        raise CacheError(f"{path} is missing")
    if path.is_symlink() or not path.is_file():
        raise CacheError(f"{path} is not a plain file; a cache holds no links: copy the file in")


def _read_json(path: Path) -> dict[str, Any]:
    check_plain_file(path)
    return _parse_json(path.read_bytes(), path)


def _parse_json(text: bytes, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{path} is damaged: {type(error).__name__}, not the JSON that was written") from None
    if not isinstance(content, dict):
        raise CacheError(f"{path} is damaged: not a JSON object")
    return content


def _is_sealed(header: dict[str, Any]) -> bool:
    """Whether a finished ``cache.json`` holds the checksums of what it stands for."""
    files = header.get("files")
    checksum: dict[str, tuple[type, ...]] = {"sha256": (str,)}
    return (
        isinstance(files, dict)
        and all(_has(files.get(name), checksum) for name in (MANIFEST_FILE, FAILURES_FILE))
        and all(_has(shard, checksum) for shard in header["shards"])
    )


def _is_row(row: object) -> bool:
    """Whether a row of ``shard.json`` holds what readers of a cache take for granted."""
    return (
        _has(row, _ROW_MEMBERS)
        and is_id(row["id"])  # it names the files of an export
        and all(_has(failure, _FAILURE_MEMBERS) for failure in row["failures"])
        and (row.get("status") != "ok" or _is_ok_row(row))
    )


def _is_ok_row(row: dict[str, Any]) -> bool:
    return (
        _has(row, _OK_MEMBERS)
        and _is_range(row["readings_bytes"])
        and all(_is_count(row.get(name)) for name in ("n_readings", "n_fixations"))
        and row.get("gaze") in (None, MEASURED, PREDICTED)
        and isinstance(row.get("confidence"), int | float | None)
    )


def _has(value: object, members: Mapping[str, tuple[type, ...]]) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(isinstance(value.get(k, ...), types) for k, types in members.items())


def _is_range(value: list[Any]) -> bool:
    return len(value) == 2 and all(_is_count(n) for n in value) and value[0] <= value[1]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT
