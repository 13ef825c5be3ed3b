"""``vpmim train``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import note, progress, summary


def train(
    data: Annotated[
        list[Path],
        typer.Argument(metavar="CACHE", help="Caches of gazekit, folders of PNG or JPEG images, or both."),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="The folder that the run is written to.")],
    config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="A method by name (configs/), or a file.",
            autocompletion=names_in("vpmim.config:config_names"),
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest complete checkpoint of RUN.")] = False,
    init: Annotated[
        str | None,
        typer.Option(metavar="scratch|imagenet|PATH", help="The encoder's first weights; default the configuration's."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a folder with an image that cannot be read.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try settings, data and network, say what would be done, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Pre-train an encoder on X-rays, guided by the gaze of those who read them.

    RUN gets the resolved configuration, the figures of every step, checkpoints and panels. The same command with
    --resume goes on after an interruption.

    Examples:

    ```
    vpmim train out/cache --out runs/vp_mim --config vp_mim --set train.batch_size=64 --dry-run
    vpmim train out/cache --out runs/vp_mim --config vp_mim --set train.batch_size=64
    vpmim train out/cache --out runs/vp_mim --config vp_mim --set train.batch_size=64 --resume
    torchrun --nproc-per-node 4 -m vpmim_cli train out/cache --out runs/vp_mim --config vp_mim
    ```
    """
    from vpmim.dry_run import forecast_training
    from vpmim.plain_cli import exit_code
    from vpmim.process import speaks
    from vpmim.run_folder import requested_config
    from vpmim.train import train as train_run

    chosen = requested_config(out, config=config, overrides=overrides or [], init=init, resume=resume)
    if dry_run:
        forecast = forecast_training(data, out, chosen, resume=resume, strict=strict)
        summary(asdict(forecast) | {"out": str(out)}, as_json=as_json, title="train, not run")
        return
    with progress("training", None, "steps") if speaks() else nullcontext(lambda *_: None) as on_step:
        done = train_run(data, out, chosen, resume=resume, device=device, strict=strict, say=note, on_step=on_step)
    if speaks():
        summary(asdict(done) | {"out": str(out)}, as_json=as_json, title=f"Run {done.run}")
    if code := exit_code(done):
        raise typer.Exit(code)
