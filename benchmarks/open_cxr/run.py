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

import dataclasses
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from make_data import KERMANY, NIH

from vpmim.ablate import ablate, render, table_row
from vpmim.ablation_grid import RUN, Grid, cell_folder, load_grid
from vpmim.checkpoint import write_file
from vpmim.evaluate import linear_eval
from vpmim.probe import ProbeError
from vpmim.results import read_results
from vpmim.statistics import bootstrap, bootstrap_p, draw_patients, interval, roc_auc

sys.path.append(str(Path(__file__).resolve().parent.parent))  # benchmarks/, for evidence.py
from evidence import (
    HELD_FIXED,
    INTERRUPTED,
    ORANGE,
    intervals_figure,
    make_data,
    overrides,
    random_weights,
    run_options,
)

HERE = Path(__file__).resolve().parent
KINDS = ("cls", "mean", "both")
TASKS = {"Kermany": (KERMANY,), "NIH": NIH}
PIXELS, RANDOM, ENCODER = "raw pixels", "random encoder", "encoder"
DRAWS = 1000
AXIS = "AUC for pneumonia, 95 %; dashed: raw pixels"


def main() -> None:
    """Data, pre-training, probes, one page."""
    parser = run_options(__doc__)
    parser.add_argument(
        "--methods", type=Path, default=HERE / "methods.toml", help="the arms, as vpmim ablate takes them"
    )
    parser.add_argument("--fractions", default="0.01,0.1,1", help="shares of the training labels, 1 among them")
    arguments = parser.parse_args()
    out, devices = arguments.out, arguments.devices.split(",")
    make_data(HERE, arguments)
    grid = load_grid(arguments.methods, overrides(arguments))
    grid = dataclasses.replace(grid, seeds=grid.seeds[: arguments.seeds])
    first = {"dataset": "folder", "data": out / "cache", "labels": out / "labels" / KERMANY, "features": "mean"}
    if ablate(grid, {"": [out / "cache"]}, out / "runs", first, devices=devices, say=print).interrupted:
        sys.exit(INTERRUPTED)

    fractions = sorted({float(text) for text in arguments.fractions.split(",")} | {1.0}, reverse=True)
    sources = {RANDOM: [random_weights(grid.arms[0].config, out / "random")], **runs_of(grid, out / "runs")}
    page, everything = ["# Open chest X-rays"], {}
    for task, parts in TASKS.items():
        pooled: dict[str, dict[str, str]] = {}
        for fraction in fractions:  # pooling is chosen with all labels, which come first
            title = f"{task}, {fraction:.0%} of the labels"
            try:
                for name, weights in sources.items():
                    kinds = dict.fromkeys(parts, KINDS) if fraction == 1 else _one_each(pooled[name])
                    probe(weights, kinds, fraction, out, controls=name == RANDOM, device=devices[0])
                    if fraction == 1:
                        system = RANDOM if name == RANDOM else ENCODER
                        pooled[name] = {part: chosen_kind(weights, part, system) for part in parts}
            except ProbeError as error:
                page += ["", f"## {title}", "", f"Not measured: {error}."]
                continue
            rows = measure(sources, parts, pooled, fraction)
            everything[title] = rows
            pixels, *others = rows
            picture = out / f"{task.lower()}_{fraction:g}.svg"
            intervals_figure(others[::-1], picture, label=AXIS, line=pixels["auc"], colour=ORANGE)
            page += ["", f"## {title}", "", render(rows), HELD_FIXED]
        chosen = "; ".join(f"{name}: {', '.join(sorted(set(kinds.values())))}" for name, kinds in pooled.items())
        page += ["", f"Pooling, chosen on the validation images of each fold: {chosen}"]
        write_file(out / "open_cxr.json", json.dumps(everything, indent=1) + "\n")
        write_file(out / "open_cxr.md", "\n".join(page) + "\n")
    print(f"\nwritten: {out / 'open_cxr.md'}")


def runs_of(grid: Grid, folder: Path) -> dict[str, list[Path]]:
    """Arm -> its runs, one a seed."""
    return {arm.name: [cell_folder(folder, arm.name, seed) / RUN for seed in grid.seeds] for arm in grid.arms}


