"""The open chest X-ray benchmark: folds by patient, pooling chosen without the test part, folds averaged, not mixed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from benchmark_modules import BENCHMARKS, benchmark_module
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vpmim.statistics import roc_auc

make_data = benchmark_module("open_cxr", "make_data")
run = benchmark_module("open_cxr", "run")


@given(st.lists(st.integers(0, 40), min_size=50, max_size=200))
def test_each_patient_is_tested_in_one_fold_and_never_in_two_parts(numbers):
    patients = [f"p{number}" for number in numbers]
    tested = []
    for fold in range(make_data.FOLDS):
        parts = make_data.fold_parts(patients, fold)
        by_patient = {}
        for patient, part in zip(patients, parts, strict=True):
            assert by_patient.setdefault(patient, part) == part
        tested += [patient for patient, part in by_patient.items() if part == "test"]
    assert sorted(tested) == sorted(set(patients))


def test_pooling_is_chosen_for_each_fold_by_its_own_validation_images(tmp_path, monkeypatch):
    weights = tmp_path / "seed_0" / "run"
    monkeypatch.setattr(run, "read_results", lambda folder: json.loads((folder / "results.json").read_text()))
    best = {"nih_0": "both", "nih_1": "mean"}
    for part, best_there in best.items():
        for kind in run.KINDS:
            folder = run.results_folder(weights, part, kind, 1.0)
            folder.mkdir(parents=True)
            found = {"encoder": [{"validation_auc": {"pneumonia": 0.9 if kind == best_there else 0.6}}]}
            test_auc = 0.99 if kind == "cls" else 0.5  # what the test part would say
            (folder / "results.json").write_text(json.dumps({"choice": found, "systems": {"encoder": test_auc}}))
    assert {part: run.chosen_kind([weights], part, "encoder") for part in best} == best


def test_folds_draw_validation_patients_of_their_own():
    patients = [f"p{number}" for number in range(200)]
    parts = [make_data.fold_parts(patients, fold) for fold in range(make_data.FOLDS)]
    chosen = [{p for p, part in zip(patients, own, strict=True) if part == "val"} for own in parts]
    shared = max(len(a & b) for i, a in enumerate(chosen) for b in chosen[:i])
    assert shared < len(chosen[0]) / 2  # of independent eighths, an eighth


def test_draws_of_labels_are_averaged_and_are_no_seeds(tmp_path):
    names = {run.RANDOM: tmp_path / "random", "MAE": tmp_path / "seed_0" / "run"}
    labels = np.array([0, 0, 1, 1], float)
    draws = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3]], float)  # AUC 1, 0 and 0.75
    for weights in names.values():
        folder = run.results_folder(weights, "kermany", "mean", 0.1)
        folder.mkdir(parents=True)
        tables = dict.fromkeys(("scores_encoder", "scores_random_encoder", "scores_raw_pixels"), draws[:, :, None])
        np.savez(folder / "scores.npz", labels=labels[:, None], patients=np.array(list("abcd")), **tables)
    sources = {name: [weights] for name, weights in names.items()}
    pooled = {name: {"kermany": "mean"} for name in sources}
    rows = run.measure(sources, ["kermany"], pooled, 0.1)
    assert [row["seeds"] for row in rows] == [1, 1, 1]
    assert [row["sd_over_seeds"] for row in rows] == [None, None, None]
    assert rows[-1]["auc"] == pytest.approx((1 + 0 + 0.75) / 3)


def test_the_auc_of_folds_is_their_mean_and_not_that_of_their_mixture(tmp_path):
    # each fold is ordered perfectly, on a scale of its own: mixed, negatives of one would beat positives of the other
    labels = [0, 0, 0, 1, 1, 1]
    names = {run.RANDOM: tmp_path / "random", "MAE": tmp_path / "seed_0" / "run"}
    for part, shift in (("nih_0", 0.0), ("nih_1", 10.0)):
        scores = np.arange(6) + shift
        noise = np.array([3, 0, 5, 1, 4, 2]) + shift
        for weights in names.values():
            folder = run.results_folder(weights, part, "mean", 1.0)
            folder.mkdir(parents=True)
            tables = {"scores_encoder": scores, "scores_random_encoder": noise, "scores_raw_pixels": noise}
            np.savez(
                folder / "scores.npz",
                labels=np.array(labels, float)[:, None],
                patients=np.array([f"{part}{row}" for row in range(6)]),
                **{key: value[None, :, None].astype(float) for key, value in tables.items()},
            )
    sources = {name: [weights] for name, weights in names.items()}
    pooled = {name: {"nih_0": "mean", "nih_1": "mean"} for name in sources}
    rows = {row["arm"]: row for row in run.measure(sources, ["nih_0", "nih_1"], pooled, 1.0)}
    assert rows["MAE"]["auc"] == 1.0
    expected = roc_auc(labels, [3, 0, 5, 1, 4, 2])
    assert rows[run.PIXELS]["auc"] == pytest.approx(expected)
    assert rows[run.PIXELS]["difference"] is None
    assert rows["MAE"]["difference"] == pytest.approx(1 - expected)
    assert rows["MAE"]["difference_low"] <= rows["MAE"]["difference"] <= rows["MAE"]["difference_high"]


@pytest.mark.slow
def test_the_benchmark_runs_by_one_command_with_its_controls_beside(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "films").mkdir()
    with (tmp_path / "index.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "source", "patient", "label"])
        for number in range(240):
            ill = number % 2
            grey = rng.integers(60, 160, (64, 64)) + 40 * ill * (np.arange(64) > 32)
            Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "films" / f"{number}.png")
            source = "kermany" if number < 120 else "nih"
            table.writerow([f"films/{number}.png", source, f"p{number}", "pneumonia" if ill else "normal"])
    (tmp_path / "few.toml").write_text('config = "mae"\nbaseline = "MAE"\n[[arm]]\nname = "MAE"\n')
    command = [
        *(sys.executable, BENCHMARKS / "open_cxr" / "run.py", tmp_path / "index.csv", tmp_path / "out"),
        *("--seeds", "1", "--devices", "cpu", "--methods", tmp_path / "few.toml", "--fractions", "0.5,1"),
        *(
            "--set",
            "train.epochs=1",
            "--set",
            "model.width=32",
            "--set",
            "model.depth=2",
            "--set",
            "train.batch_size=8",
        ),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "out" / "open_cxr.json").read_text())
    assert list(tables) == [
        "Kermany, 100% of the labels",
        "Kermany, 50% of the labels",
        "NIH, 100% of the labels",
        "NIH, 50% of the labels",
    ]
    for rows in tables.values():
        assert [row["arm"] for row in rows] == [run.PIXELS, run.RANDOM, "MAE"]
    assert tables["Kermany, 100% of the labels"][0]["auc"] > 0.9  # half of the image is brighter: pixels tell
    page = (tmp_path / "out" / "open_cxr.md").read_text()
    assert "Pooling, chosen on the validation images of each fold" in page
    assert (tmp_path / "out" / "nih_0.5.svg").stat().st_size > 1000
