"""Workers of `vpmim ablate` do not outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import os, time
from vpmim.process import worker_pool
if __name__ == "__main__":
    with worker_pool() as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_ends_when_its_parent_is_killed_though_it_is_busy(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    try:
        assert runs(worker)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 30
        while runs(worker):
            assert time.monotonic() < deadline, "the worker lives on"
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.stdout.close()
        if runs(worker):
            os.kill(worker, signal.SIGKILL)
