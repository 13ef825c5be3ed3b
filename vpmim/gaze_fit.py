"""Fit a gaze predictor to the measured gaze of caches, cross-fitted by patient, and judge it out of fold.

Legend of shape suffixes: N images with gaze, L patches, K folds, 6 frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gazekit.cache import PriorCache, open_cache
from gazekit.new_directory import refuse_taken, refuse_unwritable
from vpmim.encoder import Encoder
from vpmim.export import load_encoder
from vpmim.features import versions, weights_fingerprint
from vpmim.gaze_confidence import confidence_facts, information
from vpmim.gaze_folds import MeasuredGaze, connected, deal, read_measured, shared
from vpmim.gaze_network import (
    HEAD,
    MODELS,
    UNET,
    build_network,
    fit_network,
    holds_image,
    mean_maps,
    mean_row,
    measured_masses,
    network_inputs,
)
from vpmim.gaze_predictor import ALL, FORMAT, GazePredictionError, GazePredictor, save_predictor
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


@dataclass(frozen=True, kw_only=True)
class OpenedFit:
    """A fit with everything at hand, before an image was encoded or a network made.

    Attributes
    ----------
    out : the folder G
    model, folds, epochs, seed, ema : as of `open_fit`
    place : where it runs
    caches : those that were given
    source : what the encoder was loaded from
    encoder : Encoder, or None for a U-Net
    saw : whether it has seen this gaze
    size : side of the stored squares
    grid : (rows, cols) of patches
    data : the measured gaze
    group_N : number of the group of each image, which is a patient, see `vpmim.gaze_folds.connected`
    fold_N : fold of each image
    valid_NL : patches that hold image
    target_NL : share of an image's gaze in each patch
    usable_N : whether an image can be learned from, see `MIN_MASS`
    """

    out: Path
    model: str
    folds: int
    epochs: int
    seed: int
    ema: bool
    place: torch.device
    caches: Sequence[PriorCache]
    source: Path | None
    encoder: Encoder | None
    saw: SeenGaze
    size: int
    grid: tuple[int, int]
    data: MeasuredGaze
    group_N: Sequence[int]
    fold_N: Sequence[int]
    valid_NL: Tensor
    target_NL: Tensor
    usable_N: Tensor

    def facts(self) -> dict[str, Any]:
        """What is known of the fit before it begins, as ``results.json`` has it: counts are of what is learned from."""
        rows = torch.nonzero(self.usable_N)[:, 0].tolist()
        return {
            "model": self.model,
            "folds": self.folds,
            "epochs": self.epochs,
            "seed": self.seed,
            "grid": list(self.grid),
            "simulated_gaze": self.data.simulated,
            "images": len(rows),
            "patients": len({self.group_N[row] for row in rows}),
            "images_grouped_by_image_id": sum(not self.data.has_patient[row] for row in rows),
            "left_out": self.data.counts | {"gaze on padding only": len(self.usable_N) - len(rows)},
            "device": self.place.type,
        }


def open_fit(
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
    device: str = "auto",
) -> OpenedFit:
    """Open caches and encoder, deal the patients into folds, and find what is wrong before anything is fitted.

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
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``

    Raises
    ------
    GazePredictionError
        No measured gaze, too little of it on what the images show, fewer patients than folds, caches of several sizes
        or grids, options that do not go together, or an encoder that has seen this gaze.
    InputError
        `out` holds something.
    CacheError, WeightsError, EncoderError, ConfigError
        A cache, encoder or device that cannot be used.
    NotADirectoryError, PermissionError
        `out` cannot be made.
    """
    out = Path(out)
    refuse_taken(out)
    refuse_unwritable(out.absolute().parent)
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
    size = shared(opened, "image_size")
    source = None if encoder is None else Path(encoder)
    frozen = None if source is None else load_encoder(source, ema=ema)
    saw = SeenGaze(NO, "there is no encoder") if source is None else seen_gaze(weights_file(source), opened)
    if saw.answer == YES and not allow_seen_gaze:
        raise GazePredictionError(
            f"{saw.because}, so no fold is unseen to it: take an encoder pre-trained without that gaze (such as by "
            "--config localmim), or --allow-seen-gaze, which marks the figures and the predictions"
        )
    grid = shared(opened, "grid") if frozen is None else frozen.grid
    with repeatable(place, torch.get_num_threads()):
        data = read_measured(opened)
        group_N = connected(data.keys)
        fold_N = deal(group_N, [min(keys) for keys in data.keys], folds=folds, seed=seed)
        valid_NL = holds_image(data.frame_N6, size, grid)
        mass_NL = measured_masses(data.gaussians, data.frame_N6, size, grid) * valid_NL
        total_N = mass_NL.sum(dim=1)
        target_NL = mass_NL / total_N.clamp(min=MIN_MASS)[:, None]
    usable_N = total_N > MIN_MASS
    _refuse_nothing_to_learn(usable_N, group_N, fold_N)
    return OpenedFit(
        out=out,
        model=model,
        folds=folds,
        epochs=epochs,
        seed=seed,
        ema=ema,
        place=place,
        caches=opened,
        source=source,
        encoder=frozen,
        saw=saw,
        size=size,
        grid=grid,
        data=data,
        group_N=group_N,
        fold_N=fold_N,
        valid_NL=valid_NL,
        target_NL=target_NL,
        usable_N=usable_N,
    )


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
    device: str = "auto",
    draws: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fit a network a fold and one on all images, and write the folder G of `vpmim.gaze_predictor`.

    Parameters
    ----------
    caches, out, encoder, ema, allow_seen_gaze, model, folds, epochs, seed, device
        As of `open_fit`.
    draws : bootstrap draws over patients
    progress : called with fits done and fits in all

    Returns
    -------
    dict
        The contents of ``results.json``: NSS, CC, KL and information gain of the predictor and of the mean map of the
        same training patients, each image judged by the network that has not seen its patient, with 95 % intervals over
        patients.

    Raises
    ------
    GazePredictionError, InputError, CacheError, WeightsError, EncoderError, ConfigError
        As of `open_fit`, before anything is fitted.
    OSError
        The system refused; nothing is left behind.
    """
    opened = open_fit(
        caches,
        out,
        encoder=encoder,
        ema=ema,
        allow_seen_gaze=allow_seen_gaze,
        model=model,
        folds=folds,
        epochs=epochs,
        seed=seed,
        device=device,
    )
    data, size, grid = opened.data, opened.size, opened.grid
    valid_NL, target_NL, usable_N = opened.valid_NL, opened.target_NL, opened.usable_N
    frozen = None if opened.encoder is None else opened.encoder.to(opened.place)
    width = None if frozen is None else frozen.width
    with repeatable(opened.place, torch.get_num_threads()):
        input_N = _inputs(opened)
        networks, mean_rows, measured_gain = {}, {}, {}
        gain_N = information(target_NL, valid_NL)
        predicted_NL, baseline_NL = torch.zeros_like(target_NL), torch.zeros_like(target_NL)
        for done, name in enumerate([*map(str, range(opened.folds)), ALL], start=1):
            held_N = torch.tensor([str(fold) == name for fold in opened.fold_N])
            rows = torch.nonzero(usable_N & ~held_N)[:, 0]
            measured_gain[name] = float(gain_N[rows].mean())
            mean_rows[name] = mean_row([data.gaussians[row] for row in rows], data.frame_N6[rows])
            mean_NL = mean_maps(mean_rows[name], data.frame_N6, size, valid_NL, grid)
            networks[name] = fit_network(
                build_network(opened.model, grid=grid, width=width, seed=opened.seed),
                opened.model,
                input_N[rows],
                target_NL[rows],
                mean_NL[rows],
                epochs=opened.epochs,
                seed=opened.seed,
                device=opened.place,
            )
            baseline_NL[held_N] = mean_NL[held_N]
            if progress is not None:
                progress(done, opened.folds + 1)
        names = [str(fold) for fold in opened.fold_N]
        predictor = GazePredictor(
            opened.model,
            grid,
            size,
            None if frozen is None else frozen.cpu(),
            networks,
            mean_rows,
            {key: fold for keys, fold in zip(data.keys, names, strict=True) for key in keys},
            measured_gain,
            data.simulated,
            opened.saw.answer,
        )
        for rows in torch.arange(len(names)).split(_BATCH["cpu"]):
            batch = [names[row] for row in rows]
            predicted_NL[rows] = predictor.distributions(input_N[rows], batch, data.frame_N6[rows], size)
    results = {
        "format": FORMAT,
        **opened.facts(),
        **_judged(opened, predicted_NL, baseline_NL, draws),
        "confidence": confidence_facts(
            {NAMES[opened.model]: predicted_NL[usable_N], MEAN_MAP: baseline_NL[usable_N]},
            target_NL[usable_N],
            valid_NL[usable_N],
            [measured_gain[name] for name, usable in zip(names, usable_N.tolist(), strict=True) if usable],
        ),
        "encoder": _encoder_record(opened),
        "encoder_saw_gaze": opened.saw._asdict(),
        "caches": [{"name": cache.path.name, "fingerprint": cache.fingerprint} for cache in opened.caches],
        "versions": versions(),
    }
    save_predictor(predictor, results, opened.out)
    return results


