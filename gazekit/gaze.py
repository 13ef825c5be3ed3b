"""One reading's gaze as a row of the cache takes it: what counts, for how long, and as Gaussians."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.plan import Parameters, RowTask
from gazekit.reading import TIMES
from gazekit.shards import FIXATION_FIELDS

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.geometry import ImageFrame
    from gazekit.reading import Entry, Reading


@dataclass(frozen=True, slots=True)
class Looks:
    """What a reading looked at, before the image is known.

    Attributes
    ----------
    entry : Entry
    reading : Reading or None
        None for an image without a readable reading.
    table : DataFrame or None
        Fixations, or samples as fixations, that count; None without gaze.
    seconds : (F,) float64
        For how long each row of the table counts.
    counts : dict
        What was dropped: the reading's own, and ``lost_samples``.
    """

    entry: Entry
    reading: Reading | None = None
    table: pd.DataFrame | None = None
    seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Gaze:
    """One usable reading.

    Attributes
    ----------
    looks : Looks
    gaussians : (F, 9) float64
        Weights sum to 1 inside the image.
    times : (F, 2) float64
        Onset and offset.
    seconds : (F,) float64
        For how long each counts.
    mass_share : float or None
        Share of the weight that falls inside the image; None without gaze.
    """

    looks: Looks
    gaussians: NDArray[np.float64]
    times: NDArray[np.float64]
    seconds: NDArray[np.float64]
    mass_share: float | None


def load_looks(entry: Entry, task: RowTask, *, load: Callable[[Entry], Reading], parameters: Parameters) -> Looks:
    """The gaze of an entry that falls into its row's window.

    Raises
    ------
    RecordError
        It cannot be read, or has no gaze (there) and images without gaze are not kept.
    """
    keep = parameters.keep_no_gaze
    if entry.reading_id is None:
        if not keep:
            raise RecordError("no_gaze", "nobody read this image; --keep-no-gaze keeps it without gaze")
        return Looks(entry)
    reading = None
    try:
        reading = load(entry)
        if parameters.gaze == "fixations" and len(reading.fixations) == 0:
            why = "the gaze was discarded by the data set's authors" if entry.discarded else "it has no fixation"
            raise RecordError("no_gaze", f"{why}; --keep-no-gaze keeps the image without gaze")
        return _looks(entry, reading, task, parameters)
    except RecordError as error:
        if error.reason != "no_gaze" or not keep:
            raise
        return Looks(entry, reading, counts=Counter({} if reading is None else dict(reading.counts)))


def _looks(entry: Entry, reading: Reading, task: RowTask, parameters: Parameters) -> Looks:
    from gazekit.windows import window_weights

    counts = Counter(dict(reading.counts))
    table = reading.fixations
    if parameters.gaze == "samples":
        from gazekit.samples import samples_as_fixations

        samples = reading.samples()
        try:
            table = samples_as_fixations(samples)
        except InputError as error:
            raise RecordError("bad_table", f"raw gaze: {error}") from None
        if len(table) < len(samples):
            counts["lost_samples"] = len(samples) - len(table)
    # one column at a time: selecting two from a data frame costs more than the mathematics of a reading
    onset, offset = (table[name].to_numpy(np.float64) for name in TIMES)
    if task.window is None:
        if parameters.window != "whole":
            raise RecordError("no_transcript", "it has no transcript to take sentences from; use --window whole")
        return Looks(entry, reading, table, offset - onset, counts)
    seconds = window_weights(table, task.window)
    if not (seconds > 0).any():
        span = f"{task.window.start_s:.2f} to {task.window.stop_s:.2f} s"
        raise RecordError("no_gaze", f"no gaze in the window of this sentence, {span}; --keep-no-gaze keeps the row")
    return Looks(entry, reading, table[seconds > 0], seconds[seconds > 0], counts)


def place_gaze(looks: Looks, frame: ImageFrame, parameters: Parameters) -> Gaze:
    """Gaussians on the image, with weights divided by the reading's mass inside it.

    Raises
    ------
    RecordError
        ``size_mismatch``, ``zero_duration`` or ``empty_map``.
    """
    from gazekit.prior import gaussians, total_mass

    entry, reading, table = looks.entry, looks.reading, looks.table
    shape = (frame.height, frame.width)
    said = entry.image_shape if reading is None else reading.image_shape
    if said is not None and tuple(said) != shape:
        raise RecordError(
            "size_mismatch",
            f"the table says {said[1]} x {said[0]} pixels, the image file has {frame.width} x {frame.height}; "
            "its fixations would fall on the wrong places",
        )
    if table is None:
        return Gaze(looks, np.zeros((0, 9)), np.zeros((0, 2)), np.zeros(0), None)
    rows = gaussians(table, image_shape=shape, sigma_dva=parameters.sigma_dva, weights=looks.seconds)
    times = np.stack([table[name].to_numpy(np.float64) for name in TIMES], axis=1)
    if parameters.gaze == "samples":
        from gazekit.samples import merge_equal

        rows, times = merge_equal(rows, times)
    seconds = rows[:, 4].copy()
    mass = total_mass(rows, shape)
    rows[:, 4] /= mass
    return Gaze(looks, rows, times, seconds, mass / float(seconds.sum()))


def fixation_rows(gaze: Gaze, index: int, readings: int) -> NDArray[np.float64]:
    """(F, 12) rows of ``fixations.npy``; the weight is the reading's share of the mean of `readings` maps."""
    rows = np.empty((len(gaze.gaussians), len(FIXATION_FIELDS)))
    rows[:, :9] = gaze.gaussians
    rows[:, 4] /= readings
    rows[:, 9] = index
    rows[:, 10:] = gaze.times
    return rows


def dwell(gaze: Iterable[Gaze]) -> float:
    """Seconds of gaze."""
    return float(np.concatenate([np.zeros(0), *(g.seconds for g in gaze)]).sum())


def off_image_share(gaze: Sequence[Gaze], frame: ImageFrame) -> float | None:
    """Share of the gaze time spent with its centre outside the image; None without gaze."""
    total = dwell(gaze)
    if total <= 0:
        return None
    seconds = np.concatenate([g.seconds for g in gaze])
    x, y = np.concatenate([g.gaussians for g in gaze])[:, :2].T
    inside = (x >= -0.5) & (x < frame.width - 0.5) & (y >= -0.5) & (y < frame.height - 0.5)
    return float(seconds[~inside].sum()) / total
