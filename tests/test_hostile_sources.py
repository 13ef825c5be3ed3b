"""Every format that is read, with changed bytes: a reading costs itself, or the run ends in words; no more happens."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from mutations import edited, random_edits, scaled, watched

from gazekit.errors import GazekitError, RecordError
from gazekit.simulate import SIMULATORS, ReaderParameters
from gazekit.sources import SOURCES, open_source

OTHERS = sorted(set(SOURCES) - {"images", "reflacx"})
"""`test_hostile_bytes` has these two."""


def read_all(folder: Path, dataset: str) -> int:
    """Read every reading with its samples; how many could be."""
    specs = [folder / name for name in ("table.toml", "screen.toml") if (folder / name).exists()]
    images = next((folder / name for name in ("images", "mimic-cxr") if (folder / name).exists()), None)
    readings = open_source(dataset, folder / dataset, images=images, spec=next(iter(specs), None))
    readings.digest()
    read = 0
    for reading_id in readings.ids:
        with suppress(RecordError):
            reading = readings[reading_id]
            read += 1
            reading.samples()
    return read


def changed(content: bytes, path: Path, rng: np.random.Generator) -> bytes:
    """A few edits, inside the compression where there is one, or of it."""
    edits = random_edits(rng, int(rng.integers(1, 4)))
    if path.suffix == ".gz" and rng.random() < 0.7:
        return gzip.compress(edited(gzip.decompress(content), edits), 1)
    return edited(content, edits)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("dataset", OTHERS)
def test_changed_files_of_every_format_are_read_or_refused(tmp_path: Path, dataset: str) -> None:
    SIMULATORS[dataset](tmp_path, readings=2, seed=0, parameters=ReaderParameters(duration_s=1.0))
    assert read_all(tmp_path, dataset) == 2
    pictures = (".dcm", ".png", ".jpg")
    files = sorted(p for p in (tmp_path / dataset).rglob("*") if p.is_file() and p.suffix not in pictures)
    rng = np.random.default_rng(0)
    for _ in range(scaled(25)):
        path = files[int(rng.integers(len(files)))]
        right = path.read_bytes()
        path.write_bytes(changed(right, path, rng))
        try:
            with watched(), suppress(GazekitError):
                read_all(tmp_path, dataset)
        finally:
            path.write_bytes(right)