def _refuse_nothing_to_learn(usable_N: Tensor, group_N: Sequence[int], fold_N: Sequence[int]) -> None:
    """`GazePredictionError` where a network would be left without an image to learn from."""
    usable = torch.nonzero(usable_N)[:, 0].tolist()
    padding = f"the gaze of {len(usable_N) - len(usable)} images is on padding only"
    if len({group_N[row] for row in usable}) < 2:
        raise GazePredictionError(
            f"{padding}, and that of {len(usable)} on what they show: cross-fitting needs two patients of these"
        )
    if len({fold_N[row] for row in usable}) < 2:
        raise GazePredictionError(
            f"{padding}, and all others are in one fold, without which there is nothing to learn from: take more "
            "--folds, or another --seed"
        )


def _inputs(opened: OpenedFit) -> Tensor:
    """What the networks take of each image, (N, ...) on the CPU."""
    inputs, step = network_inputs(opened.grid, opened.encoder), _BATCH[opened.place.type]
    parts = []
    for cache, rows in opened.data.rows:
        for start in range(0, len(rows), step):
            square_BSS = torch.from_numpy(cache.images[rows[start : start + step]])
            with torch.inference_mode():
                parts.append(inputs(square_BSS.to(opened.place)).cpu())
    return torch.cat(parts)


