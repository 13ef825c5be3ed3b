"""Reading a laboratory's own table: a million rows of time, position, reader and picture, all in one run.

    python benchmarks/read_table.py [--rows 1000000] [--json]

* csv, parquet: `parse_table`, from the file to trials in seconds and screen pixels
* index: `read_table`, which parses the file and checks units and ids of every trial
* samples: all trials placed on the screen, with degrees, from the parsed file
* bare parser: pyarrow.csv on the same columns, the floor
* pandas: pandas.read_csv and groupby, what analysis scripts use
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv
from read_samples import timed

from gazekit import Screen, read_table
from gazekit.sources.gaze_table import parse_table
from gazekit.sources.recording_reading import load_samples
from gazekit.sources.spec import parse_spec

SCREEN = Screen(size_px=(1920, 1080), size_mm=(530.0, 300.0), distance_mm=650.0)
SPEC = parse_spec(
    {
        "columns": {"time": "t", "x": "gx", "y": "gy", "reader": "who", "stimulus": "picture"},
        "units": {"time": "ms"},
        "lost": {"positions": [-1]},
    }
)


def write_gaze(folder: Path, rows: int, seed: int = 0) -> None:
    """Two readers, 20 pictures, 1000 Hz, 6 % lost; the same as CSV and as Parquet."""
    rng = np.random.default_rng(seed)
    xy = np.round(rng.uniform((0, 0), (1920, 1080), (rows, 2)), 2)
    xy[rng.random(rows) < 0.06] = -1
    part = np.arange(rows) * 20 // rows
    table = pd.DataFrame(
        {
            "who": np.where(part % 2 == 0, "99A", "99B"),
            "picture": [f"99chest{k // 2}.png" for k in part],
            "t": np.arange(rows, dtype=float),
            "gx": xy[:, 0],
            "gy": xy[:, 1],
        }
    )
    table.to_csv(folder / "gaze.csv", index=False)
    table.to_parquet(folder / "gaze.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_gaze(folder, options.rows)
        csv = folder / "gaze.csv"
        readings = read_table(csv, spec=SPEC, screen=SCREEN)
        source = readings.load.keywords["source"]
        wanted = pyarrow.csv.ConvertOptions(include_columns=["who", "picture", "t", "gx", "gy"])
        jobs = {
            "csv": lambda: parse_table(csv, spec=SPEC),
            "parquet": lambda: parse_table(folder / "gaze.parquet", spec=SPEC),
            "index": lambda: read_table(csv, spec=SPEC, screen=SCREEN),
            "samples": lambda: [load_samples(entry, source=source) for entry in readings.entries],
            "bare parser": lambda: pyarrow.csv.read_csv(csv, convert_options=wanted),
            "pandas": lambda: list(pd.read_csv(csv).groupby(["who", "picture"])),
        }
        figures = {name: timed(job, options.repeats) for name, job in jobs.items()}
    if options.json:
        print(json.dumps({name: {"wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in figures.items()}))
        return
    floor = figures["bare parser"]
    print(f"{options.rows:,} rows, 5 columns; least of {options.repeats}")
    print(f"{'':15} {'wall s':>8} {'CPU s':>8} {'of the bare parser':>20}")
    for name, (wall, cpu) in figures.items():
        print(f"{name:15} {wall:8.3f} {cpu:8.3f} {wall / floor[0]:19.2f}x")


if __name__ == "__main__":
    main()
