"""How pre-training grows past the images with gaze: more images, of which a tenth of all was read.

At 10, 25, 50 and 100 % of the training images the same images have gaze. The others have none ("measured"), or what a
model fitted to the measured gaze predicts ("measured and predicted"); or nothing of the gaze is used ("none"). With
"drawn half of the time" every other image a run sees is one of those that were read (``data.measured_share``). Every
run takes as many steps as one on all images does.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vpmim.ablation_grid import Arm, Grid
from vpmim.config import load_config
from vpmim.gaze_fit import fit_gaze
from vpmim.schedule import plan_schedule

SIZES = {10: "scale_10", 25: "scale_25", 50: "scale_50", 100: "tenth"}
"""Per cent of the training images -> cache with the measured gaze."""

NONE, MEASURED, PREDICTED = "none", "measured", "measured and predicted"
MEASURED_HALF, PREDICTED_HALF = (f"{kind}, measured drawn half of the time" for kind in (MEASURED, PREDICTED))
GAZE = (NONE, MEASURED, PREDICTED, MEASURED_HALF, PREDICTED_HALF)
PYRAMID = "decoder.taps=[1, 2, -1, 0]"


def scaling_grid(size: Sequence[str], seeds: tuple[int, ...], kinds: Sequence[str], images: Mapping[int, int]) -> Grid:
    """The arms with some kinds of gaze, the largest first, each with as many steps as a run on all images.

    Parameters
    ----------
    size : overrides of a file of ``benchmarks/sizes``
    seeds : of pre-training
    kinds : of `GAZE`
    images : per cent -> number of images
    """
    arms = []
    whole = plan_schedule(load_config("vp_mim_joint", [PYRAMID, *size]), images[100])
    for share in sorted(SIZES, reverse=True):
        for kind in kinds:
            predicted, half = kind in (PREDICTED, PREDICTED_HALF), kind in (MEASURED_HALF, PREDICTED_HALF)
            if (predicted and share == min(SIZES)) or (half and share <= 25):
                continue  # all of these images were read, or nearly half
            source = ["prior.source=none"] if kind == NONE else []
            config = load_config("vp_mim_joint", [PYRAMID, *size, *source, f"data.measured_share={0.5 if half else 0}"])
            epoch = plan_schedule(config, images[share]).steps_per_epoch
            train = dataclasses.replace(config.train, max_steps=whole.steps, warmup_epochs=whole.warmup / epoch)
            data = predicted_cache(share) if predicted else SIZES[share]
            arms.append(Arm(f"{share} % of the images, {kind}", dataclasses.replace(config, train=train), data))
    return Grid("scaling", tuple(arms), seeds)


def predicted_cache(share: int) -> str:
    """Name of the cache whose missing gaze is predicted."""
    return f"predicted_{share}"


def predict(caches: Path, encoder: Path, out: Path, *, device: str, say: Callable[[str], None]) -> dict[str, float]:
    """Fit both predictors to the images that were read, and fill every cache with the better one's predictions.

    The better one is that of more information gain out of fold; no lesion label is used.

    Parameters
    ----------
    caches : folder of the measured caches, where the predicted ones are written too
    encoder : RUN of an encoder that saw no gaze, for the gaze head
    out : folder of the fits
    device : ``auto``, ``cpu``, ``cuda``
    say : gets a line a fit

    Returns
    -------
    dict
        Information gain of each predictor over the mean map, bits a fixation.
    """
    measured = [caches / SIZES[min(SIZES)]]
    gain = {}
    for model, source in (("head", encoder), ("unet", None)):
        if not (out / model / "results.json").exists():
            fit_gaze(measured, out / model, encoder=source, model=model, device=device)
        results = json.loads((out / model / "results.json").read_text())
        gain[model] = results["difference"]["ig"]["value"]
        say(f"{model}: information gain {gain[model]:.3f} bits over the mean map, out of fold")
    best = max(gain, key=lambda model: gain[model])
    for share, name in SIZES.items():
        target = caches / predicted_cache(share)
        if share > min(SIZES) and not target.exists():
            command = [sys.executable, "-m", "vpmim_cli", "gaze", "predict", out / best, caches / name, "--out", target]
            subprocess.run([*command, "--device", device], check=True)
            say(f"{target.name}: written")
    return gain
