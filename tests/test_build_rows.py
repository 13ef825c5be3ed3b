"""What a row of a cache is, what is left out of it and under which reason, and what the header says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from memory_source import HEIGHT, WIDTH, Spec, make_source, make_specs, write_images
from small_build import build

from gazekit.cache import open_cache


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
