"""Figures of an evaluation as ``results.json`` and ``scores.npz``: measured, written and read back.

Legend of shape suffixes: N test images, C classes, S repetitions (seeds), R bootstrap draws.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpmim.checkpoint import write_file
from vpmim.statistics import (
    LEVEL,
    Bootstrap,
    average_precision,
    bootstrap,
    bootstrap_p,
    delong,
    draw_patients,
    expected_calibration_error,
    interval,
    roc_auc,
    sensitivity_at_specificity,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESULTS = "results.json"
SCORES = "scores.npz"
ENCODER, RANDOM, PIXELS = "encoder", "random encoder", "raw pixels"
"""Names of the systems that an evaluation compares."""
SPECIFICITY = 0.9
"""Specificity at which the sensitivity is read."""
BOOTSTRAP_SEED = 0

EVALUATE_ANEW = "remove it and evaluate anew"
"""The cure for a file of results that is damaged, lacks a figure, or is of another version."""


class ResultsError(ValueError):
    """A folder without results, or results that cannot be read."""


@dataclass(frozen=True)
class SystemScores:
    """Scores of one system for the test images.

    Attributes
    ----------
    name : str
    scores_SNC : (S, N, C) float64
        Log-odds; NaN throughout for a class that was not fitted.
    repeated : str
        What the S repetitions differ in.
    """

    name: str
    scores_SNC: Floats
    repeated: str


@dataclass(frozen=True)
class TestScores:
    """The test images with their labels, and what every system says about them. The first system is the encoder."""

    __test__ = False  # no test case, whatever pytest makes of the name

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    labels_NC: Floats
    systems: tuple[SystemScores, ...]


def measured(test: TestScores, *, draws: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Every figure of an evaluation.

    Parameters
    ----------
    test : TestScores
    draws : bootstrap draws over patients; one set of draws serves all systems, so that they compare in pairs

    Returns
    -------
    results : dict
        ``systems``: for each, the figures of each class and their mean with 95 % intervals; ``differences``: the
        first system minus each other; ``left_out``: classes that have no figure, and why; ``bootstrap``.
    scores : dict of arrays
        What ``scores.npz`` holds.
    """
    left_out = _left_out(test)
    dropped = {entry["class"] for entry in left_out}
    kept = [column for column, name in enumerate(test.classes) if name not in dropped]
    if not kept:
        raise ResultsError(
            "no class has both label values in training and in test, so there is nothing to report: "
            + "; ".join(f"{entry['class']}: {entry['reason']}" for entry in left_out)
        )
    names = [test.classes[column] for column in kept]
    labels_NC = test.labels_NC[:, kept]
    drawn = draw_patients(test.patients, draws=draws, seed=BOOTSTRAP_SEED)
    systems, resampled = {}, {}
    for system in test.systems:
        scores_SNC = system.scores_SNC[:, :, kept]
        resampled[system.name] = bootstrap(labels_NC, scores_SNC, drawn)
        systems[system.name] = _system(labels_NC, scores_SNC, names, resampled[system.name], system.repeated)
    first, *others = test.systems
    results = {
        "systems": systems,
        "differences": {
            other.name: _difference(test, first, other, kept, resampled[first.name], resampled[other.name], systems)
            for other in others
        },
        "left_out": left_out,
        "bootstrap": {
            "draws": draws,
            "seed": BOOTSTRAP_SEED,
            "unit": "patient",
            "patients": len(drawn.counts_PR),
            "interval": f"{LEVEL:.0%} percentile",
        },
    }
    per_image: dict[str, NDArray[Any]] = {
        "ids": np.asarray(test.ids, np.str_),
        "patients": np.asarray(test.patients, np.str_),
        "classes": np.asarray(test.classes, np.str_),
        "labels": test.labels_NC,
    }
    per_image |= {f"scores_{system.name.replace(' ', '_')}": system.scores_SNC for system in test.systems}
    return results, per_image


