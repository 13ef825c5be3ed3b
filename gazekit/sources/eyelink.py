"""EyeLink ASC files (SR Research; 250 to 2000 Hz, one eye or two, head-mounted, tower or remote).

A trial runs from ``TRIALID`` to the next one, or is one recording (``START`` to ``END``) in a file without any. It is
divided where a message (``!V IMGLOAD``) changes the picture on the screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import RecordError
from gazekit.reading import POSITION, PX_PER_DEG, TIMES, Readings
from gazekit.sources.eyelink_format import EYES, NATIVE_FILE, Fixation
from gazekit.sources.eyelink_lines import Lines, read_samples, split_lines
from gazekit.sources.eyelink_log import Block, Log, Shown
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.recordings import read_recordings
from gazekit.sources.spec import merged_screen, read_spec
from gazekit.sources.table_file import open_table
from gazekit.sources.tables import MAX_LINE_BYTES, bad_table, shorten
from gazekit.sources.trial_names import new_name

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.geometry import Screen
    from gazekit.sources.spec import Spec

_TWICE_A_MS_HZ = 2000.0


def read_eyelink(
    root: str | Path,
    *,
    images: str | Path | None = None,
    spec: str | Path | Spec | None = None,
    screen: Screen | None = None,
) -> Readings:
    """Open a folder of EyeLink ASC files; each picture shown in a trial is a reading.

    Parameters
    ----------
    root : path
        Searched for ``*.asc``, as SR Research's ``edf2asc`` writes them.
    images, spec, screen
        As in `gazekit.sources.recordings.read_recordings`. ``[stimuli] message`` of the spec names the trial variable,
        or the beginning of the message, that names the picture where ``!V IMGLOAD`` does not. The files tell the size
        of the screen, and most of them its resolution in pixels a degree; a screen whose size and distance are given
        counts in place of the mean resolution of a recording, not of that of each sample.

    Returns
    -------
    Readings

    Raises
    ------
    InputError
        As `gazekit.sources.recordings.read_recordings`.

    Notes
    -----
    Fixations are EyeLink's own (``EFIX``) unless the spec says otherwise.
    """
    spec = read_spec(spec)
    known = merged_screen(spec.screen, screen)
    measured = known.size_mm is not None and known.distance_mm is not None
    return read_recordings(
        root,
        dataset="eyelink",
        parse=partial(parse_eyelink, message=spec.stimuli.message, mean_resolution=not measured),
        suffixes=(".asc",),
        images=images,
        spec=spec,
        screen=screen,
    )


def parse_eyelink(path: str | Path, *, message: str | None = None, mean_resolution: bool = True) -> Recording:
    """The trials of one ASC file.

    Parameters
    ----------
    path : path
        As ``edf2asc`` writes it, with events; gaze in screen pixels (``-sg``, its default).
    message : str, optional
        Trial variable (``!V TRIAL_VAR <message> <picture>``), or beginning of a message, that names the picture.
        Default: ``!V IMGLOAD``, else the one trial variable that holds the name of an image file.
    mean_resolution : bool
        Whether the pixels a degree that ``END`` states for a whole recording are used where the samples have none.

    Returns
    -------
    Recording
        In screen pixels. Of two eyes, both are in the samples, and the fixations are those of the eye with the smaller
        validation error; the left one's, as in REFLACX, where the file does not tell. `Recording.counts` has
        ``samples_outside_trial`` and ``fixations_outside_trial`` (not within one trial and one picture),
        ``fixations_of_other_eye``, ``bad_sample_line``, ``bad_fixation_line``, ``unknown_line``, ``cut_line`` and
        ``unsorted`` (samples).

    Raises
    ------
    RecordError
        ``bad_table``: not such a file, or one whose samples are not gaze on the screen; ``no_gaze``: no sample and no
        fixation in any trial.
    """
    path = Path(path)
    lines, cut = split_lines(_read(path))
    lengths = np.diff(lines.starts)
    if lengths.size and lengths.max() > MAX_LINE_BYTES:
        line = int(lengths.argmax()) + 1
        raise bad_table(f"{path.name}, line {line}: longer than {MAX_LINE_BYTES:,} bytes; this is not an ASC file")
    log = Log(path.name)
    for line, text in lines.others():
        log.take(line, text)
    log.close(len(lines.is_sample))
    if cut:
        log.counts["cut_line"] = 1
        log.warnings.append(f"{path.name}, line {len(lines.is_sample) + 1}: the file ends within it; it is left out")
    if not log.blocks:
        raise bad_table(f"{path.name}: no START line; expected an ASC file, converted with its events")
    if any(block.fixations and not block.events_are_gaze for block in log.blocks):
        log.warnings.append(f"{path.name}: the tracker's fixations are not in screen pixels, and are left out")
    trials = _trials(log, lines, message, mean_resolution)
    if not trials:
        raise RecordError("no_gaze", f"{path.name}: no sample and no fixation in {len(log.spans)} trials")
    x0, y0, x1, y1 = log.screen or (0, 0, 0, 0)
    return Recording(
        trials,
        screen_px=None if log.screen is None else (round(x1 - x0), round(y1 - y0)),
        facts={"tracker": "EyeLink", **log.facts},
        counts=dict(+log.counts),
        warnings=tuple(log.warnings),
    )


def _read(path: Path) -> bytes:
    """The bytes of a file that can be an ASC file."""
    with open_table(path, path.name, bad_table, expected="an EyeLink ASC file") as stream:
        data = stream.read()
    if data.startswith(NATIVE_FILE):
        raise bad_table(f"{path.name}: an EDF file of the tracker; convert it with SR Research's edf2asc")
    if (at := data.find(b"\0")) >= 0:
        raise bad_table(f"{path.name}: a NUL byte at offset {at}; expected text, as edf2asc writes it")
    return data


def _trials(log: Log, lines: Lines, message: str | None, mean_resolution: bool) -> tuple[Trial, ...]:
    """Every picture of every trial, in the order of the file."""
    stated = [block.px_per_deg for block in log.blocks if block.px_per_deg is not None]
    with_fixations = any(block.fixations and block.events_are_gaze for block in log.blocks)
    trials: list[Trial] = []
    names: list[str] = []
    for block in log.blocks:
        gaze = _gaze(block, lines, log)
        eye = _eye(block)
        # a recording that was cut off has no END: the last of the others stands in
        resolution = (block.px_per_deg or (stated[-1] if stated else None)) if mean_resolution else None
        fixations = [f for f in block.fixations if f.eye == eye and block.events_are_gaze]
        log.counts["fixations_of_other_eye"] += sum(f.eye != eye for f in block.fixations)
        log.counts["samples_outside_trial"] += len(gaze.lines)
        log.counts["fixations_outside_trial"] += len(fixations)
        for span in log.spans:
            lasting = max(span.first, block.first), min(span.last, block.last)
            if lasting[0] >= lasting[1]:
                continue
            for shown in log.shown(span, block, message):
                own, zero_ms, inside = _cut(gaze, fixations, block, lasting, shown)
                if not (len(own.lines) or inside):
                    continue
                if (box := shown.drawn) is not None and not (box[0] < box[2] and box[1] < box[3]):
                    raise bad_table(f"{log.name}: the picture {shorten(str(shown.name))} is drawn without an area")
                log.counts["samples_outside_trial"] -= len(own.lines)
                log.counts["fixations_outside_trial"] -= len(inside)
                names.append(new_name(span.name, names))
                trials.append(
                    Trial(
                        names[-1],
                        _samples(own, zero_ms, log, resolution),
                        shown.name,
                        drawn=shown.drawn,
                        anchor=shown.anchor,
                        fixations=_fixations(inside, own, zero_ms, log, resolution) if with_fixations else None,
                        facts=_facts(block, eye),
                    )
                )
    return (replace(trials[0], name=""),) if len(trials) == 1 else tuple(trials)


@dataclass(frozen=True)
class _Gaze:
    """Samples: columns in the tracker's milliseconds and pixels, and the line of each. Empty for a file of events."""

    columns: dict[str, NDArray[np.float64]]
    lines: NDArray[np.int64]

    @property
    def time_ms(self) -> NDArray[np.float64]:
        return self.columns["time"]

    def rows(self, which: slice | NDArray[np.int64]) -> _Gaze:
        return _Gaze({name: values[which] for name, values in self.columns.items()}, self.lines[which])


