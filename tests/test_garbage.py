import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from memory_source import make_specs
from small_build import build, leftovers, tree

from gazekit.cache import open_cache
from gazekit.errors import CacheError
from gazekit.garbage import collect_garbage
from gazekit.locks import hold, is_held
from gazekit.verify import damage


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """A finished cache with one of everything that killed runs and older plans leave."""
    build(make_specs(9), tmp_path)
    build(make_specs(5), tmp_path, "older", sigma_dva=2.0)
    root = tmp_path / "cache"
    (root / "shards" / ".00001.tmp").mkdir()
    (root / "shards" / ".00001.tmp" / "image.npy").write_bytes(b"half")
    (root / ".manifest.parquet.tmp").write_bytes(b"half")
    for name in (".lock", ".plan.lock", ".shard-00001.lock"):
        (root / name).write_text("elsewhere 1\n")
    (root / ".slurm").mkdir()
    (root / ".slurm" / "1_log.err").write_text("killed")
    (tmp_path / "older" / "shards" / "00001").rename(root / "shards" / "00003")
    return root


LITTER = [
    ".manifest.parquet.tmp",
    ".plan.lock",
    ".shard-00001.lock",
    ".slurm",
    "shards/.00001.tmp",
    "shards/00003",
]


def test_what_is_not_needed_is_removed_and_the_rest_is_intact(littered: Path) -> None:
    assert damage(littered) == ["shards/.00001.tmp: not part of the cache", "shards/00003: not part of the cache"]
    found = collect_garbage(littered)
    assert [garbage.path for garbage in found] == LITTER
    assert {garbage.path: garbage.n_bytes for garbage in found}["shards/.00001.tmp"] == 4
    assert not damage(littered)
    assert leftovers(littered) == []
    assert collect_garbage(littered) == []
    assert len(open_cache(littered, verify=True)) == 9


def test_a_dry_run_says_the_same_and_removes_nothing(littered: Path) -> None:
    before = tree(littered, ".") | {".lock": ""}
    assert [garbage.path for garbage in collect_garbage(littered, dry_run=True)] == LITTER
    assert tree(littered, ".") | {".lock": ""} == before


def test_a_shard_of_another_fingerprint_in_the_place_of_one_is_garbage(littered: Path, tmp_path: Path) -> None:
    (littered / "shards" / "00000").rename(tmp_path / "moved")
    (tmp_path / "older" / "shards" / "00000").rename(littered / "shards" / "00000")
    assert "shards/00000" in [garbage.path for garbage in collect_garbage(littered)]
    (tmp_path / "moved").rename(littered / "shards" / "00000")
    assert not damage(littered)


def test_a_damaged_shard_is_not_garbage(littered: Path) -> None:
    (littered / "shards" / "00000" / "shard.json").write_text("{")
    assert "shards/00000" not in [garbage.path for garbage in collect_garbage(littered)]


def test_finished_shards_of_an_unfinished_cache_stay(tmp_path: Path) -> None:
    build(make_specs(9), tmp_path, task_index=1, task_count=3)
    before = tree(tmp_path / "cache", ".")
    assert collect_garbage(tmp_path / "cache") == []
    assert tree(tmp_path / "cache", ".") == before


@pytest.mark.parametrize("task", [{}, {"task_index": 0, "task_count": 1}])
def test_a_cache_that_a_run_builds_is_refused_with_its_holder(tmp_path: Path, task: dict[str, int]) -> None:
    def collect(done: int) -> None:
        with pytest.raises(CacheError, match=f"process {os.getpid()};"):
            collect_garbage(tmp_path / "cache")

    build(make_specs(3), tmp_path, on_row=collect, **task)


def test_what_a_lone_worker_still_builds_is_left(littered: Path) -> None:
    with hold(littered / ".shard-00001.lock", "the shard"):
        assert is_held(littered / ".shard-00001.lock")
        found = [garbage.path for garbage in collect_garbage(littered)]
        assert found == [".manifest.parquet.tmp", ".plan.lock", "shards/00003"]
    assert not is_held(littered / ".shard-00001.lock")


def test_no_cache_is_no_garbage(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(CacheError, match="not a cache"):
        collect_garbage(tmp_path)


def test_the_command_says_what_it_removes(littered: Path) -> None:
    command = [sys.executable, "-m", "gazekit_cli", "gc", str(littered), "--json"]
    for arguments, expected in ((["--dry-run"], (0, 6)), ([], (6, 0))):
        done = subprocess.run(command + arguments, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        assert (told["removed"], told["would_be_removed"]) == expected
        assert [row["file"] for row in told["rows"]] == LITTER
