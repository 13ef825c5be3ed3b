"""Pre-training, read from top to bottom: a step is `vpmim.step`, what is written meanwhile `vpmim.recorder`.

Runs as ``vpmim train``, as ``python -m vpmim.train`` (the same options, without typer), and on several GPUs or nodes
with ``torchrun --nproc-per-node N -m vpmim.train ...``. A run depends on its configuration, its data and its step
alone, so on the CPU a resumed run is bitwise the uninterrupted one, whatever step it was killed at.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from vpmim import run_folder
from vpmim.checkpoint import FOLDER, Checkpoint, CheckpointError, checkpoint_name, go_back_to, newest_checkpoint
from vpmim.config import Config
from vpmim.data import DataError, load_data
from vpmim.figures import Figures
from vpmim.model import build_model
from vpmim.order import visits_an_epoch
from vpmim.process import (
    TrainingError,
    environment_facts,
    joined,
    memory_errors_named,
    repeatable,
    stop_signals_noted,
    stop_signals_raised,
)
from vpmim.recorder import Recorder, make_panels
from vpmim.schedule import plan_schedule
from vpmim.step import TrainingStep
from vpmim.weights import initialise


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What a call of `train` did.

    Attributes
    ----------
    run : name of the RUN folder
    step, steps : steps done, steps in all
    loss : of the last step of this call; None if it had none to do
    images_per_s : mean over this call, all processes together
    seconds : spent in the steps of this call
    checkpoint : the newest, relative to RUN
    images : trained on
    gaze_measured, gaze_predicted, gaze_absent : of these, images with the gaze of a person, with a model's, with none
    gaze_confidence : mean confidence that the predicted gaze counts with; None without any
    skipped : how many images could not be read, by reason code; their names are in RUN/failures.csv
    interrupted : whether a signal ended it before the last step
    """

    run: str
    step: int
    steps: int
    loss: float | None
    images_per_s: float | None
    seconds: float
    checkpoint: str
    images: int
    gaze_measured: int
    gaze_predicted: int
    gaze_absent: int
    gaze_confidence: float | None
    skipped: dict[str, int]
    interrupted: bool


