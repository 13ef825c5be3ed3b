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


def test_pooling_is_chosen_by_the_validation_images_alone(tmp_path, monkeypatch):
    weights = tmp_path / "seed_0" / "run"
    monkeypatch.setattr(run, "read_results", lambda folder: json.loads((folder / "results.json").read_text()))
    best_on_test, best_on_validation = "cls", "both"
    for kind in run.KINDS:
        folder = run.results_folder(weights, "kermany", kind, 1.0)
        folder.mkdir(parents=True)
        found = {"encoder": [{"validation_auc": {"pneumonia": 0.9 if kind == best_on_validation else 0.6}}]}
        test_auc = 0.99 if kind == best_on_test else 0.5
        (folder / "results.json").write_text(json.dumps({"choice": found, "systems": {"encoder": test_auc}}))
    assert run.chosen_kind([weights], ["kermany"], tmp_path, "encoder") == best_on_validation


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
    rows = {
        row["arm"]: row
        for row in run.measure(sources, ["nih_0", "nih_1"], dict.fromkeys(sources, "mean"), 1.0, tmp_path)
    }
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
    assert "Pooling, chosen on the validation images" in page
