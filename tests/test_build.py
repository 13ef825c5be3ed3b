"""A cache is the same bytes, however often and by however many it was begun, and of one input."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_source import Spec, make_source, make_specs, write_images
from small_build import SMALL, build, leftovers, names, tree

import gazekit.executors
import gazekit.shards
from gazekit.build import finalize
from gazekit.cache import open_cache
from gazekit.errors import CacheError, InputError
from gazekit.executors import run_shard
from gazekit.plan import plan_cache
from gazekit.verify import damage
from gazekit.workers import ordered_map

# --- the same bytes, however they are made ---------------------------------------------------------------------------


def test_processes_and_this_process_make_the_same_bytes(tmp_path: Path) -> None:
    specs = make_specs(9, readers=2)
    build(specs, tmp_path, "here")
    summary = build(specs, tmp_path, "two", executor="processes", workers=2)
    assert summary.images == 9
    assert summary.readings == 18
    assert tree(tmp_path / "two", ".") == tree(tmp_path / "here", ".")


@pytest.mark.parametrize(
    ("fault", "reason"), [("crash", "decoder_crash"), ("hang", "decoder_timeout"), ("memory", "decoder_crash")]
)
def test_an_image_that_ends_its_process_costs_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str
) -> None:
    monkeypatch.setattr(gazekit.executors, "ordered_map", functools.partial(ordered_map, limit_s=2))
    specs = [Spec(f"99x{i}", None) for i in range(6)]
    specs[2] = Spec("99x2", "99R2", fault=fault)
    summary = build(specs, tmp_path, executor="processes", workers=1, keep_no_gaze=True)
    assert summary.skipped == {reason: 1}
    assert [f["id"] for f in summary.failures] == ["99x2"]
    assert open_cache(tmp_path / "cache", verify=True).ids == [f"99x{i}" for i in (0, 1, 3, 4, 5)]


def test_images_are_announced_to_the_system_when_their_tasks_are_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: set[Path] = set()
    monkeypatch.setattr(gazekit.executors, "_announce", announced.add)
    specs = make_specs(5)
    images = write_images(tmp_path / "images", specs)
    (images / "99img003.png").unlink()
    build(specs, tmp_path, executor="processes", workers=1)
    assert announced == {images / f"99img{i:03d}.png" for i in (0, 1, 2, 4)}


def test_tasks_in_any_order_then_finalize_make_what_one_run_makes(tmp_path: Path) -> None:
    specs = make_specs(11)
    specs[3] = Spec("99img003", "99R003-0", fault="bad_table")
    build(specs, tmp_path, "whole")
    for index in (2, 0, 1):
        summary = build(specs, tmp_path, "tasks", task_index=index, task_count=3)
        assert not summary.complete
    with pytest.raises(CacheError, match="not finished"):
        open_cache(tmp_path / "tasks")
    joined = finalize(tmp_path / "tasks")
    assert joined.complete
    assert joined.skipped == {"bad_table": 1}
    assert tree(tmp_path / "tasks", ".") == tree(tmp_path / "whole", ".")


def test_more_tasks_than_shards_leave_some_with_nothing_to_do(tmp_path: Path) -> None:
    specs = make_specs(5)
    for index in range(4):
        build(specs, tmp_path, task_index=index, task_count=4)
    assert finalize(tmp_path / "cache").complete


def test_finalize_names_the_missing_shards_and_writes_nothing(tmp_path: Path) -> None:
    specs = make_specs(11)
    build(specs, tmp_path, task_index=1, task_count=2)
    before = tree(tmp_path / "cache", ".")
    summary = finalize(tmp_path / "cache")
    assert summary.missing_shards == ["00000", "00002"]
    assert not summary.complete
    assert tree(tmp_path / "cache", ".") == before


def test_the_bytes_depend_on_no_path(tmp_path: Path) -> None:
    specs = make_specs(5)
    build(specs, tmp_path / "a")
    build(specs, tmp_path / "b" / "deeper", "elsewhere")
    assert tree(tmp_path / "a" / "cache", ".") == tree(tmp_path / "b" / "deeper" / "elsewhere", ".")


BUILDER = """
import sys
from pathlib import Path
from memory_source import make_source, make_specs
from gazekit.build import build_heatmaps
base = Path(sys.argv[1])
build_heatmaps(make_source(make_specs(11)), base / "images", base / "killed", image_size=32, grid=(4, 4),
    heatmap_size=16, shard_size=4, executor="serial", on_row=lambda n: print(n, flush=True))
