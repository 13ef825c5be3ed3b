"""What an evaluation would do, said without doing it: all it needs is tried, but no pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from vpmim.checkpoint import refuse_unwritable_file
from vpmim.encoder import Encoder
from vpmim.evaluate import check_options
from vpmim.evaluation import Task, open_task
from vpmim.export import load_encoder
from vpmim.feature_file import PATCHES, named_images, patch_features
from vpmim.features import encoder_features
from vpmim.finetune import check_folder, probe_recipe, task_record
from vpmim.image_source import CachedImages, ImagesError, ImageSource, dicom_files
from vpmim.predict import PredictError, load_predictor
from vpmim.process import usable_device
from vpmim.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class EvaluationForecast:
    """What is known of an evaluation before it begins.

    Attributes
    ----------
    dataset, split : str
    train, val, test : images of each part
    test_patients : patients of the test images
    classes : number of labels
    missing : images that are not there, and would be left out
    dicom_to_convert : images that would be made a cache first
    encoder, input_size : its timm name, and the side of its input
    device : where it would run
    epochs : of a recipe, all seeds together; 0 for a fit in closed form
    out : folder that the results would be written to
    """

    dataset: str
    split: str
    train: int
    val: int
    test: int
    test_patients: int
    classes: int
    missing: int
    dicom_to_convert: int
    encoder: str
    input_size: int
    device: str
    epochs: int
    out: str


def forecast_evaluation(
    source: str | Path,
    task: Task,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    name: str = "finetune",
    resume: bool = False,
    device: str = "auto",
) -> EvaluationForecast:
    """Try what an evaluation needs.

    Parameters
    ----------
    source, task, out, recipe, name, resume, device
        As of `vpmim.finetune.finetune`; without a recipe, of a probe in closed form.

    Raises
    ------
    EvaluationError, ConfigError, DatasetError, ImagesError, WeightsError, EncoderError, PermissionError
        What the evaluation itself would refuse.
    """
    opened = open_task(Path(source), task, Path(out), device=device, convert=False)
    labelled, encoder = opened.labelled, opened.encoder
    if recipe is not None:
        check_folder(opened.out, recipe, task_record(encoder, labelled, task, name), resume=resume)
    tests = labelled.rows("test")
    return EvaluationForecast(
        dataset=labelled.dataset,
        split=labelled.split,
        train=len(labelled.rows("train")),
        val=len(labelled.rows("val")),
        test=len(tests),
        test_patients=len({labelled.patients[row] for row in tests}),
        classes=len(labelled.classes),
        missing=len(opened.absent),
        dicom_to_convert=sum(path.is_file() for path in dicom_files(labelled.paths, task.data)),
        encoder=encoder.spec.architecture,
        input_size=encoder.spec.input_size,
        device=str(opened.place),
        epochs=0 if recipe is None else recipe.epochs * len(recipe.seeds),
        out=str(opened.out),
    )


def forecast_linear_eval(
    source: str | Path,
    task: Task,
    out: str | Path,
    *,
    protocol: str,
    features: str | None,
    seeds: int,
    controls: bool,
    resume: bool,
    device: str,
) -> EvaluationForecast:
    """`forecast_evaluation` of a linear evaluation; the options are those of `vpmim.evaluate.linear_eval`."""
    check_options(protocol, seeds=seeds, controls=controls)
    recipe = None if protocol == "cached" else probe_recipe(protocol, seeds=seeds, features=features)
    return forecast_evaluation(source, task, out, recipe, name=protocol, resume=resume, device=device)


@dataclass(frozen=True, kw_only=True)
class ImagesForecast:
    """What is known of an encoding or a scoring of images before it begins.

    Attributes
    ----------
    images : in the folder or the cache
    read_from : ``cache`` or ``files``
    encoder, input_size : its timm name, and the side of its input
    values_per_image : numbers that would be written for each
    device : where it would run
    replaces : whether there is a file of that name already
    """

    images: int
    read_from: str
    encoder: str
    input_size: int
    values_per_image: int
    device: str
    replaces: bool


def forecast_features(
    source: str | Path, images: str | Path, out: str | Path, *, kind: str, device: str
) -> ImagesForecast:
    """Try what `vpmim.feature_file.write_features` needs; raises what that would."""
    out = Path(out)
    refuse_unwritable_file(out, ".npz", ImagesError)
    place = usable_device(device)
    encoder = load_encoder(source)
    names, found = named_images(Path(images))
    function = patch_features if kind == PATCHES else partial(encoder_features, kind=kind)
    side = encoder.spec.input_size
    one = function(encoder, device=place)(torch.zeros(1, side, side, device=place))
    return _forecast_images(names, found, encoder, one[0].numel(), place, out)


def forecast_scores(run: str | Path, images: str | Path, out: str | Path, *, device: str) -> ImagesForecast:
    """Try what `vpmim.predict.predict` needs; raises what that would."""
    out = Path(out)
    refuse_unwritable_file(out, ".csv", PredictError)
    place = usable_device(device)
    predictor = load_predictor(run)
    names, found = named_images(Path(images))
    return _forecast_images(names, found, predictor.model.encoder, len(predictor.classes), place, out)


def _forecast_images(
    names: list[str], found: ImageSource, encoder: Encoder, values: int, place: torch.device, out: Path
) -> ImagesForecast:
    return ImagesForecast(
        images=len(names),
        read_from="cache" if isinstance(found, CachedImages) else "files",
        encoder=encoder.spec.architecture,
        input_size=encoder.spec.input_size,
        values_per_image=values,
        device=str(place),
        replaces=out.exists(),
    )
