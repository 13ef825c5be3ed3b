"""BIDS eye tracking (BIDS 1.11): one run is a ``_events.tsv`` with the ``_recording-<eye>_physio.tsv.gz`` beside it.

Source: BIDS 1.11, Physiological recordings, Eye-tracking (BEP 020) and Task events. Where it leaves something open:

* Clock. Events count from the run's start; a sample is ``StartTime`` plus its timestamp's distance from the first one.
* ``_physioevents`` count as the column that ``OnsetSource`` names, in its units, and without one in seconds of the run.
* Pixel coordinates are taken as counted from the centre of the first pixel, and y as growing downwards unless
  ``ScreenOrigin`` is at the bottom.
* Fixations have no position in the standard: it is the mean of the samples during the fixation.
* An events file that all subjects inherit from the root is not read.

Data that `gazekit.bids.write_bids` wrote are on the image itself (``SampleCoordinateSystem`` custom, named
``gaze-on-image``): each fixation then carries its position, resolution and rectangle, and the whole run is one trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import RecordError
from gazekit.geometry import Screen, screen_px_per_degree
from gazekit.ids import is_id
from gazekit.reading import FIXATION_COLUMNS, OPTIONAL_COLUMNS, PX_PER_DEG, Readings
from gazekit.sources.bids_files import (
    MISSING,
    column_unit,
    entities,
    read_headerless,
    read_sidecar,
    sidecar_columns,
    sidecar_number,
    sidecar_value,
)
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.spec import SECONDS, Spec
from gazekit.sources.tables import Table, bad_table, number, read_table, shorten

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

EVENTS, PHYSIO, PHYSIOEVENTS = "_events.tsv", "_physio.tsv.gz", "_physioevents.tsv.gz"
ON_IMAGE = "gaze-on-image"
"""``SampleCoordinateSystemName`` of data whose positions are pixels of the image itself."""

EYES = {"cyclopean": "", "left": "_left", "right": "_right"}
"""``RecordedEye``, the one preferred first, to what stands in our column names."""

_TIMESTAMP, _POSITION = "timestamp", ("x_coordinate", "y_coordinate")
_TIME_UNITS = {**SECONDS, "second": 1.0, "seconds": 1.0, "millisecond": 1e-3, "milliseconds": 1e-3}
_PIXELS, _DEGREES = ("pixel", "pixels", "px"), ("deg", "degree", "degrees")
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_STIMULUS = ("stim_file", "image_path", "image_id")
"""Columns that name the image, the one preferred first."""


def read_bids(
    root: str | Path,
    *,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open a BIDS data set with eye tracking; each event with a stimulus is a reading.

    Parameters
    ----------
    root : path
        The folder with dataset_description.json, or a subject's below it.
    images, spec, screen
        As in `gazekit.sources.recordings.read_recordings`. The image of an event is called as its ``stim_file``,
        without the folder. Size and distance of the screen are read from the events' sidecar.

    Returns
    -------
    Readings

    Raises
    ------
    InputError
        As `gazekit.sources.recordings.read_recordings`.
    """
    return read_recordings(
        root,
        dataset="bids",
        parse=parse_bids,
        suffixes=(EVENTS,),
        companions=(PHYSIO, PHYSIOEVENTS, ".json"),
        images=images,
        spec=spec,
        screen=screen,
    )


@dataclass(frozen=True)
class _Eye:
    """One recorded eye: samples and fixations in seconds of the run; positions in whatever unit they are written."""

    eye: str
    path: Path
    sidecar: Mapping[str, Any]
    samples: dict[str, NDArray[np.float64]]
    fixations: dict[str, NDArray[np.float64]] | None