def write_results(out: Path, record: Mapping[str, Any], per_image: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Write ``scores.npz``, then ``results.json`` with its hash, each whole or not at all.

    Parameters
    ----------
    out : folder, made where it does not exist
    record : what goes into ``results.json``; NaN becomes null
    per_image : arrays of ``scores.npz``

    Returns
    -------
    dict
        The contents of ``results.json``.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **per_image)
    scores = content.getvalue()
    whole = _plain({**record, "scores": {"file": SCORES, "sha256": hashlib.sha256(scores).hexdigest()}})
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / SCORES, scores)
    write_file(out / RESULTS, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return whole


def read_results(folder: Path) -> dict[str, Any]:
    """``results.json`` of a folder.

    Raises
    ------
    ResultsError
    """
    path = folder / RESULTS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{folder}: no {RESULTS}; give folders that vpmim linear-eval wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); {EVALUATE_ANEW}") from None
    if not isinstance(content, dict) or content.get("format") != 1:
        raise ResultsError(
            f"{path}: not the results of this version of vpmim (format 1); {EVALUATE_ANEW}, or name another folder"
        )
    return content


def read_scores(folder: Path) -> dict[str, NDArray[Any]]:
    """What evaluations are compared by, of ``scores.npz``: ids, patients, classes, labels, the encoder's scores.

    Raises
    ------
    ResultsError
        No such file, a damaged one, or arrays that do not fit together.
    """
    path = folder / SCORES
    names = ("ids", "patients", "classes", "labels", f"scores_{ENCODER}")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:  # numpy leaves a damaged file open
            arrays = {name: content[name] for name in names}
        _check_shapes(*arrays.values())
    except Exception as error:  # whatever numpy, zipfile and zlib let through on bytes they were not made for
        raise ResultsError(f"{path}: cannot be read ({error}); remove {RESULTS} beside it and evaluate anew") from None
    return arrays


