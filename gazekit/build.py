"""Readings to a cache: ``plan -> run_shard -> finalize``, the one path for one process, many, or a cluster."""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazekit.build_summary import BuildSummary, summarise
from gazekit.cache_files import finished_shard, missing_shards, read_header, row_failures
from gazekit.errors import CacheError, InputError
from gazekit.locks import hold
from gazekit.manifest import write_manifest
from gazekit.plan import Plan, RowTask, difference, plan_cache
from gazekit.rows import crashed_row, make_row
from gazekit.shards import (
    FAILURES_FILE,
    HEADER_FILE,
    MANIFEST_FILE,
    SHARD_FILE,
    SHARDS,
    Row,
    array_specs,
    replacing,
    sha256_file,
    shard_name,
    write_shard,
)
from gazekit.verify import seal
from gazekit.workers import ordered_map

if TYPE_CHECKING:
    from gazekit.reading import Readings

EXECUTORS = ("processes", "serial")
LOCK_WAIT_S = 10.0
_LOCK_FILE = ".lock"
_ROWS_A_WORKER = 32


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
        Processes; default one a core, but no more than one for each 32 rows: a process takes seconds to start.
    executor : "processes" or "serial"
        "serial" works in this process: for debugging, without protection from a decoder that crashes.
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
    _check_run_options(workers, executor, task_index, task_count)
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
    run = partial(_run, plan, root, workers=workers, executor=executor, strict=strict, on_plan=on_plan, on_row=on_row)
    if task_index is None or task_count is None:
        shards = range(plan.n_shards)
        with _directory(root), hold(root / _LOCK_FILE, str(root)), _begun(plan, root):
            rows_built = run(shards)
            _join(root)
    else:
        shards = range(task_index, plan.n_shards, task_count)
        with _directory(root), hold(root / _LOCK_FILE, str(root), wait_s=LOCK_WAIT_S):
            _write_plan(plan, root)
        rows_built = run(shards)
    return summarise(root, shards, rows_built=rows_built, seconds=time.perf_counter() - started)


def run_shard(plan: Plan, k: int, out: Path, *, rows: Iterable[Row] | None = None) -> dict[str, Any]:
    """Build shard k, unless it is there.

    Parameters
    ----------
    plan : Plan
    k : int
    out : Path
        The cache.
    rows : iterable of Row, optional
        The shard's rows as they come from other processes; default: made here.

    Returns
    -------
    dict
        The content of its ``shard.json``.
    """
    with hold(out / f".shard-{shard_name(k)}.lock", f"shard {shard_name(k)} of {out}", wait_s=LOCK_WAIT_S):
        found = finished_shard(out, k, plan.fingerprint)
        if found is not None:
            return found
        p = plan.parameters
        return write_shard(
            out / SHARDS / shard_name(k),
            map(_maker(plan), plan.shard(k)) if rows is None else rows,
            specs=array_specs(p.image_size, p.grid, p.heatmap_size),
            fingerprint=plan.fingerprint,
        )


def finalize(out: str | Path) -> BuildSummary:
    """Join the shards of all tasks: write the manifest, the list of failures, and the final ``cache.json``.

    Everything it writes is derived from the shards, so it can be called at any time, any number of times. While a
    shard is missing nothing is written and `BuildSummary.missing_shards` names it.
    """
    started = time.perf_counter()
    root = Path(out)
    n_shards = len(read_header(root)["shards"])
    with hold(root / _LOCK_FILE, str(root), wait_s=LOCK_WAIT_S):
        if not missing_shards(root):
            _join(root)
    return summarise(root, range(n_shards), rows_built=0, seconds=time.perf_counter() - started)


def _check_run_options(workers: int | None, executor: str, task_index: int | None, task_count: int | None) -> None:
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    if executor not in EXECUTORS:
        raise InputError(f"executor must be one of {', '.join(EXECUTORS)}, got {executor!r}")
    if (task_index is None) != (task_count is None):
        raise InputError("task_index and task_count go together")
    if task_index is not None and task_count is not None and not 0 <= task_index < task_count:
        raise InputError(f"task_index must be from 0 to task_count - 1 = {task_count - 1}, got {task_index}")


