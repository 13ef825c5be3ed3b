"""Readings at a desk: images that fit the screen, no zoom, as an eye tracker below the monitor records them.

What every tracker's simulator shares: who reads what, the images, and the gaze on the screen at the tracker's rate. The
files of each format are written by its own module, from `Session`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError
from gazekit.geometry import Screen, image_to_screen
from gazekit.shards import fsync_directory
from gazekit.simulate.dicom_out import window_of
from gazekit.simulate.files import invented_identities, new_folder, picture_dicom, write_file, write_text
from gazekit.simulate.parameters import ReaderParameters
from gazekit.simulate.pictures import check_source, folder_makers, phantom_makers, read_marks
from gazekit.simulate.reader import SimulatedReading, simulate_reading
from gazekit.simulate.viewer import Station

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Rectangle = tuple[int, int, int, int]

DESK = Station(
    screen=Screen(size_px=(1920, 1080), size_mm=(531.0, 299.0), distance_mm=650.0),
    image_area=(0, 0, 1920, 1080),
    buttons=(20, 500, 320, 560),
)
"""A 24-inch monitor at arm's length."""

PHANTOM_IMAGES = 4
PHANTOM_SHAPE = (580, 500)
READERS = 2
IMAGES = "images"
"""Folder of the images beside the recordings."""


@dataclass(frozen=True)
class ScreenTrial:
    """One image, read once.

    Attributes
    ----------
    image_id : str
    image_shape : (H, W)
    drawn : (x0, y0, x1, y1)
        Half-open range of screen pixels that shows the whole image.
    samples : DataFrame
        ``time_s`` from the image's onset at the tracker's rate, and ``x_px, y_px`` on the screen, (0, 0) the centre of
        the top-left pixel, unrounded; NaN while the eye is lost.
    fixations : DataFrame
        The truth: ``onset_s, offset_s, x_px, y_px`` on the screen.
    """

    image_id: str
    image_shape: tuple[int, int]
    drawn: Rectangle
    samples: pd.DataFrame
    fixations: pd.DataFrame


@dataclass(frozen=True)
class Session:
    """What one person read in one sitting."""

    reader: str
    trials: tuple[ScreenTrial, ...]


@dataclass(frozen=True, slots=True)
class DeskSummary:
    """What was written: counts, and the folder that was given."""

    out: str
    images: int
    readings: int
    recordings: int
    fixations: int


