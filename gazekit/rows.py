"""One row of the cache: readings and image in, stored arrays out. What cannot be used is said, never hidden."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import RecordError
from gazekit.gaze import Gaze, Looks, dwell, fixation_rows, load_looks, off_image_share, place_gaze
from gazekit.geometry import ImageFrame, PatchGrid
from gazekit.plan import Parameters, RowTask
from gazekit.shards import FIXATION_FIELDS, Row, array_specs

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gazekit.reading import Entry, Reading
    from gazekit.windows import Window

_ABSOLUTE_PATH = re.compile(r"(?<![\w./\\-])(?:[A-Za-z]:)?[/\\](?:[^/\\\s'\",;:()]+[/\\])+")


def make_row(task: RowTask, *, load: Callable[[Entry], Reading], images_root: Path, parameters: Parameters) -> Row:
    """Make one row.

    Each reading's weights are divided by its mass inside the image (closed form, after clipping) and by the number
    of readings with gaze, so the row's map is the mean of its readers' maps and its relevance sums to 1. A reading
    that cannot be used is listed in ``info["failures"]``; the row is skipped when none is left.

    Parameters
    ----------
    task : RowTask
    load : callable
        Entry to Reading; raises `RecordError`.
    images_root : Path
    parameters : Parameters

    Returns
    -------
    Row

    Raises
    ------
    InputError
        What would go wrong for every row, such as a missing decoder plug-in.
    """
    with warnings.catch_warnings():
        # What a decoder's library warns of quotes header values; what matters of it is in the image's facts.
        warnings.simplefilter("ignore")
        return _make_row(task, load, images_root, parameters)


def crashed_row(task: RowTask, timed_out: bool, *, parameters: Parameters) -> Row:
    """The row of an image on which a process ended, alone and fresh: of itself, or because it took too long."""
    reason, what = ("decoder_timeout", "did not finish") if timed_out else ("decoder_crash", "ended its process")
    error = RecordError(reason, f"the decoder {what} on this image; check the file, or leave it out")
    return _skipped(task, parameters, [_failure(error, task.entries)])


def _make_row(task: RowTask, load: Callable[[Entry], Reading], images_root: Path, parameters: Parameters) -> Row:
    refused = [_failure(RecordError(*entry.refused), [entry]) for entry in task.entries if entry.refused is not None]
    if refused and len(refused) == len(task.entries):
        return _skipped(task, parameters, refused)
    if task.image_file is None:
        names = ", ".join(sorted({entry.image_path for entry in task.entries}))
        message = f"no image file for {names} under the image root, nor {task.image_id}.dcm, .jpg, .jpeg or .png"
        return _skipped(task, parameters, [_failure(RecordError("missing_image", message), task.entries)])

    failures: list[dict[str, Any]] = []
    loaded: list[Looks] = []
    for entry in task.entries:
        try:
            loaded.append(load_looks(entry, task, load=load, parameters=parameters))
        except RecordError as error:
            failures.append(_failure(error, [entry], images_root))
    if not loaded:
        return _skipped(task, parameters, failures)

    try:
        image, frame, facts = _read_image(images_root / task.image_file, parameters)
    except RecordError as error:
        return _skipped(task, parameters, [*failures, _failure(error, [looks.entry for looks in loaded], images_root)])

    gaze: list[Gaze] = []
    for looks in loaded:
        try:
            gaze.append(place_gaze(looks, frame, parameters))
        except RecordError as error:
            failures.append(_failure(error, [looks.entry], images_root))
    if not gaze:
        return _skipped(task, parameters, failures)

    read = [g for g in gaze if g.looks.entry.reading_id is not None]
    with_gaze = sum(len(g.gaussians) > 0 for g in read)
    fixations = np.concatenate(
        [np.zeros((0, len(FIXATION_FIELDS))), *(fixation_rows(g, i, max(with_gaze, 1)) for i, g in enumerate(read))]
    )
    try:
        maps, factor = stored_maps(
            fixations[:, :9],
            frame,
            image_size=parameters.image_size,
            grid=parameters.grid,
            heatmap_size=parameters.heatmap_size,
        )
    except RecordError as error:
        return _skipped(task, parameters, [*failures, _failure(error, [g.looks.entry for g in gaze], images_root)])
    info = _info(task, parameters) | {
        "reading_ids": [g.looks.entry.reading_id for g in read],
        "status": "ok",
        "reason": None,
        "view": _first(entry.view for entry in task.entries) or facts.get("ViewPosition"),
        "width": frame.width,
        "height": frame.height,
        "n_readings": with_gaze,
        "n_fixations": len(fixations),
        "off_image_share": off_image_share(read, frame),
        "dwell_s": dwell(read),
        "heatmap_factor": factor,
        "image": plain(facts),
        "counts": dict(sorted(_counts(read).items())),
        "warnings": [warning for g in read for warning in _warnings(g)],
        "failures": failures,
    }
    # in the stored types already here: many processes make rows, and one writes them
    specs = array_specs(parameters.image_size, parameters.grid, parameters.heatmap_size)
    made: dict[str, NDArray[Any]] = {"image": image, "frame": frame.to_array(), **maps}
    arrays = {name: array.astype(specs[name].dtype) for name, array in made.items()}
    return Row(info, arrays, fixations, tuple(_describe(g, frame, task.window) for g in read))


def _read_image(path: Path, parameters: Parameters) -> tuple[NDArray[np.uint8], ImageFrame, dict[str, Any]]:
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = 0  # what opens it says what is wrong with it
    return _stored_image(path, changed, parameters.windowing, parameters.image_size)


@functools.lru_cache(maxsize=1)
def _stored_image(
    path: Path, changed: int, windowing: str, size: int
) -> tuple[NDArray[np.uint8], ImageFrame, dict[str, Any]]:
    """The image in its square; kept until the next one, since the sentences of a reading follow each other."""
    from gazekit.image import fit_image, load_image

    loaded = load_image(path, windowing=windowing)
    fitted, frame = fit_image(loaded.pixels, size)
    return np.rint(fitted * 255).astype(np.uint8), frame, dict(loaded.facts)


def stored_maps(
    gaussians: NDArray[np.float64],
    frame: ImageFrame,
    *,
    image_size: int,
    grid: tuple[int, int],
    heatmap_size: int,
) -> tuple[dict[str, NDArray[Any]], float | None]:
    """Relevance and heatmap over the stored square, and the factor from the heatmap to shares of gaze.

    Parameters
    ----------
    gaussians : (F, 9) float64
        Original pixels, with a mass of 1 inside the image; (0, 9) without gaze.
    frame : ImageFrame
    image_size, grid, heatmap_size : as in `gazekit.plan.Parameters`

    Returns
    -------
    dict, float or None
        ``relevance`` and, unless `heatmap_size` is 0, ``heatmap``.
    """
    from gazekit.prior import density, patch_mass

    square = frame.original_box((-0.5, -0.5, image_size - 0.5, image_size - 0.5))
    shape_out = (heatmap_size, heatmap_size)
    if len(gaussians) == 0:
        maps: dict[str, NDArray[Any]] = {"relevance": np.zeros(grid)}
        return maps | ({"heatmap": np.zeros(shape_out)} if heatmap_size else {}), None
    maps = {"relevance": patch_mass(gaussians, *PatchGrid(*grid).edges(square))}
    if not heatmap_size:
        return maps, None
    shape = frame.height, frame.width
    heatmap = density(gaussians, shape, out_shape=shape_out, crop=square, normalize=None)
    factor = float(heatmap.max())
    maps["heatmap"] = heatmap / np.float32(factor)
    return maps, factor


def _info(task: RowTask, parameters: Parameters) -> dict[str, Any]:
    return {
        "id": task.id,
        "image_id": task.image_id,
        "reading_ids": [e.reading_id for e in task.entries if e.reading_id is not None],
        "patient_id": _first(entry.patient_id for entry in task.entries),
        "dataset": parameters.dataset,
        "view": _first(entry.view for entry in task.entries),
        "split": _first(entry.split for entry in task.entries),
        "image_bytes": task.image_bytes,
    }


def _skipped(task: RowTask, parameters: Parameters, failures: list[dict[str, Any]]) -> Row:
    reason = failures[-1]["reason"]  # the image's, where the image is what failed
    return Row(_info(task, parameters) | {"status": "skipped", "reason": reason, "failures": failures})


def _failure(error: RecordError, entries: Sequence[Entry], images_root: Path | None = None) -> dict[str, Any]:
    """A skipped reading, or image with all its readings; without any path of the user's machine."""
    message = str(error) if images_root is None else str(error).replace(f"{images_root}/", "")
    return {
        "reading_ids": [e.reading_id for e in entries if e.reading_id is not None],
        "reason": error.reason,
        "message": _without_folders(message),
    }


