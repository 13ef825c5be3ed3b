"""``vpmim table``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import summary


def table(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders that vpmim linear-eval wrote.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object on stdout.")] = False,
) -> None:
    """Print results side by side, as a Markdown table: AUC x 100 with 95 % intervals.

    Below it, the paired difference of each evaluation from the first, where both are of the same test images.

    Examples:

    ```
    vpmim table out/eval_vp_mim out/eval_mae
    vpmim table out/eval_* > results.md
    ```
    """
    from vpmim.comparison import render_differences
    from vpmim.results import read_results
    from vpmim.results_table import render_table

    if as_json:
        summary({str(folder): read_results(folder) for folder in folders}, as_json=True, title="results")
        return
    typer.echo(render_table(folders), nl=False)
    if differences := render_differences(folders):
        typer.echo("\n" + differences, nl=False)
