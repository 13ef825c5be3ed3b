"""BIDS's file rules: entities in names, sidecars that are inherited, and gzipped tables without a header.

Source: BIDS 1.11 (bids-specification.readthedocs.io), Common principles: file name structure, inheritance principle,
tabular files (``n/a`` is a missing value), compressed tabular files.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gazekit.sources.tables import bad_table, number, shorten

DESCRIPTION_FILE = "dataset_description.json"
MISSING = "n/a"

MAX_TABLE_BYTES = 1 << 31
"""A table that unpacks to more is not read: an hour at 2000 Hz is a tenth of it."""

_MAX_SIDECAR_BYTES = 1 << 20


def entities(name: str) -> dict[str, str]:
    """Entities of a file name: ``sub-99_run-1_events.tsv`` to ``{"sub": "99", "run": "1"}``."""
    parts = name.split("_")[:-1]
    return dict(part.split("-", 1) for part in parts if "-" in part)


def dataset_root(path: Path) -> Path:
    """The nearest folder above a file that holds a dataset_description.json; `RecordError` where none does."""
    for folder in path.parents:
        if (folder / DESCRIPTION_FILE).is_file():
            return folder
    raise bad_table(f"{path.name}: no {DESCRIPTION_FILE} in a folder above it; this is not a BIDS data set")


def read_sidecar(path: Path) -> dict[str, Any]:
    """Metadata of a data file: every applicable JSON from the root down to its own folder, the nearest one counting.

    Raises
    ------
    RecordError
        ``bad_table``: a sidecar that is not a JSON object.
    """
    root = dataset_root(path)
    own = entities(path.name).items()
    suffix = path.name.split(".")[0].rsplit("_", 1)[-1]
    folders = [folder for folder in reversed(path.parents) if folder.is_relative_to(root)]
    metadata: dict[str, Any] = {}
    for folder in folders:
        found = [file for file in folder.glob(f"*{suffix}.json") if entities(file.name).items() <= own]
        found = [file for file in found if file.name in (f"{suffix}.json",) or file.name.endswith(f"_{suffix}.json")]
        for file in sorted(found, key=lambda file: (len(entities(file.name)), file.name)):
            metadata |= _read_json(file)
    return metadata


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_SIDECAR_BYTES))
    except OSError as error:
        raise bad_table(f"{path.name}: {str(error.strerror).lower()}; copy the file again") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise bad_table(f"{path.name}{line}: expected a JSON object, found something else; write it again") from None
    if not isinstance(content, dict):
        raise bad_table(f"{path.name}: expected a JSON object, found a {type(content).__name__}; write it again")
    return content


def sidecar_value(metadata: Mapping[str, Any], key: str, name: str) -> Any:
    """Value of a required key, or `RecordError` (``bad_table``)."""
    if key not in metadata:
        raise bad_table(f"{name}: no {key} in its sidecar, which BIDS 1.11 requires; add it")
    return metadata[key]


def sidecar_number(metadata: Mapping[str, Any], key: str, name: str, default: float) -> float:
    """Value of a key as a finite number; `default` where it is missing, `RecordError` (``bad_table``) if it is none."""
    value = metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad_table(f"{name}: expected a number as {key} in its sidecar, found {shorten(str(value))}")
    return float(value)


def sidecar_columns(metadata: Mapping[str, Any], required: Collection[str], name: str) -> list[str]:
    """``Columns`` of a table without a header: names, each once, `required` among them; or `RecordError`."""
    columns = sidecar_value(metadata, "Columns", name)
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise bad_table(f"{name}: expected a list of names as Columns in its sidecar, found {shorten(str(columns))}")
    if missing := [column for column in required if column not in columns]:
        raise bad_table(f"{name}: missing column {', '.join(missing)} in its sidecar's Columns; found {columns}")
    if len(set(columns)) != len(columns):
        raise bad_table(f"{name}: a name occurs more than once in its sidecar's Columns: {columns}")
    return columns


def read_headerless(
    path: Path, columns: Sequence[str], *, numbers: Collection[str], texts: Collection[str] = ()
) -> dict[str, Any]:
    """Read a ``.tsv.gz``.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Names of all its columns, from the sidecar.
    numbers, texts : collection of str
        Those wanted, where `columns` has them.

    Returns
    -------
    dict
        Column to (N,) float64, NaN for ``n/a`` or an empty cell, or to a list of str for `texts`.

    Raises
    ------
    RecordError
        ``bad_table``: no such file, not gzip, cut off, too large, ragged, or a cell that is no number.
    """
    import pyarrow as pa
    import pyarrow.csv

    content = _unpacked(path)
    wanted = [column for column in columns if column in numbers or column in texts]
    if not content.strip():
        return {column: np.zeros(0) if column in numbers else [] for column in wanted}
    types = {column: pa.float64() if column in numbers else pa.string() for column in wanted}
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            read_options=pyarrow.csv.ReadOptions(column_names=list(columns)),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=wanted, null_values=[MISSING, ""], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise _fault(content, columns, numbers, path.name) or bad_table(f"{path.name}: {error}") from None
    return {
        column: np.asarray(table[column].to_numpy(), np.float64) if column in numbers else table[column].to_pylist()
        for column in wanted
    }


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(MAX_TABLE_BYTES + 1)
    except gzip.BadGzipFile:
        raise bad_table(f"{path.name}: not gzip data; compress it, or fetch it (git-lfs, git-annex)") from None
    except OSError as error:
        raise bad_table(f"{path.name}: {str(error.strerror).lower()}; copy the file again") from None
    except (EOFError, zlib.error):
        raise bad_table(f"{path.name}: the gzip data are cut off or damaged; copy the file again") from None
    if len(content) > MAX_TABLE_BYTES:
        raise bad_table(f"{path.name}: unpacks to more than {MAX_TABLE_BYTES:,} bytes; this is not a recording")
    return content


def _fault(content: bytes, columns: Sequence[str], numbers: Collection[str], name: str) -> Exception | None:
    """What is wrong with a table that the fast parser refused, by line and column."""
    for line, cells in _cells(content):
        if len(cells) != len(columns):
            return bad_table(f"{name}, line {line}: expected {len(columns)} cells, as in Columns, found {len(cells)}")
        for column, cell in zip(columns, cells, strict=True):
            if column in numbers and cell != MISSING and not _is_number(cell):
                return bad_table(
                    f"{name}, line {line}, column {column!r}: expected a number or {MISSING}, found {shorten(cell)}"
                )
    return None


def _cells(content: bytes) -> Iterator[tuple[int, list[str]]]:
    for line, text in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        if text:
            yield line, text.split("\t")


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True


def column_unit(metadata: Mapping[str, Any], column: str, default: str) -> str:
    """``Units`` of a column, as the sidecar says."""
    described = metadata.get(column)
    return str(described.get("Units", default)) if isinstance(described, dict) else default
