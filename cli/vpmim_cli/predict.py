"""``vpmim predict``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, summary
from vpmim_cli.counting import counting


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN2", help="A folder of vpmim finetune.", show_default=False)],
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of PNG or JPEG images, one such file, or a gazekit cache.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="F.csv", help="The table to write; replaced.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Stop at images that cannot be read.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the images, try the network, and stop; writes nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Score new images with a fine-tuned classifier: one row an image, one probability a class.

    A research tool: its scores are no diagnosis, and are calibrated no better than `results.json` says.

    Examples:

    ```
    vpmim predict out/tuned xrays --out scores.csv
    vpmim predict out/tuned out/cache --out scores.csv
    ```
    """
    from vpmim.evaluation_dry_run import forecast_scores
    from vpmim.predict import predict as score_images

    if dry_run:
        forecast = forecast_scores(run, images, out, device=device)
        summary(asdict(forecast) | {"out": str(out)}, as_json=as_json, title="predict, not run")
        return
    with counting("scoring", "images") as advance:
        done = score_images(run, images, out, strict=strict, device=device, progress=advance)
    for name, reason, message in done.skipped:
        note(f"skipped: {name}, {reason}: {message}")
    summary(
        {"images": done.images, "classes": len(done.classes), "skipped": len(done.skipped), "out": str(out)},
        as_json=as_json,
        title="scores",
        table=[{"skipped": name, "reason": reason} for name, reason, _ in done.skipped],
    )
    if done.skipped:
        raise typer.Exit(EXIT_SKIPPED)
