"""``vpmim doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gazekit_cli.console import EXIT_SKIPPED, progress, summary


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
) -> None:
    """Look at the environment and the devices, and name what is wrong with its cure.

    Exit code 1 if anything does not work.

    Example:

    ```
    vpmim doctor
    ```
    """
    from vpmim.doctor import examine

    with progress("importing torch and looking at the devices"):
        findings = examine()
    count = {status: sum(finding.status == status for finding in findings) for status in ("ok", "warn", "fail")}
    summary(count, as_json=as_json, title="doctor", table=[asdict(finding) for finding in findings])
    if count["fail"]:
        raise typer.Exit(EXIT_SKIPPED)
