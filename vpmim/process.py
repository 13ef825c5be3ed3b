"""The process a run lives in: its device, its place among others, threads, signals, and the facts about it."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from vpmim.settings import Config, ConfigError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
STOPPING_S = 60.0
"""What a worker whose parent is gone gets, to end its step and write its checkpoint."""
_DISTRIBUTIONS = ("gazekit", "torch", "timm", "numpy", "safetensors", "pillow", "tensorboard")


class TrainingError(ValueError):
    """Training cannot go on: a loss that is not finite, or a device without enough memory."""


class Place(NamedTuple):
    """This process among those that train together."""

    device: torch.device
    rank: int
    ranks: int


def speaks() -> bool:
    """Whether this is the process, of those that train together, that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def usable_device(device: str) -> torch.device:
    """The device a word on the command line means: ``auto`` is the GPU where there is one.

    Raises
    ------
    ConfigError
        No such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"--device {device!r}: expected auto, cpu, cuda or cuda:N") from None
    if wanted.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device!r}: expected auto, cpu, cuda or cuda:N")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {device}: there are {torch.cuda.device_count()} GPUs here; use --device cpu")
    return wanted


@contextmanager
def joined(device: str) -> Iterator[Place]:
    """The device of this process, and its place among torchrun's."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    wanted = usable_device(device)
    if ranks == 1:
        yield Place(wanted, 0, 1)
        return
    if wanted.type == "cuda":
        wanted = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(wanted)
    dist.init_process_group("nccl" if wanted.type == "cuda" else "gloo")
    try:
        yield Place(wanted, dist.get_rank(), ranks)
    finally:
        dist.destroy_process_group()


@contextmanager
def repeatable(device: torch.device, threads: int) -> Iterator[None]:
    """On the CPU: deterministic kernels and a fixed number of threads."""
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@contextmanager
def memory_errors_named(config: Config) -> Iterator[None]:
    """A device that runs out of memory becomes a `TrainingError` that says which setting to lower."""
    try:
        yield
    except RuntimeError as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not on_gpu and "DefaultCPUAllocator: can't allocate memory" not in str(error):
            raise
        batch, parts = config.train.batch_size, config.train.accumulate
        raise TrainingError(
            f"out of {'GPU ' if on_gpu else ''}memory: lower train.batch_size (it is {batch}); or raise "
            f"train.accumulate (it is {parts}), which takes the same batch in more parts; or set "
            "data.residency=stream, which leaves the images on the disk"
        ) from error


def worker_pool() -> ProcessPoolExecutor:
    """One fresh process for tasks, which ends with this one, however this one ends."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """A pool's worker does not notice that its parent was killed: it would hold its memory, or its GPU, for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in a worker"

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)  # which a training takes for a wish to write its checkpoint and stop
        time.sleep(STOPPING_S)
        os._exit(1)

    threading.Thread(target=watch, name="vpmim-parent", daemon=True).start()


@contextmanager
def stop_signals_raised() -> Iterator[None]:
    """SIGTERM and SIGUSR1 end what is under way as Ctrl-C does, by KeyboardInterrupt, and not the process."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    with _handled((signal.SIGTERM, signal.SIGUSR1), interrupt):
        yield


@contextmanager
def stop_signals_noted() -> Iterator[threading.Event]:
    """An event set by the first SIGTERM, SIGUSR1 or Ctrl-C; a second one takes its usual course."""
    noted = threading.Event()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def note(number: int, frame: object) -> None:
        noted.set()
        signal.signal(number, before[number])

    with _handled(STOP_SIGNALS, note):
        yield noted


@contextmanager
def _handled(numbers: Sequence[signal.Signals], handler: Callable[[int, object], None]) -> Iterator[None]:
    """A handler of signals, and afterwards the ones before it; nothing outside the main thread, which may set none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def environment_facts(
    config: Config,
    *,
    data: Sequence[Mapping[str, Any]],
    fingerprint: str,
    device: torch.device,
    resolved: Mapping[str, Any],
) -> dict[str, Any]:
    """What a run depends on beside its configuration; no host name, and no absolute path.

    Parameters
    ----------
    config : Config
    data : facts of each cache or folder
    fingerprint : of all the data
    device : torch.device
    resolved : what ``auto`` settings came to, how the encoder was initialised, number of processes
    """
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    on_gpu = device.type == "cuda"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [_without_folders(word) for word in sys.argv],
        "versions": versions,
        "git": _git_state(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "cuda": torch.version.cuda if on_gpu else None,
        "threads": torch.get_num_threads(),
        "seed": config.seed,
        "data": [dict(part) for part in data],
        "data_fingerprint": fingerprint,
        **resolved,
    }


def _without_folders(word: str) -> str:
    """A word of the command line with an absolute path cut to its last part."""
    name, equals, value = word.rpartition("=")
    path = Path(value.strip("\"'"))
    return f"{name}{equals}{path.name}" if path.is_absolute() else word


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout this package lies in and whether files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(git("status", "--porcelain").strip())}
    except (OSError, subprocess.CalledProcessError):
        return None
