"""``vpmim gaze predict``: vpmim predicts, gazekit writes the cache."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gazekit_cli.console import EXIT_SKIPPED, note, progress, summary
from vpmim_cli.counting import counting

if TYPE_CHECKING:
    from gazekit.cache import PriorCache
    from gazekit.predicted import PredictedGaze
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
) -> None:
    """Give images without gaze a predicted prior: a cache like any other, each row saying whose gaze it has.

    An image whose patient was in the fit is predicted by the network that did not see that patient.

    Examples:

    ```
    vpmim gaze predict out/gaze xrays --out out/predicted
    vpmim gaze predict out/gaze out/cache --out out/predicted_all --all
    ```
    """
    from gazekit.cache import open_cache
    from gazekit.new_directory import refuse_taken
    from gazekit.predicted import write_predicted_cache
    from vpmim.gaze_predictor import identity, load_predictor
    from vpmim.image_source import is_cache
    from vpmim.process import usable_device

    refuse_taken(out)
    predictor, place = load_predictor(folder), usable_device(device)
    made = None if is_cache(images) else _cache_of(images, predictor, out.with_name(f".{out.name}.images"))
    source = open_cache(made or images)
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
    if made is not None:
        shutil.rmtree(made)
    if predictor.simulated:
        note("the predictor was fitted on simulated gaze: no person's looks are behind its predictions")
    if skipped:
        note(f"{skipped} images or readings are left out; {out / 'failures.csv'} says why")
    cross_fitted = sum(number for name, number in used.items() if name != "all")
    if predictor.encoder_saw_gaze != "no" and cross_fitted:
        seen, are = ("has seen", "are not") if predictor.encoder_saw_gaze == "yes" else ("may have seen", "may not be")
        note(f"the encoder {seen} the gaze of the fit: {cross_fitted} predictions for its patients {are} out of fold")
    summary(
        {
            "rows": sum(counts.values()),
            **counts,
            "predicted_by_a_fold": cross_fitted,
            "predicted_by_the_network_of_all": used["all"],
            "mean_confidence": sum(confidences) / len(confidences) if confidences else None,
            "encoder_saw_gaze": predictor.encoder_saw_gaze,
            "skipped": skipped,
            "out": str(out),
        },
        as_json=as_json,
        title="predicted gaze",
    )
    if skipped and made is not None:
        raise typer.Exit(EXIT_SKIPPED)


def _predicted(
    predictor: GazePredictor,
    source: PriorCache,
    everything: bool,
    device: object,
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


def _cache_of(images: Path, predictor: GazePredictor, cache: Path) -> Path:
    """A folder of images as a cache of the predictor's size; an interrupted one is gone on with."""
    from gazekit.build import build_heatmaps
    from gazekit.sources.images import read_images

    listed = read_images(images)
    for line in listed.notes:
        note(line)
    with counting("reading", "images") as advance:
        build_heatmaps(
            listed,
            images,
            cache,
            image_size=predictor.stored_size,
            grid=predictor.grid,
            heatmap_size=0,
            on_row=lambda done: advance(done, len(listed.entries)),
        )
    return cache
