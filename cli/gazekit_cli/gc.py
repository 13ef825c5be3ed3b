"""``gazekit gc``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.console import summary


def gc(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The cache.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Remove what killed runs and older plans left in a cache: temporaries, locks, foreign shards.

    A cache that a run builds now is refused. Shards that are finished stay, so that the next run goes on from them.

    Example:

    ```
    gazekit gc out/cache --dry-run
    ```
    """
    from gazekit.garbage import collect_garbage

    found = collect_garbage(cache, dry_run=dry_run)
    values = {
        "cache": str(cache),
        "removed": 0 if dry_run else len(found),
        "would_be_removed": len(found) if dry_run else 0,
        "megabytes": round(sum(garbage.n_bytes for garbage in found) / 1e6, 3),
    }
    table = [{"file": garbage.path, "what": garbage.what, "bytes": garbage.n_bytes} for garbage in found]
    summary(values, as_json=as_json, title="gc", table=table)
