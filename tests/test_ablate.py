"""Ablations: what a grid file means, and a small one run to its table, interrupted and gone on with."""

from __future__ import annotations

import csv
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import sleep

import numpy as np
import pytest
from labelled_images import write_labelled
from synthetic import write_cache
from tiny import TINY
from typer.testing import CliRunner

from gazekit_cli.console import EXIT_INTERRUPTED
from vpmim import ablate as ablation
from vpmim import finetune as finetuning
from vpmim.ablate import ablate, plan
from vpmim.ablation_grid import RUN, cell_folder, load_grid
from vpmim.config import ConfigError, file_names
from vpmim.recipe import load_recipe
from vpmim.results import ResultsError, read_results
from vpmim.run_folder import RunError

GRID = f"""
config = "vp_mim"
set = {json.dumps([*TINY, "train.batch_size=4", "train.max_steps=2", "train.checkpoint_every=1"])}
seeds = [0, 1]
baseline = "gaze"

[[arm]]
name = "no gaze"
set = ["prior.source=none"]

[[arm]]
name = "gaze"
"""


@pytest.fixture
def grid(tmp_path) -> Path:
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path / "grid.toml"


@pytest.mark.parametrize("name", file_names("ablations"))
def test_every_ablation_of_the_repository_can_be_run(name):
    grid = load_grid(name)
    assert len(grid.arms) > 1
    assert len({str(arm.config) for arm in grid.arms}) == len(grid.arms)


def test_the_baseline_comes_first_and_seeds_make_runs(grid, tmp_path):
    loaded = load_grid(grid, ["mask.ratio=0.5"])
    assert [arm.name for arm in loaded.arms] == ["gaze", "no gaze"]
    assert {arm.config.mask.ratio for arm in loaded.arms} == {0.5}
    cells = plan(loaded, tmp_path, {"": ["c"]})
    assert [(cell.arm, cell.config.seed) for cell in cells] == [
        ("gaze", 0),
        ("no gaze", 0),
        ("gaze", 1),
        ("no gaze", 1),
    ]
    assert cells[1].folder == tmp_path / "no_gaze" / "seed_0"


