"""The fixations of recordings in any tracker's format, as one table: what ``gazekit fixations`` writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gazekit.errors import InputError, RecordError
from gazekit.events import detect_fixations
from gazekit.geometry import Screen
from gazekit.sources import open_source, users_of
from gazekit.sources.sample_table import read_samples
from gazekit.sources.spec import Events, read_spec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RecordedFixations:
    """Fixations of one or more recordings.

    Attributes
    ----------
    fixations : DataFrame
        Canonical. Of a tracker's format, or of a table with a spec, it begins with ``reading_id, image_id`` and may
        hold many readings; positions are pixels of the images, or of the screen where none are given.
    samples : int
        Of the readings that could be read.
    algorithm : str
    failures : dict of RecordError
        Readings that could not be used.
    notes : tuple of str
        What was odd.
    """

    fixations: pd.DataFrame
    samples: int
    algorithm: str
    failures: Mapping[str, RecordError] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def detect_recorded(
    source: str | Path,
    format_: str = "table",
    *,
    images: str | Path | None = None,
    spec: str | Path | None = None,
    screen: Screen | None = None,
    algorithm: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    on_reading: Callable[[int, int], None] = lambda done, total: None,
) -> RecordedFixations:
    """Detect the fixations of every trial of a recording, or of a folder of them.

    Parameters
    ----------
    source : path
    format_ : str
        "table" without a spec: one recording in gazekit's own columns. Otherwise a key of
        `gazekit.sources.SOURCES` whose function takes a spec.
    images, spec, screen
        As in `gazekit.sources.open_source`.
    algorithm, thresholds
        As in `gazekit.detect_fixations`. Default: those of the spec's ``[events]``, else "adaptive" with its own.
    on_reading : callable
        Told the number of readings done so far, and of all.

    Returns
    -------
    RecordedFixations

    Raises
    ------
    InputError
        As the function of the format, or `gazekit.detect_fixations`; no reading that can be used.
    """
    import pandas as pd

    formats = users_of("spec")
    if format_ not in formats:
        raise InputError(f"--format must be one of {', '.join(formats)}, got {format_!r}")
    if format_ == "table" and spec is None:
        table = read_samples(source)
        found = detect_fixations(table, screen, algorithm or "adaptive", **(thresholds or {}))
        return RecordedFixations(found, len(table), algorithm or "adaptive")
    said = read_spec(spec)
    if algorithm is None:
        events = replace(said.events, source="detect", thresholds={**said.events.thresholds, **(thresholds or {})})
    else:
        events = Events("detect", algorithm, thresholds or {})
    readings = open_source(format_, source, images=images, spec=replace(said, events=events), screen=screen)
    tables, failures, notes, samples = [], {}, list(readings.notes), 0
    for done, entry in enumerate(readings.entries):
        on_reading(done, len(readings.entries))
        try:
            reading = readings.load(entry)
            samples += len(reading.samples())
        except RecordError as error:
            failures[str(entry.reading_id)] = error
            continue
        notes += reading.warnings
        table = reading.fixations.copy(deep=False)
        table.insert(0, "reading_id", reading.reading_id)
        table.insert(1, "image_id", reading.image_id)
        tables.append(table)
    on_reading(len(readings.entries), len(readings.entries))
    if not tables:
        first = next(iter(failures.values()))
        raise InputError(f"none of {len(failures)} readings can be used; the first: {first}")
    return RecordedFixations(pd.concat(tables, ignore_index=True), samples, events.algorithm, failures, tuple(notes))
