"""``vpmim report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import progress, summary


def report(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run, finished or not; or the folder of an ablation.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT.html", help="The page; default RUN/report.html.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="CACHE", help="A cache of the run, whose gaze is shown.", show_default=False)
    ] = None,
    evaluations: Annotated[
        list[Path] | None,
        typer.Option(
            "--eval",
            metavar="DIR",
            help="Results of linear-eval or finetune, side by side; may be repeated.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Another run, drawn beside this one; may be repeated.", show_default=False),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.", show_default=False)] = None,
    notes: Annotated[
        list[str] | None,
        typer.Option("--note", metavar="TEXT", help="A sentence for the top of the page; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Write one self-contained HTML page about a run, or about all runs of an ablation.

    It shows the gaze, what the model sees, hides, reconstructs and weighs at each saved step, the curves, other runs
    beside them, the evaluations with their intervals, every setting and the environment. The page loads nothing from
    anywhere. The page of an ablation has its arms with their differences, and links to the report of each run, which
    is made where it is missing.

    Examples:

    ```
    vpmim report runs/vp_mim
    vpmim report runs/vp_mim out/report.html --cache out/cache --eval out/eval
    vpmim report runs/vp_mim out/both.html --compare runs/mae --eval out/eval_vp_mim --eval out/eval_mae
    vpmim report out/priors
    ```
    """
    from vpmim.report import write_report
    from vpmim.report_ablation import is_ablation, write_ablation_report

    if is_ablation(run):
        if cache or evaluations or compare or notes:
            raise typer.BadParameter(
                f"{run} is an ablation, whose page takes none of --cache, --eval, --compare and --note; "
                "name one of its runs"
            )
        with progress("drawing the page and the reports of the runs"):
            done = write_ablation_report(run, out, title=title)
    else:
        with progress("drawing the report"):
            done = write_report(
                run,
                out,
                cache=cache,
                evaluations=evaluations or [],
                compare=compare or [],
                notes=notes or [],
                title=title,
            )
    values = {"out": done["report"], "bytes": done["bytes"], "sections": len(done["sections"])}
    summary(values, as_json=as_json, title="report")
