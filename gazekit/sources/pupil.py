"""Pupil Labs: surfaces of Pupil Core (Pupil Player), and mapped gaze of Neon and Invisible (Pupil Cloud, Neon Player).

Head-mounted trackers see the scene: only gaze that was mapped on a plane can be placed on an image. The plane (a
surface, or a reference image) takes the part of the screen: its size in pixels is that of the reference image or comes
from ``[screen]``, and the image lies on it as on any screen.

Sources: docs.pupil-labs.com, "Pupil Player: Surface Tracker, Raw Data Exporter", "Neon: Pupil Cloud export formats,
Marker Mapper, Reference Image Mapper", "Neon Player: Surface Tracker". Surfaces of Pupil Core have their origin at the
*bottom* left, those of the others at the top left. That Pupil Player writes a fixation once for each frame of the
scene, and the order of its columns, are as users describe their exports in public; columns are read by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import RecordError
from gazekit.ids import is_id
from gazekit.reading import Readings
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.tables import Table, bad_table, read_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.geometry import Screen
    from gazekit.sources.spec import Spec

LEAST_CONFIDENCE = 0.6
"""Pupil Labs: "useful data carries a confidence value greater than ~0.6"; gaze below is lost."""

_SURFACE_GAZE, _SURFACE_FIXATIONS = "gaze_positions_on_surface_", "fixations_on_surface_"
_CLOUD_GAZE, _CLOUD_FIXATIONS, _SECTIONS = "gaze.csv", "fixations.csv", "sections.csv"
_SCENE_GAZE = "gaze_positions.csv"
_REFERENCE_IMAGES = ("reference_image.jpeg", "reference_image.jpg", "reference_image.png")

_LATEST_NS = 1 << 62
"""Year 2116: a difference of two times fits into 64 bits."""

_CORE = ("gaze_timestamp", "x_norm", "y_norm")
_CORE_FIXATION = ("fixation_id", "start_timestamp", "duration", "norm_pos_x", "norm_pos_y")
_TIME, _START, _END = "timestamp [ns]", "start timestamp [ns]", "end timestamp [ns]"
_RECORDING, _SECTION, _BLINK, _WEARER = "recording id", "section id", "blink id", "wearer id"
_ON_SURFACE = tuple(f"gaze position on surface {axis} [normalized]" for axis in "xy")
_IN_REFERENCE = tuple(f"gaze position in reference image {axis} [px]" for axis in "xy")
_FIXATION = {
    "screen_share": tuple(f"fixation {axis} [normalized]" for axis in "xy"),
    "screen_px": tuple(f"fixation {axis} [px]" for axis in "xy"),
}
_UNMAPPED = (
    "gaze on the picture of the scene camera, which is not on any image: map it by the Surface Tracker, the Marker "
    "Mapper or the Reference Image Mapper, and export that"
)


def read_pupil(
    root: str | Path,
    *,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open exports of Pupil Player, Pupil Cloud or Neon Player.

    Parameters
    ----------
    root : path
        Searched for ``gaze_positions_on_surface_<name>.csv`` and ``gaze.csv`` of an enrichment, with the fixations
        beside them. Readings are called as their folders, and as the surface or the recording.
    images, spec, screen
        As in `gazekit.sources.recordings.read_recordings`. The stimulus of a surface is its name; that of an enrichment
        is the name of its folder. Where a surface is the image itself, ``[stimuli] placement = "stretch"`` says so.

    Returns
    -------
    Readings

    Raises
    ------
    InputError
        As `gazekit.sources.recordings.read_recordings`.

    Notes
    -----
    Fixations are Pupil Labs' own unless the spec says otherwise.
    """
    return read_recordings(
        root,
        dataset="pupil",
        parse=parse_pupil,
        suffixes=(".csv",),
        companions=_REFERENCE_IMAGES,
        called=_called,
        images=images,
        spec=spec,
        screen=screen,
    )


def _called(path: str) -> str | None:
    """What the readings of a file are called: its folders, but for those that every export has, and its surface."""
    *folders, file = path.split("/")
    own = [folder for folder in folders if folder not in ("exports", "surfaces")]
    if file.startswith(_SURFACE_GAZE):
        return ".".join((*own, file.removeprefix(_SURFACE_GAZE).removesuffix(".csv")))
    return ".".join(own) or "gaze" if file in (_CLOUD_GAZE, _SCENE_GAZE) else None


