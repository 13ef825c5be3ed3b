"""What every command shares: an example, --json, bars that tell the pace, completion, dry runs that write nothing."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_runner import run_gazekit, run_vpmim
from rich.console import Console

from gazekit_cli import console
from vpmim_cli.counting import in_turn

ROOT = Path(__file__).parents[1]
LABELLED = ("--dataset", "folder", "--data", ROOT / "data" / "sample" / "labelled")
APPS = ("gazekit", "vpmim")

LONG = {
    "gazekit": {"build-heatmaps", "gc", "export"},
    "vpmim": {
        "train",
        "linear-eval",
        "finetune",
        "features",
        "predict",
        "gaze fit",
        "gaze predict",
        "ablate",
        "reproduce",
    },
}
"""Commands that take long or that remove something, and of which something can be checked beforehand."""


def commands() -> Iterator[tuple[str, str, Any]]:
    leaves = runpy.run_path(str(ROOT / "docs" / "generate" / "reference_pages.py"))["leaf_commands"]
    for app in APPS:
        group = typer.main.get_command(importlib.import_module(f"{app}_cli.main").app)
        for name, command in leaves(group):
            yield app, name, command


COMMANDS = [pytest.param(*found, id=f"{found[0]} {found[1]}") for found in commands()]


@pytest.mark.parametrize(("app", "name", "command"), COMMANDS)
def test_every_command_has_an_example_and_one_json_object(app: str, name: str, command: Any):
    example = re.search(r"Examples?:\n\n```\n(.*?)```", command.help, re.DOTALL)
    assert example, "no example in --help"
    assert f"{app} {name} " in example[1].replace("\n", " ")
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize(("app", "name", "command"), COMMANDS)
def test_every_option_says_what_it_is(app: str, name: str, command: Any):
    silent = [p.opts[0] for p in command.params if p.param_type_name == "option" and not (p.help or "").strip()]
    assert silent == []


def test_what_takes_long_can_be_tried_first():
    dry = {(app, name) for app, name, c in commands() if any("--dry-run" in p.opts for p in c.params)}
    assert {(app, name) for app in APPS for name in LONG[app]} <= dry


# ---------------------------------------------------------------------------------------------- bars


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Stderr as a terminal of 100 columns."""
    screen = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True, width=100, color_system=None))
    return screen