def train(
    data_paths: Sequence[str | Path],
    out: str | Path,
    config: Config,
    *,
    resume: bool = False,
    device: str = "auto",
    strict: bool = False,
    say: Callable[[str], None] = lambda line: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> TrainSummary:
    """Pre-train an encoder.

    Parameters
    ----------
    data_paths : caches, folders of PNG or JPEG images, or both
    out : the RUN folder, made here; with `resume`, the one to go on with
    config : Config
    resume : go on from the newest complete checkpoint
    device : ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``
    strict : refuse a folder in which an image cannot be read, rather than train on the others
    say : gets lines about what is going on
    on_step : gets the number of steps done, and of steps in all

    Returns
    -------
    TrainSummary

    Raises
    ------
    ConfigError, DataError, RunError, WeightsError, EncoderError, CheckpointError
        Something is wrong with what was asked for; nothing was written.
    TrainingError
        The loss is not finite, or the GPU's memory is too small; the message names the last checkpoint, or the
        setting to lower.
    OSError
        The system refused; the checkpoints so far are intact.
    """
    out = Path(out)
    with ExitStack() as stack:
        stack.enter_context(stop_signals_raised())  # until there is a step whose end can be waited for
        place = stack.enter_context(joined(device))
        stack.enter_context(memory_errors_named(config))
        if resume:
            run_folder.check_same_config(out, config)
        elif place.rank == 0:  # which makes the folder, perhaps before another process looks
            run_folder.check_new(out)
        data = load_data(data_paths, config, device=place.device)
        if strict and data.failures:
            raise DataError(f"--strict: {data.failures[0][2]} ({len(data.failures)} such images)")
        schedule = plan_schedule(config, len(data))
        checkpoint = None
        if resume:
            run_folder.check_same_data(out, data.fingerprint)
            checkpoint = newest_checkpoint(out)
        done = 0 if checkpoint is None else checkpoint.step

        # sums depend on how many threads share them, so a resumed run takes the number it was started with
        threads = run_folder.read_environment(out)["threads"] if resume else torch.get_num_threads()
        stack.enter_context(repeatable(place.device, threads))
        model = build_model(config)
        if checkpoint is None:
            start = dataclasses.asdict(initialise(model.encoder, config.model.init))
            model.update_teacher(keep=0)
        else:
            start = {"source": f"checkpoint of step {done}"}
        model.to(place.device)
        take_step = TrainingStep(model, config, place)
        if checkpoint is not None:
            _restore(checkpoint, take_step)

        recorder = None
        if place.rank == 0:
            facts = {
                "processes": place.ranks,
                "precision": "bf16" if take_step.bf16 else "fp32",
                "compiled": take_step.compiled,
                "images_on_device": data.image_NSS is not None,
                "steps": schedule.steps,
                "warmup_steps": schedule.warmup,
                "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "init": start | {"source": Path(start["source"]).name},
            }
            environment = environment_facts(
                config, data=data.facts, fingerprint=data.fingerprint, device=place.device, resolved=facts
            )
            # made before anything is written, so that what cannot work as configured is found here
            first_panels = make_panels(model, data, config, progress=0.0) if done == 0 else None
            if not resume:
                run_folder.create_run(out, config=config, environment=environment, failures=data.failures)
            stack.enter_context(run_folder.held(out))
            if resume:
                run_folder.note_resume(out, environment=environment, step=done)
            if checkpoint is not None:
                go_back_to(out, done)
            recorder = stack.enter_context(
                Recorder(out, config=config, data=data, schedule=schedule, trained=take_step, after=done)
            )
            if first_panels is not None:
                recorder.show(0, first_panels)
            say(
                f"{out.name}: {len(data)} images, {done} of {schedule.steps} steps done ({schedule.steps_per_epoch} an "
                f"epoch, {schedule.warmup} of warm-up), {environment['precision']} on {environment['device']}"
            )
            often = visits_an_epoch(data.measured_N, measured_share=config.measured_share)
            if often > 1:
                say(
                    f"{data.measured_N.sum()} images with measured gaze are visited {often:.3g} times an epoch each "
                    f"(data.measured_share = {config.measured_share:g})"
                )

        stop = stack.enter_context(stop_signals_noted())
        unread: deque[Figures] = deque()
        latest: dict[str, float] = {}
        interrupted = False
        step = done
        began = time.perf_counter()
        batches = data.batches(
            schedule,
            seed=config.seed,
            batch_size=config.train.batch_size,
            measured_share=config.measured_share,
            after=done,
            rank=place.rank,
            ranks=place.ranks,
        )
        stack.enter_context(contextlib.closing(batches))
        model.train()
        for step, samples in batches:
            lr = schedule.learning_rate(step)
            if config.model.drop_path > 0:  # the one draw that comes from torch's own generator
                torch.manual_seed((config.seed * schedule.steps + step) * place.ranks + place.rank)
            terms = take_step(samples, lr=lr, progress=schedule.progress(step))
            unread.append(Figures.of(step, lr, terms, stop=stop.is_set(), place=place))
            due = step % config.train.checkpoint_every == 0 or step == schedule.steps
            # a GPU's figures are read a step later, when they have long arrived, so that it never waits to be read
            while len(unread) > (place.device.type == "cuda" and not due and not interrupted):
                figures = unread.popleft()
                latest, asked = figures.read()
                interrupted = interrupted or (asked and step < schedule.steps)
                if not all(math.isfinite(value) for value in latest.values()):
                    if recorder:
                        recorder.wait()
                    raise TrainingError(_divergence(figures.step, latest, out, config))
                if recorder:
                    recorder.log(figures, latest)
                    on_step(figures.step, schedule.steps)
            if recorder:
                if due or interrupted:
                    recorder.save(step)
                recorder.end_step(step)
            if interrupted:
                break
        if recorder:
            recorder.wait()
        seconds = time.perf_counter() - began
        return TrainSummary(
            run=out.name,
            step=step,
            steps=schedule.steps,
            loss=latest.get("loss"),
            images_per_s=(step - done) * config.train.batch_size / seconds if step > done else None,
            seconds=seconds,
            checkpoint=f"{FOLDER}/{checkpoint_name(step)}",
            images=len(data),
            **data.gaze_counts,
            skipped=dict(Counter(reason for _, reason, _ in data.failures)),
            interrupted=interrupted,
        )


def _restore(checkpoint: Checkpoint, step: TrainingStep) -> None:
    """Weights and optimiser as they were."""
    tensors, optimizer = checkpoint.model(), checkpoint.optimizer()
    try:
        step.model.load_state_dict(tensors)
        step.optimizer.load_state_dict(optimizer)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint.path.name} does not hold what this configuration trains ({' '.join(str(error).split())}); "
            "resume it with the version that wrote it (environment.json names it), or start a new run"
        ) from error


def _divergence(step: int, latest: Mapping[str, float], out: Path, config: Config) -> str:
    wrong = ", ".join(name for name, value in latest.items() if not math.isfinite(value))
    last = newest_checkpoint(out)
    good = "there is no checkpoint yet" if last is None else f"the last good checkpoint is {FOLDER}/{last.path.name}"
    return (
        f"step {step}: {wrong} is not finite, so training stopped; {good}. Start a new run with a lower train.lr "
        f"(it was {config.learning_rate:g}), with train.clip_grad=1, or with train.precision=fp32"
    )


if __name__ == "__main__":
    import sys

    from vpmim.plain_cli import main

    sys.exit(main(sys.argv[1:]))
