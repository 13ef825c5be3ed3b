"""Readings to a cache: ``plan -> run_shard -> finalize``, the one path for one process, many, or a cluster."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gazekit.build_summary import BuildSummary, summarise
from gazekit.cache_files import finished_shard, missing_shards, read_header
from gazekit.errors import CacheError, InputError
from gazekit.executors import EXECUTORS, LOCK_WAIT_S, refuse_skipped, run_shards
from gazekit.locks import Lock, hold
from gazekit.manifest import write_manifest
from gazekit.new_directory import refuse_unwritable
from gazekit.plan import Plan, difference, plan_cache
from gazekit.shards import (
    FAILURES_FILE,
    HEADER_FILE,
    MANIFEST_FILE,
    SHARD_FILE,
    SHARDS,
    replacing,
    sha256_file,
)
from gazekit.verify import seal

if TYPE_CHECKING:
    from gazekit.reading import Readings

LOCK_FILE = ".lock"
_PLAN_LOCK_FILE = ".plan.lock"


def build_heatmaps(
    readings: Readings,
    images_root: str | Path,
    out: str | Path,
    *,
    sigma_dva: float = 1.0,
    image_size: int = 256,
    grid: tuple[int, int] = (14, 14),
    heatmap_size: int = 224,
    per: str = "image",
    gaze: str = "fixations",
    window: str = "whole",
    windowing: str = "dicom",
    keep_no_gaze: bool = False,
    shard_size: int = 512,
    limit: int | None = None,
    workers: int | None = None,
    executor: str = "processes",
    scheduler: str | None = None,
    task_index: int | None = None,
    task_count: int | None = None,
    strict: bool = False,
    on_plan: Callable[[int], None] | None = None,
    on_row: Callable[[int], None] | None = None,
) -> BuildSummary:
    """Build a cache, or go on with one that was interrupted.

    The bytes under ``shards/`` depend on the readings, the images and the parameters alone.

    Parameters
    ----------
    readings : Readings
        From one of `gazekit.sources.SOURCES`.
    images_root : path
        Where the image paths of the readings are looked for.
    out : path
        The cache: new, empty, or one of the same parameters and inputs.
    sigma_dva, image_size, grid, heatmap_size, per, gaze, window, windowing, keep_no_gaze, shard_size, limit
        As in `gazekit.plan.plan_cache`.
    workers : int, optional
        Processes; default one a core, but no more than one for each 32 rows: a process takes a second to start.
        With "slurm": jobs at a time, default 100.
    executor : "processes", "serial", "dask" or "slurm"
        "serial" works in this process: for debugging, without protection from a decoder that crashes. "dask" and
        "slurm" send out whole shards; see docs/scaling.md.
    scheduler : str, optional
        Address of a Dask scheduler; default a Dask cluster on this machine.
    task_index, task_count : int, optional
        Build only the shards k with ``k % task_count == task_index``; `finalize` then joins the tasks.
    strict : bool
        Raise at the first record that must be skipped.
    on_plan, on_row : callable, optional
        Told the number of rows to make, then the number made so far.

    Returns
    -------
    BuildSummary

    Raises
    ------
    InputError
        Wrong options or input; with `strict`, a skipped record. Where no shard was finished, nothing stays behind.
    CacheError
        `out` holds something else, or a cache of other parameters or inputs (the difference is shown), or another
        process is building it (its host and process id are shown).
    OSError
        The system refused; what was finished is intact and the same call goes on from there.
    """
    started = time.perf_counter()
    _check_run_options(workers, executor, scheduler, task_index, task_count)
    plan = plan_cache(
        readings,
        Path(images_root),
        sigma_dva=sigma_dva,
        image_size=image_size,
        grid=grid,
        heatmap_size=heatmap_size,
        per=per,
        gaze=gaze,
        window=window,
        windowing=windowing,
        keep_no_gaze=keep_no_gaze,
        shard_size=shard_size,
        limit=limit,
    )
    root = Path(out)
    is_task = task_index is not None and task_count is not None
    shards = range(plan.n_shards)[task_index::task_count]
    alone = hold(root / LOCK_FILE, str(root), shared=is_task, wait_s=LOCK_WAIT_S if is_task else 0)
    with _directory(root), alone as lock, _begun(plan, root, lock):
        todo = _missing(plan, root, shards, strict)
        rows_built = sum(len(plan.shard(k)) for k in todo)
        if on_plan is not None:
            on_plan(rows_built)
        run_shards(
            plan,
            todo,
            root,
            executor=executor,
            workers=workers,
            scheduler=scheduler,
            strict=strict,
            on_row=on_row,
        )
        if not is_task:
            _join(root, made=todo)
    return summarise(root, shards, rows_built=rows_built, seconds=time.perf_counter() - started)


def finalize(out: str | Path) -> BuildSummary:
    """Join the shards of all tasks: write the manifest, the list of failures, and the final ``cache.json``.

    Everything it writes is derived from the shards, so it can be called at any time, any number of times. While a
    shard is missing nothing is written and `BuildSummary.missing_shards` names it.
    """
    started = time.perf_counter()
    root = Path(out)
    n_shards = len(read_header(root)["shards"])
    if not missing_shards(root):
        with hold(root / LOCK_FILE, str(root), wait_s=LOCK_WAIT_S):
            _join(root)
    return summarise(root, range(n_shards), rows_built=0, seconds=time.perf_counter() - started)


def _check_run_options(
    workers: int | None, executor: str, scheduler: str | None, task_index: int | None, task_count: int | None
) -> None:
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    if executor not in EXECUTORS:
        raise InputError(f"executor must be one of {', '.join(EXECUTORS)}, got {executor!r}")
    if scheduler is not None and (executor != "dask" or workers is not None):
        raise InputError("scheduler is for the executor dask, whose workers it has itself; workers is not for it")
    if (task_index is None) != (task_count is None):
        raise InputError("task_index and task_count go together")
    if task_index is not None and task_count is not None and not 0 <= task_index < task_count:
        raise InputError(
            f"task_index must be from 0 to task_count - 1 = {task_count - 1}, got {task_index}; a job array of "
            f"{task_count} tasks is --array=0-{task_count - 1}"
        )


@contextmanager
def _directory(root: Path) -> Iterator[None]:
    """Make the cache's directory; take it away again if the input is found to be wrong while it is still empty."""
    is_new = not root.exists()
    check_directory(root)
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except InputError:
        if is_new:
            with suppress(OSError):  # not empty
                root.rmdir()
        raise