def test_a_product_is_one_arm_a_combination(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text('[product]\n"mask.kappa" = [0.25, 0.5]\n"prior.source" = ["gaze", "mean"]\n')
    arms = load_grid(file).arms
    assert [(arm.config.mask.kappa, arm.config.prior.source) for arm in arms] == [
        (0.25, "gaze"),
        (0.25, "mean"),
        (0.5, "gaze"),
        (0.5, "mean"),
    ]
    assert arms[1].name == "mask.kappa 0.25, prior.source mean"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is nothing to compare"),
        ("arms = []", "unknown key 'arms'"),
        ('[[arm]]\nname = "a"\nsett = []', "unknown key 'arm.sett'; did you mean 'set'"),
        ("[[arm]]\nset = []", "each with a name"),
        ('[[arm]]\nname = "a"\n[[arm]]\nname = "A"', "two arms have one name"),
        ('baseline = "b"\n[[arm]]\nname = "a"', 'baseline: expected one of a, got "b"|baseline: expected one of a'),
        ('[[arm]]\nname = "a"\nset = ["mask.kapa=1"]', "did you mean 'mask.kappa'"),
        ('seeds = [1, 1]\n[[arm]]\nname = "a"', "different seeds"),
        ('[product]\n"mask.kappa" = 0.5', "lists of values"),
        ("[[arm", "not TOML"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_runs(tmp_path, text, says):
    (tmp_path / "g.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_grid(tmp_path / "g.toml")


def test_an_arm_is_trained_on_the_data_it_names(tmp_path):
    file = tmp_path / "g.toml"
    file.write_text('[[arm]]\nname = "a"\n[[arm]]\nname = "b"\ndata = "oracle"\n')
    cells = plan(load_grid(file), tmp_path, {"": ["one", "two"], "oracle": ["three"]})
    assert [[path.name for path in cell.data] for cell in cells[:2]] == [["one", "two"], ["three"]]
    with pytest.raises(ConfigError, match="the arm 'b' is trained on data that is not given: --cache oracle=DIR"):
        plan(load_grid(file), tmp_path, {"": ["one"]})


def test_a_small_ablation_ends_in_one_table_and_goes_on_where_it_was_stopped(grid, tmp_path, monkeypatch):
    cache = write_cache(tmp_path / "cache", images=8, size=64)
    data = write_labelled(tmp_path / "data", images=60)
    evaluation = {"dataset": "folder", "data": data, "features": "mean"}
    out = tmp_path / "out"
    loaded = load_grid(grid)

    real, calls = ablation.run_cell, []

    def stopped_at_the_third(cell, *arguments):
        calls.append(cell.arm)
        return True if len(calls) == 3 else real(cell, *arguments)

    monkeypatch.setattr(ablation, "run_cell", stopped_at_the_third)
    first = ablate(loaded, {"": [cache]}, out, evaluation, draws=50)
    assert (first.ran, first.interrupted) == (2, True)
    assert [row["seeds"] for row in first.rows] == [1, 1]  # whole comparisons: seed by seed
    monkeypatch.setattr(ablation, "run_cell", real)
    done = ablate(loaded, {"": [cache]}, out, evaluation, draws=50)
    assert (done.ran, done.found, done.interrupted) == (2, 2, False)

    rows = json.loads((out / "table.json").read_text())
    assert rows == done.rows
    assert [row["arm"] for row in rows] == ["gaze", "no gaze"]
    for row in rows:
        folder = out / row["arm"].replace(" ", "_")
        aucs = [
            read_results(folder / f"seed_{s}" / "eval")["systems"]["encoder"]["mean"]["auc"]["value"] for s in (0, 1)
        ]
        assert row["auc"] == pytest.approx(np.mean(aucs))
        assert row["sd_over_seeds"] == pytest.approx(np.std(aucs, ddof=1))
    assert rows[1]["difference"] == pytest.approx(rows[1]["auc"] - rows[0]["auc"])
    assert rows[1]["difference_low"] <= rows[1]["difference"] <= rows[1]["difference_high"]
    assert rows[0]["difference"] is None
    table = (out / "table.md").read_text()
    assert f"| no gaze | 2 | {100 * rows[1]['auc']:.2f} (" in table
    assert [row["arm"] for row in csv.DictReader((out / "table.csv").read_text().splitlines())] == ["gaze", "no gaze"]
    page = (out / "report.html").read_text()
    for report in (f"{arm}/seed_{seed}/run/report.html" for arm in ("gaze", "no_gaze") for seed in (0, 1)):
        assert f'href="{report}"' in page
        assert (out / report).exists()

    (out / "gaze" / "seed_0" / "eval" / "results.json").unlink()
    small = write_labelled(tmp_path / "other", images=80)
    with pytest.raises(ResultsError, match="other test images"):
        ablate(loaded, {"": [cache]}, out, evaluation | {"data": small}, draws=20)


def test_what_is_done_is_not_taken_for_runs_of_other_settings(grid, tmp_path):
    cache = write_cache(tmp_path / "cache", images=8, size=64)
    data = write_labelled(tmp_path / "data", images=60)
    evaluation = {"dataset": "folder", "data": data, "features": "mean"}
    loaded = replace(load_grid(grid), seeds=(0,))
    ablate(loaded, {"": [cache]}, tmp_path / "out", evaluation, draws=20)
    with pytest.raises(ResultsError, match="evaluated with features mean, now cls; name another folder"):
        ablate(loaded, {"": [cache]}, tmp_path / "out", evaluation | {"features": "cls"}, draws=20)
    other = replace(load_grid(grid, ["mask.ratio=0.5"]), seeds=(0,))
    with pytest.raises(RunError, match=r"another configuration: mask.ratio: 0.75 -> 0.5"):
        ablate(other, {"": [cache]}, tmp_path / "out", evaluation, draws=20)
    written = cell_folder(tmp_path / "out", loaded.arms[0].name, 0) / RUN / "config.toml"
    written.write_text(re.sub("(?m)^measured_share = .*\n", "", written.read_text()))
    with pytest.raises(RunError, match=r"config\.toml lacks data\.measured_share: .* start a new run"):
        ablate(loaded, {"": [cache]}, tmp_path / "out", evaluation, draws=20)


def test_an_interrupted_evaluation_by_a_recipe_is_no_result_and_is_gone_on_with(grid, tmp_path, monkeypatch):
    cache = write_cache(tmp_path / "cache", images=8, size=128)
    data = write_labelled(tmp_path / "data", images=60)
    evaluation = {"dataset": "folder", "data": data, "protocol": "mae", "seeds": 1}
    loaded = load_grid(grid)
    loaded = replace(loaded, seeds=(0,), arms=loaded.arms[:1])
    stopped = Event()
    stopped.set()
    short = replace(load_recipe("mae"), epochs=2)
    monkeypatch.setattr(finetuning, "load_recipe", lambda name: short)
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "stop_signals_noted", lambda: nullcontext(stopped))
        first = ablate(loaded, {"": [cache]}, tmp_path / "out", evaluation, draws=20)
    assert (first.ran, first.interrupted) == (0, True)
    second = ablate(loaded, {"": [cache]}, tmp_path / "out", evaluation, draws=20)
    assert (second.ran, second.interrupted) == (1, False)
    lines = (tmp_path / "out" / "gaze" / "seed_0" / "eval" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_after_an_error_on_one_of_several_devices_no_other_run_is_begun(grid, tmp_path, monkeypatch):
    baseline = load_grid(grid).arms[0]
    loaded = replace(
        load_grid(grid), seeds=(0,), arms=(baseline, *(replace(baseline, name=f"arm {k}") for k in range(5)))
    )
    begun = []

    def run_cell(cell, evaluation, device):
        begun.append((cell.arm, device))
        if cell.arm == "arm 0":
            raise ConfigError("cannot be")
        sleep(0.1)
        return False

    monkeypatch.setattr(ablation, "run_cell", run_cell)
    monkeypatch.setattr(ablation, "worker_pool", lambda: ThreadPoolExecutor(1))
    with pytest.raises(ConfigError, match="cannot be"):
        ablate(loaded, {"": []}, tmp_path, {}, devices=("first", "second"))
    assert begun[0] == ("gaze", "first")
    assert sorted(begun[1:]) == [("arm 0", "first"), ("arm 1", "second")]


def test_the_command_lists_what_it_would_run(grid, tmp_path):
    from vpmim_cli.main import app

    found = CliRunner().invoke(
        app,
        ["ablate", str(grid), "--out", str(tmp_path / "out"), "--cache", "c", "--dataset", "folder", "--data", "d"]
        + ["--dry-run", "--json"],
    )
    assert found.exit_code == 0, found.output
    listed = json.loads(found.stdout)
    assert (listed["runs"], listed["to_do"], listed["out"]) == (4, 4, str(tmp_path / "out"))
    assert listed["rows"][0]["arm"] == "gaze"
    assert not (tmp_path / "out").exists()


def test_the_command_names_no_file_that_it_did_not_write(grid, tmp_path, monkeypatch):
    from vpmim_cli.main import app

    monkeypatch.setattr(ablation, "run_cell", lambda *arguments: True)  # stopped before the first run was done
    found = CliRunner().invoke(
        app,
        ["ablate", str(grid), "--out", str(tmp_path / "out"), "--cache", "c", "--dataset", "folder", "--data", "d"]
        + ["--json"],
    )
    assert found.exit_code == EXIT_INTERRUPTED, found.output
    said = json.loads(found.stdout)
    assert (said["ran"], said["table"], said["report"], said["out"]) == (0, None, None, str(tmp_path / "out"))


def test_arms_can_run_on_several_devices_at_once(grid, tmp_path):
    cache = write_cache(tmp_path / "cache", images=8, size=64)
    data = write_labelled(tmp_path / "data", images=60)
    loaded = load_grid(grid)
    loaded = replace(loaded, seeds=(0,), arms=(*loaded.arms, replace(loaded.arms[1], name="again")))
    evaluation = {"dataset": "folder", "data": data, "features": "mean"}
    done = ablate(loaded, {"": [cache]}, tmp_path / "out", evaluation, devices=("cpu", "cpu"), draws=20)
    assert done.ran == 3
    assert [row["arm"] for row in done.rows] == ["gaze", "no gaze", "again"]
    assert done.rows[1]["auc"] == done.rows[2]["auc"]
