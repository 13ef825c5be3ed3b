"""Localisation: which patches a box covers, figures against maps made by hand, and the whole of it on small data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runner import run_vpmim
from hypothesis import given
from hypothesis import strategies as st
from labelled_images import write_weights
from PIL import Image
from synthetic import write_cache
from test_public_datasets import NIH_HEADER
from tiny import tiny_config

from vpmim import localise as module
from vpmim.audit import EvaluationError
from vpmim.evaluation import Task
from vpmim.localise import CENTRE, Found, _figures, covered_patches, localise
from vpmim.train import train


def test_a_box_takes_the_patches_it_covers_by_half_or_else_the_one_it_covers_most():
    # a square of 8 pixels, patches of 4: the left column and half of the right one
    assert covered_patches(np.array([[-0.5, -0.5, 5.5, 7.5]]), 8, (2, 2)).tolist() == [True, True, True, True]
    assert covered_patches(np.array([[-0.5, -0.5, 5.0, 7.5]]), 8, (2, 2)).tolist() == [True, False, True, False]
    # a tiny box inside one patch
    assert covered_patches(np.array([[5.0, 5.0, 5.5, 5.5]]), 8, (2, 2)).tolist() == [False, False, False, True]
    assert not covered_patches(np.array([[20.0, 20.0, 30.0, 30.0]]), 8, (2, 2)).any()


@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 6), st.integers(1, 6)), st.sampled_from([12, 17]))
def test_covered_patches_equal_a_count_of_fine_points(seed, grid, size):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-2, size, 2)
    box = np.array([[*corner, *(corner + rng.uniform(1, size, 2))]])
    rows, cols = grid
    fine = 200
    x, y = ((np.arange(n * fine) + 0.5) * size / (n * fine) - 0.5 for n in (cols, rows))
    inside = np.outer((y > box[0, 1]) & (y < box[0, 3]), (x > box[0, 0]) & (x < box[0, 2]))
    share = inside.reshape(rows, fine, cols, fine).mean(axis=(1, 3)).ravel()
    if (np.abs(share - 0.5) < 0.02).any() or share.max() < 0.52:
        return  # at the threshold a count of points decides nothing
    np.testing.assert_array_equal(covered_patches(box, size, grid), share >= 0.5)


def test_figures_are_means_over_targets_and_differences_are_paired():
    found = [
        Found("a", "p1", {"m": True, CENTRE: False}, {"m": 0.9, CENTRE: 0.5}),
        Found("a", "p2", {"m": True, CENTRE: False}, {"m": 0.7, CENTRE: 0.3}),
        Found("b", "p3", {"m": False, CENTRE: False}, {"m": 0.5, CENTRE: 0.1}),
    ]
    results = _figures(found, ["m", CENTRE], draws=200)
    assert results["maps"]["m"]["pointing"]["value"] == pytest.approx(2 / 3)
    assert results["maps"]["m"]["auc"]["value"] == pytest.approx(0.7)
    assert results["maps"]["m"]["classes"]["a"]["targets"] == 2
    assert results["maps"]["m"]["classes"]["a"]["auc"]["value"] == pytest.approx(0.8)
    difference = results["differences_from_centre"]["m"]["auc"]
    # every patient differs by the same, so that no draw changes it, however wide the intervals of both are
    assert (difference["value"], difference["low"], difference["high"]) == pytest.approx((0.4, 0.4, 0.4))


@pytest.fixture(scope="module")
def boxed(tmp_path_factory) -> Path:
    """ChestX-ray14 in miniature: a bright square, boxed, in the upper left or the lower right of wide images."""
    root = tmp_path_factory.mktemp("nih")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    rows, boxes, lists = [NIH_HEADER], ["Image Index,Finding Label,Bbox [x,y,w,h],,,"], {"train": [], "test": []}
    for k in range(24):
        name = f"99{k:06d}_000.png"
        pixels = (20 + 30 * rng.random((64, 96))).astype(np.uint8)
        x, y = (0, 0) if k % 2 else (72, 40)
        pixels[y : y + 24, x : x + 24] = 230
        Image.fromarray(pixels).save(root / "images" / name)
        rows.append(f"{name},Mass,0,99{k},50,M,PA,96,64,0.143,0.143")
        if k % 3:
            boxes.append(f"{name},Mass,{x}.0,{y}.0,24.0,24.0,,,")
        lists["test" if k >= 18 else "train"].append(name)
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    (root / "BBox_List_2017.csv").write_text("\n".join(boxes) + "\n")
    for part, file in (("train", "train_val_list.txt"), ("test", "test_list.txt")):
        (root / file).write_text("\n".join(lists[part]) + "\n")
    return root


def test_a_map_of_brightness_finds_every_bright_box_and_the_centre_none(boxed, tmp_path, monkeypatch):
    def brightness(source, encoder, *, device):
        patch = encoder.spec.input_size // encoder.grid[0]
        return {"bright": lambda grey: torch.nn.functional.avg_pool2d(grey[:, None], patch).flatten(1)}

    monkeypatch.setattr(module, "patch_maps", brightness)
    weights = write_weights(tmp_path / "w")
    results = localise(weights, Task(data=boxed, dataset="chestxray14", draws=20), tmp_path / "out")
    assert results["images"] == results["targets"] == 16
    assert results["maps"]["bright"]["pointing"]["value"] == 1
    assert results["maps"]["bright"]["auc"]["value"] == 1
    assert results["maps"][CENTRE]["auc"]["value"] <= 0.5
    assert json.loads((tmp_path / "out" / "localisation.json").read_text()) == results


def test_attention_and_expected_gaze_of_a_run_are_judged_by_measured_gaze(tmp_path):
    cache = write_cache(tmp_path / "cache", images=8, without_gaze=2, size=64)
    overrides = ["train.batch_size=4", "train.max_steps=2", "data.input_size=64"]
    train([cache], tmp_path / "run", tiny_config("vp_mim_joint", *overrides))
    results = localise(tmp_path / "run", Task(data=cache, dataset="gaze", draws=20), tmp_path / "out")
    assert list(results["maps"]) == [CENTRE, "attention", "predicted gaze"]
    assert results["targets"] == 6
    assert 0 <= results["maps"]["attention"]["auc"]["value"] <= 1


def test_the_command_says_what_it_measured_and_where_it_wrote(boxed, tmp_path):
    weights, out = write_weights(tmp_path / "w"), tmp_path / "out"
    done = run_vpmim("localise", weights, "--dataset", "chestxray14", "--data", boxed, "--out", out, "--json")
    assert done.code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["images"], said["out"], said["results"]) == (16, str(out), str(out / "localisation.json"))
    assert [row["map"] for row in said["rows"]] == [CENTRE, "attention"]


def test_a_data_set_without_boxes_or_gaze_has_nothing_to_localise(tmp_path, boxed):
    weights = write_weights(tmp_path / "w")
    cache = write_cache(tmp_path / "cache", images=4, without_gaze=4, size=64)
    with pytest.raises(EvaluationError, match="nothing to localise"):
        localise(weights, Task(data=cache, dataset="gaze"), tmp_path / "out")
    with pytest.raises(EvaluationError, match="expected a cache with gaze"):
        localise(weights, Task(data=boxed, dataset="gaze"), tmp_path / "out")
    file = boxed / "BBox_List_2017.csv"
    text = file.read_text()
    file.unlink()
    with pytest.raises(EvaluationError, match="no image has a box"):
        localise(weights, Task(data=boxed, dataset="chestxray14"), tmp_path / "out")
    file.write_text(text)
