"""What a training would do, said without doing it: settings, data, network and first weights are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vpmim import run_folder
from vpmim.checkpoint import newest_checkpoint
from vpmim.config import Config
from vpmim.data import DataError, load_data
from vpmim.model import build_model
from vpmim.order import visits_an_epoch
from vpmim.schedule import plan_schedule
from vpmim.weights import initialise


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is known of a training before it begins.

    Attributes
    ----------
    images, with_gaze, skipped : images to train on, those of them with gaze, files that cannot be read
    gaze_measured, gaze_predicted, gaze_absent, gaze_confidence : whose gaze, as in `vpmim.train.TrainSummary`
    measured_visits : how often an epoch visits each image with measured gaze (``data.measured_share``)
    steps, done : in all, and by the newest checkpoint
    steps_per_epoch, warmup_steps : int
    encoder : its timm name
    parameters : trained ones, the decoders' included
    init : where the encoder's first weights come from
    """

    images: int
    with_gaze: int
    gaze_measured: int
    gaze_predicted: int
    gaze_absent: int
    gaze_confidence: float | None
    measured_visits: float
    skipped: int
    steps: int
    done: int
    steps_per_epoch: int
    warmup_steps: int
    encoder: str
    parameters: int
    init: str


def forecast_training(
    data_paths: Sequence[str | Path], out: str | Path, config: Config, *, resume: bool = False, strict: bool = False
) -> Forecast:
    """Try what a training needs, on the CPU.

    Parameters
    ----------
    data_paths, out, config, resume, strict : as of `vpmim.train.train`

    Raises
    ------
    ConfigError, DataError, RunError, WeightsError, EncoderError, CheckpointError
        What the training itself would refuse.
    """
    out = Path(out)
    if resume:
        run_folder.check_same_config(out, config)
    else:
        run_folder.check_new(out)
    data = load_data(data_paths, config, device=torch.device("cpu"))
    if strict and data.failures:
        raise DataError(f"--strict: {data.failures[0][2]} ({len(data.failures)} such images)")
    schedule = plan_schedule(config, len(data))
    model = build_model(config)
    done, init = 0, config.model.init
    if resume:
        run_folder.check_same_data(out, data.fingerprint)
        checkpoint = newest_checkpoint(out)
        done, init = (0, init) if checkpoint is None else (checkpoint.step, f"checkpoint of step {checkpoint.step}")
    if not done:
        initialise(model.encoder, config.model.init)
    gaze = data.gaze_counts
    return Forecast(
        images=len(data),
        with_gaze=gaze["gaze_measured"] + gaze["gaze_predicted"],
        **gaze,
        measured_visits=visits_an_epoch(data.measured_N, measured_share=config.measured_share),
        skipped=len(data.failures),
        steps=schedule.steps,
        done=done,
        steps_per_epoch=schedule.steps_per_epoch,
        warmup_steps=schedule.warmup,
        encoder=config.model.encoder,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        init=init,
    )
