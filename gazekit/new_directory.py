"""A directory that appears under its name when all of it is written, and never in place of another.

What cannot be written is refused before any work is done.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gazekit.errors import InputError
from gazekit.locks import hold
from gazekit.shards import fsync_directory

if TYPE_CHECKING:
    from gazekit.cache import PriorCache


def refuse_inside(cache: PriorCache, out: Path) -> None:
    """`InputError` if `out` lies inside a cache."""
    if out.resolve().is_relative_to(cache.path.resolve()):
        raise InputError(f"{out} lies inside the cache {cache.path.name}; name another directory")


def refuse_taken(out: Path) -> None:
    """`InputError` unless `out` does not exist yet, or is an empty directory."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise InputError(f"{out} is there already, and is never overwritten: remove it, or name another directory")


def refuse_unwritable(folder: Path) -> None:
    """Find now, and not after an hour of work, that nothing can be written to a folder, there or not.

    Raises
    ------
    NotADirectoryError
        It is, or lies under, a file.
    PermissionError
    """
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
    if not os.access(above, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(above))


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A temporary sibling of `out` to fill, which takes its name at the end; removed if anything goes wrong."""
    out = out.absolute()
    refuse_taken(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    with hold(out.with_name(f".{out.name}.lock"), str(out)):
        shutil.rmtree(temporary, ignore_errors=True)  # of a writer that was killed
        temporary.mkdir()
        try:
            yield temporary
            fsync_directory(temporary)
            temporary.replace(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_directory(out.parent)
