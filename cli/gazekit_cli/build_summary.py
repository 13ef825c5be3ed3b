"""The last words of the commands that build a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, summary

if TYPE_CHECKING:
    from gazekit.build_summary import BuildSummary

LISTED = 20
WARNED = 5


def show_build(result: BuildSummary, *, title: str, as_json: bool) -> None:
    """Print what was built and what was skipped; exit 1 if anything was skipped, if only one row of a table."""
    values: dict[str, Any] = {
        "images": result.images,
        "readings": result.readings,
        "skipped": result.skipped,
        "dropped_or_replaced": result.counts,
        "image_flags": result.image_flags,
        "warnings": len(result.warnings),
        "rows_built": result.rows_built,
        "seconds": round(result.seconds, 3),
        "images_per_s": round(result.images_per_s, 2),
        "complete": result.complete,
        "out": str(result.path),
    }
    if as_json:
        values |= {
            "dataset": result.dataset,
            "failures": result.failures,
            "warnings": result.warnings,
            "missing_shards": result.missing_shards,
        }
    for warning in result.warnings[:WARNED]:
        note(f"warning: {warning}")
    if len(result.warnings) > WARNED:
        note(f"and {len(result.warnings) - WARNED} more warnings; all in readings.jsonl of each shard")
    summary(values, as_json=as_json, title=title, table=() if as_json else _listing(result.failures))
    if len(result.failures) > LISTED:
        note(f"and {len(result.failures) - LISTED} more skipped; all in failures.csv of a finished cache")
    if result.complete and result.failures and not result.images:
        note("warning: nothing could be used: everything was skipped, and the cache holds no image")
    if result.failures or result.skipped_rows:
        raise typer.Exit(EXIT_SKIPPED)


def _listing(failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "skipped": failure["id"],
            "readings": " ".join(failure["reading_ids"]),
            "reason": failure["reason"],
            "message": failure["message"],
        }
        for failure in failures[:LISTED]
    ]
