"""Whether an encoder was pre-trained with gaze that something on top of it must not have seen.

A gaze head that is cross-fitted by patient is out of fold only if the encoder under it is: a RUN of a method that uses
gaze has put the gaze of its images into the encoder, most of all one that learned to predict it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vpmim.checkpoint import FOLDER
from vpmim.config import Config
from vpmim.run_folder import CONFIG, ENVIRONMENT, read_config, read_environment
from vpmim.weights import IMAGENET, SCRATCH

if TYPE_CHECKING:
    from gazekit.cache import PriorCache

YES, NO, UNKNOWN = "yes", "no", "unknown"


class SeenGaze(NamedTuple):
    """The answer, and what it rests on."""

    answer: str
    """One of `YES`, `NO` and `UNKNOWN`."""
    because: str


def seen_gaze(weights: Path, caches: Sequence[PriorCache]) -> SeenGaze:
    """Whether an encoder has seen the gaze of caches, by the record of the RUN it comes from.

    Parameters
    ----------
    weights : the encoder's file, of `vpmim.weight_files.weights_file`
    caches : whose gaze is in question

    Returns
    -------
    SeenGaze
        ``yes``: its RUN used gaze, and had one of the caches, or a cache that one of them was predicted from or into.
        ``no``: its RUN used no gaze and began from scratch or ImageNet. ``unknown``: there is no record of a RUN, its
        first weights are of another training, or it used the gaze of other caches, which may hold the same images: a
        cache built anew has another fingerprint.
    """
    weights = weights.resolve()  # a relative path need not name the RUN that it lies in
    run = weights.parent.parent.parent
    of_run = weights.parent.parent.name == FOLDER and all((run / name).is_file() for name in (CONFIG, ENVIRONMENT))
    if not of_run:
        return SeenGaze(UNKNOWN, f"{weights.name} carries no record of how it was trained")
    try:
        config = read_config(run)
        parts = [part for part in read_environment(run)["data"] if part.get("with_gaze")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return SeenGaze(UNKNOWN, f"the record of {run.name} cannot be read ({' '.join(str(error).split())[:100]})")
    return _by_record(run.name, config, parts, caches)


def _by_record(name: str, config: Config, parts: Sequence[Mapping[str, Any]], caches: Sequence[PriorCache]) -> SeenGaze:
    if config.uses_gaze and config.prior.source != "uniform" and parts:
        in_question = {mark for cache in caches for mark in _marks(cache.fingerprint, cache.header.get("inputs", {}))}
        shared = [part["name"] for part in parts if _marks(part["fingerprint"], part) & in_question]
        if shared:
            return SeenGaze(YES, f"{name} was pre-trained with the gaze of {', '.join(shared)}")
        others = ", ".join(str(part["name"]) for part in parts)
        return SeenGaze(UNKNOWN, f"{name} was pre-trained with the gaze of {others}, which may hold the same images")
    if config.model.init not in (SCRATCH, IMAGENET):
        first = Path(config.model.init).name
        return SeenGaze(UNKNOWN, f"{name} used no gaze, but began from {first}, whose training is not recorded")
    return SeenGaze(NO, f"{name} was pre-trained without gaze")


def _marks(fingerprint: str, record: Mapping[str, Any]) -> set[str]:
    """The fingerprint of a cache, and of the one that it was copied from when gaze was predicted into it."""
    return {fingerprint, record.get("source") or record.get("predicted_from") or fingerprint}
