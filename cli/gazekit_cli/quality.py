"""``gazekit quality``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import EXIT_SKIPPED, note, progress, summary
from gazekit_cli.options import DistanceOption, ScreenMmOption, ScreenPxOption, SpecOption, parse_screen

SHOWN = (
    "reading_id",
    "fixations",
    "median_fixation_s",
    "off_image",
    "sampling_rate_hz",
    "data_loss",
    "rms_s2s_dva",
    "std_dva",
    "blinks",
)
"""Figures of each reading that fit on a terminal; ``--out`` and ``--json`` have them all."""

MAX_ROWS = 40


def quality(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The data set as published.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(help="Format of ROOT, as for build-heatmaps.", autocompletion=names_in("gazekit.sources:SOURCES")),
    ],
    images: Annotated[
        Path | None, typer.Option(help="Where the images lie, for formats that need them.", show_default=False)
    ] = None,
    spec: SpecOption = None,
    screen_px: ScreenPxOption = None,
    screen_mm: ScreenMmOption = None,
    distance_mm: DistanceOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every figure here: .csv, .parquet or .json.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N readings.", show_default=False)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first reading that must be skipped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Measure the quality of the gaze of every reading: rate, data loss, precision, fixations, and what looks odd.

    Flags are remarks, not verdicts: nothing is left out because of one. A reading that cannot be measured is listed
    (exit 1). RMS-S2S, STD and BCEA are medians over the fixations.

    Examples:

    ```
    gazekit quality reflacx/ --dataset reflacx --out quality.csv
    gazekit quality recordings/ --dataset table --spec lab.toml --images xrays/ --json
    ```
    """
    from gazekit.quality_report import check_suffix, dataset_quality, report_dict, write_quality
    from gazekit.sources import open_source

    if out is not None:
        check_suffix(out)
    screen = parse_screen(screen_px, screen_mm, distance_mm)
    readings = open_source(dataset, root, images=images, spec=spec, screen=screen)
    for line in readings.notes:
        note(f"note: {line}")
    ids = readings.ids[:limit]
    with progress("measuring", len(ids), "readings") as advance:
        report = dataset_quality(readings, ids=ids, strict=strict, on_reading=advance)
    if out is not None:
        write_quality(report, out)
    written = {} if out is None else {"out": str(out)}
    if as_json:
        summary(report_dict(report) | written, as_json=True, title="quality")
    else:
        for reading_id, reason, text in report.failures:
            note(f"skipped {reading_id}: {reason}: {text}")
        usual = {name: f"{at['median']:.4g} ({at['p5']:.4g} to {at['p95']:.4g})" for name, at in report.usual.items()}
        values: dict[str, Any] = {
            "readings": len(report.readings),
            "skipped": len(report.failures),
            "flagged": report.flagged,
            "flags": report.flags,
            **{f"median (5 % to 95 %) {name}": text for name, text in usual.items()},
        }
        # the flagged ones first, else in the data set's order
        rows = sorted(report.readings, key=lambda reading: -len(reading.flags))[:MAX_ROWS]
        if len(rows) < len(report.readings):
            values["readings_shown"] = len(rows)
        table = [{name: _figure(getattr(row, name)) for name in SHOWN} | {"flags": " ".join(row.flags)} for row in rows]
        summary(values | written, as_json=False, title="quality", table=table)
    if report.failures:
        raise typer.Exit(EXIT_SKIPPED)


def _figure(value: Any) -> Any:
    return "-" if value is None else value
