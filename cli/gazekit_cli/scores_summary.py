"""The last words of the commands that score gaze, reading by reading or image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, summary


def show_scores(
    values: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    mean: Mapping[str, float | None],
    skipped: Sequence[tuple[str, str, str]],
    title: str,
    as_json: bool,
    shown: Sequence[str] | None = None,
) -> None:
    """Print the scores, their means and what was skipped; exit 1 if anything was.

    Parameters
    ----------
    values : figures of the head
    rows : scores of each; the first key names what is scored
    mean : of each score; None where nothing has it
    skipped : (id, reason, message)
    title : of the command
    as_json : one JSON object
    shown : the keys of a row that a person is shown; default all
    """
    if as_json:
        key = next(iter(rows[0]))
        failures = [{key: i, "reason": reason, "message": text} for i, reason, text in skipped]
        summary({**values, "mean": mean, "failures": failures}, as_json=True, title=title, table=rows)
    else:
        for i, reason, text in skipped:
            note(f"skipped {i}: {reason}: {text}")
        means = {f"mean {name}": "none" if value is None else value for name, value in mean.items()}
        brief = rows if shown is None else [{name: row[name] for name in shown if name in row} for row in rows]
        summary({**values, **means}, as_json=False, title=title, table=brief)
    if skipped:
        raise typer.Exit(EXIT_SKIPPED)
