"""One trial of a tracker's file as a `Reading` of its image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.geometry import Screen, anchored_rectangle, placed_rectangle
from gazekit.ids import is_id
from gazekit.reading import FIXATION_COLUMNS, OPTIONAL_COLUMNS, POSITION, PX_PER_DEG, Entry, Reading
from gazekit.sources.fixation_rules import usable_fixations
from gazekit.sources.parsed_files import ParsedFiles
from gazekit.sources.paths import find_image
from gazekit.sources.placed_gaze import Placement, placed_samples, trial_fixations
from gazekit.sources.recording import Recording, Trial
from gazekit.sources.spec import ScreenSpec, Spec, Stimulus

if TYPE_CHECKING:
    import pandas as pd

SCREEN_CURE = "give --screen-px WxH --screen-mm WxH --distance-mm D, or size_px, size_mm and distance_mm under [screen]"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reading is: its file under the root, its trial, and what it looks at.

    `first`: of the readings of its file, which tells what was dropped in the file as a whole.
    """

    file: str
    trial: str
    stimulus: Stimulus
    first: bool


@dataclass(frozen=True)
class RecordingSource:
    """All that is needed to load a reading, in any process.

    Attributes
    ----------
    dataset : str
    root : Path
        Folder of the files.
    images : Path or None
        None: the screen itself is the image.
    spec : Spec
    screen : ScreenSpec
        What the caller or the spec say of it.
    parsed : ParsedFiles
    places : mapping
        Reading id to its place.
    """

    dataset: str
    root: Path
    images: Path | None
    spec: Spec
    screen: ScreenSpec
    parsed: ParsedFiles
    places: Mapping[str, Place]

    def screen_px(self, recording: Recording, file: str) -> tuple[int, int] | None:
        """Size of the display; `InputError` where the file and the spec contradict each other."""
        said, written = self.screen.size_px, recording.screen_px
        if said is not None and written is not None and tuple(written) != said:
            raise InputError(
                f"{file}: its screen has {written[0]} x {written[1]} pixels, but --screen-px or [screen] size_px says "
                f"{said[0]} x {said[1]}; correct that, or leave it out"
            )
        return said or written

    def degrees(self, recording: Recording, file: str) -> Screen | None:
        """The display as degrees of visual angle need it; None where its size or distance is not known."""
        size = self.screen_px(recording, file)
        if size is None or self.screen.size_mm is None or self.screen.distance_mm is None:
            return None
        return Screen(size_px=size, size_mm=self.screen.size_mm, distance_mm=self.screen.distance_mm)


def check_screen(trial: Trial, recording: Recording, stimulus: Stimulus, source: RecordingSource, file: str) -> None:
    """`InputError` where a trial needs to know more of the screen than anything says."""
    size = source.screen_px(recording, file)
    detect = trial.fixations is None if source.spec.events.source is None else source.spec.events.source == "detect"
    gaze = trial.samples if detect or trial.fixations is None else trial.fixations
    by_file = all(name in gaze.columns for name in PX_PER_DEG)
    if not by_file and source.degrees(recording, file) is None:
        raise InputError(f"{file}: degrees of visual angle need the screen's size and distance; {SCREEN_CURE}")
    on_image = trial.units.startswith("image")
    if on_image and source.images is None:
        raise InputError(f"{file}: positions are those on the image, so images= (--images DIR) is needed for its size")
    placed = (stimulus.rectangle or trial.drawn or trial.anchor) is not None and source.images is not None
    if size is None and (trial.units == "screen_share" or not (placed or (on_image and by_file))):
        raise InputError(f"{file}: the size of the screen in pixels is not known; {SCREEN_CURE}")


