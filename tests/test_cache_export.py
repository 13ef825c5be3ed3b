"""``gazekit export``: each format is read back by a reader that is not ours, and equals the cache."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run_gazekit
from memory_source import Spec, make_source, make_specs, write_images
from PIL import Image

from gazekit.build import build_heatmaps
from gazekit.cache import PriorCache, open_cache
from gazekit.errors import CacheError, InputError
from gazekit.export import FORMATS, export_cache
from gazekit.export_files import INDEX_FIELDS
from gazekit.shards import FIXATION_FIELDS
from gazekit.verify import damage


def make_cache(base: Path, *, heatmap_size: int = 20) -> PriorCache:
    """Seven rows in three shards, ids with dots, one row read twice, one skipped."""
    specs = make_specs(7)
    specs.append(Spec("99img001", "99R001-1", n_fixations=5, patient_id=specs[1].patient_id))
    specs[4] = Spec("99img004", "99R004-0", fault="bad_table")
    specs.append(Spec("99img.dotted.v2", "99R009.s01", split="=1+1"))
    root = write_images(base / "images", specs)
    build_heatmaps(
        make_source(specs), root, base / "cache", image_size=48, grid=(4, 6), heatmap_size=heatmap_size, shard_size=3,
        executor="serial",
    )  # fmt: skip
    return open_cache(base / "cache")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PriorCache:
    return make_cache(tmp_path_factory.mktemp("export"))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_index(index: list[dict[str, str]], cache: PriorCache) -> None:
    assert [line["id"] for line in index] == cache.ids
    assert list(index[0]) == list(INDEX_FIELDS)
    for line, record in zip(index, cache, strict=True):
        frame = [float(line[name]) for name in ("scale_x", "scale_y", "offset_x", "offset_y", "width", "height")]
        np.testing.assert_array_equal(frame, record.frame.to_array())
        assert line["reading_ids"].split() == record.info["reading_ids"]
        assert line["patient_id"] == (record.info["patient_id"] or "")
        assert float(line["heatmap_factor"]) == record.info["heatmap_factor"]


def test_png_holds_the_cache(cache: PriorCache, tmp_path: Path) -> None:
    done: list[int] = []
    assert export_cache(cache, tmp_path / "out", to="png", on_row=done.append) == 7
    assert done == [1, 2, 3, 4, 5, 6, 7]
    check_index(read_csv(tmp_path / "out" / "index.csv"), cache)
    patches = {line.pop("id"): line for line in read_csv(tmp_path / "out" / "relevance.csv")}
    fixations = read_csv(tmp_path / "out" / "fixations.csv")
    for i, record in enumerate(cache):
        with Image.open(tmp_path / "out" / "images" / f"{record.id}.png") as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), record.image)
        with Image.open(tmp_path / "out" / "heatmaps" / f"{record.id}.png") as image:
            assert image.mode == "I;16"
            levels = np.asarray(image).astype(np.float64)
        assert record.heatmap is not None
        assert levels.max() == 65535
        np.testing.assert_allclose(levels / 65535, record.heatmap, atol=1 / 65535)
        assert list(patches[record.id])[:7] == ["r0c0", "r0c1", "r0c2", "r0c3", "r0c4", "r0c5", "r1c0"]
        values = np.array(list(patches[record.id].values()), np.float32).reshape(4, 6)
        np.testing.assert_array_equal(values, record.relevance)
        mine = [[float(line[name]) for name in FIXATION_FIELDS] for line in fixations if line["id"] == record.id]
        np.testing.assert_array_equal(np.array(mine), cache.fixations(i))


def test_npy_holds_the_cache(cache: PriorCache, tmp_path: Path) -> None:
    export_cache(cache, tmp_path / "out", to="npy")
    arrays = {file.stem: np.load(file, allow_pickle=False) for file in (tmp_path / "out").glob("*.npy")}
    check_dense(arrays, cache)
    check_index(read_csv(tmp_path / "out" / "index.csv"), cache)


def check_dense(arrays: dict[str, np.ndarray], cache: PriorCache) -> None:
    assert sorted(arrays) == ["fixations", "frames", "heatmaps", "images", "offsets", "relevance"]
    np.testing.assert_array_equal(arrays["images"], np.stack([record.image for record in cache]))
    np.testing.assert_array_equal(arrays["heatmaps"], np.stack([record.heatmap for record in cache]))
    np.testing.assert_array_equal(arrays["relevance"], cache.relevance)
    np.testing.assert_array_equal(arrays["frames"], cache.frames)
    for i in range(len(cache)):
        rows = arrays["fixations"][arrays["offsets"][i] : arrays["offsets"][i + 1]]
        np.testing.assert_array_equal(rows, cache.fixations(i))
    assert {name: array.dtype.str for name, array in arrays.items()} == {
        "images": "|u1", "heatmaps": "<f2", "relevance": "<f4", "frames": "<f8", "fixations": "<f8", "offsets": "<i8",
    }  # fmt: skip


def test_zarr_holds_the_cache_in_version_3(cache: PriorCache, tmp_path: Path) -> None:
    import zarr

    export_cache(cache, tmp_path / "out", to="zarr")
    group = zarr.open_group(tmp_path / "out", mode="r", zarr_format=3)
    arrays = {name: group[name][:] for name in group.array_keys()}
    assert arrays.pop("ids").tolist() == cache.ids
    facts = [json.loads(text) for text in arrays.pop("facts")]
    assert [fact["reading_ids"] for fact in facts] == [row["reading_ids"] for row in cache.rows]
    assert group.attrs["fingerprint"] == cache.fingerprint
    assert group.attrs["fixation_fields"] == list(FIXATION_FIELDS)
    check_dense(arrays, cache)


def test_zarr_that_is_not_installed_is_named_with_its_cure(
    cache: PriorCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"pip install 'gazekit\[zarr\]'"):
        export_cache(cache, tmp_path / "out", to="zarr")
    assert list(tmp_path.iterdir()) == []


def test_webdataset_holds_the_cache(cache: PriorCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gazekit.export_files.TAR_ROWS", 4)
    export_cache(cache, tmp_path / "out", to="webdataset")
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted((tmp_path / "out").iterdir()):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
                key, _, suffix = member.name.partition(".")  # WebDataset's rule: a key ends at its first dot
                samples.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["shard-000000.tar", "shard-000001.tar"]
    assert list(samples) == [f"{i:08d}" for i in range(7)]
    for i, (sample, record) in enumerate(zip(samples.values(), cache, strict=True)):
        facts = json.loads(sample["json"])
        assert (facts["id"], facts["split"]) == (record.id, record.info["split"])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(sample["image.png"]))), record.image)
        levels = np.asarray(Image.open(io.BytesIO(sample["heatmap.png"]))).astype(np.float64)
        np.testing.assert_allclose(levels / 65535, record.heatmap, atol=1 / 65535)
        load = lambda name, sample=sample: np.load(io.BytesIO(sample[name]), allow_pickle=False)  # noqa: E731
        np.testing.assert_array_equal(load("relevance.npy"), record.relevance)
        np.testing.assert_array_equal(load("fixations.npy"), cache.fixations(i))


def tree(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("to", ["png", "npy", "webdataset", "bids"])
def test_an_export_made_twice_is_the_same_bytes(cache: PriorCache, tmp_path: Path, to: str) -> None:
    export_cache(cache, tmp_path / "one", to=to)
    export_cache(cache, tmp_path / "two", to=to)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_bids_holds_the_fixations_of_every_reading(cache: PriorCache, tmp_path: Path) -> None:
    export_cache(cache, tmp_path / "out", to="bids")
    assert json.loads((tmp_path / "out" / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    runs = {}
    for path in (tmp_path / "out").rglob("*_recording-eye1_physioevents.tsv.gz"):
        stem = path.name.removesuffix("_recording-eye1_physioevents.tsv.gz")
        columns = json.loads(path.with_name(path.name.removesuffix(".tsv.gz") + ".json").read_text())["Columns"]
        with gzip.open(path, "rt") as file:
            rows = [dict(zip(columns, line.rstrip("\n").split("\t"), strict=True)) for line in file]
        [event] = csv.DictReader((path.parent / f"{stem}_events.tsv").read_text().splitlines(), delimiter="\t")
        runs[event["reading_id"]] = (event, rows)
    assert sorted(runs) == sorted(reading_id for row in cache.rows for reading_id in row["reading_ids"])
    for record in cache:
        for k, reading_id in enumerate(record.info["reading_ids"]):
            event, rows = runs[reading_id]
            mine = record.reading_index == k
            assert event["image_path"] == record.id
            assert (int(event["image_width_px"]), int(event["image_height_px"])) == (
                record.frame.width,
                record.frame.height,
            )
            written = [[float(row[name]) for name in ("x_px", "y_px", "onset", "duration")] for row in rows]
            durations = record.offset_s - record.onset_s
            expected = np.column_stack([record.gaussians[:, :2], record.onset_s, durations])[mine]
            np.testing.assert_allclose(written, expected, atol=2e-9)


@pytest.mark.parametrize("to", [name for name in FORMATS if name != "bids"])
def test_a_cache_without_heatmaps_and_one_without_gaze_are_exported(tmp_path: Path, to: str) -> None:
    specs = [Spec("99img000", None), Spec("99img001", None)]
    root = write_images(tmp_path / "images", specs)
    build_heatmaps(
        make_source(specs), root, tmp_path / "cache", image_size=32, heatmap_size=0, executor="serial"
    )  # fmt: skip
    assert export_cache(open_cache(tmp_path / "cache"), tmp_path / "out", to=to) == 2
    assert not list((tmp_path / "out").rglob("*heatmap*"))


@pytest.mark.parametrize("to", FORMATS)
def test_nothing_that_is_there_is_overwritten(cache: PriorCache, tmp_path: Path, to: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = tree(tmp_path)
    for name in ("file", "folder", "dangling"):
        with pytest.raises(InputError, match="never overwritten"):
            export_cache(cache, tmp_path / name, to=to)
    with pytest.raises(InputError, match="inside the cache"):
        export_cache(cache, cache.path / "export", to=to)
    assert tree(tmp_path) == before
    assert damage(cache.path) == []


def test_an_empty_folder_is_taken_and_an_unknown_format_is_refused(cache: PriorCache, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="--to must be one of png, npy, zarr, webdataset"):
        export_cache(cache, tmp_path / "out", to="hdf5")
    export_cache(cache, tmp_path / "out", to="npy")
    assert (tmp_path / "out" / "images.npy").exists()


@pytest.mark.parametrize("to", ["png", "npy", "webdataset"])
def test_a_full_disk_leaves_nothing_behind(
    cache: PriorCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    calls = []

    def full(file: object) -> None:
        calls.append(file)
        if len(calls) > 1 or to == "webdataset":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gazekit.export_files.sync", full)
    with pytest.raises(OSError, match="No space left"):
        export_cache(cache, tmp_path / "out", to=to)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_was_killed_is_made_anew(cache: PriorCache, tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from gazekit.cache import open_cache;"
        "from gazekit.export import export_cache;"
        "export_cache(open_cache(sys.argv[1]), Path(sys.argv[2]), to='png',"
        " on_row=lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == 3 else None)"
    )
    done = subprocess.run([sys.executable, "-c", code, cache.path, tmp_path / "out"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    export_cache(cache, tmp_path / "out", to="png")
    export_cache(cache, tmp_path / "other", to="png")
    assert tree(tmp_path / "out") == tree(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_two_exports_to_one_place_do_not_mix(cache: PriorCache, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gazekit.cache import open_cache;"
        "from gazekit.export import export_cache;"
        "export_cache(open_cache(sys.argv[1]), Path(sys.argv[2]), to='npy', on_row=lambda n: time.sleep(60))"
    )
    other = subprocess.Popen([sys.executable, "-c", code, cache.path, tmp_path / "out"])
    try:
        while not (tmp_path / ".out.tmp").exists():
            assert other.poll() is None
            time.sleep(0.02)
        with pytest.raises(CacheError, match=f"process {other.pid}"):
            export_cache(cache, tmp_path / "out", to="npy")
    finally:
        other.kill()
        other.wait()
    export_cache(cache, tmp_path / "out", to="npy")


@pytest.mark.parametrize("to", FORMATS)
def test_an_id_in_a_hostile_cache_names_no_file_elsewhere(tmp_path: Path, to: str) -> None:
    cache = make_cache(tmp_path / "made")
    path = cache.path / "shards" / "00000" / "shard.json"
    path.write_text(path.read_text().replace('"id":"99img000"', '"id":"../../../../stolen"'))
    with pytest.raises(CacheError, match=r"shard\.json does not hold"):
        export_cache(open_cache(cache.path), tmp_path / "out", to=to)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(cache: PriorCache, tmp_path: Path) -> None:
    export_cache(cache, tmp_path / "out", to="npy")
    [line] = [line for line in read_csv(tmp_path / "out" / "index.csv") if line["id"] == "99img.dotted.v2"]
    assert line["split"] == "'=1+1"


def test_the_command_says_what_it_wrote(cache: PriorCache, tmp_path: Path) -> None:
    code, stdout, stderr = run_gazekit("export", cache.path, tmp_path / "out", "--to", "npy", "--json")
    assert code == 0
    assert json.loads(stdout) == {"rows": 7, "format": "npy", "out": str(tmp_path / "out")}
    assert "exporting: 7/7 rows" in stderr
    code, _, stderr = run_gazekit("export", cache.path, tmp_path / "out", "--to", "npy")
    assert code == 2
    assert "never overwritten" in stderr
