"""A gaze predictor fitted to invented readings of bright blobs, and what it predicts for a cache."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from synthetic import write_cache
from tiny import tiny_spec

from gazekit.cache import open_cache
from gazekit.predicted import PredictedGaze, write_predicted_cache
from vpmim.export import timm_config
from vpmim.features import random_encoder
from vpmim.gaze_fit import fit_gaze
from vpmim.gaze_predictor import identity, load_predictor, predict_gaze

CPU = torch.device("cpu")


def weights(folder: Path, side: int = 64) -> Path:
    """A random encoder of 4 x 4 patches, laid out as an export."""
    encoder = random_encoder(tiny_spec(input_size=side), 7)
    folder.mkdir()
    state = {name: tensor.contiguous() for name, tensor in encoder.vit.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(timm_config(encoder, in_chans=1)))
    return folder


def make_gaze(base: Path, **options: object) -> Path:
    """A cache of 20 patients, two images each, the last four images without gaze, and a gaze head fitted to it."""
    write_cache(base / "cache", images=40, without_gaze=4, images_a_patient=2)
    options = {"encoder": weights(base / "weights"), "folds": 3, "draws": 200} | options
    fit_gaze([base / "cache"], base / "g", **options)
    return base


def look_at(cache: Path, row: int, x_px: float) -> None:
    """Move the fixations of one row of the first shard to (x_px, x_px), in the cache's own files."""
    shard = cache / "shards" / "00000"
    start, stop = np.load(shard / "offsets.npy")[row : row + 2]
    fixations = np.load(shard / "fixations.npy")
    fixations[start:stop, 0:2] = x_px
    np.save(shard / "fixations.npy", fixations)


def predictions(g: Path, cache: Path, **options) -> dict[int, tuple[np.ndarray, float, str]]:
    found = predict_gaze(load_predictor(g), open_cache(cache), device=CPU, **options)
    return {row: (gaussians, confidence, name) for row, gaussians, confidence, name in found}


def write_predicted(g: Path, cache: Path, out: Path, *, everything: bool = False) -> dict[str, int]:
    found = predict_gaze(load_predictor(g), open_cache(cache), everything=everything, device=CPU)
    rows = ((row, PredictedGaze(gaussians, confidence)) for row, gaussians, confidence, _ in found)
    return write_predicted_cache(open_cache(cache), out, rows, predictor=identity(g, everything=everything))
