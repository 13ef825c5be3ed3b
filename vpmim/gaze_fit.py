"""Fit a gaze predictor to the measured gaze of caches, cross-fitted by patient, and judge it out of fold.

Legend of shape suffixes: N images with gaze, L patches, K folds, 6 frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gazekit.cache import PriorCache, open_cache
from vpmim.export import load_encoder
from vpmim.features import versions, weights_fingerprint
from vpmim.gaze_confidence import confidence_facts, information
from vpmim.gaze_network import (
    HEAD,
    MODELS,
    UNET,
    Inputs,
    build_network,
    fit_network,
    holds_image,
    mean_maps,
    mean_row,
    measured_masses,
    network_inputs,
)
from vpmim.gaze_predictor import (
    ALL,
    FORMAT,
    GazePredictionError,
    GazePredictor,
    image_keys,
    save_predictor,
)
from vpmim.gaze_scores import compare_scores, patch_scores
from vpmim.process import repeatable, usable_device
from vpmim.seen_gaze import NO, YES, SeenGaze, seen_gaze
from vpmim.weight_files import weights_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEAN_MAP = "mean map"
NAMES = {HEAD: "gaze head", UNET: "U-Net"}
MIN_MASS = 1e-6
"""Share of an image's gaze that must be on patches that hold image, for it to be learned from."""

_BATCH = {"cpu": 32, "cuda": 256}


@dataclass(frozen=True)
class _Measured:
    """The images with measured gaze, in the order of the caches."""

    input_N: Tensor
    frame_N6: Tensor
    size: int
    gaussians: list[NDArray[np.float64]]
    keys: list[list[str]]
    has_patient: list[bool]
    counts: dict[str, int]
    simulated: bool


