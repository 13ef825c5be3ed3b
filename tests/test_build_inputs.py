"""Options and inputs that are refused before anything is written, and those that choose the rows."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from memory_source import Spec, make_source, make_specs, write_images
from small_build import SMALL, build, leftovers, names, tree

import gazekit.build
from gazekit.build import build_heatmaps, finalize
from gazekit.cache import open_cache
from gazekit.errors import CacheError, InputError
from gazekit.plan import plan_cache


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma_dva": 0},
        {"sigma_dva": -1.0},
        {"sigma_dva": float("nan")},
        {"sigma_dva": float("inf")},
        {"image_size": 0},
        {"grid": (0, 4)},
        {"grid": (4, 33)},
        {"heatmap_size": -1},
        {"per": "patient"},
        {"windowing": "pretty"},
        {"shard_size": 0},
        {"limit": 0},
        {"workers": 0},
        {"executor": "threads"},
        {"task_index": 0},
        {"task_count": 2},
        {"task_index": 2, "task_count": 2},
        {"task_index": -1, "task_count": 2},
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong)).split("_")[0]):
        build(make_specs(2), tmp_path, **wrong)
    assert not (tmp_path / "cache").exists()


def test_a_source_without_rows_is_an_error_not_an_empty_success(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="no rows"):
        build([], tmp_path)
    assert not (tmp_path / "cache").exists()


def test_a_missing_image_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image root"):
        build_heatmaps(make_source(make_specs(1)), tmp_path / "absent", tmp_path / "cache")


def test_where_nothing_is_usable_everything_is_listed(tmp_path: Path) -> None:
    specs = [Spec(f"99{i}", f"99R{i}", fault="bad_table") for i in range(3)]
    summary = build(specs, tmp_path)
    assert summary.images == 0
    assert summary.skipped == {"bad_table": 3}
    assert summary.complete


def test_strict_ends_at_the_first_skipped_record(tmp_path: Path) -> None:
    specs = make_specs(8)
    specs[5] = Spec("99img005", "99R005-0", fault="bad_table")
    specs[6] = Spec("99img006", "99R006-0", fault="no_gaze")
    with pytest.raises(InputError, match="99img005: bad_table: invented fault"):
        build(specs, tmp_path, strict=True)
    assert names(tmp_path / "cache" / "shards") == ["00000"]
    build(specs, tmp_path)
    with pytest.raises(InputError, match="99img005: bad_table"):
        build(specs, tmp_path, strict=True)


@pytest.mark.parametrize("before", [False, True])
def test_input_found_wrong_before_a_shard_is_finished_leaves_nothing(tmp_path: Path, before: bool) -> None:
    specs = make_specs(8)
    specs[2] = Spec("99img002", "99R002-0", fault="bad_table")
    if before:
        (tmp_path / "cache").mkdir()
    with pytest.raises(InputError, match="99img002: bad_table: invented fault"):
        build(specs, tmp_path, strict=True)
    assert names(tmp_path) == ["cache", "images"] if before else ["images"]
    assert not before or names(tmp_path / "cache") == []
    assert build(make_specs(8), tmp_path, strict=True).complete, "the corrected input is not held against the wrong one"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_input_found_wrong_by_tasks_leaves_nothing_that_blocks_the_corrected_run(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    specs = make_specs(8)
    specs[2] = Spec("99img002", "99R002-0", fault="bad_table")
    specs[5] = Spec("99img005", "99R005-0", fault="bad_table")
    build_task = functools.partial(build, task_count=2, strict=True)

    def the_other_task(done: int) -> None:
        if done == 1:
            with pytest.raises(InputError, match="bad_table"):
                build_task(specs, tmp_path, task_index=order[1])
            assert (tmp_path / "cache" / "cache.json").exists(), "somebody still builds by it"

    with pytest.raises(InputError, match="bad_table"):
        build_task(specs, tmp_path, task_index=order[0], on_row=the_other_task)
    for index in order:
        build_task(make_specs(8), tmp_path, task_index=index, sigma_dva=1.5)
    assert finalize(tmp_path / "cache").complete
    assert leftovers(tmp_path / "cache") == []


def test_a_whole_run_is_refused_while_tasks_build_and_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gazekit.build, "LOCK_WAIT_S", 0.2)
    specs = make_specs(8)
    holder = rf"host {socket.gethostname()}, process {os.getpid()};"

    def whole(done: int) -> None:
        with pytest.raises(CacheError, match=holder):
            build(specs, tmp_path)

    def task(done: int) -> None:
        with pytest.raises(CacheError, match=holder):
            build(specs, tmp_path, "other", task_index=0, task_count=2)

    build(specs, tmp_path, task_index=0, task_count=2, on_row=whole)
    build(specs, tmp_path, "other", on_row=task)
    assert finalize(tmp_path / "cache").missing_shards == ["00001"]


def test_wrong_input_takes_no_finished_shard(tmp_path: Path) -> None:
    specs = make_specs(8)
    build(specs, tmp_path, task_index=0, task_count=2)
    before = tree(tmp_path / "cache", ".")
    with pytest.raises(CacheError, match="sigma_dva"):
        build(specs, tmp_path, sigma_dva=2.0)
    specs[6] = Spec("99img006", "99R006-0", fault="bad_table")
    with pytest.raises(InputError, match="bad_table"):
        build(specs, tmp_path, strict=True)
    assert tree(tmp_path / "cache", ".") == before
    assert build(specs, tmp_path).complete


def test_limit_takes_the_first_ids_in_sorted_order(tmp_path: Path) -> None:
    specs = make_specs(7)
    build(specs[::-1], tmp_path, limit=3)
    assert open_cache(tmp_path / "cache").ids == ["99img000", "99img001", "99img002"]


def test_the_order_of_the_index_does_not_matter(tmp_path: Path) -> None:
    specs = make_specs(5, readers=2)
    build(specs, tmp_path, "forth")
    build(specs[::-1], tmp_path, "back")
    assert tree(tmp_path / "forth", ".") == tree(tmp_path / "back", ".")


def test_a_directory_of_other_files_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        build(make_specs(2), tmp_path)
    assert names(tmp_path / "cache") == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        build(make_specs(2), tmp_path, "file")


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    specs = [Spec("99a", "99R1", patient_id="99p1"), Spec("99b", "99R2", patient_id="99p1", split="test")]
    with pytest.raises(InputError, match="leak"):
        build(specs, tmp_path)


def test_an_id_with_two_different_files_is_refused(tmp_path: Path) -> None:
    specs = [Spec("99a", "99R1"), Spec("99a", "99R2")]
    images = write_images(tmp_path / "images", specs)
    source = make_source(specs)
    first, second = source.entries
    object.__setattr__(first, "image_path", "one/99a.png")
    object.__setattr__(second, "image_path", "two/99a.png")
    for folder, extra in (("one", b""), ("two", b"")):
        (images / folder).mkdir()
        (images / folder / "99a.png").write_bytes((images / "99a.png").read_bytes() + extra)
    assert plan_cache(source, images, **SMALL).tasks[0].image_file == "one/99a.png"
    (images / "two" / "99a.png").write_bytes(b"other")
    with pytest.raises(InputError, match=r"different content, one/99a\.png and two/99a\.png"):
        plan_cache(source, images, **SMALL)
