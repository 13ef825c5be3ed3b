"""Workers of `vpmim ablate` do not outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import os, sys, time
from vpmim.process import stop_signals_noted, worker_pool

def work(folder):
    with stop_signals_noted() as stop:
        with open(folder + "/begun", "w") as file:
            file.write(str(os.getpid()) + "\\n")
        stop.wait(60)
    with open(folder + "/checkpoint", "w"):
        time.sleep(0.1)
    os.kill(os.getpid(), 15)  # the second one ends it, as it would end an idle worker

if __name__ == "__main__":
    with worker_pool() as pool:
        pool.submit(work, sys.argv[1])
        time.sleep(600)
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_whose_parent_was_killed_writes_what_it_has_and_ends(tmp_path):
    script, begun = tmp_path / "parent.py", tmp_path / "begun"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script, tmp_path])
    worker = 0
    try:
        wait_for(lambda: begun.is_file() and begun.read_text().endswith("\n"))
        worker = int(begun.read_text())
        assert runs(worker)
        parent.kill()
        parent.wait()
        wait_for(lambda: not runs(worker))
        assert (tmp_path / "checkpoint").is_file()
    finally:
        parent.kill()
        parent.wait()
        if worker and runs(worker):
            os.kill(worker, signal.SIGKILL)


def wait_for(what) -> None:
    deadline = time.monotonic() + 50
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)
