"""``gazekit verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, progress, summary


def verify(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The cache.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Re-hash every file of a cache: exit code 0 intact, 1 damaged, each file named.

    Example:

    ```
    gazekit verify out/cache
    ```
    """
    from gazekit.verify import damage

    with progress("hashing", None, "shards") as advance:
        problems = damage(cache, on_shard=advance)
    state = "damaged" if problems else "intact"
    values = {"cache": str(cache), "state": state, "damaged": problems if as_json else len(problems)}
    summary(values, as_json=as_json, title="verify", table=() if as_json else [{"damaged": p} for p in problems])
    if problems:
        note(
            "remove the folder of each damaged shard and run the same `gazekit build-heatmaps` again: it makes what is "
            "missing, as it was; for a damaged cache.json remove it, manifest.parquet and failures.csv"
        )
        raise typer.Exit(EXIT_SKIPPED)
