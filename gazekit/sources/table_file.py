"""A table's file, opened if its first bytes can be those of a table."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

from gazekit.errors import GazekitError

Refuse = Callable[[str], GazekitError]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_HEAD_BYTES = 512

_NOT_CSV: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip data; unpack it with gunzip"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV"),
    (b"BZh", "bzip2 data; unpack it with bunzip2"),
    (b"\xfd7zXZ", "xz data; unpack it with unxz"),
    (b"PAR1", "a Parquet file; save it as CSV"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"version https://git-lfs.github.com/spec/", "a git-lfs pointer, not the file itself; run `git lfs pull`"),
    (b"/annex/objects/", "a git-annex pointer, not the file itself; run `git annex get`"),
)


def open_table(
    path: Path,
    name: str,
    refuse: Refuse,
    *,
    expected: str = "a comma-separated table",
    accepted: Collection[bytes] = (),
) -> BinaryIO:
    """The file, opened, if its first bytes can be those of what is `expected`.

    `accepted` are first bytes, of those that are refused, that are right here: the byte order marks of UTF-16.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise refuse(f"{name}: expected a file, found a {'folder' if path.is_dir() else 'special file'}")
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise refuse(f"{name}: no such file; download the data set again or correct the path") from None
    except PermissionError:
        raise refuse(f"{name}: permission denied; make the file readable") from None
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    found = next((what for magic, what in _NOT_CSV if head.startswith(magic) and magic not in accepted), None)
    if found is None and head.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"<"):
        found = "a web page (a log-in page?), not the table; download it again with your credentials"
    if found is not None:
        file.close()
        raise refuse(f"{name}: expected {expected}, found {found}")
    return file
