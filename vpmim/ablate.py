"""An ablation: train every arm with every seed, evaluate each run, and lay the arms side by side.

::

    DIR/<arm>/seed_0/run/      a RUN of vpmim train
    DIR/<arm>/seed_0/eval/     results of vpmim linear-eval
    DIR/table.md  table.csv  table.json
    DIR/report.html            the same as a page, with links to each run's own

What is done already is not done again, so the same call goes on after an interruption.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gazekit.new_directory import refuse_unwritable
from vpmim.ablation_grid import EVAL, RUN, Grid, cell_folder
from vpmim.checkpoint import write_file
from vpmim.config import Config, ConfigError
from vpmim.evaluate import linear_eval
from vpmim.finetune import RECIPE
from vpmim.process import stop_signals_raised, worker_pool
from vpmim.report_ablation import SHARED_SEEDS, TABLE, write_ablation_report
from vpmim.results import (
    ENCODER,
    RESULTS,
    ResultsError,
    SystemScores,
    beside_each_other,
    figures_of,
    measured,
    read_results,
    read_scores,
    same_test,
)
from vpmim.run_folder import check_same_config
from vpmim.train import train

_MIRRORED = {"value": "value", "low": "high", "high": "low"}
"""Where the ends of an interval go when its sign is turned."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid: an arm with a seed, and the caches or folders that it is trained on."""

    arm: str
    config: Config
    folder: Path
    data: tuple[Path, ...] = ()

    @property
    def done(self) -> bool:
        """Whether it is trained and evaluated."""
        return (self.folder / EVAL / RESULTS).exists()


@dataclass(frozen=True)
class AblationSummary:
    """What `ablate` did: cells run by this call, cells that were there, rows of the table, whether it was stopped."""

    ran: int
    found: int
    rows: list[dict[str, Any]]
    interrupted: bool


def ablate(
    grid: Grid,
    data: Mapping[str, Sequence[str | Path]],
    out: str | Path,
    evaluation: dict[str, Any],
    *,
    devices: Sequence[str] = ("auto",),
    draws: int = 1000,
    say: Callable[[str], None] = lambda line: None,
) -> AblationSummary:
    """Run a grid, or go on with it, and write its table and its page.

    Parameters
    ----------
    grid : Grid
    data : name that arms give (``data = "name"``, else "") -> caches or folders to train on
    out : folder
    evaluation : keywords of `vpmim.evaluate.linear_eval` beside the source and the folder of the results
    devices : one process a device; with a single one everything happens in this process
    draws : bootstrap draws over patients
    say : gets lines about what is going on

    Returns
    -------
    AblationSummary

    Raises
    ------
    RunError, ResultsError
        The folder holds runs of other settings, or other evaluations.
    ConfigError, DataError, EvaluationError, DatasetError, TrainingError
        Of a run; what was finished stays, and the same call goes on.
    """
    out = Path(out)
    cells = plan(grid, out, data)
    todo = [cell for cell in cells if not cell.done]
    for cell in cells:
        if cell.done:
            _check_same(cell, evaluation)
    say(f"{grid.name}: {len(grid.arms)} arms, {len(grid.seeds)} seeds; {len(cells) - len(todo)} of {len(cells)} done")
    interrupted = False
    ran = 0
    for cell, stopped in _run_all(todo, evaluation | {"draws": draws}, devices):
        interrupted |= stopped
        ran += not stopped
        say(f"{cell.arm}, seed {cell.config.seed}: " + ("interrupted" if stopped else "done"))
        if stopped:
            break
    finished = [cell for cell in cells if cell.done]
    rows = table(grid, finished, draws=draws) if any(cell.arm == grid.arms[0].name for cell in finished) else []
    if rows:
        write_file(out / "table.md", render(rows))
        write_file(out / TABLE, json.dumps(rows, indent=1) + "\n")
        write_file(out / "table.csv", _csv(rows))
        say("writing the page and the reports of the runs")
        write_ablation_report(out)
    return AblationSummary(ran, len(cells) - len(todo), rows, interrupted)