def load_trial(entry: Entry, *, source: RecordingSource) -> Reading:
    """Read one trial and place its gaze on its image.

    Parameters
    ----------
    entry : Entry
    source : RecordingSource

    Raises
    ------
    RecordError
        ``bad_table``, ``missing_image`` or another reason of the image file, ``no_gaze`` or ``empty_map`` (no usable
        fixation).
    """
    if entry.refused is not None:
        raise RecordError(*entry.refused)
    place = source.places[str(entry.reading_id)]
    recording, trial = _trial(place, source)
    placement = _placement(entry, place, recording, trial, source)
    fixations, warnings = trial_fixations(trial, placement, source.spec.events)
    name = place.file + (f", trial {trial.name}" if trial.name else "")
    if not len(fixations):
        raise RecordError("no_gaze", f"{name}: no fixation in {len(trial.samples)} samples")
    usable = usable_fixations(
        {
            column: fixations[column].to_numpy(np.float64)
            for column in (*FIXATION_COLUMNS, *OPTIONAL_COLUMNS)
            if column in fixations.columns
        },
        image_shape=placement.image_shape,
        not_number=_column(fixations, "not_number", np.zeros(len(fixations), bool)),
        lines=_column(fixations, "line", np.arange(1, len(fixations) + 1)).tolist(),
        name=name,
        units_checked=True,
    )
    warnings = [f"{name}: {warning}" for warning in warnings]
    readers = source.spec.readers
    reader = readers.get(PurePosixPath(place.file).stem) or readers.get(trial.reader or "", trial.reader)
    if reader is not None and not is_id(reader):
        warnings.append(f"{name}: the reader's name is no id and is left out; name the reader under [readers]")
        reader = None
    counts, told = (recording.counts, recording.warnings) if place.first else ({}, ())
    return Reading(
        reading_id=str(entry.reading_id),
        image_id=entry.image_id,
        image_shape=placement.image_shape,
        fixations=usable.fixations,
        reader_id=reader,
        dataset=source.dataset,
        patient_id=entry.patient_id,
        split=entry.split,
        view=entry.view,
        image_path=entry.image_path,
        counts=MappingProxyType(dict(Counter(counts) + Counter(usable.counts))),
        warnings=(*told, *warnings, *_off_screen(trial, fixations, placement, name), *usable.warnings),
        load_samples=partial(load_samples, entry, source=source),
    )


def load_samples(entry: Entry, *, source: RecordingSource) -> pd.DataFrame:
    """Samples of one trial in image pixels; raises as `load_trial`."""
    place = source.places[str(entry.reading_id)]
    recording, trial = _trial(place, source)
    return placed_samples(trial, _placement(entry, place, recording, trial, source))


def _trial(place: Place, source: RecordingSource) -> tuple[Recording, Trial]:
    recording = source.parsed(source.root / place.file)
    return recording, next(trial for trial in recording.trials if trial.name == place.trial)


def _placement(entry: Entry, place: Place, recording: Recording, trial: Trial, source: RecordingSource) -> Placement:
    from gazekit.image import image_size

    size, screen = source.screen_px(recording, place.file), source.degrees(recording, place.file)
    if source.images is None:
        assert size is not None
        return Placement((size[1], size[0]), (0.0, 0.0, float(size[0]), float(size[1])), size, screen)
    image = find_image(source.images, entry.image_path, entry.image_id)
    if image is None:
        raise RecordError(
            "missing_image",
            f"no image file for {entry.image_path} under the image root, nor {entry.image_id}.dcm, .jpg, .jpeg or .png",
        )
    shape = image_size(image)
    drawn = place.stimulus.rectangle or trial.drawn
    if drawn is None and trial.anchor is not None:
        drawn = anchored_rectangle(shape, trial.anchor)
    if drawn is None and size is not None:
        drawn = placed_rectangle(shape, size, source.spec.stimuli.placement)
    return Placement(shape, drawn, size, screen)


def _column(table: pd.DataFrame, name: str, default: np.ndarray) -> np.ndarray:
    return table[name].to_numpy(default.dtype) if name in table.columns else default


def _off_screen(trial: Trial, fixations: pd.DataFrame, placement: Placement, name: str) -> list[str]:
    """A warning where most of the gaze is off the screen."""
    if placement.screen_px is None or placement.drawn is None:
        return []
    x, y = placement.to_screen(fixations[list(POSITION)].to_numpy(np.float64)).T
    width, height = placement.screen_px
    off = ~((x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)) & np.isfinite(x + y)
    if (share := float(off.mean())) <= 0.5:
        return []
    return [f"{name}: {share:.0%} of the fixations are off the screen of {width} x {height} pixels: is its size right?"]