def parse_bids(path: Path) -> Recording:
    """Read one run.

    Parameters
    ----------
    path : Path
        Its ``_events.tsv``.

    Returns
    -------
    Recording
        One trial for each event that names a stimulus, from its onset for its duration; the reader is the subject. The
        eye is the cyclopean one where there is one; else samples are those of both, and fixations of the left, or of
        the right where only that has any. `Recording.counts`: ``samples_outside_trial``, ``fixations_outside_trial``.

    Raises
    ------
    RecordError
        ``bad_table``: a file or sidecar that is not as BIDS says; ``no_gaze``: no event names a stimulus.
    """
    events = read_table(
        path, required=("onset", "duration"), optional=(*_STIMULUS, "reading_id"), name=path.name, refuse=bad_table,
        may_be_empty=True, separator="\t",
    )  # fmt: skip
    eyes = _eyes(path)
    reader = entities(path.name).get("sub")
    if eyes[0].sidecar.get("SampleCoordinateSystemName") == ON_IMAGE:
        return Recording((_whole_run(events, eyes[0], reader),), facts={"tracker": "bids"}, counts=dict(events.fixes))
    screen = _screen(read_sidecar(path), path.name)
    placed = [_on_screen(eye, screen) for eye in eyes]
    samples = _merged([(eye.eye, own) for eye, (own, _) in zip(eyes, placed, strict=True)], screen.screen)
    fixations = next((own for _, own in placed if own is not None), None)
    trials = []
    found = 0 if fixations is None else len(fixations)
    outside = {"samples_outside_trial": len(samples), "fixations_outside_trial": found}
    for row, stimulus in _shown(events):
        start, stop = _window(events, row)
        own = None if fixations is None else _between(fixations, "onset_s", start, stop)
        if own is not None:
            outside["fixations_outside_trial"] -= len(own)
            own[["onset_s", "offset_s"]] -= start
        seen = _between(samples, "time_s", start, stop)
        outside["samples_outside_trial"] -= len(seen)
        seen["time_s"] -= start
        trials.append(Trial(f"{row + 1:04d}", seen, stimulus, reader=reader, fixations=own))
    if not trials:
        raise RecordError("no_gaze", f"{path.name}: no event has a {_STIMULUS[0]}; name the image of each trial there")
    counts = dict(events.fixes) | {code: n for code, n in outside.items() if n > 0}
    return Recording(tuple(trials), screen.size_px, {"tracker": "bids"}, counts)


def _eyes(path: Path) -> list[_Eye]:
    """Every eye of the run, the preferred one first; the others are left out beside a cyclopean one."""
    matches = path.name.removesuffix(EVENTS)
    eyes = []
    for file in sorted(path.parent.glob(f"{matches}_*{PHYSIO}")):
        sidecar = read_sidecar(file)
        if sidecar.get("PhysioType") == "eyetrack":
            eyes.append(_eye(file, sidecar))
    if not eyes:
        raise bad_table(
            f"{path.name}: no {matches}_recording-<eye>{PHYSIO} with PhysioType eyetrack beside it; an events file "
            "that subjects inherit is not read: copy it to each run"
        )
    eyes.sort(key=lambda eye: list(EYES).index(eye.eye))
    if len({eye.eye for eye in eyes}) != len(eyes):
        raise bad_table(f"{path.name}: two recordings have the same RecordedEye; correct their sidecars")
    return eyes[:1] if eyes[0].eye == "cyclopean" else eyes


def _eye(path: Path, sidecar: Mapping[str, Any]) -> _Eye:
    eye = sidecar_value(sidecar, "RecordedEye", path.name)
    if eye not in EYES:
        raise bad_table(f"{path.name}: expected RecordedEye {', '.join(EYES)}, found {shorten(str(eye))}")
    columns = sidecar_columns(sidecar, (_TIMESTAMP, *_POSITION), path.name)
    table = read_headerless(path, columns, numbers=(_TIMESTAMP, *_POSITION, *PX_PER_DEG))
    unit = _seconds(column_unit(sidecar, _TIMESTAMP, "s"), path.name)
    start = sidecar_number(sidecar, "StartTime", path.name, 0.0)
    stamps = table[_TIMESTAMP]
    first = float(np.nanmin(stamps)) if np.isfinite(stamps).any() else 0.0
    samples = {"time_s": start + (stamps - first) * unit, "x_px": table[_POSITION[0]], "y_px": table[_POSITION[1]]}
    samples |= {name: table[name] for name in PX_PER_DEG if name in table}
    events = path.with_name(path.name.removesuffix(PHYSIO) + PHYSIOEVENTS)
    fixations = None
    if events.is_file():
        fixations = _fixations(events, start=start, first=first, unit=unit)
    return _Eye(str(eye), path, sidecar, samples, fixations)


