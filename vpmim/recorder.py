"""What a run writes while it trains: figures, pictures, checkpoints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from vpmim.checkpoint_writer import CheckpointWriter
from vpmim.config import Config
from vpmim.data import TrainingData
from vpmim.figures import Figures
from vpmim.model import MaskedImageModel
from vpmim.objective import panels
from vpmim.run_folder import Log
from vpmim.schedule import Schedule
from vpmim.step import TrainingStep

PANEL_IMAGES = 8


class Recorder:
    """A context that the one process that writes keeps open while it trains; its end waits for the last checkpoint.

    Parameters
    ----------
    out : the RUN folder
    config : Config
    data : TrainingData
    schedule : Schedule
    trained : TrainingStep, whose model and optimiser are saved
    after : steps that were done before
    """

    def __init__(
        self, out: Path, *, config: Config, data: TrainingData, schedule: Schedule, trained: TrainingStep, after: int
    ) -> None:
        self._config, self._data, self._schedule, self._trained = config, data, schedule, trained
        self._panel_steps = panel_steps(config, schedule)
        with ExitStack() as stack:
            self._log = Log(out, after=after)
            stack.callback(self._log.close)
            self._writer = stack.enter_context(CheckpointWriter(out, keep=config.train.keep))
            self._stack = stack.pop_all()
        self._last = time.perf_counter()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def log(self, figures: Figures, values: Mapping[str, float]) -> None:
        """Write a step's figures, if it is one whose figures are wanted."""
        train = self._config.train
        if figures.step % train.log_every == 0:
            now = time.perf_counter()
            speed = train.log_every * train.batch_size / (now - self._last)
            self._last = now
            about = {"step": figures.step, "epoch": self._schedule.epoch(figures.step)}
            self._log.write({**about, **values, "lr": figures.lr, "images_per_s": speed})

    def save(self, step: int) -> None:
        """Copy the state and start to write its checkpoint."""
        self._log.sync()  # no checkpoint is ahead of the figures
        self._writer.save(
            step,
            model=self._trained.model.state_dict(),
            optimizer=self._trained.optimizer.state_dict(),
            state={"seed": self._config.seed, "data_fingerprint": self._data.fingerprint},
            metadata=dataclasses.asdict(self._trained.model.encoder.spec),
        )

    def end_step(self, step: int) -> None:
        """Save pictures, if they are due after this step.

        Raises
        ------
        OSError
            A checkpoint could not be written meanwhile.
        """
        self._writer.check()
        if step in self._panel_steps:
            progress = step / self._schedule.steps
            self.show(step, make_panels(self._trained.model, self._data, self._config, progress=progress))

    def show(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Save the pictures of a step, for the report and for TensorBoard."""
        self._log.panels(step, arrays, kind=self._config.target.kind)

    def wait(self) -> None:
        """Wait for the checkpoint that is under way."""
        self._writer.wait()


def make_panels(
    model: MaskedImageModel, data: TrainingData, config: Config, *, progress: float
) -> dict[str, np.ndarray]:
    """What a step sees and makes of the first images, those with gaze before the others."""
    without = (data.prior.row_N == 0).int()
    index_B = without.argsort(stable=True)[:PANEL_IMAGES].cpu().numpy()
    return panels(model, data.gather(index_B), config, progress=progress)


def panel_steps(config: Config, schedule: Schedule) -> set[int]:
    """Steps after which pictures are made: every so many, or each quarter of the run; and the last."""
    steps, every = schedule.steps, config.train.panels_every
    if every is None:
        return {math.ceil(steps * quarter / 4) for quarter in range(1, 5)}
    return {*range(every, steps, every), steps}
