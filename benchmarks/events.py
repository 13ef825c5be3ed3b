"""Event detection: agreement with hand labels, and speed. ``benchmarks/peers.py`` sets other toolkits beside it.

    python benchmarks/events.py FOLDER [--json]      agreement, on a folder of the hand-labelled recordings of
                                                     Andersson et al. (2017), doi 10.3758/s13428-016-0738-9 (.mat files)
    python benchmarks/events.py --speed [--samples 1000000]

Agreement: labels 1 (fixation) and 4 (pursuit) count as fixation, neighbours merge, (0, 0) is lost. kappa over all
samples; F1 over events, each detected one taking the unused reference event that it overlaps most; means over files.
"left out": the two factors of the adaptive algorithm chosen on all other files, scored on the one left out.
Times are taken from the file; a file without them has its nominal rate.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from gazekit import Screen, detect_fixations
from gazekit.events import ALGORITHMS, make_trace
from gazekit.events.runs import mask_runs

GRID = [
    {"edge_factor": edge, "peak_factor": peak}
    for edge, peak in product((3.0, 4.0, 5.0, 6.0, 8.0), (8.0, 10.0, 12.0, 15.0))
]


@dataclass(frozen=True)
class Recording:
    """Samples, their screen, and which of them a human called fixation."""

    name: str
    samples: pd.DataFrame
    screen: Screen
    fixation: np.ndarray


def load(path: Path) -> Recording:
    """One ``.mat`` file: columns time (us), two unused, x, y (px), label."""
    content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["ETdata"]
    seconds = (content.pos[:, 0] - content.pos[0, 0]) / 1e6
    if np.isnan(seconds).any():
        seconds = np.arange(len(seconds)) / float(content.sampFreq)
    xy = content.pos[:, 3:5].copy()
    xy[(xy == 0).all(axis=1)] = np.nan
    screen = Screen(
        size_px=tuple(int(n) for n in content.screenRes),
        size_mm=tuple(1e3 * n for n in content.screenDim),
        distance_mm=1e3 * float(content.viewDist),
    )
    samples = pd.DataFrame({"time_s": seconds, "x_px": xy[:, 0], "y_px": xy[:, 1]})
    return Recording(path.stem, samples, screen, np.isin(content.pos[:, 5], (1, 4)))


def score(recording: Recording, algorithm: str, **thresholds: float) -> tuple[float, float]:
    """(kappa, F1) of an algorithm on one recording."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "found no fixation" is a score here
        found = detect_fixations(recording.samples, recording.screen, algorithm, **thresholds)
    return score_events(recording, found["onset_s"].to_numpy(), found["offset_s"].to_numpy())


def score_events(recording: Recording, onset_s: np.ndarray, offset_s: np.ndarray) -> tuple[float, float]:
    """(kappa, F1) of fixations that begin and end with a sample."""
    seconds = recording.samples["time_s"].to_numpy()
    start, stop = np.searchsorted(seconds, onset_s), np.searchsorted(seconds, offset_s, "right")
    mask = np.zeros(len(seconds), dtype=bool)
    for first, last in zip(start, stop, strict=True):
        mask[first:last] = True
    truth = recording.fixation
    chance = mask.mean() * truth.mean() + (1 - mask.mean()) * (1 - truth.mean())
    kappa = ((mask == truth).mean() - chance) / (1 - chance)
    first, last = mask_runs(truth)
    free, hits = np.ones(len(first), dtype=bool), 0
    for a, b in zip(start, stop, strict=True):
        overlap = np.where(free, np.minimum(b, last) - np.maximum(a, first), 0)
        if overlap.max(initial=0) > 0:
            free[overlap.argmax()] = False
            hits += 1
    return float(kappa), 2 * hits / max(len(start) + len(first), 1)


def agreement(folder: Path) -> list[dict[str, object]]:
    """One row an algorithm, and one for the adaptive one with its factors chosen elsewhere."""
    recordings = [load(path) for path in sorted(folder.glob("*.mat"))]
    if len(recordings) < 2:
        raise SystemExit(f"{folder}: expected two or more .mat files")
    rows = [score_row(f"{name}, default", [score(r, name) for r in recordings]) for name in ALGORITHMS]
    grid = np.array([[score(r, "adaptive", **factors) for r in recordings] for factors in GRID])
    left_out = []
    for k in range(len(recordings)):
        others = np.delete(grid, k, axis=1).mean(axis=1).sum(axis=1)
        left_out.append(tuple(grid[int(others.argmax()), k]))
    return [*rows, score_row("adaptive, left out", left_out)]


def score_row(name: str, scores: list[tuple[float, float]]) -> dict[str, object]:
    kappa, f1 = np.mean(scores, axis=0)
    least = np.min(scores, axis=0)
    return {
        "detector": name,
        "files": len(scores),
        "kappa": round(float(kappa), 3),
        "least kappa": round(float(least[0]), 3),
        "F1": round(float(f1), 3),
        "least F1": round(float(least[1]), 3),
    }


def synthetic(n: int, seed: int = 0) -> np.ndarray:
    """(n, 2) px at 1 kHz: rests of 150 to 500 ms, minimum-jerk saccades, noise of 0.02 degrees at 38 px a degree."""
    rng = np.random.default_rng(seed)
    xy, at, place = np.empty((n, 2)), 0, np.array([512.0, 384.0])
    while at < n:
        rest, flight = int(rng.integers(150, 500)), int(rng.integers(25, 60))
        target = rng.uniform((50, 50), (970, 710))
        share = np.concatenate([np.zeros(rest), np.linspace(0, 1, flight)])
        path = place + (share**3 * (10 - 15 * share + 6 * share**2))[:, None] * (target - place)
        xy[at : at + len(path)] = path[: n - at]
        at, place = at + len(path), target
    return xy + rng.normal(0, 0.02 * 38, (n, 2))


def speed(n: int) -> list[dict[str, object]]:
    """CPU seconds per million samples, least of three: from pixels to a table, and the algorithm alone."""
    screen = Screen(size_px=(1024, 768), size_mm=(380.0, 300.0), distance_mm=670.0)
    xy = synthetic(n)
    samples = pd.DataFrame({"time_s": np.arange(n) / 1000, "x_px": xy[:, 0], "y_px": xy[:, 1]})
    trace = make_trace(np.arange(n) / 1000, xy / 38)
    rows: list[dict[str, object]] = []
    for name, function in ALGORITHMS.items():
        repeats = 1 if name == "i2mc" else 3
        whole = _timed(lambda name=name: detect_fixations(samples, screen, name), repeats) * 1e6 / n
        core = _timed(lambda function=function: function(trace), repeats) * 1e6 / n
        rows.append({"job": name, "px to table, s": round(whole, 3), "algorithm, s": round(core, 3)})
    return rows


def _timed(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="hand-labelled recordings, .mat")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.folder is None and not arguments.speed:
        parser.error("give a folder of recordings, or --speed")
    rows = speed(arguments.samples) if arguments.speed else agreement(arguments.folder)
    print(json.dumps(rows, indent=1) if arguments.json else pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
