"""The reader of a cache among processes, and before files that are not what they seem."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from memory_source import make_source, make_specs, write_images

from gazekit.build import build_heatmaps
from gazekit.cache import PriorCache, open_cache
from gazekit.errors import CacheError
from gazekit.verify import damage


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images in three shards."""
    base = tmp_path_factory.mktemp("reader")
    specs = make_specs(9)
    root = write_images(base / "images", specs)
    build_heatmaps(
        make_source(specs), root, base / "cache", image_size=32, grid=(4, 4), heatmap_size=8, shard_size=3,
        executor="serial",
    )  # fmt: skip
    return base / "cache"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "cache")


REAL, INVENTED = {"image_id": "99a", "patient_id": "10000032"}, {"image_id": "a", "patient_id": "p9900032"}
CALLED_SO = {"image_id": "a", "patient_id": "10000032", "dataset": "simulated"}


@pytest.mark.parametrize(
    ("rows", "fitted_to_it", "expected"),
    [
        ([REAL], False, False),
        ([INVENTED], False, True),
        ([{"image_id": "990001"}], False, True),  # of no known patient
        ([CALLED_SO, INVENTED], False, True),
        ([INVENTED, REAL], False, False),
        ([INVENTED, REAL | {"n_fixations": 0}], False, True),  # which has no gaze to speak of
        ([INVENTED | {"n_fixations": 0}], False, False),
        ([REAL | {"gaze": "predicted"}], True, True),
        ([REAL | {"gaze": "predicted"}], False, False),
        ([REAL], True, False),
    ],
)
def test_gaze_is_called_simulated_where_it_is_no_person_s(rows, fitted_to_it, expected):
    rows = [{"n_fixations": 3} | row for row in rows]
    header = {"parameters": {"image_size": 32, "grid": [4, 4], "heatmap_size": 0}, "fingerprint": "", "shards": []}
    header["parameters"]["predictor"] = {"fitted_on_simulated_gaze": fitted_to_it}
    cache = PriorCache(Path("cache"), header)
    cache.rows = rows
    assert cache.simulated_gaze is expected


def test_each_row_says_whether_its_own_gaze_is_simulated():
    header = {"parameters": {"image_size": 32, "grid": [4, 4], "heatmap_size": 0}, "fingerprint": "", "shards": []}
    cache = PriorCache(Path("cache"), header)
    predicted = {"n_fixations": 3, "gaze": "predicted"}
    cache.rows = [INVENTED | {"n_fixations": 3}, REAL | {"n_fixations": 3}, INVENTED | {"n_fixations": 0}]
    cache.rows += [REAL | predicted, INVENTED | predicted]
    assert cache.simulated_rows == [True, False, None, False, True]


def row_digest(cache: PriorCache, i: int) -> bytes:
    """All the arrays of a row, in one."""
    record = cache[i]
    assert record.heatmap is not None
    parts = (record.image, record.gaussians, record.relevance, record.heatmap, record.onset_s)
    return b"".join(part.tobytes() for part in parts) + repr(record.readings).encode()


def digests(cache: PriorCache) -> list[bytes]:
    """What a worker process is asked for."""
    return [row_digest(cache, i) for i in range(len(cache))]


def test_an_opened_cache_works_in_spawned_processes(built: Path) -> None:
    cache = open_cache(built)
    expected = digests(cache)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(digests, [cache, cache])) == [expected, expected]


def test_an_opened_cache_works_on_both_sides_of_many_forks_at_once() -> None:
    # in a process of its own: a fork of this one would carry pytest's threads
    code = """
import os, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_cache_reader import digests
from memory_source import make_source, make_specs, write_images
from gazekit.build import build_heatmaps
from gazekit.cache import open_cache
with tempfile.TemporaryDirectory() as folder:
    base, specs = Path(folder), make_specs(9)
    root = write_images(base / "images", specs)
    options = {"image_size": 32, "heatmap_size": 8, "shard_size": 3, "executor": "serial"}
    build_heatmaps(make_source(specs), root, base / "cache", **options)
    cache = open_cache(base / "cache")
    cache[4]  # one shard is mapped before the fork, the others after it
    expected = digests(open_cache(base / "cache"))
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os._exit(not all(digests(cache) == expected for _ in range(5)))
        children.append(pid)
    assert all(digests(cache) == expected for _ in range(5))
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
"""
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=True)


