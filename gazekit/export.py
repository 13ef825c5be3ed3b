"""A cache in the formats of other tools: ``gazekit export``. All of it appears at once, or nothing does.

Every format is read back by an independent reader in the tests. What leaves is what a row is (ids, split, view,
sizes), its arrays and its fixations; transcripts, labels and messages stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gazekit.bids import write_bids_cache
from gazekit.errors import InputError
from gazekit.export_files import write_npy, write_png, write_webdataset
from gazekit.export_zarr import import_zarr, write_zarr
from gazekit.new_directory import new_directory, refuse_inside, refuse_taken, refuse_unwritable

if TYPE_CHECKING:
    from gazekit.cache import PriorCache

FORMATS: dict[str, Callable[[PriorCache, Path, Callable[[int], None]], None]] = {
    "png": write_png,
    "npy": write_npy,
    "zarr": write_zarr,
    "webdataset": write_webdataset,
    "bids": write_bids_cache,
}
"""Name of a format, as ``--to`` takes it, to the function that fills an empty directory with it."""


def export_cache(cache: PriorCache, out: Path, *, to: str, on_row: Callable[[int], None] | None = None) -> int:
    """Write a cache in another format.

    Parameters
    ----------
    cache : PriorCache
    out : Path
        A directory that does not exist yet, or is empty; it appears, whole, when everything is written.
    to : str
        A key of `FORMATS`.
    on_row : callable, optional
        Told the number of rows written so far.

    Returns
    -------
    int
        Number of rows written.

    Raises
    ------
    InputError
        Unknown format; `out` holds something, or lies inside the cache; the format needs a package that is missing.
    CacheError
        The cache is damaged, or another process writes the same export.
    OSError
        The system refused; nothing is left behind.
    """
    check_export(cache, out, to=to)
    with new_directory(out) as directory:
        FORMATS[to](cache, directory, on_row or (lambda done: None))
    return len(cache)


def check_export(cache: PriorCache, out: Path, *, to: str) -> None:
    """Refuse what `export_cache` would refuse, before a row is read.

    Raises
    ------
    InputError
        Unknown format, or its package is missing; `out` holds something, or lies inside the cache.
    NotADirectoryError, PermissionError
        `out` lies under a file, or may not be made.
    """
    if to not in FORMATS:
        raise InputError(f"--to must be one of {', '.join(FORMATS)}, got {to!r}")
    refuse_inside(cache, out)
    refuse_taken(out)
    refuse_unwritable(out.absolute().parent)
    if to == "zarr":
        import_zarr()
