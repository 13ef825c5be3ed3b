"""Call a function on many tasks in worker processes, in order, with bounded memory and time, surviving their deaths.

One thread here looks after one worker at a time: it sends a task, waits for the answer, and starts a fresh process
when the old one has died or has grown. So a death is always the death of one known task, and costs the others nothing.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from gazekit.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_IN_FLIGHT = 8
"""Tasks handed out for each worker: enough to keep it busy while results are written, few enough to stay small."""

TASK_LIMIT_S = 300.0
"""A task that takes longer ends its process: a decoder that loops costs one image, not the run."""

MEMORY_LIMIT = 8 << 30
"""Bytes of private memory a worker may have: several times what the largest image that is read needs."""

TASKS_A_PROCESS = 5000
"""Tasks after which a worker is replaced by a fresh process: what a decoder leaks ends with it."""

GROWTH_LIMIT = 1 << 30
"""Bytes by which a worker may have grown between tasks before it is replaced, long before `MEMORY_LIMIT` refuses."""

DEATHS = 1
"""Fresh processes that a task may end of itself before it is given up; one that did others before proves nothing."""

DEATHS_FROM_OUTSIDE = 6
"""The same where each was killed from outside: by the kernel for want of memory, or by a person."""

_KILLED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_ENTRY = "import sys; sys.path[:] = {path!r}; from gazekit.workers import serve; serve({descriptor})"


def ordered_map(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    workers: int,
    crashed: Callable[[Task, bool], Result],
    limit_s: float = TASK_LIMIT_S,
    directory: Path | None = None,
) -> Iterator[Result]:
    """Results of ``function(task)`` in the order of the tasks, computed by worker processes.

    A task whose process dies is done again in a fresh one; if it ends that too it gets ``crashed(task, timed_out)``
    for its result. Which one that is does not depend on the number of workers. Ctrl-C and SIGTERM are the caller's to
    answer: workers never see them, and end with it.

    Parameters
    ----------
    function : callable
        Picklable, of a module that can be imported; sent once to each worker.
    tasks : iterable
        Picklable tasks, taken as they are needed.
    workers : int
        Processes.
    crashed : callable
        Result of a task that ends its process, from the task and whether it ran out of time.
    limit_s : float
        Seconds after which a task ends its process.
    directory : Path, optional
        Where the processes run; default here.

    Raises
    ------
    Whatever `function` raises, at the place of its task.
    """
    crew = [_Worker(function, limit_s, directory) for _ in range(workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in crew:
        idle.put(worker)

    def answer(task: Task) -> Result:
        worker = idle.get()
        try:
            return _answer(worker, task, crashed)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(workers, "worker", initializer=_leave_signals_to_the_main_thread)
    flight: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            flight.append(threads.submit(answer, task))
            if len(flight) == TASKS_IN_FLIGHT * workers:
                yield flight.popleft().result()
        while flight:
            yield flight.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in crew:
            worker.kill()
        threads.shutdown()
        for worker in crew:
            worker.end()


def _answer(worker: _Worker, task: Task, crashed: Callable[[Task, bool], Result]) -> Result:
    """The worker's answer, or what is said of a task that no process survives."""
    deaths = 0
    while True:
        fresh = worker.is_fresh
        try:
            result: Result = worker.call(task)
        except _DiedError as death:
            # only a process that has done nothing else is evidence against the task
            deaths += fresh
            limit = DEATHS_FROM_OUTSIDE if death.exit_code in _KILLED_FROM_OUTSIDE else DEATHS
            if deaths >= limit:
                return crashed(task, death.exit_code == -signal.SIGALRM)
        else:
            return result


