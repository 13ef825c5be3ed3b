"""The reproduction of the paper on a miniature of all four data sets in their real layouts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import make_dicom
from PIL import Image
from run_case import write_evaluation
from test_public_datasets import NIH_HEADER
from tiny import TINY
from typer.testing import CliRunner

from gazekit.errors import InputError
from gazekit.simulate import simulate_reflacx
from gazekit_cli.main import app as gazekit_app
from vpmim import reproduction
from vpmim.reproduction import Sources, beside_paper, check_sources, steps
from vpmim.results import ResultsError
from vpmim_cli.main import app


def picture(rng: np.random.Generator, bright: bool) -> np.ndarray:
    pixels = (40 + 60 * rng.random((40, 36))).astype(np.uint8)
    pixels[12:28, 10:26] += np.uint8(80 * bright)
    return pixels


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Sources:
    """REFLACX and MIMIC-CXR simulated, RSNA and ChestX-ray14 invented; a few dozen images in all."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    simulate_reflacx(root / "sim", readings=8, seed=0)
    rsna = root / "rsna"
    (rsna / "stage_2_train_images").mkdir(parents=True)
    rows = ["patientId,x,y,width,height,Target"]
    for k in range(30):
        name, positive = f"99aa{k:04d}", bool(k % 2)
        make_dicom(rsna / "stage_2_train_images" / f"{name}.dcm", picture(rng, positive))
        rows.append(f"{name},10.0,12.0,16.0,16.0,1" if positive else f"{name},,,,,0")
    (rsna / "stage_2_train_labels.csv").write_text("\n".join(rows) + "\n")
    nih = root / "nih"
    (nih / "images_001" / "images").mkdir(parents=True)
    rows, lists = [NIH_HEADER], {"train": [], "test": []}
    for k in range(40):
        name, positive = f"99{k:06d}_000.png", rng.random() < 0.5
        Image.fromarray(picture(rng, positive)).save(nih / "images_001" / "images" / name)
        rows.append(f"{name},{'Mass' if positive else 'No Finding'},0,99{k},50,M,PA,2500,3000,0.143,0.143")
        lists["test" if k >= 30 else "train"].append(name)
    (nih / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    (nih / "train_val_list.txt").write_text("\n".join(lists["train"]))
    (nih / "test_list.txt").write_text("\n".join(lists["test"]))
    return Sources(reflacx=root / "sim" / "reflacx", mimic_cxr=root / "sim" / "mimic-cxr", rsna=rsna, chestxray14=nih)


def arguments(data: Sources, out: Path, *more: str) -> list[str]:
    return [
        "reproduce",
        *("--reflacx", str(data.reflacx), "--mimic-cxr", str(data.mimic_cxr)),
        *("--rsna", str(data.rsna), "--chestxray14", str(data.chestxray14), "--out", str(out)),
        *more,
    ]


def in_this_process(command) -> int:
    """One of our commands without the seconds that a new process takes."""
    program, *rest = command
    result = CliRunner().invoke({"gazekit": gazekit_app, "vpmim": app}[program], rest)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code


def test_a_dry_run_lists_every_step_and_touches_nothing(data, tmp_path):
    found = CliRunner().invoke(app, arguments(data, tmp_path / "out", "--dry-run", "--json"))
    assert found.exit_code == 0, found.output
    listed = json.loads(found.stdout)
    assert listed["out"] == str(tmp_path / "out")
    names = [row["step"] for row in listed["rows"]]
    assert names[0] == "REFLACX to a cache"
    assert sum(name.startswith("linear") for name in names) == 4
    assert names[-1] == "fine-tuned, chestxray14 official"
    assert all(row["there"] and not row["done"] for row in listed["rows"])
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there_is_named_before_anything_runs(data, tmp_path):
    made = steps(replace(data, reflacx=tmp_path / "no"), tmp_path, config="vp_mim")
    with pytest.raises(InputError, match="not there"):
        check_sources(made)


def test_lists_of_mrm_add_the_other_family_of_splits(data, tmp_path):
    both = replace(data, mrm_lists=tmp_path)
    names = [step.name for step in steps(both, tmp_path, config="vp_mim")]
    assert names[-2:] == ["fine-tuned, chestxray14 official", "fine-tuned, chestxray14 mrm"]


@pytest.mark.slow
def test_the_miniature_runs_from_gaze_to_the_table_and_goes_on_after_a_stop(data, tmp_path, monkeypatch):
    settings = [*TINY, "train.batch_size=4", "train.max_steps=2", "train.checkpoint_every=1"]
    options = [item for setting in settings for item in ("--set", setting)]
    options += ["--set-recipe", "epochs=1", "--set-recipe", "batch_size=8", "--protocol", "cached", "--json"]
    ran: list[str] = []

    def counted(command):
        ran.append(" ".join(command[:2]))
        if len(ran) == 4:
            return 3  # as if a signal had ended it
        return in_this_process(command)

    monkeypatch.setattr(reproduction, "run_command", counted)
    out = tmp_path / "out"
    stopped = CliRunner().invoke(app, arguments(data, out, *options))
    assert stopped.exit_code == 3
    assert "the same command goes on" in stopped.output
    done = CliRunner().invoke(app, arguments(data, out, *options))
    assert done.exit_code == 0, done.output
    # the first three were not done again
    assert ran == [
        "gazekit build-heatmaps",
        "vpmim train",
        "vpmim linear-eval",
        "vpmim linear-eval",
        "vpmim linear-eval",
        "gazekit build-heatmaps",
        "vpmim train",
        "vpmim finetune",
    ]
    table = {row["what"]: row for row in json.loads(done.stdout)["rows"]}
    assert table["linear, rsna"]["paper"] == 86.83
    assert table["linear, chestxray14"]["paper"] == 72.82
    assert table["fine-tuned, chestxray14"]["paper"] == 85.49
    assert 0 <= table["linear, rsna"]["auc"] <= 100
    shutil.rmtree(out)


def test_finished_results_without_a_figure_are_named_with_the_cure(tmp_path):
    path = write_evaluation(tmp_path / "linear_rsna") / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"systems": {}}))
    with pytest.raises(ResultsError, match=r"linear_rsna/results\.json: lacks a figure \(KeyError.*; remove it"):
        beside_paper(tmp_path)


def test_each_command_of_the_reproduction_is_one_that_exists(data, tmp_path):
    for step in steps(data, tmp_path, config="vp_mim"):
        program, command, *_ = step.command
        shown = CliRunner().invoke({"gazekit": gazekit_app, "vpmim": app}[program], [command, "--help"])
        assert shown.exit_code == 0
        for option in (word for word in step.command if word.startswith("--")):
            assert option in shown.output, (command, option)
