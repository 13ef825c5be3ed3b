"""What a build will do, decided before it does anything: rows, shards, parameters, and their fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazekit.errors import InputError, RecordError
from gazekit.shards import FORMAT, FORMAT_VERSION, array_specs, sha256_file, shard_name, to_json

if TYPE_CHECKING:
    from gazekit.reading import Entry, Reading, Readings
    from gazekit.windows import Window

PER = ("image", "reading")
GAZE = ("fixations", "samples")
WINDOWS = ("whole", "sentences")
MAX_IMAGE_SIZE = 8192

_PACKAGES = (
    "gazekit",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "pillow",
    "pydicom",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "pyjpegls",
    "python-gdcm",
    "pylibjpeg-libjpeg",
)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a cache is built with; every field is part of its fingerprint.

    Attributes
    ----------
    dataset : str
    per : "image" or "reading"
        What a row is; with a window of sentences each row is of one reading.
    gaze : "fixations" or "samples"
        What the heatmap is made of; samples weigh ``min(time to the next valid one, 2 nominal periods)``.
    window : "whole" or "sentences"
        Gaze of the whole reading, or a row for each sentence of it with the gaze of `spoken_windows`.
    sigma_dva : float
        Spread of a fixation, degrees of visual angle.
    image_size : int
        Side of the stored square.
    grid : (rows, cols) of the stored relevance
    heatmap_size : int
        Side of the stored heatmap, 0 for none.
    windowing : str
        How an image is shown: a key of `gazekit.windowing.WINDOWINGS`.
    keep_no_gaze : bool
        Keep images, and sentences, without gaze as rows without fixations.
    shard_size : int
        Ids a shard.
    """

    dataset: str
    per: str = "image"
    gaze: str = "fixations"
    window: str = "whole"
    sigma_dva: float = 1.0
    image_size: int = 256
    grid: tuple[int, int] = (14, 14)
    heatmap_size: int = 224
    windowing: str = "dicom"
    keep_no_gaze: bool = False
    shard_size: int = 512

    def __post_init__(self) -> None:
        from gazekit.windowing import check_windowing

        if not (math.isfinite(self.sigma_dva) and self.sigma_dva > 0):
            raise InputError(f"sigma_dva must be a positive number of degrees, got {self.sigma_dva}")
        _check_range("image_size", self.image_size, 1, MAX_IMAGE_SIZE)
        _check_range("heatmap_size", self.heatmap_size, 0, MAX_IMAGE_SIZE)
        for n in self.grid:
            _check_range("grid", n, 1, self.image_size)
        _check_range("shard_size", self.shard_size, 1, 1_000_000)
        _check_choice("per", self.per, PER)
        _check_choice("gaze (--from)", self.gaze, GAZE)
        _check_choice("window", self.window, WINDOWS)
        check_windowing(self.windowing)

    def to_dict(self) -> dict[str, Any]:
        """As ``cache.json`` holds it."""
        return dataclasses.asdict(self) | {"grid": list(self.grid)}


@dataclass(frozen=True, slots=True)
class RowTask:
    """One row to make: its id, the index entries behind it, and the image file found for it.

    `image_file` is relative to the image root, None where no file was found; `image_bytes` is its size. `window` is
    the span of time whose gaze counts, None for the whole reading.
    """

    id: str
    image_id: str
    entries: tuple[Entry, ...]
    image_file: str | None
    image_bytes: int
    window: Window | None = None


