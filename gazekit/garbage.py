"""What killed runs and older plans left in a cache, and its removal. Nothing of a run that goes on is touched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gazekit.build import LOCK_FILE
from gazekit.cache_files import read_header, read_shard_file
from gazekit.errors import CacheError
from gazekit.executors import SLURM_FOLDER, shard_lock
from gazekit.locks import hold, is_held
from gazekit.shards import SHARDS

TEMPORARY, STALE_LOCK, OLDER_PLAN, JOBS = (
    "temporary of a killed run",
    "lock of a killed run",
    "shard of an older plan",
    "jobs of a Slurm build",
)


class Garbage(NamedTuple):
    """One file or directory that is not needed: its path in the cache, why, and its size."""

    path: str
    what: str
    n_bytes: int


def collect_garbage(root: Path, *, dry_run: bool = False) -> list[Garbage]:
    """Remove what no run needs any more.

    These are temporaries and locks of killed runs, shards that do not belong to the plan of ``cache.json``, and the
    jobs' files of a Slurm build. Finished shards of the plan stay, also while others are missing.

    Parameters
    ----------
    root : Path
        The cache.
    dry_run : bool
        Only say what would be removed.

    Returns
    -------
    list of Garbage
        In the order of their paths.

    Raises
    ------
    CacheError
        `root` is no cache, or a run builds it now (its host and process id are shown).
    """
    header = read_header(root)
    names = {str(shard["name"]) for shard in header["shards"]}
    with hold(root / LOCK_FILE, str(root)):
        found = sorted(
            Garbage(path.relative_to(root).as_posix(), what, _size(path))
            for path, what in _garbage(root, names, header["fingerprint"])
        )
        for garbage in [] if dry_run else found:
            _remove(root / garbage.path)
    return found


def _garbage(root: Path, names: set[str], fingerprint: str) -> Iterator[tuple[Path, str]]:
    locks = [path for path in root.glob(".*.lock") if path.name != LOCK_FILE]
    # a worker of a cluster may outlive the run that sent it, and holds its shard alone
    held = {path for path in locks if is_held(path)}
    for path in locks:
        if path not in held:
            yield path, STALE_LOCK
    for path in root.glob(".*.tmp"):
        yield path, TEMPORARY
    if (root / SLURM_FOLDER).is_dir() and not held:
        yield root / SLURM_FOLDER, JOBS
    for path in (root / SHARDS).iterdir():
        if path.name.startswith("."):
            if shard_lock(root, path.name.split(".")[1]) not in held:
                yield path, TEMPORARY
        elif path.name not in names or _is_of_another_plan(path, fingerprint):
            yield path, OLDER_PLAN


def _is_of_another_plan(shard: Path, fingerprint: str) -> bool:
    with suppress(CacheError):  # a damaged shard is for `verify` to name
        return bool(read_shard_file(shard)["fingerprint"] != fingerprint)
    return False


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