class _DiedError(Exception):
    """A worker process ended during a task."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class _Worker:
    """One process at a time, and a new one whenever it is gone."""

    def __init__(self, function: Callable[[Any], Any], limit_s: float, directory: Path | None) -> None:
        self._setup = (function, limit_s)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._done = 0

    @property
    def is_fresh(self) -> bool:
        """Whether the next task is the first of its process."""
        return self._process is None or self._done == 0

    def call(self, task: Any) -> Any:
        """The function's result or exception; `_DiedError` where the process ended instead."""
        if self._process is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send(task)
            succeeded, result, grown = self._pipe.recv()
        except (EOFError, OSError):
            raise _DiedError(self.end()) from None
        self._done += 1
        if grown or self._done >= TASKS_A_PROCESS:
            self.end()
        if not succeeded:
            raise result
        return result

    def kill(self) -> None:
        """End the process at once, whatever it does, and start no other."""
        with self._lock:
            self._closed = True
            process = self._process
            if process is not None:
                process.kill()

    def end(self) -> int:
        """Let an idle process go, or bury a dead one; its exit code, negative for the signal that ended it."""
        if self._process is None or self._pipe is None:
            return 0
        self._pipe.close()
        exit_code = self._process.wait()
        self._process = None
        return exit_code

    def _start(self) -> None:
        """Start a process that takes tasks: tell a task that ends its process from processes that cannot start."""
        for _ in range(DEATHS_FROM_OUTSIDE):
            self._spawn()
            assert self._pipe is not None
            try:
                self._pipe.send(self._setup)
                problem = self._pipe.recv()
            except (EOFError, OSError):
                if self.end() in _KILLED_FROM_OUTSIDE:
                    continue
                raise InputError("worker processes end as soon as they start; see what they say above") from None
            if problem is not None:
                self.end()
                raise InputError(
                    f"worker processes cannot load the source ({problem}); functions that they call must lie in a "
                    'module, not in a script or notebook; or use executor="serial"'
                )
            return
        raise InputError("worker processes are killed as soon as they start: is there memory left?")

    def _spawn(self) -> None:
        ours, theirs = Pipe()
        entry = _ENTRY.format(path=sys.path, descriptor=theirs.fileno())
        with self._lock, theirs:
            if self._closed:
                raise _ClosedError
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", entry],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | dict.fromkeys(_ONE_THREAD, "1"),
                cwd=self._directory,
            )
        self._pipe, self._done = ours, 0


class _ClosedError(Exception):
    """The caller has gone: nobody waits for this answer."""


def _leave_signals_to_the_main_thread() -> None:
    # inherited by the processes that a thread starts, so that none of them dies of Ctrl-C while it imports
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def serve(descriptor: int) -> None:
    """What a worker process does: answer tasks until the caller has gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pipe = Connection(descriptor)
    threading.Thread(target=_end_with_caller, args=(descriptor,), daemon=True).start()
    try:
        function, limit_s = pipe.recv()
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    _limit_memory()
    import cv2

    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):  # the caller has no more tasks
        pipe.send(None)
        at_first = None
        while True:
            task = pipe.recv()
            # the alarm's default action ends the process even while it is inside a decoder's own code
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            succeeded, result = _attempt(function, task)
            signal.setitimer(signal.ITIMER_REAL, 0)
            size = _resident_bytes()
            at_first = at_first or size
            pipe.send((succeeded, result, size - at_first > GROWTH_LIMIT))


def _attempt(function: Callable[[Any], Any], task: Any) -> tuple[bool, Any]:
    """True and the result, or False and the exception, which carries its traceback as a note."""
    try:
        return True, function(task)
    except MemoryError:
        os._exit(1)  # as if it had been killed for it: a fresh process has all the memory there is
    except Exception as error:
        error.add_note(traceback.format_exc())
        return False, error


def _limit_memory() -> None:
    """Beyond `MEMORY_LIMIT` allocations fail, which costs the image, where the kernel would kill what it likes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard, MEMORY_LIMIT) if limit != resource.RLIM_INFINITY]
    with suppress(ValueError, OSError):  # a system that knows no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def _resident_bytes() -> int:
    """Memory of this process now; 0 on a system that does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _end_with_caller(descriptor: int) -> None:
    """A worker whose caller is gone leaves at once, in the middle of a decoder's own code too."""
    hung_up = select.poll()
    hung_up.register(descriptor, 0)  # POLLHUP comes unasked
    hung_up.poll()
    os._exit(1)
