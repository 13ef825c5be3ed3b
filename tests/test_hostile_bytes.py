"""Bytes that were changed: no traceback, no hang, no flood of memory. Only errors that were meant, with their words.

The command lines turn a `ValueError` into one line; anything else that leaves them fails the test, as does one that is
not of gazekit's own family.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_input_case import READING, SMALL, Tree
from cli_runner import run_gazekit
from dicom_factory import SHAPE, SYNTAXES, full_window, gradient, make_dicom
from hypothesis import given
from hypothesis import strategies as st
from mutations import Edit, edited, edits, examples, random_edits, scaled, watched
from reflacx_tree import DICOM_A

from gazekit.cache import open_cache
from gazekit.contents import contents, splits
from gazekit.errors import REASONS, CacheError, GazekitError, InputError, RecordError
from gazekit.sources.reflacx import read_reflacx
from gazekit.sources.spec import read_spec
from gazekit.verify import damage


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A small data set, and its cache."""
    tree = Tree(tmp_path_factory.mktemp("hostile")).make()
    assert tree.build("--heatmap-size", "8").code == 0
    return tree


# --- tables

TABLES = (
    "metadata_phase_1.csv",
    f"{READING}/fixations.csv",
    f"{READING}/timestamps_transcription.csv",
    f"{READING}/anomaly_location_ellipses.csv",
    f"{READING}/chest_bounding_box.csv",
    "gaze",
)


@examples(100)
@given(file=st.sampled_from(TABLES), changes=edits())
def test_changed_tables_are_read_or_refused(tree: Tree, file: str, changes: list[Edit]) -> None:
    main = tree.reflacx / "main_data"
    path = tree.reflacx / "gaze_data" / READING / "gaze.csv" if file == "gaze" else main / file
    right = path.read_bytes()
    path.write_bytes(edited(right, changes))
    try:
        with watched():
            readings = read_reflacx(tree.reflacx)
            readings.digest()
            for reading_id in readings.ids:
                try:
                    reading = readings[reading_id]
                    assert np.isfinite(reading.fixations[["onset_s", "offset_s", "x_px", "y_px"]]).all(axis=None)
                    reading.samples()
                except RecordError:  # made only with a reason of the list
                    pass
    except InputError:
        pass
    finally:
        path.write_bytes(right)


@examples(20)
@given(file=st.sampled_from(TABLES[:5]), changes=edits(), keep=st.booleans())
def test_changed_tables_end_the_command_in_order(tree: Tree, file: str, changes: list[Edit], keep: bool) -> None:
    path = tree.reflacx / "main_data" / file
    right, cache = path.read_bytes(), tree.root / "other"
    path.write_bytes(edited(right, changes))
    try:
        with watched():
            options = ["--dataset", "reflacx", "--images", tree.images, *SMALL, "--json"]
            options += ["--keep-no-gaze"] if keep else []
            outcome = run_gazekit("build-heatmaps", tree.reflacx, cache, *options)
    finally:
        path.write_bytes(right)
        shutil.rmtree(cache, ignore_errors=True)
    assert outcome.code in (0, 1, 2), outcome
    if outcome.code == 2:
        assert outcome.stderr.splitlines()[-1].startswith("error: ")
    else:
        said = json.loads(outcome.stdout)
        assert set(said["skipped"]) <= set(REASONS)


# --- the spec of a tracker

SPEC = """
[screen]
size_px = [1920, 1080]
size_mm = [531.0, 299.0]
distance_mm = 650

[columns]
time = "t"
x = "gaze x"
y = "gaze y"

[units]
time = "ms"
position = "screen_px"

[events]
source = "detect"
algorithm = "ivt"

[stimuli]
placement = "fit"

[[stimulus]]
name = "chest 1"
image_id = "99000001"
rectangle = [420, 0, 1500, 1080]
patient_id = "990001"
split = "train"
view = "PA"
"""


@examples(300)
@given(changes=edits())
def test_a_changed_spec_is_read_or_refused(tmp_path: Path, changes: list[Edit]) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    read_spec(path)
    path.write_bytes(edited(SPEC.encode(), changes))
    try:
        with watched():
            read_spec(path)
    except InputError:
        pass


