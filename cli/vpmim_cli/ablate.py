"""``vpmim ablate``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import EXIT_INTERRUPTED, note, summary
from vpmim_cli.dicom_cache import convert_dicom


def ablate(
    grid: Annotated[
        str,
        typer.Argument(metavar="GRID", help="A name in configs/ablations, or a file .toml.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs and table.", show_default=False)],
    cache: Annotated[
        list[str],
        typer.Option(
            "--cache",
            metavar="[NAME=]CACHE",
            help="What is trained on, or what the arms with data = NAME are; may be repeated.",
            show_default=False,
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Evaluated on: as of vpmim linear-eval.", show_default=False)],
    data: Annotated[Path, typer.Option(metavar="DIR", help="That data set.", show_default=False)],
    labels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its tables, where --data is a cache.", show_default=False)
    ] = None,
    split: Annotated[str | None, typer.Option(help="Default the data set's first.", show_default=False)] = None,
    split_file: Annotated[Path | None, typer.Option(metavar="F", help="Lists of a split.", show_default=False)] = None,
    features: Annotated[
        str | None, typer.Option(help="cls, mean, both or last4; default cls.", show_default=False)
    ] = None,
    protocol: Annotated[str, typer.Option(help="As of vpmim linear-eval.")] = "cached",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of every arm.")
    ] = None,
    devices: Annotated[
        str, typer.Option(metavar="D[,D...]", help="One process a device, such as cuda:0,cuda:1.")
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Compare configurations: train every arm with every seed, evaluate, and write one table.

    What is done is not done again: the same command goes on after an interruption. The table gives each arm's mean AUC
    over the seeds and its paired difference from the baseline, with 95 % intervals by bootstrap over patients;
    report.html shows it, with a link to the report of each run.

    Examples:

    ```
    vpmim ablate priors --cache out/cache --dataset rsna --data rsna --out out/priors --devices cuda:0,cuda:1
    vpmim ablate my_grid.toml --cache out/cache --dataset folder --data xrays --out out/mine --dry-run
    ```
    """
    from vpmim.ablate import ablate as run_grid
    from vpmim.ablate import plan
    from vpmim.ablation_grid import load_grid

    chosen = load_grid(grid, overrides or [])
    caches: dict[str, list[Path]] = {}
    for given in cache:
        name, named, path = given.partition("=")
        caches.setdefault(name if named else "", []).append(Path(path if named else given))
    if dry_run:
        cells = plan(chosen, out, caches)
        listed = [
            {"arm": cell.arm, "seed": cell.config.seed, "done": cell.done, "folder": str(cell.folder)} for cell in cells
        ]
        missing = sum(not cell.done for cell in cells)
        counts = {"runs": len(cells), "to_do": missing, "out": str(out)}
        summary(counts, as_json=as_json, title=f"ablation {chosen.name}", table=listed)
        return
    evaluation = {
        "dataset": dataset,
        "data": data,
        "labels": labels,
        "split": split,
        "split_file": split_file,
        "features": features,
        "protocol": protocol,
        "convert": partial(convert_dicom, cache=out / "images"),
    }
    done = run_grid(chosen, caches, out, evaluation, devices=devices.split(","), say=note)
    # until a run of the first arm is done there is nothing to compare with, and neither file
    written = {
        "table": str(out / "table.md") if done.rows else None,
        "report": str(out / "report.html") if done.rows else None,
    }
    summary(
        {"ran": done.ran, "found_done": done.found} | written | {"out": str(out)},
        as_json=as_json,
        title=f"ablation {chosen.name}",
        table=done.rows,
    )
    if done.interrupted:
        note("interrupted; the same command goes on")
        raise typer.Exit(EXIT_INTERRUPTED)
