"""The lines of an EyeLink ASC file: the many sample lines as arrays at once, the few others one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gazekit.sources.eyelink_format import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOST = [" " * spaces + "." for spaces in range(12)]
_DIGITS = (ord("0"), ord("9"))


@dataclass(frozen=True)
class Lines:
    """A file as lines, counted from 0.

    Attributes
    ----------
    data : bytes
        Whole lines only.
    starts : (L + 1,) int64
        Offset of each line, and the length of `data`.
    is_sample : (L,) bool
        Lines that begin with a digit.
    """

    data: bytes
    starts: NDArray[np.int64]
    is_sample: NDArray[np.bool_]

    def others(self) -> Iterator[tuple[int, str]]:
        """Number and text of each line that is no sample."""
        for line in np.flatnonzero(~self.is_sample).tolist():
            yield line, self.text(line)

    def text(self, line: int) -> str:
        """A line without its end; bytes that are not UTF-8 as escapes."""
        raw = self.data[self.starts[line] : self.starts[line + 1]]
        return raw.decode("utf-8", errors="backslashreplace").rstrip("\r\n")


def split_lines(data: bytes) -> tuple[Lines, bool]:
    """Find the lines, and whether the last one was cut off: one without a line end is left out, for what it lacks."""
    whole = data.rfind(b"\n") + 1
    cut = whole < len(data)
    buffer = np.frombuffer(data, np.uint8, count=whole)
    starts = np.concatenate([[0], np.flatnonzero(buffer == ord("\n")) + 1])
    first = buffer[starts[:-1]]
    return Lines(data[:whole] if cut else data, starts, (first >= _DIGITS[0]) & (first <= _DIGITS[1])), cut


def read_samples(
    lines: Lines, first: int, last: int, columns: Sequence[str], wanted: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Columns of the sample lines from line `first` to `last` (exclusive).

    Parameters
    ----------
    lines : Lines
    first, last : int
    columns : sequence of str
        Names of the first cells of a line, in order; further cells are not read.
    wanted : sequence of str
        Which of `columns` to return.

    Returns
    -------
    columns : dict
        Name to (N,) float64, NaN where the file has a dot.
    numbers : (N,) int64
        Line of each sample. Lines with another number of cells than the first one, or with text where a number
        belongs, are left out.
    """
    numbers = np.flatnonzero(lines.is_sample[first:last]) + first
    if not len(numbers):
        return {name: np.empty(0) for name in wanted}, numbers
    cells = lines.text(int(numbers[0])).count("\t") + 1
    names = [*columns, *(f"unread {k}" for k in range(len(columns), cells))]
    if cells >= len(columns):
        parsed = _parse(_sample_text(lines, first, last), names, wanted)
        if parsed is not None and len(parsed[wanted[0]]) == len(numbers):
            return parsed, numbers
    kept = []
    values = []
    for line in numbers.tolist():
        row = lines.text(line).split("\t")
        found = [np.nan if cell.strip() == "." else _strict(cell) for cell in row[: len(columns)]]
        if len(row) == len(names) and None not in found:
            kept.append(line)
            values.append(found)
    table = np.array(values, np.float64).reshape(-1, len(columns))
    return {name: table[:, columns.index(name)] for name in wanted}, np.array(kept, np.int64)


def _sample_text(lines: Lines, first: int, last: int) -> bytes:
    """The sample lines alone, in one piece."""
    others = np.flatnonzero(~lines.is_sample[first:last]) + first
    begins = lines.starts[np.concatenate([[first], others + 1])].tolist()
    ends = lines.starts[np.concatenate([others, [last]])].tolist()
    return b"".join(lines.data[a:b] for a, b in zip(begins, ends, strict=True) if a < b)


def _parse(text: bytes, names: Sequence[str], wanted: Sequence[str]) -> dict[str, NDArray[np.float64]] | None:
    """Tab-separated numbers, or None where a cell is none or a line is of another length."""
    import pyarrow as pa
    import pyarrow.csv

    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text),
            # one thread: the text of a block is small, and threads cost more than they save
            read_options=pyarrow.csv.ReadOptions(column_names=list(names), use_threads=False, block_size=1 << 22),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(wanted), column_types=dict.fromkeys(wanted, pa.float64()), null_values=_LOST
            ),
        )
    except pa.ArrowInvalid:
        return None
    return {name: table[name].to_numpy() for name in wanted}


def _strict(cell: str) -> float | None:
    """A cell as float, None where it is no number."""
    value = number(cell)
    return None if np.isnan(value) and cell.strip().lower() != "nan" else value
