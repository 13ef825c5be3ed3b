"""The paper's experiments as a list of commands, each of which can be run by hand and goes on where it was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazekit.errors import InputError

PAPER = {
    "linear, rsna": 86.83,
    "linear, chestxray14 official": 72.82,
    "fine-tuned, chestxray14": 85.49,
}
"""AUC x 100 of the abstract (doi 10.12122/j.issn.1673-4254.2026.04.23). Its ChestX-ray14 split is not stated."""

LAST = "last.json"
"""Names a run's newest checkpoint."""

DECODE_S = 0.04
"""Assumed seconds to read and resize one DICOM on one core."""


@dataclass(frozen=True)
class Assumptions:
    """What the times of a dry run rest on; measure your own with ``vpmim bench``.

    Attributes
    ----------
    train_images_per_s : pre-training, ViT-B/16, one GPU
    encode_images_per_s : one forward pass
    tune_images_per_s : a fine-tuning step
    cores : that read images
    """

    train_images_per_s: float = 8000.0
    encode_images_per_s: float = 4000.0
    tune_images_per_s: float = 1200.0
    cores: int = 8


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes
    ----------
    name : str
    command : program (``gazekit`` or ``vpmim``) and arguments
    reads : what must be there
    result : what is there once it is done
    hours : expected, by the assumptions
    """

    name: str
    command: tuple[str, ...]
    reads: tuple[Path, ...]
    result: Path
    hours: float

    @property
    def done(self) -> bool:
        """Whether its result is there; of a training run, whether its newest checkpoint is of its last step."""
        if not self.result.exists() or self.result.name != LAST:
            return self.result.exists()
        planned = json.loads((self.result.parent / "environment.json").read_text(encoding="utf-8"))["steps"]
        return bool(json.loads(self.result.read_text(encoding="utf-8"))["step"] == planned)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the data sets lie, as published."""

    reflacx: Path
    mimic_cxr: Path
    rsna: Path
    chestxray14: Path
    mrm_lists: Path | None = None


def steps(
    sources: Sources,
    out: Path,
    *,
    config: str,
    overrides: Sequence[str] = (),
    recipe_overrides: Sequence[str] = (),
    protocols: Sequence[str] = ("cached", "sgd"),
    scaled: bool = True,
    device: str = "auto",
    assumed: Assumptions = Assumptions(),
) -> list[Step]:
    """Every step of the reproduction, in order.

    Parameters
    ----------
    sources : Sources
    out : folder of everything that is made
    config : pre-training configuration
    overrides : ``key=value`` for it
    recipe_overrides : ``key=value`` for the fine-tuning recipe
    protocols : of linear evaluation; on ChestX-ray14 ``sgd`` becomes ``sgd_nih``, as published
    scaled : also pre-train on all frontal images of MIMIC-CXR, and fine-tune that
    device : of every vpmim command
    assumed : Assumptions

    Returns
    -------
    list of Step
    """
    cache, run = out / "cache-reflacx", out / "run-reflacx"
    settings = [item for override in overrides for item in ("--set", override)]
    tuning = [item for override in recipe_overrides for item in ("--set", override)]
    made = [
        Step(
            "REFLACX to a cache",
            ("gazekit", "build-heatmaps", str(sources.reflacx), str(cache), "--dataset", "reflacx")
            + ("--images", str(sources.mimic_cxr)),
            (sources.reflacx, sources.mimic_cxr),
            cache / "manifest.parquet",
            2616 * DECODE_S / assumed.cores / 3600,
        ),
        _training("pre-training on 2,616 images", [cache], run, config, settings, device, 2616 * 400, assumed),
    ]
    for protocol in protocols:
        for dataset, data, images in (("rsna", sources.rsna, 26_684), ("chestxray14", sources.chestxray14, 112_120)):
            named = "sgd_nih" if (protocol, dataset) == ("sgd", "chestxray14") else protocol
            passes = 1 if protocol == "cached" else 150
            target = out / f"linear-{dataset}-{protocol}"
            command = ["vpmim", "linear-eval", str(run), "--dataset", dataset, "--data", str(data)]
            command += ["--protocol", named, "--out", str(target), "--device", device]
            command += ["--cache", str(out / "images-rsna")] if dataset == "rsna" else []
            command += ["--resume"] if (target / "recipe.toml").exists() else []
            hours = passes * images / assumed.encode_images_per_s / 3600
            hours += images * DECODE_S / assumed.cores / 3600 if dataset == "rsna" else 0
            made.append(Step(f"linear, {dataset}, {protocol}", tuple(command), (data,), target / "results.json", hours))
    if not scaled:
        return made
    all_images, grown = out / "cache-mimic", out / "run-mimic"
    made.append(
        Step(
            "MIMIC-CXR to a cache",
            ("gazekit", "build-heatmaps", str(sources.mimic_cxr), str(all_images), "--dataset", "images")
            + ("--heatmap-size", "0"),
            (sources.mimic_cxr,),
            all_images / "manifest.parquet",
            377_110 * DECODE_S / assumed.cores / 3600,
        )
    )
    made.append(
        _training(
            "pre-training with all of MIMIC-CXR",
            [cache, all_images],
            grown,
            config,
            ["--set", "train.epochs=40", *settings],
            device,
            380_000 * 40,
            assumed,
        )
    )
    splits: list[tuple[str, list[str]]] = [("official", [])]
    if sources.mrm_lists is not None:
        splits.append(("mrm", ["--split-file", str(sources.mrm_lists)]))
    for split, lists in splits:
        target = out / f"tuned-chestxray14-{split}"
        command = ["vpmim", "finetune", str(grown), "--dataset", "chestxray14", "--data", str(sources.chestxray14)]
        command += ["--split", split, *lists, "--out", str(target), *tuning, "--device", device]
        command += ["--resume"] if (target / "recipe.toml").exists() else []
        reads = (sources.chestxray14, *((sources.mrm_lists,) if lists and sources.mrm_lists else ()))
        hours = 50 * 76_000 / assumed.tune_images_per_s / 3600
        made.append(Step(f"fine-tuned, chestxray14 {split}", tuple(command), reads, target / "results.json", hours))
    return made


