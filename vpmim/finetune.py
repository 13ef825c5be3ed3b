"""A classifier trained on a labelled data set by a recipe: fine-tuning, and linear evaluation by gradient descent.

::

    RUN2/  recipe.toml  task.json  metrics.jsonl  seed_0/checkpoints/ ...   while it trains
           results.json  scores.npz                                         as of every evaluation
           classifier.safetensors  classifier.json                          of the first seed: what vpmim predict loads

Legend of shape suffixes: N images, S repetitions (seeds) in scores and side of the stored square in images, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch

from gazekit.errors import RecordError
from vpmim.audit import EvaluationError
from vpmim.checkpoint import write_file
from vpmim.config import ConfigError
from vpmim.datasets.labelled import SPLITS
from vpmim.evaluation import HeldOutLabels, Opened, Task, finish, labelled_share, open_task
from vpmim.features import weights_fingerprint
from vpmim.process import stop_signals_noted
from vpmim.recipe import Recipe, dump_recipe, load_recipe
from vpmim.results import ENCODER, RESULTS, SystemScores, read_results
from vpmim.supervised import Fitted, LabelledSquares, fit, score, with_both_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vpmim.datasets import LabelledImages
    from vpmim.encoder import Encoder

RECIPE = "recipe.toml"
TASK = "task.json"
METRICS = "metrics.jsonl"
CLASSIFIER, ABOUT = "classifier.safetensors", "classifier.json"


def finetune(
    source: str | Path,
    task: Task,
    out: str | Path,
    recipe: Recipe,
    *,
    name: str = "finetune",
    resume: bool = False,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any] | None:
    """Train a classifier for each seed of a recipe, choose its epoch on validation, and score the test images once.

    Parameters
    ----------
    source : a RUN or weights; see `vpmim.export.load_encoder`
    task : Task
    out : folder of the results, made where it does not exist
    recipe : Recipe
    name : of the recipe, for the record
    resume : go on in a folder that holds an unfinished run of this recipe
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    say : gets a line an epoch
    progress : called with images read and images in all
    on_epoch : called with epochs done and epochs in all, of all seeds

    Returns
    -------
    dict or None
        The contents of ``results.json``; None where a signal ended it, and the same call with `resume` goes on.

    Raises
    ------
    EvaluationError, ConfigError, TrainingError, DatasetError, ImagesError, WeightsError, EncoderError, PermissionError
        See `vpmim.evaluation.open_task` and `vpmim.supervised.fit`; and a folder that holds another run.
    """
    source, out = Path(source), Path(out)
    opened = open_task(source, task, out, device=device)
    _begin(out, recipe, task_record(opened.encoder, opened.labelled, task, name), resume=resume)
    if (out / RESULTS).exists():
        return read_results(out)
    squares_NSS, failures = _read(opened, progress)
    used = opened.readable(failures)
    kept = np.setdiff1d(np.arange(len(opened.labelled.ids)), [row for row, _ in failures])
    squares_NSS = squares_NSS[kept] if failures else squares_NSS
    held_out = HeldOutLabels(used.labels[used.rows("test")])
    scores, epochs = [], []
    with stop_signals_noted() as stop:
        for seed in recipe.seeds:
            labelled = _part(used, squares_NSS, _labelled_rows(used, task.fraction, seed))
            fitted = fit(
                opened.encoder,
                recipe,
                labelled,
                _part(used, squares_NSS, used.rows("val")),
                seed=seed,
                device=opened.place,
                folder=_seed_folder(out, seed),
                on_epoch=lambda figures, seed=seed: _tell(out, recipe, seed, figures, say, on_epoch),
                stop=stop.is_set,
            )
            if fitted is None:
                return None
            if not scores:
                _write_classifier(out, fitted, used.classes, recipe, opened)
            scores_NC = score(fitted.model, squares_NSS[used.rows("test")], recipe, device=opened.place)
            scores_NC[:, np.setdiff1d(np.arange(len(used.classes)), with_both_values(labelled.labels_NC))] = np.nan
            scores.append(scores_NC)
            epochs.append(fitted.epoch)
    over = "seed of the head, the order and the augmentation" + (", label fraction" if task.fraction < 1 else "")
    about = {
        "protocol": name,
        "features": recipe.features,
        "recipe": asdict(recipe),
        "choice": {ENCODER: [{"seed": s, "epoch": e} for s, e in zip(recipe.seeds, epochs, strict=True)]},
        "controls": None,
    }
    systems = (SystemScores(ENCODER, np.stack(scores), over),)
    return finish(opened, used, held_out, systems, failures, about)


def trained_probe(
    source: str | Path, task: Task, out: str | Path, protocol: str, *, seeds: int, **options: Any
) -> dict[str, Any] | None:
    """Linear evaluation by gradient descent, as `finetune` with a recipe that trains the head alone.

    Parameters
    ----------
    source, task, out
    protocol : a recipe's name
    seeds : how many of the recipe's seeds
    **options : of `finetune`, and ``features`` in place of the recipe's

    Raises
    ------
    EvaluationError
        The recipe trains the encoder too, or has fewer seeds.
    """
    recipe = probe_recipe(protocol, seeds=seeds, features=options.pop("features"))
    return finetune(source, task, out, recipe, name=protocol, **options)


def probe_recipe(protocol: str, *, seeds: int, features: str | None) -> Recipe:
    """The recipe of a linear evaluation, with its first `seeds` seeds and other features, if any.

    Raises
    ------
    EvaluationError
        The recipe trains the encoder too, or has fewer seeds.
    """
    recipe = load_recipe(protocol)
    if recipe.trains != "head":
        raise EvaluationError(
            f"protocol {protocol}: trains the encoder too; that is vpmim finetune --recipe {protocol}"
        )
    if not 1 <= seeds <= len(recipe.seeds):
        raise EvaluationError(f"seeds: the protocol {protocol} has 1 to {len(recipe.seeds)}, got {seeds}")
    return replace(recipe, seeds=recipe.seeds[:seeds], features=features or recipe.features)


def task_record(encoder: Encoder, labelled: LabelledImages, task: Task, name: str) -> dict[str, Any]:
    """What a run may go on with: the same protocol, weights, images and labels."""
    return {
        "protocol": name,
        "weights_sha256": weights_fingerprint(encoder),
        "dataset": labelled.dataset,
        "split": labelled.split,
        **{f"{part}_sha256": labelled.part_hash(part) for part in SPLITS},
        "labels_sha256": hashlib.sha256(labelled.labels.tobytes()).hexdigest(),
        "label_fraction": task.fraction,
    }


def _begin(out: Path, recipe: Recipe, task: dict[str, Any], *, resume: bool) -> None:
    """Make the folder, or check that it holds a run of the same recipe on the same task."""
    check_folder(out, recipe, task, resume=resume)
    if resume:
        return
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / TASK, json.dumps(task, indent=1) + "\n")
    write_file(out / RECIPE, dump_recipe(recipe))


def check_folder(out: Path, recipe: Recipe, task: dict[str, Any], *, resume: bool) -> None:
    """A folder is fit for a run.

    Raises
    ------
    ConfigError
        It holds a run, or results, that are not to be gone on with; or none, and `resume` is asked for.
    """
    text = dump_recipe(recipe)
    path = out / RECIPE
    if (out / RESULTS).exists() and (not path.exists() or read_results(out)["protocol"] != task["protocol"]):
        raise ConfigError(
            f"{out} holds results of another protocol, {read_results(out)['protocol']}; name another folder"
        )
    if path.exists():
        if not resume:
            raise ConfigError(f"{out} holds a run already; --resume goes on with it, or name another folder")
        if (found := path.read_text(encoding="utf-8")) != text:
            changed = [
                f"{old} -> {new}" for old, new in zip(found.splitlines(), text.splitlines(), strict=False) if old != new
            ]
            raise ConfigError(f"{out} was begun with another recipe: {'; '.join(changed)}; name another folder")
        begun = json.loads((out / TASK).read_text(encoding="utf-8"))
        if changed := [f"{key} {begun.get(key)} -> {value}" for key, value in task.items() if begun.get(key) != value]:
            raise ConfigError(f"{out} was begun on another task: {'; '.join(changed)}; name another folder")
        return
    if resume:
        raise ConfigError(f"{out} holds no run to go on with; leave --resume away")


def _read(
    opened: Opened, progress: Callable[[int, int], None] | None
) -> tuple[NDArray[np.uint8], list[tuple[int, RecordError]]]:
    """All stored squares (N, S, S), and the images that could not be read, whose squares are black."""
    total, size = len(opened.labelled.ids), opened.prepared.stored_size
    squares_NSS = np.zeros((total, size, size), np.uint8)
    failures: list[tuple[int, RecordError]] = []
    done = 0
    for batch in opened.images.batches(size, device=opened.place):
        squares_NSS[batch.index] = batch.squares
        failures += batch.failures
        done += len(batch.index) + len(batch.failures)
        if progress is not None:
            progress(done, total)
    return squares_NSS, failures


def _labelled_rows(used: LabelledImages, fraction: float, seed: int) -> NDArray[np.int64]:
    """Training images whose labels are used."""
    rows = used.rows("train")
    return rows[labelled_share([used.ids[row] for row in rows], fraction, seed=seed)]


def _part(used: LabelledImages, squares_NSS: NDArray[np.uint8], rows: NDArray[np.int64]) -> LabelledSquares:
    return LabelledSquares(squares_NSS[rows], used.labels[rows])


def _seed_folder(out: Path, seed: int) -> Path:
    folder = out / f"seed_{seed}"
    folder.mkdir(exist_ok=True)
    return folder


def _tell(
    out: Path,
    recipe: Recipe,
    seed: int,
    figures: dict[str, float],
    say: Callable[[str], None],
    on_epoch: Callable[[int, int], None],
) -> None:
    """One line of ``metrics.jsonl`` an epoch, in place of those that a killed run wrote ahead of its checkpoint."""
    path = out / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    told = [json.loads(line) for line in lines]
    kept = [one for one in told if one["seed"] != seed or one["epoch"] < figures["epoch"]]
    write_file(path, "".join(json.dumps(one) + "\n" for one in [*kept, {"seed": seed} | figures]))
    say(
        f"seed {seed}, epoch {figures['epoch']:.0f}: loss {figures['loss']:.4f}, validation loss "
        f"{figures['val_loss']:.4f}, AUC {100 * figures['val_auc']:.2f}"
    )
    before = recipe.seeds.index(seed) * recipe.epochs
    on_epoch(before + int(figures["epoch"]), len(recipe.seeds) * recipe.epochs)


def _write_classifier(out: Path, fitted: Fitted, classes: Sequence[str], recipe: Recipe, opened: Opened) -> None:
    """The first seed's classifier, for `vpmim.predict`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.model.state_dict().items()}
    write_file(out / CLASSIFIER, safetensors.torch.save(dict(sorted(tensors.items()))))
    about = {
        "format": 1,
        "classes": list(classes),
        "spec": asdict(opened.encoder.spec),
        "stored_size": opened.prepared.stored_size,
        "recipe": asdict(recipe),
        "epoch": fitted.epoch,
    }
    write_file(out / ABOUT, json.dumps(about, indent=1) + "\n")