def fit_gaze(
    caches: Sequence[str | Path],
    out: str | Path,
    *,
    encoder: str | Path | None = None,
    ema: bool = False,
    allow_seen_gaze: bool = False,
    model: str | None = None,
    folds: int = 5,
    epochs: int = 30,
    seed: int = 0,
    draws: int = 1000,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fit a network a fold and one on all images, and write the folder G of `vpmim.gaze_predictor`.

    Parameters
    ----------
    caches : caches of gazekit; of their rows, those with measured gaze are used
    out : a folder that does not exist yet, or is empty
    encoder : a RUN or weights; see `vpmim.export.load_encoder`. For the model ``head`` only
    ema : take the encoder's moving average, of a RUN whose method has a teacher
    allow_seen_gaze : go on with an encoder that was itself pre-trained with the gaze of these caches, and record it
    model : ``head``, the gaze head of method.md (g) on the frozen encoder, or ``unet``, on the pixels alone;
        default the head where there is an encoder
    folds : K; all images of a patient are in one
    epochs : passes over the images of each fit
    seed : of the folds, the first weights and the order
    draws : bootstrap draws over patients
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    progress : called with fits done and fits in all

    Returns
    -------
    dict
        The contents of ``results.json``: NSS, CC, KL and information gain of the predictor and of the mean map of the
        same training patients, each image judged by the network that has not seen its patient, with 95 % intervals over
        patients.

    Raises
    ------
    GazePredictionError
        No measured gaze, fewer patients than folds, caches of several sizes or grids, `out` holds something, options
        that do not go together, or an encoder that has seen this gaze.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GazePredictionError(f"{out} exists and is not an empty folder; name another one, or remove it")
    model = model or (UNET if encoder is None else HEAD)
    if model not in MODELS:
        raise GazePredictionError(f"--model must be one of {', '.join(MODELS)}, got {model!r}")
    if ema and encoder is None:
        raise GazePredictionError("--weights ema is the moving average of an encoder; give --encoder RUN")
    if (encoder is None) == (model == HEAD):
        wanted = "needs --encoder RUN or WEIGHTS" if model == HEAD else "looks at pixels and takes no --encoder"
        raise GazePredictionError(f"--model {model} {wanted}")
    if epochs < 1 or folds < 2:
        raise GazePredictionError(f"--epochs must be at least 1 and --folds at least 2, got {epochs} and {folds}")
    place = usable_device(device)
    opened = [open_cache(path) for path in caches]
    size = _one(opened, "image_size")
    frozen = None if encoder is None else load_encoder(encoder, ema=ema).to(place)
    saw = SeenGaze(NO, "there is no encoder") if encoder is None else seen_gaze(weights_file(Path(encoder)), opened)
    if saw.answer == YES and not allow_seen_gaze:
        raise GazePredictionError(
            f"{saw.because}, so no fold is unseen to it: take an encoder pre-trained without that gaze (such as by "
            "--config localmim), or --allow-seen-gaze, which marks the figures and the predictions"
        )
    grid = _one(opened, "grid") if frozen is None else frozen.grid
    with repeatable(place, torch.get_num_threads()):
        data = _read(opened, size, network_inputs(grid, frozen), place)
        group_N = connected(data.keys)
        fold_N = deal(group_N, [min(keys) for keys in data.keys], folds=folds, seed=seed)
        valid_NL = holds_image(data.frame_N6, size, grid)
        mass_NL = measured_masses(data.gaussians, data.frame_N6, size, grid) * valid_NL
        total_N = mass_NL.sum(dim=1)
        usable_N = total_N > MIN_MASS
        target_NL = mass_NL / total_N.clamp(min=MIN_MASS)[:, None]
        networks, mean_rows, measured_gain = {}, {}, {}
        gain_N = information(target_NL, valid_NL)
        predicted_NL, baseline_NL = torch.zeros_like(target_NL), torch.zeros_like(target_NL)
        for done, name in enumerate([*map(str, range(folds)), ALL], start=1):
            held_N = torch.tensor([str(fold) == name for fold in fold_N])
            rows = torch.nonzero(usable_N & ~held_N)[:, 0]
            measured_gain[name] = float(gain_N[rows].mean())
            mean_rows[name] = mean_row([data.gaussians[row] for row in rows], data.frame_N6[rows])
            mean_NL = mean_maps(mean_rows[name], data.frame_N6, size, valid_NL, grid)
            networks[name] = fit_network(
                build_network(model, grid=grid, width=None if frozen is None else frozen.width, seed=seed),
                model,
                data.input_N[rows],
                target_NL[rows],
                mean_NL[rows],
                epochs=epochs,
                seed=seed,
                device=place,
            )
            baseline_NL[held_N] = mean_NL[held_N]
            if progress is not None:
                progress(done, folds + 1)
        predictor = GazePredictor(
            model,
            grid,
            size,
            None if frozen is None else frozen.cpu(),
            networks,
            mean_rows,
            {key: str(fold) for keys, fold in zip(data.keys, fold_N, strict=True) for key in keys},
            measured_gain,
            data.simulated,
            saw.answer,
        )
        names = [str(fold) for fold in fold_N]
        for rows in torch.arange(len(names)).split(_BATCH["cpu"]):
            batch = [names[row] for row in rows]
            predicted_NL[rows] = predictor.distributions(data.input_N[rows], batch, data.frame_N6[rows], size)
    results = {
        "format": FORMAT,
        "model": model,
        "folds": folds,
        "epochs": epochs,
        "seed": seed,
        "grid": list(grid),
        "simulated_gaze": data.simulated,
        "images": int(usable_N.sum()),
        "patients": len(set(group_N)),
        "images_grouped_by_image_id": data.has_patient.count(False),
        "left_out": data.counts | {"gaze on padding only": int((~usable_N).sum())},
        **_judged(predicted_NL, baseline_NL, target_NL, valid_NL, usable_N, data, group_N, grid, model, draws),
        "confidence": confidence_facts(
            {NAMES[model]: predicted_NL[usable_N], MEAN_MAP: baseline_NL[usable_N]},
            target_NL[usable_N],
            valid_NL[usable_N],
            [measured_gain[str(fold)] for fold, usable in zip(fold_N, usable_N.tolist(), strict=True) if usable],
        ),
        "encoder": None
        if frozen is None
        else {
            "name": Path(str(encoder)).name,
            "weights": "ema" if ema else "trained",
            "spec": asdict(frozen.spec),
            "sha256": weights_fingerprint(frozen),
        },
        "encoder_saw_gaze": saw._asdict(),
        "caches": [{"name": cache.path.name, "fingerprint": cache.fingerprint} for cache in opened],
        "versions": versions(),
        "device": place.type,
    }
    save_predictor(predictor, results, out)
    return results


def connected(keys: Sequence[Sequence[str]]) -> list[int]:
    """Number of the group of each image: images that share a key, be it through others, are one group.

    A key is a patient, an id, or the very pixels; numbers count up in the order in which groups appear.
    """
    leader = list(range(len(keys)))

    def find(image: int) -> int:
        while leader[image] != image:
            leader[image] = image = leader[leader[image]]
        return image

    first: dict[str, int] = {}
    for image, own in enumerate(keys):
        for key in own:
            leader[find(image)] = find(first.setdefault(key, image))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(find(image), len(numbers)) for image in range(len(keys))]


