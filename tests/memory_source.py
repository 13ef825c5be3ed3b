"""A source held in memory, whose readings can be made wrong in every way, over PNG files of invented chests."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import RecordError
from gazekit.reading import FIXATION_COLUMNS, Entry, Reading, Readings

if TYPE_CHECKING:
    import pandas as pd

WIDTH, HEIGHT = 90, 70


@dataclass(frozen=True)
class Spec:
    """One reading to invent: which image, how many fixations, and what is wrong with it.

    `fault` is a reason code to raise, "discarded", "empty", "zero_duration", "off_image", "size", "crash" (the
    process ends), "hang", or "memory" (more is asked for than a worker may have).
    """

    image_id: str
    reading_id: str | None
    n_fixations: int = 6
    fault: str = ""
    patient_id: str | None = None
    split: str | None = "train"


def make_specs(n_images: int, *, readers: int = 1) -> list[Spec]:
    """`n_images` images with `readers` readings each."""
    return [
        Spec(f"99img{i:03d}", f"99R{i:03d}-{r}", n_fixations=4 + (i + r) % 5, patient_id=f"99p{i // 2}")
        for i in range(n_images)
        for r in range(readers)
    ]


def write_images(root: Path, specs: list[Spec]) -> Path:
    """A PNG for each image of `specs`, differing from image to image."""
    from PIL import Image

    root.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    for image_id in sorted({spec.image_id for spec in specs}):
        rng = np.random.default_rng(_seed(image_id))
        lungs = 90 + 60 * np.sin(x / 9 + rng.uniform(0, 6)) * np.cos(y / 11) + rng.normal(0, 6, x.shape)
        Image.fromarray(np.clip(lungs, 0, 255).astype(np.uint8)).save(root / f"{image_id}.png")
    return root


def make_source(specs: list[Spec], *, dataset: str = "invented", digest: str = "0" * 64) -> Readings:
    """`Readings` over the specs."""
    entries = [
        Entry(
            image_id=spec.image_id,
            image_path=f"files/{spec.image_id}.dcm",
            reading_id=spec.reading_id,
            patient_id=spec.patient_id,
            split=spec.split,
            view="PA",
            phase="3",
            image_shape=(HEIGHT, WIDTH),
            discarded=spec.fault == "discarded",
        )
        for spec in specs
    ]
    by_id = {spec.reading_id: spec for spec in specs}
    return Readings(dataset, entries, functools.partial(load, by_id), digest=functools.partial(str, digest))


def load(by_id: dict[str, Spec], entry: Entry) -> Reading:
    """What a worker process calls."""
    spec = by_id[str(entry.reading_id)]
    if spec.fault == "crash":
        os._exit(77)
    if spec.fault == "hang":
        time.sleep(60)
    if spec.fault == "memory":
        np.empty(9 << 30, np.uint8)
    import pandas as pd

    if spec.fault in ("bad_table", "no_gaze", "unreadable"):
        raise RecordError(
            spec.fault, f"invented fault in /home/somebody/reflacx/{spec.reading_id}/fixations.csv, row 3"
        )
    table = fixations(spec)
    shape = (HEIGHT + 1, WIDTH) if spec.fault == "size" else (HEIGHT, WIDTH)
    return Reading(
        reading_id=str(spec.reading_id),
        image_id=spec.image_id,
        image_shape=shape,
        fixations=table,
        reader_id=None,
        dataset="invented",
        phase="3",
        patient_id=spec.patient_id,
        split=spec.split,
        transcript=pd.DataFrame(
            {"word": ["no", "nodule", "null"], "onset_s": [0.1, 0.4, 0.9], "offset_s": [0.3, 0.8, 1.1]}
        ),
        boxes=pd.DataFrame(
            {"name": ["chest"], "xmin_px": [3.0], "ymin_px": [4.0], "xmax_px": [80.0], "ymax_px": [66.0]}
        ),
        labels={"Nodule": np.int64(3), "Other": "<b>=free|text</b>", "Support devices": True, "Mass": float("nan")},
        counts={"zero_duration": 1},
        warnings=("one fixation lasts 12 s",),
    )


def fixations(spec: Spec) -> pd.DataFrame:
    """Canonical fixations, the same for the same reading id."""
    import pandas as pd

    rng = np.random.default_rng(_seed(str(spec.reading_id)))
    n = 0 if spec.fault in ("discarded", "empty") else spec.n_fixations
    onset = np.cumsum(rng.uniform(0.1, 0.6, n))
    table = pd.DataFrame(0.0, index=range(n), columns=list(FIXATION_COLUMNS))
    table["onset_s"] = onset
    table["offset_s"] = onset if spec.fault == "zero_duration" else onset + rng.uniform(0.05, 0.4, n)
    table["x_px"] = rng.uniform(-8, WIDTH + 8, n) + (5000 if spec.fault == "off_image" else 0)
    table["y_px"] = rng.uniform(0, HEIGHT, n)
    table["px_per_deg_x"], table["px_per_deg_y"] = 7.5, 8.25
    table["shown_xmax_px"], table["shown_ymax_px"] = float(WIDTH), float(HEIGHT)
    return table


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
