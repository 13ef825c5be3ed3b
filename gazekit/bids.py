"""Readings as a BIDS eye-tracking derivative (BIDS 1.11): fixations as ``_physioevents``, raw gaze as ``_physio``.

One run is one reading. Positions are pixels of the original image, so no screen is stated: ``SampleCoordinateSystem``
is ``custom``, described in the sidecar, and a fixation carries its own resolution and shown rectangle. No image leaves
with them. Nothing here reads a clock, and gzip gets no time, so equal readings are equal bytes.

Source: BIDS 1.11, Common principles and Physiological recordings (Eye-tracking); bids-validator accepts the result. The
standard wants a ``_physio`` file beside ``_physioevents``: where a reading has no samples it is empty, and its
``SamplingFrequency`` is 0.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

import gazekit
from gazekit.errors import InputError, RecordError
from gazekit.new_directory import new_directory
from gazekit.reading import FIXATION_COLUMNS, OPTIONAL_COLUMNS, POSITION, PX_PER_DEG, SHOWN, TIMES, Reading
from gazekit.shards import fsync_directory, sync

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache

BIDS_VERSION = "1.11.1"
TASK = "reading"

_DECIMALS = 9
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9]")
_README = """Gaze on radiographs, written by gazekit.

Each run is one reading of one image by one reader (the subject; "unknown" where the data set does not say who). The
column image_path of its events file names the image, which is not part of this data set. Positions are pixels of that
image in its original size: (0, 0) is the centre of the top-left pixel, x grows to the right and y downwards.

