"""Linear evaluation end to end on invented images: its figures, its files, and what it must never do."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_images import CLASSES, write_labelled, write_weights
from sklearn.metrics import average_precision_score, roc_auc_score

from vpmim.audit import EvaluationError, overlap
from vpmim.comparison import compare_runs
from vpmim.datasets import LabelledImages, read_dataset
from vpmim.evaluate import linear_eval
from vpmim.evaluation import HeldOutLabels, labelled_share
from vpmim.export import load_encoder
from vpmim.features import PIXEL_SIDE, weights_fingerprint
from vpmim.images import fit_square, read_grey
from vpmim.probe import ProbeError, fit_probe
from vpmim.results import ResultsError, SystemScores, TestScores, measured, read_results
from vpmim.results_table import render_table

DRAWS = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def evaluated(data, weights, tmp_path_factory) -> Path:
    """One evaluation with controls."""
    out = tmp_path_factory.mktemp("evaluated") / "eval"
    linear_eval(weights, data=data, out=out, controls=True, seeds=2, draws=DRAWS)
    return out


def scores_of(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "scores.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_figures_are_those_of_the_scores_that_are_written(evaluated):
    results, scores = read_results(evaluated), scores_of(evaluated)
    for system, key in {"encoder": "scores_encoder", "raw pixels": "scores_raw_pixels"}.items():
        for column, name in enumerate(CLASSES[:2]):
            figures = results["systems"][system]["classes"][name]
            label, score = scores["labels"][:, column], scores[key][0, :, column]
            assert figures["auc"]["value"] == pytest.approx(roc_auc_score(label, score))
            assert figures["ap"]["value"] == pytest.approx(average_precision_score(label, score))
            assert figures["positives"] == label.sum()
            assert figures["auc"]["low"] <= figures["auc"]["value"] <= figures["auc"]["high"]
    assert results["scores"]["sha256"] == hashlib.sha256((evaluated / "scores.npz").read_bytes()).hexdigest()


def test_the_mean_is_unweighted_over_classes_that_have_a_figure(evaluated):
    results = read_results(evaluated)
    encoder = results["systems"]["encoder"]
    values = [figures["auc"]["value"] for figures in encoder["classes"].values()]
    assert encoder["mean"]["auc"]["value"] == pytest.approx(sum(values) / 2)
    assert list(encoder["classes"]) == ["blob", "chance"]
    assert results["left_out"] == [{"class": "never", "part": "test", "reason": "0 positives and 24 negatives in test"}]


def test_what_can_be_seen_is_found_and_what_cannot_is_not(evaluated):
    classes = read_results(evaluated)["systems"]["raw pixels"]["classes"]
    assert classes["blob"]["auc"]["value"] > 0.9
    assert classes["chance"]["auc"]["low"] < 0.5 < classes["chance"]["auc"]["high"]


def test_differences_are_paired_and_the_random_encoder_is_the_mean_of_its_seeds(evaluated):
    results = read_results(evaluated)
    systems = results["systems"]
    for other in ("random encoder", "raw pixels"):
        difference = results["differences"][other]
        ours, theirs = systems["encoder"]["mean"]["auc"]["value"], systems[other]["mean"]["auc"]["value"]
        assert difference["mean"]["auc"]["value"] == pytest.approx(ours - theirs)
        assert 0 < difference["mean"]["p_bootstrap"] <= 1
        assert 0 < difference["classes"]["blob"]["p_delong"] <= 1
    repeated = systems["random encoder"]["repetitions"]
    assert repeated["over"] == "random weights"
    assert systems["random encoder"]["mean"]["auc"]["value"] == pytest.approx(np.mean(repeated["mean_auc"]))
    assert repeated["standard_deviation"] == pytest.approx(np.std(repeated["mean_auc"], ddof=1))


def test_an_evaluation_repeated_gives_the_same_bytes(evaluated, data, weights, tmp_path):
    linear_eval(weights, data=data, out=tmp_path, controls=True, seeds=2, draws=DRAWS)
    for name in ("results.json", "scores.npz"):
        assert (tmp_path / name).read_bytes() == (evaluated / name).read_bytes()


def test_the_results_say_what_it_takes_to_audit_them(evaluated, data, weights):
    results = read_results(evaluated)
    labelled = read_dataset("folder", data)
    assert results["protocol"] == "cached"
    assert results["split"]["name"] == "as given"
    for part in ("train", "val", "test"):
        ids = sorted(name for name, where in zip(labelled.ids, labelled.parts, strict=True) if where == part)
        digest = hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()
        assert results["split"][part]["sha256"] == results["split"][part]["sha256_listed"] == digest
        assert results["split"][part]["images"] == len(ids)
    assert results["encoder"]["weights_sha256"] == weights_fingerprint(load_encoder(weights))
    assert len(results["preprocessing"]["fingerprint"]) == 64
    assert results["controls"] == {"pixel_side": PIXEL_SIDE, "random_seeds": [0, 1]}
    assert set(results["versions"]) >= {"python", "torch", "timm", "numpy", "gazekit"}
    assert results["bootstrap"] == {
        "draws": DRAWS,
        "seed": 0,
        "unit": "patient",
        "patients": 12,
        "interval": "95% percentile",
    }
    assert set(results["choice"]["encoder"][0]["C"]) == set(CLASSES)
    # nothing of this machine
    assert str(data) not in (evaluated / "results.json").read_text()


def test_the_test_labels_change_no_score(evaluated, data, weights, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    rows = [line.split(",") for line in (data / "labels.csv").read_text().splitlines()]
    for row in rows:
        if row[5] == "test":
            row[2] = str(1 - int(row[2]))
    (other / "labels.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    linear_eval(weights, data=other, out=tmp_path / "eval", controls=True, seeds=2, draws=DRAWS)
    before, after = scores_of(evaluated), scores_of(tmp_path / "eval")
    assert not np.array_equal(before["labels"], after["labels"])
    for key in ("scores_encoder", "scores_random_encoder", "scores_raw_pixels"):
        np.testing.assert_array_equal(before[key], after[key])


def test_test_labels_can_be_read_once():
    held_out = HeldOutLabels(np.zeros((2, 1)))
    assert held_out.read().shape == (2, 1)
    with pytest.raises(RuntimeError, match="nothing may be fitted"):
        held_out.read()


def test_raw_pixels_are_the_image_at_the_stated_size(evaluated, data):
    """The whole control by hand: stored square, antialiased reduction, probe."""
    import torch

    labelled = read_dataset("folder", data)
    squares = np.stack([fit_square(read_grey(path), 37)[0] for path in labelled.paths])
    reduced = torch.nn.functional.interpolate(
        torch.from_numpy(squares)[:, None].float() / 255,
        size=(PIXEL_SIDE, PIXEL_SIDE),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    features = reduced.flatten(1).numpy()
    results, scores = read_results(evaluated), scores_of(evaluated)
    assert results["preprocessing"]["stored_size"] == 37
    train, test = labelled.rows("train"), labelled.rows("test")
    c = results["choice"]["raw pixels"][0]["C"]["blob"]
    expected = fit_probe(features[train], labelled.labels[train][:, :1], c=c).scores(features[test])
    np.testing.assert_allclose(scores["scores_raw_pixels"][0, :, 0], expected[:, 0], atol=1e-2)


@pytest.mark.parametrize("reason", ["missing_image", "truncated"])
def test_an_image_that_cannot_be_used_stops_the_evaluation_unless_that_is_allowed(data, weights, tmp_path, reason):
    other = shutil.copytree(data, tmp_path / "data")
    name = "images/990008.png"
    if reason == "missing_image":
        (other / name).unlink()
        says = f"1 of 120 images are missing: {name}"
    else:
        (other / name).write_bytes((other / name).read_bytes()[:300])
        says = rf"1 of 120 images cannot be read: {name} \(truncated\)"
    with pytest.raises(EvaluationError, match=says):
        linear_eval(weights, data=other, out=tmp_path / "eval", draws=DRAWS)
    assert not (tmp_path / "eval").exists()
    results = linear_eval(weights, data=other, out=tmp_path / "eval", draws=DRAWS, allow_missing=True)
    assert [(entry["id"], entry["part"], entry["reason"]) for entry in results["skipped"]] == [(name, "test", reason)]
    test = results["split"]["test"]
    assert (test["images"], test["images_listed"]) == (23, 24)
    assert test["sha256"] != test["sha256_listed"]
    assert name not in scores_of(tmp_path / "eval")["ids"]


def test_a_data_set_without_one_readable_image_is_refused_even_so(data, weights, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    for path in (other / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(EvaluationError, match="no image of folder can be read"):
        linear_eval(weights, data=other, out=tmp_path / "eval", allow_missing=True)


def test_a_share_of_the_labels_is_repeated_and_its_spread_told(data, weights, tmp_path):
    results = linear_eval(weights, data=data, out=tmp_path, fraction=0.5, seeds=3, draws=DRAWS)
    repeated = results["systems"]["encoder"]["repetitions"]
    assert repeated["over"] == "label fraction"
    assert len(set(repeated["mean_auc"])) == 3
    assert results["systems"]["encoder"]["mean"]["auc"]["value"] == pytest.approx(np.mean(repeated["mean_auc"]))
    assert scores_of(tmp_path)["scores_encoder"].shape == (3, 24, 3)


def test_a_class_that_a_share_of_the_labels_cannot_teach_is_left_out(data, weights, tmp_path):
    lines = (data / "labels.csv").read_text().splitlines()
    # "never" gets positives in test, and one single positive in training
    columns = [line.split(",") for line in lines]
    positive = iter([True])
    for row in columns[1:]:
        row[4] = "1" if row[5] == "test" else str(int(row[5] == "train" and next(positive, False)))
        if row[5] == "test" and row[1].endswith("4"):
            row[4] = "0"
    other = shutil.copytree(data, tmp_path / "data")
    (other / "labels.csv").write_text("\n".join(",".join(row) for row in columns) + "\n")
    results = linear_eval(weights, data=other, out=tmp_path / "eval", fraction=0.3, seeds=3, draws=DRAWS)
    assert [(entry["class"], entry["part"]) for entry in results["left_out"]] == [("never", "train")]
    assert None in [choice["C"]["never"] for choice in results["choice"]["encoder"]]


def test_shares_of_the_labels_are_nested_counted_down_and_differ_by_seed():
    ids = [f"99{k}" for k in range(1250)]
    one, ten = (set(labelled_share(ids, share, seed=0)) for share in (0.01, 0.1))
    assert (len(one), len(ten)) == (12, 125)
    assert one < ten
    assert ten != set(labelled_share(ids, 0.1, seed=1))
    assert len(labelled_share(ids[:3], 0.01, seed=0)) == 1
    assert labelled_share(ids, 1, seed=5).tolist() == list(range(1250))


def test_images_of_pretraining_are_sought_in_the_test_part(data, weights, tmp_path):
    # 8 is a test image, by name and by path; 0 is a training image
    (tmp_path / "ids.txt").write_text("990008\nimages/990009.png\n990000\nelsewhere\n")
    results = linear_eval(weights, data=data, out=tmp_path / "eval", draws=DRAWS, pretrain_ids=tmp_path / "ids.txt")
    assert results["pretraining_overlap"] == {
        "pretraining_ids": 4,
        "in_test": 2,
        "ids": ["images/990008.png", "images/990009.png"],
    }


@pytest.mark.parametrize(
    ("listed", "seen"),
    [
        ("1.2.840.77.dcm", True),  # the id without its ending, which is no part of it
        ("files/p99/s99/1.2.840.77.dcm", True),
        ("p99.s99.1.2.840.77", True),  # as a cache names it
        ("1.2.840", False),
        ("1.2.840.7", False),
        ("77.png.1.2.840", False),
    ],
)
def test_images_of_pretraining_are_found_by_dicom_names_and_ids_of_a_cache(listed, seen):
    ids = ("1.2.840.75", "1.2.840.76", "1.2.840.77")
    used = LabelledImages(
        dataset="siim",
        split="own",
        paths=tuple(map(Path, ids)),
        ids=ids,
        patients=ids,
        labels=np.zeros((3, 1)),
        classes=("Pneumothorax",),
        parts=("train", "val", "test"),
    )
    assert overlap(used, frozenset([listed]))["ids"] == (["1.2.840.77"] if seen else [])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"protocol": "adam"}, "protocol: expected cached, sgd, sgd_nih, mae, got 'adam'"),
        ({"protocol": "sgd", "controls": True}, "controls belong to"),
        ({"protocol": "sgd", "seeds": 4}, "has 1 to 3, got 4"),
        ({"fraction": 0.0}, "fraction"),
        ({"fraction": 1.5}, "fraction"),
        ({"seeds": 0}, "seeds"),
        ({"draws": 0}, "draws"),
        ({"features": "all"}, "cls, mean, both, last4"),
        ({"device": "tpu"}, "device"),
        ({"dataset": "chest"}, "there are chestxray14"),
        ({"pretrain_ids": "nowhere.txt"}, "nowhere.txt"),
        ({"data": "nowhere"}, "no folder"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(data, weights, tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        linear_eval(weights, **{"data": data, "out": tmp_path / "eval"} | options)
    assert not (tmp_path / "eval").exists()


def test_results_that_could_not_be_written_are_not_computed(data, weights, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match="is a file"):
        linear_eval(weights, data=data, out=tmp_path / "file")
    monkeypatch.setattr("vpmim.evaluate.extract", lambda *_, **__: pytest.fail("it went on"))
    with pytest.raises(NotADirectoryError):
        linear_eval(weights, data=data, out=tmp_path / "file" / "deeper" / "eval")
    monkeypatch.setattr("gazekit.new_directory.os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(PermissionError):
        linear_eval(weights, data=data, out=tmp_path / "deeper" / "eval")


def test_nothing_to_learn_from_is_an_error(data, weights, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    rows = [line.split(",") for line in (data / "labels.csv").read_text().splitlines()]
    (other / "labels.csv").write_text("\n".join(",".join((*row[:2], *row[4:])) for row in rows) + "\n")
    with pytest.raises(ProbeError, match="C cannot be chosen"):
        linear_eval(weights, data=other, out=tmp_path / "eval")


def test_no_class_left_is_an_error_that_says_why():
    test = TestScores(
        ids=("1", "2"),
        patients=("991", "992"),
        classes=("x",),
        labels_NC=np.ones((2, 1)),
        systems=(SystemScores("encoder", np.zeros((1, 2, 1)), "nothing"),),
    )
    with pytest.raises(ResultsError, match="x: 2 positives and 0 negatives in test"):
        measured(test, draws=5)


def test_a_table_shows_results_side_by_side_and_marks_other_test_images(evaluated, data, weights, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    (other / "images/990008.png").unlink()
    linear_eval(weights, data=other, out=tmp_path / "eval <i>|", draws=DRAWS, allow_missing=True)
    text = render_table([evaluated, tmp_path / "eval <i>|"])
    head, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "AUC blob | AUC chance" in head
    assert len(rows) == 4
    assert len({line.replace("\\|", "").count("|") for line in [head, *rows]}) == 1
    assert "eval &lt;i&gt;\\|" in rows[3]
    value = read_results(evaluated)["systems"]["encoder"]["mean"]["auc"]["value"]
    assert f"{100 * value:.2f} (" in rows[0]
    assert ["as given *" in row for row in rows] == [False, False, False, True]
    assert "do not compare" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, ": no results.json; give folders that vpmim linear-eval wrote"),
        (
            "not json",
            "/results.json: cannot be read (Expecting value: line 1 column 1 (char 0)); remove it and evaluate anew",
        ),
        (
            "[]",
            "/results.json: not the results of this version of vpmim (format 1); remove it and evaluate anew, or name",
        ),
        (
            '{"format": 99}',
            "/results.json: not the results of this version of vpmim (format 1); remove it and evaluate",
        ),
        ('{"format": 1}', "/results.json: lacks a figure (KeyError('split')); remove it and evaluate anew"),
    ],
)
def test_what_are_no_results_is_refused_by_name_with_the_cure(tmp_path, content, says):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError, match=re.escape(f"{tmp_path}{says}")):
        render_table([tmp_path])


def test_results_that_are_nested_without_end_are_refused_by_name(tmp_path):
    (tmp_path / "results.json").write_text("[" * 100_000)
    with pytest.raises(ResultsError, match=r"/results\.json: cannot be read .*; remove it and evaluate anew"):
        read_results(tmp_path)


def altered(content: bytes) -> bytes:
    """A byte of the first compressed array is another."""
    start = 30 + content[26] + 256 * content[27] + content[28] + 256 * content[29]
    return content[:start] + b"\xff" + content[start + 1 :]


def as_npy(content: bytes) -> bytes:
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    return array.getvalue()


def with_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        with np.load(io.BytesIO(content)) as found:
            arrays = dict(found)
        written = io.BytesIO()
        np.savez(written, **arrays | {name: change(arrays[name])})
        return written.getvalue()

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"PK\x03\x04" + bytes(60),
        altered,
        as_npy,
        with_array("ids", lambda ids: ids[1:]),
        with_array("ids", lambda ids: ids.astype(object)),  # which would be unpickled
        with_array("classes", lambda classes: classes[0]),
        with_array("labels", lambda labels: labels.astype(str)),
        with_array("labels", lambda labels: labels[:, 1:]),
        with_array("scores_encoder", lambda scores: scores[0]),
        with_array("scores_encoder", lambda scores: scores[:0]),
    ],
)
def test_damaged_scores_are_named_with_the_cure(evaluated, tmp_path, damage):
    content = (evaluated / "scores.npz").read_bytes()
    (tmp_path / "scores.npz").write_bytes(damage(content))
    (tmp_path / "results.json").write_bytes((evaluated / "results.json").read_bytes())
    with pytest.raises(ResultsError, match=r"/scores\.npz: cannot be read .*; remove results\.json beside it and eval"):
        compare_runs(tmp_path, evaluated, draws=5)


def test_a_table_names_the_results_that_lack_a_figure(evaluated, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    record = read_results(evaluated)
    del record["systems"]["encoder"]["mean"]["auc"]["low"]
    (other / "results.json").write_text(json.dumps(record))
    with pytest.raises(ResultsError, match=r"other/results\.json: lacks a figure \(KeyError\('low'\)\); remove it"):
        render_table([evaluated, other])


def test_results_hold_null_where_a_figure_is_undefined(evaluated):
    text = (evaluated / "results.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["choice"]["encoder"][0]["validation_auc"]["never"] is None
    assert math.isfinite(json.loads(text)["systems"]["encoder"]["mean"]["auc"]["low"])


def test_features_are_kept_and_serve_another_fraction_without_a_second_pass(data, weights, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    first = linear_eval(weights, data=data, out=tmp_path / "a", draws=DRAWS, feature_cache=kept)
    assert len(list(kept.glob("*.npz"))) == 1
    monkeypatch.setattr("vpmim.evaluate.extract", lambda *_, **__: pytest.fail("a second pass"))
    again = linear_eval(weights, data=data, out=tmp_path / "b", draws=DRAWS, feature_cache=kept)
    assert again["systems"] == first["systems"]
    linear_eval(weights, data=data, out=tmp_path / "c", draws=DRAWS, fraction=0.5, seeds=2, feature_cache=kept)


def test_other_images_weights_or_features_are_never_taken_from_what_is_kept(data, weights, tmp_path):
    kept = tmp_path / "kept"
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    linear_eval(weights, data=copy, out=tmp_path / "a", draws=DRAWS, feature_cache=kept)
    linear_eval(weights, data=copy, out=tmp_path / "b", draws=DRAWS, features="mean", feature_cache=kept)
    linear_eval(write_weights(tmp_path / "w", seed=8), data=copy, out=tmp_path / "c", draws=DRAWS, feature_cache=kept)
    image = next((copy / "images").iterdir())
    image.write_bytes((data / "images" / "990001.png").read_bytes() + b"\0")
    linear_eval(weights, data=copy, out=tmp_path / "d", draws=DRAWS, feature_cache=kept)
    assert len(list(kept.glob("*.npz"))) == 4


def test_damaged_features_are_computed_again(data, weights, tmp_path):
    kept = tmp_path / "kept"
    first = linear_eval(weights, data=data, out=tmp_path / "a", draws=DRAWS, feature_cache=kept)
    file = next(kept.iterdir())
    file.write_bytes(file.read_bytes()[:500])
    with pytest.warns(UserWarning, match="damaged"):
        again = linear_eval(weights, data=data, out=tmp_path / "b", draws=DRAWS, feature_cache=kept)
    assert again["systems"] == first["systems"]
