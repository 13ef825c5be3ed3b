"""Strict reading of comma-separated tables.

What is not as the format says is refused, with the file, line and column, what was expected, what came, and the
cure; a byte order mark, CRLF and blank lines are passed over and counted. Cells are text until a column is parsed,
so no id is ever taken for a number.

A table of a whole data set refuses with `InputError`; a file of one reading with ``refuse=bad_table``.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np

from gazekit.errors import GazekitError, InputError, RecordError
from gazekit.sources.table_file import BYTE_ORDER_MARK, Refuse, open_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

MAX_LINE_BYTES = 1 << 20
"""A longer line is not a table's."""

_BLOCK_BYTES = 4 << 20
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*", re.ASCII)
_PLAIN_NUMBER = frozenset("0123456789.+-eE")
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas"}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}

_CSV_ERRORS: tuple[tuple[str, str], ...] = (
    ("unexpected end of data", "a quote is opened here and never closed"),
    ("field larger than", "a cell is longer than 131,072 characters, or a quote is never closed"),
    ("new-line character", "a carriage return stands inside the line; save the file with LF or CRLF line ends"),
    ("expected after", "a quoted cell goes on after its closing quote"),
)


def bad_table(message: str) -> RecordError:
    """The refusal of a table that belongs to one reading."""
    return RecordError("bad_table", message)


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes
    ----------
    name : str
        What messages call the file.
    columns : mapping
        Column name to its cells, for the columns that were asked for and are there.
    lines : sequence of int
        Line of the file on which each row begins, the first being 1.
    unknown : tuple of str
        Columns of the file that were not asked for.
    fixes : mapping
        ``byte_order_mark`` and ``blank_lines``: how often each was passed over.
    refuse : callable
        Message to the error to raise.
    """

    name: str
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    unknown: tuple[str, ...] = ()
    fixes: Mapping[str, int] = field(default_factory=dict)
    refuse: Refuse = InputError

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def where(self, row: int, column: str) -> str:
        """``file, line n, column 'x'`` of a cell."""
        return f"{self.name}, line {self.lines[row]}, column {column!r}"

    def parse(self, column: str, read: Callable[[str], T], expected: str) -> list[T]:
        """Each cell of a column through `read`; a cell on which it raises `ValueError` is refused by its place."""
        values = []
        for row, cell in enumerate(self.columns[column]):
            try:
                values.append(read(cell))
            except ValueError:
                raise self.refusal(row, column, expected) from None
        return values

    def numbers(self, column: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """A column as float64, NaN where a cell is empty or not a number, and which cells are not numbers.

        A decimal comma is refused: it says that the whole file was written for another locale.
        """
        cells = self.columns[column]
        not_number = np.zeros(len(cells), dtype=bool)
        if _PLAIN_NUMBER.issuperset("".join(cells)):
            try:
                return np.array([float(cell) if cell else math.nan for cell in cells], np.float64), not_number
            except ValueError:
                pass  # such as "1e" or "--1": found below
        values = np.full(len(cells), math.nan)
        for row, cell in enumerate(cells):
            try:
                values[row] = number(cell)
            except ValueError:
                if _DECIMAL_COMMA.fullmatch(cell):
                    raise self.refusal(row, column, "a number with a decimal point") from None
                not_number[row] = True
        return values, not_number

    def refusal(self, row: int, column: str, expected: str) -> GazekitError:
        """The error to raise for a cell."""
        return self.refuse(
            f"{self.where(row, column)}: expected {expected}, found {shorten(self.columns[column][row])}"
        )


def number(cell: str) -> float:
    """A cell as float: NaN if blank; `ValueError` for what is not a decimal number, nan or inf."""
    text = cell.strip(" ")
    if not text:
        return math.nan
    if not _NUMBER.fullmatch(text):
        raise ValueError(cell)
    return float(text)


def finite_number(cell: str) -> float:
    """A cell as float; `ValueError` for blank, nan and inf too."""
    value = number(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def whole_number(cell: str) -> int:
    """A cell such as ``3`` or ``3.0`` as int; `ValueError` for anything else."""
    value = number(cell)
    if not value.is_integer():
        raise ValueError(cell)
    return int(value)


def truth(cell: str) -> bool:
    """A cell ``True``/``False`` in any case, or ``1``/``0``, as bool; `ValueError` for anything else."""
    text = cell.strip().lower()
    if text not in _TRUTH:
        raise ValueError(cell)
    return _TRUTH[text]


def shorten(cell: str) -> str:
    """A cell as a message may show it."""
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def read_table(
    path: Path,
    *,
    required: Collection[str],
    optional: Collection[str] = (),
    name: str | None = None,
    refuse: Refuse = InputError,
    may_be_empty: bool = False,
    separator: str = ",",
    rename: Callable[[str], str] = str,
) -> Table:
    """Read a whole table as text.

    Parameters
    ----------
    path : Path
    required : collection of str
        Columns that must be there, in any order.
    optional : collection of str
        Further columns to keep if they are there; any other is named in `Table.unknown`.
    name : str, optional
        What messages call the file; default its path.
    refuse : callable
        Message to the error to raise: `InputError`, or `bad_table` for the file of one reading.
    may_be_empty : bool
        Whether a header without rows is a table.
    separator : str
        Between the cells: a comma, or a tab.
    rename : callable
        Column name as the file writes it to the name it is known by, such as ``TIME(<date>)`` to ``TIME``.

    Returns
    -------
    Table
    """
    name = name or str(path)
    fixes: dict[str, int] = {}
    with open_table(path, name, refuse) as file:
        records = read_records(file, name, refuse, fixes, separator)
        header = read_header(records, required, name, refuse, separator, rename)
        kept = [(k, column) for k, column in enumerate(header) if column in required or column in optional]
        lines: list[int] = []
        rows: list[list[str]] = []
        for line, cells in records:
            if len(cells) != len(header):
                hint = "; an unquoted comma, or a decimal comma?" if len(cells) > len(header) else ""
                raise refuse(f"{name}, line {line}: expected {len(header)} cells, found {len(cells)}{hint}")
            lines.append(line)
            rows.append(cells)
    if not rows and not may_be_empty:
        raise refuse(f"{name}: a header and no rows; the file is incomplete, download it again")
    columns = {column: tuple(cells[k] for cells in rows) for k, column in kept}
    unknown = tuple(column for column in header if column not in columns)
    return Table(name, columns, tuple(lines), unknown, fixes, refuse)


def read_numbers(
    path: Path,
    *,
    required: Collection[str],
    optional: Collection[str] = (),
    whole: Collection[str] = (),
    name: str | None = None,
    refuse: Refuse = InputError,
) -> dict[str, NDArray[np.float64]]:
    """Read the number columns of a table that may be large, straight from the file to arrays.

    A file that the fast parser refuses is read again by `read_table`, which decides: it says where the fault is, or
    reads what is unusual but right.

    Parameters
    ----------
    path, required, optional, name, refuse
        As in `read_table`.
    whole : collection of str
        Columns expected to hold whole numbers, which parse faster; others are not refused in them.

    Returns
    -------
    dict
        Column to (N,) float64, NaN where a cell is empty.
    """
    name = name or str(path)
    with open_table(path, name, refuse) as file:
        records = read_records(file, name, refuse, {})
        header = read_header(records, required, name, refuse)
        header_lines = next(records, (0, []))[0] - 1
    wanted = [column for column in header if column in required or column in optional]
    for integers in (whole, ()):
        arrays = parse_numbers(path, header, header_lines, wanted, integers) if header_lines > 0 else None
        if arrays is not None:
            return arrays
    table = read_table(path, required=required, optional=optional, name=name, refuse=refuse)
    arrays = {}
    for column in wanted:
        arrays[column], not_number = table.numbers(column)
        if not_number.any():
            raise table.refusal(int(not_number.argmax()), column, "a number")
    return arrays


def parse_numbers(
    source: Path | bytes,
    header: Sequence[str],
    header_lines: int,
    wanted: Sequence[str],
    integers: Collection[str] = (),
) -> dict[str, NDArray[np.float64]] | None:
    """The wanted columns, or None where the text is not plain: ragged, quoted, or with a cell that is no number."""
    import pyarrow as pa
    import pyarrow.csv

    types = {column: pa.int32() if column in integers else pa.float64() for column in wanted}
    try:
        with pa.memory_map(str(source)) if isinstance(source, Path) else pa.BufferReader(source) as file:
            table = pyarrow.csv.read_csv(
                file,
                read_options=pyarrow.csv.ReadOptions(
                    column_names=list(header), skip_rows=header_lines, block_size=_BLOCK_BYTES
                ),
                parse_options=pyarrow.csv.ParseOptions(quote_char=False),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types, include_columns=list(wanted), null_values=[""]
                ),
            )
    except pa.ArrowInvalid:
        return None
    with ThreadPoolExecutor() as pool:
        arrays = pool.map(lambda column: table[column].cast(pa.float64()).to_numpy(), wanted)
        return dict(zip(wanted, arrays, strict=True))


def read_records(
    file: BinaryIO,
    name: str,
    refuse: Refuse,
    fixes: dict[str, int],
    separator: str = ",",
    *,
    line_before: int = 0,
    offset: int = 0,
) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line it begins on, the header first; what was passed over is added to `fixes`.

    `line_before` and `offset` say where in its file a part of one begins.
    """
    reader = csv.reader(_lines(file, name, refuse, fixes, line_before, offset), strict=True, delimiter=separator)
    while True:
        line = line_before + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            said = next((text for key, text in _CSV_ERRORS if key in str(error)), str(error))
            raise refuse(f"{name}, line {line}: {said}") from None
        if cells is None:
            return
        if len(cells) <= 1 and not "".join(cells).strip():
            fixes["blank_lines"] = fixes.get("blank_lines", 0) + 1
        else:
            yield line, cells


