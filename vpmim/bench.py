"""How fast a method trains here, and how fast the same method is when written plainly, in one run.

Images are random, on the device or streamed to it; what is measured is the step that `vpmim.train` takes.
"""

from __future__ import annotations

import dataclasses
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from vpmim.data import Samples, TrainingData, valid_areas
from vpmim.flops import FORMULA, count_flops
from vpmim.images import stored_size
from vpmim.masking import select
from vpmim.model import MaskedImageModel, build_model
from vpmim.objective import (
    Crops,
    complete,
    cut_images,
    hidden_at,
    losses_of,
    make_targets,
    plan_masks,
    read_gaze,
)
from vpmim.plain_step import plain_losses
from vpmim.prior_source import prior_source
from vpmim.process import Place, memory_errors_named, usable_device
from vpmim.schedule import Schedule, plan_schedule
from vpmim.settings import Config, require
from vpmim.step import TrainingStep, adamw, parameter_groups, uses_bf16

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}
"""Dense bf16 rate of a datasheet, by a part of the device's name (SXM modules)."""

FIXATIONS = 60
"""Fixations of each invented reading."""

Step = Callable[[int, Samples], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One form of one method.

    Attributes
    ----------
    config : name
    form : ``ours``, or ``plain``: the same method as it is usually written
    images_per_s : median over the rounds
    step_ms : median time of a step
    gflop_per_image : of training, by `vpmim.flops`
    tflops : images_per_s times that
    utilisation : tflops as a share of the peak
    memory_gb : most memory held: by the GPU's allocator; on a CPU, by the process so far
    input_stall : share of a step that waits for its batch: what goes away when one batch is used again and again
    precision, compiled : how it ran
    """

    config: str
    form: str
    images_per_s: float
    step_ms: float
    gflop_per_image: float
    tflops: float
    utilisation: float
    memory_gb: float
    input_stall: float
    precision: str
    compiled: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchSummary:
    """A whole run.

    Attributes
    ----------
    device, torch : what it ran on
    peak_tflops, peak_source : what utilisation is a share of
    formula : how FLOP are counted
    rows : list of BenchRow
    ratios : ours over plain, in images a second, by method
    breakdown_ms : by method, milliseconds of each part of our step, run one after the other without compilation; each
        is waited for, so that they add up to more than a step takes
    """

    device: str
    torch: str
    peak_tflops: float
    peak_source: str
    formula: str
    rows: list[BenchRow]
    ratios: dict[str, float]
    breakdown_ms: dict[str, dict[str, float]]


def bench(
    configs: dict[str, Config],
    *,
    device: str = "auto",
    images: int = 2048,
    steps: int = 20,
    rounds: int = 3,
    plain: bool = True,
    peak_tflops: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> BenchSummary:
    """Measure methods one after the other.

    Parameters
    ----------
    configs : by name
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:1``
    images : random images, at least a batch
    steps : of a round; as many plain ones, but a quarter at least one
    rounds : the figures are medians over them; one more goes before as a warm-up
    plain : measure the plain form too
    peak_tflops : what utilisation is a share of; default the datasheet's bf16 rate of a known GPU, or else the rate of
        a matrix product measured here
    say : gets a line about what is going on

    Returns
    -------
    BenchSummary

    Raises
    ------
    ConfigError
        No such device, a batch larger than the data, or a count below 1.
    EncoderError
        An encoder that cannot be built.
    TrainingError
        Not enough GPU memory; names the setting to lower.
    """
    for name, value in (("images", images), ("steps", steps), ("rounds", rounds)):
        require(value >= 1, f"--{name}", "a positive integer", value)
    place = usable_device(device)
    peak, source = _peak(place, peak_tflops)
    rows: list[BenchRow] = []
    breakdown: dict[str, dict[str, float]] = {}
    for name, config in configs.items():
        with memory_errors_named(config):
            say(f"{name}: ours")
            rows.append(_measure(name, "ours", config, place, images=images, steps=steps, rounds=rounds, peak=peak))
            breakdown[name] = step_breakdown(config, place, images=images, steps=min(steps, 5))
            if plain:
                say(f"{name}: plain")
                few = max(1, steps // 4)
                rows.append(_measure(name, "plain", config, place, images=images, steps=few, rounds=rounds, peak=peak))
    speed = {(row.config, row.form): row.images_per_s for row in rows}
    return BenchSummary(
        device=torch.cuda.get_device_name(place) if place.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        torch=torch.__version__,
        peak_tflops=peak,
        peak_source=source,
        formula=FORMULA,
        rows=rows,
        ratios={name: speed[name, "ours"] / speed[name, "plain"] for name in configs} if plain else {},
        breakdown_ms=breakdown,
    )


def random_data(config: Config, images: int, device: torch.device) -> TrainingData:
    """Random squares of the size that a cache stores, each with a reading of `FIXATIONS` fixations.

    They are on the device, or on the host with ``data.residency = "stream"``.
    """
    size = stored_size(config.data.input_size)
    generator = torch.Generator().manual_seed(config.seed)
    squares = torch.randint(0, 256, (images, size, size), generator=generator, dtype=torch.uint8)
    rng = np.random.default_rng(config.seed)
    readings = []
    for _ in range(images):
        table = np.zeros((FIXATIONS, 9))
        table[:, 0:2] = rng.uniform(0.2 * size, 0.8 * size, (FIXATIONS, 2))
        table[:, 2:4], table[:, 4], table[:, 7:9] = 0.04 * size, rng.uniform(0.1, 0.6, FIXATIONS), size
        readings.append(table)
    streamed = config.data.residency == "stream"
    cached = (14, 14, 768) if config.recalibrate.mode == "cached" else (0, 0, 0)  # as a ViT-B/16 at 224 makes them
    frame_N6 = torch.tensor([[1.0, 1.0, 0.0, 0.0, size, size]], dtype=torch.float64).repeat(images, 1).to(device)
    return TrainingData(
        ids=[str(i) for i in range(images)],
        facts=[],
        failures=[],
        image_NSS=None if streamed else squares.to(device),
        squares=[squares.numpy()] if streamed else [],
        frame_N6=frame_N6,
        valid_N4=valid_areas(frame_N6),
        prior=prior_source(readings, frame_N6, source=config.prior.source, seed=config.seed),
        measured_N=np.ones(images, bool),
        features_NRCD=torch.ones((images, *cached), dtype=torch.float16, device=device),
    )


def step_breakdown(config: Config, device: torch.device, *, images: int, steps: int) -> dict[str, float]:
    """Milliseconds of each part of a step, medians: parts in their order, each waited for, nothing compiled."""
    model = build_model(config).to(device).train()
    data = random_data(config, images, device)
    optimizer = adamw(model, config)
    schedule = _schedule(config, images, steps)
    bf16 = uses_bf16(config, device)
    times: dict[str, list[float]] = {}
    last = 0.0

    def done(part: str) -> None:
        nonlocal last
        _wait(device)
        now = time.perf_counter()
        times.setdefault(part, []).append(1e3 * (now - last))
        last = now

    batches = data.batches(schedule, seed=config.seed, batch_size=config.train.batch_size)
    _wait(device)
    last = time.perf_counter()
    for step, samples in batches:
        done("batch")
        progress = schedule.progress(step)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            grey_BHW, boxes_B4, flip_B = cut_images(samples, config)
            done("crops")
            crops = Crops(grey_BHW, *read_gaze(samples, boxes_B4, flip_B, config, grid=model.encoder.grid))
            done("prior")
            guidance = None if model.teacher is None else model.teacher(crops.grey_BHW)
            done("teacher")
            plan = plan_masks(
                model, crops, guidance, config, visit_B=samples.visit_B, index_B=samples.index_B, progress=progress
            )
            hidden = hidden_at(model, config, progress)
            selection = select(*plan, keep=plan.score_BL.shape[1] - hidden)
            done("masks")
            targets = make_targets(
                crops.grey_BHW, guidance, config, patch=model.encoder.patch, scales=config.decoder.scales
            )
            done("targets")
            forward = complete(model, crops, guidance, selection, targets, config, progress=progress)
            loss = losses_of(forward, config)["loss"]
        done("network and loss")
        loss.backward()
        done("backward")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.update_teacher(keep=config.train.ema)
        done("optimiser")
    return {part: statistics.median(values) for part, values in times.items()}


def _measure(
    name: str, form: str, config: Config, device: torch.device, *, images: int, steps: int, rounds: int, peak: float
) -> BenchRow:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    model = build_model(config).to(device).train()
    flop = count_flops(model, config).training_flop
    schedule = _schedule(config, images, steps * (rounds + 1))
    if form == "ours":
        data, (step, precision, compiled) = random_data(config, images, device), _our_step(model, config, schedule)
    else:
        data = random_data(config, images, torch.device("cpu"))
        step, precision, compiled = _plain_step(model, config, schedule)
    batch = config.train.batch_size
    # the loader's steps, then as many on one batch that is there already
    batches = data.batches(schedule, seed=config.seed, batch_size=batch)
    loaded = _round_times(step, batches, device, steps=steps)
    again = ((number, samples) for samples in [data.gather(range(batch))] for number in range(1, schedule.steps + 1))
    ready = _round_times(step, again, device, steps=steps)
    seconds = statistics.median(loaded) / steps
    return BenchRow(
        config=name,
        form=form,
        images_per_s=batch / seconds,
        step_ms=1e3 * seconds,
        gflop_per_image=flop / 1e9,
        tflops=batch / seconds * flop / 1e12,
        utilisation=batch / seconds * flop / 1e12 / peak,
        memory_gb=_memory(device) / 1e9,
        input_stall=max(0.0, 1 - min(ready) / min(loaded)),
        precision=precision,
        compiled=compiled,
    )


def _our_step(model: MaskedImageModel, config: Config, schedule: Schedule) -> tuple[Step, str, bool]:
    """The step of `vpmim.train`."""
    take_step = TrainingStep(model, config, Place(next(model.parameters()).device, 0, 1))

    def step(number: int, samples: Samples) -> None:
        lr = schedule.learning_rate(number)
        take_step(samples, lr=lr, progress=schedule.progress(number))

    return step, "bf16" if take_step.bf16 else "fp32", take_step.compiled


def _plain_step(model: MaskedImageModel, config: Config, schedule: Schedule) -> tuple[Step, str, bool]:
    """`vpmim.plain_step`, in the mixed precision that such code uses."""
    device = next(model.parameters()).device
    half = device.type == "cuda"
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config.train.weight_decay), lr=config.learning_rate, betas=config.train.betas
    )
    scaler = torch.amp.GradScaler(device.type, enabled=half)

    def step(number: int, samples: Samples) -> None:
        with torch.autocast(device.type, torch.float16, enabled=half):
            terms = plain_losses(model, samples, config, progress=schedule.progress(number))
        scaler.scale(terms["loss"]).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        model.update_teacher(keep=config.train.ema)
        terms["loss"].item()

    return step, "fp16" if half else "fp32", False


def _round_times(
    step: Step, batches: Iterator[tuple[int, Samples]], device: torch.device, *, steps: int
) -> list[float]:
    """Seconds of each round but the first, which warms up."""
    seconds = []
    _wait(device)
    start = time.perf_counter()
    for count, (number, samples) in enumerate(batches, start=1):
        step(number, samples)
        if count % steps == 0:
            _wait(device)
            now = time.perf_counter()
            seconds.append(now - start)
            start = now
    return seconds[1:]


def _schedule(config: Config, images: int, steps: int) -> Schedule:
    train = dataclasses.replace(config.train, max_steps=steps)
    return plan_schedule(dataclasses.replace(config, train=train), images)


def _peak(device: torch.device, given: float | None) -> tuple[float, str]:
    """TFLOP/s that utilisation is a share of, and where the number comes from."""
    if given is not None:
        require(given > 0, "--peak-tflops", "a positive number", given)
        return given, "given"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, rate in PEAK_TFLOPS.items():
            if part in name:
                return rate, f"datasheet of the {part}, dense bf16"
    side, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    a = torch.ones(side, side, dtype=dtype, device=device)
    times = []
    for _ in range(4):
        _wait(device)
        start = time.perf_counter()
        a @ a
        _wait(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times) / 1e12, f"a matrix product measured here, {side} x {side}"


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summary_values(summary: BenchSummary) -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
    """The summary as a command prints it: figures, and a row for each form of each method."""
    values = dataclasses.asdict(summary)
    return values, values.pop("rows")