def run_steps(made: Sequence[Step], *, say: Callable[[str], None]) -> int:
    """Run what is not done; the exit code of the step that stopped it, else 0.

    Exit code 1 of a step, records skipped with their reasons, does not stop: the step's own lists name them.
    """
    for number, step in enumerate(made, start=1):
        if step.done:
            say(f"{number}/{len(made)} {step.name}: done already")
            continue
        say(f"{number}/{len(made)} {step.name}: {' '.join(step.command)}")
        if (code := run_command(step.command)) not in (0, 1):
            return code
    return 0


def run_command(command: Sequence[str]) -> int:
    """Run one of our own commands in a process of its own."""
    program, *arguments = command
    return subprocess.run([sys.executable, "-m", f"{program}_cli", *arguments], check=False).returncode


def check_sources(made: Sequence[Step]) -> None:
    """`InputError` naming every source that is not there."""
    missing = sorted({str(path) for step in made for path in step.reads if not path.exists()})
    if missing:
        raise InputError(f"not there: {', '.join(missing)}; name each data set's folder as published")


def beside_paper(out: Path) -> list[dict[str, object]]:
    """One row a finished evaluation, beside the paper's figure; AUC x 100 with its interval."""
    from vpmim.results import figures_of, read_results

    rows: list[dict[str, object]] = []
    for folder in sorted(path.parent for path in out.glob("*/results.json")):
        results = read_results(folder)
        kind = "fine-tuned" if folder.name.startswith("tuned") else "linear"
        with figures_of(folder):
            rows.append(_beside_paper(kind, results))
    return rows


def _beside_paper(kind: str, results: Mapping[str, Any]) -> dict[str, object]:
    what, auc = f"{kind}, {results['dataset']}", results["systems"]["encoder"]["mean"]["auc"]
    return {
        "what": what,
        "protocol": results["protocol"],
        "split": results["split"]["name"],
        "auc": round(100 * auc["value"], 2),
        "low": round(100 * auc["low"], 2) if auc["low"] is not None else "",
        "high": round(100 * auc["high"], 2) if auc["high"] is not None else "",
        "paper": next((value for key, value in PAPER.items() if key.startswith(what)), ""),
    }


def _training(
    name: str,
    caches: Sequence[Path],
    run: Path,
    config: str,
    settings: Sequence[str],
    device: str,
    images: int,
    assumed: Assumptions,
) -> Step:
    command = ["vpmim", "train", *map(str, caches), "--out", str(run), "--config", config, *settings]
    command += ["--device", device, *(["--resume"] if (run / "config.toml").exists() else [])]
    return Step(name, tuple(command), (), run / LAST, images / assumed.train_images_per_s / 3600)
