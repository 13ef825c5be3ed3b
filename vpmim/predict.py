"""Scores of new images by a classifier that ``vpmim finetune`` or a trained linear evaluation left behind."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError

from vpmim.checkpoint import refuse_unwritable_file, write_file
from vpmim.classifier import Classifier
from vpmim.encoder import Encoder, EncoderSpec
from vpmim.feature_file import named_images
from vpmim.finetune import ABOUT, CLASSIFIER
from vpmim.image_source import ImagesError
from vpmim.process import usable_device
from vpmim.recipe import Recipe
from vpmim.supervised import score


class PredictError(ValueError):
    """A folder without a classifier, or one that cannot be read."""


@dataclass(frozen=True)
class Predictor:
    """A classifier ready to score.

    Attributes
    ----------
    model : Classifier
    classes : names of its scores
    recipe : how it was trained, and so how images are shown to it
    stored_size : side of the stored square, pixels
    """

    model: Classifier
    classes: tuple[str, ...]
    recipe: Recipe
    stored_size: int


@dataclass(frozen=True)
class PredictSummary:
    """What was written: images scored, classes, and (id, reason, message) of images that could not be read."""

    images: int
    classes: tuple[str, ...]
    skipped: tuple[tuple[str, str, str], ...]


def load_predictor(run: str | Path) -> Predictor:
    """Load a classifier.

    Parameters
    ----------
    run : the folder that ``vpmim finetune`` wrote

    Raises
    ------
    PredictError
        No classifier there, or files that are damaged.
    """
    run = Path(run)
    try:
        about = json.loads((run / ABOUT).read_text(encoding="utf-8"))
        recipe = Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in about["recipe"].items()})
        spec, classes, size = EncoderSpec(**about["spec"]), tuple(map(str, about["classes"])), int(about["stored_size"])
        model = Classifier(
            Encoder(spec),
            len(classes),
            features=recipe.features,
            head_norm=recipe.head_norm,
            frozen=True,
            seed=0,
        )
        model.load_state_dict(safetensors.torch.load_file(run / CLASSIFIER))
    except FileNotFoundError as error:
        name = Path(str(error.filename)).name if error.filename else CLASSIFIER
        raise PredictError(f"{run}: no {name}; give a folder of vpmim finetune that has finished a seed") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise PredictError(f"{run}: the classifier cannot be read ({' '.join(str(error).split())[:200]})") from None
    return Predictor(model.eval(), classes, recipe, size)


def predict(
    run: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    strict: bool = False,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> PredictSummary:
    """Score images and write a table: id, then the probability of each class.

    Parameters
    ----------
    run : the folder that ``vpmim finetune`` wrote
    images : a folder, searched for PNG and JPEG files at every depth, one such file, or a gazekit cache
    out : file name ending in .csv; replaced
    strict : stop at images that cannot be read, before anything is written
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    progress : called with images done and images in all

    Returns
    -------
    PredictSummary

    Raises
    ------
    PredictError, ImagesError
        No image that can be read, or under `strict` one that cannot; `out` does not end in .csv.
    NotADirectoryError, PermissionError
        The folder of `out` cannot be written.
    """
    out = Path(out)
    refuse_unwritable_file(out, ".csv", PredictError)
    predictor = load_predictor(run)
    place = usable_device(device)
    model = predictor.model.to(place)
    names, source = named_images(Path(images))
    rows: list[tuple[int, np.ndarray]] = []
    skipped: list[tuple[str, str, str]] = []
    for batch in source.batches(predictor.stored_size, device=place):
        skipped += [(names[place_], error.reason, str(error)) for place_, error in batch.failures]
        if len(batch.index):
            rows += zip(batch.index.tolist(), score(model, batch.squares, predictor.recipe, device=place), strict=True)
        if progress is not None:
            progress(len(rows) + len(skipped), len(names))
    if not rows:
        raise ImagesError(
            f"{images}: none of {len(names)} images can be read" + (f": {skipped[0][2]}" if skipped else "")
        )
    if skipped and strict:
        raise ImagesError(
            f"{len(skipped)} of {len(names)} images cannot be read, first {skipped[0][0]}: {skipped[0][2]}"
        )
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", *predictor.classes])
    for row, odds in rows:
        table.writerow([names[row], *(f"{0.5 * (1 + np.tanh(value / 2)):.6f}" for value in odds)])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, text.getvalue())
    return PredictSummary(len(rows), predictor.classes, tuple(skipped))
