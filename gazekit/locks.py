"""Locks that name their holder and end with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gazekit.errors import CacheError

_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_POLL_S = 0.1


class Lock:
    """A lock that is held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def is_alone(self) -> bool:
        """Whether nobody shares the lock, and nobody will: to be asked last, because the answer no gives it back."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another holder, or a file system that cannot tell
            return False
        return True


@contextmanager
def hold(path: Path, what: str, *, wait_s: float = 0.0, shared: bool = False) -> Iterator[Lock]:
    """Hold an advisory lock for the length of a ``with`` block.

    The kernel gives the lock back when its holder dies, however it dies, so a lock file that a killed run left
    behind is simply taken over; the text in it (host and process id) is only there to be shown.

    Parameters
    ----------
    path : Path
        The lock file: made, and removed at the end.
    what : str
        What is locked, for the message.
    wait_s : float
        How long to wait for another holder, seconds.
    shared : bool
        Hold it together with others who share it, but with nobody who wants it alone.

    Raises
    ------
    CacheError
        Another process holds it; the message names host and process id.
    """
    descriptor = _acquire(path, what, wait_s, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    lock = Lock(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
        yield lock
    finally:
        if not shared or lock.is_alone():  # a file that others hold must stay the file that the next one opens
            path.unlink(missing_ok=True)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds this lock alone now; False where there is no such file, or no way to tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
    finally:
        os.close(descriptor)
    return False


def _acquire(path: Path, what: str, wait_s: float, kind: int) -> int:
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 300, 0).decode("utf-8", "replace").split()
            os.close(descriptor)
            if time.monotonic() >= deadline:
                host, pid = holder if len(holder) == 2 else ("an unnamed host", "unknown")
                raise CacheError(
                    f"{what} is being built by another process: host {host}, process {pid}; "
                    "wait for it to finish, or stop it, and run again"
                ) from None
            time.sleep(_POLL_S)
            continue
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                os.close(descriptor)
                raise
            warnings.warn(
                f"{path.parent}: this file system has no locks; see to it that no two runs build the same cache",
                stacklevel=4,
            )
            return descriptor
        # A former holder may have removed the file between our open and our lock: then the lock is on nothing.
        try:
            current = path.stat()
        except FileNotFoundError:
            os.close(descriptor)
            continue
        mine = os.fstat(descriptor)
        if (current.st_dev, current.st_ino) == (mine.st_dev, mine.st_ino):
            return descriptor
        os.close(descriptor)
