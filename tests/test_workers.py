import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worker_functions import (
    Stillborn,
    allocate,
    be_killed_some_times,
    keep_memory,
    minus_one,
    process_id,
    run_out_of_memory,
    send_sigterm_here,
    sleep_on_three,
    square,
    square_after_one_death,
)

import gazekit.workers
from gazekit.errors import InputError
from gazekit.workers import ordered_map


def test_results_come_in_order_and_a_deadly_task_costs_only_itself() -> None:
    tasks = [*range(20), 13, 21]
    results = list(ordered_map(square, tasks, workers=2, crashed=minus_one))
    assert results == [-1 if n == 13 else n * n for n in tasks]


def test_a_task_whose_process_was_killed_once_is_done_again(tmp_path: Path) -> None:
    tasks = [(n, str(tmp_path / "flag")) for n in range(8)]
    results = list(ordered_map(square_after_one_death, tasks, workers=2, crashed=minus_one))
    assert results == [n * n for n in range(8)]
    assert (tmp_path / "flag").exists()


@pytest.mark.parametrize(("kills", "result"), [(5, 3), (6, -1)])
def test_a_task_is_not_given_up_for_a_few_kills_from_outside(tmp_path: Path, kills: int, result: int) -> None:
    assert list(ordered_map(be_killed_some_times, [(tmp_path, kills)], workers=1, crashed=minus_one)) == [result]


def test_a_death_costs_the_other_workers_nothing() -> None:
    before = list(ordered_map(process_id, [0] * 4 + [13] + [0] * 20, workers=2, crashed=minus_one))
    after = set(before[5:])
    assert before[4] == -1
    assert set(before[:4]) & after, "the worker that did not die goes on"


def test_sigterm_is_for_the_caller_to_answer() -> None:
    """A cluster sends it to every process of a job at once."""
    assert list(ordered_map(send_sigterm_here, [4, 5], workers=1, crashed=minus_one)) == [4, 5]


def test_want_of_memory_costs_one_task() -> None:
    assert list(ordered_map(run_out_of_memory, [1, 2, 3], workers=1, crashed=minus_one)) == [1, -1, 3]


def test_an_error_brings_the_traceback_of_its_worker() -> None:
    with pytest.raises(InputError) as caught:
        list(ordered_map(square, [99], workers=1, crashed=minus_one))
    assert "worker_functions.py" in caught.value.__notes__[0]


def test_a_worker_is_replaced_after_so_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gazekit.workers, "TASKS_A_PROCESS", 2)
    pids = list(ordered_map(process_id, range(6), workers=1, crashed=minus_one))
    assert pids[0::2] == pids[1::2]
    assert len(set(pids)) == 3


def test_a_worker_that_has_grown_is_replaced_before_memory_is_refused() -> None:
    pids = list(ordered_map(keep_memory, [1, 1, 1100, 1], workers=1, crashed=minus_one))
    assert pids[0] == pids[1] == pids[2]
    assert pids[3] != pids[2]


def test_closing_waits_for_no_worker_that_hangs() -> None:
    results = ordered_map(sleep_on_three, [0, 3], workers=1, crashed=minus_one)
    assert next(results) == 0
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 15


def test_processes_that_cannot_start_are_not_taken_for_deadly_tasks() -> None:
    with pytest.raises(InputError, match="end as soon as they start"):
        list(ordered_map(Stillborn(), range(3), workers=1, crashed=minus_one))


def test_a_function_that_workers_cannot_import_is_an_input_error_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(square, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "square", square, raising=False)
    with pytest.raises(InputError, match="must lie in a module, not in a script"):
        list(ordered_map(square, range(3), workers=1, crashed=minus_one))


def test_a_task_that_takes_too_long_costs_only_itself() -> None:
    results = list(ordered_map(sleep_on_three, range(5), workers=1, crashed=minus_one, limit_s=1.0))
    assert results == [0, 1, 2, -2, 4]


def test_a_worker_may_not_take_all_memory() -> None:
    assert list(ordered_map(allocate, [0, 9], workers=1, crashed=minus_one)) == [0, 1]


def test_an_error_of_the_function_is_raised_at_its_place() -> None:
    results = ordered_map(square, [1, 2, 99, 4], workers=1, crashed=minus_one)
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(InputError, match="99 is refused"):
        next(results)


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken = []

    def tasks():
        for n in range(1000):
            taken.append(n)
            yield 1

    results = ordered_map(square, tasks(), workers=1, crashed=minus_one)
    next(results)
    assert len(taken) < 20
    results.close()


ENDLESS = """
import itertools
from worker_functions import minus_one, square
from gazekit.workers import ordered_map
for result in ordered_map(square, itertools.repeat(2), workers=1, crashed=minus_one):
    print(result, flush=True)
"""


SLOW_TO_IMPORT = """
import pathlib, sys, time
if any("gazekit.workers" in argument for argument in sys.orig_argv):
    pathlib.Path(__file__).with_name("importing").touch()
    time.sleep(1)
def same(task):
    return task
"""


def test_ctrl_c_while_a_worker_starts_is_not_answered_by_it(tmp_path: Path) -> None:
    """The whole group of processes gets the signal, as from a terminal; only the parent may speak of it."""
    (tmp_path / "slow_to_import.py").write_text(SLOW_TO_IMPORT)
    source = ENDLESS.replace("square,", "same,").replace("minus_one, square", "minus_one")
    command = [sys.executable, "-c", f"from slow_to_import import same\n{source}"]
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{tmp_path}"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, start_new_session=True) as process:
        deadline = time.monotonic() + 30
        while not (tmp_path / "importing").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (tmp_path / "importing").exists()
    assert stderr.count(b"Traceback") == 1, stderr.decode()
    assert process.returncode == -signal.SIGINT


def test_workers_do_not_outlive_a_killed_parent() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = " ".join(file.read_text() for file in Path(f"/proc/{process.pid}/task").glob("*/children")).split()
        process.kill()
        process.stdout.close()
    assert children
    deadline = time.monotonic() + 10
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.02)


def is_running(pid: str) -> bool:
    """Whether a process is there and not just waiting to be buried."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
