"""``vpmim gaze fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import note, summary
from vpmim_cli.counting import counting


def gaze_fit(
    caches: Annotated[
        list[Path], typer.Argument(metavar="CACHE", help="Caches with measured gaze.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="G", help="A new or empty folder.", show_default=False)],
    encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|WEIGHTS", help="The encoder that the gaze head stands on, frozen.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="head (default with --encoder), or unet (on the pixels; without).", show_default=False),
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts that the patients are dealt into.")] = 5,
    epochs: Annotated[int, typer.Option(help="Passes over the images, each fit.")] = 30,
    seed: Annotated[int, typer.Option(help="Of the folds, the first weights and the order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Learn where readers look, so that images without gaze can have a prior.

    Cross-fitted by patient: no image is judged, or later predicted, by a network that saw gaze of its patient. The
    figures are out of fold, beside the mean map of the same training patients, with 95 % intervals over patients.

    Examples:

    ```
    vpmim gaze fit out/cache --out out/gaze --encoder runs/vp_mim
    vpmim gaze fit out/cache --out out/gaze_unet
    ```
    """
    from vpmim.gaze_fit import fit_gaze

    with counting("fitting", "networks") as advance:
        results = fit_gaze(
            caches,
            out,
            encoder=encoder,
            model=model,
            folds=folds,
            epochs=epochs,
            seed=seed,
            device=device,
            progress=advance,
        )
    if alone := results["images_grouped_by_image_id"]:
        note(f"{alone} images name no patient: each counts as a patient of its own")
    if results["simulated_gaze"]:
        note("the gaze is simulated: its ids begin with 99, and no person looked at these images")
    table = [
        {"out of fold": name} | {f"{score} {end}": value for score, of in figures.items() for end, value in of.items()}
        for name, figures in (*results["systems"].items(), ("difference", results["difference"]))
    ]
    shown = [{key: value for key, value in row.items() if not key.endswith("p_bootstrap")} for row in table]
    names = ("model", "images", "patients", "folds", "judged", "left_out")
    head = {name: results[name] for name in names} | {"out": str(out)}
    summary(head, as_json=as_json, title="gaze predictor", table=shown)
