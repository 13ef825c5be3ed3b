"""What ``vpmim gaze fit`` and ``gaze predict`` would do, said without doing it: nothing is encoded or fitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpmim.gaze_predictor import ALL, batches_to_predict

if TYPE_CHECKING:
    import torch

    from gazekit.cache import PriorCache
    from vpmim.encoder import Encoder
    from vpmim.gaze_fit import OpenedFit
    from vpmim.gaze_predictor import GazePredictor


@dataclass(frozen=True, kw_only=True)
class FitForecast:
    """What is known of a fit before it begins. What ``results.json`` has too is the same there.

    Attributes
    ----------
    model : ``head`` or ``unet``
    images, patients, folds : what is learned from, and the parts that the patients are dealt into
    networks : that would be fitted: one a fold, and one of all
    epochs : of each of them
    seed : int
    grid : rows, cols of patches
    architecture, input_size : the encoder's timm name, and the side of its input; None without one
    encoder_saw_gaze : ``answer`` and ``because``, as of `vpmim.seen_gaze.SeenGaze`
    left_out : images of the caches that are not learned from, by reason
    images_grouped_by_image_id : those of the images whose patient is not known, each of which counts as one
    simulated_gaze : whether no person looked at any of them
    device : where it would run, ``cpu`` or ``cuda``
    out : folder that would be written
    """

    model: str
    images: int
    patients: int
    folds: int
    networks: int
    epochs: int
    seed: int
    grid: list[int]
    architecture: str | None
    input_size: int | None
    encoder_saw_gaze: Mapping[str, str]
    left_out: Mapping[str, int]
    images_grouped_by_image_id: int
    simulated_gaze: bool
    device: str
    out: str


def forecast_fit(opened: OpenedFit) -> FitForecast:
    """Say what a fit would do.

    Parameters
    ----------
    opened : of `vpmim.gaze_fit.open_fit`, with which a fit begins, and which refuses what cannot be fitted
    """
    return FitForecast(
        **opened.facts(),
        **_encoder_facts(opened.encoder),
        networks=opened.folds + 1,
        encoder_saw_gaze=opened.saw._asdict(),
        out=str(opened.out),
    )


@dataclass(frozen=True, kw_only=True)
class PredictionForecast:
    """What is known of a prediction before it begins. What the summary of the prediction has too is the same there.

    Attributes
    ----------
    read_from : ``cache`` or ``files``
    rows : images of the cache that would be written; of files, if all of them can be read
    measured : those that would keep their measured gaze, and so stay out
    predicted : those that would be predicted
    replaced : those of them that have gaze already, ``measured`` or ``predicted`` before, which would not be kept
    predicted_by_a_fold, predicted_by_the_network_of_all : those whose patient was in the fit, and others; None of
        files, whose pixels are not read
    files_to_read : images that would be made a cache first
    skipped : images or readings that the cache leaves out; None of files, which tell when they are read
    model : ``head`` or ``unet``
    architecture, input_size : the encoder's timm name, and the side of its input; None without one
    encoder_saw_gaze : ``yes``, ``no`` or ``unknown``, of the gaze of the fit
    device : where it would run
    out : cache that would be written
    """

    read_from: str
    rows: int
    measured: int
    predicted: int
    replaced: Mapping[str, int]
    predicted_by_a_fold: int | None
    predicted_by_the_network_of_all: int | None
    files_to_read: int
    skipped: int | None
    model: str
    architecture: str | None
    input_size: int | None
    encoder_saw_gaze: str
    device: str
    out: str


def forecast_prediction(
    predictor: GazePredictor, cache: PriorCache, out: str | Path, *, everything: bool = False, device: torch.device
) -> PredictionForecast:
    """Count what would be predicted for a cache, and by which networks, for which the pixels are read.

    Parameters
    ----------
    predictor, cache, everything, device : as of `vpmim.gaze_predictor.predict_gaze`
    out : cache that would be written

    Raises
    ------
    CacheError
        `cache` is damaged.
    """
    gaze: Counter[str | None] = Counter()
    used: Counter[str] = Counter()
    for rows, _, names in batches_to_predict(predictor, cache, everything=everything):
        gaze.update(cache.gaze_kinds[row] for row in rows)
        used.update(names)
    return PredictionForecast(
        read_from="cache",
        rows=len(cache),
        measured=len(cache) - used.total(),
        predicted=used.total(),
        replaced={kind: gaze[kind] for kind in ("measured", "predicted")},
        predicted_by_a_fold=used.total() - used[ALL],
        predicted_by_the_network_of_all=used[ALL],
        files_to_read=0,
        skipped=len(cache.failures),
        **_predictor_facts(predictor, device, out),
    )


def forecast_prediction_of_files(
    predictor: GazePredictor, files: int, out: str | Path, *, to_read: int, device: torch.device
) -> PredictionForecast:
    """The same of image files, which have no gaze, and of which no pixel is read.

    Parameters
    ----------
    predictor : GazePredictor
    files : number of images
    out : cache that would be written
    to_read : those that no earlier call, which was interrupted, has read
    device : torch.device
    """
    return PredictionForecast(
        read_from="files",
        rows=files,
        measured=0,
        predicted=files,
        replaced={"measured": 0, "predicted": 0},
        predicted_by_a_fold=None,
        predicted_by_the_network_of_all=None,
        files_to_read=to_read,
        skipped=None,
        **_predictor_facts(predictor, device, out),
    )


def _predictor_facts(predictor: GazePredictor, device: torch.device, out: str | Path) -> dict[str, Any]:
    return {
        "model": predictor.model,
        **_encoder_facts(predictor.encoder),
        "encoder_saw_gaze": predictor.encoder_saw_gaze,
        "device": str(device),
        "out": str(out),
    }


def _encoder_facts(encoder: Encoder | None) -> dict[str, Any]:
    if encoder is None:
        return {"architecture": None, "input_size": None}
    return {"architecture": encoder.spec.architecture, "input_size": encoder.spec.input_size}
