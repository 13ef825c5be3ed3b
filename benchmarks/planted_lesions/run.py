"""Does a correct gaze prior help? Lesions planted in real X-rays, simulated readers, every method, every control.

    python benchmarks/planted_lesions/run.py INDEX OUT --size cpu --devices cpu,cpu
    python benchmarks/planted_lesions/run.py INDEX OUT --size gpu --devices cuda:0,cuda:0,cuda:0,cuda:0

INDEX is a CSV of chest X-rays, see make_data.py. Makes the data, measures the difficulty without looking at any method,
trains and probes every arm of methods.toml, priors.toml, head.toml, parts.toml, readers.toml and of the scaling curve
with every seed (`vpmim.ablate`; arms of one name are one run, whichever table they are in), and writes
OUT/planted_lesions.md and OUT/*.svg. What is done is not done again. The gaze is simulated: this tells how the
mechanism behaves when a prior is right, and not what radiologists' gaze is worth.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling import GAZE, NONE, SIZES, predict, predicted_cache, scaling_grid
from scene import CONDITIONS, KINDS
from supervised import supervised_auc

from gazekit.cache import open_cache
from vpmim.ablate import ablate, render
from vpmim.ablation_grid import RUN, Grid, cell_folder, load_grid
from vpmim.checkpoint import write_file
from vpmim.evaluate import linear_eval
from vpmim.report_ablation import write_ablation_report
from vpmim.results import read_results
from vpmim.settings import Config

sys.path.append(str(Path(__file__).resolve().parent.parent))  # benchmarks/, for evidence.py
from evidence import (
    GREY,
    HELD_FIXED,
    INPUT,
    INTERRUPTED,
    intervals_figure,
    make_data,
    overrides,
    random_weights,
    run_options,
)
from figures import scaling_figure

HERE = Path(__file__).resolve().parent
GRIDS = ("methods", "priors", "head", "parts", "readers")
SCALING = "scaling"
FULL = "VP-MIM with the gaze head"
AXIS = "AUC of a linear probe, 95 %; simulated gaze"


def main() -> None:
    """Data, difficulty, every table, one page."""
    parser = run_options(__doc__)
    parser.add_argument("--grids", default=",".join((*GRIDS, SCALING)))
    parser.add_argument("--supervised-epochs", type=int, default=12)
    arguments = parser.parse_args()
    out, devices, names = arguments.out, arguments.devices.split(","), arguments.grids.split(",")
    size = overrides(arguments)
    grids = {name: load_grid(HERE / f"{name}.toml", size) for name in GRIDS}
    if unknown := set(names) - {*GRIDS, SCALING}:
        parser.error(f"--grids: expected some of {', '.join((*GRIDS, SCALING))}, got {', '.join(sorted(unknown))}")
    needed = {arm.data or "gaze" for name in names if name != SCALING for arm in grids[name].arms}
    needed |= {"gaze", *SIZES.values()} if SCALING in names else set()
    make_data(HERE, arguments, "--conditions", ",".join(name for name in CONDITIONS if name in needed))
    page = ["# Planted lesions", "", "## Difficulty", ""]
    page += difficulty(out, grids["methods"].arms[0].config, arguments.supervised_epochs, device=devices[0])

    def run(grid: Grid) -> list[dict[str, Any]]:
        data = {"" if name == "gaze" else name: [out / "caches" / name] for name in CONDITIONS}
        data |= {predicted_cache(share): [out / "caches" / predicted_cache(share)] for share in SIZES}
        evaluation = {"dataset": "folder", "data": out / "labelled", "features": "mean"}
        grid = dataclasses.replace(grid, seeds=grid.seeds[: arguments.seeds])
        done = ablate(grid, data, out / "runs", evaluation, devices=devices, say=print)
        if done.interrupted:
            sys.exit(INTERRUPTED)
        return done.rows

    for name in names:
        if name == SCALING:
            rows = scale(size, grids["methods"], out, run, device=devices[0])
            scaling_figure(rows, out / "scaling.svg")
        else:
            rows = run(grids[name])
            best_on_top = sorted(rows, key=lambda row: row["auc"])
            intervals_figure(best_on_top, out / f"{name}.svg", label=AXIS, line=0.5, colour=GREY)
        write_file(out / f"{name}.json", json.dumps(rows, indent=1) + "\n")
        write_ablation_report(out / "runs", out / f"{name}.html", title=f"Planted lesions: {name}")
        page += ["", f"## {name.capitalize()}", "", render(rows), f"[The runs]({name}.html). {HELD_FIXED}"]
        write_file(out / "planted_lesions.md", "\n".join(page) + "\n")
    print(f"\nwritten: {out / 'planted_lesions.md'}")


def scale(size: Sequence[str], methods: Grid, out: Path, run: Any, *, device: str) -> list[dict[str, Any]]:
    """The scaling curve: what is trained without predictions first, since an encoder of it makes them."""
    images = {share: len(open_cache(out / "caches" / name)) for share, name in SIZES.items()}
    grid = scaling_grid(size, methods.seeds, (NONE,), images)
    run(grid)
    encoder = cell_folder(out / "runs", grid.arms[0].name, grid.seeds[0]) / RUN
    predict(out / "caches", encoder, out / "gaze_models", device=device, say=print)
    whole = next(arm for arm in methods.arms if arm.name == FULL)
    grid = scaling_grid(size, methods.seeds, GAZE, images)
    return run(dataclasses.replace(grid, arms=(*grid.arms, whole)))


def difficulty(out: Path, config: Config, epochs: int, *, device: str) -> list[str]:
    """How hard it is: raw pixels and random encoders (should be low), and a supervised network (should be able)."""
    controls, supervised = out / "controls", out / "supervised.json"
    weights = random_weights(config, out / "random")
    if not (controls / "results.json").exists():
        linear_eval(weights, data=out / "labelled", out=controls, features="mean", controls=True, device=device)
    if not supervised.exists():
        place = "cuda" if device.startswith("cuda") else "cpu"
        found = supervised_auc(out / "labelled", side=INPUT, epochs=epochs, device=place, say=print)
        write_file(supervised, json.dumps(found, indent=1) + "\n")
    lines = ["| system | lesion or none | " + " | ".join(KINDS) + " |", "| --- " * (2 + len(KINDS)) + "|"]
    systems = read_results(controls)["systems"]
    shown = {
        name: {label: figures["auc"]["value"] for label, figures in systems[name]["classes"].items()}
        for name in ("raw pixels", "random encoder")
    }
    lines += [_row(name, auc) for name, auc in shown.items()]
    return [*lines, _row("convolutional network trained on the labels", json.loads(supervised.read_text()))]


def _row(name: str, auc: Mapping[str, float]) -> str:
    shown = [f"{100 * auc[label]:.1f}" if label in auc else "none" for label in ("lesion", *KINDS)]
    return f"| {name} | " + " | ".join(shown) + " |"


if __name__ == "__main__":
    main()
