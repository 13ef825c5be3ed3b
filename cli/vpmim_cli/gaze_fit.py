"""``vpmim gaze fit``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gazekit_cli.console import note, progress, summary
from vpmim_cli.counting import counting

OVERCLAIM = 0.1
"""Confidence beyond what came true that is worth a line."""


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
    weights: Annotated[
        str, typer.Option(help="trained, or ema: the moving average that some methods' RUN keeps of its encoder.")
    ] = "trained",
    allow_seen_gaze: Annotated[
        bool,
        typer.Option("--allow-seen-gaze", help="Take an encoder that was pre-trained with this gaze, and mark it."),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="head (default with --encoder), or unet (on the pixels; without).", show_default=False),
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts that the patients are dealt into.")] = 5,
    epochs: Annotated[int, typer.Option(help="Passes over the images, each fit.")] = 30,
    seed: Annotated[int, typer.Option(help="Of the folds, the first weights and the order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Try caches, folds, encoder and folder, count, and stop; writes nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Learn where readers look, so that images without gaze can have a prior.

    Cross-fitted by patient: no image is judged, or later predicted, by a network that saw gaze of its patient. The
    figures are out of fold, beside the mean map of the same training patients, with 95 % intervals over patients. An
    encoder that was itself pre-trained with this gaze has seen every fold, and is refused unless you allow it: take one
    of a method that uses no gaze, such as localmim, or of other images.

    Examples:

    ```
    vpmim gaze fit out/cache --out out/gaze --encoder runs/localmim --dry-run
    vpmim gaze fit out/cache --out out/gaze --encoder runs/localmim
    vpmim gaze fit out/cache --out out/gaze --encoder runs/hpm --weights ema
    vpmim gaze fit out/cache --out out/gaze_unet
    ```
    """
    from vpmim.gaze_dry_run import forecast_fit
    from vpmim.gaze_fit import fit_gaze, open_fit

    if weights not in ("trained", "ema"):
        raise typer.BadParameter(f"expected trained or ema, got {weights!r}", param_hint="--weights")
    asked: dict[str, Any] = {
        "encoder": encoder,
        "ema": weights == "ema",
        "allow_seen_gaze": allow_seen_gaze,
        "model": model,
        "folds": folds,
        "epochs": epochs,
        "seed": seed,
        "device": device,
    }
    if dry_run:
        with progress("reading"):
            forecast = asdict(forecast_fit(open_fit(caches, out, **asked)))
        _note_the_gaze(forecast)
        known = forecast | {"encoder_saw_gaze": forecast["encoder_saw_gaze"]["answer"]}
        summary(known, as_json=as_json, title="gaze fit, not run")
        return
    with counting("fitting", "networks") as advance:
        results = fit_gaze(caches, out, **asked, progress=advance)
    _note_the_gaze(results)
    saw = results["encoder_saw_gaze"]
    judged = "not out of fold" if saw["answer"] == "yes" else "out of fold"
    table = [
        {judged: name} | {f"{score} {end}": value for score, of in figures.items() for end, value in of.items()}
        for name, figures in (*results["systems"].items(), ("difference", results["difference"]))
    ]
    shown = [{key: value for key, value in row.items() if not key.endswith("p_bootstrap")} for row in table]
    names = ("model", "images", "patients", "folds", "judged", "left_out")
    promised = results["confidence"][next(iter(results["systems"]))]
    if promised["mean"] > promised["came_true"] + OVERCLAIM:
        claimed, came = f"{promised['mean']:.2f}", f"{promised['came_true']:.2f}"
        note(
            f"the predictions claim {claimed} of what measured gaze tells, and {came} came true: they would count for "
            "more than they are worth; fit fewer --epochs, or more images"
        )
    trust = {system: of for system, of in results["confidence"].items() if system in results["systems"]}
    head = {name: results[name] for name in names} | {
        "encoder_saw_gaze": saw["answer"],
        "confidence": {system: round(of["mean"], 3) for system, of in trust.items()},
        "confidence_that_came_true": {system: round(of["came_true"], 3) for system, of in trust.items()},
        "out": str(out),
    }
    summary(head, as_json=as_json, title="gaze predictor", table=shown)


def _note_the_gaze(facts: Mapping[str, Any]) -> None:
    """Say what is to be known of the gaze of a fit, be it done or not."""
    if alone := facts["images_grouped_by_image_id"]:
        note(f"{alone} images name no patient: each counts as a patient of its own")
    if facts["simulated_gaze"]:
        note("the gaze is simulated: no person looked at these images")
    saw = facts["encoder_saw_gaze"]
    if saw["answer"] != "no":
        unseen = "it has" if saw["answer"] == "yes" else "not known"
        note(f"whether the encoder has seen this gaze: {unseen}, since {saw['because']}")
