"""``gazekit report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import progress, summary


def report(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The cache.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT.html", help="The page to write.", show_default=False)],
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only this row; may be given again.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N rows.", show_default=False)] = None,
    readings: Annotated[
        int, typer.Option(help="Readings a page; the others go to OUT-2.html and so on, linked.")
    ] = 200,
    title: Annotated[str | None, typer.Option(help="Heading of the page.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Make one HTML page to look at a cache: every reading with heat, fixations, patches, transcript and replay.

    The page is one file, works from disk and loads nothing. It holds the images: who may not see them may not have it.

    Example:

    ```
    gazekit report out/cache out/readings.html
    ```
    """
    from gazekit.cache import open_cache
    from gazekit.render import choose_rows
    from gazekit.report import images_of, write_report

    opened = open_cache(cache)
    rows = choose_rows(opened, ids=ids, limit=limit)
    with progress("drawing", len(images_of(opened, rows)), "images") as advance:
        written = write_report(opened, out, rows=rows, readings_a_page=readings, title=title, on_image=advance)
    summary({"out": written.pop("report"), **written}, as_json=as_json, title="report")