def _encoder_record(opened: OpenedFit) -> dict[str, Any] | None:
    if opened.encoder is None or opened.source is None:
        return None
    return {
        "name": opened.source.name,
        "weights": "ema" if opened.ema else "trained",
        "spec": asdict(opened.encoder.spec),
        "sha256": weights_fingerprint(opened.encoder),
    }


def _judged(opened: OpenedFit, predicted_NL: Tensor, baseline_NL: Tensor, draws: int) -> dict[str, Any]:
    """Out-of-fold figures of the predictor and of the mean map."""
    data, own = opened.data, NAMES[opened.model]
    scores: dict[str, list[dict[str, float]]] = {own: [], MEAN_MAP: []}
    patients = []
    for row in torch.nonzero(opened.usable_N)[:, 0].tolist():
        valid_L = opened.valid_NL[row]
        place_F = _fixated(data.gaussians[row], data.frame_N6[row].numpy(), opened.size, opened.grid)
        number_L = (torch.cumsum(valid_L, 0) - 1).numpy()
        fixated_F = number_L[place_F[valid_L.numpy()[place_F]]]
        if not len(fixated_F):
            continue
        measured_V, baseline_V = opened.target_NL[row][valid_L].numpy(), baseline_NL[row][valid_L].numpy()
        for name, shares_NL in ((own, predicted_NL), (MEAN_MAP, baseline_NL)):
            shares_V = shares_NL[row][valid_L].numpy()
            scores[name].append(patch_scores(shares_V, measured_V, baseline_V, fixated_F))
        patients.append(str(opened.group_N[row]))
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