def plan(grid: Grid, out: Path, data: Mapping[str, Sequence[str | Path]]) -> list[Cell]:
    """Every cell of a grid, seed by seed, so that an unfinished ablation has whole comparisons.

    Raises
    ------
    ConfigError
        An arm's data is not given.
    NotADirectoryError, PermissionError
        `out` cannot be written.
    """
    refuse_unwritable(out)
    for arm in grid.arms:
        if arm.data not in data:
            given = f"--cache {arm.data}=DIR" if arm.data else "--cache DIR"
            raise ConfigError(f"{grid.name}: the arm {arm.name!r} is trained on data that is not given: {given}")
    return [
        Cell(
            arm=arm.name,
            config=arm.seeded(seed),
            folder=cell_folder(out, arm.name, seed),
            data=tuple(map(Path, data[arm.data])),
        )
        for seed in grid.seeds
        for arm in grid.arms
    ]


def _check_same(cell: Cell, evaluation: Mapping[str, Any]) -> None:
    """What is done was trained and evaluated as is asked now."""
    check_same_config(cell.folder / RUN, cell.config)
    found = read_results(cell.folder / EVAL)
    for key in ("dataset", "protocol", "features"):
        asked = evaluation.get(key)
        if asked is None:
            continue
        with figures_of(cell.folder / EVAL):
            was = found[key]
        if was != asked:
            raise ResultsError(f"{cell.folder / EVAL}: evaluated with {key} {was}, now {asked}; name another folder")


def run_cell(cell: Cell, evaluation: dict[str, Any], device: str) -> bool:
    """Train, or go on, and evaluate, or go on with that; True where a signal ended it."""
    run = cell.folder / RUN
    cell.folder.mkdir(parents=True, exist_ok=True)
    summary = train(cell.data, run, cell.config, resume=(run / "config.toml").exists(), device=device)
    if summary.interrupted:
        return True
    results = cell.folder / EVAL
    begun = (results / RECIPE).exists()
    return linear_eval(run, out=results, device=device, resume=begun, **evaluation) is None


def table(grid: Grid, cells: Sequence[Cell], *, draws: int) -> list[dict[str, Any]]:
    """One row an arm: its mean AUC over the seeds with intervals, and its paired difference from the baseline.

    Of an unfinished ablation, each arm is measured over the seeds that it shares with the baseline, and compared with
    the baseline over those.

    Parameters
    ----------
    grid : Grid
    cells : finished ones, the baseline's among them
    draws : bootstrap draws over patients, the same for every arm

    Raises
    ------
    ResultsError
        Cells that were evaluated on other test images or labels than the rest.
    """
    scores: dict[str, dict[int, np.ndarray]] = {}
    first: dict[str, np.ndarray] | None = None
    for cell in cells:
        found = read_scores(cell.folder / EVAL)
        if first is None:
            first = found
        if not same_test(first, found):
            raise ResultsError(f"{cell.folder / EVAL}: evaluated on other test images than the rest; remove it")
        scores.setdefault(cell.arm, {})[cell.config.seed] = found[f"scores_{ENCODER}"]
    assert first is not None
    baseline = grid.arms[0].name
    shared = {
        arm.name: tuple(seed for seed in scores[baseline] if seed in scores.get(arm.name, {})) for arm in grid.arms
    }
    measured_over: dict[tuple[int, ...], dict[str, Any]] = {}
    for seeds in {seeds for seeds in shared.values() if seeds}:
        names = [baseline, *(arm for arm, own in shared.items() if own == seeds and arm != baseline)]
        systems = tuple(
            SystemScores(name, np.concatenate([scores[name][seed] for seed in seeds]), "seed of pre-training")
            for name in names
        )
        measured_over[seeds], _ = measured(beside_each_other(first, systems), draws=draws)
    return [_row(name, measured_over[seeds]) for name, seeds in shared.items() if seeds]


