"""The quality of a whole data set: every reading's figures, what is usual among them, and the table as a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import InputError, RecordError
from gazekit.quality import FIGURES, Quality, reading_quality
from gazekit.shards import replacing

if TYPE_CHECKING:
    import pandas as pd

    from gazekit.reading import Readings

SUFFIXES = (".csv", ".parquet", ".json")


@dataclass(frozen=True)
class QualityReport:
    """Quality of the readings of one data set.

    Attributes
    ----------
    readings : tuple of Quality
        In the data set's order.
    failures : tuple of (reading id, reason code, message)
        Readings that could not be measured.
    """

    readings: tuple[Quality, ...]
    failures: tuple[tuple[str, str, str], ...]

    @property
    def usual(self) -> dict[str, dict[str, float | int]]:
        """Of each figure: ``readings`` that have it, ``median``, and the percentiles ``p5`` and ``p95``."""
        found: dict[str, dict[str, float | int]] = {}
        for name in FIGURES:
            values = [value for reading in self.readings if (value := getattr(reading, name)) is not None]
            if values:
                low, median, high = np.percentile(values, (5, 50, 95)).tolist()
                found[name] = {"readings": len(values), "median": median, "p5": low, "p95": high}
        return found

    @property
    def flags(self) -> dict[str, int]:
        """Number of readings with each flag, the most frequent first."""
        return dict(Counter(flag for reading in self.readings for flag in reading.flags).most_common())

    @property
    def flagged(self) -> int:
        """Number of readings with any flag."""
        return sum(bool(reading.flags) for reading in self.readings)

    def table(self) -> pd.DataFrame:
        """One row a reading: the fields of `Quality`, flags and reasons joined by spaces and semicolons."""
        import pandas as pd

        rows = [
            asdict(reading) | {"flags": " ".join(reading.flags), "reasons": "; ".join(reading.reasons)}
            for reading in self.readings
        ]
        return pd.DataFrame(rows, columns=list(Quality.__dataclass_fields__))


def dataset_quality(
    readings: Readings,
    *,
    ids: Sequence[str] | None = None,
    strict: bool = False,
    on_reading: Callable[[int], object] | None = None,
) -> QualityReport:
    """Measure the readings of a data set, one at a time.

    Parameters
    ----------
    readings : Readings
    ids : sequence of str, optional
        Only these readings.
    strict : bool
        Raise for the first reading that cannot be measured, in place of listing it.
    on_reading : callable, optional
        Called with the number of readings done.

    Raises
    ------
    InputError
        No reading at all, or none that can be measured; with `strict` one.
    """
    wanted = readings.ids if ids is None else tuple(ids)
    if not wanted:
        raise InputError(f"{readings.dataset}: no reading, so there is no quality to measure")
    measured: list[Quality] = []
    failures: list[tuple[str, str, str]] = []
    for done, reading_id in enumerate(wanted, start=1):
        try:
            measured.append(reading_quality(readings[reading_id]))
        except RecordError as error:
            if strict:
                raise InputError(f"{reading_id}: {error.reason}: {error}") from error
            failures.append((reading_id, error.reason, str(error)))
        if on_reading is not None:
            on_reading(done)
    if not measured:
        reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(reason for _, reason, _ in failures).items())
        raise InputError(f"{readings.dataset}: none of {len(wanted)} readings can be measured: {reasons}")
    return QualityReport(tuple(measured), tuple(failures))


def report_dict(report: QualityReport) -> dict[str, Any]:
    """Everything in a report, as JSON can hold it: ``readings``, ``flags``, ``usual``, ``failures``, ``rows``."""
    return {
        "readings": len(report.readings),
        "flagged": report.flagged,
        "skipped": len(report.failures),
        "flags": report.flags,
        "usual": report.usual,
        "failures": [{"reading_id": i, "reason": reason, "message": text} for i, reason, text in report.failures],
        "rows": [asdict(reading) for reading in report.readings],
    }


def write_quality(report: QualityReport, path: str | Path) -> None:
    """Write the readings as ``.csv`` or ``.parquet`` (`QualityReport.table`), or all of it as ``.json``.

    The file is there whole or not at all.

    Raises
    ------
    InputError
        Another suffix.
    """
    path = Path(path)
    suffix = check_suffix(path)
    with replacing(path) as file:
        if suffix == ".json":
            file.write(json.dumps(report_dict(report), indent=1, allow_nan=False).encode())
        elif suffix == ".csv":
            report.table().to_csv(file, index=False, lineterminator="\n")
        else:
            report.table().to_parquet(file, index=False)


def check_suffix(path: Path) -> str:
    """The suffix of a file that `write_quality` can write, or `InputError`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path.name}: expected a name that ends in {', '.join(SUFFIXES)}")
    return suffix