def _fixations(path: Path, *, start: float, first: float, unit: float) -> dict[str, NDArray[np.float64]] | None:
    """Rows of the type fixation: onset and offset in seconds of the run, and what columns of ours there are."""
    sidecar = read_sidecar(path)
    columns = sidecar_columns(sidecar, ("onset",), path.name)
    if not {"duration", "trial_type"} <= set(columns):
        return None
    own = [name for name in (*FIXATION_COLUMNS, *OPTIONAL_COLUMNS) if name in columns]
    table = read_headerless(path, columns, numbers=("onset", "duration", *own), texts=("trial_type",))
    kind = np.array([cell == "fixation" for cell in table["trial_type"]], bool)
    onset, duration = table["onset"][kind], table["duration"][kind]
    if sidecar.get("OnsetSource", MISSING) != MISSING:
        onset, duration = start + (onset - first) * unit, duration * unit
    found = {"onset_s": onset, "offset_s": onset + duration, "line": 1.0 + np.flatnonzero(kind)}
    return found | {name: table[name][kind] for name in own}


def _whole_run(events: Table, eye: _Eye, reader: str | None) -> Trial:
    """The one trial of a run whose gaze is on the image."""
    import pandas as pd

    shown = _shown(events)
    if len(shown) != 1:
        raise bad_table(f"{events.name}: {ON_IMAGE} needs one event with an image, found {len(shown)}")
    row, stimulus = shown[0]
    samples = pd.DataFrame(eye.samples)
    name = events.columns["reading_id"][row] if "reading_id" in events else ""
    fixations = None if eye.fixations is None else pd.DataFrame(eye.fixations)
    if fixations is not None and not {"x_px", "y_px", *PX_PER_DEG} <= set(fixations.columns):
        raise bad_table(f"{events.name}: {ON_IMAGE} needs x_px, y_px and {', '.join(PX_PER_DEG)} of each fixation")
    name = name if is_id(name) else ""
    return Trial(name, samples, stimulus, reader=reader, fixations=fixations, units="image_px")


def _shown(events: Table) -> list[tuple[int, str]]:
    """Rows that name a stimulus, with its name."""
    column = next((name for name in _STIMULUS if name in events), None)
    cells = events.columns[column] if column else ()
    return [(row, cell) for row, cell in enumerate(cells) if cell not in (MISSING, "")]


def _window(events: Table, row: int) -> tuple[float, float]:
    """Start and end of an event; one of unknown duration lasts until the next, or to the end."""
    onsets = events.parse("onset", number, "seconds")
    cell = events.columns["duration"][row]
    if cell != MISSING:
        return onsets[row], onsets[row] + events.parse("duration", _number_or_missing, "seconds or n/a")[row]
    later = [onset for onset in onsets if onset > onsets[row]]
    return onsets[row], min(later, default=np.inf)


def _number_or_missing(cell: str) -> float:
    return float("nan") if cell == MISSING else number(cell)


def _between(table: pd.DataFrame, time: str, start: float, stop: float) -> pd.DataFrame:
    return table[(table[time] >= start) & (table[time] < stop)].reset_index(drop=True)


def _seconds(unit: str, name: str) -> float:
    if unit not in _TIME_UNITS:
        raise bad_table(f"{name}: expected Units of timestamp {', '.join(SECONDS)}, found {shorten(unit)}")
    return _TIME_UNITS[unit]


@dataclass(frozen=True)
class _Display:
    """``StimulusPresentation`` of an events sidecar."""

    size_px: tuple[int, int]
    screen: Screen
    origin: tuple[str, ...]


def _screen(sidecar: Mapping[str, Any], name: str) -> _Display:
    shown = sidecar.get("StimulusPresentation")
    if not isinstance(shown, dict):
        raise bad_table(f"{name}: no StimulusPresentation in its sidecar, which gaze on a screen needs; add it")
    try:
        width, height = (int(n) for n in shown["ScreenResolution"])
        size_mm = tuple(1000.0 * float(n) for n in shown["ScreenSize"])
        distance = shown["ScreenDistance"]
        away = float(np.linalg.norm(distance)) if isinstance(distance, list) else float(distance)
        screen = Screen(size_px=(width, height), size_mm=(size_mm[0], size_mm[1]), distance_mm=1000.0 * away)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise bad_table(
            f"{name}: expected ScreenResolution [px, px], ScreenSize [m, m] and ScreenDistance (m) in "
            "StimulusPresentation"
        ) from None
    origin = shown.get("ScreenOrigin", ["top", "left"])
    return _Display((width, height), screen, tuple(map(str, origin)) if isinstance(origin, list) else ())


