"""Caches, saliency maps and readers compared: scored as the metrics score, with the exit codes of the contract."""

from __future__ import annotations

import json
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run_gazekit
from memory_source import Spec, make_source, make_specs, write_images
from PIL import Image

import gazekit
from gazekit import metrics
from gazekit.build import build_heatmaps
from gazekit.cache import open_cache
from gazekit.errors import InputError, RecordError
from gazekit.metrics.compare import compare_sides
from gazekit.metrics.lesion_statistics import lesion_statistics
from gazekit.metrics.readers import compare_readers
from gazekit.reading import Readings
from gazekit.sources.saliency_maps import read_saliency_maps


@pytest.fixture(autouse=True)
def as_it_was():
    """The console sets process-wide handlers; put them back."""
    before, terminate = warnings.showwarning, signal.getsignal(signal.SIGTERM)
    yield
    warnings.showwarning = before
    signal.signal(signal.SIGTERM, terminate)


def make_cache(base: Path, name: str, specs: list[Spec], **options) -> Path:
    images = write_images(base / "images", specs)
    source = make_source(specs)
    build_heatmaps(source, images, base / name, image_size=32, grid=(4, 4), executor="serial", **options)
    return base / name


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> dict[str, Path]:
    """`one` and `two`: one reader each of the same images; `other`: with an image of its own and one without gaze."""
    base = tmp_path_factory.mktemp("compare")
    both = make_specs(4, readers=2)
    one, two = both[::2], both[1::2]
    gazeless = [Spec(two[0].image_id, None), *two[1:3], Spec("99img777", "99R777-0")]
    return {
        "one": make_cache(base, "one", one),
        "two": make_cache(base, "two", two),
        "both": make_cache(base, "both", both),
        "apart": make_cache(base, "apart", both, per="reading"),
        "other": make_cache(base, "other", gazeless, keep_no_gaze=True),
        "far": make_cache(base, "far", [Spec("99img888", "99R888-0")]),
    }


def test_scores_are_those_of_the_metrics_on_the_two_maps(caches):
    one, two = open_cache(caches["one"]), open_cache(caches["two"])
    found = compare_sides(one, two, map_size=90)
    assert list(found.scores) == one.ids
    scores = found.scores[one.ids[2]]
    first, second = one.prior(2), two.prior(2)  # 90 x 70 pixels: the maps have the image's size
    points, off = metrics.on_map(second.gaussians[:, :2], second.image_shape)
    others = np.concatenate([two.prior(i).gaussians[:, :2] for i in (0, 1, 3)])
    assert scores["nss"] == pytest.approx(metrics.nss(first.heatmap(), points))
    assert scores["kl"] == pytest.approx(metrics.kl(first.heatmap(), second.heatmap()))
    assert scores["sauc"] == metrics.sauc(first.heatmap(), points, metrics.on_map(others, second.image_shape)[0])
    assert scores["ig_uniform_bits"] == pytest.approx(metrics.ig(first.heatmap(), points, "uniform"))
    paths = [np.column_stack([t[:, :2], t[:, 11] - t[:, 10]]) for t in (one.fixations(2), two.fixations(2))]
    assert scores["dtw_px"] == pytest.approx(metrics.dtw(*paths))
    expected = metrics.multimatch(*paths, image_shape=second.image_shape)
    assert scores["multimatch_position"] == pytest.approx(expected.position)
    assert found.mean["cc"] == pytest.approx(np.mean([row["cc"] for row in found.scores.values()]))
    assert 0 <= off <= found.counts["fixations_off_image"]


def test_a_cache_agrees_with_itself(caches):
    cache = open_cache(caches["one"])
    mean = compare_sides(cache, cache).mean
    assert (mean["cc"], mean["sim"], mean["kl"]) == pytest.approx((1, 1, 0), abs=1e-6)
    assert (mean["multimatch_vector"], mean["scanmatch"], mean["dtw_px"]) == pytest.approx((1, 1, 0))
    assert mean["auc_judd"] > 0.8


def test_rows_of_a_cache_per_reading_are_joined_by_image(caches):
    both, apart = open_cache(caches["both"]), open_cache(caches["apart"])
    assert len(apart) == 2 * len(both)
    mean = compare_sides(apart, both).mean
    assert (mean["cc"], mean["kl"]) == pytest.approx((1, 0), abs=1e-6)


