"""Runs, evaluations and ablations as folders, written in a moment and not trained; and a page read back."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from vpmim.ablation_grid import cell_folder
from vpmim.config import dump_toml, load_config

EVIL = '"><script>alert(1)</script><img src=//evil.example/x onerror=alert(1)>'


class Page(HTMLParser):
    """Elements and attributes of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.style, self.script = [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "style" and not self.style:
            self.style = data
        elif self.elements and self.elements[-1][0] == "script" and not self.script:
            self.script = data
        else:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def panel_arrays(batch=1, side=5, patch=16, bins=9, *, pixels=False, gaze=True):
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.random((batch, side * patch, side * patch), np.float32),
        "prior": rng.random((batch, 4 * side, 4 * side), np.float32) * gaze,
        "recalibrated": rng.random((batch, 4 * side, 4 * side), np.float32) * gaze,
        "relevant": (rng.random((batch, side, side)) < 0.3) & gaze,
        "mask": rng.random((batch, side, side)) < 0.75,
    }
    for scale in ["1"] if pixels else ["4", "2", "1", "0.5"]:
        cells = -(-int(float(scale) * 2 * side) // 2)
        channels = patch * patch if pixels else bins
        for name in ("prediction", "target"):
            arrays[f"{name}_{scale}x"] = rng.random((batch, cells, cells, channels), np.float32)
        arrays[f"weights_{scale}x"] = rng.random((batch, cells, cells), np.float32)
    return arrays


def write_run(path, *, config="vp_mim", overrides=(), steps=40, planned=40, panels=1, checkpoint=True, **environment):
    path.mkdir(parents=True)
    chosen = load_config(config, ["model.init=scratch", *overrides])
    (path / "config.toml").write_text(dump_toml(chosen))
    facts = {"device": "cpu", "steps": planned, "threads": 1, "data": [{"images": 12, "with_gaze": 10}], **environment}
    (path / "environment.json").write_text(json.dumps(facts))
    lines = [
        {"step": s, "loss": 4 / s, "loss_4x": 1 / s, "loss_0.5x": 2 / s, "lr": 1e-3, "images_per_s": 100.0 + s}
        for s in range(1, steps + 1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if panels:
        (path / "panels").mkdir()
        for step in (0, planned):
            np.savez(
                path / "panels" / f"step_{step:08d}.npz", **panel_arrays(panels, pixels=chosen.target.kind == "pixel")
            )
    if checkpoint:
        (path / "last.json").write_text(json.dumps({"step": steps, "checkpoint": f"checkpoints/step_{steps:08d}"}))
    return path


def figures(value, low, high):
    return {"value": value, "low": low, "high": high, "draws": 1000}


def write_evaluation(path, *, classes=("pneumonia",), difference=(-0.1, 0.2), auc=0.7, images=40, seed=0):
    def system(value):
        auc = figures(value, value - 0.1, value + 0.1)
        return {"mean": {"auc": auc, "ap": auc}, "classes": {name: {"auc": auc} for name in classes}}

    change = {"mean": {"auc": figures(0.05, *difference)}}
    record = {
        "format": 1, "protocol": "cached", "dataset": "folder", "features": "cls", "label_fraction": 1.0,
        "split": {"name": "as given", "test": {"images": images, "patients": images, "sha256": f"{images}"}},
        "encoder": {"name": "run"},
        "systems": {"encoder": system(auc), "random encoder": system(0.65), "raw pixels": system(0.6)},
        "differences": {"random encoder": change, "raw pixels": change},
        "left_out": [], "notes": [],
        "bootstrap": {"draws": 1000, "interval": "95% percentile"},
    }  # fmt: skip
    path.mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(record))
    rng = np.random.default_rng(seed)
    labels = (np.arange(images)[:, None] % 2 == np.arange(len(classes)) % 2).astype(float)
    ids = np.array([f"99{row:06d}" for row in range(images)])
    scores = labels + rng.normal(size=(1, *labels.shape))
    np.savez(
        path / "scores.npz", ids=ids, patients=ids, classes=np.array(classes), labels=labels, scores_encoder=scores
    )
    return path


def write_ablation(path: Path, arms: dict[str, tuple[str, ...]], *, seeds=(0, 1), **environment) -> Path:
    """What ``vpmim ablate`` leaves of arms (name -> overrides, the baseline first): runs, evaluations, the table."""
    rows = []
    for place, (name, overrides) in enumerate(arms.items()):
        for seed in seeds:
            cell = cell_folder(path, name, seed)
            write_run(cell / "run", overrides=[*overrides, f"seed={seed}"], **environment)
            write_evaluation(cell / "eval", auc=0.7 + 0.02 * place, seed=seed)
        first = place == 0
        rows.append(
            {
                "arm": name, "seeds": len(seeds), "auc": 0.7 + 0.02 * place, "low": 0.6, "high": 0.8,
                "sd_over_seeds": 0.012, "difference": None if first else 0.02 * place,
                "difference_low": None if first else -0.03, "difference_high": None if first else 0.07,
                "p": None if first else 0.31, "auc pneumonia": 0.7 + 0.02 * place,
            }
        )  # fmt: skip
    (path / "table.json").write_text(json.dumps(rows))
    return path
