"""Functions over tasks on a cluster: Dask, Slurm by submitit, and the task that a job array gives this process."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gazekit.errors import InputError

JOB_LIMIT_MINUTES = 240
"""Time asked of Slurm for one shard; ``SBATCH_TIMELIMIT`` and its like override what is asked here."""


def dask_map(
    function: Callable[[Any], Any], tasks: Sequence[Any], *, workers: int | None, scheduler: str | None
) -> Generator[Any]:
    """``function(task)`` for all tasks on Dask workers, in the order in which they finish.

    A task whose Dask worker dies is done again by another one.

    Parameters
    ----------
    function : callable
        Picklable.
    tasks : sequence
        Picklable.
    workers : int or None
        Workers of a cluster on this machine; default one a core.
    scheduler : str or None
        Address of a scheduler that runs, in place of a cluster on this machine.

    Raises
    ------
    InputError
        Dask is not installed, or nothing answers at the address.
    OSError
        Workers died on one task again and again.
    """
    try:
        from distributed import Client, KilledWorker, LocalCluster, as_completed
    except ImportError:
        raise InputError("--executor dask needs a package more: pip install 'gazekit[dask]'") from None
    if scheduler is None:
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0)
    else:
        cluster = None
    try:
        client = Client(scheduler if cluster is None else cluster)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {scheduler} ({type(error).__name__})") from None
    try:
        futures = client.map(function, tasks, pure=False)
        for future in as_completed(futures):
            yield future.result()
    except KilledWorker:
        raise OSError(errno.EIO, "Dask workers ended again and again on one shard; see their logs") from None
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def slurm_map(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    workers: int | None,
    folder: Path,
    cluster: str = "slurm",
) -> Generator[Any]:
    """``function(task)`` for all tasks as a Slurm job array, in the order in which they finish.

    Partition, account and time are taken from sbatch's own variables (``SBATCH_PARTITION`` and so on).

    Parameters
    ----------
    function, tasks
        As in `dask_map`.
    workers : int or None
        Jobs that may run at a time; default 100.
    folder : Path
        On a disk that all machines see: tasks, results and logs; removed at the end, unless a job failed.
    cluster : "slurm" or "local"
        "local": processes of this machine in place of jobs.

    Raises
    ------
    InputError
        submitit is not installed, or this machine has no sbatch.
    OSError
        A job failed; its log is named.
    """
    try:
        import submitit
    except ImportError:
        raise InputError("--executor slurm needs a package more: pip install 'gazekit[slurm]'") from None
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise InputError("--executor slurm needs sbatch on this machine, which has none; submit from a login node")
    executor = submitit.AutoExecutor(folder, cluster=cluster)
    executor.update_parameters(name="gazekit", timeout_min=JOB_LIMIT_MINUTES, slurm_array_parallelism=workers or 100)
    jobs = executor.map_array(function, tasks)
    try:
        for job in submitit.helpers.as_completed(jobs, poll_frequency=1):
            try:
                yield job.result()
            except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
                raise OSError(errno.EIO, "a Slurm job failed; its log says why", str(job.paths.stderr)) from None
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        for job in jobs:
            if not job.done():
                job.cancel()


def array_task(
    environment: Mapping[str, str], index: int | None = None, count: int | None = None
) -> tuple[int | None, int | None]:
    """Number of this task and number of tasks: as given, else what a job array says, else None.

    Where only the count is given, the index is the array's as it is (Slurm's ``SLURM_ARRAY_TASK_ID``, Kubernetes'
    ``JOB_COMPLETION_INDEX``), so that single tasks can be submitted again. Where neither is, Slurm says both, and the
    array must be the whole one.
    """
    if index is not None:
        return index, count
    if count is not None:
        told = environment.get("SLURM_ARRAY_TASK_ID") or environment.get("JOB_COMPLETION_INDEX")
        return None if told is None else int(told), count
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None, None
    names = ("TASK_ID", "TASK_MIN", "TASK_STEP", "TASK_COUNT")
    this, first, step, tasks = (int(environment.get(f"SLURM_ARRAY_{name}", "1")) for name in names)
    return (this - first) // step, tasks
