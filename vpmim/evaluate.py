"""Linear evaluation of an encoder on a labelled data set, from files to a table of results.

Read top to bottom: the data set, one pass over its images, a probe for every system and repetition on training and
validation images, and then, once, the test labels. A *system* is what is compared: the encoder, and with controls the
same architecture with random weights and the raw pixels, all under one protocol.

Legend of shape suffixes: N images, C classes, S repetitions (seeds), D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vpmim.audit import EvaluationError
from vpmim.datasets import LabelledImages
from vpmim.datasets.labelled import SPLITS
from vpmim.evaluation import HeldOutLabels, Task, finish, labelled_share, open_task
from vpmim.feature_cache import fingerprint, kept_features
from vpmim.features import (
    PIXEL_SIDE,
    FeatureFunction,
    Features,
    encoder_features,
    extract,
    pixel_features,
    random_encoder,
    versions,
    weights_fingerprint,
)
from vpmim.finetune import trained_probe
from vpmim.image_source import Convert
from vpmim.probe import Choice, choose_probe
from vpmim.results import ENCODER, PIXELS, RANDOM, SystemScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vpmim.encoder import Encoder

    Floats = NDArray[np.float64]

PROTOCOLS = ("cached", "sgd", "sgd_nih", "mae")
"""``cached``: features once without augmentation, standardised, L2 logistic regression, C by validation loss. The
others are recipes of ``configs/recipes``, by which gradient descent trains the linear layer on augmented images."""


@dataclass(frozen=True)
class Development:
    """Features and labels of the images that may be fitted to and chosen by."""

    train_labels_NC: Floats
    val_labels_NC: Floats
    train_ids: tuple[str, ...]
    features: Mapping[str, Mapping[str, NDArray[np.float32]]]
    """Feature table -> part -> (N, D); of the test part there are features, and no label."""


def check_options(protocol: str, *, seeds: int, controls: bool) -> None:
    """`EvaluationError` for a protocol that there is not, and for what a protocol does not do."""
    if protocol not in PROTOCOLS:
        raise EvaluationError(f"protocol: expected {', '.join(PROTOCOLS)}, got {protocol!r}")
    if seeds < 1:
        raise EvaluationError(f"seeds: expected at least 1, got {seeds}")
    if controls and protocol != "cached":
        raise EvaluationError("controls belong to the protocol cached")


def linear_eval(
    source: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    labels: str | Path | None = None,
    dataset: str = "folder",
    split: str | None = None,
    split_file: str | Path | None = None,
    uncertain: str | None = None,
    convert: Convert | None = None,
    protocol: str = "cached",
    features: str | None = None,
    fraction: float = 1.0,
    seeds: int = 3,
    controls: bool = False,
    allow_missing: bool = False,
    pretrain_ids: str | Path | None = None,
    draws: int = 1000,
    feature_cache: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any] | None:
    """Evaluate an encoder by a linear probe and write ``results.json`` and ``scores.npz``.

    Parameters
    ----------
    source : a RUN or weights; see `vpmim.export.load_encoder`
    data : the data set's folder; or a gazekit cache of its images, and then `labels`
    out : folder of the results, made where it does not exist
    labels : folder of the label tables, where `data` is a cache
    dataset : a key of `vpmim.datasets.DATASETS`
    split, split_file, uncertain : options of the data set's reader, see `vpmim.datasets`
    convert : makes a cache of DICOM images, see `vpmim.image_source.open_images`
    protocol : one of `PROTOCOLS`
    features : ``cls`` (the default), ``mean`` (of the patches), ``both`` or ``last4``
    fraction : share of the training images whose labels are used
    seeds : repetitions with other labels, where `fraction` < 1, and number of random encoders
    controls : also evaluate random encoders of the same architecture and raw pixels
    allow_missing : go on without images that are missing or unreadable; each is listed in the results
    pretrain_ids : a file with one id a line: images the encoder was pre-trained on, to be sought in the test part
    draws : bootstrap draws over patients
    feature_cache : folder in which features are kept by their fingerprint; default ``features`` in `out`
    resume : go on with an interrupted evaluation by a recipe
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    say : gets a line an epoch, of a recipe
    progress : called with images done and images in all
    on_epoch : called with epochs done and epochs in all, of a recipe

    Returns
    -------
    dict or None
        The contents of ``results.json``. The same inputs give the same digits. None where a signal ended a recipe.

    Raises
    ------
    EvaluationError
        Options out of range; images that are missing or unreadable, unless `allow_missing`.
    DatasetError, ImagesError, WeightsError, EncoderError, ProbeError
    PermissionError
        `out` cannot be written, known before anything is computed.
    """
    check_options(protocol, seeds=seeds, controls=controls)
    task = Task(
        data=Path(data),
        dataset=dataset,
        labels=labels,
        split=split,
        split_file=split_file,
        uncertain=uncertain,
        fraction=fraction,
        allow_missing=allow_missing,
        pretrain_ids=pretrain_ids,
        draws=draws,
        convert=convert,
    )
    if protocol != "cached":
        options = {"features": features, "resume": resume, "device": device, "say": say}
        return trained_probe(source, task, out, protocol, seeds=seeds, progress=progress, on_epoch=on_epoch, **options)
    features = features or "cls"
    opened = open_task(Path(source), task, Path(out), device=device)

    tables = feature_tables(opened.encoder, features, device=opened.place, controls=seeds if controls else 0)
    total = len(opened.labelled.paths)
    depends_on = {
        "weights": weights_fingerprint(opened.encoder),
        "spec": asdict(opened.encoder.spec),
        "preprocessing": opened.prepared.fingerprint,
        "images": opened.images.fingerprint(),
        "tables": [*tables, features],
        "device": opened.place.type,
        "versions": versions(),
    }

    def encode() -> Features:
        found = extract(
            opened.images.batches(opened.prepared.stored_size, device=opened.place),
            tables,
            device=opened.place,
            progress=None if progress is None else lambda done: progress(done, total),
        )
        opened.readable(found.failures)  # nothing is kept of images that end the evaluation
        return found

    kept = Path(out) / "features" if feature_cache is None else Path(feature_cache)
    found = kept_features(kept, fingerprint(depends_on), encode)
    used = opened.readable(found.failures)
    development, held_out = _hold_out(used, found.values)

    repetitions = seeds if fraction < 1 else 1
    scores, choices = {}, {}
    for system, names in _systems(list(tables), repetitions).items():
        fitted = [
            fit_system(development, name, fraction=fraction, seed=repetition, device=opened.place)
            for repetition, name in enumerate(names)
        ]
        scores[system] = np.stack([score for score, _ in fitted])
        choices[system] = [choice for _, choice in fitted]

    systems = tuple(SystemScores(name, scores[name], _repeated(name, fraction)) for name in scores)
    about = {
        "protocol": protocol,
        "features": features,
        "choice": {system: [_choice_record(choice, used) for choice in choices[system]] for system in choices},
        "controls": {"pixel_side": PIXEL_SIDE, "random_seeds": list(range(seeds))} if controls else None,
    }
    return finish(opened, used, held_out, systems, found.failures, about)


def feature_tables(encoder: Encoder, kind: str, *, device: torch.device, controls: int) -> dict[str, FeatureFunction]:
    """The feature functions that are compared, by name; `controls` is the number of random encoders, 0 no control."""
    tables = {ENCODER: encoder_features(encoder, kind, device=device)}
    if controls:
        for seed in range(controls):
            tables[f"{RANDOM} {seed}"] = encoder_features(random_encoder(encoder.spec, seed), kind, device=device)
        tables[PIXELS] = pixel_features()
    return tables


def fit_system(
    development: Development, table: str, *, fraction: float, seed: int, device: torch.device
) -> tuple[Floats, Choice]:
    """Fit one feature table on a share of the training labels; score the test images.

    Parameters
    ----------
    development : Development
    table : name of the feature table
    fraction : share of the training images
    seed : which images those are
    device : where the regression runs

    Returns
    -------
    scores (N, C) of the test images, Choice
    """
    parts = development.features[table]
    rows = labelled_share(development.train_ids, fraction, seed=seed)
    choice = choose_probe(
        parts["train"][rows],
        development.train_labels_NC[rows],
        parts["val"],
        development.val_labels_NC,
        device=str(device),
    )
    return choice.probe.scores(parts["test"]), choice


def _hold_out(used: LabelledImages, values: Mapping[str, NDArray[np.float32]]) -> tuple[Development, HeldOutLabels]:
    """Features by part, the labels to learn from, and the test labels under seal."""
    rows = {part: used.rows(part) for part in SPLITS}
    development = Development(
        train_labels_NC=used.labels[rows["train"]],
        val_labels_NC=used.labels[rows["val"]],
        train_ids=tuple(used.ids[row] for row in rows["train"]),
        features={name: {part: table[rows[part]] for part in SPLITS} for name, table in values.items()},
    )
    return development, HeldOutLabels(used.labels[rows["test"]])


def _systems(tables: Sequence[str], repetitions: int) -> dict[str, list[str]]:
    """System -> its feature table in each repetition. Random encoders have a repetition each of their own."""
    random = [name for name in tables if name.startswith(RANDOM)]
    systems = {ENCODER: [ENCODER] * repetitions}
    if random:
        systems[RANDOM] = random
    if PIXELS in tables:
        systems[PIXELS] = [PIXELS] * repetitions
    return systems


def _repeated(system: str, fraction: float) -> str:
    """What the repetitions of a system differ in."""
    over = ["label fraction"] if fraction < 1 else []
    if system == RANDOM:
        over.append("random weights")
    return " and ".join(over) or "nothing: the cached protocol is deterministic"


def _choice_record(choice: Choice, used: LabelledImages) -> dict[str, Any]:
    """C of each class, and what it was chosen by."""
    edges = (choice.grid[0], choice.grid[-1])
    return {
        "C": dict(zip(used.classes, choice.c_C.tolist(), strict=True)),
        "grid": list(choice.grid),
        "at_edge_of_grid": [name for name, c in zip(used.classes, choice.c_C, strict=True) if c in edges],
        "validation_loss": dict(zip(used.classes, choice.loss_GC.T.tolist(), strict=True)),
        "validation_auc": dict(zip(used.classes, choice.auc_C.tolist(), strict=True)),
        "not_judged": [name for column, name in enumerate(used.classes) if column not in choice.judged],
    }