def _without_folders(text: str) -> str:
    """One line, in which an absolute path is cut to its last part: a cache says nothing of the machine it came from."""
    return _ABSOLUTE_PATH.sub("", " ".join(text.split()))


def _counts(gaze: Iterable[Gaze]) -> Counter[str]:
    """What was dropped, clipped or replaced while the readings were read, by reason."""
    return sum((g.looks.counts for g in gaze), Counter())


def _warnings(gaze: Gaze) -> list[str]:
    reading = gaze.looks.reading
    return [] if reading is None else [_without_folders(warning) for warning in reading.warnings]


def _describe(gaze: Gaze, frame: ImageFrame, window: Window | None) -> dict[str, Any]:
    """One line of ``readings.jsonl``; null where the source has nothing."""
    entry, reading = gaze.looks.entry, gaze.looks.reading
    described: dict[str, Any] = {
        "reading_id": entry.reading_id,
        "reader_id": None,
        "dataset": None,
        "phase": entry.phase,
        "patient_id": entry.patient_id,
        "split": entry.split,
        "n_fixations": len(gaze.gaussians),
        "dwell_s": dwell([gaze]),
        "off_image_share": off_image_share([gaze], frame),
        "mass_share": gaze.mass_share,
        "window": None if window is None else dataclasses.asdict(window),
        "transcript": None,
        "boxes": None,
        "ellipses": None,
        "labels": None,
        "flags": {"discarded": entry.discarded, "counts": dict(_counts([gaze])), "warnings": _warnings(gaze)},
    }
    if reading is not None:
        described |= {
            "reader_id": reading.reader_id,
            "dataset": reading.dataset,
            "transcript": _records(reading.transcript),
            "boxes": _records(reading.boxes),
            "ellipses": _records(reading.ellipses),
            "labels": dict(reading.labels),
        }
    cleaned: dict[str, Any] = plain(described)
    return cleaned


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    return (
        None
        if table is None
        else [dict(zip(table.columns, values, strict=True)) for values in table.itertuples(index=False, name=None)]
    )


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def plain(value: Any) -> Any:
    """`value` as JSON holds it: Python scalars, lists and dicts; None for a number that is not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    raise TypeError(f"cannot store a {type(value).__name__} in a cache")
