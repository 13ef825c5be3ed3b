"""Who makes the shards that are missing: this process, worker processes of this machine, Dask or Slurm."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from gazekit.cache_files import finished_shard, row_failures
from gazekit.clusters import dask_map, slurm_map
from gazekit.errors import InputError
from gazekit.locks import hold
from gazekit.plan import Plan, RowTask
from gazekit.rows import crashed_row, make_row
from gazekit.shards import HEADER_FILE, SHARDS, Row, array_specs, shard_name, write_shard
from gazekit.workers import ordered_map

EXECUTORS = ("processes", "serial", "dask", "slurm")
LOCK_WAIT_S = 10.0
SLURM_FOLDER = ".slurm"
"""Where the jobs of a Slurm build lie in the cache while they run."""

_ROWS_A_WORKER = 32
_READERS_AHEAD = 4


def run_shard(plan: Plan, k: int, out: Path, *, rows: Iterable[Row] | None = None) -> dict[str, Any]:
    """Build shard k, unless it is there: the one path by which every executor makes every shard.

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
    with hold(shard_lock(out, shard_name(k)), f"shard {shard_name(k)} of {out}", wait_s=LOCK_WAIT_S):
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


def shard_lock(out: Path, name: str) -> Path:
    """Lock file of a shard."""
    return out / f".shard-{name}.lock"


def run_shards(
    plan: Plan,
    shards: Sequence[int],
    out: Path,
    *,
    executor: str,
    workers: int | None = None,
    scheduler: str | None = None,
    strict: bool = False,
    on_row: Callable[[int], None] | None = None,
) -> None:
    """Build several shards. The arguments are those of `gazekit.build.build_heatmaps`."""
    if executor in ("processes", "serial"):
        tasks = list(itertools.chain.from_iterable(plan.shard(k) for k in shards))
        with closing(_rows(plan, tasks, workers, executor)) as made:
            rows = _watched(made, strict, on_row)
            for k in shards:
                share = itertools.islice(rows, len(plan.shard(k)))
                run_shard(plan, k, out, rows=share)
                deque(share, maxlen=0)  # a task that has just built the same shard leaves these rows unused
        return
    function = partial(_run_there, out=out.absolute(), directory=Path.cwd(), strict=strict)
    sent = [(plan.only(k), k) for k in shards]
    if executor == "dask":
        outcomes = dask_map(function, sent, workers=workers, scheduler=scheduler)
    else:
        outcomes = slurm_map(function, sent, workers=workers, folder=out.absolute() / SLURM_FOLDER)
    done = 0
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            done += outcome
            if on_row is not None:
                on_row(done)


def refuse_skipped(rows: Iterable[dict[str, Any]]) -> None:
    """`InputError` at the first record of rows of ``shard.json`` that was skipped: what ``--strict`` means."""
    for row in rows:
        for failure in row_failures(row):
            raise InputError(f"{failure['id']}: {failure['reason']}: {failure['message']} (--strict ends here)")


def _run_there(task: tuple[Plan, int], *, out: Path, directory: Path, strict: bool) -> int | Exception:
    """Build one shard on another machine, its rows in a worker process of its own; the number of rows.

    What the caller must hear of is returned, because not every cluster brings back the type of what was raised.
    """
    plan, k = task
    try:
        if not ((directory / plan.images_root).is_dir() and (out / HEADER_FILE).is_file()):
            raise InputError(f"a machine of the cluster does not see {directory / plan.images_root} and {out}")
        with closing(_rows(plan, plan.shard(k), 1, "processes", directory=directory)) as rows:
            run_shard(plan, k, out, rows=_watched(rows, strict, None))
    except (ValueError, OSError) as error:
        return error
    return len(plan.shard(k))


def _maker(plan: Plan) -> Callable[[RowTask], Row]:
    return partial(make_row, load=plan.load, images_root=plan.images_root, parameters=plan.parameters)


def _rows(
    plan: Plan, tasks: Sequence[RowTask], workers: int | None, executor: str, directory: Path | None = None
) -> Generator[Row]:
    make = _maker(plan)
    if executor == "serial":
        yield from map(make, tasks)
        return
    worth_starting = max(1, len(tasks) // _ROWS_A_WORKER)
    with closing(_read_ahead(tasks, plan.images_root)) as announced:
        yield from ordered_map(
            make,
            announced,
            workers=workers or min(_cores(), worth_starting),
            crashed=partial(crashed_row, parameters=plan.parameters),
            directory=directory,
        )


def _read_ahead(tasks: Iterable[RowTask], images_root: Path) -> Generator[RowTask]:
    """The same tasks; the system begins to read the image of each while those before it are decoded."""
    # several, for opening a file takes its time on a network disk
    with ThreadPoolExecutor(_READERS_AHEAD, "reader") as readers:
        for task in tasks:
            if task.image_file is not None:
                readers.submit(_announce, images_root / task.image_file)
            yield task


def _announce(path: Path) -> None:
    with suppress(OSError, AttributeError), path.open("rb", buffering=0) as file:  # not every system has the call
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _watched(rows: Iterable[Row], strict: bool, on_row: Callable[[int], None] | None) -> Iterator[Row]:
    for done, row in enumerate(rows, start=1):
        if strict:
            refuse_skipped([row.info])
        if on_row is not None:
            on_row(done)
        yield row


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