@contextmanager
def _directory(root: Path) -> Iterator[None]:
    """Make the cache's directory; take it away again if the input is found to be wrong while it is still empty."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; the cache is a directory")
    is_new = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(root)
    try:
        yield
    except InputError:
        if is_new:
            with suppress(OSError):  # not empty
                root.rmdir()
        raise


@contextmanager
def _begun(plan: Plan, root: Path) -> Iterator[None]:
    """Write ``cache.json`` if it is not there; take it away again if wrong input is found before a shard is finished.

    Otherwise the corrected input would be refused for differing from the wrong one, of which nothing was built.
    """
    is_new = _write_plan(plan, root)
    try:
        yield
    except InputError:
        if is_new and not any((root / SHARDS).iterdir()):
            (root / SHARDS).rmdir()
            (root / HEADER_FILE).unlink()
        raise


def _refuse_foreign(root: Path) -> None:
    """`InputError` for a directory of files that are not ours."""
    if not (root / HEADER_FILE).exists():
        foreign = sorted(p.name for p in root.iterdir() if p.name != SHARDS and not p.name.startswith("."))
        if foreign:
            raise InputError(f"{root} is neither empty nor a cache (it holds {foreign[0]}); name another directory")


def _write_plan(plan: Plan, root: Path) -> bool:
    """The first to come writes ``cache.json``, which is then True; the others check that it is theirs."""
    (root / SHARDS).mkdir(exist_ok=True)
    if not (root / HEADER_FILE).exists():
        with replacing(root / HEADER_FILE) as file:
            file.write(seal(plan.header))
        return True
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
        warnings.warn(f"{root} was begun with other packages: {'; '.join(changed)}", stacklevel=3)
    return False


def _run(
    plan: Plan,
    root: Path,
    shards: Sequence[int],
    *,
    workers: int | None,
    executor: str,
    strict: bool,
    on_plan: Callable[[int], None] | None,
    on_row: Callable[[int], None] | None,
) -> int:
    """Build those of `shards` that are missing; the number of rows made."""
    todo = []
    for k in shards:
        content = finished_shard(root, k, plan.fingerprint)
        if content is None:
            todo.append(k)
        elif strict:
            _refuse_skipped(content["rows"])
    tasks = list(itertools.chain.from_iterable(plan.shard(k) for k in todo))
    if on_plan is not None:
        on_plan(len(tasks))
    with closing(_rows(plan, tasks, workers, executor)) as made:
        rows = _watched(made, strict, on_row)
        for k in todo:
            share = itertools.islice(rows, len(plan.shard(k)))
            run_shard(plan, k, root, rows=share)
            deque(share, maxlen=0)  # a task that has just built the same shard leaves these rows unused
    return len(tasks)


def _maker(plan: Plan) -> Callable[[RowTask], Row]:
    return partial(make_row, load=plan.load, images_root=plan.images_root, parameters=plan.parameters)


def _rows(plan: Plan, tasks: Sequence[RowTask], workers: int | None, executor: str) -> Generator[Row]:
    make = _maker(plan)
    if executor == "serial":
        yield from map(make, tasks)
    else:
        worth_starting = max(1, len(tasks) // _ROWS_A_WORKER)
        crashed = partial(crashed_row, parameters=plan.parameters)
        yield from ordered_map(make, tasks, workers=workers or min(_cores(), worth_starting), crashed=crashed)


def _watched(rows: Iterable[Row], strict: bool, on_row: Callable[[int], None] | None) -> Iterator[Row]:
    for done, row in enumerate(rows, start=1):
        if strict:
            _refuse_skipped([row.info])
        if on_row is not None:
            on_row(done)
        yield row


def _refuse_skipped(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        for failure in row_failures(row):
            raise InputError(f"{failure['id']}: {failure['reason']}: {failure['message']} (--strict ends here)")


def _join(root: Path) -> None:
    """Everything that is derived from the finished shards; ``cache.json`` last."""
    header = read_header(root)
    counts: Counter[str] = Counter()
    decoders: Counter[str] = Counter()
    shards = []
    for k, shard in enumerate(header["shards"]):
        content = finished_shard(root, k, header["fingerprint"])
        assert content is not None
        counts.update(content["counts"])
        decoders.update(str(row["image"].get("decoder")) for row in content["rows"] if row["status"] == "ok")
        sha256 = sha256_file(root / SHARDS / shard["name"] / SHARD_FILE)
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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
