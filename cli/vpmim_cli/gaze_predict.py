"""``vpmim gaze predict``: vpmim predicts, gazekit writes the cache."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, progress, summary
from vpmim_cli.counting import counting

if TYPE_CHECKING:
    import torch

    from gazekit.cache import PriorCache
    from gazekit.predicted import PredictedGaze
    from gazekit.reading import Readings
    from vpmim.gaze_dry_run import PredictionForecast
    from vpmim.gaze_predictor import GazePredictor


def gaze_predict(
    folder: Annotated[Path, typer.Argument(metavar="G", help="A folder of vpmim gaze fit.", show_default=False)],
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES_OR_CACHE", help="A folder of DICOM, PNG or JPEG images, or a cache.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="CACHE2", help="The cache to write: new, or empty.", show_default=False)],
    everything: Annotated[
        bool, typer.Option("--all", help="Predict images that have measured gaze too, in place of it.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Try predictor, images and folder, count, and stop; writes nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Give images without gaze a predicted prior: a cache like any other, each row saying whose gaze it has.

    An image whose patient was in the fit is predicted by the network that did not see that patient.

    Examples:

    ```
    vpmim gaze predict out/gaze xrays --out out/predicted --dry-run
    vpmim gaze predict out/gaze xrays --out out/predicted
    vpmim gaze predict out/gaze out/cache --out out/predicted_all --all
    ```
    """
    from gazekit.cache import PriorCache, open_cache
    from gazekit.new_directory import refuse_inside, refuse_taken, refuse_unwritable
    from gazekit.predicted import write_predicted_cache
    from vpmim.gaze_predictor import ALL, identity, load_predictor
    from vpmim.image_source import is_cache
    from vpmim.process import usable_device

    refuse_taken(out)
    refuse_unwritable(out.absolute().parent)
    predictor, place = load_predictor(folder), usable_device(device)
    given = open_cache(images) if is_cache(images) else _listed(images)
    made = out.absolute().with_name(f".{out.absolute().name}.images")
    if isinstance(given, PriorCache):
        refuse_inside(given, out)
    if dry_run:
        with progress("reading"):
            forecast = _forecast(given, images, predictor, made, out, everything, place)
        _note_the_predictor(predictor, forecast.predicted_by_a_fold or 0)
        summary(asdict(forecast), as_json=as_json, title="gaze predict, not run")
        return
    source = given if isinstance(given, PriorCache) else _cache_of(given, images, predictor, made)
    skipped = len(source.failures)
    used: Counter[str] = Counter()
    confidences: list[float] = []
    with progress("predicting", len(source), "images") as advance:
        counts = write_predicted_cache(
            source,
            out,
            _predicted(predictor, source, everything, place, used, confidences),
            predictor=identity(folder, everything=everything),
            on_row=advance,
        )
    if source is not given:
        shutil.rmtree(made)
    if skipped:
        note(f"{skipped} images or readings are left out; {out / 'failures.csv'} says why")
    cross_fitted = sum(number for name, number in used.items() if name != ALL)
    _note_the_predictor(predictor, cross_fitted)
    summary(
        {
            "rows": sum(counts.values()),
            **counts,
            "predicted_by_a_fold": cross_fitted,
            "predicted_by_the_network_of_all": used[ALL],
            "mean_confidence": sum(confidences) / len(confidences) if confidences else None,
            "encoder_saw_gaze": predictor.encoder_saw_gaze,
            "skipped": skipped,
            "out": str(out),
        },
        as_json=as_json,
        title="predicted gaze",
    )
    if skipped and source is not given:
        raise typer.Exit(EXIT_SKIPPED)


def _predicted(
    predictor: GazePredictor,
    source: PriorCache,
    everything: bool,
    device: torch.device,
    used: Counter[str],
    confidences: list[float],
) -> Iterator[tuple[int, PredictedGaze]]:
    """Predictions as gazekit takes them; notes by which network each is, and its confidence."""
    from gazekit.predicted import PredictedGaze
    from vpmim.gaze_predictor import predict_gaze

    for row, gaussians, confidence, name in predict_gaze(predictor, source, everything=everything, device=device):
        used[name] += 1
        confidences.append(confidence)
        yield row, PredictedGaze(gaussians, confidence)


def _note_the_predictor(predictor: GazePredictor, cross_fitted: int) -> None:
    """Say what is to be known of predictions, `cross_fitted` of which are for patients of the fit; made or not."""
    if predictor.simulated:
        note("the predictor was fitted on simulated gaze: no person's looks are behind its predictions")
    if predictor.encoder_saw_gaze != "no" and cross_fitted:
        seen, are = ("has seen", "are not") if predictor.encoder_saw_gaze == "yes" else ("may have seen", "may not be")
        note(f"the encoder {seen} the gaze of the fit: {cross_fitted} predictions for its patients {are} out of fold")


def _listed(images: Path) -> Readings:
    """The images of a folder."""
    from gazekit.sources.images import read_images

    listed = read_images(images)
    for line in listed.notes:
        note(line)
    return listed


def _build_options(predictor: GazePredictor) -> dict[str, Any]:
    """What a folder of images is built with, to be of the predictor's size."""
    return {"image_size": predictor.stored_size, "grid": predictor.grid, "heatmap_size": 0}


def _cache_of(listed: Readings, images: Path, predictor: GazePredictor, cache: Path) -> PriorCache:
    """A folder of images as a cache; an interrupted one is gone on with."""
    from gazekit.build import build_heatmaps
    from gazekit.cache import open_cache

    with counting("reading", "images") as advance:
        build_heatmaps(
            listed,
            images,
            cache,
            **_build_options(predictor),
            on_row=lambda done: advance(done, len(listed.entries)),
        )
    return open_cache(cache)


def _forecast(
    given: PriorCache | Readings,
    images: Path,
    predictor: GazePredictor,
    cache: Path,
    out: Path,
    everything: bool,
    device: torch.device,
) -> PredictionForecast:
    """What would be done with a cache; or with a folder, some images of which an interrupted `cache` may hold."""
    from gazekit.cache import PriorCache
    from gazekit.dry_run import forecast_build
    from vpmim.gaze_dry_run import forecast_prediction, forecast_prediction_of_files

    if isinstance(given, PriorCache):
        return forecast_prediction(predictor, given, out, everything=everything, device=device)
    build = forecast_build(given, images, cache, **_build_options(predictor))
    note(
        "no pixel of a file is read beforehand: which network predicts which, and what is unreadable, shows in the run"
    )
    return forecast_prediction_of_files(predictor, build.rows, out, to_read=build.rows_to_build, device=device)
