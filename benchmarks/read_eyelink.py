"""Reading EyeLink and Tobii files of a million samples, beside peers, all in one run.

    python benchmarks/read_eyelink.py [--samples 1000000] [--json]

* parse_eyelink: samples, the tracker's fixations, messages and trials of an ASC file
* pymovements: `pymovements.gaze.io.from_asc` of the same file, which reads the samples and, with ``events=True``, the
  events too
* read_bytes: the file's bytes and nothing else, the floor
* parse_tobii: a Pro Lab export of as many samples of two eyes; pandas.read_csv of all its columns is the peer

The least of some calls; pymovements is called once. CPU time is that of all threads.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from gazekit.sources.eyelink import parse_eyelink
from gazekit.sources.tobii import parse_tobii

FIXATION = 300


def write_asc(path: Path, samples: int, seed: int = 0) -> None:
    """One eye at 1000 Hz, a twentieth lost, a fixation every 300 ms and a trial every 10 s."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1900, samples).round(1).tolist(), rng.uniform(0, 1000, samples).round(1).tolist()
    with path.open("w", newline="\n") as file:
        file.write("** EYELINK II CL v5.15 Jan 24 2018 (EyeLink 1000 Plus)\n\nMSG\t90 DISPLAY_COORDS 0 0 1919 1079\n")
        file.write("MSG\t98 RECCFG CR 1000 2 1 L\nSTART\t100 \tLEFT\tSAMPLES\tEVENTS\n")
        file.write("EVENTS\tGAZE\tLEFT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2\n")
        file.write("SAMPLES\tGAZE\tLEFT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2\n")
        for k in range(samples):
            now = 100 + k
            if k % 10_000 == 0:
                file.write(f"MSG\t{now} TRIALID {k // 10_000}\nMSG\t{now} !V IMGLOAD FILL chest{k // 10_000}.png\n")
            if k % FIXATION == 0:
                file.write(f"SFIX L   {now}\n")
            lost = k % 20 == 0
            file.write(
                f"{now}\t   .\t   .\t    0.0\t...\n" if lost else f"{now}\t{x[k]:7.1f}\t{y[k]:7.1f}\t 1103.0\t...\n"
            )
            if k % FIXATION == FIXATION - 1:
                file.write(f"EFIX L   {now - FIXATION + 1}\t{now}\t{FIXATION}\t  500.0\t  400.0\t   1100\n")
        file.write(f"END\t{100 + samples} \tSAMPLES\tEVENTS\tRES\t  35.19\t  35.15\n")


def write_tsv(path: Path, samples: int, seed: int = 0) -> None:
    """Two eyes at 250 Hz, a twentieth lost, with events and media."""
    rng = np.random.default_rng(seed)
    gaze = rng.integers(0, 1900, (samples, 4)).tolist()
    header = (
        "Recording timestamp [μs]", "Sensor", "Participant name", "Recording name", "Recording resolution height [px]",
        "Recording resolution width [px]", "Event", "Gaze point left X [DACS px]", "Gaze point left Y [DACS px]",
        "Gaze point right X [DACS px]", "Gaze point right Y [DACS px]", "Validity left", "Validity right",
        "Presented Media name", "Eye movement type", "Eye movement type index",
    )  # fmt: skip
    with path.open("w", newline="") as file:
        file.write("\t".join(header) + "\r\n")
        for k in range(samples):
            head = f"{4000 * k}\tEye Tracker\t99A\tRecording1\t1080\t1920\t\t"
            tail = f"chest{k // 5000}.png\tFixation\t{k // 75}\r\n"
            a, b, c, d = gaze[k]
            seen = f"\t\t\t\tInvalid\tInvalid\t{tail}" if k % 20 == 0 else f"{a}\t{b}\t{c}\t{d}\tValid\tValid\t{tail}"
            file.write(head + seen)


def timed(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall and CPU seconds of several calls."""
    wall, cpu = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu)


def peer(path: Path, *, events: bool) -> object:
    from pymovements.gaze.io import from_asc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_asc(path, events=events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    import pymovements.gaze.io  # noqa: F401  not to be timed

    with tempfile.TemporaryDirectory() as folder:
        asc, tsv = Path(folder) / "r.asc", Path(folder) / "r.tsv"
        write_asc(asc, options.samples)
        write_tsv(tsv, options.samples)
        jobs: dict[str, tuple[Callable[[], object], int]] = {
            "read_bytes": (asc.read_bytes, options.repeats),
            "parse_eyelink": (lambda: parse_eyelink(asc), options.repeats),
            "pymovements, samples": (lambda: peer(asc, events=False), 1),
            "pymovements, events too": (lambda: peer(asc, events=True), 1),
            "parse_tobii": (lambda: parse_tobii(tsv), options.repeats),
            "pandas.read_csv, Tobii": (lambda: pd.read_csv(tsv, sep="\t", low_memory=False), options.repeats),
        }
        figures = {name: timed(job, repeats) for name, (job, repeats) in jobs.items()}
    if options.json:
        print(json.dumps({name: {"wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in figures.items()}))
        return
    print(f"{options.samples:,} samples; least of {options.repeats}, pymovements once")
    print(f"{'':25} {'wall s':>8} {'CPU s':>8} {'of ours, wall':>14}")
    for name, (wall, cpu) in figures.items():
        ours = figures["parse_tobii" if "Tobii" in name or "tobii" in name else "parse_eyelink"][0]
        print(f"{name:25} {wall:8.3f} {cpu:8.3f} {wall / ours:13.2f}x")


if __name__ == "__main__":
    main()
