"""Readings written as BIDS: valid, equal bytes for equal readings, and the same when they are read again."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image
from strategies import fixation_tables, image_shapes

from gazekit import Reading, build_heatmaps, open_cache, read_bids, write_bids
from gazekit.errors import InputError, RecordError
from gazekit.export import export_cache
from gazekit.reading import FIXATION_COLUMNS

SMALL: dict[str, Any] = {"image_size": 32, "grid": (4, 4), "heatmap_size": 16, "executor": "serial"}


def make_reading(fixations: pd.DataFrame, shape: tuple[int, int], **changes: Any) -> Reading:
    gaze = pd.DataFrame({"time_s": [0.25, 0.26, 0.27], "x_px": [1.5, np.nan, 3.25], "y_px": [2.0, np.nan, 1 / 3]})
    gaze[["px_per_deg_x", "px_per_deg_y"]] = 3.0, 2.5
    reading = Reading("990001.a", "99chest7", shape, fixations, load_samples=lambda: gaze)
    return replace(reading, **changes)


def images_of(folder: Path, *readings: Reading) -> Path:
    for reading in readings:
        path = folder / f"{reading.image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", reading.image_shape[::-1], 7).save(path)
    return folder


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    shape = draw(image_shapes())
    table = draw(fixation_tables(shape))
    table.loc[0, ["x_px", "y_px"]] += 2.0  # so that no table looks like normalised coordinates
    return make_reading(table, shape)


@given(readings())
@settings(max_examples=25, deadline=None)
def test_write_then_read_gives_the_same_fixations_and_samples(tmp_path_factory, reading):
    folder = tmp_path_factory.mktemp("written")
    assert write_bids([reading], folder / "bids") == 1
    found = read_bids(folder / "bids", images=images_of(folder / "images", reading))[0]
    assert (found.image_id, found.image_shape) == (reading.image_id, reading.image_shape)
    assert found.reading_id.endswith(f".{reading.reading_id}")
    assert list(found.fixations.columns[: len(FIXATION_COLUMNS)]) == list(FIXATION_COLUMNS)
    assert_allclose(found.fixations[list(FIXATION_COLUMNS)], reading.fixations, atol=1.1e-9, rtol=0)
    assert_allclose(found.samples()[list(reading.samples())], reading.samples(), atol=1.1e-9, rtol=0)


FIXATIONS = pd.DataFrame(
    [(0.1, 0.4, 5, 6, 3, 3, 0, 0, 20, 10), (0.5, 0.9, 15, 2, 3, 3, 2, 1, 12, 9)], columns=FIXATION_COLUMNS, dtype=float
)


def test_equal_readings_are_equal_bytes(tmp_path):
    def digest(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    for name in "ab":
        write_bids([make_reading(FIXATIONS, (10, 20), reader_id="99")], tmp_path / name)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    packed = [path.read_bytes() for path in (tmp_path / "a").rglob("*.gz")]
    assert [content[4:8] for content in packed] == [bytes(4)] * 2  # no time of writing


def test_what_is_written_has_what_bids_requires(tmp_path):
    other = make_reading(FIXATIONS, (10, 20), reading_id="990002", reader_id="9-9.b")
    write_bids([make_reading(FIXATIONS, (10, 20)), other], tmp_path / "bids")
    description = json.loads((tmp_path / "bids" / "dataset_description.json").read_text())
    assert description["BIDSVersion"] == "1.11.1"
    assert description["DatasetType"] == "derivative"
    assert [entry["Name"] for entry in description["GeneratedBy"]] == ["gazekit"]
    participants = (tmp_path / "bids" / "participants.tsv").read_text()
    assert participants == "participant_id\nsub-99b\nsub-unknown\n"
    files = sorted(path.name for path in (tmp_path / "bids" / "sub-99b" / "beh").iterdir())
    run = "sub-99b_task-reading_run-0001"
    parts = ("events.json", "events.tsv", *(f"recording-eye1_{kind}" for kind in ("physio.json", "physio.tsv.gz")))
    parts += tuple(f"recording-eye1_physioevents.{end}" for end in ("json", "tsv.gz"))
    assert files == [f"{run}_{part}" for part in parts]
    physio = json.loads((tmp_path / "bids" / "sub-99b" / "beh" / f"{run}_recording-eye1_physio.json").read_text())
    assert physio["Columns"][:3] == ["timestamp", "x_coordinate", "y_coordinate"]
    assert (physio["PhysioType"], physio["RecordedEye"]) == ("eyetrack", "cyclopean")
    assert (physio["SampleCoordinateSystem"], physio["SamplingFrequency"], physio["StartTime"]) == (
        "custom",
        100.0,
        0.25,
    )
    for column in physio["Columns"]:
        assert set(physio[column]) == {"Description", "Units"}


def test_lost_samples_are_written_as_missing_values(tmp_path):
    write_bids([make_reading(FIXATIONS, (10, 20))], tmp_path / "bids")
    path = next((tmp_path / "bids").rglob("*_physio.tsv.gz"))
    assert gzip.decompress(path.read_bytes()).splitlines()[1] == b"0.26\tn/a\tn/a\t3\t2.5"


def test_without_samples_the_recording_is_empty_and_the_fixations_come_back(tmp_path):
    reading = make_reading(FIXATIONS, (10, 20))
    write_bids([reading], tmp_path / "bids", samples=False)
    found = read_bids(tmp_path / "bids", images=images_of(tmp_path / "images", reading))[0]
    assert_allclose(found.fixations[list(FIXATION_COLUMNS)], FIXATIONS, atol=1e-9)
    with pytest.raises(RecordError) as caught:
        found.samples()
    assert caught.value.reason == "no_gaze"


def test_the_path_of_an_image_is_kept_where_it_ends_in_its_id(tmp_path):
    reading = make_reading(FIXATIONS, (10, 20), image_path="files/p99/99chest7.dcm")
    write_bids([reading], tmp_path / "bids")
    images = images_of(tmp_path / "images" / "files" / "p99", reading)
    found = read_bids(tmp_path / "bids", images=images.parent.parent)[0]
    assert (found.image_id, found.image_path) == ("99chest7", "files/p99/99chest7.dcm")


def test_nothing_to_write_and_one_id_twice_are_errors_that_leave_nothing(tmp_path):
    empty, reading = make_reading(FIXATIONS[:0], (10, 20)), make_reading(FIXATIONS, (10, 20))
    with pytest.raises(InputError, match="no reading has a fixation"):
        write_bids([empty], tmp_path / "bids")
    with pytest.raises(InputError, match="two readings have the id"):
        write_bids([reading, reading], tmp_path / "bids")
    assert not (tmp_path / "bids").exists()
    write_bids([reading], tmp_path / "bids")
    with pytest.raises(InputError, match="never overwritten"):
        write_bids([reading], tmp_path / "bids")


def test_a_cache_of_samples_is_not_written_as_fixations(tmp_path):
    reading = make_reading(FIXATIONS, (40, 60))
    images = images_of(tmp_path / "images", reading)
    Image.fromarray(np.arange(2400, dtype=np.uint32).reshape(40, 60).astype(np.uint8)).save(images / "99chest7.png")
    write_bids([reading], tmp_path / "bids")
    build_heatmaps(read_bids(tmp_path / "bids", images=images), images, tmp_path / "cache", gaze="samples", **SMALL)
    with pytest.raises(InputError, match="built from samples, which are no fixations"):
        write_bids(open_cache(tmp_path / "cache"), tmp_path / "out")


def test_a_cache_exported_to_bids_builds_the_same_maps_again(tmp_path):
    reading = make_reading(FIXATIONS, (40, 60))
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(np.arange(2400, dtype=np.uint32).reshape(40, 60).astype(np.uint8)).save(images / "99chest7.png")
    write_bids([reading], tmp_path / "bids")
    build_heatmaps(read_bids(tmp_path / "bids", images=images), images, tmp_path / "first", sigma_dva=2.0, **SMALL)
    first = open_cache(tmp_path / "first")
    assert export_cache(first, tmp_path / "again", to="bids") == 1
    build_heatmaps(read_bids(tmp_path / "again", images=images), images, tmp_path / "second", sigma_dva=2.0, **SMALL)
    second = open_cache(tmp_path / "second")
    assert_allclose(second[0].gaussians, first[0].gaussians, atol=1e-8)
    assert_allclose(second.relevance, first.relevance, atol=1e-6)