def same_test(first: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    """Whether two evaluations, as of `read_scores`, are of the same test images, classes and labels."""
    return all(np.array_equal(first[k], other[k], equal_nan=k == "labels") for k in ("ids", "classes", "labels"))


def beside_each_other(arrays: Mapping[str, NDArray[Any]], systems: tuple[SystemScores, ...]) -> TestScores:
    """Systems on the test images of an evaluation, as of `read_scores`, for `measured` to compare."""
    return TestScores(
        ids=tuple(map(str, arrays["ids"])),
        patients=tuple(map(str, arrays["patients"])),
        classes=tuple(map(str, arrays["classes"])),
        labels_NC=arrays["labels"],
        systems=systems,
    )


def _check_shapes(
    id_N: NDArray[Any],
    patient_N: NDArray[Any],
    class_C: NDArray[Any],
    labels_NC: NDArray[Any],
    scores_SNC: NDArray[Any],
) -> None:
    """`ValueError` for arrays that are not of the same images and classes, or for labels or scores without numbers."""
    images, classes = id_N.shape, class_C.shape
    expected = (1, images, 1, images + classes, images + classes)
    came = (id_N.ndim, patient_N.shape, class_C.ndim, labels_NC.shape, scores_SNC.shape[1:])
    if came != expected or not len(scores_SNC) or {labels_NC.dtype.kind, scores_SNC.dtype.kind} != {"f"}:
        raise ValueError("its arrays are not those of an evaluation")


@contextmanager
def figures_of(folder: Path, *, cure: str = EVALUATE_ANEW) -> Iterator[None]:
    """Turn what goes wrong inside a ``with`` block that reads a folder's results into one `ResultsError`.

    Its message names ``results.json``, the figure that is lacking or of the wrong kind, and the cure.

    Parameters
    ----------
    folder : whose results the block reads
    cure : what to do to have the figure

    Raises
    ------
    ResultsError
        The block looked for a figure that is not there, or reckoned with one that is no number.
    """
    try:
        yield
    except ResultsError:
        raise
    except (LookupError, StopIteration, TypeError, AttributeError, ValueError) as error:
        raise ResultsError(f"{folder / RESULTS}: lacks a figure ({error!r}); {cure}") from None


def _left_out(test: TestScores) -> list[dict[str, str]]:
    """Classes without a figure: one label value among the test images, or not fitted for some system."""
    entries = []
    for column, name in enumerate(test.classes):
        labels = test.labels_NC[:, column]
        positive, negative = int((labels == 1).sum()), int((labels == 0).sum())
        unfitted = any(np.isnan(system.scores_SNC[..., column]).any() for system in test.systems)
        if min(positive, negative) == 0:
            entries.append(
                {"class": name, "part": "test", "reason": f"{positive} positives and {negative} negatives in test"}
            )
        elif unfitted:
            entries.append({"class": name, "part": "train", "reason": "one label value among the training images used"})
    return entries


def _system(
    labels_NC: Floats, scores_SNC: Floats, names: Sequence[str], drawn: Bootstrap, repeated: str
) -> dict[str, Any]:
    auc_SC = np.array([[roc_auc(y, s) for y, s in zip(labels_NC.T, one.T, strict=True)] for one in scores_SNC])
    ap_SC = np.array([[average_precision(y, s) for y, s in zip(labels_NC.T, one.T, strict=True)] for one in scores_SNC])
    classes = {}
    for column, name in enumerate(names):
        labels, scores_SN = labels_NC[:, column], scores_SNC[..., column]
        classes[name] = {
            "positives": int((labels == 1).sum()),
            "negatives": int((labels == 0).sum()),
            "auc": _figure(auc_SC[:, column].mean(), drawn.auc_RC[:, column]),
            "ap": _figure(ap_SC[:, column].mean(), drawn.ap_RC[:, column]),
            f"sensitivity_at_specificity_{SPECIFICITY:g}": float(
                np.mean([sensitivity_at_specificity(labels, scores, SPECIFICITY) for scores in scores_SN])
            ),
            "calibration_error": float(
                np.mean([expected_calibration_error(labels, _probability(scores)) for scores in scores_SN])
            ),
            "auc_by_repetition": auc_SC[:, column].tolist(),
        }
    means_S = auc_SC.mean(axis=1)
    return {
        "mean": {
            "auc": _figure(means_S.mean(), drawn.auc_RC.mean(axis=1)),
            "ap": _figure(ap_SC.mean(), drawn.ap_RC.mean(axis=1)),
        },
        "classes": classes,
        "repetitions": {
            "over": repeated,
            "mean_auc": means_S.tolist(),
            "standard_deviation": float(means_S.std(ddof=1)) if len(means_S) > 1 else None,
        },
    }


def _difference(
    test: TestScores,
    first: SystemScores,
    other: SystemScores,
    kept: Sequence[int],
    drawn_first: Bootstrap,
    drawn_other: Bootstrap,
    systems: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """First minus other, on the same images and the same draws."""
    change_RC = drawn_first.auc_RC - drawn_other.auc_RC
    change_R = change_RC.mean(axis=1)
    ours, theirs = systems[first.name], systems[other.name]
    classes = {}
    for place, column in enumerate(kept):
        name = test.classes[column]
        compared = delong(
            test.labels_NC[:, column],
            first.scores_SNC[..., column],
            other.scores_SNC[..., column],
            patients=test.patients,
        )
        classes[name] = {
            "auc": _figure(
                ours["classes"][name]["auc"]["value"] - theirs["classes"][name]["auc"]["value"], change_RC[:, place]
            ),
            "p_bootstrap": bootstrap_p(change_RC[:, place]),
            "p_delong": compared.p,
        }
    return {
        "mean": {
            "auc": _figure(ours["mean"]["auc"]["value"] - theirs["mean"]["auc"]["value"], change_R),
            "p_bootstrap": bootstrap_p(change_R),
        },
        "classes": classes,
    }


def _figure(value: float, drawn_R: Floats) -> dict[str, float | int]:
    """A figure with its interval, and the draws in which it was defined."""
    bounds = interval(drawn_R)
    return {"value": float(value), "low": bounds.low, "high": bounds.high, "draws": bounds.draws}


def _probability(log_odds: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(log_odds / 2))


def _plain(value: Any) -> Any:
    """The same with NaN and infinity as None, which JSON can say."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
