"""``vpmim finetune``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import note, summary
from vpmim_cli.counting import in_turn
from vpmim_cli.dicom_cache import convert_dicom
from vpmim_cli.evaluation_summary import show_results


def finetune(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|WEIGHTS", help="A run, or a file or folder of weights.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The data set as published, or a cache of its images.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(metavar="RUN2", help="Folder for the classifier and its results.", show_default=False)
    ],
    dataset: Annotated[
        str,
        typer.Option(
            help="chestxray14, rsna, chexpert, siim, vindr, mimic or folder.",
            show_default=False,
            autocompletion=names_in("vpmim.datasets:DATASETS"),
        ),
    ],
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE.toml", help="A recipe of configs/recipes.")] = "finetune",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe; may be repeated."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the label tables, where --data is a cache.", show_default=False),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Default the data set's first.", show_default=False)] = None,
    split_file: Annotated[
        Path | None, typer.Option(metavar="F", help="Lists of a split: a CSV, or a folder.", show_default=False)
    ] = None,
    uncertain: Annotated[
        str | None, typer.Option(help="chexpert, mimic: mgca, ones, zeros or unknown.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where DICOM images are converted once; default RUN2/images.", show_default=False
        ),
    ] = None,
    fraction: Annotated[float, typer.Option(help="Share of the training labels that is used.")] = 1.0,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out images that are missing or unreadable; exit code 1.")
    ] = False,
    pretrain_ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ids the encoder was pre-trained on, one a line.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Try tables, images, encoder and folder, count, and stop; writes nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Fine-tune an encoder on labelled chest X-rays and score the test images once.

    The epoch is chosen on the validation part. RUN2 gets the results as of `vpmim linear-eval`, and the classifier that
    `vpmim predict` loads.

    Examples:

    ```
    vpmim finetune runs/vp_mim --dataset folder --data data/sample/labelled --out out/tuned --set epochs=5
    vpmim finetune runs/vp_mim --dataset rsna --data rsna --out out/rsna --dry-run
    vpmim finetune runs/vp_mim --dataset rsna --data rsna --fraction 0.1 --recipe mrm --out out/rsna_10
    ```
    """
    from vpmim.evaluation import Task
    from vpmim.evaluation_dry_run import forecast_evaluation
    from vpmim.finetune import finetune as tune
    from vpmim.recipe import load_recipe

    chosen = load_recipe(recipe, overrides or [])
    task = Task(
        data=data,
        dataset=dataset,
        labels=labels,
        split=split,
        split_file=split_file,
        uncertain=uncertain,
        fraction=fraction,
        allow_missing=allow_missing,
        pretrain_ids=pretrain_ids,
        convert=partial(convert_dicom, cache=cache or out / "images"),
    )
    name = Path(recipe).stem
    if dry_run:
        forecast = forecast_evaluation(source, task, out, chosen, name=name, resume=resume, device=device)
        summary(asdict(forecast), as_json=as_json, title="finetune, not run")
        return
    with in_turn(("reading", "images", ""), ("training", "epochs", "scoring")) as (read, trained):
        results = tune(
            source,
            task,
            out,
            chosen,
            name=name,
            resume=resume,
            device=device,
            say=note,
            progress=read,
            on_epoch=trained,
        )
    show_results(results, out, title="fine-tuning", as_json=as_json)
