"""Does a correct gaze prior help? Lesions planted in real X-rays, simulated readers, every method, every control.

    python benchmarks/planted_lesions/run.py INDEX OUT [--limit N] [--set train.epochs=10] [--seeds 1]

Makes the data (make_data.py), calibrates the difficulty without looking at any method, runs methods.toml and
priors.toml (`vpmim ablate`), and writes OUT/planted_lesions.md. What is done is not done again. The gaze is simulated:
this tells how the mechanism behaves when a prior is right, and not what radiologists' gaze is worth.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import safetensors.torch
from make_data import INPUT
from scene import CONDITIONS

from vpmim.ablate import ablate, render
from vpmim.ablation_grid import load_grid
from vpmim.encoder import EncoderSpec
from vpmim.evaluate import linear_eval
from vpmim.evaluation import Task
from vpmim.export import timm_config
from vpmim.features import random_encoder
from vpmim.finetune import finetune
from vpmim.recipe import Recipe
from vpmim.results import read_results

HERE = Path(__file__).resolve().parent
SPEC = EncoderSpec(name="vit_small_patch8_224", input_size=INPUT, mean=0.5, std=0.25, depth=6, width=128, heads=4)
SUPERVISED = Recipe(
    features="mean",
    head_norm="layer",
    lr=1e-3,
    lr_per_256=False,
    layer_decay=1.0,
    batch_size=64,
    epochs=30,
    crop="resized",
    crop_scale=(0.7, 1.0),
    drop_path=0.0,
    clip_grad=1.0,
)
"""A supervised network of the same size: what the labels allow."""


def main() -> None:
    """Data, calibration, both grids, one page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=None, help="only so many images")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every arm")
    parser.add_argument("--seeds", type=int, default=None, help="only so many of the grids' seeds")
    parser.add_argument("--grids", default="methods,priors")
    parser.add_argument("--devices", default="auto")
    parser.add_argument("--supervised-epochs", type=int, default=SUPERVISED.epochs)
    arguments = parser.parse_args()
    out = arguments.out
    limit = [] if arguments.limit is None else ["--limit", str(arguments.limit)]
    subprocess.run([sys.executable, HERE / "make_data.py", arguments.index, out, *limit], check=True)
    devices = arguments.devices.split(",")
    recipe = dataclasses.replace(SUPERVISED, epochs=arguments.supervised_epochs)
    page = ["# Planted lesions", "", "## Difficulty", "", *calibrate(out, recipe, device=devices[0])]
    data = {"" if name == "gaze" else name: [out / "caches" / name] for name in CONDITIONS}
    for name in arguments.grids.split(","):
        grid = load_grid(HERE / f"{name}.toml", arguments.set)
        if arguments.seeds is not None:
            grid = dataclasses.replace(grid, seeds=grid.seeds[: arguments.seeds])
        evaluation = {"dataset": "folder", "data": out / "labelled", "features": "mean"}
        done = ablate(grid, data, out / name, evaluation, devices=devices, say=print)
        page += ["", f"## {name.capitalize()}", "", render(done.rows)]
    (out / "planted_lesions.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    print(f"\nwritten: {out / 'planted_lesions.md'}")


def calibrate(out: Path, recipe: Recipe, *, device: str) -> list[str]:
    """How hard it is: raw pixels and random encoders (should be low), and a supervised network (should be able)."""
    weights = out / "random"
    if not weights.exists():
        weights.mkdir(parents=True)
        encoder = random_encoder(SPEC, 0)
        tensors = {name: tensor.contiguous() for name, tensor in encoder.vit.state_dict().items()}
        safetensors.torch.save_file(tensors, weights / "model.safetensors")
        (weights / "config.json").write_text(json.dumps(timm_config(encoder, in_chans=1)))
    task = Task(data=out / "labelled")
    if not (out / "controls" / "results.json").exists():
        linear_eval(weights, data=task.data, out=out / "controls", features="mean", controls=True, device=device)
    if not (out / "supervised" / "results.json").exists():
        begun = (out / "supervised" / "recipe.toml").exists()
        finetune(weights, task, out / "supervised", recipe, resume=begun, device=device, say=print)
    lines = ["| system | AUC lesion (95 %) | mean AUC |", "| --- | --- | --- |"]
    controls, supervised = read_results(out / "controls")["systems"], read_results(out / "supervised")["systems"]
    shown = {"raw pixels": controls["raw pixels"], "random encoder": controls["random encoder"]}
    for name, system in (shown | {"supervised, same size": supervised["encoder"]}).items():
        auc, mean = system["classes"]["lesion"]["auc"], system["mean"]["auc"]["value"]
        lines.append(f"| {name} | {auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f}) | {mean:.3f} |")
    return lines


if __name__ == "__main__":
    main()