def _row(arm: str, results: dict[str, Any]) -> dict[str, Any]:
    """An arm's line of the table, from what `measured` says of it and of the baseline."""
    system = results["systems"][arm]
    spread, change = system["repetitions"], results["differences"].get(arm)
    row = table_row(
        arm,
        system["mean"]["auc"],
        seeds=len(spread["mean_auc"]),
        spread=spread["standard_deviation"],
        # measured as the baseline minus the arm
        difference=None if change is None else {key: -change["mean"]["auc"][of] for key, of in _MIRRORED.items()},
        p=None if change is None else change["mean"]["p_bootstrap"],
    )
    return row | {f"auc {name}": figures["auc"]["value"] for name, figures in system["classes"].items()}


def table_row(
    arm: str,
    auc: Mapping[str, float],
    *,
    seeds: int,
    spread: float | None,
    difference: Mapping[str, float] | None = None,
    p: float | None = None,
) -> dict[str, Any]:
    """A line of a table as `render` takes it.

    Parameters
    ----------
    arm : its name
    auc : ``value``, ``low``, ``high``
    seeds : runs that it is a mean over
    spread : standard deviation over them; None of one
    difference : the same of the arm minus the first; None of the first
    p : of the difference
    """
    change = {key: None if difference is None else difference[key] for key in ("value", "low", "high")}
    return {
        "arm": arm,
        "seeds": seeds,
        "auc": auc["value"],
        "low": auc["low"],
        "high": auc["high"],
        "sd_over_seeds": spread,
        "difference": change["value"],
        "difference_low": change["low"],
        "difference_high": change["high"],
        "p": p,
    }


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The table as Markdown, AUC x 100."""
    lines = ["| arm | seeds | mean AUC (95 %) | SD over seeds | difference from the first (95 %) | p |"]
    lines.append("| --- " * 6 + "|")
    for row in rows:
        spread = "" if row["sd_over_seeds"] is None else f"{100 * row['sd_over_seeds']:.2f}"
        difference, p = "", ""
        if row["difference"] is not None:
            low, high = 100 * row["difference_low"], 100 * row["difference_high"]
            difference, p = f"{100 * row['difference']:+.2f} ({low:+.2f} to {high:+.2f})", f"{row['p']:.3g}"
        auc = f"{100 * row['auc']:.2f} ({100 * row['low']:.2f}-{100 * row['high']:.2f})"
        lines.append(f"| {row['arm'].replace('|', '/')} | {row['seeds']} | {auc} | {spread} | {difference} | {p} |")
    if len({row["seeds"] for row in rows}) > 1:
        lines += ["", SHARED_SEEDS]
    return "\n".join(lines) + "\n"


def _run_all(todo: Sequence[Cell], evaluation: dict[str, Any], devices: Sequence[str]) -> Any:
    """Each cell as it is finished, with whether it was interrupted."""
    # the first alone, whatever there is: what is wrong is found before others start, and DICOM is converted once
    alone = todo if len(devices) == 1 else todo[:1]
    for cell in alone:
        yield cell, run_cell(cell, evaluation, devices[0])
    if len(alone) == len(todo):
        return
    with ExitStack() as stack:
        stack.enter_context(stop_signals_raised())  # and the workers, which are told too, are waited for
        pools = [stack.enter_context(worker_pool()) for _ in devices]
        waiting = iter(todo[1:])
        # a cell is handed out when a device is free, so that none is begun after a stop or an error
        running = {
            pool.submit(run_cell, cell, evaluation, device): (cell, pool, device)
            for pool, device, cell in zip(pools, devices, waiting, strict=False)
        }
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell, pool, device = running.pop(future)
                yield cell, future.result()
                if (following := next(waiting, None)) is not None:
                    running[pool.submit(run_cell, following, evaluation, device)] = (following, pool, device)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
