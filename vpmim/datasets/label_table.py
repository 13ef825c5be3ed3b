"""Strict reading of a label table: what is not exactly a comma-separated table in UTF-8 is an error that says so."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vpmim.datasets.labelled import DatasetError, some

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_LONGEST_FIELD = 1_000_000
_LARGEST_TABLE = 1_000_000_000


@dataclass(frozen=True)
class LabelTable:
    """A table as text.

    Attributes
    ----------
    name : str
        File name, for messages.
    columns : tuple of str
    rows : list of rows, each of as many fields as there are columns
    lines : list of int
        Line of the file on which each row ends, counted from 1.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """One column's fields."""
        position = self.columns.index(name)
        return [row[position] for row in self.rows]

    def names(self, column: str) -> list[str]:
        """A column of ids or file names; `DatasetError` for one that could lead out of the data set's folder."""
        found = self.column(column)
        for name, line in zip(found, self.lines, strict=True):
            if not _NAME.fullmatch(name):
                raise DatasetError(
                    f"{self.name}, line {line}, column {column!r}: expected 1 to 128 of A-Z a-z 0-9 . _ - that do not "
                    "start with a dot"
                )
        return found

    def unique_names(self, column: str) -> list[str]:
        """As `names`, each given once."""
        found = self.names(column)
        if len(set(found)) < len(found):
            first: dict[str, int] = {}
            for name, line in zip(found, self.lines, strict=True):
                if first.setdefault(name, line) != line:
                    raise DatasetError(
                        f"{self.name}, line {line}, column {column!r}: {name} is given twice, first on line "
                        f"{first[name]}"
                    )
        return found


def read_label_table(path: Path, *, required: Sequence[str] = ()) -> LabelTable:
    """Read a comma-separated table of a whole data set.

    Parameters
    ----------
    path : Path
        ``.csv``, or ``.csv.gz`` as MIMIC-CXR-JPG publishes its tables.
    required : column names that must be there

    Returns
    -------
    LabelTable
        A byte-order mark, CRLF and trailing blank lines are taken away, nothing else.

    Raises
    ------
    DatasetError
        Items 1 to 12 of the bad inputs: missing, a directory, empty, header only, columns missing or given twice, not
        UTF-8, NUL bytes, a ragged row, an unclosed quote, another delimiter, compressed, a field beyond 1 MB, a git-lfs
        pointer, an HTML page.
    """
    text = _text(path)
    header, _, _ = text.partition("\n")
    if "," not in header and any(mark in header for mark in ";\t"):
        mark = "semicolons" if ";" in header else "tabs"
        raise DatasetError(f"{path.name}: fields are separated by {mark}; save it with commas and decimal points")
    rows, lines = _rows(path.name, text)
    if not rows:
        raise DatasetError(f"{path.name}: the file is empty")
    columns = tuple(rows.pop(0))
    lines.pop(0)
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise DatasetError(f"{path.name}: columns given twice: {some(twice)}")
    if missing := [name for name in required if name not in columns]:
        raise DatasetError(f"{path.name}: columns {', '.join(missing)} are missing; found {', '.join(columns)}")
    if not rows:
        raise DatasetError(f"{path.name}: a header and no row")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise DatasetError(f"{path.name}, line {line}: {len(row)} fields where the header has {len(columns)}")
    return LabelTable(name=path.name, columns=columns, rows=rows, lines=lines)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"no label table {path}") from None
    except IsADirectoryError:
        raise DatasetError(f"{path}: a directory, expected a comma-separated table") from None
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    if path.suffix == ".gz":
        content = _unpacked(path, content)
    if content.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise DatasetError(f"{path.name}: a compressed file under the name of a table; unpack it")
    start = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DatasetError(
            f"{path.name}: an HTML page, not a table; the download needs a login (PhysioNet sends its login page)"
        )
    if start.startswith(b"version https://git-lfs"):
        raise DatasetError(f"{path.name}: a git-lfs pointer, not the table; run git lfs pull")
    if b"\0" in content:
        raise DatasetError(f"{path.name}: NUL at byte {content.index(0)}; expected a table in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name}: not UTF-8 at byte {error.start}; save it in UTF-8") from None


def _unpacked(path: Path, content: bytes) -> bytes:
    """The content of a ``.gz``, of which no more than `_LARGEST_TABLE` is unpacked."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(_LARGEST_TABLE + 1)
    except (OSError, EOFError, zlib.error) as error:
        start = content[:512].lstrip().lower()
        if start.startswith((b"<!doctype", b"<html")):
            return content  # told as what it is
        raise DatasetError(f"{path.name}: a damaged gzip file ({error}); fetch it again") from None
    if len(unpacked) > _LARGEST_TABLE:
        raise DatasetError(f"{path.name}: unpacks to more than {_LARGEST_TABLE / 1e9:g} GB; this is no label table")
    return unpacked


def _rows(name: str, text: str) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    before = csv.field_size_limit(_LONGEST_FIELD)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DatasetError(f"{name}, line {reader.line_num}: {error}") from None
    finally:
        csv.field_size_limit(before)
    while rows and not rows[-1]:
        rows.pop()
        lines.pop()
    return rows, lines
