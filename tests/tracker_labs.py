"""Good recordings of Gazepoint, Pupil Labs and BIDS, with their images and spec, to be spoiled."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cli_runner import Outcome, run_gazekit
from PIL import Image

SPEC = "[screen]\nsize_px = [1000, 800]\nsize_mm = [400, 320]\ndistance_mm = 600\n"
TIME = 1_769_850_000_000_000_000

Fixation = tuple[float, float, float, float]
FIXATIONS: tuple[Fixation, ...] = ((0.0, 0.2, 0.2, 0.3), (0.3, 0.6, 0.6, 0.5))
"""Onset, offset in seconds; x, y as shares of the screen: what every good recording holds of each image."""


@dataclass(frozen=True)
class Lab:
    """Two recordings of a tracker, each of images 99a and 99b, right as they are; the first is spoiled."""

    root: Path
    source: str

    @property
    def gaze(self) -> Path:
        return self.root / "gaze"

    @property
    def file(self) -> Path:
        """The file that is spoiled: of samples, where the format has several."""
        return self.gaze / MAKERS[self.source].file

    @property
    def fixations(self) -> Path:
        """The file that holds its fixations."""
        return self.gaze / (MAKERS[self.source].fixations or MAKERS[self.source].file)

    @property
    def name(self) -> str:
        return self.file.name

    def make(self) -> Lab:
        for k in range(2):
            MAKERS[self.source].write(self, k, FIXATIONS)
        (self.root / "screen.toml").write_text(SPEC)
        (self.root / "images").mkdir()
        for name in ("99a", "99b"):
            self.draw(name)
        return self

    def image(self, name: str) -> Path:
        return self.root / "images" / f"{name}.png"

    def draw(self, name: str, shape: tuple[int, int] = (80, 100)) -> None:
        pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 251
        Image.fromarray(pixels.astype(np.uint8)).save(self.image(name))

    def put(self, path: str, text: str) -> None:
        file = self.gaze / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode()) if path.endswith(".gz") else text.encode())

    def fixate(self, *fixations: Fixation) -> None:
        """Other fixations, on every image of the first recording."""
        MAKERS[self.source].write(self, 0, fixations)

    def edit(self, change: Callable[[bytes], bytes]) -> None:
        self.file.write_bytes(change(self.file.read_bytes()))

    def edit_fixations(self, old: str, new: str) -> None:
        packed = self.fixations.suffix == ".gz"
        text = self.fixations.read_bytes()
        changed = (gzip.decompress(text) if packed else text).decode().replace(old, new)
        assert changed.encode() != text
        self.fixations.write_bytes(gzip.compress(changed.encode()) if packed else changed.encode())

    def say(self, text: str) -> None:
        (self.root / "screen.toml").write_text(SPEC + text)

    def build(self) -> Outcome:
        arguments = ("--dataset", self.source, "--images", self.root / "images", "--spec", self.root / "screen.toml")
        small = ("--image-size", "32", "--grid", "4", "--heatmap-size", "0", "--executor", "serial", "--json")
        return run_gazekit("build-heatmaps", self.gaze, self.root / "cache", *arguments, *small)


@dataclass(frozen=True)
class Maker:
    """How a tracker's good recording is written, and its files under the root."""

    write: Callable[[Lab, int, Sequence[Fixation]], None]
    file: str
    fixations: str = ""


def write_gazepoint(lab: Lab, k: int, fixations: Sequence[Fixation]) -> None:
    header = "MEDIA_ID,MEDIA_NAME,CNT,TIME(2026/01/31 09:00:00),FPOGX,FPOGY,FPOGS,FPOGD,FPOGID,FPOGV,BPOGX,BPOGY,BPOGV,"
    rows = [header]
    for medium, name in enumerate(("99a", "99b")):
        for number, (onset, offset, x, y) in enumerate(fixations, start=1):
            cells = f"{x},{y},{onset},{round(offset - onset, 6)},{number},1,{x},{y},1,"
            rows += [f"{medium},{name}.png,0,{onset},{cells}", f"{medium},{name}.png,0,{onset + 0.05:.3f},{cells}"]
    lab.put(f"User {k}_all_gaze.csv", "\n".join([*rows, ""]))


def write_pupil(lab: Lab, k: int, fixations: Sequence[Fixation]) -> None:
    name = ("99a", "99b")[k]
    gaze = [
        "recording id,timestamp [ns],gaze position on surface x [normalized],gaze position on surface y [normalized]"
    ]
    rows = ["recording id,start timestamp [ns],end timestamp [ns],fixation x [normalized],fixation y [normalized]"]
    for recording in ("one", "two"):
        for onset, offset, x, y in fixations:
            start, end = (TIME + round(1e9 * at) for at in (onset, offset))
            gaze += [f"{recording},{start + 50_000_000 * n},{x},{y}" for n in range(2)]
            rows.append(f"{recording},{start},{end},{x},{y}")
    lab.put(f"{name}/gaze.csv", "\n".join([*gaze, ""]))
    lab.put(f"{name}/fixations.csv", "\n".join([*rows, ""]))


def write_bids(lab: Lab, k: int, fixations: Sequence[Fixation]) -> None:
    run = f"sub-990{k + 1}/beh/sub-990{k + 1}_task-read"
    screen = {"ScreenDistance": 0.6, "ScreenResolution": [1000, 800], "ScreenSize": [0.4, 0.32]}
    physio = {
        "PhysioType": "eyetrack", "RecordedEye": "left", "SampleCoordinateSystem": "gaze-on-screen", "StartTime": 0,
        "Columns": ["timestamp", "x_coordinate", "y_coordinate"], "timestamp": {"Units": "ms"},
        "x_coordinate": {"Units": "pixel"}, "y_coordinate": {"Units": "pixel"},
    }  # fmt: skip
    samples, events = [], []
    for zero in (0, 1000):
        for onset, offset, x, y in fixations:
            begin, end = (zero + round(1000 * at) for at in (onset, offset))
            samples += [f"{t}\t{1000 * x - 0.5}\t{800 * y - 0.5}" for t in range(begin, max(end, begin) + 1, 10)]
            events.append(f"{begin}\t{end - begin}\tfixation")
    lab.put("dataset_description.json", '{"Name": "t", "BIDSVersion": "1.11.1"}')
    lab.put(f"{run}_events.tsv", "onset\tduration\tstim_file\n0\t1\t99a.png\n1\t1\t99b.png\n")
    lab.put(f"{run}_events.json", json.dumps({"StimulusPresentation": screen}))
    lab.put(f"{run}_recording-eye1_physio.tsv.gz", "\n".join([*samples, ""]))
    lab.put(f"{run}_recording-eye1_physio.json", json.dumps(physio))
    lab.put(f"{run}_recording-eye1_physioevents.tsv.gz", "\n".join([*events, ""]))
    model = {"OnsetSource": "timestamp", "Columns": ["onset", "duration", "trial_type"]}
    lab.put(f"{run}_recording-eye1_physioevents.json", json.dumps(model))


RUN = "sub-9901/beh/sub-9901_task-read"
MAKERS = {
    "gazepoint": Maker(write_gazepoint, "User 0_all_gaze.csv"),
    "pupil": Maker(write_pupil, "99a/gaze.csv", "99a/fixations.csv"),
    "bids": Maker(write_bids, f"{RUN}_events.tsv", f"{RUN}_recording-eye1_physioevents.tsv.gz"),
}
