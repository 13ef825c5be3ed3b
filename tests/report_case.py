"""A small cache to report on: three readers of one image, hostile words, a fixation at a known place."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import memory_source
import numpy as np
import pandas as pd
from memory_source import HEIGHT, WIDTH, Spec, make_source, write_images

from gazekit.build import build_heatmaps
from gazekit.reading import FIXATION_COLUMNS, Entry, Reading, Readings

EVIL = '"></script><script>alert(1)</script><img src=//evil.example/x onerror=alert(1)> \u2028 \udc80'

KNOWN = "99R-known"
KNOWN_XY = (60, 20)
MANY = "99R-many"

SPECS = [
    Spec("99a", "99R-a1", 14, patient_id="99p0", split="train"),
    Spec("99a", "99R-a2", 12, patient_id="99p0", split="train"),
    Spec("99a", "99R-a3", 5, patient_id="99p0", split="train"),
    Spec("99b", KNOWN, 3, patient_id="99p1", split="test"),
    Spec("99c", MANY, 1000, patient_id="99p2", split="test"),
    Spec("99d", "99R-gone", fault="discarded", patient_id="99p3", split="train"),
    Spec("99e", "99R-bad", fault="bad_table", patient_id="99p4", split="train"),
]


def load(by_id: dict[str, Spec], entry: Entry) -> Reading:
    """A reading of `memory_source` with readers, hostile text and known fixations."""
    reading = memory_source.load(by_id, entry)
    readers = {"99R-a1": "one", "99R-a2": "two", "99R-a3": EVIL}
    reading = dataclasses.replace(reading, reader_id=readers.get(str(entry.reading_id)))
    if entry.reading_id == KNOWN:
        ellipse = {"labels": (EVIL,), "certainty": 3, "xmin_px": 5.0, "ymin_px": 40.0, "xmax_px": 30.0, "ymax_px": 60.0}
        said = pd.Series(["no", EVIL, "."], dtype=object)  # with a lone surrogate, which Arrow refuses
        words = pd.DataFrame({"word": said, "onset_s": [0.1, 1.0, 1.4], "offset_s": [0.4, 1.4, 1.5]})
        return dataclasses.replace(
            reading, fixations=known_fixations(), transcript=words, ellipses=pd.DataFrame([ellipse]), boxes=None,
            labels={EVIL: True}, warnings=(EVIL,),
        )  # fmt: skip
    return reading


def known_fixations() -> pd.DataFrame:
    """Three fixations, the second at `KNOWN_XY` from 1.0 to 1.5 s, seen through the right half of the image."""
    table = pd.DataFrame(0.0, index=range(3), columns=list(FIXATION_COLUMNS))
    table["onset_s"], table["offset_s"] = [0.2, 1.0, 2.0], [0.5, 1.5, 2.3]
    table["x_px"], table["y_px"] = [20.0, KNOWN_XY[0], 30.0], [50.0, KNOWN_XY[1], 52.0]
    table["px_per_deg_x"] = table["px_per_deg_y"] = 5.0
    table["shown_xmax_px"], table["shown_ymax_px"] = float(WIDTH), float(HEIGHT)
    table.loc[1, "shown_xmin_px"] = 45.0
    return table


def build_case(base: Path, specs: list[Spec] = SPECS, **options: object) -> Path:
    """The cache, built in this process."""
    write_images(base / "images", specs)
    plain = make_source(specs)
    by_id = {str(spec.reading_id): spec for spec in specs}
    readings = Readings("invented", plain.entries, functools.partial(load, by_id), digest=plain.digest)
    settings: dict[str, object] = {"image_size": 64, "grid": (8, 8), "heatmap_size": 0, "keep_no_gaze": True}
    build_heatmaps(readings, base / "images", base / "cache", executor="serial", **settings | options)
    return base / "cache"


def sample_table(n: int, *, seed: int = 0) -> np.ndarray:
    """(n, 11) gaze of the page, columns `gazekit.report_data.GAZE_FIELDS`, out of order in time."""
    rng = np.random.default_rng(seed)
    table = np.zeros((n, 11))
    table[:, :2] = rng.uniform(10, 60, (n, 2))
    table[:, 2:4] = rng.uniform(3, 9, (n, 2))
    table[:, 4] = rng.uniform(0, 1, n)
    table[:, 4] /= table[:, 4].sum()
    table[:, 7:9] = WIDTH, HEIGHT
    table[:, 9] = rng.permutation(n) * 0.002
    table[:, 10] = table[:, 9] + 0.002
    return table
