"""The planted-lesion benchmark: what is planted, who looks at it, and that nothing but the lesion tells the classes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from benchmark_modules import BENCHMARKS, benchmark_module
from PIL import Image

from vpmim.ablate import AblationSummary
from vpmim.ablation_grid import load_grid
from vpmim.encoder import build_encoder
from vpmim.schedule import plan_schedule
from vpmim.statistics import roc_auc

scene = benchmark_module("planted_lesions", "scene")
scaling = benchmark_module("planted_lesions", "scaling")

GREY = np.full((128, 112), 0.5, np.float32)


def made(name: str, *, seed: int = 0):
    """A flat grey image with its scene, and what was planted."""
    drawn = scene.draw_scene(name, GREY.shape, seed=seed)
    return scene.paint(GREY, drawn), drawn.planted


@pytest.fixture(scope="module")
def planted() -> list[tuple[np.ndarray, object]]:
    """Four hundred scenes on flat grey, where whatever is not flat was planted."""
    return [made(f"99{number:05d}") for number in range(400)]


def test_half_of_the_images_get_a_lesion_of_one_of_three_kinds(planted):
    kinds = [truth.kind for _, truth in planted]
    assert abs(kinds.count(None) - 200) < 4 * 10  # four standard deviations of a fair coin
    assert set(kinds) == {None, *scene.KINDS}


def test_a_scene_is_a_function_of_name_and_seed():
    first, again, other = (made("9900001", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert not np.array_equal(first[0], other[0])


def test_what_is_planted_lies_in_its_box_and_is_seen(planted):
    for image, truth in planted:
        change = np.abs(image - np.median(image))
        if truth.kind is None:
            assert change.max() < 1e-6
            continue
        x0, y0, x1, y1 = truth.box
        inside = np.zeros(image.shape, bool)
        inside[int(y0) : int(np.ceil(y1)) + 1, int(x0) : int(np.ceil(x1)) + 1] = True
        assert 0 <= x0 < x1 <= image.shape[1] - 1
        assert 0 <= y0 < y1 <= image.shape[0] - 1
        assert change.max() > 0.08
        assert change[inside].sum() > 0.7 * change.sum()  # an edge fades out along its length


def test_a_lesion_spans_one_to_six_patches(planted):
    patch = 128 / 8  # eight patches along the longer side
    sizes = [np.array([t.box[2] - t.box[0], t.box[3] - t.box[1]]) / patch for _, t in planted if t.box]
    area = np.array([width * height for width, height in sizes])
    assert np.quantile(area, 0.05) > 0.7
    assert np.median(area) < 6


def test_mean_brightness_does_not_tell_who_has_a_lesion(planted):
    labels = np.array([truth.kind is not None for _, truth in planted], float)
    brightness = np.array([image.mean() for image, _ in planted])
    assert abs(roc_auc(labels, brightness) - 0.5) < 0.12  # four standard errors of 400 images


def _readings(tmp_path: Path, condition: str, count: int = 60):
    images, truth = [], {}
    for number in range(count):
        name = f"99{number:05d}"
        image, truth[name] = made(name)
        Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(tmp_path / f"{name}.png")
        images.append((name, f"99p{number // 2}"))
    return scene.readings(images, truth, tmp_path, condition, 0), truth


def _share_on_lesions(readings, truth) -> float:
    """Mean share of the time within the boxes, over the readings of images with a lesion."""
    shares = []
    for name in readings.ids:
        reading = readings[name]
        box = truth[reading.image_id].box
        if box is None:
            continue
        table = reading.fixations
        seconds = (table["offset_s"] - table["onset_s"]).to_numpy()
        x, y = table["x_px"].to_numpy(), table["y_px"].to_numpy()
        inside = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
        shares.append(seconds[inside].sum() / seconds.sum())
    return float(np.mean(shares))


def test_each_worse_reader_looks_at_lesions_less_and_the_oracle_at_nothing_else(tmp_path):
    found = {}
    for condition in ("gaze", "missed_0.5", "missed_0.9", "dwell_0.1", "dwell_0.03", "error_3", "oracle"):
        found[condition] = _share_on_lesions(*_readings(tmp_path, condition, 40))
    assert found["oracle"] == 1
    assert found["gaze"] > 0.3
    assert found["gaze"] > found["missed_0.5"] > found["missed_0.9"]
    assert found["gaze"] > found["dwell_0.1"] > found["dwell_0.03"]
    assert found["gaze"] > found["error_3"]


def test_parts_are_nested_and_the_same_tenth_is_read_in_all_of_them(tmp_path):
    entries = {name: _readings(tmp_path, name, 200)[0].entries for name in (*scene.PARTS, "gaze")}
    images = {name: {entry.image_id for entry in own} for name, own in entries.items()}
    read = {name: {entry.image_id for entry in own if entry.reading_id} for name, own in entries.items()}
    assert images["scale_10"] < images["scale_25"] < images["scale_50"] < images["tenth"] == images["gaze"]
    assert read["scale_10"] == read["scale_25"] == read["scale_50"] == read["tenth"] == images["scale_10"]
    assert read["tenth"] < read["quarter"] < read["gaze"] == images["gaze"]
    assert 5 <= len(read["tenth"]) <= 40  # a tenth of 200, four standard deviations either way


@pytest.mark.parametrize("size", ["cpu", "gpu"])
def test_every_point_of_the_scaling_curve_takes_the_same_steps_and_warm_up(size):
    settings = tomllib.loads((BENCHMARKS / "sizes" / f"{size}.toml").read_text())["set"]
    images = {10: 434, 25: 1091, 50: 2170, 100: 4336}
    grid = scaling.scaling_grid(settings, (0, 1), (scaling.NONE, scaling.MEASURED, scaling.PREDICTED), images)
    schedules = {}
    for arm in grid.arms:
        schedule = plan_schedule(arm.config, images[int(arm.name.split(" ")[0])])
        schedules[arm.name] = (schedule.steps, schedule.warmup)
    assert len(schedules) == 11  # at the smallest share every image was read, so nothing is to be predicted
    assert len(set(schedules.values())) == 1
    assert grid.seeds == (0, 1)


@pytest.mark.parametrize("size", ["cpu", "gpu"])
@pytest.mark.parametrize("folder", ["planted_lesions", "open_cxr"])
def test_all_methods_of_four_scales_read_the_same_blocks(folder, size):
    settings = tomllib.loads((BENCHMARKS / "sizes" / f"{size}.toml").read_text())["set"]
    arms = load_grid(BENCHMARKS / folder / "methods.toml", settings).arms
    read = {arm.name: build_encoder(arm.config).blocks_read for arm in arms if len(arm.config.decoder.scales) == 4}
    assert len(read) >= 2
    assert len(set(read.values())) == 1, read


@pytest.mark.parametrize("option", [("--grids", "prior"), ("--grids", "priors,heads")])
def test_a_grid_that_is_none_is_refused_before_anything_is_made(tmp_path, option):
    command = [
        sys.executable,
        BENCHMARKS / "planted_lesions" / "run.py",
        tmp_path / "no.csv",
        tmp_path / "out",
        *option,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--grids: expected some of methods" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_condition_that_is_none_is_refused_and_is_no_ordinary_reader(tmp_path):
    command = [sys.executable, BENCHMARKS / "planted_lesions" / "make_data.py", tmp_path / "no.csv", tmp_path / "out"]
    done = subprocess.run([*command, "--conditions", "mised_0.5"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--conditions: expected some of gaze, oracle" in done.stderr


def test_a_benchmark_that_is_stopped_says_so_and_makes_no_table(tmp_path, monkeypatch):
    run = benchmark_module("planted_lesions", "run")
    monkeypatch.setattr(run, "make_data", lambda *_, **__: None)
    monkeypatch.setattr(run, "difficulty", lambda *_, **__: [])
    monkeypatch.setattr(run, "ablate", lambda *_, **__: AblationSummary(0, 0, [], True))
    monkeypatch.setattr(sys, "argv", ["run.py", "index.csv", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        run.main()
    assert stopped.value.code == 3
    assert not list(tmp_path.rglob("*.md"))


@pytest.mark.slow
def test_the_benchmark_runs_by_one_command_and_goes_on_where_it_was(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "films").mkdir()
    with (tmp_path / "index.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "patient"])
        for number in range(60):
            grey = rng.integers(60, 200, (96, 96), dtype=np.uint8)
            Image.fromarray(grey).save(tmp_path / "films" / f"{number}.png")
            table.writerow([f"films/{number}.png", f"patient{number // 2}"])
    command = [
        sys.executable,
        BENCHMARKS / "planted_lesions" / "run.py",
        tmp_path / "index.csv",
        tmp_path / "out",
        *("--grids", "priors", "--seeds", "1", "--supervised-epochs", "1", "--devices", "cpu"),
        *("--set", "train.epochs=1", "--set", "model.width=32", "--set", "model.depth=2"),
        *("--set", "decoder.taps=[0]", "--set", "decoder.scales=[1]", "--set", "train.batch_size=8"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "planted_lesions.md").read_text()
    rows = json.loads((tmp_path / "out" / "priors.json").read_text())
    assert {row["arm"] for row in rows} >= {"lesion oracle", "shuffled gaze", "mean map", "uniform", "no gaze"}
    assert all(f"| {row['arm']} | 1 |" in page for row in rows)
    assert "convolutional network" in page
    assert (tmp_path / "out" / "priors.svg").stat().st_size > 1000
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "6 of 6 done" in again.stdout
    assert (tmp_path / "out" / "planted_lesions.md").read_text() == page