def parse_pupil(path: Path) -> Recording:
    """Read one file of mapped gaze, and the fixations beside it.

    Parameters
    ----------
    path : Path
        Any file of an export.

    Returns
    -------
    Recording
        Without trials for a file that holds no gaze. Of Pupil Core one trial, in shares of the surface; of the others
        one for each section of a recording, named by the recording's id, in shares of the surface or pixels of the
        reference image. `Recording.counts`: ``low_confidence`` and ``blink``, samples taken as lost.

    Raises
    ------
    RecordError
        ``bad_table``, ``no_gaze`` for a file without a row, or gaze that was not mapped.
    """
    if path.name.startswith(_SURFACE_GAZE):
        table = _table(path, (), (*_CORE, "confidence", _TIME, _RECORDING, _SECTION, _BLINK, *_ON_SURFACE))
        surface = path.stem.removeprefix(_SURFACE_GAZE)
        beside = path.with_name(_SURFACE_FIXATIONS + surface + ".csv")
        if all(column in table for column in _CORE):
            return _core(table, beside, surface)
        return _cloud(table, beside, surface)
    if path.name == _CLOUD_GAZE:
        optional = (_RECORDING, _SECTION, _BLINK, *_ON_SURFACE, *_IN_REFERENCE)
        return _cloud(_table(path, (_TIME,), optional), path.with_name(_CLOUD_FIXATIONS), path.parent.name)
    if path.name == _SCENE_GAZE and not (path.parent / "surfaces").is_dir():
        raise bad_table(f"{path.name}: {_UNMAPPED}")
    return Recording(())


def _table(path: Path, required: Sequence[str], optional: Sequence[str]) -> Table:
    table = read_table(
        path,
        required=required,
        optional=optional,
        name=path.name,
        refuse=bad_table,
        may_be_empty=True,
        rename=str.strip,
    )
    if not len(table):
        raise RecordError("no_gaze", f"{path.name}: a header and no row")
    return table


def _core(table: Table, beside: Path, surface: str) -> Recording:
    counts, warnings = dict(table.fixes), list[str]()
    time = _column(table, "gaze_timestamp", counts, warnings)
    x, y = (_column(table, name, counts, warnings) for name in ("x_norm", "y_norm"))
    if "confidence" in table:
        unsure = _column(table, "confidence", counts, warnings) < LEAST_CONFIDENCE
        x, y = (np.where(unsure, np.nan, values) for values in (x, y))
        _count(counts, "low_confidence", unsure)
    zero = _first(time, table)
    samples = _samples(time - zero, x, 1 - y, counts)
    fixations = None
    if beside.is_file():
        fixations = _core_fixations(_table(beside, _CORE_FIXATION, ()), zero, counts, warnings)
    trial = Trial("", samples, surface, fixations=fixations, units="screen_share")
    return Recording((trial,), facts={"tracker": "pupil core"}, counts=counts, warnings=tuple(warnings))


def _core_fixations(table: Table, zero: float, counts: dict[str, int], warnings: list[str]) -> pd.DataFrame:
    """One row a fixation: where it was on the surface, over the frames of the scene that saw it there."""
    import pandas as pd

    columns = {name: _column(table, name, counts, warnings) for name in _CORE_FIXATION}
    frames = pd.DataFrame(columns).groupby("fixation_id", sort=False, dropna=False)
    fixations = frames.agg(
        {"start_timestamp": "first", "duration": "first", "norm_pos_x": "mean", "norm_pos_y": "mean"}
    )
    onset = fixations["start_timestamp"].to_numpy() - zero
    offset = onset + fixations["duration"].to_numpy() / 1000
    x, y = fixations["norm_pos_x"].to_numpy(), 1 - fixations["norm_pos_y"].to_numpy()
    return pd.DataFrame({"onset_s": onset, "offset_s": offset, "x_px": x, "y_px": y})


def _cloud(table: Table, beside: Path, stimulus: str) -> Recording:
    units = next((u for u, names in _MAPPED.items() if all(name in table for name in names)), None)
    if units is None:
        raise bad_table(f"{table.name}: {_UNMAPPED}")
    if _TIME not in table:
        raise bad_table(f"{table.name}: missing column {_TIME!r}")
    counts, warnings = dict(table.fixes), list[str]()
    time = _nanoseconds(table, _TIME)
    x, y = (_column(table, name, counts, warnings) for name in _MAPPED[units])
    if _BLINK in table:
        blinking = np.array([bool(cell.strip()) for cell in table.columns[_BLINK]])
        x, y = (np.where(blinking, np.nan, values) for values in (x, y))
        _count(counts, "blink", blinking)
    fixations = _cloud_fixations(beside, units, counts, warnings)
    readers = _wearers(beside.with_name(_SECTIONS))
    trials = []
    for name, recording, section, rows in _sections(table):
        zero = time[rows].min()
        own = None
        if fixations is not None:
            own = fixations[[key == (recording, section) for key in fixations["section"]]].drop(columns="section")
            own = own.assign(**{at: (own[at] - zero) / 1e9 for at in ("onset_s", "offset_s")}).astype(np.float64)
        samples = _samples((time[rows] - zero) / 1e9, x[rows], y[rows], counts)
        trials.append(Trial(name, samples, stimulus, reader=readers.get(recording), fixations=own, units=units))
    size = _reference_size(beside.parent) if units == "screen_px" else None
    return Recording(tuple(trials), size, {"tracker": "pupil cloud"}, counts, tuple(warnings))