def clocked(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    clock = iter(times)
    monkeypatch.setattr(console.time, "perf_counter", lambda: next(clock))


def test_a_bar_tells_how_far_how_fast_and_how_long_still(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    clocked(monkeypatch, 0, 60, 70)
    with console.progress("training", None, "steps") as advance:
        advance(1, 1001)  # a minute of compiling came before it
        advance(101)
    assert "101/1001 steps" in terminal.getvalue()
    assert "10/s, 90 s left" in terminal.getvalue()


def test_the_pace_of_what_is_resumed_leaves_out_what_was_done_before(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    clocked(monkeypatch, 0, 10, 20)
    with console.progress("training", 1000, "steps") as advance:
        advance(501)
        advance(506)
    assert "0.5/s, 0:16:28 left" in terminal.getvalue()


def test_a_bar_moves_before_anything_can_be_counted(terminal: io.StringIO):
    with console.progress("importing torch"):
        pass
    assert "importing torch" in terminal.getvalue()


def test_a_bar_inside_a_bar_takes_its_place_and_gives_it_back(terminal: io.StringIO):
    with console.progress("encoding", None, "images") as outer:
        with console.progress("converting", 2, "images") as inner:
            inner(2)
        outer(3, 3)
    text = terminal.getvalue()
    assert text.index("encoding") < text.index("2/2 images") < text.index("3/3 images")


def test_piped_progress_is_plain_lines_and_silent_where_nothing_is_counted(capsys: pytest.CaptureFixture[str]):
    with console.progress("importing torch"):
        pass
    with in_turn(("reading", "images", ""), ("training", "epochs", "scoring")) as (read, trained):
        read(2, 2)
        trained(1, 2)
        trained(2, 2)
    said = capsys.readouterr().err
    assert said.splitlines() == ["reading: 2/2 images", "training: 1/2 epochs", "training: 2/2 epochs", "scoring"]
    assert "\x1b" not in said


# ---------------------------------------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("app", "words", "offered"),
    [
        ("gazekit", "gazekit build-heatmaps in out --windowing m", {"mimic-jpg"}),
        ("gazekit", "gazekit build-heatmaps in out --dataset e", {"egd", "eyelink"}),
        ("gazekit", "gazekit export cache out --to z", {"zarr"}),
        ("vpmim", "vpmim train cache --config vp", {"vp_mim", "vp_mim_joint"}),
        ("vpmim", "vpmim linear-eval run --dataset ch", {"chestxray14", "chexpert"}),
    ],
)
def test_a_shell_is_offered_the_names_that_an_option_takes(app: str, words: str, offered: set[str]):
    asked = {f"_{app.upper()}_COMPLETE": "complete_bash", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(len(words.split()) - 1)
    script = Path(sys.executable).with_name(app)
    done = subprocess.run([script], env=os.environ | asked, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


# ---------------------------------------------------------------------------------------------- errors


def test_a_file_where_a_folder_is_needed_is_answered_with_the_cure(cache: Path, tmp_path: Path):
    (tmp_path / "taken").touch()
    for command, out, options, cure in (
        ("render", "taken", (), "taken is a file; expected a folder for the pictures"),
        ("render", "taken/x", (), "taken/x is, or lies under, a file; name a folder"),
        ("export", "taken/x", ("--to", "npy"), "taken is, or lies under, a file; name a folder"),
    ):
        refused = run_gazekit(command, cache, tmp_path / out, *options)
        assert (refused.code, cure in refused.stderr) == (2, True), refused


def test_a_folder_that_is_in_the_way_is_not_called_a_file(tmp_path: Path):
    with pytest.raises(FileExistsError) as caught:
        tmp_path.mkdir()
    assert console.describe_os_error(caught.value) == f"File exists: {tmp_path}"


def test_no_resolution_is_no_default_resolution(cache: Path, tmp_path: Path):
    refused = run_gazekit("render", cache, tmp_path / "out", "--dpi", 0)
    assert (refused.code, "dpi must be from 30 to 1200, got 0" in refused.stderr) == (2, True)


def test_the_message_about_an_option_names_the_option(tmp_path: Path):
    options = ("--dataset", "reflacx", "--images", ROOT / "data" / "sample" / "mimic-cxr", "--from", "heatmaps")
    refused = run_gazekit("build-heatmaps", ROOT / "data" / "sample" / "reflacx", tmp_path / "out", *options)
    assert (refused.code, "--from) must be one of fixations, samples" in refused.stderr) == (2, True)


# ---------------------------------------------------------------------------------------------- dry runs


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("habits") / "cache"
    options = ("--dataset", "reflacx", "--images", ROOT / "data" / "sample" / "mimic-cxr", "--limit", 3)
    run_gazekit("build-heatmaps", ROOT / "data" / "sample" / "reflacx", out, *options, "--executor", "serial")
    return out


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    out = cache.with_name("run")
    small = (
        "--set",
        "model.depth=4",
        "--set",
        "decoder.width=32",
        "--set",
        "train.max_steps=1",
        "--set",
        "train.batch_size=3",
    )
    done = run_vpmim("train", cache, "--out", out, "--config", "demo", *small)
    assert done.code == 0, done
    return out


def test_a_dry_export_counts_the_rows_and_refuses_what_the_export_refuses(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said = run_gazekit("export", cache, tmp_path / "out", "--to", "npy", "--dry-run", "--json")
    assert (said.code, json.loads(said.stdout)["rows"], list(tmp_path.iterdir())) == (0, 3, [])
    file = tmp_path / "holiday.txt"
    file.touch()
    monkeypatch.setitem(sys.modules, "zarr", None)
    for out, to, cure in (
        (tmp_path, "npy", "is there already"),
        (tmp_path / "out", "tiff", "--to must be one of"),
        (file / "a" / "b", "npy", "holiday.txt is, or lies under, a file; name a folder"),
        (tmp_path / "out", "zarr", "pip install 'gazekit[zarr]'"),
    ):
        for dry in ((), ("--dry-run",)):
            refused = run_gazekit("export", cache, out, "--to", to, *dry)
            assert (refused.code, cure in refused.stderr) == (2, True), refused


def test_a_dry_evaluation_counts_the_images_of_each_part_and_writes_nothing(run: Path, tmp_path: Path):
    for command, extra, epochs in (
        ("linear-eval", (), 0),
        ("linear-eval", ("--protocol", "sgd", "--seeds", 2), 100),
        ("finetune", ("--set", "epochs=7", "--set", "seeds=[0]"), 7),
    ):
        out = ("--out", tmp_path / "out", "--dry-run", "--json")
        said = run_vpmim(command, run, *LABELLED, *extra, *out)
        assert said.code == 0, said
        found = json.loads(said.stdout)
        assert [found[part] for part in ("train", "val", "test", "missing", "epochs")] == [100, 30, 70, 0, epochs]
        assert found["out"] == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_evaluation_refuses_what_the_evaluation_refuses(run: Path, tmp_path: Path):
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "recipe.toml").touch()
    for arguments, cure in (
        (("linear-eval", run, *LABELLED, "--out", tmp_path / "new", "--seeds", 0), "seeds: expected at least 1"),
        (("linear-eval", run / "config.toml", *LABELLED, "--out", tmp_path / "new"), "config.toml"),
        (("finetune", run, *LABELLED, "--out", begun), "holds a run already"),
        (("finetune", run, *LABELLED, "--out", tmp_path / "new", "--resume"), "holds no run to go on with"),
    ):
        for dry in ((), ("--dry-run",)):
            refused = run_vpmim(*arguments, *dry)
            assert (refused.code, cure in refused.stderr) == (2, True), (arguments, refused)


def test_a_dry_run_of_features_says_what_would_be_written_for_each_image(run: Path, tmp_path: Path):
    images = ROOT / "data" / "sample" / "labelled" / "images"
    out = ("--out", tmp_path / "f.npz", "--dry-run", "--json")
    said = [json.loads(run_vpmim("features", run, images, "--features", kind, *out).stdout) for kind in ("cls", "both")]
    assert [(one["images"], one["out"]) for one in said] == [(200, str(tmp_path / "f.npz"))] * 2
    assert said[1]["values_per_image"] == 2 * said[0]["values_per_image"]
    assert run_vpmim("features", run, images, "--features", "clss", *out).code == 2
    assert list(tmp_path.iterdir()) == []


def test_hashing_a_cache_tells_how_far_it_is(cache: Path):
    done = run_gazekit("verify", cache)
    assert (done.code, "hashing: 1/1 shards" in done.stderr) == (0, True)