@dataclass(frozen=True)
class Plan:
    """All that decides the bytes of a cache; picklable, so that any process can make any shard of it.

    Attributes
    ----------
    parameters : Parameters
    tasks : tuple of RowTask
        Sorted by id; shard k holds the k-th `shard_size` of them.
    load : callable
        Entry to Reading, of the source.
    images_root : Path
    header : dict
        ``cache.json`` of the whole cache while it is not finished.
    first_shard : int
        The shard that `tasks` begin with: not 0 where the plan is cut down to one shard.
    """

    parameters: Parameters
    tasks: tuple[RowTask, ...]
    load: Callable[[Entry], Reading]
    images_root: Path
    header: dict[str, Any]
    first_shard: int = 0

    @property
    def n_shards(self) -> int:
        """Number of shards of the whole cache."""
        return len(self.header["shards"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over parameters, format version and inputs."""
        return str(self.header["fingerprint"])

    def shard(self, k: int) -> tuple[RowTask, ...]:
        """Rows of shard k."""
        size = self.parameters.shard_size
        start = (k - self.first_shard) * size
        return self.tasks[start : start + size]

    def only(self, k: int) -> Plan:
        """The same plan without the rows of other shards: small enough to be sent with each of many tasks."""
        return dataclasses.replace(self, tasks=self.shard(k), first_shard=k)


def plan_cache(
    readings: Readings,
    images_root: Path,
    *,
    sigma_dva: float = 1.0,
    image_size: int = 256,
    grid: tuple[int, int] = (14, 14),
    heatmap_size: int = 224,
    per: str = "image",
    gaze: str = "fixations",
    window: str = "whole",
    windowing: str = "dicom",
    keep_no_gaze: bool = False,
    shard_size: int = 512,
    limit: int | None = None,
) -> Plan:
    """Decide every row and shard of a cache, without opening an image.

    For a window of sentences every reading is read, because its transcript decides its rows: ``<reading_id>.s00``,
    ``.s01`` and so on, in the order of `gazekit.spoken_windows`. A reading without one has a row of its own id, which
    says why it cannot be used.

    Parameters
    ----------
    readings : Readings
        A source's index.
    images_root : Path
        Where the image paths of the index are looked for.
    sigma_dva, image_size, grid, heatmap_size, per, gaze, window, windowing, keep_no_gaze, shard_size
        As in `Parameters`. A source of images that nobody read keeps its images without gaze by itself.
    limit : int, optional
        Only the first `limit` ids, in sorted order.

    Raises
    ------
    InputError
        A wrong option; a source without rows; entries of one image that contradict each other; one id with two
        files of different content; a patient in two splits.
    """
    parameters = Parameters(
        dataset=readings.dataset,
        per="reading" if window == "sentences" else per,
        gaze=gaze,
        window=window,
        sigma_dva=sigma_dva,
        image_size=image_size,
        grid=grid,
        heatmap_size=heatmap_size,
        windowing=windowing,
        keep_no_gaze=keep_no_gaze or (len(readings) == 0 and len(readings.entries) > 0),
        shard_size=shard_size,
    )
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    if not images_root.is_dir():
        raise InputError(f"the image root {images_root} is not a directory")
    if not readings.entries:
        raise InputError(f"the {readings.dataset} data set has no rows, so there is nothing to build")
    groups = _group(readings.entries, parameters.per)
    rows: dict[str, tuple[list[Entry], Window | None]] = {id_: (groups[id_], None) for id_ in sorted(groups)[:limit]}
    if window == "sentences":
        rows = _by_sentence(readings, rows)
    chosen = {id_: rows[id_] for id_ in sorted(rows)[:limit]}
    files = _find_images((entry for entries, _ in chosen.values() for entry in entries), images_root)
    tasks = tuple(
        RowTask(id_, entries[0].image_id, tuple(entries), *files[entries[0].image_id], window=span)
        for id_, (entries, span) in chosen.items()
    )
    return Plan(parameters, tasks, readings.load, images_root, _header(parameters, tasks, readings.digest()))


def _header(parameters: Parameters, tasks: Sequence[RowTask], source_digest: str) -> dict[str, Any]:
    """``cache.json`` of a cache that is not finished yet; `source_digest` is of the source's tables."""
    inputs = {
        "rows": len(tasks),
        "ids": _digest(task.id for task in tasks),
        "tables": source_digest,
        "images": _digest(f"{task.image_bytes} {_suffix(task)}" for task in tasks),
    }
    identity = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "parameters": parameters.to_dict(),
        "inputs": inputs,
    }
    starts = range(0, len(tasks), parameters.shard_size)
    return identity | {
        "fingerprint": hashlib.sha256(to_json(identity)).hexdigest(),
        "arrays": _array_list(parameters),
        "packages": _package_versions(),
        "complete": False,
        "shards": [
            {
                "name": shard_name(k),
                "planned": min(parameters.shard_size, len(tasks) - start),
                "rows": 0,
                "fixations": 0,
                "sha256": None,
            }
            for k, start in enumerate(starts)
        ],
    }


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between two headers of other fingerprints, in words: the old value, then the new."""
    parts = [
        f"{name} {_plain(old['parameters'].get(name))} there, {_plain(value)} asked for"
        for name, value in new["parameters"].items()
        if old["parameters"].get(name) != value
    ]
    was, now = old["inputs"], new["inputs"]
    if was["rows"] != now["rows"]:
        parts.append(f"{was['rows']} rows there, {now['rows']} asked for")
    elif was["ids"] != now["ids"]:
        parts.append("the ids differ")
    if was["tables"] != now["tables"]:
        parts.append("the data set's tables have changed")
    if was["images"] != now["images"] and was["ids"] == now["ids"]:
        parts.append("image files have changed in size, appeared or gone")
    return "; ".join(parts) or "the format differs"


def _group(entries: Sequence[Entry], per: str) -> dict[str, list[Entry]]:
    """Row id to its entries, readings in the order of their ids."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.image_id if per == "image" else entry.reading_id or entry.image_id, []).append(entry)
    for id_, group in groups.items():
        group.sort(key=lambda entry: entry.reading_id or "")
        if len({entry.image_id for entry in group}) > 1:
            raise InputError(f"{id_} is the id of a reading and of another image")
        for name in ("patient_id", "split"):
            values = {value for entry in group if (value := getattr(entry, name)) is not None}
            if len(values) > 1:
                raise InputError(f"image {id_}: its readings disagree about {name}")
    return groups


def _by_sentence(
    readings: Readings, rows: Mapping[str, tuple[list[Entry], Window | None]]
) -> dict[str, tuple[list[Entry], Window | None]]:
    """Rows of readings to rows of sentences; a reading without a sentence keeps its own, which then says why."""
    from gazekit.sources.paths import check_id
    from gazekit.windows import spoken_windows

    cut: dict[str, tuple[list[Entry], Window | None]] = {}
    for id_, (entries, _) in rows.items():
        windows: list[Window] = []
        if entries[0].reading_id is not None:
            with suppress(RecordError):  # met again, and listed, when its row is made
                transcript = readings.load(entries[0]).transcript
                windows = [] if transcript is None else spoken_windows(transcript)
        for k, window in enumerate(windows or [None]):
            new = id_ if window is None else check_id(f"{id_}.s{k:02d}", "id of a sentence")
            if new in cut:
                raise InputError(f"{new} is the id of a sentence and of another reading; rename the reading")
            cut[new] = (entries, window)
    return cut


def _find_images(entries: Iterable[Entry], images_root: Path) -> dict[str, tuple[str | None, int]]:
    """Image id to (file relative to the root, size in bytes), (None, -1) where there is none."""
    from gazekit.sources.paths import find_image

    paths: dict[str, set[str]] = {}
    for entry in entries:
        paths.setdefault(entry.image_id, set()).add(entry.image_path)
    found: dict[str, tuple[str | None, int]] = {}
    for image_id, candidates in paths.items():
        files = {file for path in sorted(candidates) if (file := find_image(images_root, path, image_id)) is not None}
        if not files:
            found[image_id] = (None, -1)
            continue
        if len(files) > 1 and len({sha256_file(file) for file in files}) > 1:
            raise InputError(
                f"image {image_id} is given by {len(files)} files of different content, "
                f"{' and '.join(sorted(_relative(file, images_root) for file in files))}; keep one"
            )
        file = min(files)
        found[image_id] = (_relative(file, images_root), file.stat().st_size)
    return found


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _suffix(task: RowTask) -> str:
    return Path(task.image_file).suffix if task.image_file else "missing"


def _digest(lines: Iterable[str]) -> str:
    sha256 = hashlib.sha256()
    for line in lines:
        sha256.update(line.encode() + b"\n")
    return sha256.hexdigest()


def _array_list(parameters: Parameters) -> list[dict[str, Any]]:
    leading = {"fixations": "fixations", "offsets": "rows + 1"}
    specs = array_specs(parameters.image_size, parameters.grid, parameters.heatmap_size)
    return [
        {"name": name, "dtype": spec.dtype, "shape": [leading.get(name, "rows"), *spec.row_shape]}
        for name, spec in specs.items()
    ]


def _package_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} must be from {low} to {high}, got {value}")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _plain(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)
