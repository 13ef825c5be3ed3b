"""`LabelledImages`: what every downstream data set is to an evaluation, checked once when it is made."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")
"""Names of the parts of a data set."""

NAMED = 3
"""How many offenders a message names; it counts the rest."""


class DatasetError(ValueError):
    """A labelled data set that cannot be evaluated on: its files, its labels or its split are wrong."""


@dataclass(frozen=True, slots=True)
class Box:
    """A finding's place: its class and the edges of a rectangle, in pixels of the original image."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images with labels, patients and a split.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    split : str
        Name of the split: the publisher's, or our own recipe in words, so that the two are never taken for each other.
    paths : tuple of Path
    ids : tuple of str
        Unique; the data set's own name of each image, never an absolute path.
    patients : tuple of str
        The patient of each image.
    labels : (N, C) float64
        1, 0 or NaN (unknown).
    classes : tuple of str
    parts : tuple of str
        ``train``, ``val`` or ``test`` of each image.
    notes : tuple of str
        What a reader of the results must know, such as that patients are not told apart.
    attributes : mapping
        Such as ``sex``, ``age``, ``view`` -> text of each image, "" where unknown: what results are broken down by.
    boxes : mapping
        Image id -> boxes of its findings; images without any are absent.

    Raises
    ------
    DatasetError
        A duplicated id or class, a label that is not 0, 1 or NaN, an unknown or empty part, a patient in two parts, a
        box of an image that is not there.
    """

    dataset: str
    split: str
    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    patients: tuple[str, ...]
    labels: NDArray[np.float64]
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def listed(
        cls, *, parts: Sequence[str], boxes: Mapping[str, tuple[Box, ...]] | None = None, **fields: Any
    ) -> LabelledImages:
        """Of everything that a table holds, the images that a split lists.

        Parameters
        ----------
        parts : part of each image, "" for one that is in no list; a note counts those
        boxes : of any images; those that are not listed are left out
        **fields : the other attributes, of every image of the table
        """
        rows = [row for row, part in enumerate(parts) if part]
        notes = tuple(fields.pop("notes", ()))
        if len(rows) < len(parts):
            notes += (f"{len(parts) - len(rows)} images of the table are in no list and are left out",)
        attributes = fields.pop("attributes", {})
        labels = np.asarray(fields.pop("labels"), np.float64)[rows]
        taken = {name: tuple(fields[name][row] for row in rows) for name in ("paths", "ids", "patients")}
        return cls(
            **(fields | taken),
            labels=labels,
            parts=tuple(parts[row] for row in rows),
            notes=notes,
            attributes={name: tuple(values[row] for row in rows) for name, values in attributes.items()},
            boxes={name: boxes[name] for name in taken["ids"] if name in boxes} if boxes else {},
        )

    def __post_init__(self) -> None:
        count = len(self.ids)
        if self.labels.shape != (count, len(self.classes)) or {
            len(self.paths),
            len(self.patients),
            len(self.parts),
            *map(len, self.attributes.values()),
        } - {count}:
            raise DatasetError(
                f"{self.dataset}: paths, ids, patients, labels, parts and attributes are not of one length"
            )
        self.labels.setflags(write=False)
        for what, names in (("image ids", self.ids), ("class names", self.classes)):
            if repeated := _repeated(names):
                raise DatasetError(f"{self.dataset}: {what} given twice: {some(repeated)}")
        if not np.isin(self.labels[~np.isnan(self.labels)], (0, 1)).all():
            raise DatasetError(f"{self.dataset}: labels must be 0 or 1, or unknown")
        if unknown := sorted(set(self.parts) - set(SPLITS)):
            raise DatasetError(f"{self.dataset}: expected the parts {', '.join(SPLITS)}, got {some(unknown)}")
        if empty := [part for part in SPLITS if part not in self.parts]:
            raise DatasetError(f"{self.dataset}, split {self.split!r}: no image in {' and '.join(empty)}")
        self._check_patients()
        known = frozenset(self.ids)
        if strangers := [name for name in self.boxes if name not in known]:
            raise DatasetError(f"{self.dataset}: boxes of images that are not listed: {some(strangers)}")

    def _check_patients(self) -> None:
        seen: dict[str, str] = {}
        leaked: dict[str, str] = {}
        for patient, part in zip(self.patients, self.parts, strict=True):
            if seen.setdefault(patient, part) != part:
                leaked.setdefault(patient, f"{patient} ({seen[patient]} and {part})")
        if leaked:
            raise DatasetError(
                f"{self.dataset}, split {self.split!r}: leak, {len(leaked)} patients are in more than one part: "
                f"{some(leaked.values())}; split by patient"
            )

    def rows(self, part: str) -> NDArray[np.int64]:
        """Positions of the images of one part."""
        return np.flatnonzero(np.asarray(self.parts) == part)

    def without(self, rows: Collection[int]) -> LabelledImages:
        """The data set without some images, checked anew."""
        left_out = frozenset(rows)
        keep = [row for row in range(len(self.ids)) if row not in left_out]
        gone = {self.ids[row] for row in left_out}
        return replace(
            self,
            paths=tuple(self.paths[row] for row in keep),
            ids=tuple(self.ids[row] for row in keep),
            patients=tuple(self.patients[row] for row in keep),
            parts=tuple(self.parts[row] for row in keep),
            labels=self.labels[keep],
            attributes={name: tuple(values[row] for row in keep) for name, values in self.attributes.items()},
            boxes={name: boxes for name, boxes in self.boxes.items() if name not in gone},
        )

    def part_hash(self, part: str) -> str:
        """sha256 of the part's ids, sorted, a newline after each: equal images, equal hash, in whatever order."""
        return id_hash([self.ids[row] for row in self.rows(part)])


def id_hash(ids: Sequence[str]) -> str:
    """sha256 of sorted ids, a newline after each."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()


def split_patients(patients: Sequence[str], shares: Mapping[str, float], *, seed: int = 0) -> tuple[str, ...]:
    """Our own patient-wise random split.

    Parameters
    ----------
    patients : patient of each image
    shares : part -> share of the images, in order; sums to 1
    seed : int

    Returns
    -------
    tuple of str
        The part of each image. Patients are put in the order of sha256("seed:patient"), which no library version
        changes, and cut where the shares of the *images* are reached; every part gets at least one patient if there
        are as many patients as parts.

    Raises
    ------
    DatasetError
        Fewer patients than parts.
    """
    counts = Counter(patients)
    if len(counts) < len(shares):
        raise DatasetError(f"{len(counts)} patients cannot be split into {len(shares)} parts ({', '.join(shares)})")
    order = sorted(counts, key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())
    parts = list(shares)
    ends = np.cumsum(list(shares.values())) * len(patients)
    part_of: dict[str, str] = {}
    done, at, in_part = 0, 0, 0
    for position, patient in enumerate(order):
        left, parts_left = len(order) - position, len(parts) - at - 1
        # the middle of the patient's images decides; the last patients are kept for parts that have none yet
        if at + 1 < len(parts) and in_part and (done + counts[patient] / 2 > ends[at] or left <= parts_left):
            at, in_part = at + 1, 0
        part_of[patient] = parts[at]
        done += counts[patient]
        in_part += 1
    return tuple(part_of[patient] for patient in patients)


OWN_SHARES: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.1, "test": 0.2})
"""Shares of our own split, where a data set comes without one."""

OWN_VALIDATION: Mapping[str, float] = MappingProxyType({"train": 0.875, "val": 0.125})
"""Shares of the training images, where a data set comes without validation images: 70 to 10."""


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
