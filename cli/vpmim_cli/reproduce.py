"""``vpmim reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import note, summary
from vpmim.reproduction import Sources, beside_paper, check_sources, run_steps, steps


def reproduce(
    reflacx: Annotated[Path, typer.Option(metavar="DIR", help="REFLACX 1.0.0.", show_default=False)],
    mimic_cxr: Annotated[Path, typer.Option(metavar="DIR", help="MIMIC-CXR 2.0.0 (DICOM).", show_default=False)],
    rsna: Annotated[Path, typer.Option(metavar="DIR", help="RSNA Pneumonia, stage 2.", show_default=False)],
    chestxray14: Annotated[Path, typer.Option(metavar="DIR", help="ChestX-ray14.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Everything that is made.", show_default=False)],
    config: Annotated[str, typer.Option(metavar="NAME|FILE.toml", help="Pre-training.")] = "paper/vp_mim",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a pre-training setting.")
    ] = None,
    recipe_overrides: Annotated[
        list[str] | None, typer.Option("--set-recipe", metavar="KEY=VALUE", help="Override a fine-tuning setting.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", help="Of linear evaluation; default cached and sgd.")
    ] = None,
    mrm_lists: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Lists of MRM's ChestX-ray14 split, to fine-tune on it too.", show_default=False
        ),
    ] = None,
    scaled: Annotated[
        bool, typer.Option("--scaled/--no-scaled", help="Also pre-train on all of MIMIC-CXR and fine-tune that.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the steps, what they read and how long, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Run the paper's experiments end to end and lay the results beside its numbers.

    REFLACX to a cache, VP-MIM on it, linear evaluation on RSNA and ChestX-ray14; then pre-training with all of
    MIMIC-CXR and fine-tuning on ChestX-ray14. Every step is one of our own commands, printed as it is run; what is done
    is not done again. The paper does not state its ChestX-ray14 split: give --mrm-lists to have both families.

    Examples:

    ```
    vpmim reproduce --reflacx reflacx --mimic-cxr mimic --rsna rsna --chestxray14 nih --out out/paper --dry-run
    vpmim reproduce --reflacx reflacx --mimic-cxr mimic --rsna rsna --chestxray14 nih --out out/paper --no-scaled
    ```
    """
    from gazekit.new_directory import refuse_unwritable

    made = steps(
        Sources(reflacx=reflacx, mimic_cxr=mimic_cxr, rsna=rsna, chestxray14=chestxray14, mrm_lists=mrm_lists),
        out,
        config=config,
        overrides=overrides or [],
        recipe_overrides=recipe_overrides or [],
        protocols=protocol or ["cached", "sgd"],
        scaled=scaled,
        device=device,
    )
    refuse_unwritable(out)
    if dry_run:
        listed = [
            {
                "step": step.name,
                "reads": ", ".join(map(str, step.reads)),
                "there": all(path.exists() for path in step.reads),
                "done": step.done,
                "hours": round(step.hours, 2),
                "command": " ".join(step.command),
            }
            for step in made
        ]
        note("hours are expected, not measured: 8,000 images/s of pre-training (one GPU), 8 cores that read images")
        hours = round(sum(step.hours for step in made if not step.done), 1)
        summary(
            {"steps": len(made), "hours": hours, "out": str(out)}, as_json=as_json, title="reproduction", table=listed
        )
        return
    check_sources(made)
    out.mkdir(parents=True, exist_ok=True)
    if code := run_steps(made, say=note):
        note("stopped there; the same command goes on")
        raise typer.Exit(code)
    rows = beside_paper(out)
    summary({"results": len(rows), "out": str(out)}, as_json=as_json, title="beside the paper", table=rows)
