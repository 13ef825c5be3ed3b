"""``gazekit fixations``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import EXIT_SKIPPED, note, progress, summary
from gazekit_cli.options import DistanceOption, ScreenMmOption, ScreenPxOption, SpecOption, parse_screen


def fixations(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="Recording, or folder of recordings. table without --spec: .csv or .parquet of time_s, x_px, y_px "
            "(empty = lost), or x_left_px, y_left_px, x_right_px, y_right_px; and px_per_deg_x, px_per_deg_y, "
            "shown_*_px where recorded.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Fixations, .csv or .parquet; replaced.", show_default=False)
    ],
    format_: Annotated[
        str, typer.Option("--format", help="Format of IN: table, eyelink, tobii, gazepoint, pupil or bids.")
    ] = "table",
    algorithm: Annotated[
        str | None,
        typer.Option(
            help="adaptive, ivt, idt, ihmm or i2mc; default that of --spec, or else adaptive.",
            show_default=False,
            autocompletion=names_in("gazekit.events.detection:ALGORITHMS"),
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Where the images lie: positions are then those on the images, else on the screen.", show_default=False
        ),
    ] = None,
    spec: SpecOption = None,
    screen_px: ScreenPxOption = None,
    screen_mm: ScreenMmOption = None,
    distance_mm: DistanceOption = None,
    max_gap: Annotated[
        float | None, typer.Option(help="Longest loss within a fixation, s.", show_default=False)
    ] = None,
    minimum_duration: Annotated[float | None, typer.Option(help="Shortest fixation, s.", show_default=False)] = None,
    merge_gap: Annotated[
        float | None, typer.Option(help="Merge neighbours at most this far apart, s.", show_default=False)
    ] = None,
    merge_distance: Annotated[
        float | None, typer.Option(help="... and this far apart, degrees.", show_default=False)
    ] = None,
    velocity_threshold: Annotated[float | None, typer.Option(help="ivt: degrees/s.", show_default=False)] = None,
    dispersion_threshold: Annotated[float | None, typer.Option(help="idt: degrees.", show_default=False)] = None,
    edge_factor: Annotated[
        float | None, typer.Option(help="adaptive: where a saccade ends, noise SDs.", show_default=False)
    ] = None,
    peak_factor: Annotated[
        float | None, typer.Option(help="adaptive: least peak of a saccade, noise SDs.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Detect fixations and write them as a canonical fixation table.

    Of a tracker's format, and of a table with --spec, OUT holds every trial and begins with the columns reading_id and
    image_id. Options that are not given are those of --spec, or else the algorithm's defaults.

    Examples:

    ```
    gazekit fixations gaze.csv fixations.csv --screen-px 1920x1080 --screen-mm 530x300 --distance-mm 650
    gazekit fixations recording.asc fixations.csv --format eyelink --screen-px 1024x768 --screen-mm 380x300 \\
        --distance-mm 670
    gazekit fixations gaze.parquet fixations.parquet --algorithm ivt --velocity-threshold 30 --minimum-duration 0.06
    ```
    """
    from gazekit.sources.recorded_fixations import detect_recorded
    from gazekit.sources.sample_table import table_suffix, write_fixations

    table_suffix(out)
    options = {
        "max_gap": max_gap,
        "minimum_duration": minimum_duration,
        "merge_gap": merge_gap,
        "merge_distance": merge_distance,
        "velocity_threshold": velocity_threshold,
        "dispersion_threshold": dispersion_threshold,
        "edge_factor": edge_factor,
        "peak_factor": peak_factor,
    }
    with progress("detecting", None, "readings") as advance:
        found = detect_recorded(
            source,
            format_,
            images=images,
            spec=spec,
            screen=parse_screen(screen_px, screen_mm, distance_mm),
            algorithm=algorithm,
            thresholds={name: value for name, value in options.items() if value is not None},
            on_reading=advance,
        )
    write_fixations(found.fixations, out)
    for line in (*found.notes, *(f"{name}: {error.reason}: {error}" for name, error in found.failures.items())):
        note(f"note: {line}")
    durations = found.fixations["offset_s"] - found.fixations["onset_s"]
    summary(
        {
            "samples": found.samples,
            "fixations": len(durations),
            "seconds_fixated": round(float(durations.sum()), 3),
            "median_duration_s": round(float(durations.median()), 4) if len(durations) else None,
            "algorithm": found.algorithm,
            "skipped": len(found.failures),
            "out": str(out),
        },
        as_json=as_json,
        title="fixations",
    )
    if found.failures:
        raise typer.Exit(EXIT_SKIPPED)