def _on_screen(eye: _Eye, display: _Display) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Samples and fixations in screen pixels, with the screen's px_per_deg."""
    import pandas as pd

    system = sidecar_value(eye.sidecar, "SampleCoordinateSystem", eye.path.name)
    if system != "gaze-on-screen":
        raise bad_table(
            f"{eye.path.name}: expected SampleCoordinateSystem gaze-on-screen, found {shorten(str(system))}: gaze that "
            "is not on a screen cannot be placed on an image"
        )
    points = np.column_stack([eye.samples["x_px"], eye.samples["y_px"]])
    units = [column_unit(eye.sidecar, name, "") for name in _POSITION]
    points = _pixels(points, units, display, eye.path.name)
    columns = {"time_s": eye.samples["time_s"], "x_px": points[:, 0], "y_px": points[:, 1]}
    samples = _with_resolution(pd.DataFrame(columns), display.screen)
    if eye.fixations is None:
        return samples, None
    fixations = pd.DataFrame({name: eye.fixations[name] for name in ("onset_s", "offset_s", "line")})
    fixations[["x_px", "y_px"]] = _means(samples, fixations)
    return samples, _with_resolution(fixations, display.screen)


def _with_resolution(table: pd.DataFrame, screen: Screen) -> pd.DataFrame:
    table[list(PX_PER_DEG)] = screen_px_per_degree(table[["x_px", "y_px"]].to_numpy(np.float64), screen)
    return table


def _pixels(points: NDArray[np.float64], units: list[str], display: _Display, name: str) -> NDArray[np.float64]:
    """(N, 2) as written to screen pixels."""
    unit = units[0].lower()
    if units[1].lower() != unit:
        raise bad_table(f"{name}: x_coordinate is in {shorten(units[0])}, y_coordinate in {shorten(units[1])}")
    size = np.array(display.size_px, np.float64)
    pitch_mm = np.array(display.screen.size_mm) / size
    if unit in _DEGREES:
        # the inverse of `screen_degrees`, from whose centre an angle counts
        points = np.tan(np.radians(points)) * display.screen.distance_mm / pitch_mm
        centre = np.array([True, True])
    elif unit in _PIXELS or unit in _MILLIMETRES:
        points = points * (_MILLIMETRES[unit] / pitch_mm if unit in _MILLIMETRES else 1.0)
        # a length counts from the edge of the screen, half a pixel before the centre of the first pixel
        points = points - (0.5 if unit in _MILLIMETRES and "center" not in display.origin else 0.0)
        centre = np.array([not {"left", "right"} & set(display.origin), not {"top", "bottom"} & set(display.origin)])
    else:
        raise bad_table(f"{name}: expected x_coordinate in pixel, deg, mm, cm or m, found Units {shorten(units[0])}")
    points = points + np.where(centre, (size - 1) / 2, 0.0)
    if "bottom" in display.origin:
        points[:, 1] = size[1] - 1 - points[:, 1]
    return points


def _means(samples: pd.DataFrame, fixations: pd.DataFrame) -> NDArray[np.float64]:
    """(F, 2) mean recorded position during each fixation, NaN where none was."""
    time = samples["time_s"].to_numpy()
    points = samples[["x_px", "y_px"]].to_numpy()
    seen = np.isfinite(points).all(axis=1)
    order = np.flatnonzero(seen)[np.argsort(time[seen], kind="stable")]
    sums = np.vstack([np.zeros(2), np.cumsum(points[order], axis=0)])
    half = 0.5e-6  # timestamps are decimal, and the end of a fixation is a sample's
    first = np.searchsorted(time[order], fixations["onset_s"].to_numpy() - half)
    stop = np.searchsorted(time[order], fixations["offset_s"].to_numpy() + half)
    with np.errstate(invalid="ignore"):
        return np.asarray((sums[stop] - sums[first]) / (stop - first)[:, None])


def _merged(eyes: list[tuple[str, pd.DataFrame]], screen: Screen) -> pd.DataFrame:
    """Samples of one eye as they are; of two side by side, joined on their time."""
    if len(eyes) == 1:
        return eyes[0][1]
    ours = [
        table[["time_s", "x_px", "y_px"]].rename(columns={f"{axis}_px": f"{axis}{EYES[eye]}_px" for axis in "xy"})
        for eye, table in eyes
    ]
    both = ours[0].merge(ours[1], on="time_s", how="outer", sort=True)
    first, second = (both[[f"x{EYES[eye]}_px", f"y{EYES[eye]}_px"]].to_numpy() for eye, _ in eyes)
    both[list(PX_PER_DEG)] = screen_px_per_degree(np.where(np.isfinite(first), first, second), screen)
    return both