def _gaze(block: Block, lines: Lines, log: Log) -> _Gaze:
    """The samples of a recording, those of 2000 Hz half a millisecond apart."""
    recorded = int(lines.is_sample[block.first : block.last].sum())
    if not recorded:
        return _Gaze({"time": np.empty(0)}, np.empty(0, np.int64))
    where = f"{log.name}, line {block.first + 1}"
    if block.samples is None:
        raise bad_table(f"{where}: samples, but no SAMPLES line that says what they are; convert the EDF file again")
    if block.samples.kind != "GAZE" or not block.samples.eyes:
        raise bad_table(
            f"{where}: the samples are {block.samples.kind or 'nothing'} of {len(block.samples.eyes)} eyes; expected "
            "GAZE, in screen pixels: convert the EDF file again with edf2asc -sg"
        )
    wanted = ["time", *(f"{axis}_{eye}" for eye in block.samples.eyes for axis in "xy")]
    wanted += [name for name in PX_PER_DEG if name in block.samples.columns]
    columns, numbers = read_samples(lines, block.first, block.last, block.samples.columns, wanted)
    if len(numbers) < recorded:
        log.counts["bad_sample_line"] += recorded - len(numbers)
        log.warnings.append(f"{where}: {recorded - len(numbers)} of {recorded} sample lines are left out: not numbers")
    if block.samples.rate_hz == _TWICE_A_MS_HZ:
        # without edf2asc -ftime the second sample of a millisecond has the time of the first
        columns["time"] = columns["time"] + 0.5 * (np.diff(columns["time"], prepend=-1.0) == 0)
    return _Gaze(columns, numbers)