"""


def test_a_build_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    build(make_specs(11), tmp_path, "clean")
    rng = np.random.default_rng(3)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    for rows in (2, 5):
        command = [sys.executable, "-c", BUILDER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            for _ in range(rows):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
    build(make_specs(11), tmp_path, "killed")
    assert tree(tmp_path / "killed", ".") == tree(tmp_path / "clean", ".")
    assert leftovers(tmp_path / "killed") == []
    assert not damage(tmp_path / "killed")


def test_an_interrupt_leaves_whole_shards_and_nothing_else(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    specs = make_specs(11)
    with pytest.raises(KeyboardInterrupt):
        build(specs, tmp_path, on_row=stop)
    assert names(tmp_path / "cache" / "shards") == ["00000"]
    assert leftovers(tmp_path / "cache") == []
    summary = build(specs, tmp_path)
    assert summary.rows_built == 7
    assert summary.images == 11
    build(specs, tmp_path, "clean")
    assert tree(tmp_path / "cache", ".") == tree(tmp_path / "clean", ".")


@pytest.mark.parametrize("where", ["append", "replace", "fsync"])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    specs = make_specs(11)
    calls = itertools.count()
    limit = {"append": 40, "replace": 1, "fsync": 14}[where]
    owner, name = {
        "append": (gazekit.shards._ArrayFile, "append"),
        "replace": (Path, "replace"),
        "fsync": (os, "fsync"),
    }[where]
    real: Callable[..., Any] = getattr(owner, name)

    def full(*args: Any) -> Any:
        if next(calls) >= limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(OSError, match="No space"):
            build(specs, tmp_path)
    finished = tree(tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []
    build(specs, tmp_path)
    build(specs, tmp_path, "clean")
    after = tree(tmp_path / "cache", ".")
    assert after == tree(tmp_path / "clean", ".")
    assert finished.items() <= after.items()


def test_a_run_again_builds_nothing_and_says_the_same(tmp_path: Path) -> None:
    specs = make_specs(5)
    specs[1] = Spec("99img001", "99R001-0", fault="bad_table")
    first = build(specs, tmp_path)
    before = tree(tmp_path / "cache", ".")
    again = build(specs, tmp_path)
    assert again.rows_built == 0
    assert (again.images, again.readings, again.failures) == (first.images, first.readings, first.failures)
    assert tree(tmp_path / "cache", ".") == before


def test_temporaries_of_a_killed_run_are_cleared_away(tmp_path: Path) -> None:
    shards = tmp_path / "cache" / "shards"
    (shards / ".00000.tmp").mkdir(parents=True)
    (shards / ".00000.tmp" / "image.npy").write_text("half")
    (tmp_path / "cache" / ".lock").write_text("elsewhere 1\n")
    build(make_specs(5), tmp_path)
    assert leftovers(tmp_path / "cache") == []
    assert not damage(tmp_path / "cache")


def test_a_damaged_shard_is_named_not_built_upon(tmp_path: Path) -> None:
    build(make_specs(5), tmp_path)
    file = tmp_path / "cache" / "shards" / "00001" / "frame.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CacheError, match=r"00001/frame\.npy is damaged.*remove"):
        build(make_specs(5), tmp_path)


@pytest.mark.parametrize("join", [finalize, lambda cache: build(make_specs(5), cache.parent)])
def test_joining_again_never_gives_a_changed_shard_a_new_checksum(tmp_path: Path, join: Callable[[Path], Any]) -> None:
    build(make_specs(5), tmp_path)
    cache = tmp_path / "cache"
    clean = tree(cache, ".")
    shard = cache / "shards" / "00001"
    text = (shard / "shard.json").read_text()
    (shard / "shard.json").write_text(text.replace('"dwell_s":', '"dwell_s":1'))
    with pytest.raises(CacheError, match=r"00001/shard\.json is damaged.*remove"):
        join(cache)
    assert damage(cache) == ["shards/00001/shard.json: differs from its checksum"]
    shutil.rmtree(shard)
    build(make_specs(5), tmp_path)
    assert tree(cache, ".") == clean


def test_an_array_counted_from_one_is_told_how_to_count(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got 3; a job array of 3 tasks is --array=0-2"):
        build(make_specs(2), tmp_path, task_index=3, task_count=3)


# --- one builder, one fingerprint ------------------------------------------------------------------------------------


def test_a_second_build_of_the_same_cache_names_the_holder(tmp_path: Path) -> None:
    specs = make_specs(5)

    def second(done: int) -> None:
        if done == 1:
            with pytest.raises(CacheError, match=rf"host {socket.gethostname()}, process {os.getpid()};"):
                build(specs, tmp_path)

    build(specs, tmp_path, on_row=second)
    assert leftovers(tmp_path / "cache") == []


def test_a_second_builder_of_the_same_shard_waits_or_names_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gazekit.executors, "LOCK_WAIT_S", 0.2)
    specs = make_specs(5)
    plan = plan_cache(make_source(specs), write_images(tmp_path / "images", specs), **SMALL)

    def second(done: int) -> None:
        if done == 1:
            with pytest.raises(CacheError, match=rf"shard 00000 of .* process {os.getpid()}"):
                run_shard(plan, 0, tmp_path / "cache")

    build(specs, tmp_path, task_index=0, task_count=1, on_row=second)
    assert run_shard(plan, 0, tmp_path / "cache")["counts"]["rows"] == 4, "what is finished is not built again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma_dva": 1.5}, "sigma_dva 1.0 there, 1.5 asked for"),
        ({"image_size": 40}, "image_size 32 there, 40 asked for"),
        ({"grid": (4, 5)}, "grid 4x4 there, 4x5 asked for"),
        ({"heatmap_size": 0}, "heatmap_size 16 there, 0 asked for"),
        ({"windowing": "percentile"}, "windowing dicom there, percentile asked for"),
        ({"keep_no_gaze": True}, "keep_no_gaze False there, True asked for"),
        ({"shard_size": 3}, "shard_size 4 there, 3 asked for"),
        ({"per": "reading"}, "per image there, reading asked for"),
        ({"limit": 3}, "5 rows there, 3 asked for"),
        ({"digest": "1" * 64}, "the data set's tables have changed"),
    ],
)
def test_a_cache_of_other_parameters_is_refused_with_the_difference(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    build(make_specs(5), tmp_path)
    before = tree(tmp_path / "cache", ".")
    with pytest.raises(CacheError, match=message):
        build(make_specs(5), tmp_path, **change)
    assert tree(tmp_path / "cache", ".") == before


def test_changed_image_files_and_ids_are_another_input(tmp_path: Path) -> None:
    specs = make_specs(5)
    build(specs, tmp_path)
    image = tmp_path / "images" / "99img002.png"
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(CacheError, match="image files have changed in size"):
        build(specs, tmp_path)
    with pytest.raises(CacheError, match="the ids differ"):
        build([*specs[:4], Spec("99other", "99Rother", patient_id="99p9")], tmp_path)