@contextmanager
def _begun(plan: Plan, root: Path, lock: Lock) -> Iterator[None]:
    """Write ``cache.json`` if it is not there; take it away again if wrong input is found before a shard is finished.

    Otherwise the corrected input would be refused for differing from the wrong one, of which nothing was built. Of
    several tasks the last one to leave does it.
    """
    (root / SHARDS).mkdir(exist_ok=True)
    with hold(root / _PLAN_LOCK_FILE, str(root), wait_s=LOCK_WAIT_S):
        _write_plan(plan, root)
    try:
        yield
    except InputError:
        if not any((root / SHARDS).iterdir()) and lock.is_alone():
            (root / SHARDS).rmdir()
            (root / HEADER_FILE).unlink()
        raise


def check_directory(root: Path) -> None:
    """Refuse a place that no cache can be written to.

    Raises
    ------
    InputError
        It is a file, or a directory of files that are not ours.
    NotADirectoryError, PermissionError
        It is not there and cannot be made.
    """
    if not root.exists():
        refuse_unwritable(root)
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; the cache is a directory")
    if root.exists() and not (root / HEADER_FILE).exists():
        foreign = sorted(p.name for p in root.iterdir() if p.name != SHARDS and not p.name.startswith("."))
        if foreign:
            raise InputError(f"{root} is neither empty nor a cache (it holds {foreign[0]}); name another directory")


def _write_plan(plan: Plan, root: Path) -> None:
    """The first to come writes ``cache.json``; the others check that it is theirs."""
    if not (root / HEADER_FILE).exists():
        with replacing(root / HEADER_FILE) as file:
            file.write(seal(plan.header))
        return
    check_plan(plan, root)


def check_plan(plan: Plan, root: Path) -> None:
    """`CacheError` if the cache that is there has other parameters or inputs; a warning if other packages began it."""
    header = read_header(root)
    if header["fingerprint"] != plan.fingerprint:
        raise CacheError(
            f"{root} was built from other parameters or inputs: {difference(header, plan.header)}; "
            "name another directory, or remove this one"
        )
    versions = header.get("packages", {})
    changed = [
        f"{n} {versions.get(n)} then, {v} now" for n, v in plan.header["packages"].items() if versions.get(n) != v
    ]
    if changed and not header["complete"]:
        warnings.warn(f"{root} was begun with other packages: {'; '.join(changed)}", stacklevel=2)


def _missing(plan: Plan, root: Path, shards: Iterable[int], strict: bool) -> list[int]:
    """Those of `shards` that are still to be built."""
    todo = []
    for k in shards:
        content = finished_shard(root, k, plan.fingerprint)
        if content is None:
            todo.append(k)
        elif strict:
            refuse_skipped(content["rows"])
    return todo


def _join(root: Path, made: Collection[int] = ()) -> None:
    """Everything that is derived from the finished shards, of which this run made some; ``cache.json`` last."""
    header = read_header(root)
    counts: Counter[str] = Counter()
    decoders: Counter[str] = Counter()
    shards = []
    for k, shard in enumerate(header["shards"]):
        content = finished_shard(root, k, header["fingerprint"])
        assert content is not None
        counts.update(content["counts"])
        decoders.update(str(row["image"].get("decoder")) for row in content["rows"] if row["status"] == "ok")
        file = root / SHARDS / shard["name"] / SHARD_FILE
        sha256 = sha256_file(file)
        if k not in made and shard["sha256"] not in (None, sha256):  # a new checksum would hide the damage for good
            raise CacheError(
                f"{file} is damaged: it differs from its checksum; remove {file.parent} and run again to make it anew"
            )
        shards.append(shard | {name: content["counts"][name] for name in ("rows", "fixations")} | {"sha256": sha256})
    write_manifest(root, [shard["name"] for shard in shards])
    final = header | {
        "complete": True,
        "shards": shards,
        "counts": dict(counts),
        "decoders": dict(sorted(decoders.items())),
        "files": {name: {"sha256": sha256_file(root / name)} for name in (MANIFEST_FILE, FAILURES_FILE)},
    }
    with replacing(root / HEADER_FILE) as file:
        file.write(seal(final))
    for lock in root.glob(".shard-*.lock"):  # left by killed runs
        lock.unlink(missing_ok=True)
