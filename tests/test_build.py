import errno
import functools
import hashlib
import itertools
import json
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
from memory_source import HEIGHT, WIDTH, Spec, make_source, make_specs, write_images

import gazekit.build
import gazekit.executors
import gazekit.shards
from gazekit.build import BuildSummary, build_heatmaps, finalize
from gazekit.cache import open_cache
from gazekit.errors import CacheError, InputError
from gazekit.executors import run_shard
from gazekit.plan import plan_cache
from gazekit.verify import damage
from gazekit.workers import ordered_map

SMALL: dict[str, Any] = {"image_size": 32, "grid": (4, 4), "heatmap_size": 16, "shard_size": 4}


def build(specs: list[Spec], base: Path, name: str = "cache", **options: Any) -> BuildSummary:
    """Build a small cache of `specs` in this process under `base`."""
    images = base / "images"
    if not images.exists():
        write_images(images, specs)
    source = make_source(specs, **({"digest": options.pop("digest")} if "digest" in options else {}))
    return build_heatmaps(source, images, base / name, **SMALL | {"executor": "serial"} | options)


def tree(root: Path, under: str = "shards") -> dict[str, str]:
    """File to SHA-256 of everything under ``root/under``."""
    files = (f for f in (root / under).rglob("*") if f.is_file())
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def names(directory: Path) -> list[str]:
    """Names in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def leftovers(root: Path) -> list[str]:
    """Temporaries and locks."""
    return [f.relative_to(root).as_posix() for f in root.rglob(".*")]


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


# --- what a row is ---------------------------------------------------------------------------------------------------


def test_a_row_of_several_readers_is_the_mean_of_their_maps(tmp_path: Path) -> None:
    specs = make_specs(2, readers=3)
    build(specs, tmp_path, "together")
    build(specs, tmp_path, "apart", per="reading")
    together, apart = open_cache(tmp_path / "together"), open_cache(tmp_path / "apart")
    assert together.ids == ["99img000", "99img001"]
    assert apart.ids == [f"99R00{i}-{r}" for i in range(2) for r in range(3)]
    for i in range(2):
        mean = np.mean([apart.relevance[3 * i + r] for r in range(3)], axis=0)
        np.testing.assert_allclose(together.relevance[i], mean, atol=1e-6)
        dense = np.mean([apart.prior(3 * i + r).heatmap() for r in range(3)], axis=0)
        np.testing.assert_allclose(together.prior(i).heatmap(), dense, atol=1e-6)
        record = together[i]
        for r in range(3):
            weight = record.gaussians[record.reading_index == r, 4].sum()
            assert weight == pytest.approx(apart[3 * i + r].gaussians[:, 4].sum() / 3)
    assert together[0].info["n_readings"] == 3
    assert apart[0].info["image_id"] == "99img000"
    np.testing.assert_array_equal(apart[0].image, apart[2].image)


def test_a_bad_reading_is_skipped_and_the_others_of_its_image_are_used(tmp_path: Path) -> None:
    specs = [
        Spec("99a", "99R1", fault="bad_table"),
        Spec("99a", "99R2"),
        Spec("99a", "99R3", fault="off_image"),
        Spec("99a", "99R4"),
    ]
    summary = build(specs, tmp_path)
    assert summary.skipped == {"bad_table": 1, "empty_map": 1}
    assert [f["reading_ids"] for f in summary.failures] == [["99R1"], ["99R3"]]
    build([specs[1], specs[3]], tmp_path, "good")
    with_bad, good = open_cache(tmp_path / "cache"), open_cache(tmp_path / "good")
    np.testing.assert_array_equal(with_bad.relevance, good.relevance)
    assert with_bad[0].info["reading_ids"] == ["99R2", "99R4"]
    assert with_bad.manifest["failed_readings"][0].tolist() == ["99R1", "99R3"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("bad_table", "bad_table"),
        ("unreadable", "unreadable"),
        ("no_gaze", "no_gaze"),
        ("discarded", "no_gaze"),
        ("empty", "no_gaze"),
        ("zero_duration", "zero_duration"),
        ("off_image", "empty_map"),
        ("size", "size_mismatch"),
    ],
)
def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path: Path, fault: str, reason: str) -> None:
    summary = build([Spec("99a", "99R1", fault=fault), Spec("99b", "99R2")], tmp_path)
    assert summary.skipped == {reason: 1}
    assert summary.failures[0] | {"message": ""} == {
        "id": "99a", "image_id": "99a", "reading_ids": ["99R1"], "reason": reason, "message": "",
    }  # fmt: skip
    assert (summary.images, summary.readings) == (1, 1)
    listed = (tmp_path / "cache" / "failures.csv").read_text().splitlines()
    assert listed[0] == "id,image_id,reading_ids,reason,message"
    assert listed[1].startswith(f"99a,99a,99R1,{reason},")
    assert len(listed) == 2


def test_images_that_are_missing_or_broken_are_listed(tmp_path: Path) -> None:
    specs = make_specs(4)
    images = write_images(tmp_path / "images", specs)
    (images / "99img000.png").unlink()
    (images / "99img001.png").write_bytes((images / "99img001.png").read_bytes()[:300])
    (images / "99img002.png").write_text("<html>please log in</html>")
    summary = build(specs, tmp_path)
    assert summary.skipped == {"missing_image": 1, "not_image": 1, "truncated": 1}
    assert open_cache(tmp_path / "cache").ids == ["99img003"]


def test_no_message_or_file_of_the_cache_holds_a_path_of_this_machine(tmp_path: Path) -> None:
    specs = make_specs(4)
    images = write_images(tmp_path / "images", specs)
    (images / "99img001.png").write_text("no image")
    specs[2] = Spec("99img002", "99R002-0", fault="bad_table")
    build(specs, tmp_path)
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for needle in (str(tmp_path), "/home/", "somebody"):
                assert needle.encode() not in content, (file, needle)
    assert "invented fault in fixations.csv, row 3" in (tmp_path / "cache" / "failures.csv").read_text()


def test_keep_no_gaze_keeps_images_whose_gaze_is_not_there(tmp_path: Path) -> None:
    specs = [
        Spec("99a", "99R1", fault="discarded"),
        Spec("99b", "99R2", fault="no_gaze"),
        Spec("99c", "99R3"),
        Spec("99d", "99R4", fault="off_image"),
        Spec("99c", "99R5", fault="empty"),
    ]
    summary = build(specs, tmp_path, keep_no_gaze=True)
    assert summary.skipped == {"empty_map": 1}, "gaze that misses the image is not the same as none"
    assert (summary.images, summary.readings) == (3, 1)
    cache = open_cache(tmp_path / "cache")
    assert cache.offsets.tolist() == [0, 0, 0, 6]
    assert cache.relevance.sum(axis=(1, 2)).tolist() == pytest.approx([0, 0, 1])
    record = cache[0]
    assert record.heatmap is not None
    assert not record.heatmap.any()
    assert record.gaussians.shape == (0, 9)
    assert record.readings[0]["flags"]["discarded"]
    assert record.readings[0]["labels"]["Nodule"] == 3, "what is known of the reading stays"
    assert [r["reading_id"] for r in cache[2].readings] == ["99R3", "99R5"]
    assert cache[2].info["n_readings"] == 1
    assert record.info["off_image_share"] is None


def test_images_that_nobody_read_have_no_fixations_and_status_ok(tmp_path: Path) -> None:
    specs = [Spec(f"99x{i}", None) for i in range(5)]
    summary = build(specs, tmp_path)
    assert (summary.images, summary.readings, summary.failures) == (5, 0, [])
    cache = open_cache(tmp_path / "cache", verify=True)
    assert {row["status"] for row in cache.rows} == {"ok"}
    assert not cache.relevance.any()
    assert cache[0].readings == []
    assert cache[0].info["reading_ids"] == []
    assert cache.parameters["keep_no_gaze"] is True


def test_an_unread_image_among_readings_is_kept_only_on_request(tmp_path: Path) -> None:
    specs = [Spec("99a", "99R1"), Spec("99b", None)]
    assert build(specs, tmp_path).skipped == {"no_gaze": 1}
    assert build(specs, tmp_path, "kept", keep_no_gaze=True).images == 2


def test_gaze_statistics_count_what_lies_beyond_the_border(tmp_path: Path) -> None:
    specs = make_specs(1)
    build(specs, tmp_path)
    source = make_source(specs)
    table = source.load(source.entries[0]).fixations
    duration = table["offset_s"] - table["onset_s"]
    outside = (table["x_px"] < -0.5) | (table["x_px"] >= WIDTH - 0.5)
    outside |= (table["y_px"] < -0.5) | (table["y_px"] >= HEIGHT - 0.5)
    info = open_cache(tmp_path / "cache")[0].info
    assert info["dwell_s"] == pytest.approx(duration.sum())
    assert info["off_image_share"] == pytest.approx(duration[outside].sum() / duration.sum())
    assert info["n_fixations"] == len(table)


def test_what_a_source_dropped_or_found_odd_is_reported(tmp_path: Path) -> None:
    summary = build(make_specs(2, readers=2), tmp_path)
    assert summary.counts == {"zero_duration": 4}
    assert len(summary.warnings) == 4
    assert summary.warnings[0] == "99img000: one fixation lasts 12 s"


# --- options and inputs ----------------------------------------------------------------------------------------------


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


def test_the_header_names_parameters_arrays_packages_and_decoders(tmp_path: Path) -> None:
    build(make_specs(5), tmp_path)
    header = json.loads((tmp_path / "cache" / "cache.json").read_text())
    assert header["parameters"]["sigma_dva"] == 1.0
    assert header["decoders"] == {"pillow": 5}
    assert header["counts"] == {"planned": 5, "rows": 5, "skipped": 0, "fixations": 30, "readings": 5}
    assert {a["name"] for a in header["arrays"]} == {
        "image", "frame", "fixations", "offsets", "relevance", "heatmap",
    }  # fmt: skip
    assert "numpy" in header["packages"]
    build(make_specs(5), tmp_path, "plain", heatmap_size=0)
    assert "heatmap" not in {a["name"] for a in open_cache(tmp_path / "plain").header["arrays"]}
    assert not (tmp_path / "plain" / "shards" / "00000" / "heatmap.npy").exists()
    assert open_cache(tmp_path / "plain")[0].heatmap is None
