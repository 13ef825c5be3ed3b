"""``gazekit finalize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.build_summary import show_build
from gazekit_cli.console import EXIT_SKIPPED, note, progress


def finalize(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The cache.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Join the shards that all tasks of a build have made, and write the manifest.

    Exit code 1 names the shards that are still missing. It can be run again at any time, also to rewrite a manifest
    that was lost.

    Example:

    ```
    gazekit finalize out/cache
    ```
    """
    from gazekit.build import finalize as join

    with progress("joining the shards"):
        result = join(out)
    for name in result.missing_shards:
        note(f"missing: shard {name}; run its task (shard number modulo the number of tasks) again")
    show_build(result, title="finalize", as_json=as_json)
    if result.missing_shards:
        raise typer.Exit(EXIT_SKIPPED)
