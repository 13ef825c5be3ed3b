"""Evaluation on public data sets: DICOM through a cache, splits by name, subgroups, and two runs compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import make_dicom
from labelled_images import write_labelled, write_weights
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from vpmim.comparison import compare_runs, render_differences
from vpmim.evaluate import linear_eval
from vpmim.image_source import ImagesError, cached_images
from vpmim.results import ResultsError, SystemScores, TestScores, read_results
from vpmim.subgroups import FEWEST, age_group, subgroup_figures

PATIENTS = 40


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def rsna(tmp_path_factory) -> Path:
    """A miniature of RSNA: positives are brighter in the middle."""
    root = tmp_path_factory.mktemp("rsna")
    (root / "stage_2_train_images").mkdir()
    rng = np.random.default_rng(0)
    rows = ["patientId,x,y,width,height,Target"]
    for k in range(PATIENTS):
        positive = rng.random() < 0.5
        samples = (40 + 60 * rng.random((48, 40))).astype(np.uint8)
        samples[16:32, 12:28] += np.uint8(90 * positive)
        name = f"99aa{k:04d}-11"
        make_dicom(root / "stage_2_train_images" / f"{name}.dcm", samples, syntax="jpeg-lossless")
        rows.append(f"{name},12.0,16.0,16.0,16.0,1" if positive else f"{name},,,,,0")
    (root / "stage_2_train_labels.csv").write_text("\n".join(rows) + "\n")
    return root


def run(*arguments: object):
    from vpmim_cli.main import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def evaluated(rsna, weights, tmp_path_factory) -> Path:
    """The command on a DICOM folder: it makes the cache by itself."""
    out = tmp_path_factory.mktemp("evaluated") / "eval"
    found = run("linear-eval", weights, "--dataset", "rsna", "--data", rsna, "--out", out, "--json")
    assert found.exit_code == 0, found.output
    return out


def test_a_dicom_folder_is_converted_and_evaluated_by_one_command(evaluated):
    results = read_results(evaluated)
    assert results["split"]["name"] == "MGCA 70/15/15"
    assert sum(results["split"][part]["images"] for part in ("train", "val", "test")) == PATIENTS
    assert (evaluated / "images" / "cache.json").exists()
    assert results["systems"]["encoder"]["classes"]["Lung Opacity"]["positives"] > 0


def test_the_cache_in_place_of_the_folder_gives_the_same_digits(evaluated, rsna, weights, tmp_path):
    linear_eval(weights, data=evaluated / "images", labels=rsna, dataset="rsna", out=tmp_path / "again")
    with np.load(evaluated / "scores.npz") as a, np.load(tmp_path / "again" / "scores.npz") as b:
        np.testing.assert_array_equal(a["scores_encoder"], b["scores_encoder"])


def test_the_library_names_the_command_where_it_cannot_read_dicom(rsna, weights, tmp_path):
    with pytest.raises(ImagesError, match=r"40 of 40 images are DICOM; make a cache .* --image-size .* --labels"):
        linear_eval(weights, data=rsna, dataset="rsna", out=tmp_path / "eval")


def test_a_cache_without_labels_and_labels_without_a_cache_are_refused(evaluated, rsna, weights, tmp_path):
    with pytest.raises(ImagesError, match="--labels DIR"):
        linear_eval(weights, data=evaluated / "images", dataset="rsna", out=tmp_path / "eval")
    with pytest.raises(ImagesError, match="--labels goes with a cache"):
        linear_eval(weights, data=rsna, labels=rsna, dataset="rsna", out=tmp_path / "eval")


def test_an_image_that_could_not_be_converted_is_named_and_never_silently_left_out(rsna, weights, tmp_path):
    import shutil

    root = tmp_path / "rsna"
    shutil.copytree(rsna, root)
    (root / "stage_2_train_images" / "99aa0003-11.dcm").write_bytes(b"no DICOM")
    (root / "stage_2_train_images" / "99aa0004-11.dcm").unlink()
    options = ("linear-eval", weights, "--dataset", "rsna", "--data", root, "--out")
    found = run(*options, tmp_path / "strict")
    assert found.exit_code == 1  # the runner's: the app's own entry turns the ValueError into 2
    assert "99aa0003-11 (not_dicom)" in str(found.exception)
    assert "99aa0004-11 (missing_image)" in str(found.exception)
    found = run(*options, tmp_path / "lenient", "--allow-missing")
    assert found.exit_code == 1
    skipped = {entry["id"]: entry["reason"] for entry in read_results(tmp_path / "lenient")["skipped"]}
    assert skipped == {"99aa0003-11": "not_dicom", "99aa0004-11": "missing_image"}


def test_rows_of_a_cache_are_found_by_name_stem_or_ending(evaluated):
    cache = evaluated / "images"
    names = ["99aa0001-11", "99aa0002-11.png", "99zz"]
    found = cached_images(cache, names)
    assert [None if row < 0 else found.cache.ids[row] for row in found.rows] == ["99aa0001-11", "99aa0002-11", None]
    assert found.absent() == [2]
    with pytest.raises(ImagesError, match="holds none of the 1 images"):
        cached_images(cache, ["99zz"])


def scores(n: int = 60, seed: int = 0) -> TestScores:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.5).astype(float)
    values = (labels + rng.normal(0, 1, (n, 2)))[None]
    names = tuple(f"99{k:03d}" for k in range(n))
    return TestScores(names, names, ("a", "b"), labels, (SystemScores("encoder", values, ""),))


def test_a_subgroups_figure_is_that_of_its_images_alone():
    test = scores()
    sex = ["F", "M", ""] * 20
    found = subgroup_figures(test, {"sex": sex}, draws=50)["sex"]
    assert list(found) == ["F", "M", "unknown"]
    rows = [row for row, value in enumerate(sex) if value == "M"]
    expected = roc_auc_score(test.labels_NC[rows, 0], test.systems[0].scores_SNC[0, rows, 0])
    assert found["M"]["classes"]["a"]["auc"]["value"] == pytest.approx(expected)
    assert found["M"]["images"] == 20


def test_small_groups_and_groups_of_one_label_are_counted_and_get_no_figure():
    test = scores()
    test.labels_NC[:25] = 1
    view = ["PA"] * 25 + ["AP"] * (FEWEST - 1) + ["LL"] * (60 - 25 - FEWEST + 1)
    found = subgroup_figures(test, {"view": view}, draws=20)["view"]
    assert found["AP"] == {"images": FEWEST - 1, "patients": FEWEST - 1}
    assert found["PA"] == {"images": 25, "patients": 25}


@pytest.mark.parametrize(
    ("years", "group"),
    [("17", "under 18"), ("18", "18 to 39"), ("80", "80 and over"), ("", "unknown"), ("58Y", "unknown")],
)
def test_ages_fall_into_named_groups(years, group):
    assert age_group(years) == group


def test_two_runs_are_compared_in_pairs_on_the_same_draws(tmp_path):
    data = write_labelled(tmp_path / "data")
    for seed in (1, 2):
        linear_eval(write_weights(tmp_path / f"w{seed}", seed=seed), data=data, out=tmp_path / f"run{seed}", draws=50)
    found = compare_runs(tmp_path / "run2", tmp_path / "run1", draws=200)
    one, two = (read_results(tmp_path / f"run{seed}")["systems"]["encoder"]["mean"]["auc"]["value"] for seed in (1, 2))
    assert found["mean"]["auc"]["value"] == pytest.approx(two - one)
    assert found["mean"]["auc"]["low"] <= two - one <= found["mean"]["auc"]["high"]
    same = compare_runs(tmp_path / "run1", tmp_path / "run1", draws=50)
    assert same["mean"]["auc"] == {"value": 0, "low": 0, "high": 0, "draws": 50}
    text = render_differences([tmp_path / "run1", tmp_path / "run2"])
    assert f"run2 minus run1 | {100 * (two - one):+.2f}" in text


def test_runs_of_other_test_images_do_not_compare(tmp_path):
    weights = write_weights(tmp_path / "w")
    for k, images in enumerate((60, 80)):
        linear_eval(weights, data=write_labelled(tmp_path / f"d{k}", images=images), out=tmp_path / f"run{k}", draws=20)
    with pytest.raises(ResultsError, match="other test images"):
        compare_runs(tmp_path / "run0", tmp_path / "run1")
    assert render_differences([tmp_path / "run0", tmp_path / "run1"]) == ""
    shown = run("table", tmp_path / "run0", tmp_path / "run1")
    assert shown.exit_code == 0
    assert "paired difference" not in shown.output
    assert json.loads(run("table", tmp_path / "run0", "--json").output)