def _lines(file: BinaryIO, name: str, refuse: Refuse, fixes: dict[str, int], line: int, offset: int) -> Iterator[str]:
    """Lines as text, split at LF only, each checked before it is decoded."""
    while raw := file.readline(MAX_LINE_BYTES + 1):
        line += 1
        if len(raw) > MAX_LINE_BYTES:
            raise refuse(f"{name}, line {line}: longer than {MAX_LINE_BYTES:,} bytes; this is not a table")
        if offset == 0 and raw.startswith(BYTE_ORDER_MARK):
            fixes["byte_order_mark"] = 1
            raw = raw.removeprefix(BYTE_ORDER_MARK)
            offset = len(BYTE_ORDER_MARK)
        if (nul := raw.find(b"\0")) >= 0:
            raise refuse(f"{name}, line {line}: a NUL byte at offset {offset + nul}; UTF-16, or not text at all?")
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise refuse(
                f"{name}, line {line}: not UTF-8 at byte offset {offset + error.start}; save it as UTF-8"
            ) from None
        offset += len(raw)


def read_header(
    records: Iterator[tuple[int, list[str]]],
    required: Collection[str],
    name: str,
    refuse: Refuse,
    separator: str = ",",
    rename: Callable[[str], str] = str,
) -> list[str]:
    _, header = next(records, (0, None))
    if header is None:
        raise refuse(f"{name}: the file is empty; download it again")
    header = [rename(column) for column in header]
    missing = [column for column in required if column not in header]
    if missing:
        for other, called in _SEPARATORS.items():
            if other != separator and len(separator.join(header).split(other)) > len(header):
                raise refuse(
                    f"{name}: separated by {called}; expected {_SEPARATORS[separator]}, and decimal points; save it so"
                )
        raise refuse(f"{name}: missing column {_list(missing)}; found {_list(header)}")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise refuse(f"{name}: column {_list(twice)} occurs more than once; keep one")
    return header


def _list(columns: Sequence[str]) -> str:
    return ", ".join(shorten(column) for column in columns)
