"""``gazekit build-heatmaps``."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gazekit.errors import InputError
from gazekit_cli.build_summary import show_build
from gazekit_cli.completion import names_in
from gazekit_cli.console import note, progress, summary
from gazekit_cli.options import DistanceOption, ScreenMmOption, ScreenPxOption, SpecOption, parse_grid, parse_screen


def build_heatmaps(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The data set as published.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The cache to make or to go on with.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(
            help="Format of ROOT: reflacx, egd, mimic-eye, bids, tobii, eyelink, gazepoint, pupil, table, or images "
            "for a folder without gaze.",
            autocompletion=names_in("gazekit.sources:SOURCES"),
        ),
    ],
    images: Annotated[
        Path | None, typer.Option(help="Where the images lie; images, mimic-eye: default ROOT.", show_default=False)
    ] = None,
    spec: SpecOption = None,
    screen_px: ScreenPxOption = None,
    screen_mm: ScreenMmOption = None,
    distance_mm: DistanceOption = None,
    keep_no_gaze: Annotated[bool, typer.Option("--keep-no-gaze", help="Keep images without gaze.")] = False,
    sigma_dva: Annotated[float, typer.Option(help="Spread of a fixation in degrees of visual angle.")] = 1.0,
    image_size: Annotated[int, typer.Option(help="Side of the stored square in pixels.")] = 256,
    grid: Annotated[str, typer.Option(metavar="N|RxC", help="Patches of the stored relevance.")] = "14",
    heatmap_size: Annotated[int, typer.Option(help="Side of the stored heatmap; 0 for none.")] = 224,
    per: Annotated[
        str,
        typer.Option(
            help="A row is an image (readers averaged) or a reading.", autocompletion=names_in("gazekit.plan:PER")
        ),
    ] = "image",
    gaze: Annotated[
        str,
        typer.Option(
            "--from",
            help="fixations, or samples: raw gaze, weighed by time.",
            autocompletion=names_in("gazekit.plan:GAZE"),
        ),
    ] = "fixations",
    window: Annotated[
        str,
        typer.Option(
            help="whole, or sentences: a row for each sentence of each reading, <reading_id>.s00 on.",
            autocompletion=names_in("gazekit.plan:WINDOWS"),
        ),
    ] = "whole",
    windowing: Annotated[
        str,
        typer.Option(
            help="dicom, reflacx, percentile or mimic-jpg.", autocompletion=names_in("gazekit.windowing:WINDOWINGS")
        ),
    ] = "dicom",
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes; default one a core. With slurm: jobs at a time.", show_default=False),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            help="processes; dask or slurm for a cluster; serial for debugging.",
            autocompletion=names_in("gazekit.executors:EXECUTORS"),
        ),
    ] = "processes",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A running Dask scheduler; default one on this machine.", show_default=False
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(help="Ids a shard.")] = 512,
    task_index: Annotated[
        int | None,
        typer.Option(
            help="Build only the shards of this task (from 0); default: of the job array.", show_default=False
        ),
    ] = None,
    task_count: Annotated[
        int | None, typer.Option(help="Number of tasks; default: of the Slurm array.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N ids.", show_default=False)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first record that must be skipped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count what there is to do, and stop; writes nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Build heatmaps, patch relevance and stored images from gaze and X-rays.

    The result is a cache that `vpmim train` reads and `gazekit inspect` describes. Run the same command again to go
    on after an interruption.

    Examples:

    ```
    gazekit build-heatmaps reflacx/ out/cache --dataset reflacx --images physionet.org/files/mimic-cxr/2.0.0
    gazekit build-heatmaps xrays/ out/cache --dataset images --dry-run
    gazekit build-heatmaps recordings/ out/cache --dataset table --spec lab.toml --images xrays/
    gazekit build-heatmaps reflacx/ out/cache --dataset reflacx --images mimic/ --task-index 3 --task-count 16
    gazekit build-heatmaps reflacx/ out/cache --dataset reflacx --images mimic/ --executor dask --scheduler tcp://head:8786
    ```
    """
    from gazekit.build import build_heatmaps as build
    from gazekit.clusters import array_task
    from gazekit.dry_run import forecast_build
    from gazekit.sources import SOURCES, open_source

    if images is None and dataset in SOURCES and dataset not in ("images", "mimic-eye"):
        raise InputError(f"--dataset {dataset} needs --images DIR, the directory that holds the X-rays")
    screen = parse_screen(screen_px, screen_mm, distance_mm)
    readings = open_source(dataset, root, images=images, spec=spec, screen=screen)
    for line in readings.notes:
        note(f"note: {line}")
    parameters: dict[str, Any] = {
        "sigma_dva": sigma_dva,
        "image_size": image_size,
        "grid": parse_grid(grid),
        "heatmap_size": heatmap_size,
        "per": per,
        "gaze": gaze,
        "window": window,
        "windowing": windowing,
        "keep_no_gaze": keep_no_gaze,
        "shard_size": shard_size,
        "limit": limit,
    }
    if dry_run:
        forecast = forecast_build(readings, images or root, out, **parameters)
        summary(asdict(forecast) | {"out": str(out)}, as_json=as_json, title="build-heatmaps, not run")
        return
    if executor in ("processes", "serial"):
        task_index, task_count = array_task(os.environ, task_index, task_count)
    if task_index is not None and task_count is not None:
        note(f"note: this is task {task_index} of {task_count}, counted from 0")
    with progress("building", None, "rows") as advance:
        done = build(
            readings,
            images or root,
            out,
            **parameters,
            workers=workers,
            executor=executor,
            scheduler=scheduler,
            task_index=task_index,
            task_count=task_count,
            strict=strict,
            on_plan=lambda total: advance(0, total),
            on_row=advance,
        )
    show_build(done, title="build-heatmaps", as_json=as_json)
