"""``vpmim localise``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, summary
from vpmim_cli.counting import counting
from vpmim_cli.dicom_cache import convert_dicom


def localise(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|WEIGHTS", help="A run, or a file or folder of weights.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The data set as published, or a cache of its images.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the result.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(
            help="chestxray14, rsna or vindr: its boxes; gaze: the measured gaze of the cache.", show_default=False
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the tables, where --data is a cache.", show_default=False),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where DICOM is converted once; default OUT/images.", show_default=False),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out images that are missing or unreadable; exit code 1.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Measure whether an encoder looks where the finding is: pointing game and AUC of patches, beside the centre.

    The maps are the class token's attention and, of a run with a gaze head, the gaze that it expects.

    Examples:

    ```
    vpmim localise runs/vp_mim --dataset chestxray14 --data nih --out out/boxes
    vpmim localise runs/vp_mim_joint --dataset gaze --data out/cache --out out/looks
    ```
    """
    from vpmim.evaluation import Task
    from vpmim.localise import localise as measure

    task = Task(
        data=data,
        dataset=dataset,
        labels=labels,
        allow_missing=allow_missing,
        convert=partial(convert_dicom, cache=cache or out / "images"),
    )
    with counting("encoding", "images", then="scoring") as advance:
        results = measure(source, task, out, device=device, progress=advance)
    for name in results["skipped"]:
        note(f"skipped: {name}")
    table = [
        {"map": name} | {f"{k} {end}": figures[k][end] for k in ("pointing", "auc") for end in ("value", "low", "high")}
        for name, figures in results["maps"].items()
    ]
    head = {"images": results["images"], "targets": results["targets"]}
    head |= {"results": str(out / "localisation.json"), "out": str(out)}
    summary(head, as_json=as_json, title="localisation", table=table)
    if results["skipped"]:
        raise typer.Exit(EXIT_SKIPPED)