def deal(group_N: Sequence[int], key_N: Sequence[str], *, folds: int, seed: int) -> list[int]:
    """Fold of each image: groups, in an order that `seed` and their keys alone decide, are dealt out in turn.

    Raises
    ------
    GazePredictionError
        Fewer groups than folds.
    """
    smallest: dict[int, str] = {}
    for group, key in zip(group_N, key_N, strict=True):
        smallest[group] = min(key, smallest.get(group, key))
    if len(smallest) < folds:
        cure = f"take --folds {len(smallest)}" if len(smallest) > 1 else "cross-fitting needs at least two patients"
        raise GazePredictionError(f"--folds {folds}, but the measured gaze is of {len(smallest)} patients; {cure}")
    ordered = sorted(smallest, key=lambda group: hashlib.sha256(f"{seed} {smallest[group]}".encode()).digest())
    fold_of = {group: turn % folds for turn, group in enumerate(ordered)}
    return [fold_of[group] for group in group_N]


def _one(caches: Sequence[PriorCache], name: str) -> Any:
    """What all caches share, or `GazePredictionError`."""
    values = {getattr(cache, name): cache.path.name for cache in caches}
    if len(values) > 1:
        listed = ", ".join(f"{cache}: {value}" for value, cache in values.items())
        option = "--" + name.replace("_", "-")
        raise GazePredictionError(f"the caches differ in {option} ({listed}); build them with one {option}")
    return next(iter(values))


def _read(caches: Sequence[PriorCache], size: int, inputs: Inputs, device: torch.device) -> _Measured:
    """The images with measured gaze, as the networks see them."""
    parts, frames, gaussians, keys, has_patient = [], [], [], [], []
    counts = {"without gaze": 0, "with predicted gaze": 0}
    for cache in caches:
        kinds = cache.gaze_kinds
        counts["without gaze"] += kinds.count(None)
        counts["with predicted gaze"] += kinds.count("predicted")
        rows = [row for row, kind in enumerate(kinds) if kind == "measured"]
        for start in range(0, len(rows), _BATCH[device.type]):
            batch = rows[start : start + _BATCH[device.type]]
            squares = cache.images[batch]
            with torch.inference_mode():
                parts.append(inputs(torch.from_numpy(squares).to(device)).cpu())
            frames.append(cache.frames[batch])
            gaussians += [cache.fixations(row)[:, :9] for row in batch]
            keys += [image_keys(cache.rows[row], square) for row, square in zip(batch, squares, strict=True)]
            has_patient += [cache.rows[row]["patient_id"] is not None for row in batch]
    if not parts:
        names = ", ".join(cache.path.name for cache in caches)
        raise GazePredictionError(f"no image of {names} has measured gaze, so there is nothing to learn from")
    return _Measured(
        input_N=torch.cat(parts),
        frame_N6=torch.from_numpy(np.concatenate(frames)),
        size=size,
        gaussians=gaussians,
        keys=keys,
        has_patient=has_patient,
        counts=counts,
        simulated=all(cache.simulated_gaze for cache in caches),
    )


def _judged(
    predicted_NL: Tensor,
    baseline_NL: Tensor,
    target_NL: Tensor,
    valid_NL: Tensor,
    usable_N: Tensor,
    data: _Measured,
    group_N: Sequence[int],
    grid: tuple[int, int],
    model: str,
    draws: int,
) -> dict[str, Any]:
    """Out-of-fold figures of the predictor and of the mean map."""
    scores: dict[str, list[dict[str, float]]] = {NAMES[model]: [], MEAN_MAP: []}
    patients = []
    for row in torch.nonzero(usable_N)[:, 0].tolist():
        valid_L = valid_NL[row]
        place_F = _fixated(data.gaussians[row], data.frame_N6[row].numpy(), data.size, grid)
        number_L = (torch.cumsum(valid_L, 0) - 1).numpy()
        fixated_F = number_L[place_F[valid_L.numpy()[place_F]]]
        if not len(fixated_F):
            continue
        measured_V, baseline_V = target_NL[row][valid_L].numpy(), baseline_NL[row][valid_L].numpy()
        for name, shares_NL in ((NAMES[model], predicted_NL), (MEAN_MAP, baseline_NL)):
            shares_V = shares_NL[row][valid_L].numpy()
            scores[name].append(patch_scores(shares_V, measured_V, baseline_V, fixated_F))
        patients.append(str(group_N[row]))
    return compare_scores(scores, patients, draws=draws) | {"judged": len(patients)}


def _fixated(
    gaussians: NDArray[np.float64], frame_6: NDArray[np.float64], size: int, grid: tuple[int, int]
) -> NDArray[np.int64]:
    """Patch of each fixation whose centre is on the stored square."""
    rows, cols = grid
    stored = gaussians[:, 0:2] * frame_6[0:2] + frame_6[2:4]
    place = np.floor((stored + 0.5) / size * (cols, rows)).astype(np.int64)
    place = place[((place >= 0) & (place < (cols, rows))).all(axis=1)]
    return place[:, 1] * cols + place[:, 0]
