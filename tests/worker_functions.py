"""Functions that worker processes import: light, and some of them deadly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from gazekit.errors import InputError

_KEPT: list[object] = []


def square(n: int) -> int:
    """n * n; the process ends on 13, and 99 is an input error."""
    if n == 13:
        os._exit(5)
    if n == 99:
        raise InputError("99 is refused")
    return n * n


def square_after_one_death(task: tuple[int, str]) -> int:
    """n * n; the first process that comes here dies, as if it had been killed from outside."""
    n, flag = task
    if n == 3 and not Path(flag).exists():
        Path(flag).touch()
        os._exit(9)
    return n * n


def be_killed_some_times(task: tuple[Path, int]) -> int:
    """3, but the first `kills` processes that come here are killed as by the kernel."""
    directory, kills = task
    deaths = len(list(directory.iterdir()))
    if deaths < kills:
        (directory / str(deaths)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 3


def kill_the_first(task: tuple[Path, int]) -> int:
    """The number; the first process that comes here is killed."""
    flag, n = task
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def send_sigterm_here(n: int) -> int:
    """n, although the process is asked to end."""
    os.kill(os.getpid(), signal.SIGTERM)
    return n


def run_out_of_memory(n: int) -> int:
    """n; on 2 there is no memory left."""
    if n == 2:
        raise MemoryError
    return n


def process_id(n: int) -> int:
    """The number of the process that answers; it ends on 13."""
    if n == 13:
        os._exit(5)
    time.sleep(0.01)
    return os.getpid()


def keep_memory(megabytes: int) -> int:
    """The number of the process, which keeps so much memory in use, as a leak does."""
    _KEPT.append(np.ones(megabytes << 17))
    return os.getpid()


def sleep_on_three(n: int) -> int:
    """n; on 3 the process takes its time."""
    if n == 3:
        time.sleep(20)
    return n


def allocate(gigabytes: int) -> int:
    """0, or 1 where the memory is refused; none of it is touched."""
    try:
        np.empty(gigabytes << 30, np.uint8)
    except MemoryError:
        return 1
    return 0


def minus_one(task: object, timed_out: bool) -> int:
    """The result of a task that ended its process; -2 where it ran out of time."""
    return -2 if timed_out else -1


class Stillborn:
    """A function that no process survives receiving."""

    def __call__(self, task: object) -> int:
        return 0

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)
