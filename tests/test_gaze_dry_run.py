"""``--dry-run`` of ``vpmim gaze fit`` and ``gaze predict``: it counts and refuses as they do, and writes nothing."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from cli_runner import Outcome, run_gazekit, run_vpmim
from gaze_case import look_at, make_gaze, write_predicted
from synthetic import TINY, write_cache, write_folder

from vpmim.config import load_config
from vpmim.export import load_encoder
from vpmim.gaze_dry_run import forecast_fit
from vpmim.gaze_fit import fit_gaze, open_fit
from vpmim.gaze_predictor import NETWORKS, RESULTS, load_predictor
from vpmim.train import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`make_gaze`; a RUN that has seen this gaze; caches to be refused; a folder of images."""
    base = make_gaze(tmp_path_factory.mktemp("dry"), epochs=1, draws=10)
    train([base / "cache"], base / "run", load_config("vp_mim", [*TINY, "train.max_steps=1"]))
    write_cache(base / "empty", images=4, without_gaze=4)
    write_cache(base / "one", images=4, images_a_patient=4)
    write_cache(base / "large", images=4, size=96)
    away = write_cache(base / "away", images=4)
    for row in range(4):
        look_at(away, row, 1000.0)
    shutil.copytree(base / "cache", base / "begun")
    (base / "begun" / "cache.json").write_text("{}")
    shutil.copytree(base / "g", base / "damaged")
    (base / "damaged" / NETWORKS).write_bytes(b"")
    write_folder(base / "xrays", images=3)
    (base / "xrays" / "notes.txt").touch()
    (base / "nothing").mkdir()
    (base / "file").touch()
    (base / "link").symlink_to(base / "nothing")
    return base


