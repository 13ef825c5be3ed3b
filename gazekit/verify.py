"""Is a cache what it was when it was written? Every file against its checksum, every name against the list."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gazekit.cache_files import read_header, read_shard_file
from gazekit.errors import CacheError
from gazekit.shards import (
    FAILURES_FILE,
    HEADER_FILE,
    MANIFEST_FILE,
    SHARD_FILE,
    SHARDS,
    sha256_file,
    to_json,
)


def seal(header: dict[str, Any]) -> bytes:
    """``cache.json`` as written: indented, with a checksum over its own content."""
    content = {key: value for key, value in header.items() if key != "checksum"}
    return to_json(content | {"checksum": hashlib.sha256(to_json(content)).hexdigest()}, indent=1)


def damage(root: Path, *, on_shard: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """What is wrong with a cache.

    ``cache.json`` holds its own checksum and those of the manifest, the list of failures and each
    ``shard.json``, which holds those of the other files of its shard: one changed bit anywhere is found.

    Parameters
    ----------
    root : Path
        The cache's directory.
    on_shard : callable
        Told the number of shards read so far, and of all.

    Returns
    -------
    list of str
        ``file: what is wrong`` for each damaged, missing or foreign file, relative to `root`; empty if intact.

    Raises
    ------
    CacheError
        `root` is no cache at all.
    """
    if not os.path.lexists(root / HEADER_FILE):
        read_header(root)  # says what is there instead
    return list(_damage(root, on_shard))


def _damage(root: Path, on_shard: Callable[[int, int], None]) -> Iterator[str]:
    try:
        header = read_header(root)
    except CacheError as error:
        yield f"{HEADER_FILE}: {error}"
        return
    if (root / HEADER_FILE).read_bytes() != seal(header):
        yield f"{HEADER_FILE}: differs from its own checksum"
        return
    if not header["complete"]:
        yield f"{HEADER_FILE}: the cache is not finished"
        return
    for name in (MANIFEST_FILE, FAILURES_FILE):
        yield from _differs(root, name, header["files"][name]["sha256"])
    shards = {shard["name"]: shard["sha256"] for shard in header["shards"]}
    for done, (name, sha256) in enumerate(shards.items(), start=1):
        yield from _shard_damage(root, f"{SHARDS}/{name}", sha256)
        on_shard(done, len(shards))
    for path in sorted((root / SHARDS).glob("*")):
        if path.name not in shards:
            yield f"{SHARDS}/{path.name}: not part of the cache"


def _shard_damage(root: Path, shard: str, sha256: str) -> Iterator[str]:
    if (root / shard).is_symlink():
        yield f"{shard}: a link, not a folder"
        return
    wrong = list(_differs(root, f"{shard}/{SHARD_FILE}", sha256))
    yield from wrong
    if wrong:
        return
    files = read_shard_file(root / shard)["files"]
    for name, entry in files.items():
        yield from _differs(root, f"{shard}/{name}", entry["sha256"])
    for path in sorted((root / shard).iterdir()):
        if path.name not in files and path.name != SHARD_FILE:
            yield f"{shard}/{path.name}: not part of the cache"


def _differs(root: Path, name: str, sha256: str) -> Iterator[str]:
    path = root / name
    if not os.path.lexists(path):
        yield f"{name}: missing"
    elif path.is_symlink() or not path.is_file():
        yield f"{name}: not a plain file"
    elif sha256_file(path) != sha256:
        yield f"{name}: differs from its checksum"
