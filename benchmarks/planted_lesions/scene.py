"""Lesions of known place and kind planted in real X-rays, and simulated readers who look at them.

Everything is a function of the image's name and a seed. Lengths are in sixty-fourths of the image's longer side, so
that an image of any size gives the same scene at the 64 pixels at which the benchmark trains. Half of the images get a
lesion; every image, with or without, gets the same random changes of tone, so that these tell nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gazekit.errors import RecordError
from gazekit.reading import Entry, Reading, Readings
from gazekit.simulate import Lesion, ReaderParameters, simulate_reading
from gazekit.simulate.anatomy import default_anatomy

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

KINDS = ("nodule", "opacity", "edge")
SIGMA = (2.5, 4.5)
AMPLITUDE = (0.22, 0.40)
"""Of a lesion's grey values in [0, 1]; the sign is random, so that brightness alone tells nothing."""

READERS: dict[str, ReaderParameters] = {
    "gaze": ReaderParameters(),
    "error_1.5": ReaderParameters(calibration_error_dva=1.5),
    "error_3": ReaderParameters(calibration_error_dva=3.0),
    "missed_0.5": ReaderParameters(miss_rate=0.5),
    "missed_0.9": ReaderParameters(miss_rate=0.9),
    "dwell_0.1": ReaderParameters(lesion_dwell=0.10),
    "dwell_0.03": ReaderParameters(lesion_dwell=0.03),
}
"""Simulated readers: REFLACX's calibration error (0.43 degrees), a tenth of the lesions missed and 35 % of the time on
those that are noticed; then one thing worse at a time."""


@dataclass(frozen=True)
class Part:
    """Of the training images: the share that is used, and the share that the first of the readers read."""

    images: float = 1.0
    read: float = 1.0


PARTS = {
    "quarter": Part(read=0.25),
    "tenth": Part(read=0.1),
    "scale_50": Part(0.5, 0.1),
    "scale_25": Part(0.25, 0.1),
    "scale_10": Part(0.1, 0.1),
}
"""A smaller part lies inside a larger one, and the tenth that was read is the same in all of them."""

CONDITIONS = ("gaze", "oracle", *(name for name in READERS if name != "gaze"), *PARTS)
"""Priors with a cache of their own; ``oracle`` looks at the lesion and nowhere else."""


@dataclass(frozen=True)
class Planted:
    """What was planted: a key of `KINDS`, or none, and its box (xmin, ymin, xmax, ymax) in pixels."""

    kind: str | None
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class LesionShape:
    """How a lesion is painted: pixels, radians, grey values."""

    centre: tuple[float, float]
    amplitude: float
    sigma: float
    tilt: float
    form: float
    """How far an opacity is stretched, or an edge bent; a nodule has neither."""


@dataclass(frozen=True)
class Scene:
    """What a generator decided of an image: its tone, what is planted in it, and how that is painted."""

    contrast: float
    gamma: float
    planted: Planted
    lesion: LesionShape | None


def draw_scene(name: str, shape: tuple[int, int], *, seed: int = 0) -> Scene:
    """Decide an image's scene; no pixel is looked at.

    Parameters
    ----------
    name : of the image; with `seed` it decides everything
    shape : (H, W)
    seed : int
    """
    rng = _generator("scene", name, seed)
    contrast, gamma = rng.uniform(0.75, 1.0), rng.uniform(0.8, 1.25)
    if rng.random() < 0.5:
        return Scene(contrast, gamma, Planted(None, None), None)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    height, width = shape
    x0, y0, x1, y1 = default_anatomy(shape).lung(("right", "left")[int(rng.integers(2))])
    radius, angle = 0.8 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    centre = (
        (x0 + x1) / 2 + radius * np.cos(angle) * (x1 - x0) / 2,
        (y0 + y1) / 2 + radius * np.sin(angle) * (y1 - y0) / 2,
    )
    sign = 1.0 if rng.random() < 0.5 else -1.0
    amplitude = sign * rng.uniform(*AMPLITUDE)
    sigma = max(height, width) / 64 * rng.uniform(*SIGMA)
    tilt = rng.uniform(0, np.pi)
    form, reach = 1.0, 2 * sigma
    if kind == "opacity":
        form = rng.uniform(1.4, 2.0)
        reach = 2 * form * sigma
    elif kind == "edge":
        form, reach = rng.uniform(-0.5, 0.5), 2.2 * sigma
    box = (
        max(0.0, centre[0] - reach),
        max(0.0, centre[1] - reach),
        min(width - 1.0, centre[0] + reach),
        min(height - 1.0, centre[1] + reach),
    )
    return Scene(contrast, gamma, Planted(kind, box), LesionShape(centre, amplitude, sigma, tilt, form))