def _one_each(kinds: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {part: (kind,) for part, kind in kinds.items()}


def results_folder(weights: Path, part: str, kind: str, fraction: float) -> Path:
    """Where the probe of an encoder is kept: beside the RUN, or in the folder of the weights."""
    beside = weights.parent if weights.name == RUN else weights
    return beside / "probes" / f"{part}_{kind}_{fraction:g}"


def probe(
    weights: Sequence[Path],
    kinds: Mapping[str, Sequence[str]],
    fraction: float,
    out: Path,
    *,
    controls: bool,
    device: str,
) -> None:
    """Evaluate encoders on every part, with the poolings named for it; what is there is kept."""
    for source, part in itertools.product(weights, kinds):
        for kind in kinds[part]:
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


def chosen_kind(weights: Sequence[Path], part: str, system: str) -> str:
    """The pooling with the largest AUC on the part's own validation images, averaged over seeds."""
    reached = {}
    for kind in KINDS:
        found = [read_results(results_folder(source, part, kind, 1.0))["choice"][system] for source in weights]
        reached[kind] = np.mean([choice["validation_auc"]["pneumonia"] for choices in found for choice in choices])
    return max(KINDS, key=lambda kind: reached[kind])


def measure(
    sources: Mapping[str, Sequence[Path]],
    parts: Sequence[str],
    pooled: Mapping[str, Mapping[str, str]],
    fraction: float,
) -> list[dict[str, Any]]:
    """Test AUC of each system, a mean over folds, with intervals over patients; differences are from raw pixels.

    Parameters
    ----------
    sources : system -> its encoders, one a seed of pre-training; the random one holds the controls
    parts : folds
    pooled : system -> fold -> pooling
    fraction : share of the labels; below 1 each encoder was probed with several draws of labels, whose mean counts
    """
    systems = {PIXELS: (sources[RANDOM], PIXELS, pooled[RANDOM])}
    systems |= {
        name: (weights, RANDOM if name == RANDOM else ENCODER, pooled[name]) for name, weights in sources.items()
    }
    drawn_R: dict[str, np.ndarray] = {}
    value_S: dict[str, np.ndarray] = {}
    for number, part in enumerate(parts):
        for name, (weights, system, kinds) in systems.items():
            tables = []
            for source in weights:
                folder = results_folder(source, part, kinds[part], fraction)
                with np.load(folder / "scores.npz", allow_pickle=False) as found:
                    tables.append(found[f"scores_{system.replace(' ', '_')}"])
                    labels_NC, patients = found["labels"], found["patients"]
            draws = draw_patients(list(map(str, patients)), draws=DRAWS, seed=number)
            auc_S = np.array([np.mean([roc_auc(labels_NC[:, 0], one[:, 0]) for one in table]) for table in tables])
            auc_R = bootstrap(labels_NC, np.concatenate(tables), draws).auc_RC[:, 0]
            drawn_R[name] = drawn_R.get(name, 0) + auc_R / len(parts)
            value_S[name] = value_S.get(name, 0) + auc_S / len(parts)
    return [_row(name, value_S[name], drawn_R, against=value_S[PIXELS].mean()) for name in systems]


def _row(name: str, auc_S: np.ndarray, drawn_R: Mapping[str, np.ndarray], *, against: float) -> dict[str, Any]:
    change_R = drawn_R[name] - drawn_R[PIXELS]
    first = name == PIXELS
    return table_row(
        name,
        _figure(auc_S.mean(), drawn_R[name]),
        seeds=len(auc_S),
        spread=float(auc_S.std(ddof=1)) if len(auc_S) > 1 else None,
        difference=None if first else _figure(auc_S.mean() - against, change_R),
        p=None if first else bootstrap_p(change_R),
    )


def _figure(value: float, drawn_R: np.ndarray) -> dict[str, float]:
    bounds = interval(drawn_R)
    return {"value": float(value), "low": bounds.low, "high": bounds.high}


if __name__ == "__main__":
    main()
