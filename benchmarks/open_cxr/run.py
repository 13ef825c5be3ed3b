"""What pre-training on open chest X-rays is worth, beside raw pixels and random encoders.

    python benchmarks/open_cxr/run.py INDEX OUT --size cpu --devices cpu,cpu
    python benchmarks/open_cxr/run.py INDEX OUT --size gpu --devices cuda:0,cuda:0,cuda:0,cuda:0

Pre-trains every arm of methods.toml with every seed on all images without a label (those of the test parts too: their
labels are never seen, their pixels are, as in every benchmark of this kind), then probes for pneumonia: on Kermany,
patients in three parts, and on the NIH images, five folds by patient. How patches are pooled is chosen for each system
and task on the validation images, among the class token, the mean of the patches and both; so is the penalty. Writes
OUT/open_cxr.md. What is done is not done again.

Raw pixels go far on both tasks: only what is above them counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from make_data import INPUT, KERMANY, NIH

from vpmim.ablate import ablate, render
from vpmim.ablation_grid import Grid, load_grid
from vpmim.encoder import EncoderSpec
from vpmim.evaluate import linear_eval
from vpmim.export import timm_config
from vpmim.features import random_encoder
from vpmim.results import read_results
from vpmim.settings import ModelConfig
from vpmim.statistics import bootstrap, bootstrap_p, draw_patients, interval, roc_auc

HERE = Path(__file__).resolve().parent
KINDS = ("cls", "mean", "both")
TASKS = {"Kermany": (KERMANY,), "NIH": NIH}
PIXELS, RANDOM, ENCODER = "raw pixels", "random encoder", "encoder"
DRAWS = 1000


def main() -> None:
    """Data, pre-training, probes, one page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=("cpu", "gpu"), default="cpu", help="a file of benchmarks/sizes")
    parser.add_argument("--limit", type=int, default=None, help="only so many images")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every arm")
    parser.add_argument("--seeds", type=int, default=3, help="only so many of the grid's seeds")
    parser.add_argument(
        "--methods", type=Path, default=HERE / "methods.toml", help="the arms, as vpmim ablate takes them"
    )
    parser.add_argument("--fractions", default="0.01,0.1,1", help="shares of the training labels, 1 among them")
    parser.add_argument("--devices", default="auto", help="one process each; a device may be named several times")
    arguments = parser.parse_args()
    out, devices = arguments.out, arguments.devices.split(",")
    limit = [] if arguments.limit is None else ["--limit", str(arguments.limit)]
    subprocess.run([sys.executable, HERE / "make_data.py", arguments.index, out, *limit], check=True)

    size = tomllib.loads((HERE.parent / "sizes" / f"{arguments.size}.toml").read_text())["set"] + arguments.set
    grid = load_grid(arguments.methods, size)
    grid = dataclasses.replace(grid, seeds=grid.seeds[: arguments.seeds])
    first = {"dataset": "folder", "data": out / "cache", "labels": out / "labels" / KERMANY, "features": "mean"}
    ablate(grid, {"": [out / "cache"]}, out / "runs", first, devices=devices, say=print)

    fractions = sorted({float(text) for text in arguments.fractions.split(",")} | {1.0}, reverse=True)
    sources = {RANDOM: [random_weights(grid.arms[0].config.model, out / "random")], **runs_of(grid, out / "runs")}
    page = ["# Open chest X-rays"]
    everything = {}
    for task, parts in TASKS.items():
        pooled = {}
        for fraction in fractions:
            for name, weights in sources.items():
                kinds = KINDS if fraction == 1 else (pooled[name],)
                probe(weights, parts, kinds, fraction, out, controls=name == RANDOM, device=devices[0])
                if fraction == 1:  # the largest comes first
                    system = RANDOM if name == RANDOM else ENCODER
                    pooled[name] = chosen_kind(weights, parts, out, system)
            rows = measure(sources, parts, pooled, fraction, out)
            everything[f"{task}, {fraction:.0%} of the labels"] = rows
            page += ["", f"## {task}, {fraction:.0%} of the labels", "", render(rows)]
        page += ["", "Pooling, chosen on the validation images: " + "; ".join(f"{n}: {k}" for n, k in pooled.items())]
    (out / "open_cxr.json").write_text(json.dumps(everything, indent=1) + "\n")
    (out / "open_cxr.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    print(f"\nwritten: {out / 'open_cxr.md'}")


def runs_of(grid: Grid, folder: Path) -> dict[str, list[Path]]:
    """Arm -> its runs, one a seed."""
    return {arm.name: [folder / arm.slug / f"seed_{seed}" / "run" for seed in grid.seeds] for arm in grid.arms}


def random_weights(model: ModelConfig, folder: Path) -> Path:
    """An encoder of these sizes that has learned nothing: the source of the controls."""
    if not folder.exists():
        spec = EncoderSpec(
            name=model.encoder,
            input_size=INPUT,
            mean=0.5,
            std=0.25,
            depth=model.depth,
            width=model.width,
            heads=model.heads,
        )
        encoder = random_encoder(spec, 0)
        folder.mkdir(parents=True)
        tensors = {name: tensor.contiguous() for name, tensor in encoder.vit.state_dict().items()}
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(timm_config(encoder, in_chans=1)))
    return folder


