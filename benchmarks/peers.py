"""gazekit beside pymovements, I2MC, REMoDNaV and pysaliency, in one run: ratios of processor time, memory, accuracy.

    pip install "gazekit[bench]" pymovements
    python benchmarks/peers.py [FOLDER ...] [--samples 1000000] [--json]

Jobs: pixels to degrees to I-VT fixations, I-DT, I2MC, the adaptive detector beside REMoDNaV (these two with a tenth of
the samples), and saliency metrics on maps of 2544 x 3056. FOLDER: hand-labelled recordings, see
``benchmarks/events.py``; each detector is then scored on each folder. A peer that is not installed, or that fails, is
named and left out.

Nothing of pysaliency but its metrics and ROC area is loaded: the package as a whole (0.2.22) asks for torch and for
pkg_resources, which it does not declare. Its ROC area calls ``numpy.trapz``, which numpy 2.4 no longer has; here that
name is ``numpy.trapezoid``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from events import Recording, load, score, score_events, score_row, synthetic
from metrics import make_map, peak_maps

from gazekit import Screen, detect_fixations, metrics

SCREEN = Screen(size_px=(1024, 768), size_mm=(380.0, 300.0), distance_mm=670.0)
MAP_SHAPE = (3056, 2544)
PIXELS = ("x_px", "y_px")
PACKAGES = {"pymovements": "pymovements", "I2MC": "I2MC", "REMoDNaV": "remodnav", "pysaliency": "pysaliency"}

Rows = list[dict[str, Any]]


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(job: str, peer_name: str, ours: Callable[[], Any], peer: Callable[[], Any], *, repeats: int = 3) -> Any:
    """A row of times: the least of `repeats`, the peer once where it takes longer than ten seconds."""
    own = min(cpu_seconds(ours) for _ in range(repeats))
    theirs = [cpu_seconds(peer)]
    while theirs[0] < 10 and len(theirs) < repeats:
        theirs.append(cpu_seconds(peer))
    return {
        "job": job,
        "peer": peer_name,
        "peer s": round(min(theirs), 4),
        "gazekit s": round(own, 4),
        "times faster": round(min(theirs) / own, 1),
    }


# --- detectors -------------------------------------------------------------------------------------------------------


def pymovements_events(samples: pd.DataFrame, screen: Screen, method: str, **thresholds: float) -> Any:
    """(onset, offset) in seconds, from pixels; at the nominal times, as its I-DT refuses the recorded ones."""
    import polars as pl
    import pymovements as pm

    time_s = samples["time_s"].to_numpy()
    step_ms = round(1e3 * float(np.median(np.diff(time_s))))
    width_mm, height_mm = screen.size_mm
    experiment = pm.Experiment(
        *screen.size_px, width_mm / 10, height_mm / 10, screen.distance_mm / 10, "upper left", 1e3 / step_ms
    )
    frame = pl.DataFrame({"time": np.arange(len(samples)) * step_ms} | {n: samples[n].to_numpy() for n in PIXELS})
    gaze = pm.Gaze(frame, experiment=experiment, time_column="time", time_unit="ms", pixel_columns=list(PIXELS))
    gaze.pix2deg()
    if method != "idt":
        gaze.pos2vel("fivepoint")
    gaze.detect(method, **thresholds)
    found = gaze.events.frame
    return tuple(time_s[found[edge].to_numpy() // step_ms] for edge in ("onset", "offset"))


def i2mc_events(samples: pd.DataFrame, screen: Screen) -> Any:
    """(onset, offset) in seconds; its I2MC takes pixels."""
    import I2MC

    data = pd.DataFrame({"time": 1e3 * samples["time_s"], "average_X": samples["x_px"], "average_Y": samples["y_px"]})
    missing = {"missing_x": -float(screen.size_px[0]), "missing_y": -float(screen.size_px[1])}
    data = data.fillna({"average_X": missing["missing_x"], "average_Y": missing["missing_y"]})
    options = {
        "xres": screen.size_px[0],
        "yres": screen.size_px[1],
        "freq": float(round(1 / np.median(np.diff(samples["time_s"])))),
        "missingx": missing["missing_x"],
        "missingy": missing["missing_y"],
        "scrSz": [mm / 10 for mm in screen.size_mm],
        "disttoscreen": screen.distance_mm / 10,
    }
    found = I2MC.I2MC(data, options, logging=False)[0]
    return np.asarray(found["startT"]) / 1e3, np.asarray(found["endT"]) / 1e3


def remodnav_events(samples: pd.DataFrame, screen: Screen) -> Any:
    """(onset, offset) in seconds of fixations and pursuits, the neighbours merged by the scoring."""
    from remodnav import EyegazeClassifier

    time_s = samples["time_s"].to_numpy()
    rate = float(round(1 / np.median(np.diff(time_s))))
    # one factor for the whole screen, as REMoDNaV wants it: that of its centre
    degrees = np.degrees(np.arctan2(screen.size_mm[0] / 2, screen.distance_mm)) / (screen.size_px[0] / 2)
    data = np.rec.fromarrays([samples["x_px"].to_numpy(), samples["y_px"].to_numpy()], names="x,y")
    logging.disable(logging.WARNING)
    classify = EyegazeClassifier(px2deg=degrees, sampling_rate=rate)
    events = [event for event in classify(classify.preproc(data)) if event["label"] in ("FIXA", "PURS")]
    start, stop = (np.array([event[key] for event in events]) for key in ("start_time", "end_time"))
    index = [np.clip(np.rint(edge * rate).astype(int), 0, len(time_s) - 1) for edge in (start, stop - 1 / rate)]
    joined = np.zeros(len(time_s), dtype=bool)
    for first, last in zip(*index, strict=True):
        joined[first : last + 1] = True
    edges = np.flatnonzero(np.diff(np.r_[False, joined, False]))
    return time_s[edges[0::2]], time_s[edges[1::2] - 1]


def detector_speed(n: int, here: set[str]) -> Rows:
    """Made gaze at 1 kHz, from pixels to fixations."""
    xy = synthetic(n)
    samples = pd.DataFrame({"time_s": np.arange(n) / 1000, "x_px": xy[:, 0], "y_px": xy[:, 1]})
    tenth = samples.iloc[: n // 10]
    jobs = (
        ("pixels to I-VT fixations", "pymovements", "ivt", samples, lambda s: pymovements_events(s, SCREEN, "ivt")),
        ("pixels to I-DT fixations", "pymovements", "idt", samples, lambda s: pymovements_events(s, SCREEN, "idt")),
        ("I2MC", "I2MC", "i2mc", tenth, lambda s: i2mc_events(s, SCREEN)),
        ("adaptive", "REMoDNaV", "adaptive", tenth, lambda s: remodnav_events(s, SCREEN)),
    )
    return [
        compare(
            f"{name}, {len(table):,} samples",
            peer,
            lambda table=table, algorithm=algorithm: detect_fixations(table, SCREEN, algorithm),
            lambda table=table, run=run: run(table),
        )
        for name, peer, algorithm, table, run in jobs
        if peer in here
    ]


def accuracy(folder: Path, here: set[str]) -> Rows:
    """Mean kappa and F1 over a folder's recordings; a file that a peer fails on is left out of its mean and counted."""
    recordings = [load(path) for path in sorted(folder.glob("*.mat"))]
    if not recordings:
        raise SystemExit(f"{folder}: expected .mat files")
    rows = [score_row(f"gazekit {name}", [score(r, name) for r in recordings]) for name in ("adaptive", "ivt", "i2mc")]
    peers: tuple[tuple[str, str, Callable[[Recording], Any]], ...] = (
        ("pymovements", "pymovements I-VT", lambda r: pymovements_events(r.samples, r.screen, "ivt")),
        (
            "pymovements",
            "pymovements I-VT, 30 deg/s, 60 ms",
            lambda r: pymovements_events(r.samples, r.screen, "ivt", velocity_threshold=30, minimum_duration=60),
        ),
        ("pymovements", "pymovements I-DT", lambda r: pymovements_events(r.samples, r.screen, "idt")),
        ("I2MC", "I2MC", lambda r: i2mc_events(r.samples, r.screen)),
        ("REMoDNaV", "REMoDNaV, fixations and pursuit", lambda r: remodnav_events(r.samples, r.screen)),
    )
    for package, name, run in peers:
        if package not in here:
            continue
        scores = []
        for recording in recordings:
            try:
                scores.append(score_events(recording, *run(recording)))
            except Exception as error:  # a peer's crash is a finding
                print(f"{name} failed on {recording.name}: {type(error).__name__}: {error}", file=sys.stderr)
        if scores:
            rows.append(score_row(name, scores))
    return rows