def _cut(
    gaze: _Gaze, fixations: Sequence[Fixation], block: Block, lasting: tuple[int, int], shown: Shown
) -> tuple[_Gaze, float, list[Fixation]]:
    """Samples and fixations of a picture in the lines of a trial, and the time at which it begins."""
    own = gaze.rows(slice(*np.searchsorted(gaze.lines, lasting).tolist()))
    own = own.rows(np.flatnonzero((own.time_ms >= shown.start_ms) & (own.time_ms < shown.stop_ms)))
    if len(gaze.lines):
        if not len(own.lines):
            return own, 0.0, []
        first, last = float(own.time_ms.min()), float(own.time_ms.max())
        return own, first, [f for f in fixations if first <= f.onset_ms and f.offset_ms <= last]
    zero_ms = max(shown.start_ms, block.start_ms)
    there = [f for f in fixations if lasting[0] <= f.line < lasting[1]]
    return own, zero_ms, [f for f in there if zero_ms <= f.onset_ms and f.offset_ms <= shown.stop_ms]


def _eye(block: Block) -> str:
    """The eye whose fixations are used."""
    there = [eye for eye in EYES if any(f.eye == eye for f in block.fixations)] or list(EYES)
    return min(there, key=lambda eye: block.validation_dva.get(eye, np.inf))


def _samples(own: _Gaze, zero_ms: float, log: Log, resolution: tuple[float, float] | None) -> pd.DataFrame:
    import pandas as pd

    if not len(own.lines):
        return pd.DataFrame({"time_s": [], "x_px": [], "y_px": []}, dtype=np.float64)
    if (steps := np.diff(own.time_ms)).size and steps.min() < 0:
        log.counts["unsorted"] += int((steps < 0).sum())
        log.warnings.append(f"{log.name}, line {own.lines[0] + 1}: the samples are not in order of time; sorted")
        own = own.rows(np.argsort(own.time_ms, kind="stable"))
    origin = _origin(log)
    eyes = [eye for eye in EYES if f"x_{eye}" in own.columns]
    columns = {"time_s": (own.time_ms - zero_ms) / 1000}
    for eye in eyes:
        for axis, start in zip("xy", origin, strict=True):
            name = f"{axis}_{eye}_px" if len(eyes) == 2 else f"{axis}_px"
            columns[name] = own.columns[f"{axis}_{eye}"] - start
    if PX_PER_DEG[0] in own.columns:
        columns |= {name: own.columns[name] for name in PX_PER_DEG}
    elif resolution is not None:
        columns |= {name: np.full(len(own.lines), value) for name, value in zip(PX_PER_DEG, resolution, strict=True)}
    return pd.DataFrame(columns)


def _fixations(
    inside: Sequence[Fixation], own: _Gaze, zero_ms: float, log: Log, resolution: tuple[float, float] | None
) -> pd.DataFrame:
    import pandas as pd

    times = np.array([(f.onset_ms, f.offset_ms) for f in inside], np.float64).reshape(-1, 2)
    columns: dict[str, Any] = dict(zip(TIMES, ((times - zero_ms) / 1000).T, strict=True))
    places = np.array([(f.x, f.y) for f in inside], np.float64).reshape(-1, 2) - _origin(log)
    columns |= dict(zip(POSITION, places.T, strict=True))
    if all(f.px_per_deg is not None for f in inside):
        per_degree = np.array([f.px_per_deg for f in inside], np.float64).reshape(-1, 2)
        columns |= dict(zip(PX_PER_DEG, per_degree.T, strict=True))
    elif PX_PER_DEG[0] in own.columns:
        middle = np.searchsorted(own.time_ms, times.mean(axis=1)).clip(max=len(own.lines) - 1)
        columns |= {name: own.columns[name][middle] for name in PX_PER_DEG}
    elif resolution is not None:
        columns |= {name: np.full(len(inside), value) for name, value in zip(PX_PER_DEG, resolution, strict=True)}
    columns["line"] = np.array([f.line + 1 for f in inside], np.int64)
    return pd.DataFrame(columns)


def _origin(log: Log) -> tuple[float, float]:
    """The top-left pixel of the screen, in the pixels that gaze is written in."""
    return (0.0, 0.0) if log.screen is None else log.screen[:2]


def _facts(block: Block, eye: str) -> dict[str, Any]:
    eyes = block.samples.eyes if block.samples is not None else (eye,)
    facts: dict[str, Any] = {"eyes": eyes, "eye_of_fixations": eye}
    if errors := {eye: block.validation_dva[eye] for eye in eyes if eye in block.validation_dva}:
        facts["validation_error_dva"] = errors
    return facts
