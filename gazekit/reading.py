"""`Reading` (one reader, one image, once) and the canonical fixation table that it carries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gazekit.errors import InputError, RecordError

if TYPE_CHECKING:
    import pandas as pd

POSITION = ("x_px", "y_px")
PX_PER_DEG = ("px_per_deg_x", "px_per_deg_y")
SHOWN = ("shown_xmin_px", "shown_ymin_px", "shown_xmax_px", "shown_ymax_px")
TIMES = ("onset_s", "offset_s")
SCREEN = ("screen_xmin_px", "screen_ymin_px", "screen_xmax_px", "screen_ymax_px")

FIXATION_COLUMNS: tuple[str, ...] = (*TIMES, *POSITION, *PX_PER_DEG, *SHOWN)
"""Columns of a canonical fixation table, float64: seconds, original image pixels, image pixels per degree."""

OPTIONAL_COLUMNS: tuple[str, ...] = ("pupil_area_norm", "window_width", "window_level", *SCREEN)
"""Columns a source may add, float64."""


def _no_samples() -> pd.DataFrame:
    raise RecordError("no_gaze", "this reading has no raw gaze samples on disk")


@dataclass(frozen=True)
class Reading:
    """One reading of one image by one reader.

    Attributes
    ----------
    reading_id, image_id : str
    image_shape : (H, W)
        Size of the original image in pixels.
    fixations : DataFrame
        Canonical table (`FIXATION_COLUMNS`, then any of `OPTIONAL_COLUMNS`), time-ordered; empty if the gaze
        was discarded by the data set's authors.
    reader_id : str or None
        None where the data set does not say.
    dataset, phase, patient_id, split, view : str or None
    image_path : str or None
        Path of the image as the data set writes it, relative to the image root.
    transcript : DataFrame
        ``word, onset_s, offset_s``; empty where there is none.
    boxes : DataFrame
        ``name, xmin_px, ymin_px, xmax_px, ymax_px``.
    ellipses : DataFrame
        ``labels, certainty, xmin_px, ymin_px, xmax_px, ymax_px``: axis-aligned ellipses inscribed in the box,
        `labels` being a tuple of names.
    labels : mapping
        Label name to value, as the data set publishes them for this reading.
    counts : mapping
        What was dropped, clipped or replaced while reading: reason code to number of rows.
    warnings : tuple of str
        What was kept but looks odd.
    load_samples : callable
        Loads the raw samples; called by `samples`.
    """

    reading_id: str
    image_id: str
    image_shape: tuple[int, int]
    fixations: pd.DataFrame
    reader_id: str | None = None
    dataset: str = ""
    phase: str | None = None
    patient_id: str | None = None
    split: str | None = None
    view: str | None = None
    image_path: str | None = None
    transcript: pd.DataFrame | None = None
    boxes: pd.DataFrame | None = None
    ellipses: pd.DataFrame | None = None
    labels: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()
    load_samples: Callable[[], pd.DataFrame] = field(default=_no_samples, repr=False, compare=False)

    def samples(self) -> pd.DataFrame:
        """Raw gaze: ``time_s, x_px, y_px`` (NaN = lost), with px_per_deg_*, shown_* and screen_* where recorded.

        Read from disk at each call; raises `RecordError` (``no_gaze``) where the data set has none.
        """
        return self.load_samples()


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a source's index, known before any file of the reading is opened.

    `reading_id` is None for an image that nobody read. `image_path` is relative to the image root, as published.
    `image_shape` is None where only the image file knows it. `discarded`: the data set's authors withdrew the gaze.
    `refused`: reason and message where the index already found that the reading cannot be used.
    """

    image_id: str
    image_path: str
    reading_id: str | None = None
    patient_id: str | None = None
    split: str | None = None
    view: str | None = None
    phase: str | None = None
    image_shape: tuple[int, int] | None = None
    discarded: bool = False
    refused: tuple[str, str] | None = None


class Readings(Sequence[Reading]):
    """A data set's readings: an index in memory, each reading read from disk when asked for.

    Iterating yields every reading that can be read; the others are in `failures` afterwards, as
    ``reading_id -> RecordError``, and one warning says how many.

    Parameters
    ----------
    dataset : str
        Name of the source.
    entries : sequence of Entry
        Unique reading ids, in the data set's order.
    load : callable
        Entry to Reading; raises `RecordError`. Picklable, so that workers can call it.
    digest : callable
        () -> sha256 hex over the source's tables: changes whenever what `load` returns could change. Called only
        when a cache is planned, because it reads every table.
    notes : sequence of str
        What was odd in the tables, once each.

    Raises
    ------
    InputError
        A reading id occurs twice, or a patient is in two splits.
    """

    def __init__(
        self,
        dataset: str,
        entries: Sequence[Entry],
        load: Callable[[Entry], Reading],
        *,
        digest: Callable[[], str],
        notes: Sequence[str] = (),
    ) -> None:
        self.dataset = dataset
        self.entries = tuple(entries)
        self.load = load
        self.digest = digest
        self.notes = tuple(notes)
        self.failures: dict[str, RecordError] = {}
        self._with_gaze = tuple(e for e in self.entries if e.reading_id is not None)
        self._by_id = {e.reading_id: e for e in self._with_gaze}
        if len(self._by_id) != len(self._with_gaze):
            raise InputError(f"{dataset}: reading ids are not unique")
        _check_splits(dataset, self.entries)

    @property
    def ids(self) -> tuple[str, ...]:
        """Reading ids, in the data set's order."""
        return tuple(str(e.reading_id) for e in self._with_gaze)

    def __len__(self) -> int:
        return len(self._with_gaze)

    def __getitem__(self, key: str | int) -> Reading:  # type: ignore[override]
        """One reading by id or position; `KeyError` with the nearest id for one that does not exist."""
        if isinstance(key, str):
            if key not in self._by_id:
                raise KeyError(f"no reading {key!r} among {len(self)} of {self.dataset}{_nearest(key, self.ids)}")
            return self.load(self._by_id[key])
        return self.load(self._with_gaze[key])

    def __iter__(self) -> Iterator[Reading]:
        failures: dict[str, RecordError] = {}
        for entry in self._with_gaze:
            try:
                reading = self.load(entry)
            except RecordError as error:
                failures[str(entry.reading_id)] = error
                continue
            yield reading
        self.failures = failures
        if failures:
            import warnings

            first = next(iter(failures.items()))
            warnings.warn(
                f"{self.dataset}: {len(failures)} of {len(self)} readings could not be read, first "
                f"{first[0]}: {first[1]} (all in .failures)",
                stacklevel=2,
            )

    def __repr__(self) -> str:
        return f"Readings({self.dataset!r}, {len(self)} readings of {len({e.image_id for e in self.entries})} images)"


def _check_splits(dataset: str, entries: Sequence[Entry]) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.patient_id is None or entry.split is None:
            continue
        other = first.setdefault(entry.patient_id, entry)
        if other.split != entry.split:
            raise InputError(
                f"{dataset}: patient {entry.patient_id} is in split {other.split!r} "
                f"({other.reading_id or other.image_id}) and in {entry.split!r} "
                f"({entry.reading_id or entry.image_id}): training on this would leak; correct the table"
            )


def _nearest(key: str, ids: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(key, ids, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