# --- saliency metrics ------------------------------------------------------------------------------------------------


def pysaliency_functions() -> dict[str, Callable[..., float]]:
    """pysaliency's own functions by our names, without the rest of the package."""
    found = importlib.util.find_spec("pysaliency")
    assert found is not None
    package = types.ModuleType("pysaliency")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["pysaliency"] = package
    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid  # noqa: NPY201
    peer = importlib.import_module("pysaliency.metrics")
    area = importlib.import_module("pysaliency.roc").general_roc

    def auc_judd(saliency: np.ndarray, points: np.ndarray) -> float:
        free = np.ones(saliency.shape, dtype=bool)
        free[points[:, 1], points[:, 0]] = False
        return float(area(saliency[points[:, 1], points[:, 0]], saliency[free], judd=0)[0])

    return {
        "nss": lambda saliency, points: float(peer.NSS(saliency, points[:, 0], points[:, 1]).mean()),
        "auc_judd": auc_judd,
        "cc": peer.CC,
        "sim": peer.SIM,
        "kl": peer.MIT_KLDiv,
    }


def metric_rows() -> Rows:
    """Time and the most memory in use beyond the arguments, in maps of float64; both give the same number."""
    rng = np.random.default_rng(0)
    saliency, reference = make_map(rng, MAP_SHAPE, 20), make_map(rng, MAP_SHAPE, 20)
    points = rng.integers(0, MAP_SHAPE[::-1], (100, 2))
    rows = []
    for name, peer in pysaliency_functions().items():
        ours = getattr(metrics, name)
        other = points if name in ("nss", "auc_judd") else reference
        np.testing.assert_allclose(ours(saliency, other), peer(saliency, other), rtol=1e-6)
        pairs = [
            (cpu_seconds(lambda p=peer, o=other: p(saliency, o)), cpu_seconds(lambda f=ours, o=other: f(saliency, o)))
            for _ in range(5)
        ]
        memory = peak_maps(peer, saliency, other), peak_maps(ours, saliency, other)
        rows.append(
            {
                "metric": name,
                "pysaliency ms": round(1e3 * min(p for p, _ in pairs), 1),
                "gazekit ms": round(1e3 * min(o for _, o in pairs), 1),
                "times faster": round(statistics.median(p / o for p, o in pairs), 1),
                "pysaliency maps": round(memory[0], 2),
                "gazekit maps": round(memory[1], 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="hand-labelled recordings, .mat")
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    here = {name for name, module in PACKAGES.items() if importlib.util.find_spec(module)}
    for name in PACKAGES.keys() - here:
        print(f"{name} is not installed and is left out: pip install {PACKAGES[name]}", file=sys.stderr)
    tables = {"speed": detector_speed(arguments.samples, here)}
    if "pysaliency" in here:
        tables[f"metrics at {MAP_SHAPE[0]} x {MAP_SHAPE[1]}"] = metric_rows()
    tables |= {f"accuracy on {folder.name}": accuracy(folder, here) for folder in arguments.folders}
    if arguments.json:
        print(json.dumps(tables, indent=1))
        return
    for title, rows in tables.items():
        print(f"{title}\n{pd.DataFrame(rows).to_string(index=False)}\n")


if __name__ == "__main__":
    main()
