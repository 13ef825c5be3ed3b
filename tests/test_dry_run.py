"""``--dry-run``, ``--version`` and the lines that say how far a long command has come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import run_gazekit, run_vpmim
from synthetic import write_folder

import gazekit
from gazekit_cli import console

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
REFLACX = (SAMPLE / "reflacx",)
OPTIONS = ("--dataset", "reflacx", "--images", SAMPLE / "mimic-cxr", "--json", "--executor", "serial")
TINY = ("--config", "demo", "--set", "model.depth=4", "--set", "decoder.width=32", "--set", "train.max_steps=3")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dry") / "cache"
    assert run_gazekit("build-heatmaps", *REFLACX, out, *OPTIONS).code == 1
    return out


def test_a_dry_build_counts_what_the_build_then_makes_and_writes_nothing(cache: Path, tmp_path: Path):
    before = run_gazekit("build-heatmaps", *REFLACX, tmp_path / "out", *OPTIONS, "--dry-run")
    assert before.code == 0, before
    assert list(tmp_path.iterdir()) == []
    said = json.loads(before.stdout)
    assert (said["rows"], said["rows_to_build"]) == (len(gazekit.open_cache(cache)),) * 2
    assert said["out"] == str(tmp_path / "out")
    assert said["missing_images"] == 0
    after = json.loads(run_gazekit("build-heatmaps", *REFLACX, cache, *OPTIONS, "--dry-run").stdout)
    assert (after["shards_done"], after["rows_to_build"]) == (1, 0)


def test_a_dry_build_refuses_what_the_build_refuses(cache: Path, tmp_path: Path):
    (tmp_path / "holiday.txt").touch()
    for out, options, cure in (
        (tmp_path, (), "neither empty nor a cache"),
        (cache, ("--grid", "7"), "grid 14x14 there"),
        (tmp_path / "holiday.txt" / "cache", (), "holiday.txt is, or lies under, a file"),
    ):
        for dry in ((), ("--dry-run",)):
            refused = run_gazekit("build-heatmaps", *REFLACX, out, *OPTIONS, *options, *dry)
            assert (refused.code, cure in refused.stderr) == (2, True), refused
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


def test_a_dry_build_counts_images_that_are_not_there(tmp_path: Path):
    (tmp_path / "none").mkdir()
    options = ("--dataset", "reflacx", "--images", tmp_path / "none", "--json", "--dry-run")
    said = json.loads(run_gazekit("build-heatmaps", *REFLACX, tmp_path / "out", *options).stdout)
    assert said["missing_images"] == said["rows"] > 0
    assert said["image_gigabytes"] == 0


def test_a_dry_training_says_what_the_training_then_does_and_writes_nothing(cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    dry = run_vpmim("train", cache, "--out", run, *TINY, "--json", "--dry-run")
    assert dry.code == 0, dry
    assert not run.exists()
    said = json.loads(dry.stdout)
    assert (said["steps"], said["done"], said["with_gaze"]) == (3, 0, said["images"])
    done = run_vpmim("train", cache, "--out", run, *TINY, "--json")
    assert done.code == 0, done
    assert [json.loads(done.stdout)[key] for key in ("steps", "out")] == [said["steps"], said["out"]]
    assert said["out"] == str(run)
    resolved = json.loads((run / "environment.json").read_text())
    assert said["parameters"] == resolved["parameters"]
    again = run_vpmim("train", cache, "--out", run, *TINY, "--json", "--dry-run")
    assert (again.code, "--resume" in again.stderr) == (2, True), "as the training itself would"
    resumed = json.loads(run_vpmim("train", cache, "--out", run, *TINY, "--json", "--dry-run", "--resume").stdout)
    assert (resumed["done"], resumed["init"]) == (3, "checkpoint of step 3")


def test_a_dry_training_says_how_often_images_that_were_read_are_visited(cache: Path, tmp_path: Path):
    folder = write_folder(tmp_path / "folder", images=48)
    asked = ("--out", tmp_path / "run", *TINY, "--set", "data.measured_share=0.5", "--json", "--dry-run")
    said = [json.loads(run_vpmim("train", *caches, *asked).stdout) for caches in ([cache], [cache, folder])]
    read = said[0]["gaze_measured"]
    assert [one["measured_visits"] for one in said] == [1, pytest.approx(0.5 * (read + 48) / read)]


PLACES = {
    "train": ("nowhere", "--config", "demo"),
    "features": ("nowhere", "nowhere"),
    "predict": ("nowhere", "nowhere"),
    "localise": ("nowhere", "--dataset", "gaze", "--data", "nowhere"),
    "ablate": ("priors", "--cache", "nowhere", "--dataset", "folder", "--data", "nowhere"),
    "reproduce": ("--reflacx", "a", "--mimic-cxr", "b", "--rsna", "c", "--chestxray14", "d"),
}
"""Commands with inputs that are not there, which they would say if they looked at them first."""
FILES = {"features": "new.npz", "predict": "new.csv"}
"""What those commands write that write a file."""


@pytest.mark.parametrize("command", PLACES)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_opened(tmp_path, monkeypatch, command):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    name = FILES.get(command, "new")
    dry = [()] if command == "localise" else [(), ("--dry-run",)]
    for more in dry:
        under = run_vpmim(command, *PLACES[command], "--out", f"file/deeper/{name}", *more)
        assert (under.code, "file is, or lies under, a file; name a folder" in under.stderr) == (2, True), under
    monkeypatch.setattr("gazekit.new_directory.os.access", lambda path, mode: Path(path).resolve() != tmp_path)
    for more in dry:
        refused = run_vpmim(command, *PLACES[command], "--out", f"deeper/{name}", *more)
        assert (refused.code, "the system refused: Permission denied" in refused.stderr) == (4, True), refused
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", FILES)
def test_a_folder_in_place_of_the_file_is_refused_before_anything_is_opened(tmp_path, command):
    out = tmp_path / FILES[command]
    out.mkdir()
    for dry in ((), ("--dry-run",)):
        refused = run_vpmim(command, *PLACES[command], "--out", out, *dry)
        assert (refused.code, "found a folder" in refused.stderr) == (2, True), refused


@pytest.mark.parametrize(("run", "name"), [(run_gazekit, "gazekit"), (run_vpmim, "vpmim")])
def test_both_programs_say_their_version(run, name):
    assert run("--version") == (0, f"{name} {gazekit.__version__}\n", "")


def test_a_program_without_a_command_prints_its_help_and_no_empty_error():
    alone = run_gazekit()
    assert alone.code == 2
    assert "error:" not in alone.stdout + alone.stderr


def test_plain_progress_tells_rate_and_time_left_of_what_takes_long(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 1.0, 5.0, 10.0])
    lines: list[str] = []
    monkeypatch.setattr(console.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(console, "note", lines.append)
    with console.progress("building", 10, "rows") as advance:
        for done in (1, 5, 10):
            advance(done)
    assert lines == ["building: 1/10 rows", "building: 5/10 rows, 1/s, 5 s left", "building: 10/10 rows"]
