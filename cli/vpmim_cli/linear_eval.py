"""``vpmim linear-eval``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import note, summary
from vpmim_cli.counting import in_turn
from vpmim_cli.dicom_cache import convert_dicom
from vpmim_cli.evaluation_summary import show_results


def linear_eval(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|WEIGHTS", help="A run, or a file or folder of weights.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The data set as published, or a cache of its images.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(
            help="chestxray14, rsna, chexpert, siim, vindr, mimic; or folder: class folders, or labels.csv (path, "
            "patient_id, labels, split).",
            show_default=False,
            autocompletion=names_in("vpmim.datasets:DATASETS"),
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the label tables, where --data is a cache.", show_default=False),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="official, mgca, mrm, own, file, ...: default the data set's first.", show_default=False),
    ] = None,
    split_file: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Lists of a split: a CSV with a split column, or a folder.", show_default=False),
    ] = None,
    uncertain: Annotated[
        str | None,
        typer.Option(help="chexpert, mimic: mgca, ones, zeros or unknown for labels -1.", show_default=False),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where DICOM images are converted once; default OUT/images.", show_default=False
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="cached: features once, standardised, L2 logistic regression, C chosen on validation; sgd, sgd_nih, "
            "mae: the published recipes by gradient descent (configs/recipes)."
        ),
    ] = "cached",
    features: Annotated[
        str | None, typer.Option(help="cls, mean (of the patches), both or last4; default cls.", show_default=False)
    ] = None,
    fraction: Annotated[float, typer.Option(help="Share of the training labels that is used.")] = 1.0,
    seeds: Annotated[
        int, typer.Option(help="Repetitions: label subsets where the fraction is below 1, and random encoders.")
    ] = 3,
    controls: Annotated[
        bool, typer.Option("--controls", help="Evaluate random encoders and raw pixels too, and compare.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out images that are missing or unreadable; exit code 1.")
    ] = False,
    pretrain_ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ids the encoder was pre-trained on, one a line.")
    ] = None,
    feature_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where features are kept for later; default OUT/features.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted evaluation by sgd or mae.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Try tables, images, encoder and folder, count, and stop; writes nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Measure an encoder by linear evaluation on labelled chest X-rays.

    DIR gets `results.json` (AUC and average precision of each class and their mean, with 95 % intervals by bootstrap
    over patients, split hashes, fingerprints, versions), and the scores of every test image as `scores.npz` and
    `scores.parquet`. The same command gives the same digits.

    Examples:

    ```
    vpmim linear-eval runs/vp_mim --dataset folder --data data/sample/labelled --out out/eval
    vpmim linear-eval runs/vp_mim --dataset folder --data xrays --out out/eval_10 --fraction 0.1 --controls
    vpmim linear-eval runs/vp_mim --dataset chestxray14 --data nih --out out/nih --dry-run
    vpmim linear-eval runs/vp_mim --dataset chestxray14 --data nih --out out/nih
    vpmim linear-eval runs/vp_mim --dataset rsna --data rsna --split mgca --cache out/rsna-images --out out/rsna
    ```
    """
    from vpmim.evaluate import linear_eval as evaluate
    from vpmim.evaluation import Task
    from vpmim.evaluation_dry_run import forecast_linear_eval

    about: dict[str, Any] = {
        "data": data,
        "dataset": dataset,
        "labels": labels,
        "split": split,
        "split_file": split_file,
        "uncertain": uncertain,
        "fraction": fraction,
        "allow_missing": allow_missing,
        "pretrain_ids": pretrain_ids,
    }
    how: dict[str, Any] = {
        "protocol": protocol,
        "features": features,
        "seeds": seeds,
        "controls": controls,
        "resume": resume,
        "device": device,
    }
    if dry_run:
        forecast = forecast_linear_eval(source, Task(**about), out, **how)
        summary(asdict(forecast), as_json=as_json, title="linear-eval, not run")
        return
    after = "fitting and scoring" if protocol == "cached" else ""
    with in_turn(("encoding", "images", after), ("training", "epochs", "scoring")) as (encoded, trained):
        results = evaluate(
            source,
            out=out,
            convert=partial(convert_dicom, cache=cache or out / "images"),
            feature_cache=feature_cache,
            say=note,
            progress=encoded,
            on_epoch=trained,
            **about,
            **how,
        )
    show_results(results, out, title="linear evaluation", as_json=as_json)
