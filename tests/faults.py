"""Kill builds at random moments, and hold what is left and what comes of it to the bytes of a clean build.

    python tests/faults.py --kills 500 --seed 7

`make test-faults` runs the long form; a short one is part of the tests. Every build is a process of its own, forked
from this one so that a kill costs milliseconds, and killed with SIGKILL after a random share of the time it needs:

whole       one process builds everything
tasks       three tasks at once, started in random order and again after each kill, then finalize
finalize    finalize alone, over finished shards
processes   a build with two worker processes, whose parent is killed
workers     the same, whose worker processes are killed one after the other; the build itself must not end

After each kill every finished shard must have its final bytes and a cache that says it is complete must be intact.
A build that is let through must leave the very files of the clean one, and no worker process, lock or temporary.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory_source import make_source, make_specs, write_images

from gazekit.build import build_heatmaps, finalize
from gazekit.cache_files import read_header
from gazekit.shards import HEADER_FILE, SHARDS
from gazekit.verify import damage

N_IMAGES, SHARD_SIZE, TASKS = 30, 4, 3
SMALL: dict[str, Any] = {"image_size": 32, "grid": (4, 4), "heatmap_size": 16, "shard_size": SHARD_SIZE}

LOADED_LATE = ("pandas", "pyarrow.parquet", "PIL.PngImagePlugin", "gazekit.image", "gazekit.prior", "gazekit.sources")
"""What a build imports when it gets there: here before it is forked, so that kills meet the build, not its imports."""


class Arena:
    """A directory for builds of one source, the bytes they must have, and the count of what was done to them."""

    def __init__(self, base: Path, seed: int) -> None:
        self.base = base
        self.rng = random.Random(seed)
        self.specs = make_specs(N_IMAGES)
        self.images = write_images(base / "images", self.specs)
        self.kills: Counter[str] = Counter()
        self.builds: Counter[str] = Counter()
        self.moments: Counter[str] = Counter()
        self._n = self._in_a_row = 0
        for name in LOADED_LATE:
            importlib.import_module(name)
        self.seconds = {name: self._time(name) for name in ("whole", "finalize", "processes")}
        self.clean = contents(base / "clean-whole")

    def new_cache(self) -> Path:
        """A directory that is not there yet."""
        self._n += 1
        return self.base / f"cache{self._n}"

    def build(self, root: Path, **options: Any) -> None:
        """The build that all others are held to."""
        build_heatmaps(make_source(self.specs), self.images, root, **SMALL | {"executor": "serial"} | options)

    def strike(self, mode: str, pid: int, root: Path, seconds: float) -> bool:
        """Kill a build at a random moment; False where it had ended before."""
        self._in_a_row += 1  # a machine that has grown busy must not be killed for ever before it gets anywhere
        time.sleep(self.rng.uniform(0, seconds * 1.1**self._in_a_row))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            demand(os.WEXITSTATUS(status) == 0, f"{mode}: a build failed by itself")
            self._in_a_row = 0
            return False
        self.kills[mode] += 1
        self.moments[moment(root)] += 1
        self.check_remains(root)
        return True

    def check_remains(self, root: Path) -> None:
        """Whatever carries its final name has its final content."""
        if not (root / HEADER_FILE).exists():
            return
        for shard in (root / SHARDS).glob("[0-9]*"):
            for name, digest in contents(shard).items():
                demand(self.clean.get(f"{SHARDS}/{shard.name}/{name}") == digest, f"{shard / name} differs")
        if read_header(root)["complete"]:
            demand(not damage(root), f"{root} says it is complete, and is not")

    def check_finished(self, mode: str, root: Path) -> None:
        """A build that was let through is the clean build."""
        demand(contents(root) == self.clean, f"{mode}: {root} is not what a clean build makes")
        self.builds[mode] += 1

    def _time(self, name: str) -> float:
        root = self.base / f"clean-{name}"
        if name == "finalize":
            demand(wait(fork(lambda: self.build(root, task_index=0, task_count=1))) == 0, "the shards were not built")
        started = time.monotonic()
        options = {"executor": "processes", "workers": 2} if name == "processes" else {}
        action = (lambda: finalize(root)) if name == "finalize" else (lambda: self.build(root, **options))
        demand(wait(fork(action)) == 0, "the clean build failed")
        return time.monotonic() - started


def kill_whole(arena: Arena) -> None:
    root = arena.new_cache()
    while arena.strike("whole", fork(lambda: arena.build(root)), root, arena.seconds["whole"]):
        pass
    arena.check_finished("whole", root)


def kill_tasks(arena: Arena) -> None:
    root = arena.new_cache()
    pending = list(range(TASKS))
    while pending:
        arena.rng.shuffle(pending)
        pids = [fork(lambda k=index: arena.build(root, task_index=k, task_count=TASKS)) for index in pending]
        killed = [arena.strike("tasks", pid, root, arena.seconds["whole"] / TASKS) for pid in pids]
        pending = [index for index, again in zip(pending, killed, strict=True) if again]
    while arena.strike("tasks", fork(lambda: finalize(root)), root, arena.seconds["finalize"]):
        pass
    arena.check_finished("tasks", root)


def kill_finalize(arena: Arena) -> None:
    root = arena.new_cache()
    demand(wait(fork(lambda: arena.build(root, task_index=0, task_count=1))) == 0, "the shards were not built")
    while arena.strike("finalize", fork(lambda: finalize(root)), root, arena.seconds["finalize"]):
        pass
    arena.check_finished("finalize", root)


def kill_processes(arena: Arena) -> None:
    root = arena.new_cache()
    again = True
    while again:
        pid = fork(lambda: arena.build(root, executor="processes", workers=2))
        again = arena.strike("processes", pid, root, arena.seconds["processes"])
    arena.check_finished("processes", root)


def kill_workers(arena: Arena) -> None:
    root = arena.new_cache()
    pid = fork(lambda: arena.build(root, executor="processes", workers=2))
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(arena.rng.uniform(0, arena.seconds["processes"]))
        children = " ".join(f.read_text() for f in Path(f"/proc/{pid}/task").glob("*/children")).split()
        if children and arena.builds["workers"] * 6 + 6 > arena.kills["workers"]:  # a few a build, or it never ends
            os.kill(int(arena.rng.choice(children)), signal.SIGKILL)
            arena.kills["workers"] += 1
            arena.moments["in a worker process"] += 1
    demand(wait(pid) == 0, "workers: the build ended with its workers")
    arena.check_finished("workers", root)


MODES: dict[str, tuple[Callable[[Arena], None], float]] = {
    "whole": (kill_whole, 0.35),
    "tasks": (kill_tasks, 0.35),
    "finalize": (kill_finalize, 0.1),
    "processes": (kill_processes, 0.1),
    "workers": (kill_workers, 0.1),
}
"""How to kill, and the share of all kills."""


def contents(root: Path) -> dict[str, str]:
    """Every file under `root`, hidden ones too, and its SHA-256."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def moment(root: Path) -> str:
    """Where a kill met a build, by what it left."""
    hidden = {path.name for path in root.rglob(".*.tmp")}
    if not (root / HEADER_FILE).exists():
        return "before the plan was written"
    if ".manifest.parquet.tmp" in hidden or ".failures.csv.tmp" in hidden:
        return "while the manifest was written"
    if ".cache.json.tmp" in hidden:
        return "while the header was written"
    if hidden:
        return "with a shard half written"
    return "after the end" if read_header(root)["complete"] else "between two files"


def fork(action: Callable[[], Any]) -> int:
    """Do something in a process of its own; its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def wait(pid: int) -> int:
    """Exit code of a process, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def demand(holds: bool, otherwise: str) -> None:
    """End with a message where a promise is broken."""
    if not holds:
        raise SystemExit(f"BROKEN: {otherwise}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="in all; shared out among the five ways")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; default from the clock")
    arguments = parser.parse_args()
    seed = time.time_ns() % 100_000 if arguments.seed is None else arguments.seed
    print(f"seed {seed}: python {sys.argv[0]} --kills {arguments.kills} --seed {seed}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        arena = Arena(Path(directory), seed)
        for mode, (kill, share) in MODES.items():
            while arena.kills[mode] < arguments.kills * share:
                kill(arena)
            print(f"{mode:<10} {arena.kills[mode]:>5} kills, {arena.builds[mode]:>4} builds, bytes equal", flush=True)
    print(f"all        {arena.kills.total():>5} kills, {arena.builds.total():>4} builds, nothing lost")
    for name, count in arena.moments.most_common():
        print(f"    {count:>5} {name}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
