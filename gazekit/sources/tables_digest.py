"""One digest of the tables that a data set's readings come from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path


def tables_digest(root: Path, files: Iterable[str], *, sizes_only: Collection[str], options: str = "") -> str:
    """Sha256 hex over options and files.

    Parameters
    ----------
    root : Path
    files : iterable of str
        Relative to `root`; one that is not there counts as that.
    sizes_only : collection of str
        Names of files, too large to be read, of which the size counts.
    options : str
        What else the readings depend on.
    """
    sha256 = hashlib.sha256(options.encode())
    for file in files:
        path = root / file
        size = path.stat().st_size if path.is_file() else -1
        sha256.update(f"{file} {size}\n".encode())
        if size > 0 and path.name not in sizes_only:
            sha256.update(path.read_bytes())
    return sha256.hexdigest()
