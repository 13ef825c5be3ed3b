"""What ``vpmim linear-eval`` and ``vpmim finetune`` say of their results at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from gazekit_cli.console import EXIT_INTERRUPTED, EXIT_SKIPPED, note, summary
from vpmim_cli.scores_table import write_parquet


def show_results(results: dict[str, Any] | None, out: Path, *, title: str, as_json: bool) -> None:
    """The last words of an evaluation, and its exit code: 3 interrupted (None), 1 images were left out."""
    if results is None:
        note("interrupted; the same command with --resume goes on")
        raise typer.Exit(EXIT_INTERRUPTED)
    write_parquet(out)
    for line in remarks(results):
        note(line)
    summary(headline(results, out), as_json=as_json, title=title, table=rows(results))
    if results["skipped"]:
        raise typer.Exit(EXIT_SKIPPED)


def remarks(results: dict[str, Any]) -> list[str]:
    """What a reader must know before the figures."""
    lines = [f"note: {text}" for text in results["notes"]]
    lines += [f"left out of the mean: {entry['class']} ({entry['reason']})" for entry in results["left_out"]]
    lines += [f"skipped: {entry['id']} ({entry['part']}), {entry['reason']}" for entry in results["skipped"]]
    overlap = results["pretraining_overlap"]
    if overlap is not None:
        lines.append(f"{overlap['in_test']} test images are among the ids of pre-training")
    return lines


def headline(results: dict[str, Any], out: Path) -> dict[str, Any]:
    test = results["split"]["test"]
    return {
        "protocol": f"{results['protocol']}, features {results['features']}",
        "dataset": results["dataset"],
        "split": results["split"]["name"],
        "test_images": test["images"],
        "test_patients": test["patients"],
        "test_sha256": test["sha256"],
        "label_fraction": results["label_fraction"],
        "classes": len(results["systems"]["encoder"]["classes"]),
        "left_out": len(results["left_out"]),
        "skipped": len(results["skipped"]),
        "results": str(out / "results.json"),
        "out": str(out),
    }


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a system: mean AUC, its interval, and by how much the encoder is better."""
    from vpmim.results_table import chosen_words

    found = []
    for name, system in results["systems"].items():
        auc = system["mean"]["auc"]
        difference = results["differences"].get(name, {}).get("mean", {})
        better = difference.get("auc", {})
        found.append(
            {
                "system": name,
                "auc": auc["value"],
                "low": auc["low"],
                "high": auc["high"],
                "ap": system["mean"]["ap"]["value"],
                "chosen": chosen_words(results, name),
                "encoder_better_by": better.get("value", ""),
                "from": better.get("low", ""),
                "to": better.get("high", ""),
                "p": difference.get("p_bootstrap", ""),
            }
        )
    return found
