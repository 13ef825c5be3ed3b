"""``gazekit simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gazekit.errors import InputError
from gazekit_cli.completion import names_in
from gazekit_cli.console import progress, summary


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New or empty folder.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(
            help="reflacx, egd, mimic-eye, bids, eyelink, gazepoint, pupil, tobii or table.",
            autocompletion=names_in("gazekit.simulate:SIMULATORS"),
        ),
    ] = "reflacx",
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of frontal chest X-rays (.png, .jpg, .dcm); default phantoms.", show_default=False),
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(
            help="CSV of marks on them: image, finding, xmin, ymin, xmax, ymax in pixels; finding is a REFLACX label "
            "or 'chest box'. Default: random ellipses in the lungs.",
            show_default=False,
        ),
    ] = None,
    readings: Annotated[
        int | None,
        typer.Option(help="Readings in all (mimic-eye: images); default 20, or each image once.", show_default=False),
    ] = None,
    readers: Annotated[
        int | None, typer.Option(help="Readings of each image of phases 1 and 2; default up to 5.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 0,
    no_samples: Annotated[bool, typer.Option("--no-samples", help="No gaze.csv (raw 1000 Hz gaze).")] = False,
    discarded: Annotated[
        int | None,
        typer.Option(
            help="Readings of phases 1 and 2 without gaze; default 20 of 545, as published.", show_default=False
        ),
    ] = None,
    duration: Annotated[float, typer.Option(help="Length of a reading in seconds, about.")] = 20.0,
    dwell: Annotated[float, typer.Option(help="Share of the time spent on noticed lesions.")] = 0.35,
    misses: Annotated[float, typer.Option(help="Probability that a reader does not notice a lesion.")] = 0.1,
    offset: Annotated[float, typer.Option(help="Mean calibration error in degrees of visual angle.")] = 0.43,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Write a simulated data set in the exact form of a published one: gaze, dictation, labels and DICOM files.

    OUT/SIMULATED.txt says what it is; all ids are invented and begin with 99. It is made for tests, demonstrations and
    experiments whose truth must be known, and says nothing about real radiologists.

    Examples:

    ```
    gazekit simulate out/sim --dataset reflacx --readings 30 --seed 1
    gazekit simulate out/sim --dataset reflacx --images xrays/ --lesions marks.csv --readers 3 --no-samples
    gazekit build-heatmaps out/sim/reflacx out/cache --dataset reflacx --images out/sim/mimic-cxr
    gazekit simulate out/egd --dataset egd --readings 10
    gazekit simulate out/gp --dataset gazepoint
    gazekit build-heatmaps out/gp/gazepoint out/cache --dataset gazepoint --images out/gp/images \
        --spec out/gp/screen.toml
    gazekit build-heatmaps out/egd/egd out/cache-egd --dataset egd --images out/egd/mimic-cxr
    ```
    """
    from dataclasses import asdict

    from gazekit.simulate import SIMULATORS, ReaderParameters

    if dataset not in SIMULATORS:
        raise InputError(f"--dataset must be one of {', '.join(SIMULATORS)}, got {dataset!r}")
    with progress("simulating", None, "images") as advance:
        written = SIMULATORS[dataset](
            out,
            images=images,
            lesions=lesions,
            readings=readings,
            readers=readers,
            seed=seed,
            gaze_files=0 if no_samples else None,
            discarded=discarded,
            parameters=ReaderParameters(
                duration_s=duration, lesion_dwell=dwell, miss_rate=misses, calibration_error_dva=offset
            ),
            on_plan=lambda total: advance(0, total),
            on_image=advance,
        )
    summary(asdict(written), as_json=as_json, title="simulated")