*_physioevents.tsv.gz: fixations, with the position, the image pixels per degree of visual angle at that place, and the
part of the image that was shown. *_physio.tsv.gz: the raw gaze; empty, with a SamplingFrequency of 0, where there is
none. RecordedEye is cyclopean where the data set does not say which eye was recorded.
"""
_SYSTEM = "Pixels of the original image: (0, 0) is the centre of the top-left pixel, x grows rightwards, y downwards."
_COLUMNS = {
    "x_px": ("Horizontal position in the image.", "pixel"),
    "y_px": ("Vertical position in the image.", "pixel"),
    "px_per_deg_x": ("Image pixels per degree of visual angle at this place, horizontally.", "pixel/deg"),
    "px_per_deg_y": ("Image pixels per degree of visual angle at this place, vertically.", "pixel/deg"),
    "shown_xmin_px": ("Left end of the part of the image that was shown, half-open.", "pixel"),
    "shown_ymin_px": ("Top end of the part of the image that was shown, half-open.", "pixel"),
    "shown_xmax_px": ("Right end of the part of the image that was shown, half-open.", "pixel"),
    "shown_ymax_px": ("Bottom end of the part of the image that was shown, half-open.", "pixel"),
    "pupil_area_norm": ("Pupil area relative to that on a calibration screen.", "1"),
    "window_width": ("Width of the grey-level window, as a share of the range.", "1"),
    "window_level": ("Level of the grey-level window, as a share of the range.", "1"),
    "screen_xmin_px": ("Left end of where that part was drawn on the screen, half-open.", "pixel"),
    "screen_ymin_px": ("Top end of where that part was drawn on the screen, half-open.", "pixel"),
    "screen_xmax_px": ("Right end of where that part was drawn on the screen, half-open.", "pixel"),
    "screen_ymax_px": ("Bottom end of where that part was drawn on the screen, half-open.", "pixel"),
}


def write_bids(source: PriorCache | Iterable[Reading], out: str | Path, *, samples: bool = True) -> int:
    """Write readings as a BIDS data set, which `gazekit.read_bids` reads.

    Parameters
    ----------
    source : PriorCache or iterable of Reading
        A cache gives the fixations that its maps are made of, and no samples.
    out : path
        A directory that does not exist yet, or is empty; it appears, whole, when everything is written.
    samples : bool
        Write the raw gaze of readings that have it.

    Returns
    -------
    int
        Number of readings written.

    Raises
    ------
    InputError
        `out` holds something; two readings have one id; no reading has a fixation.

    Notes
    -----
    Fixations come back equal to 1e-9, in the same order; readings without one (a discarded recording) are left out.
    """
    from gazekit.cache import PriorCache

    readings = (one for row in _cached(source) for one in row) if isinstance(source, PriorCache) else source
    runs = _Runs()
    with new_directory(Path(out)) as directory:
        for reading in readings:
            runs.enter(directory, reading, samples=samples)
        runs.close(directory)
    return len(runs.seen)


def write_bids_cache(cache: PriorCache, directory: Path, on_row: Callable[[int], None]) -> None:
    """Fill an empty directory with the fixations of a cache, as an export does; see `write_bids`."""
    runs = _Runs()
    for row, readings in enumerate(_cached(cache)):
        for reading in readings:
            runs.enter(directory, reading, samples=False)
        on_row(row + 1)
    runs.close(directory)


@dataclass(slots=True)
class _Runs:
    """The runs written so far: reading ids, and how many of each subject."""

    seen: set[str] = field(default_factory=set)
    of_subject: dict[str, int] = field(default_factory=dict)

    def enter(self, directory: Path, reading: Reading, *, samples: bool) -> None:
        """Write one reading as the next run of its reader; one without a fixation is passed over."""
        if not len(reading.fixations):
            return
        if reading.reading_id in self.seen:
            raise InputError(f"two readings have the id {reading.reading_id}; rename one")
        self.seen.add(reading.reading_id)
        label = _NOT_IN_LABELS.sub("", reading.reader_id or "") or "unknown"
        self.of_subject[label] = self.of_subject.get(label, 0) + 1
        _write_run(directory, label, self.of_subject[label], reading, samples=samples)

    def close(self, directory: Path) -> None:
        """Write what describes the data set as a whole."""
        if not self.seen:
            raise InputError("no reading has a fixation; there is nothing to write")
        _write_top(directory, sorted(self.of_subject))


def _write_top(directory: Path, labels: Sequence[str]) -> None:
    """What describes the data set as a whole."""
    description = {
        "Name": "Gaze on radiographs",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "gazekit", "Version": gazekit.__version__}],
    }
    _write(directory / "dataset_description.json", _json(description))
    _write(directory / "README", _README.encode())
    _write(directory / "participants.tsv", _tsv([["participant_id"], *([f"sub-{label}"] for label in labels)]))
    for label in labels:
        fsync_directory(directory / f"sub-{label}" / "beh")
        fsync_directory(directory / f"sub-{label}")


def _write_run(directory: Path, label: str, run: int, reading: Reading, *, samples: bool) -> None:
    folder = directory / f"sub-{label}" / "beh"
    folder.mkdir(parents=True, exist_ok=True)
    start = f"sub-{label}_task-{TASK}_run-{run:04d}"
    gaze = _samples(reading) if samples else None
    time = gaze["time_s"].to_numpy(np.float64) if gaze is not None else np.zeros(0)
    end = max([*reading.fixations["offset_s"], *time[-1:]])
    path = reading.image_path
    image = path if path is not None and PurePosixPath(path).stem == reading.image_id else reading.image_id
    header = ["onset", "duration", "trial_type", "reading_id", "image_path", "image_width_px", "image_height_px"]
    height, width = reading.image_shape
    event = ["0", _number(max(end, 0.0)), "image", reading.reading_id, image, str(width), str(height)]
    _write(folder / f"{start}_events.tsv", _tsv([header, event]))
    _write(folder / f"{start}_events.json", _json(_EVENTS))
    eye = folder / f"{start}_recording-eye1"
    _write_table(f"{eye}_physio", *_physio(gaze, time))
    _write_table(f"{eye}_physioevents", *_physioevents(reading.fixations))


_EVENTS = {
    "TaskName": TASK,
    "trial_type": {"Description": "Kind of event.", "Levels": {"image": "An image is being read."}},
    "reading_id": {"Description": "Id of the reading."},
    "image_path": {"Description": "The image: its path in its own data set, or its id."},
    "image_width_px": {"Description": "Width of the original image.", "Units": "pixel"},
    "image_height_px": {"Description": "Height of the original image.", "Units": "pixel"},
}

_Table = tuple[dict[str, Any], list["NDArray[Any]"]]
"""Sidecar and columns of a table without a header."""


def _samples(reading: Reading) -> pd.DataFrame | None:
    try:
        gaze = reading.samples()
    except RecordError as error:
        if error.reason != "no_gaze":
            raise
        return None
    return gaze if len(gaze) else None


def _physio(gaze: pd.DataFrame | None, time: NDArray[np.float64]) -> _Table:
    names = [] if gaze is None else [name for name in PX_PER_DEG if name in gaze.columns]
    frequency = round(1.0 / float(np.median(np.diff(time))), 3) if len(time) > 1 else 0
    sidecar = {
        "TaskName": TASK,
        "PhysioType": "eyetrack",
        "RecordedEye": "cyclopean",
        "SampleCoordinateSystem": "custom",
        "SampleCoordinateSystemName": "gaze-on-image",
        "SampleCoordinateSystemDescription": _SYSTEM,
        "SamplingFrequency": frequency,
        "StartTime": round(float(time[0]), _DECIMALS) if len(time) else 0,
        "Columns": ["timestamp", "x_coordinate", "y_coordinate", *names],
        "timestamp": {"Description": "Time of the sample on the reading's clock.", "Units": "s"},
        "x_coordinate": {"Description": "Horizontal gaze position in the image.", "Units": "pixel"},
        "y_coordinate": {"Description": "Vertical gaze position in the image.", "Units": "pixel"},
    }
    sidecar |= _described(names)
    if gaze is None:
        return sidecar, []
    return sidecar, [time, *(gaze[name].to_numpy(np.float64) for name in (*POSITION, *names))]


def _physioevents(fixations: pd.DataFrame) -> _Table:
    names = [name for name in (*FIXATION_COLUMNS, *OPTIONAL_COLUMNS) if name in fixations.columns and name not in TIMES]
    sidecar = {
        "TaskName": TASK,
        "Description": "Fixations: the data set's own, or detected in its samples.",
        "OnsetSource": "timestamp",
        "Columns": ["onset", "duration", "trial_type", *names],
        "onset": {"Description": "Start of the fixation on the clock of the timestamps.", "Units": "s"},
        "duration": {"Description": "From the start of the fixation to its end.", "Units": "s"},
        "trial_type": {"Description": "Kind of event.", "Levels": {"fixation": "The eye rests."}},
    }
    onset, offset = (fixations[name].to_numpy(np.float64) for name in TIMES)
    columns = [onset, offset - onset, np.full(len(fixations), "fixation")]
    return sidecar | _described(names), [*columns, *(fixations[name].to_numpy(np.float64) for name in names)]


def _described(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"Description": _COLUMNS[name][0], "Units": _COLUMNS[name][1]} for name in names}


def _write_table(path: str, sidecar: Mapping[str, Any], columns: Sequence[NDArray[Any]]) -> None:
    cells = [values.tolist() if values.dtype.kind == "U" else _numbers(values) for values in columns]
    _write(Path(f"{path}.tsv.gz"), gzip.compress(_tsv(zip(*cells, strict=True)), mtime=0))
    _write(Path(f"{path}.json"), _json(sidecar))


def _numbers(values: NDArray[np.float64]) -> list[str]:
    return [_number(value) for value in np.round(values, _DECIMALS).tolist()]


def _number(value: float) -> str:
    """The shortest text of a number, whole ones without a point; ``n/a`` for NaN."""
    if value != value:
        return "n/a"
    text = repr(round(float(value), _DECIMALS))
    return text.removesuffix(".0")


def _tsv(rows: Iterable[Sequence[str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        sync(file)


def _cached(cache: PriorCache) -> Iterator[list[Reading]]:
    """The readings in each row of a cache."""
    if cache.parameters.get("gaze", "fixations") != "fixations":
        raise InputError(f"{cache.path} was built from samples, which are no fixations; write a cache built from those")
    sigma_dva = cache.parameters["sigma_dva"]
    for record in cache:
        yield [
            Reading(
                reading_id=described["reading_id"],
                image_id=record.info["image_id"],
                image_shape=(record.frame.height, record.frame.width),
                fixations=_cached_fixations(record.reading_index == k, record, sigma_dva),
                reader_id=described["reader_id"],
            )
            for k, described in enumerate(record.readings)
        ]


def _cached_fixations(own: NDArray[np.bool_], record: Any, sigma_dva: float) -> pd.DataFrame:
    """Fixations as a cache keeps them: the shown rectangle is the clip, the resolution the spread of one degree."""
    import pandas as pd

    rows = record.gaussians[own]
    columns = dict(zip(TIMES, (record.onset_s[own], record.offset_s[own]), strict=True))
    columns |= dict(zip(POSITION, rows[:, :2].T, strict=True))
    columns |= dict(zip(PX_PER_DEG, rows[:, 2:4].T / sigma_dva, strict=True))
    columns |= dict(zip(SHOWN, rows[:, 5:9].T, strict=True))
    return pd.DataFrame(columns)
