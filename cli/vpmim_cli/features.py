"""``vpmim features``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, summary
from vpmim_cli.counting import counting


def features(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|WEIGHTS", help="A run, or a file or folder of weights.", show_default=False)
    ],
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="A folder of PNG or JPEG images, one such file, or a gazekit cache.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="F.npz", help="The file to write.", show_default=False)],
    kind: Annotated[
        str, typer.Option("--features", help="cls, mean (of the patches), both, last4 (blocks) or patches.")
    ] = "cls",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at images that cannot be read.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the images, try the network, and stop; writes nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Encode images: one feature vector each, prepared as in pre-training.

    Examples:

    ```
    vpmim features runs/vp_mim xrays --out features.npz --dry-run
    vpmim features runs/vp_mim xrays --out features.npz
    vpmim features exported/model.safetensors out/cache --out features.npz --features both
    ```
    """
    from vpmim.evaluation_dry_run import forecast_features
    from vpmim.feature_file import write_features

    if dry_run:
        forecast = forecast_features(source, images, out, kind=kind, device=device)
        summary(asdict(forecast) | {"out": str(out)}, as_json=as_json, title="features, not run")
        return
    with counting("encoding", "images") as advance:
        done = write_features(source, images, out, kind=kind, strict=strict, device=device, progress=advance)
    for name, reason, message in done.skipped:
        note(f"skipped: {name}, {reason}: {message}")
    summary(
        {
            "images": done.images,
            "features": done.width,
            "skipped": len(done.skipped),
            "weights_sha256": done.weights_sha256,
            "preprocessing_sha256": done.preprocessing_sha256,
            "out": str(out),
        },
        as_json=as_json,
        title="features",
        table=[{"skipped": name, "reason": reason} for name, reason, _ in done.skipped],
    )
    if done.skipped:
        raise typer.Exit(EXIT_SKIPPED)