# --- images


def whole_dicom(folder: Path, syntax: str) -> bytes:
    """A small file with most of what a header can hold."""
    pixels = gradient(SHAPE, 8)
    path = make_dicom(folder / "whole.dcm", pixels, syntax=syntax, Modality="CR", ViewPosition="PA", **full_window(8))
    return path.read_bytes()


@pytest.mark.slow
def test_changed_files_of_every_transfer_syntax_cost_no_more_than_themselves(tmp_path: Path) -> None:
    # C and Rust decoders run in worker processes, for some of these files end their process
    rng = np.random.default_rng(0)
    folder, n = tmp_path / "images", scaled(5)
    folder.mkdir()
    for syntax in SYNTAXES:
        whole = whole_dicom(tmp_path, syntax)
        for k in range(n):
            mutant = edited(whole, random_edits(rng, int(rng.integers(1, 4))), start=132)
            (folder / f"{syntax}-{k}.dcm").write_bytes(mutant)
    options = ["--image-size", "16", "--grid", "2", "--heatmap-size", "0", "--workers", "2", "--json"]
    outcome = run_gazekit("build-heatmaps", folder, tmp_path / "cache", "--dataset", "images", *options)
    assert outcome.code == 1, outcome
    said = json.loads(outcome.stdout)
    assert said["images"] + sum(said["skipped"].values()) == n * len(SYNTAXES)
    assert set(said["skipped"]) <= set(REASONS)
    assert damage(tmp_path / "cache") == []


# --- caches


def read_everything(path: Path) -> None:
    """All that a reader can ask of a cache."""
    cache = open_cache(path)
    contents(cache), splits(cache)
    for i, record in enumerate(cache):
        record.readings  # noqa: B018
        cache.prior(i)
    for array in (cache.images, cache.all_fixations, cache.heatmaps, cache.frames, cache.relevance, cache.offsets):
        np.asarray(array)
    for value in (cache.ids, cache.failures, cache.rows):
        json.dumps(value)
    cache.manifest.to_dict()


FILES = ("cache.json", "manifest.parquet", "failures.csv", *(f"shards/00000/{name}" for name in (
    "shard.json", "readings.jsonl", "image.npy", "frame.npy", "fixations.npy", "offsets.npy", "relevance.npy",
)))  # fmt: skip


@examples(200)
@given(file=st.sampled_from(FILES), changes=edits())
def test_a_changed_cache_is_read_or_refused_and_verify_finds_it(tree: Tree, file: str, changes: list[Edit]) -> None:
    path = tree.cache / file
    right = path.read_bytes()
    wrong = edited(right, changes)
    path.write_bytes(wrong)
    try:
        with watched():
            try:
                found = damage(tree.cache)
                assert bool(found) == (wrong != right)
            except CacheError:
                assert file == "cache.json"
            with suppress(GazekitError):
                read_everything(tree.cache)
    finally:
        path.write_bytes(right)


def test_the_cache_that_is_changed_is_right(tree: Tree) -> None:
    read_everything(tree.cache)
    assert damage(tree.cache) == []
    assert open_cache(tree.cache).ids[0] == DICOM_A


@examples(60)
@given(
    key=st.sampled_from(["rows", "fixations", "image_size", "grid", "heatmap_size", "name", "sha256"]),
    value=st.one_of(
        st.integers(-1, 1 << 70), st.text(max_size=5), st.none(), st.floats(allow_nan=False), st.lists(st.integers())
    ),
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(tree: Tree, key: str, value: Any) -> None:
    path = tree.cache / "cache.json"
    right = path.read_bytes()
    header = json.loads(right)
    holder = header["shards"][0] if key in ("rows", "fixations", "name", "sha256") else header["parameters"]
    before, holder[key] = holder[key], value
    try:
        path.write_text(json.dumps(header))
        with watched():
            read_everything(tree.cache)
        assert value == before or key == "sha256" or (key, value) == ("heatmap_size", 0)
    except CacheError:
        pass
    finally:
        path.write_bytes(right)