def held(folder: Path) -> dict[Path, int]:
    """Everything in a folder, hidden or not, and when it was last changed."""
    return {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@contextmanager
def idle(*folders: Path) -> Iterator[None]:
    """Nothing is encoded, made, fitted or predicted, and nothing in the folders is another afterwards."""
    before = [held(folder) for folder in folders]
    with pytest.MonkeyPatch.context() as stopped:
        for name in ("encoder.Encoder.encode", "gaze_fit.build_network", "gaze_predictor.GazePredictor.distributions"):
            stopped.setattr(f"vpmim.{name}", lambda *_, **__: pytest.fail("it went on"))
        yield
    assert [held(folder) for folder in folders] == before


def dry(*arguments: object) -> dict:
    said = run_vpmim(*arguments, "--dry-run", "--json")
    assert said.code == 0, said
    return json.loads(said.stdout)


def notes(outcome: Outcome) -> list[str]:
    """What was said beside the summary and the lines of progress."""
    return [
        line for line in outcome.stderr.splitlines() if not line.startswith(("fitting:", "predicting:", "reading:"))
    ]


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


# fit


@pytest.mark.parametrize("model", ["head", "unet"])
def test_a_dry_fit_counts_what_the_fit_then_reports_and_writes_nothing(made, tmp_path, model):
    write_predicted(made / "g", made / "empty", tmp_path / "predicted")
    nobody = write_cache(tmp_path / "nobody", images=6, seed=3)
    look_at(nobody, 2, 1000.0)
    fit = ["gaze", "fit", made / "cache", nobody, tmp_path / "predicted", "--out", tmp_path / "g", "--epochs", 2]
    fit += ["--folds", 3, "--seed", 4, *(("--encoder", made / "weights") if model == "head" else ())]
    with idle(tmp_path, made):
        said = dry(*fit)
        shown = run_vpmim(*fit, "--dry-run")
    done = run_vpmim(*fit, "--json")
    assert done.code == 0, done
    results = json.loads((tmp_path / "g" / RESULTS).read_text())
    summed, own = json.loads(done.stdout), {"networks", "architecture", "input_size", "encoder_saw_gaze", "out"}
    assert {name: said[name] for name in said.keys() - own} == {name: results[name] for name in said.keys() - own}
    assert {name: said[name] for name in said.keys() & summed} == {name: summed[name] for name in said.keys() & summed}
    assert said["left_out"] == {"without gaze": 4, "with predicted gaze": 4, "gaze on padding only": 1}
    assert (said["images"], said["patients"], said["images_grouped_by_image_id"]) == (36 + 5, 18 + 5, 5)
    assert said["networks"] == len(load_predictor(tmp_path / "g").networks) == 4
    spec = load_encoder(made / "weights").spec
    expected = (spec.architecture, spec.input_size, "unknown") if model == "head" else (None, None, "no")
    assert (said["architecture"], said["input_size"], said["encoder_saw_gaze"]) == expected
    assert notes(shown) == notes(done)
    assert shown.stdout.startswith("gaze fit, not run\n")


def test_what_a_forecast_and_the_results_both_have_is_the_same_even_where_the_device_has_a_number(made, tmp_path):
    asked = {"encoder": made / "weights", "folds": 2, "epochs": 1, "device": "cpu:0"}
    forecast = asdict(forecast_fit(open_fit([made / "cache"], tmp_path / "g", **asked)))
    results = fit_gaze([made / "cache"], tmp_path / "g", draws=10, **asked)
    both = forecast.keys() & results.keys()
    assert both >= {"model", "images", "patients", "folds", "left_out", "encoder_saw_gaze", "device", "simulated_gaze"}
    assert {name: forecast[name] for name in both} == {name: results[name] for name in both}


def test_a_fit_and_what_opens_it_take_the_same_options_with_the_same_defaults():
    opens, fits = (inspect.signature(function).parameters for function in (open_fit, fit_gaze))
    assert {name: option for name, option in fits.items() if name not in ("draws", "progress")} == dict(opens)


def test_a_dry_fit_says_that_an_allowed_encoder_has_seen_the_gaze(made, tmp_path):
    fit = ("gaze", "fit", made / "cache", "--out", tmp_path / "g", "--encoder", made / "run", "--allow-seen-gaze")
    with idle(made, tmp_path):
        said = run_vpmim(*fit, "--dry-run", "--json")
    assert (said.code, json.loads(said.stdout)["encoder_saw_gaze"]) == (0, "yes")
    assert "it has, since run was pre-trained with the gaze of cache" in said.stderr


ENCODER = ("--encoder", "weights")


@pytest.mark.parametrize(
    ("caches", "out", "options", "says"),
    [
        ("cache", "g", ENCODER, "is there already, and is never overwritten"),
        ("cache", "file", ENCODER, "is there already, and is never overwritten"),
        ("cache", "link", ENCODER, "is there already, and is never overwritten"),
        ("cache", "file/deeper/g", ENCODER, "file is, or lies under, a file; name a folder"),
        ("cache", "new", ("--weights", "best"), "expected trained or ema"),
        ("cache", "new", ("--weights", "ema"), "give --encoder RUN"),
        ("cache", "new", (*ENCODER, "--weights", "ema"), "no moving average"),
        ("cache", "new", ("--model", "head"), "needs --encoder"),
        ("cache", "new", (*ENCODER, "--model", "unet"), "takes no --encoder"),
        ("cache", "new", ("--model", "cnn"), "one of head, unet"),
        ("cache", "new", ("--epochs", "0"), "--epochs must be at least 1"),
        ("cache", "new", ("--folds", "1"), "--folds at least 2"),
        ("cache", "new", ("--folds", "19"), "take --folds 18"),
        ("cache", "new", ("--device", "gpu"), "expected auto, cpu, cuda or cuda:N"),
        ("cache", "new", ("--encoder", "nowhere"), "no weights file"),
        ("cache", "new", ("--encoder", "run"), "--allow-seen-gaze"),
        ("nowhere", "new", ENCODER, "nowhere"),
        ("begun", "new", ENCODER, "begun"),
        ("cache large", "new", ENCODER, "differ in --image-size"),
        ("empty", "new", ENCODER, "has measured gaze"),
        ("one", "new", ENCODER, "at least two patients"),
        ("away", "new", (*ENCODER, "--folds", "2"), "on padding only"),
    ],
)
def test_a_dry_fit_refuses_what_the_fit_refuses(made, monkeypatch, caches, out, options, says):
    monkeypatch.chdir(made)
    with idle(made):
        found = [
            run_vpmim("gaze", "fit", *caches.split(), "--out", out, *options, *more) for more in ((), ("--dry-run",))
        ]
    assert found[0] == found[1]
    assert (found[0].code, says in found[0].stderr) == (2, True), found[0]


# predict


@pytest.mark.parametrize(
    ("source", "all_", "expected"),
    [
        ("cache", False, {"measured": 36, "predicted": 4, "replaced": {"measured": 0, "predicted": 0}}),
        ("cache", True, {"measured": 0, "predicted": 40, "replaced": {"measured": 36, "predicted": 0}}),
        ("again", False, {"measured": 36, "predicted": 4, "replaced": {"measured": 0, "predicted": 4}}),
        ("built", False, {"measured": 0, "predicted": 2, "skipped": 1}),
    ],
)
def test_a_dry_prediction_counts_what_the_prediction_then_reports_and_writes_nothing(
    made, tmp_path, source, all_, expected
):
    cache = made / "cache" if source == "cache" else tmp_path / "source"
    if source == "again":
        write_predicted(made / "g", made / "cache", cache)
    if source == "built":
        xrays = write_folder(tmp_path / "xrays", images=2)
        (xrays / "99broken.png").write_bytes(b"no picture")
        assert run_gazekit("build-heatmaps", xrays, cache, "--dataset", "images", "--executor", "serial").code == 1
    predict = ["gaze", "predict", made / "g", cache, "--out", tmp_path / "out", *(["--all"] if all_ else [])]
    with idle(tmp_path, made):
        said = dry(*predict)
        shown = run_vpmim(*predict, "--dry-run")
    done = run_vpmim(*predict, "--json")
    assert done.code == 0, done
    assert expected.items() <= said.items()
    summed = json.loads(done.stdout)
    both = said.keys() & summed.keys()
    assert {
        "rows",
        "measured",
        "predicted",
        "predicted_by_a_fold",
        "predicted_by_the_network_of_all",
        "skipped",
    } <= both
    assert {name: said[name] for name in both} == {name: summed[name] for name in both}
    assert (said["read_from"], said["files_to_read"], said["model"]) == ("cache", 0, "head")
    assert [line for line in notes(done) if "left out" not in line] == notes(shown)


def test_a_dry_prediction_of_files_counts_them_and_knows_what_an_interrupted_one_has_read(made, tmp_path, monkeypatch):
    predict = ("gaze", "predict", made / "g", made / "xrays", "--out", tmp_path / "out")
    with idle(tmp_path, made):
        said = dry(*predict)
    assert (said["read_from"], said["rows"], said["predicted"], said["files_to_read"]) == ("files", 3, 3, 3)
    assert said["predicted_by_a_fold"] is said["predicted_by_the_network_of_all"] is said["skipped"] is None
    with monkeypatch.context() as cut:
        cut.setattr("gazekit.predicted.write_predicted_cache", interrupted)
        assert run_vpmim(*predict).code == 3
    with idle(tmp_path, made):
        assert dry(*predict) == said | {"files_to_read": 0}
        shown = run_vpmim(*predict, "--dry-run")
    others = ("gaze", "predict", made / "g", write_folder(tmp_path / "others", images=2), "--out", tmp_path / "out")
    found = [run_vpmim(*others, *more) for more in ((), ("--dry-run",))]
    assert found[0] == found[1]
    assert (found[0].code, "other parameters or inputs" in found[0].stderr) == (2, True)
    done = run_vpmim(*predict, "--json")
    assert (done.code, json.loads(done.stdout)["rows"], json.loads(done.stdout)["predicted"]) == (0, 3, 3)
    first, *others, last = notes(shown)
    assert [first, last] == notes(done)
    assert ["no pixel of a file is read beforehand" in line for line in others] == [True]


@pytest.mark.parametrize(
    ("folder", "images", "out", "options", "says"),
    [
        ("g", "cache", "g", (), "is there already"),
        ("g", "cache", "file", (), "is there already"),
        ("g", "xrays", "link", (), "is there already"),
        ("g", "cache", "cache/new", (), "lies inside the cache"),
        ("g", "cache", "file/deeper/new", (), "file is, or lies under, a file; name a folder"),
        ("g", "xrays", "file/deeper/new", (), "file is, or lies under, a file; name a folder"),
        ("weights", "cache", "new", (), "give a folder of vpmim gaze fit"),
        ("damaged", "cache", "new", (), "damaged"),
        ("g", "nowhere", "new", (), "expected a folder of images"),
        ("g", "file", "new", (), "expected a folder of images, found a file"),
        ("g", "nothing", "new", (), "file at any depth"),
        ("g", "begun", "new", (), "begun"),
        ("g", "cache", "new", ("--device", "gpu"), "expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_dry_prediction_refuses_what_the_prediction_refuses(made, monkeypatch, folder, images, out, options, says):
    monkeypatch.chdir(made)
    predict = ("gaze", "predict", folder, images, "--out", out, *options)
    with idle(made):
        found = [run_vpmim(*predict, *more) for more in ((), ("--dry-run",))]
    assert found[0] == found[1]
    assert (found[0].code, says in found[0].stderr) == (2, True), found[0]


# both


@pytest.mark.parametrize("command", [("fit", "cache"), ("predict", "g", "cache"), ("predict", "g", "xrays")])
def test_a_folder_that_may_not_be_written_to_is_the_systems_refusal(made, monkeypatch, command):
    monkeypatch.chdir(made)
    monkeypatch.setattr("gazekit.new_directory.os.access", lambda path, mode: Path(path) != made)
    with idle(made):
        found = [run_vpmim("gaze", *command, "--out", "deeper/new", *more) for more in ((), ("--dry-run",))]
    assert found[0] == found[1]
    assert (found[0].code, "the system refused: Permission denied" in found[0].stderr) == (4, True), found[0]
