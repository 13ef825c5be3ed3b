"""Chosen columns of a CSV, TSV or Parquet table that may be large: numbers as arrays, texts as codes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.sources.table_file import Refuse, open_table
from gazekit.sources.tables import bad_table, read_header, read_records, read_table

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*SEPARATORS, ".parquet")
"""Ends of the names of the tables that are read."""

_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Texts:
    """A column of texts.

    Attributes
    ----------
    values : tuple of str
        Different texts, in no order; a missing one is "".
    codes : (N,) int64
        Place in `values` of each row's text.
    """

    values: tuple[str, ...]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """Columns of a table by the names in the file.

    Attributes
    ----------
    numbers : dict of (N,) float64
        NaN where a cell is empty or no number.
    texts : dict of Texts
    not_number : dict of (N,) bool
        For the columns that have cells with text where a number belongs.
    lines : (N,) int64
        Line of the file; of a Parquet table the row, from 1.
    """

    numbers: dict[str, NDArray[np.float64]]
    texts: dict[str, Texts]
    not_number: dict[str, NDArray[np.bool_]]
    lines: NDArray[np.int64]


def column_names(path: Path, *, name: str, refuse: Refuse = bad_table) -> list[str]:
    """The header of a table; raises what `refuse` makes."""
    if path.suffix.lower() == ".parquet":
        return list(_parquet_schema(path, name, refuse).names)
    with open_table(path, name, refuse) as file:
        return read_header(read_records(file, name, refuse, {}, _separator(path)), (), name, refuse, _separator(path))


def read_columns(
    path: Path,
    *,
    numbers: Sequence[str],
    texts: Sequence[str],
    missing: Collection[str] = (),
    name: str,
    refuse: Refuse = bad_table,
) -> Columns:
    """Read some columns of a table.

    Parameters
    ----------
    path : Path
        ``.csv`` (commas), ``.tsv`` (tabs) or ``.parquet``.
    numbers, texts : sequence of str
        Columns to read, all of which must be there.
    missing : collection of str
        What the file writes in place of a missing number, besides nothing.
    name : str
        What messages call the file.
    refuse : callable
        Message to the error to raise.

    Returns
    -------
    Columns
    """
    if path.suffix.lower() == ".parquet":
        return _from_arrow(_parquet(path, (*numbers, *texts), name, refuse), numbers, texts, 1, name, refuse)
    separator = _separator(path)
    with open_table(path, name, refuse) as file:
        records = read_records(file, name, refuse, {}, separator)
        header = read_header(records, (*numbers, *texts), name, refuse, separator)
        first_line = next(records, (0, []))[0]
    if not first_line:
        raise refuse(f"{name}: a header and no rows; the file is incomplete, download it again")
    # without quotes first: a quote that is never closed must not swallow lines unseen
    for quotes in (False, True):
        table = _csv(path, header, first_line - 1, numbers, texts, missing, separator, quotes=quotes)
        if table is not None:
            return _from_arrow(table, numbers, texts, first_line, name, refuse)
    return _slowly(path, numbers, texts, missing, separator, name, refuse)


def _separator(path: Path) -> str:
    return SEPARATORS[path.suffix.lower()]


def _csv(
    path: Path,
    header: Sequence[str],
    header_lines: int,
    numbers: Sequence[str],
    texts: Sequence[str],
    missing: Collection[str],
    separator: str,
    *,
    quotes: bool,
) -> pa.Table | None:
    """The wanted columns, or None where the file is not plain."""
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.csv

    types: dict[str, Any] = dict.fromkeys(numbers, pa.float64())
    types |= dict.fromkeys(texts, pa.dictionary(pa.int32(), pa.string()))
    try:
        with pa.memory_map(str(path)) as file:
            table = pyarrow.csv.read_csv(
                file,
                read_options=pyarrow.csv.ReadOptions(
                    column_names=list(header), skip_rows=header_lines, block_size=_BLOCK_BYTES
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=separator, quote_char='"' if quotes else False),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types, include_columns=[*numbers, *texts], null_values=["", *missing]
                ),
            )
    except pa.ArrowInvalid:
        return None
    if not quotes:
        for column in texts:
            for chunk in table[column].chunks:
                if pyarrow.compute.any(pyarrow.compute.match_substring(chunk.dictionary, '"')).as_py():
                    return None
    return table


def _parquet_schema(path: Path, name: str, refuse: Refuse) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet

    with open_table(path, name, refuse, expected="a Parquet table", accepted=(b"PAR1",)):
        pass
    try:
        return pyarrow.parquet.read_schema(path)
    except (pa.ArrowException, OSError):
        raise refuse(f"{name}: not a Parquet file, or a damaged one") from None


def _parquet(path: Path, wanted: Sequence[str], name: str, refuse: Refuse) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet

    schema = _parquet_schema(path, name, refuse)
    absent = [column for column in wanted if column not in schema.names]
    if absent:
        raise refuse(f"{name}: missing column {', '.join(absent)}; found {', '.join(schema.names)}")
    try:
        table = pyarrow.parquet.read_table(path, columns=list(wanted))
    except (pa.ArrowException, OSError):
        raise refuse(f"{name}: a damaged Parquet file") from None
    if not table.num_rows:
        raise refuse(f"{name}: columns and no rows; the file is incomplete")
    return table


def _from_arrow(
    table: pa.Table, numbers: Sequence[str], texts: Sequence[str], first_line: int, name: str, refuse: Refuse
) -> Columns:
    import pyarrow as pa

    arrays = {}
    for column in numbers:
        try:
            arrays[column] = table[column].cast(pa.float64(), safe=False).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise refuse(f"{name}, column {column!r}: expected numbers, found {table[column].type}") from None
    coded = {}
    for column in texts:
        try:
            coded[column] = _texts(table[column])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
            raise refuse(f"{name}, column {column!r}: expected texts in UTF-8, found {table[column].type}") from None
    return Columns(arrays, coded, {}, np.arange(first_line, first_line + table.num_rows))


def _texts(column: pa.ChunkedArray) -> Texts:
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    values = tuple(column.dictionary.to_pylist())
    codes = column.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    return Texts((*values, ""), codes)


def _slowly(
    path: Path,
    numbers: Sequence[str],
    texts: Sequence[str],
    missing: Collection[str],
    separator: str,
    name: str,
    refuse: Refuse,
) -> Columns:
    """As the rules of `gazekit.sources.tables` read it, who say where a fault is."""
    table = read_table(path, required=(*numbers, *texts), name=name, refuse=refuse, separator=separator)
    if missing:
        blank = dict.fromkeys(missing, "")
        cells = {column: tuple(blank.get(cell, cell) for cell in table.columns[column]) for column in numbers}
        table = replace(table, columns={**table.columns, **cells})
    arrays: dict[str, NDArray[np.float64]] = {}
    wrong: dict[str, NDArray[np.bool_]] = {}
    for column in numbers:
        arrays[column], not_number = table.numbers(column)
        if not_number.any():
            wrong[column] = not_number
    coded = {}
    for column in texts:
        values = tuple(dict.fromkeys(table.columns[column]))
        place = {value: k for k, value in enumerate(values)}
        coded[column] = Texts(values, np.array([place[cell] for cell in table.columns[column]], np.int64))
    return Columns(arrays, coded, wrong, np.array(table.lines, np.int64))