def simulate_desk(
    out: str | os.PathLike[str],
    write_sessions: Callable[[Path, Sequence[Session]], None],
    *,
    dataset: str,
    rate_hz: float,
    image_folder: str = IMAGES,
    images: str | os.PathLike[str] | None = None,
    lesions: str | os.PathLike[str] | None = None,
    readings: int | None = None,
    readers: int | None = None,
    seed: int = 0,
    gaze_files: int | None = None,
    discarded: int | None = None,
    parameters: ReaderParameters | None = None,
    on_plan: Callable[[int], None] | None = None,
    on_image: Callable[[int], None] | None = None,
) -> DeskSummary:
    """Write a data set of a tracker's recordings: every reader reads every image.

    Parameters
    ----------
    out : path
        New or empty folder. Gets ``<dataset>/`` with the recordings, the images, ``screen.toml`` and SIMULATED.txt.
    write_sessions : callable
        Folder and sessions; writes the format's files.
    dataset : str
        Name of the format.
    rate_hz : float
        Of the tracker.
    image_folder : str
        Where under `out` the images go.
    images, lesions, seed, parameters, on_plan, on_image
        As in `gazekit.simulate.simulate_reflacx`; zoom, window and buttons are not used.
    readings : int, optional
        In all. Default: each reader reads each image once; of phantoms there are 4.
    readers : int, optional
        Default 2.
    gaze_files, discarded
        Not used by a tracker's simulator, and refused.

    Returns
    -------
    DeskSummary

    Raises
    ------
    InputError
        Before anything is written, for options that do not fit.
    """
    if gaze_files is not None or discarded is not None:
        raise InputError(f"--no-samples and --discarded are not used by --dataset {dataset}; leave them out")
    check_source(seed, images=images, lesions=lesions)
    several = READERS if readers is None else readers
    if several < 1 or (readings is not None and (readings < several or readings % several)):
        raise InputError(f"--readings must be a multiple of the {several} readers, who all read the same images")
    count = None if readings is None else readings // several
    if images is None:
        makers = phantom_makers(PHANTOM_IMAGES if count is None else count, PHANTOM_SHAPE)
    else:
        makers = folder_makers(Path(images), None if lesions is None else read_marks(Path(lesions)))
        if count is not None and count > len(makers):
            raise InputError(f"--readings {readings} of {several} readers needs {count} images, found {len(makers)}")
        makers = makers[:count]
    rng = np.random.default_rng(seed)
    behaviour = replace(parameters or ReaderParameters(), zooms=0.0, window_drags=0.0, button_glances=0.0)
    identities = invented_identities(len(makers), rng)
    folder = Path(out)
    partial = new_folder(folder)
    if on_plan is not None:
        on_plan(len(makers))
    trials: list[list[ScreenTrial]] = [[] for _ in range(several)]
    try:
        for i, (maker, own) in enumerate(zip(makers, rng.spawn(len(makers)), strict=True)):
            picture_rng, *reader_rngs = own.spawn(1 + several)
            picture, image_id = maker(picture_rng), identities[i].dicom_id
            write_file(partial / image_folder / f"{image_id}.dcm", picture_dicom(picture, identities[i]))
            for k, reader_rng in enumerate(reader_rngs):
                reading = simulate_reading(
                    picture.shape, picture.anatomy, picture.lesions, reader_rng,
                    parameters=behaviour, window=window_of(picture.encoding), station=DESK,
                )  # fmt: skip
                trials[k].append(screen_trial(image_id, picture.shape, reading, rate_hz))
            if on_image is not None:
                on_image(i + 1)
        sessions = [Session(f"99{k + 1:02d}", tuple(own)) for k, own in enumerate(trials)]
        write_sessions(partial / dataset, sessions)
        write_text(partial / "screen.toml", _screen_toml())
        write_text(partial / "SIMULATED.txt", _notice(dataset, len(makers), several, behaviour))
        partial.replace(folder)
        fsync_directory(folder.absolute().parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return DeskSummary(
        out=str(out), images=len(makers), readings=len(makers) * several, recordings=several,
        fixations=sum(len(trial.fixations) for own in trials for trial in own),
    )  # fmt: skip


def screen_trial(image_id: str, image_shape: tuple[int, int], reading: SimulatedReading, rate_hz: float) -> ScreenTrial:
    """A simulated reading as the tracker saw it: on the screen, at its rate."""
    view = reading.plan.views[0][1]
    at = reading.samples["time_s"].to_numpy()
    points = image_to_screen(reading.samples[["x_px", "y_px"]].to_numpy(), view.shown, view.drawn)
    fixed = image_to_screen(reading.fixations[["x_px", "y_px"]].to_numpy(), view.shown, view.drawn)
    onset, offset = (reading.fixations[name].to_numpy() for name in ("onset_s", "offset_s"))
    return ScreenTrial(
        image_id, image_shape, view.drawn,
        samples=_sampled(at, points, rate_hz), fixations=_table(("onset_s", "offset_s"), (onset, offset), fixed),
    )  # fmt: skip


def _sampled(at: NDArray[np.float64], points: NDArray[np.float64], rate_hz: float) -> pd.DataFrame:
    """The latest of the 1000 Hz samples at each tick of the tracker; lost where the simulator dropped it."""
    ticks = np.arange(np.ceil(at[0] * rate_hz), np.floor(at[-1] * rate_hz) + 1) / rate_hz
    latest = np.searchsorted(at, ticks + 1e-9, side="right") - 1
    seen = points[latest].copy()
    seen[ticks - at[latest] > 0.0015] = np.nan
    return _table(("time_s",), (ticks,), seen)


def _table(names: Sequence[str], times: Sequence[NDArray[np.float64]], points: NDArray[np.float64]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(dict(zip(names, times, strict=True)) | {"x_px": points[:, 0], "y_px": points[:, 1]})


def _screen_toml() -> str:
    screen = DESK.screen
    return (
        "[screen]\n"
        f"size_px = [{screen.size_px[0]}, {screen.size_px[1]}]\n"
        f"size_mm = [{screen.size_mm[0]}, {screen.size_mm[1]}]\n"
        f"distance_mm = {screen.distance_mm}\n"
    )


def _notice(dataset: str, images: int, readers: int, parameters: ReaderParameters) -> str:
    lines = [
        "SIMULATED. No person read these images and no eye was tracked.",
        "",
        f"gazekit simulate made recordings in the form of {dataset}: {readers} readers, {images} images. Gaze and all",
        "ids are invented by a program; ids begin with 99. No result on them says anything about radiologists.",
        "screen.toml says what the recordings do not: pass it as --spec.",
        "",
        "parameters of the simulated readers:",
        *(f"  {f.name} = {getattr(parameters, f.name)!r}" for f in fields(parameters)),
    ]
    return "\n".join(lines) + "\n"
