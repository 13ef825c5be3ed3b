"""``gazekit export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import progress, summary


def export(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The cache.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A directory to make.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="png, npy, zarr, webdataset or bids.",
            show_default=False,
            autocompletion=names_in("gazekit.export:FORMATS"),
        ),
    ],
    verify: Annotated[bool, typer.Option("--verify", help="Re-hash the cache first; refuse a damaged one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many rows would be written where.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Write a cache in the format of another tool; OUT appears when all of it is written.

    png: 8-bit images, 16-bit heatmaps, tables. npy: one dense array a file. zarr: a zarr v3 group. webdataset: tar
    files. bids: eye-tracking BIDS.

    Examples:

    ```
    gazekit export out/cache out/pictures --to png --dry-run
    gazekit export out/cache out/pictures --to png
    ```
    """
    from gazekit.cache import open_cache
    from gazekit.export import check_export, export_cache

    opened = open_cache(cache, verify=verify)
    if dry_run:
        check_export(opened, out, to=to)
        values = {"rows": len(opened), "format": to, "out": str(out)}
        summary(values, as_json=as_json, title="export, not run")
        return
    with progress("exporting", len(opened), "rows") as advance:
        rows = export_cache(opened, out, to=to, on_row=advance)
    summary({"rows": rows, "format": to, "out": str(out)}, as_json=as_json, title="export")
