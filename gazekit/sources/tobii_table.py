"""A tab-separated export as columns: UTF-8 or UTF-16, decimal point or decimal comma."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.sources.table_file import BYTE_ORDER_MARK, open_table
from gazekit.sources.tables import MAX_LINE_BYTES, bad_table, number, read_header, read_records, shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Texts:
    """A column of texts: the different ones, and which of them stands in each row."""

    values: tuple[str, ...]
    codes: NDArray[np.int64]

    def among(self, texts: Collection[str]) -> NDArray[np.bool_]:
        """Rows whose text is one of `texts`."""
        return np.array([value in texts for value in self.values], bool)[self.codes]


@dataclass(frozen=True)
class Export:
    """A file as text, with its header read.

    Attributes
    ----------
    name : str
    text : bytes
        UTF-8 without a byte order mark.
    header : list of str
    first_line : int
        Line of the first row, 0 where there is none.
    """

    name: str
    text: bytes
    header: list[str]
    first_line: int


def open_export(path: Path) -> Export:
    """Read a file and its header; `RecordError` (``bad_table``) for one that is not text in columns between tabs."""
    name = path.name
    with open_table(path, name, bad_table, expected="a tab-separated table", accepted=UTF_16) as file:
        text = file.read()
    if text.startswith(UTF_16):
        try:
            text = text.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise bad_table(f"{name}: not UTF-16 at byte offset {error.start}; export it again as UTF-8") from None
    text = text.removeprefix(BYTE_ORDER_MARK)
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    lengths = np.diff(ends, prepend=-1, append=len(text))
    if lengths.max() > MAX_LINE_BYTES:
        raise bad_table(f"{name}, line {int(lengths.argmax()) + 1}: longer than {MAX_LINE_BYTES:,} bytes; not a table")
    records = _records(text, name)
    header = read_header(records, (), name, bad_table, "\t")
    if len(header) == 1:
        found = "semicolons" if ";" in header[0] else "commas" if "," in header[0] else "nothing"
        raise bad_table(f"{name}: columns separated by {found}; expected tabs: export it as .tsv")
    return Export(name, text, header, next(records, (0, []))[0])


def read_columns(
    export: Export, numbers: Sequence[str], texts: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Texts]]:
    """Columns by their names in the header: numbers with NaN for an empty cell, and texts.

    Raises
    ------
    RecordError
        ``bad_table``: a row of another length, text where a number belongs, bytes that are not UTF-8.
    """
    for decimal in ".,":
        if (table := _parse(export, numbers, texts, decimal)) is not None:
            arrays = {column: table[column].to_numpy() for column in numbers}
            return arrays, {column: _texts(table[column]) for column in texts}
    return _slowly(export, numbers, texts)


def _parse(export: Export, numbers: Sequence[str], texts: Sequence[str], decimal: str) -> Any:
    """The columns as an Arrow table, or None where the text is not plain."""
    import pyarrow as pa
    import pyarrow.csv

    types: dict[str, Any] = dict.fromkeys(numbers, pa.float64())
    types |= dict.fromkeys(texts, pa.dictionary(pa.int32(), pa.string()))
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(export.text),
            read_options=pyarrow.csv.ReadOptions(
                column_names=export.header, skip_rows=export.first_line - 1, block_size=4 << 20
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types,
                include_columns=[*numbers, *texts],
                null_values=[""],
                decimal_point=decimal,
            ),
        )
    except pa.ArrowInvalid:
        return None


def _texts(column: Any) -> Texts:
    import pyarrow as pa

    array = pa.chunked_array(column).unify_dictionaries().combine_chunks()
    codes = array.indices.fill_null(len(array.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    return Texts((*array.dictionary.to_pylist(), ""), codes)


def _slowly(
    export: Export, numbers: Sequence[str], texts: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Texts]]:
    """Row by row: finds the fault, or reads what is unusual but right, such as quoted cells."""
    records = _records(export.text, export.name)
    next(records)
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, cells in records:
        if len(cells) != len(export.header):
            raise bad_table(f"{export.name}, line {line}: expected {len(export.header)} cells, found {len(cells)}")
        rows.append(cells)
        lines.append(line)
    arrays = {}
    for column in numbers:
        k = export.header.index(column)
        values = np.empty(len(rows))
        for row, cells in enumerate(rows):
            try:
                values[row] = number(cells[k].replace(",", ".", 1))
            except ValueError:
                raise bad_table(
                    f"{export.name}, line {lines[row]}, column {column!r}: expected a number, found {shorten(cells[k])}"
                ) from None
        arrays[column] = values
    found = {}
    for column in texts:
        k = export.header.index(column)
        different, codes = np.unique([cells[k] for cells in rows], return_inverse=True)
        found[column] = Texts(tuple(map(str, different)), codes)
    return arrays, found


def _records(text: bytes, name: str) -> Any:
    return read_records(io.BytesIO(text), name, bad_table, {}, "\t")
