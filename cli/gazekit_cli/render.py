"""``gazekit render``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import progress, summary


def render(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The cache.", show_default=False)],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where the pictures go.", show_default=False)],
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only this row; may be given again.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N rows.", show_default=False)] = None,
    size: Annotated[int, typer.Option(help="Side of a panel in pixels, of pictures without --dpi.")] = 640,
    format_: Annotated[
        str,
        typer.Option("--format", help="png, svg or pdf.", autocompletion=names_in("gazekit.figures:FORMATS")),
    ] = "png",
    dpi: Annotated[
        int | None,
        typer.Option(
            help="Figures for print at this resolution (svg, pdf, sheets: 300).",
            show_default=False,
        ),
    ] = None,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet", help="All rows on few sheets, 24 on each, in place of a file a row.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Draw each row as one picture: heatmap, scanpath and patch relevance, side by side over the X-ray.

    With `--dpi`, as svg or pdf and on contact sheets they are figures for print: axes in image pixels, scales that are
    the same for every row, and colour bars.

    Examples:

    ```
    gazekit render out/cache out/pictures --limit 20
    gazekit render out/cache out/figures --format pdf
    gazekit render out/cache out/sheets --contact-sheet --dpi 150
    ```
    """
    from gazekit.cache import open_cache
    from gazekit.figures import render_figures
    from gazekit.render import choose_rows, render_cache

    opened = open_cache(cache)
    rows = choose_rows(opened, ids=ids, limit=limit)
    with progress("drawing", len(rows), "rows") as advance:
        if format_ == "png" and dpi is None and not contact_sheet:
            pictures = render_cache(opened, out_dir, rows=rows, size=size, on_row=advance)
        else:
            pictures = render_figures(
                opened,
                out_dir,
                rows=rows,
                format=format_,
                dpi=300 if dpi is None else dpi,
                contact_sheet=contact_sheet,
                on_row=advance,
            )
    summary({"pictures": pictures, "out": str(out_dir)}, as_json=as_json, title="render")