def paint(grey: NDArray[np.float32], scene: Scene) -> NDArray[np.float32]:
    """An image with its scene.

    Parameters
    ----------
    grey : (H, W) in [0, 1], of the shape that the scene was drawn for
    scene : Scene

    Returns
    -------
    (H, W) float32 in [0, 1]
    """
    grey = np.clip(0.5 + scene.contrast * (grey**scene.gamma - 0.5), 0, 1).astype(np.float32)
    lesion = scene.lesion
    if lesion is None:
        return grey
    height, width = grey.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    right, down = x - lesion.centre[0], y - lesion.centre[1]
    along = right * np.cos(lesion.tilt) + down * np.sin(lesion.tilt)
    across = down * np.cos(lesion.tilt) - right * np.sin(lesion.tilt)
    sigma = lesion.sigma
    if scene.planted.kind == "nodule":
        shape = np.exp(-0.5 * (along**2 + across**2) / sigma**2)
    elif scene.planted.kind == "opacity":
        shape = 0.8 * np.exp(-0.5 * ((along / (lesion.form * sigma)) ** 2 + (across / sigma) ** 2))
    else:
        # a bent step with a thin line on it, which fades out along its length: the edge of a collapsed lung
        unit = max(height, width) / 64
        bend = across - lesion.form * along**2 / (4 * sigma)
        step = 0.5 * np.tanh(bend / (0.4 * unit)) * np.exp(-0.5 * (across / (1.5 * sigma)) ** 2)
        shape = (step + np.exp(-0.5 * (bend / (0.6 * unit)) ** 2)) * np.exp(-0.5 * (along / (1.6 * sigma)) ** 2)
    return np.clip(grey + lesion.amplitude * shape, 0, 1).astype(np.float32)


def readings(
    images: list[tuple[str, str]], truth: dict[str, Planted], root: Path, condition: str, seed: int
) -> Readings:
    """The simulated readings of a condition, as a source of gazekit.

    Parameters
    ----------
    images : (image id, patient id)
    truth : image id -> what was planted
    root : folder of the images, ``<id>.png``
    condition : one of `CONDITIONS`
    seed : of the readers
    """
    part = PARTS.get(condition, Part())
    place = {image_id: _generator("read", image_id, seed).random() for image_id, _ in images}
    images = [(image_id, patient) for image_id, patient in images if place[image_id] < part.images]
    entries = [
        Entry(
            image_id=image_id,
            image_path=f"{image_id}.png",
            reading_id=f"{image_id}.r" if place[image_id] < part.read else None,
            patient_id=patient,
        )
        for image_id, patient in images
    ]
    load = partial(_load, {image_id: truth[image_id] for image_id, _ in images}, root, condition, seed)
    words = f"simulated {condition} {seed} {sorted(images)} {[truth[image_id] for image_id, _ in sorted(images)]}"
    return Readings("simulated", entries, load, digest=partial(_digest, words))


def _load(truth: dict[str, Planted], root: Path, condition: str, seed: int, entry: Entry) -> Reading:
    """One simulated reading; called in worker processes."""
    with Image.open(root / entry.image_path) as image:
        width, height = image.size
    planted = truth[entry.image_id]
    reader = READERS[condition if condition in READERS else "gaze"]
    lesions = [Lesion("Nodule", planted.box)] if planted.box is not None else []
    if entry.reading_id is None:
        raise RecordError("no_gaze", "simulated readers did not see this image")
    rng = _generator("reader", entry.image_id, seed)
    shape = (height, width)
    behaviour = replace(reader, zooms=0.0, window_drags=0.0, button_glances=0.0)
    fixations = simulate_reading(shape, default_anatomy(shape), lesions, rng, parameters=behaviour).fixations
    if condition == "oracle" and planted.box is not None:
        fixations = _only_at(fixations.iloc[[0]], planted.box)
    return Reading(
        reading_id=entry.reading_id,
        image_id=entry.image_id,
        image_shape=shape,
        fixations=fixations,
        reader_id="simulated",
        dataset="simulated",
        patient_id=entry.patient_id,
        image_path=entry.image_path,
    )


def _only_at(fixation: pd.DataFrame, box: tuple[float, float, float, float]) -> pd.DataFrame:
    """One long fixation on the middle of a box, whose degree is a quarter of its extent."""
    x0, y0, x1, y1 = box
    return fixation.assign(
        x_px=(x0 + x1) / 2,
        y_px=(y0 + y1) / 2,
        px_per_deg_x=max((x1 - x0) / 4, 0.5),
        px_per_deg_y=max((y1 - y0) / 4, 0.5),
    )


def _generator(what: str, name: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{what} {name} {seed}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()
