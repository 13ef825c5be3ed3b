"""What a build tells its caller when it ends, read back from the shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazekit.cache_files import finished_shard, missing_shards, read_header, row_failures
from gazekit.errors import DROPPED


@dataclass(frozen=True)
class BuildSummary:
    """What a build, a task of one, or a finalize did.

    Attributes
    ----------
    path : Path of the cache
    dataset : str
    images, readings : int
        Usable images, and readings with gaze among them.
    failures : list of dict
        id, image_id, reading_ids, reason, message of everything skipped.
    counts : dict
        What was dropped, clipped or replaced in the tables of the readings used: reason to number of table rows.
    image_flags : dict
        What was repaired or looks odd in the images used: key of `gazekit.dicom_header.FLAGS` to number of images.
    warnings : list of str
        What was kept but looks odd, each with its row's id in front.
    missing_shards : list of str
        Shards that no task has built yet; empty when the cache is finished.
    complete : bool
        Whether the cache can be opened.
    rows_built : int
        Rows made by this run, the others having been there.
    seconds : float
    """

    path: Path
    dataset: str
    images: int
    readings: int
    failures: list[dict[str, Any]]
    counts: dict[str, int]
    image_flags: dict[str, int]
    warnings: list[str]
    missing_shards: list[str]
    complete: bool
    rows_built: int
    seconds: float

    @property
    def skipped(self) -> dict[str, int]:
        """Reason code to number of skipped images or readings."""
        return dict(sorted(Counter(failure["reason"] for failure in self.failures).items()))

    @property
    def skipped_rows(self) -> int:
        """Rows of fixation tables that could not be used; a row that repeats another is no loss and not among them."""
        return sum(self.counts.get(reason, 0) for reason in DROPPED if reason != "duplicate")

    @property
    def images_per_s(self) -> float:
        """Rows made a second, by this run."""
        return self.rows_built / self.seconds if self.seconds > 0 else 0.0


def summarise(root: Path, shards: Sequence[int], *, rows_built: int, seconds: float) -> BuildSummary:
    """What `shards` hold, read one at a time."""
    header = read_header(root)
    images: set[str] = set()
    readings = 0
    failures: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    warned: list[str] = []
    for k in shards:
        content = finished_shard(root, k, header["fingerprint"])
        for row in [] if content is None else content["rows"]:
            failures.extend(row_failures(row))
            if row["status"] == "ok":
                images.add(row["image_id"])
                readings += row["n_readings"]
                counts.update(row["counts"])
                flags.update(row["image"]["flags"])
                warned.extend(f"{row['id']}: {warning}" for warning in row["warnings"])
    return BuildSummary(
        path=root,
        dataset=header["parameters"]["dataset"],
        images=len(images),
        readings=readings,
        failures=failures,
        counts=dict(sorted(counts.items())),
        image_flags=dict(sorted(flags.items())),
        warnings=warned,
        missing_shards=missing_shards(root),
        complete=header["complete"],
        rows_built=rows_built,
        seconds=seconds,
    )
