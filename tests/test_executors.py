"""Dask, Slurm (as processes of this machine) and job arrays make the bytes that one process makes."""

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from memory_source import Spec, make_source, make_specs, write_images
from small_build import build, leftovers, tree
from worker_functions import kill_the_first, square

import gazekit.clusters
import gazekit.executors
from gazekit.build import finalize
from gazekit.clusters import array_task, dask_map, slurm_map
from gazekit.errors import InputError
from gazekit.plan import plan_cache

SPECS = [*make_specs(9), Spec("99zcrash", "99Rz", fault="crash")]


@pytest.fixture(scope="module")
def dask_scheduler() -> Iterator[str]:
    """Address of a Dask cluster of two processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's jobs become processes of this machine."""

    def local(*arguments: Any, **named: Any) -> Any:
        return slurm_map(*arguments, **named, cluster="local")

    monkeypatch.setattr(gazekit.executors, "slurm_map", local)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture(params=["dask", "slurm"])
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of a build on a cluster."""
    if request.param == "dask":
        return {"executor": "dask", "scheduler": request.getfixturevalue("dask_scheduler")}
    request.getfixturevalue("jobs_here")
    return {"executor": "slurm", "workers": 2}


@pytest.mark.slow
def test_a_cluster_makes_the_same_bytes_and_loses_one_image_to_a_crash(tmp_path: Path, cluster: dict[str, Any]) -> None:
    build(SPECS, tmp_path, "here", executor="processes", workers=1)
    told: list[int] = []
    summary = build(SPECS, tmp_path, "there", on_row=told.append, **cluster)
    assert summary.skipped == {"decoder_crash": 1}
    assert told[-1] == 10
    assert len(told) == 3, "told of each shard"
    assert tree(tmp_path / "there", ".") == tree(tmp_path / "here", ".")
    assert leftovers(tmp_path / "there") == []


@pytest.mark.slow
def test_wrong_input_found_on_a_cluster_is_the_same_error(tmp_path: Path, cluster: dict[str, Any]) -> None:
    specs = [Spec("99a", "99R1", fault="bad_table"), Spec("99b", "99R2")]
    with pytest.raises(InputError, match=r"99a: bad_table: .*--strict ends here"):
        build(specs, tmp_path, strict=True, **cluster)
    assert not (tmp_path / "cache" / "cache.json").exists()


@pytest.mark.slow
def test_a_dask_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    tasks = [(tmp_path / "first", n) for n in range(6)]
    assert sorted(dask_map(kill_the_first, tasks, workers=2, scheduler=None)) == list(range(6))


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_a_slurm_job_that_fails_names_its_log(tmp_path: Path) -> None:
    results = slurm_map(square, [99], workers=1, folder=tmp_path / "jobs", cluster="local")
    with pytest.raises(OSError, match="its log says why") as caught:
        list(results)
    assert str(caught.value.filename).startswith(str(tmp_path / "jobs"))


def test_a_slurm_build_without_slurm_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs sbatch"):
        build(SPECS, tmp_path, executor="slurm")


def test_a_scheduler_that_does_not_answer_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
    ):
        list(dask_map(len, [()], workers=None, scheduler="tcp://127.0.0.1:9"))


@pytest.mark.parametrize(("executor", "package"), [("dask", "distributed"), ("slurm", "submitit")])
def test_a_missing_package_is_one_line_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str, package: str
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=rf"pip install 'gazekit\[{executor}\]'"):
        build(SPECS, tmp_path, executor=executor)


@pytest.mark.parametrize("wrong", [{"executor": "processes"}, {"executor": "dask", "workers": 2}])
def test_a_scheduler_is_for_dask_and_brings_its_own_workers(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="scheduler is for the executor dask"):
        build(SPECS, tmp_path, scheduler="tcp://127.0.0.1:9", **wrong)


def test_what_a_task_of_a_cluster_is_sent_holds_no_other_rows(tmp_path: Path) -> None:
    specs = make_specs(11)
    plan = plan_cache(make_source(specs), write_images(tmp_path / "images", specs), shard_size=4)
    cut = plan.only(2)
    assert cut.tasks == cut.shard(2) == plan.shard(2) == plan.tasks[8:]
    assert (cut.fingerprint, cut.n_shards) == (plan.fingerprint, 3)
    assert plan.only(1).shard(1) == plan.tasks[4:8]


def test_a_machine_that_does_not_see_the_images_skips_nothing(tmp_path: Path) -> None:
    specs = make_specs(3)
    plan = plan_cache(make_source(specs), write_images(tmp_path / "images", specs), shard_size=4)
    outcome = gazekit.executors._run_there((plan, 0), out=tmp_path / "absent", directory=tmp_path, strict=False)
    assert isinstance(outcome, InputError)
    assert "does not see" in str(outcome)


# --- job arrays ------------------------------------------------------------------------------------------------------

SLURM = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "1",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_TASK_COUNT": "8",
}


@pytest.mark.parametrize(
    ("environment", "index", "count", "expected"),
    [
        ({}, None, None, (None, None)),
        ({}, 1, 4, (1, 4)),
        ({}, None, 4, (None, 4)),
        (SLURM, None, None, (3, 8)),
        (SLURM, 2, 5, (2, 5)),
        (SLURM, None, 16, (7, 16)),
        ({"JOB_COMPLETION_INDEX": "5"}, None, 6, (5, 6)),
        ({"JOB_COMPLETION_INDEX": "5"}, None, None, (None, None)),
    ],
)
def test_a_job_array_says_which_task_this_is(
    environment: dict[str, str], index: int | None, count: int | None, expected: tuple[int | None, int | None]
) -> None:
    assert array_task(environment, index, count) == expected


def test_the_tasks_of_an_array_together_build_every_shard(tmp_path: Path) -> None:
    specs = make_specs(11)
    build(specs, tmp_path, "whole")
    for this in (4, 2, 3):
        environment = SLURM | {"SLURM_ARRAY_TASK_ID": str(2 * this), "SLURM_ARRAY_TASK_MIN": "4"}
        index, count = array_task(environment | {"SLURM_ARRAY_TASK_COUNT": "3"})
        build(specs, tmp_path, task_index=index, task_count=count)
    assert finalize(tmp_path / "cache").complete
    assert tree(tmp_path / "cache", ".") == tree(tmp_path / "whole", ".")