def results_folder(weights: Path, part: str, kind: str, fraction: float) -> Path:
    """Where the probe of an encoder is kept: beside the RUN, or in the folder of the weights."""
    beside = weights.parent if weights.name == "run" else weights
    return beside / "probes" / f"{part}_{kind}_{fraction:g}"


def probe(
    weights: Sequence[Path],
    parts: Sequence[str],
    kinds: Sequence[str],
    fraction: float,
    out: Path,
    *,
    controls: bool,
    device: str,
) -> None:
    """Evaluate encoders on every fold, with each pooling; what is there is kept."""
    for source in weights:
        for part in parts:
            for kind in kinds:
                results = results_folder(source, part, kind, fraction)
                if (results / "results.json").exists():
                    continue
                linear_eval(
                    source,
                    data=out / "cache",
                    labels=out / "labels" / part,
                    out=results,
                    features=kind,
                    fraction=fraction,
                    controls=controls,
                    draws=DRAWS,
                    feature_cache=results.parent / "features",
                    device=device,
                )


def chosen_kind(weights: Sequence[Path], parts: Sequence[str], out: Path, system: str) -> str:
    """The pooling with the largest validation AUC, averaged over folds and seeds."""
    reached = dict.fromkeys(KINDS, 0.0)
    for kind in KINDS:
        choices = [
            choice
            for source in weights
            for part in parts
            for choice in read_results(results_folder(source, part, kind, 1.0))["choice"][system]
        ]
        reached[kind] = float(np.mean([choice["validation_auc"]["pneumonia"] for choice in choices]))
    return max(KINDS, key=lambda kind: reached[kind])


def measure(
    sources: Mapping[str, Sequence[Path]], parts: Sequence[str], pooled: Mapping[str, str], fraction: float, out: Path
) -> list[dict[str, Any]]:
    """Test AUC of each system, a mean over folds, with intervals over patients; differences are from raw pixels."""
    systems = {PIXELS: (sources[RANDOM], PIXELS, pooled[RANDOM])}
    systems |= {
        name: (weights, RANDOM if name == RANDOM else ENCODER, pooled[name]) for name, weights in sources.items()
    }
    drawn: dict[str, np.ndarray] = {}
    value: dict[str, np.ndarray] = {}
    for number, part in enumerate(parts):
        for name, (weights, system, kind) in systems.items():
            tables = []
            for source in weights:
                with np.load(results_folder(source, part, kind, fraction) / "scores.npz", allow_pickle=False) as found:
                    tables.append(found[f"scores_{system.replace(' ', '_')}"])
                    labels, patients = found["labels"], found["patients"]
            scores_SNC = np.concatenate(tables)
            draws = draw_patients(list(map(str, patients)), draws=DRAWS, seed=number)
            auc_S = np.array([roc_auc(labels[:, 0], scores_NC[:, 0]) for scores_NC in scores_SNC])
            auc_R = bootstrap(labels, scores_SNC, draws).auc_RC[:, 0]
            drawn[name] = drawn.get(name, 0) + auc_R / len(parts)
            value[name] = value.get(name, 0) + auc_S / len(parts)
    rows = []
    for name in systems:
        bounds = interval(drawn[name])
        several = len(value[name]) > 1
        row = {
            "arm": name,
            "seeds": len(value[name]),
            "auc": float(value[name].mean()),
            "low": bounds.low,
            "high": bounds.high,
            "sd_over_seeds": float(value[name].std(ddof=1)) if several else None,
            "difference": None,
            "difference_low": None,
            "difference_high": None,
            "p": None,
        }
        if name != PIXELS:
            change = drawn[name] - drawn[PIXELS]
            around = interval(change)
            row["difference"] = float(value[name].mean() - value[PIXELS].mean())
            row |= {"difference_low": around.low, "difference_high": around.high, "p": bootstrap_p(change)}
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