def test_the_command_prints_means_and_rows(caches):
    code, out, _ = run_gazekit("compare", caches["one"], caches["two"], "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["images"], said["skipped"], said["only_in_a"], len(said["rows"])) == (4, 0, 0, 4)
    assert said["mean"]["nss"] == pytest.approx(np.mean([row["nss"] for row in said["rows"]]))
    code, out, _ = run_gazekit("compare", caches["one"], caches["two"])
    assert code == 0
    assert "mean auc judd" in out


def test_an_image_without_gaze_is_listed_and_exits_1(caches):
    code, out, _ = run_gazekit("compare", caches["one"], caches["other"], "--json")
    said = json.loads(out)
    assert code == 1
    assert (said["images"], said["only_in_a"], said["only_in_b"]) == (2, 1, 1)
    assert [failure["reason"] for failure in said["failures"]] == ["no_gaze"]
    code, _, err = run_gazekit("compare", caches["one"], caches["other"], "--strict")
    assert code == 2
    assert "no_gaze" in err


def test_caches_without_a_common_image_exit_2(caches):
    code, _, err = run_gazekit("compare", caches["one"], caches["far"])
    assert code == 2
    assert "no image in common" in err
    code, _, err = run_gazekit("compare", caches["one"], caches["one"].parent / "absent")
    assert code == 2


def test_a_single_common_image_has_no_shuffled_auc(caches):
    far = open_cache(caches["far"])
    found = compare_sides(far, far)
    assert found.mean["sauc"] is None
    with pytest.raises(InputError, match="map_size"):
        compare_sides(far, far, map_size=0)


def write_maps(folder: Path, cache, shape: tuple[int, int]) -> Path:
    """The maps of a cache's priors as a model would write them: half .npy of any scale, half 16-bit .png."""
    folder.mkdir()
    for i, image_id in enumerate(cache.ids):
        dense = cache.prior(i).heatmap(shape)
        if i % 2:
            Image.fromarray(np.rint(60_000 * dense / dense.max()).astype(np.uint16)).save(folder / f"{image_id}.png")
        else:
            np.save(folder / f"{image_id}.npy", 7 * dense)
    return folder


def test_saliency_maps_score_as_the_cache_they_were_made_from(caches, tmp_path):
    one, two = open_cache(caches["one"]), open_cache(caches["two"])
    maps = read_saliency_maps(write_maps(tmp_path / "maps", one, one.prior(0).image_shape))
    expected, found = compare_sides(one, two, map_size=90), compare_sides(maps, two)
    assert list(found.scores) == list(expected.scores)
    for i, image_id in enumerate(one.ids):
        # 16 bits turn the faint parts into zero: what looks at ranks or logarithms sees that
        names, tolerance = ("nss", "cc", "sim"), 2e-3
        if i % 2 == 0:
            names, tolerance = (*names, "auc_judd", "sauc", "kl", "ig_uniform_bits"), 1e-5
        for name in names:
            assert found.scores[image_id][name] == pytest.approx(expected.scores[image_id][name], rel=tolerance), name
    assert found.mean["multimatch_vector"] is found.mean["scanmatch"] is None
    backwards = compare_sides(two, maps)
    assert backwards.mean["cc"] == pytest.approx(expected.mean["cc"], rel=1e-3)
    assert backwards.mean["nss"] is None, "a saliency map has no fixations"
    itself = compare_sides(maps, maps).mean
    assert (itself["cc"], itself["sim"]) == pytest.approx((1, 1))


def test_maps_that_cannot_be_scored_are_listed(caches, tmp_path):
    one = open_cache(caches["one"])
    folder = write_maps(tmp_path / "maps", one, (24, 32))
    first, second, third, _ = one.ids
    (folder / f"{first}.npy").write_bytes(b"\x93NUMPY not an array")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8) + np.array([1, 2, 3], np.uint8)).save(folder / f"{second}.png")
    np.save(folder / f"{third}.npy", np.full((24, 32), np.nan))
    code, out, _ = run_gazekit("compare", folder, caches["two"], "--json")
    said = json.loads(out)
    assert code == 1
    assert said["images"] == 1
    assert {f["image_id"]: f["reason"] for f in said["failures"]} == {
        first: "not_image",
        second: "not_grey",
        third: "not_image",
    }
    np.save(folder / f"{third}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(RecordError, match="array of numbers"):
        read_saliency_maps(folder).load(third)


def test_a_folder_that_holds_no_maps_exits_2(caches, tmp_path):
    code, _, err = run_gazekit("compare", tmp_path, caches["one"])
    assert code == 2
    assert "no <image id>.npy or .png" in err
    np.save(tmp_path / "99a.npy", np.ones((2, 2)))
    Image.new("L", (2, 2)).save(tmp_path / "99a.png")
    with pytest.raises(InputError, match="both maps of 99a"):
        read_saliency_maps(tmp_path)
    (tmp_path / "99a.png").rename(tmp_path / "9 9.png")
    with pytest.raises(InputError, match="cannot be an image id"):
        read_saliency_maps(tmp_path)


def test_maps_of_two_sizes_are_a_mismatch(tmp_path, caches):
    one = open_cache(caches["one"])
    maps = [
        read_saliency_maps(write_maps(tmp_path / name, one, shape)) for name, shape in (("a", (8, 8)), ("b", (8, 9)))
    ]
    with pytest.raises(InputError, match="size_mismatch 4"):
        compare_sides(*maps)


@pytest.mark.parametrize("built", ["both", "apart"])
def test_readers_of_a_cache_are_compared_with_each_other(caches, built):
    one, two = open_cache(caches["one"]), open_cache(caches["two"])
    found = compare_readers(open_cache(caches[built]), map_size=90)
    assert found.counts == {
        "single_reading": 0,
        "fixations_off_image": pytest.approx(found.counts["fixations_off_image"]),
    }
    forth, back = compare_sides(one, two, map_size=90), compare_sides(two, one, map_size=90)
    for image_id, scores in found.scores.items():
        assert scores["readings"] == 2
        for name in ("cc", "sim", "multimatch_position", "scanmatch", "dtw_px"):
            assert scores[name] == pytest.approx(forth.scores[image_id][name], rel=1e-5), name
        for name in ("kl", "nss", "auc_judd"):
            both = forth.scores[image_id][name], back.scores[image_id][name]
            assert scores[name] == pytest.approx(np.mean(both), rel=1e-5), name


def test_a_cache_with_one_reader_has_no_agreement(caches):
    code, _, err = run_gazekit("compare", caches["one"])
    assert code == 2
    assert "no image has more than one reading" in err
    code, out, _ = run_gazekit("compare", caches["both"], "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["images"], said["single_reading"]) == (4, 0)
    assert said["rows"][0]["readings"] == 2
    with pytest.raises(InputError, match="map_size"):
        compare_readers(open_cache(caches["both"]), map_size=0)


SAMPLE = Path("data/sample/reflacx")


@pytest.fixture(scope="module")
def sample_cache(tmp_path_factory) -> Path:
    """Two images of the sample with marked lesions, three readings of one, and one image without any."""
    base = tmp_path_factory.mktemp("lesions")
    readings = gazekit.read_reflacx(SAMPLE)
    marked = {readings[i].image_id for i in ("P101R995231", "P300R991643", "P300R993534")}
    chosen = Readings(
        "reflacx", [e for e in readings.entries if e.image_id in marked], readings.load, digest=readings.digest
    )
    build_heatmaps(chosen, SAMPLE.parent / "mimic-cxr", base / "cache", image_size=32, grid=(4, 4), executor="serial")
    return base / "cache"


def test_gaze_on_lesions_is_that_of_each_reading_on_its_own_ellipses(sample_cache):
    found = lesion_statistics(open_cache(sample_cache), map_size=64)
    assert set(found.scores) == {"P101R995231", "P101R996894", "P101R998518", "P300R991643"}
    assert found.without_regions == 1
    readings = gazekit.read_reflacx(SAMPLE)
    for reading_id, scores in found.scores.items():
        reading = readings[reading_id]
        corners = reading.ellipses[["xmin_px", "ymin_px", "xmax_px", "ymax_px"]].to_numpy()
        each, union = metrics.lesion_gaze(reading.fixations, corners, outline="ellipse")
        assert scores["dwell_share"] == pytest.approx(union.dwell_share)
        assert scores["first_fixation_s"] == pytest.approx(union.first_fixation_s)
        assert scores["hit_share"] == np.mean([one.fixations > 0 for one in each])
        dense = gazekit.heatmap(reading.fixations, image_shape=reading.image_shape, out_shape=(64, 64))
        assert scores["ncc"] == pytest.approx(
            metrics.lesion_ncc(dense, corners, image_shape=reading.image_shape), abs=1e-6
        )
    # the average location: the mean over the other two images, each the mean of its readings
    others = []
    for ids in (["P300R991643"], ["P300R993534"]):
        maps = [
            gazekit.heatmap(readings[i].fixations, image_shape=readings[i].image_shape, out_shape=(64, 64)) for i in ids
        ]
        others.append(np.mean(maps, axis=0))
    reading = readings["P101R995231"]
    corners = reading.ellipses[["xmin_px", "ymin_px", "xmax_px", "ymax_px"]].to_numpy()
    expected = metrics.lesion_ncc(np.sum(others, axis=0), corners, image_shape=reading.image_shape)
    assert found.scores["P101R995231"]["ncc_average"] == pytest.approx(expected, abs=1e-6)


def test_the_lesions_command_prints_means_and_rows(sample_cache, caches):
    code, out, _ = run_gazekit("lesions", sample_cache, "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["readings"], said["without_regions"], len(said["rows"])) == (4, 1, 4)
    assert said["mean"]["ncc"] == pytest.approx(np.mean([row["ncc"] for row in said["rows"]]))
    cache = open_cache(caches["one"])
    with pytest.raises(InputError, match="no reading with ellipses"):
        lesion_statistics(cache)
    assert set(lesion_statistics(cache, regions="boxes").scores) == {f"99R{i:03}-0" for i in range(4)}
    with pytest.raises(InputError, match="ellipses or boxes"):
        lesion_statistics(cache, regions="lesions")
    with pytest.raises(InputError, match="map_size"):
        lesion_statistics(cache, map_size=0)
