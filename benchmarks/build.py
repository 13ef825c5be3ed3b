"""A whole build beside decoding and one resize alone: throughput, one worker and two, peak memory, stages' shares.

    python benchmarks/build.py [--images 200] [--rounds 3] [--kinds raw,jpeg,jpeg2000] [--set DIR]

The data set is made by the simulator (REFLACX, one reading an image): raw 16-bit 3000 x 2500, JPEG 1024 x 1024,
JPEG 2000 3000 x 2500, in turn. DIR keeps it for the next call. "floor" is pydicom's decoding and one antialiased OpenCV
resize of each file, one after the other in this process. Each figure is the smallest of the rounds, which take turns:
on a shared machine the processor time (this process and its workers) is the one to compare with the floor.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import cv2
import numpy as np
import pydicom

from gazekit import dicom, gaze, image, manifest, plan, rows, shards, windowing
from gazekit.build import build_heatmaps
from gazekit.simulate.assignment import assign
from gazekit.simulate.dataset import write_reflacx
from gazekit.simulate.dicom_out import Encoding
from gazekit.simulate.pictures import Picture, phantom_makers
from gazekit.sources.reflacx import read_reflacx

KINDS = {
    "raw": (Encoding("explicit", 16), (3000, 2500)),
    "jpeg": (Encoding("jpeg", 8), (1024, 1024)),
    "jpeg2000": (Encoding("jpeg2000", 12), (3000, 2500)),
}
SIZE = 256
STAGES: dict[str, list[FunctionType]] = {
    "plan": [plan.plan_cache],
    "gaze tables": [gaze.load_looks],
    "header": [dicom._parse],
    "read and decode": [dicom._decode],
    "window": [windowing.display],
    "resize": [image.fit_image],
    "Gaussians": [gaze.place_gaze],
    "heatmap, relevance": [rows.stored_maps],
    "write, hash, fsync": [
        shards._ArrayFile.append,
        shards.sync,
        shards.fsync_directory,
        shards.sha256_file,
        shards.to_json,
    ],
    "manifest": [manifest.write_manifest],
}
PEAKS = """
import resource, sys
from gazekit.build import build_heatmaps
from gazekit.sources.reflacx import read_reflacx
root, out, limit = sys.argv[1:]
build_heatmaps(read_reflacx(root + "/reflacx"), root + "/mimic-cxr", out, limit=int(limit), workers=2, shard_size=16)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def make_set(root: Path, n: int, kinds: list[str]) -> None:
    """Write the data set: two phantoms of each kind, over and over, each with a reading of its own."""
    bases: dict[str, list[Picture]] = {}
    for kind in kinds:
        encoding, shape = KINDS[kind]
        makers = phantom_makers(2, shape)
        bases[kind] = [
            dataclasses.replace(make(np.random.default_rng(i)), encoding=encoding) for i, make in enumerate(makers)
        ]

    def maker(i: int) -> Callable[[np.random.Generator], Picture]:
        return lambda rng: bases[kinds[i % len(kinds)]][i // len(kinds) % 2]

    write_reflacx(root, [maker(i) for i in range(n)], assign(n, 1), np.random.default_rng(0), gaze_files=0, discarded=0)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds on the clock, of the processors, and on the clock from the first row on (all workers run)."""

    wall: float
    cpu: float
    steady: float


def processor_seconds() -> float:
    """Of this process and of those it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def floor(files: list[Path]) -> Cost:
    """Decode and shrink the files one after the other."""
    started, cpu = time.perf_counter(), processor_seconds()
    for file in files:
        pixels = pydicom.dcmread(file).pixel_array
        height, width = pixels.shape
        scale = SIZE / max(height, width)
        cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    wall = time.perf_counter() - started
    return Cost(wall, processor_seconds() - cpu, wall)


def build(root: Path, **options: object) -> Cost:
    """A whole build."""
    first: list[float] = []

    def on_row(done: int) -> None:
        if not first:
            first.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as out:
        started, cpu = time.perf_counter(), processor_seconds()
        readings = read_reflacx(root / "reflacx")
        build_heatmaps(readings, root / "mimic-cxr", Path(out) / "cache", image_size=SIZE, on_row=on_row, **options)
        ended = time.perf_counter()
    return Cost(ended - started, processor_seconds() - cpu, ended - first[0])


def shares(root: Path) -> dict[str, float]:
    """Seconds that a build in one process spends in each stage."""
    profile = cProfile.Profile()
    profile.enable()
    whole = build(root, executor="serial").wall
    profile.disable()
    spent = {
        name: sum(
            values[3]
            for place, values in pstats.Stats(profile).stats.items()
            if place in {(f.__code__.co_filename, f.__code__.co_firstlineno, f.__code__.co_name) for f in functions}
        )
        for name, functions in STAGES.items()
    }
    return spent | {"the rest": whole - sum(spent.values())}


def peaks(root: Path, limit: int) -> tuple[int, int]:
    """Peak resident megabytes of the main process and of its largest worker."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", PEAKS, str(root), f"{out}/cache", str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    main_process, worker = done.stdout.split()
    return int(main_process), int(worker)


def measure(root: Path, rounds: int) -> None:
    files = sorted((root / "mimic-cxr").rglob("*.dcm"))
    n = len(files)
    print(f"{n} images, {sum(f.stat().st_size for f in files) / 1e6:.0f} MB, {os.cpu_count()} cores, {rounds} rounds")
    build(root, executor="serial", limit=len(KINDS))  # what is imported late is not the images' cost
    costs: dict[str, list[Cost]] = {}
    for _ in range(rounds):
        costs.setdefault("floor: decode and resize", []).append(floor(files))
        costs.setdefault("build in one process", []).append(build(root, executor="serial"))
        for workers in (1, 2):
            costs.setdefault(f"build, workers {workers}", []).append(build(root, workers=workers))
    best = {
        name: Cost(*(min(getattr(cost, field.name) for cost in spent) for field in dataclasses.fields(Cost)))
        for name, spent in costs.items()
    }
    base = best["floor: decode and resize"]
    print(f"{'':<26}{'wall s':>8}{'/ floor':>9}{'cpu s':>8}{'/ floor':>9}{'images/s':>10}{'s from the first row':>22}")
    for name, cost in best.items():
        print(
            f"{name:<26}{cost.wall:>8.2f}{cost.wall / base.wall:>9.2f}{cost.cpu:>8.2f}{cost.cpu / base.cpu:>9.2f}"
            f"{n / cost.wall:>10.1f}{cost.steady:>22.2f}"
        )
    one, two = best["build, workers 1"], best["build, workers 2"]
    print(
        f"two workers: {one.wall / two.wall:.2f} times as fast as one, {one.steady / two.steady:.2f} from the first row"
    )
    print("\nstages of one process")
    spent = shares(root)
    for name, seconds in spent.items():
        print(f"{name:<28}{seconds:>8.2f}{seconds / sum(spent.values()):>9.1%}")
    print("\npeak memory, MB: main process, largest worker")
    for limit in (max(1, n // 4), n):
        print(f"{limit:>6} images {peaks(root, limit)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--set", type=Path, default=None, help="folder that keeps the data set")
    arguments = parser.parse_args()
    if "OMP_NUM_THREADS" not in os.environ:  # read when numpy is loaded: one thread here as in the workers
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"OMP_NUM_THREADS": "1"})
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as directory:
        root = arguments.set or Path(directory) / "set"
        if not root.exists():
            make_set(root, arguments.images, arguments.kinds.split(","))
        measure(root, arguments.rounds)


if __name__ == "__main__":
    main()