_MAPPED = {"screen_share": _ON_SURFACE, "screen_px": _IN_REFERENCE}
"""Units of mapped gaze to its columns."""


def _cloud_fixations(path: Path, units: str, counts: dict[str, int], warnings: list[str]) -> pd.DataFrame | None:
    """Fixations of every section, their times still nanoseconds, with ``section`` to tell them apart."""
    import pandas as pd

    if not path.is_file():
        return None
    names = _FIXATION[units]
    table = read_table(
        path, required=(_START, _END, *names), optional=(_RECORDING, _SECTION), name=path.name, refuse=bad_table,
        may_be_empty=True, rename=str.strip,
    )  # fmt: skip
    x, y = (_column(table, name, counts, warnings) for name in names)
    mapped = np.isfinite(x) & np.isfinite(y)
    _count(counts, "fixation_off_plane", ~mapped)
    columns: dict[str, Any] = {"onset_s": _nanoseconds(table, _START), "offset_s": _nanoseconds(table, _END)}
    columns |= {"x_px": x, "y_px": y}
    columns["section"] = list(zip(_texts(table, _RECORDING), _texts(table, _SECTION), strict=True))
    return pd.DataFrame(columns)[mapped]


def _sections(table: Table) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
    """Name of the trial, recording, section, and rows of each section of a recording."""
    rows: dict[tuple[str, str], list[int]] = {}
    for k, key in enumerate(zip(_texts(table, _RECORDING), _texts(table, _SECTION), strict=True)):
        rows.setdefault(key, []).append(k)
    seen: dict[str, int] = {}
    for (recording, section), own in rows.items():
        name = recording if is_id(recording) else ""
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name or 'section'}-{seen[name]}"
        yield name, recording, section, np.array(own)


def _texts(table: Table, column: str) -> Sequence[str]:
    return table.columns.get(column, ("",) * len(table))


def _wearers(path: Path) -> Mapping[str, str]:
    """Recording id to wearer id, where sections.csv says."""
    if not path.is_file():
        return {}
    table = read_table(path, required=(_RECORDING, _WEARER), name=path.name, refuse=bad_table, rename=str.strip)
    return dict(zip(table.columns[_RECORDING], table.columns[_WEARER], strict=True))


def _reference_size(folder: Path) -> tuple[int, int] | None:
    from gazekit.image import image_size

    for name in _REFERENCE_IMAGES:
        if (folder / name).is_file():
            height, width = image_size(folder / name)
            return width, height
    return None


def _nanoseconds(table: Table, column: str) -> NDArray[np.int64]:
    """Times as they are written: float64 would round them to 256 ns."""
    return np.array(table.parse(column, _whole_number, "a whole number of nanoseconds"), np.int64)


def _whole_number(cell: str) -> int:
    value = int(cell)
    if abs(value) >= _LATEST_NS:
        raise ValueError(cell)
    return value


def _column(table: Table, name: str, counts: dict[str, int], warnings: list[str]) -> NDArray[np.float64]:
    values, wrong = table.numbers(name)
    if wrong.any():
        _count(counts, "not_a_number", wrong)
        warnings.append(f"{table.refusal(int(wrong.argmax()), name, 'a number')}; taken as missing")
    return values


def _count(counts: dict[str, int], code: str, rows: NDArray[np.bool_]) -> None:
    if rows.any():
        counts[code] = counts.get(code, 0) + int(rows.sum())


def _first(time: NDArray[np.float64], table: Table) -> float:
    if not np.isfinite(time).any():
        raise bad_table(f"{table.name}, column 'gaze_timestamp': expected seconds, found no number at all")
    return float(np.nanmin(time))


def _samples(
    time: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], counts: dict[str, int]
) -> pd.DataFrame:
    import pandas as pd

    timed = np.isfinite(time)
    _count(counts, "missing_time", ~timed)
    return pd.DataFrame({"time_s": time, "x_px": x, "y_px": y})[timed].reset_index(drop=True)
