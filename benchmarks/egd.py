"""EGD-CXR at its published size: 1,083 images, 49,000 fixations, 1.5 million rows of raw gaze, all in one run.

    python benchmarks/egd.py [--images 1083] [--json]

* read_egd(): opens the data set, every table but the raw gaze read and checked
* readings: fixations, boxes and transcript of twenty readings, per reading
* first samples(): goes through eye_gaze.csv once, for where each image's rows lie
* samples(): of a reading after that
* pandas, 4 columns: what a script does that reads the whole of eye_gaze.csv and selects

Memory is what the process holds more after the step than before. The rows are those of one simulated reading, under
invented ids.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from gazekit import read_egd
from gazekit.simulate.anatomy import default_anatomy
from gazekit.simulate.dicom_out import Identity
from gazekit.simulate.egd_files import (
    BOXES_HEADER,
    GAZE_HEADER,
    SHEET_HEADER,
    Medium,
    box_rows,
    fixation_rows,
    gaze_rows,
    sheet_row,
    shown_in_canvas,
)
from gazekit.simulate.parameters import ReaderParameters
from gazekit.simulate.reader import simulate_reading

SHAPE = (3056, 2544)
OPENED = 20
SAMPLES_A_IMAGE = 1_385


def write_data_set(root: Path, images: int) -> None:
    """Tables of `images` images; the files of the first `OPENED` of them."""
    rng = np.random.default_rng(0)
    anatomy, shown = default_anatomy(SHAPE), shown_in_canvas(SHAPE)
    still = ReaderParameters(duration_s=24.0, zooms=0.0, window_drags=0.0, button_glances=0.0)
    reading = simulate_reading(SHAPE, anatomy, (), rng, parameters=still)
    rows = gaze_rows(Medium(0, 0, "", shown), reading)[:SAMPLES_A_IMAGE]
    ends = fixation_rows(rows)
    samples, last = ([",".join(row[3:]) + "\n" for row in table] for table in (rows, ends))
    (root / "egd").mkdir()
    (root / "images").mkdir()
    pixels = Image.fromarray(np.zeros(SHAPE, np.uint8))
    with (
        (root / "egd/eye_gaze.csv").open("w") as gaze,
        (root / "egd/fixations.csv").open("w") as fixations,
        (root / "egd/master_sheet.csv").open("w", newline="") as sheet,
        (root / "egd/bounding_boxes.csv").open("w", newline="") as boxes,
    ):
        sheets, corners = (csv.writer(file, lineterminator="\n") for file in (sheet, boxes))
        sheets.writerow(SHEET_HEADER)
        corners.writerow(BOXES_HEADER)
        for file in (gaze, fixations):
            file.write(",".join(GAZE_HEADER) + "\n")
        for k in range(images):
            identity = Identity(f"99{k:06d}", f"99{k:06d}", f"99{k:06x}-00000000-00000000-00000000-00000000")
            start = f"{1 + k // 30},{k % 30},{identity.dicom_id},"
            gaze.writelines(start + rest for rest in samples)
            fixations.writelines(start + rest for rest in last)
            sheets.writerow(sheet_row(identity, shown, (), rng))
            corners.writerows(box_rows(identity.dicom_id, anatomy))
            if k < OPENED:
                pixels.save(root / "images" / f"{identity.dicom_id}.png")


def held_mib() -> float:
    """Memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def timed(step: Callable[[], object]) -> tuple[object, float, float]:
    """What a step returns, its wall seconds, and the MiB that the process holds more after it."""
    before, started = held_mib(), time.perf_counter()
    result = step()
    return result, time.perf_counter() - started, held_mib() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_083)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    figures: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_data_set(root, options.images)
        size = (root / "egd/eye_gaze.csv").stat().st_size / 1e6
        ids = [path.stem for path in sorted((root / "images").iterdir())]
        warm = read_egd(root / "egd", images=root / "images")  # imports what is needed
        warm[ids[0]]
        readings, *figures["read_egd()"] = timed(lambda: read_egd(root / "egd", images=root / "images"))
        opened, seconds, held = timed(lambda: [readings[i] for i in ids])
        figures["a reading"] = (seconds / len(ids), held / len(ids))
        _, *figures["first samples()"] = timed(opened[0].samples)
        table, seconds, held = timed(lambda: [reading.samples() for reading in opened])
        figures["samples()"] = (seconds / len(opened), held / len(opened))
        path, columns = root / "egd/eye_gaze.csv", ["DICOM_ID", "Time (in secs)", "BPOGX", "BPOGY"]
        whole, *figures["pandas, 4 columns"] = timed(lambda: pd.read_csv(path, usecols=columns))
        rows = len(whole)
    if options.json:
        print(json.dumps({name: {"wall_s": wall, "held_mib": held} for name, (wall, held) in figures.items()}))
        return
    print(f"{options.images:,} images, {rows:,} rows of raw gaze ({size:.0f} MB), {len(table[0]):,} of a reading")
    print(f"{'':20} {'wall s':>9} {'MiB':>8}")
    for name, (wall, held) in figures.items():
        print(f"{name:20} {wall:9.4f} {held:8.1f}")


if __name__ == "__main__":
    main()