def test_threads_share_a_cache(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gazekit.cache.MAX_OPEN_MAPS", 3)
    monkeypatch.setattr("gazekit.cache.MAX_SHARD_ROWS", 1)
    cache, expected = open_cache(built), digests(open_cache(built))
    wrong: list[int] = []

    def read(seed: int) -> None:
        rows = np.random.default_rng(seed).integers(0, len(cache), 200).tolist()
        wrong.extend(i for i in rows if row_digest(cache, i) != expected[i])

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nothing_is_opened_before_it_is_asked_for(copy: Path) -> None:
    cache = open_cache(copy)
    for name in ("00000", "00002"):
        shutil.rmtree(copy / "shards" / name)
    assert cache.images[4].shape == (32, 32)
    assert len(cache) == 9
    with pytest.raises(CacheError, match=r"00000.image\.npy is missing"):
        cache.images[0]


FILES = ("cache.json", "shards/00001/shard.json", "shards/00001/image.npy", "shards/00001/readings.jsonl")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_link_a_pipe_or_a_folder_in_place_of_a_file_is_refused(copy: Path, name: str, kind: str) -> None:
    path = copy / name
    path.rename(copy.parent / "elsewhere")
    if kind == "link":
        path.symlink_to(copy.parent / "elsewhere")  # its content would be right
    elif kind == "pipe":
        os.mkfifo(path)  # opening it would wait for ever
    else:
        path.mkdir()
    with pytest.raises(CacheError, match="not a plain file"):
        digests(open_cache(copy))
    assert len(damage(copy)) == 1
    assert damage(copy)[0].startswith(f"{name}: ")
    assert "plain file" in damage(copy)[0]


def test_a_shard_that_is_a_link_is_refused(copy: Path) -> None:
    shard = copy / "shards" / "00001"
    shard.rename(copy.parent / "elsewhere")
    shard.symlink_to(copy.parent / "elsewhere", target_is_directory=True)
    with pytest.raises(CacheError, match="00001 is a link"):
        digests(open_cache(copy))
    assert damage(copy) == ["shards/00001: a link, not a folder"]


def test_a_cache_may_lie_behind_a_link(copy: Path) -> None:
    link = copy.parent / "link"
    link.symlink_to(copy, target_is_directory=True)
    assert digests(open_cache(link, verify=True)) == digests(open_cache(copy))


@pytest.mark.parametrize("rows", [10**9, 10**14])
def test_rows_that_are_not_there_take_no_memory(copy: Path, rows: int) -> None:
    header = json.loads((copy / "cache.json").read_text())
    header["shards"][1]["rows"] = rows
    (copy / "cache.json").write_text(json.dumps(header))
    cache = open_cache(copy)
    assert len(cache) == rows + 6
    for read in (
        lambda: cache.images[:],
        lambda: cache.frames,
        lambda: cache.relevance,
        lambda: cache[4],
        lambda: cache.ids,
    ):
        with pytest.raises(CacheError, match=r"00001"):
            read()


def test_a_fixation_that_is_not_finite_is_refused(copy: Path) -> None:
    path = copy / "shards" / "00001" / "fixations.npy"
    fixations = np.load(path)
    fixations[0, 4] = np.nan
    np.save(path, fixations)
    cache = open_cache(copy)
    for read in (lambda: cache[3], lambda: cache.prior(3), lambda: np.asarray(cache.all_fixations)):
        with pytest.raises(CacheError, match="a fixation is not finite"):
            read()


def rows_of(content: dict[str, object]) -> dict[str, object]:
    return content["rows"][0]  # type: ignore[index]


LIES = {
    "an id that climbs": lambda row: row.update(id="../../x"),
    "a count that is a text": lambda row: row.update(n_fixations="3"),
    "gaze that is neither measured nor predicted": lambda row: row.update(gaze="guessed"),
    "a confidence that is a text": lambda row: row.update(confidence="high"),
    "readings before the file": lambda row: row.update(readings_bytes=[-5, 3]),
    "a missing status": lambda row: row.pop("status"),
    "facts that are a list": lambda row: row.update(image=[]),
    "failures without a reason": lambda row: row.update(failures=[{}]),
}


@pytest.mark.parametrize("lie", LIES)
def test_rows_that_lie_are_refused(copy: Path, lie: str) -> None:
    path = copy / "shards" / "00000" / "shard.json"
    content = json.loads(path.read_text())
    LIES[lie](rows_of(content))
    path.write_text(json.dumps(content))
    with pytest.raises(CacheError, match=r"shard\.json does not hold what format version 1 requires"):
        open_cache(copy)[0]


def test_readings_that_are_cut_through_a_line_are_refused(copy: Path) -> None:
    path = copy / "shards" / "00000" / "shard.json"
    content = json.loads(path.read_text())
    rows_of(content)["readings_bytes"] = [3, 90]
    path.write_text(json.dumps(content))
    record = open_cache(copy)[0]
    with pytest.raises(CacheError, match=r"readings\.jsonl is damaged"):
        record.readings  # noqa: B018
