"""Caches of sentences and of raw samples: which rows there are, what is in them, and what is said of the others."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import memory_source
import numpy as np
import pandas as pd
import pytest
from cli_runner import run_gazekit
from memory_source import HEIGHT, WIDTH, Spec, make_source, write_images
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from reflacx_tree import DICOM_A, DICOM_B, write_reflacx

import gazekit
import gazekit.image
from gazekit.build import build_heatmaps
from gazekit.cache import Record, open_cache
from gazekit.errors import InputError, RecordError
from gazekit.plan import plan_cache
from gazekit.reading import Entry, Reading, Readings

SMALL: dict[str, Any] = {"image_size": 32, "grid": (4, 4), "heatmap_size": 16, "shard_size": 4, "executor": "serial"}
SPECS = [Spec("99a", "99R1"), Spec("99a", "99R2"), Spec("99b", "99R3")]
WORDS = pd.DataFrame(
    {
        "word": ["heart", "normal", ".", "lungs", ".", "thanks", "."],
        "onset_s": [0.3, 0.5, 0.8, 2.0, 2.3, 90.0, 90.5],
        "offset_s": [0.5, 0.8, 0.9, 2.3, 2.4, 90.5, 90.6],
    }
)


def samples(fixations: pd.DataFrame, *, step: int) -> pd.DataFrame:
    """200 Hz gaze that jumps about each fixation, lost between them; step -1: the last sample first."""
    time = np.arange(0, float(fixations["offset_s"].max()), 0.005)
    row = np.searchsorted(fixations["onset_s"], time, side="right") - 1
    lost = (row < 0) | (time >= fixations["offset_s"].to_numpy()[row])
    table = fixations.iloc[np.maximum(row, 0)].drop(columns=["onset_s", "offset_s"]).reset_index(drop=True)
    table["x_px"] = np.round(table["x_px"] + np.arange(len(time)) % 3)
    table.loc[lost, "x_px"] = np.nan
    return table.assign(time_s=time)[::step]


def load(by_id: dict[str, Spec], entry: Entry) -> Reading:
    """A reading of `memory_source` that speaks, and was sampled."""
    reading = memory_source.load(by_id, entry)
    spec = by_id[reading.reading_id]
    words = None if spec.fault == "silent" else WORDS.iloc[:0] if spec.fault == "wordless" else WORDS
    if spec.fault != "unsampled":
        recorded = partial(samples, reading.fixations, step=-1 if spec.fault == "backwards" else 1)
        reading = dataclasses.replace(reading, load_samples=recorded)
    return dataclasses.replace(reading, transcript=words)


def source(specs: list[Spec]) -> Readings:
    plain = make_source(specs)
    by_id = {str(spec.reading_id): spec for spec in specs}
    return Readings("invented", plain.entries, partial(load, by_id), digest=plain.digest)


def build(base: Path, specs: list[Spec] = SPECS, **options: Any):
    """(summary, cache) of a small cache."""
    write_images(base / "images", specs)
    summary = build_heatmaps(source(specs), base / "images", base / "cache", **SMALL | options)
    return summary, open_cache(base / "cache", verify=True)


def square(record: Record) -> tuple[float, float, float, float]:
    """The stored square in original pixels."""
    return record.frame.original_box((-0.5, -0.5, 31.5, 31.5))


def test_a_row_for_each_sentence_holds_the_gaze_of_its_window(tmp_path):
    _, cache = build(tmp_path, window="sentences")
    assert cache.ids == [f"99R{r}.s0{s}" for r in (1, 2, 3) for s in (0, 1)]
    assert (cache.parameters["window"], cache.parameters["per"]) == ("sentences", "reading")
    readings = source(SPECS)
    for record in cache:
        reading_id, _, k = record.id.partition(".s")
        reading = readings[reading_id]
        window = gazekit.spoken_windows(reading.transcript)[int(k)]
        weights = gazekit.window_weights(reading.fixations, window)
        [line] = record.readings
        assert line["reading_id"] == reading_id
        assert line["window"] == dataclasses.asdict(window)
        assert line["window"]["text"] == ("heart normal.", "lungs.")[int(k)]
        expected = gazekit.patch_relevance(
            reading.fixations, image_shape=(HEIGHT, WIDTH), grid=(4, 4), crop=square(record), weights=weights
        )
        assert_allclose(record.relevance, expected, atol=1e-6)
        assert len(record.gaussians) == (weights > 0).sum()
        assert_array_equal(record.onset_s, reading.fixations["onset_s"][weights > 0])
        assert_allclose(line["dwell_s"], weights.sum())
        assert record.info["image_id"] == reading.image_id


def test_a_sentence_without_gaze_is_skipped_by_its_window_or_kept(tmp_path):
    summary, _ = build(tmp_path / "a", window="sentences")
    assert summary.skipped == {"no_gaze": 3}
    assert {f["id"] for f in summary.failures} == {"99R1.s02", "99R2.s02", "99R3.s02"}
    assert "no gaze in the window of this sentence, 88.50 to 90.60 s" in summary.failures[0]["message"]
    summary, cache = build(tmp_path / "b", window="sentences", keep_no_gaze=True)
    assert summary.skipped == {}
    kept = cache[cache.ids.index("99R1.s02")]
    assert len(kept.gaussians) == kept.relevance.sum() == 0
    assert kept.readings[0]["window"]["text"] == "thanks."


def test_a_reading_without_sentences_has_a_row_that_says_why(tmp_path):
    specs = [
        *SPECS,
        *(Spec("99b", f"99X{k}", fault=why) for k, why in enumerate(["silent", "wordless", "bad_table", "discarded"])),
    ]
    summary, cache = build(tmp_path, specs, window="sentences")
    reasons = {f["id"]: f["reason"] for f in summary.failures if f["id"].startswith("99X")}
    assert reasons == {
        "99X0": "no_transcript",
        "99X1": "no_transcript",
        "99X2": "bad_table",
        # the discarded one speaks here, so its sentences are what is skipped
        **{f"99X3.s0{k}": "no_gaze" for k in range(3)},
    }
    assert len(cache) == 6


def test_the_sentences_of_a_reading_open_their_image_once_and_a_changed_file_again(tmp_path, monkeypatch):
    opened = []
    opens = gazekit.image.load_image
    monkeypatch.setattr("gazekit.image.load_image", lambda path, **k: opened.append(path.name) or opens(path, **k))
    _, before = build(tmp_path / "a", window="sentences", keep_no_gaze=True)
    assert opened == ["99a.png", "99b.png"]
    write_images(tmp_path / "images", SPECS)
    for side in (30, 60):  # the last image of the first build is the first of the second
        Image.fromarray(np.full((HEIGHT, WIDTH), side, np.uint8) + np.eye(HEIGHT, WIDTH, dtype=np.uint8)).save(
            tmp_path / "images" / "99a.png"
        )
        build_heatmaps(source(SPECS[:1]), tmp_path / "images", tmp_path / str(side), window="sentences", **SMALL)
    assert open_cache(tmp_path / "60").images[0].max() > open_cache(tmp_path / "30").images[0].max()
    assert len(before) == 9


def test_the_limit_counts_sentences(tmp_path):
    _, cache = build(tmp_path, window="sentences", limit=2)
    assert cache.ids == ["99R1.s00", "99R1.s01"]


def test_an_id_that_a_sentence_would_take_twice_is_refused(tmp_path):
    write_images(tmp_path, SPECS)
    with pytest.raises(InputError, match=r"99R1\.s01 is the id of a sentence and of another reading"):
        plan_cache(source([*SPECS, Spec("99b", "99R1.s01", fault="silent")]), tmp_path, window="sentences")
    with pytest.raises(InputError, match=r"id of a sentence: .* is not an id"):
        plan_cache(source([*SPECS, Spec("99b", "9" * 126)]), tmp_path, window="sentences")


@pytest.mark.parametrize(("option", "value"), [("window", "phrases"), ("gaze", "pupil")])
def test_unknown_choices_are_refused(tmp_path, option, value):
    with pytest.raises(InputError, match=rf"{option}.* must be one of"):
        plan_cache(source(SPECS), tmp_path, **{option: value})


def test_the_choice_of_gaze_and_window_is_part_of_the_fingerprint(tmp_path):
    write_images(tmp_path, SPECS)
    plans = [
        plan_cache(source(SPECS), tmp_path, per="reading", gaze=gaze, window=window, limit=1)
        for gaze in ("fixations", "samples")
        for window in ("whole", "sentences")
    ]
    assert len({plan.fingerprint for plan in plans}) == 4


def test_rows_from_samples_hold_their_gaze_with_equal_samples_as_one(tmp_path):
    summary, cache = build(tmp_path, per="reading", gaze="samples")
    readings = source(SPECS)
    lost = 0
    for record in cache:
        raw = readings[record.id].samples()
        table = gazekit.samples_as_fixations(raw)
        lost += len(raw) - len(table)
        expected = gazekit.patch_relevance(table, image_shape=(HEIGHT, WIDTH), grid=(4, 4), crop=square(record))
        assert_allclose(record.relevance, expected, atol=1e-6)
        shown = gazekit.heatmap(
            table, image_shape=(HEIGHT, WIDTH), out_shape=(16, 16), crop=square(record), normalize="max"
        )
        assert_allclose(record.heatmap, shown, atol=1e-3)
        assert len(record.gaussians) <= 3 * len(readings[record.id].fixations)
        assert_allclose(record.info["dwell_s"], gazekit.sample_weights(raw).sum())
        assert record.onset_s.min() == table["onset_s"].iloc[0]
    assert summary.counts["lost_samples"] == lost > 0


def test_readers_are_averaged_from_samples_too(tmp_path):
    _, cache = build(tmp_path, gaze="samples")
    record = cache[cache.ids.index("99a")]
    readings = source(SPECS)
    tables = [gazekit.samples_as_fixations(readings[id_].samples()) for id_ in ("99R1", "99R2")]
    parts = [gazekit.patch_relevance(t, image_shape=(HEIGHT, WIDTH), grid=(4, 4), crop=square(record)) for t in tables]
    assert_allclose(record.relevance, np.mean(parts, axis=0), atol=1e-6)


def test_sentences_from_samples(tmp_path):
    _, cache = build(tmp_path, gaze="samples", window="sentences")
    reading = source(SPECS)["99R3"]
    table = gazekit.samples_as_fixations(reading.samples())
    window = gazekit.spoken_windows(reading.transcript)[1]
    record = cache[cache.ids.index("99R3.s01")]
    assert_allclose(record.info["dwell_s"], gazekit.window_weights(table, window).sum())
    assert record.onset_s.min() >= window.start_s - 0.01
    assert record.offset_s.max() <= window.stop_s + 0.01


def test_a_reading_without_samples_is_skipped_or_kept(tmp_path):
    specs = [*SPECS, Spec("99c", "99R4", fault="unsampled")]
    summary, _ = build(tmp_path / "a", specs, gaze="samples")
    assert [(f["id"], f["reason"]) for f in summary.failures] == [("99c", "no_gaze")]
    assert "no raw gaze samples" in summary.failures[0]["message"]
    summary, _ = build(tmp_path / "c", [*SPECS, Spec("99c", "99R4", fault="backwards")], gaze="samples")
    assert [(f["id"], f["reason"]) for f in summary.failures] == [("99c", "bad_table")]
    assert "raw gaze: time_s must be finite and ascending" in summary.failures[0]["message"]
    _, cache = build(tmp_path / "b", specs, gaze="samples", keep_no_gaze=True)
    assert len(cache[cache.ids.index("99c")].gaussians) == 0


def test_a_reading_may_have_samples_and_no_fixation(tmp_path):
    readings = source(SPECS)
    whole = readings.load

    def without_fixations(entry: Entry) -> Reading:
        reading = whole(entry)
        return dataclasses.replace(reading, fixations=reading.fixations.iloc[:0])

    readings.load = without_fixations
    write_images(tmp_path / "images", SPECS)
    summary = build_heatmaps(readings, tmp_path / "images", tmp_path / "cache", gaze="samples", **SMALL)
    assert (summary.failures, summary.readings) == ([], 3)


def test_the_command_line_takes_both(tmp_path):
    root, images = write_reflacx(tmp_path / "reflacx"), tmp_path / "images"
    images.mkdir()
    for image_id, (height, width) in ((DICOM_A, (120, 160)), (DICOM_B, (250, 201))):
        slope = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
        Image.fromarray(slope).save(images / f"{image_id}.png")
    code, out, _ = run_gazekit(
        "build-heatmaps", root, tmp_path / "cache", "--dataset", "reflacx", "--images", images, "--from", "samples",
        "--window", "sentences", "--executor", "serial", "--image-size", "32", "--json",
    )  # fmt: skip
    assert code == 1  # the discarded reading
    assert json.loads(out)["skipped"] == {"no_gaze": 1}
    cache = open_cache(tmp_path / "cache")
    assert cache.ids == ["P102R000111.s00", "P102R000444.s00", "P300R000333.s00"]
    assert cache[0].readings[0]["window"]["text"] == "heart enlarged, lungs clear."
    assert len(cache[0].gaussians) == 3


def test_a_cache_in_which_nothing_could_be_used_is_said_to_be_empty(tmp_path):
    root, images = write_reflacx(tmp_path / "reflacx"), tmp_path / "images"
    images.mkdir()
    options = ("--dataset", "reflacx", "--images", images, "--executor", "serial", "--image-size", "32", "--json")
    code, out, said = run_gazekit("build-heatmaps", root, tmp_path / "empty", *options)
    assert (code, json.loads(out)["images"]) == (1, 0)
    assert "nothing could be used" in said
    Image.fromarray(np.tile(np.arange(160, dtype=np.uint8), (120, 1))).save(images / f"{DICOM_A}.png")
    code, out, said = run_gazekit("build-heatmaps", root, tmp_path / "cache", *options)
    assert (code, json.loads(out)["images"]) == (1, 1)
    assert "nothing could be used" not in said


def test_no_gaze_in_the_samples_is_named_as_such():
    with pytest.raises(RecordError, match="no raw gaze samples"):
        make_source(SPECS)["99R1"].samples()
