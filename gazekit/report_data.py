"""What a page of the report shows, as JSON can hold it: images, readings of them, agreement, quality flags.

Gaze travels as the Gaussians themselves, so that the page draws heat at any moment, of any reader, in share or seconds.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.cache_files import MEASURED, PREDICTED, gaze_kind
from gazekit.errors import RecordError
from gazekit.geometry import PatchGrid
from gazekit.prior import Prior, density, patch_mass, total_mass
from gazekit.relevance import partition
from gazekit.render import OTSU_SIDE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gazekit.cache import PriorCache, Record
    from gazekit.geometry import ImageFrame
    from gazekit.quality import Quality

    Floats = NDArray[np.float64]

GAZE_FIELDS = ("x", "y", "sigma_x", "sigma_y", "share", "x0", "y0", "x1", "y1", "onset_s", "offset_s")
"""Columns of a reading's gaze in the page, float32: a Gaussian in original pixels, its share of the reading's gaze on
the image, the range of pixels that was on the screen, and its time."""

MAX_LOOKS = 2000
"""More than this in one reading, as raw samples are, and neighbours in time are drawn as one Gaussian."""

AGREEMENT_SIDE = 128
"""Cells on the longer side of the maps that readers are compared by."""

JPEG_QUALITY = 90


def image_data(cache: PriorCache, rows: Sequence[int], first: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One image and its readings.

    Parameters
    ----------
    cache : PriorCache
    rows : sequence of int
        The rows of one image: one, or one a reading or a sentence.
    first : int
        Place of the first of these readings on the page.

    Returns
    -------
    image : dict
        ``readings`` are the places of its readings on the page; ``together`` and ``agreement`` are None unless there
        are several whole readings with gaze.
    readings : list of dict
        At least one: an image that nobody read has one without gaze.
    """
    records = [cache[i] for i in rows]
    found = [part for record in records for part in _parts(record, cache.parameters)]
    head = records[0]
    frame, info = head.frame, head.info
    whole = cache.parameters.get("window", "whole") == "whole"
    read = [prior for prior, reading in found if prior is not None and reading["kind"] == MEASURED]
    image = {
        "id": str(info["image_id"]),
        "src": _data_uri(head.image),
        "stored": cache.image_size,
        "frame": [frame.scale_x, frame.scale_y, frame.offset_x, frame.offset_y],
        "width": frame.width,
        "height": frame.height,
        "patient": info.get("patient_id"),
        "split": info.get("split"),
        "view": info.get("view"),
        "readings": list(range(first, first + len(found))),
        "together": _patches(read, frame, cache) if whole and len(read) > 1 else None,
        "agreement": _agreement(read) if whole and len(read) > 1 else None,
    }
    return image, [
        reading | {"patches": None if prior is None else _patches([prior], frame, cache)} for prior, reading in found
    ]


def shown_by_image(parameters: dict[str, Any]) -> bool:
    """Whether a row of the cache is an image, whose readings go by their own ids, not by the row's."""
    return bool(parameters.get("per", "image") == "image" and parameters.get("window", "whole") == "whole")


def _parts(record: Record, parameters: dict[str, Any]) -> Iterator[tuple[Prior | None, dict[str, Any]]]:
    """The readings of a row, each with its own prior, None without gaze."""
    lines = record.readings
    for place in range(max(1, len(lines), int(record.reading_index.max(initial=-1)) + 1)):
        line = lines[place] if place < len(lines) else {}
        own = record.reading_index == place
        reading = _describe(record, line, parameters)
        if not own.any():
            yield None, reading | {"kind": None, "gaze": "", "looks": 0, "seconds": 0.0}
            continue
        prior = Prior(record.gaussians[own], (record.frame.height, record.frame.width))
        onset, offset = record.onset_s[own], record.offset_s[own]
        timed = bool((offset > onset).any())
        inside = line.get("mass_share")
        seconds = line.get("dwell_s") or float((offset - onset).sum())
        table = np.column_stack([prior.gaussians, onset, offset])
        table[:, 4] /= total_mass(prior.gaussians, prior.image_shape)
        drawn = merge_neighbours(table, MAX_LOOKS)
        samples = parameters.get("gaze") == "samples"
        measured = gaze_kind(record.info) == MEASURED and timed and not samples
        if measured and parameters.get("window", "whole") == "whole":
            quality = _quality(table, reading, prior.image_shape)
            reading["flags"] += [] if quality is None else list(zip(quality.flags, quality.reasons, strict=True))
        yield (
            prior,
            reading
            | {
                "kind": gaze_kind(record.info),
                "samples": samples,
                "timed": timed,
                "looks": len(table),
                "gaze": _floats(drawn),
                "seconds": seconds,
                "seconds_on_image": seconds * (1.0 if inside is None else inside),
                "off_image": line.get("off_image_share"),
            },
        )


def _describe(record: Record, line: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """What is said of a reading beside its gaze."""
    info = record.info
    by_image = shown_by_image(parameters)
    flags = line.get("flags") or {}
    noted = [("warning", str(text)) for text in flags.get("warnings") or ()]
    if flags.get("discarded"):
        noted.append(("discarded", "the gaze was discarded by the data set's authors"))
    noted += [("image", f"image: {name}") for name in info["image"].get("flags", ())]
    return {
        "id": (line.get("reading_id") if by_image else None) or record.id,
        "reader": line.get("reader_id"),
        "phase": line.get("phase"),
        "confidence": info.get("confidence") if gaze_kind(info) == PREDICTED else None,
        "window": line.get("window"),
        "transcript": [
            [str(word["word"]), word["onset_s"], word["offset_s"]]
            for word in line.get("transcript") or ()
            if word["onset_s"] is not None and word["offset_s"] is not None
        ],
        "marks": [*_marks("box", line.get("boxes")), *_marks("ellipse", line.get("ellipses"))],
        "labels": line.get("labels") or {},
        "counts": flags.get("counts") or {},
        "flags": noted,
    }


def _marks(shape: str, marks: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    for mark in marks or ():
        box = [mark[name] for name in ("xmin_px", "ymin_px", "xmax_px", "ymax_px")]
        if all(value is not None for value in box):
            names = mark.get("labels") or [mark.get("name") or shape]
            yield {"shape": shape, "box": box, "names": [str(n) for n in names], "certainty": mark.get("certainty")}


def merge_neighbours(table: Floats, most: int) -> Floats:
    """At most `most` Gaussians in place of many: neighbours in time become one of the same mass, mean and variance.

    Parameters
    ----------
    table : (F, 11) float64, columns `GAZE_FIELDS`
    most : int

    Returns
    -------
    (G, 11) float64
        `table` itself where it is short enough; a merged row was seen through the first one's range of pixels.
    """
    if len(table) <= most:
        return table
    order = np.argsort(table[:, 9], kind="stable")
    table = table[order]
    starts = np.arange(0, len(table), -(-len(table) // most))
    sizes = np.diff(np.append(starts, len(table)))
    mass = np.add.reduceat(table[:, 4], starts)
    # a group without mass has the plain mean
    weight = np.where(np.repeat(mass, sizes) > 0, table[:, 4], 1.0)
    total = np.add.reduceat(weight, starts)
    merged = table[starts]
    merged[:, 4] = mass
    for at, spread in ((0, 2), (1, 3)):
        centre = np.add.reduceat(weight * table[:, at], starts) / total
        scatter = table[:, spread] ** 2 + (table[:, at] - np.repeat(centre, sizes)) ** 2
        merged[:, at] = centre
        merged[:, spread] = np.sqrt(np.add.reduceat(weight * scatter, starts) / total)
    merged[:, 10] = np.maximum.reduceat(table[:, 10], starts)
    return merged


def _quality(table: Floats, reading: dict[str, Any], image_shape: tuple[int, int]) -> Quality | None:
    """Figures and flags of the fixations; None where they cannot be measured."""
    import pandas as pd

    from gazekit.quality import reading_quality
    from gazekit.reading import POSITION, TIMES, Reading

    fixations = pd.DataFrame(table[:, [0, 1, 9, 10]], columns=[*POSITION, *TIMES])
    try:
        return reading_quality(Reading(reading["id"], "", image_shape, fixations))
    except RecordError:
        return None


def _patches(priors: Sequence[Prior], frame: ImageFrame, cache: PriorCache) -> dict[str, Any] | None:
    """Mean relevance of priors on the grid over the stored square, and Otsu's partition as in ``gazekit render``."""
    square = frame.original_box((-0.5, -0.5, cache.image_size - 0.5, cache.image_size - 0.5))
    edges = PatchGrid(*cache.grid).edges(square)
    relevance, dense = np.zeros(cache.grid), np.zeros((OTSU_SIDE, OTSU_SIDE))
    try:
        for prior in priors:
            relevance += patch_mass(prior.gaussians, *edges) / total_mass(prior.gaussians, prior.image_shape)
            dense += density(prior.gaussians, prior.image_shape, out_shape=dense.shape, crop=square)
        relevant = partition(dense, cache.grid)
    except RecordError:
        return None
    return {
        "relevance": _floats(relevance / len(priors)),
        "relevant": "".join("1" if chosen else "0" for chosen in relevant.ravel().tolist()),
    }


def _agreement(priors: Sequence[Prior]) -> dict[str, Any] | None:
    """Agreement by pairs and of each reader with the others; None where a reader has no gaze on the image."""
    from gazekit.metrics.agreement import reader_agreement
    from gazekit.metrics.cached_gaze import map_shape

    try:
        found = reader_agreement(priors, out_shape=map_shape(priors[0].image_shape, AGREEMENT_SIDE))
    except RecordError:
        return None
    return {name: np.round(getattr(found, name), 4).tolist() for name in ("cc", "sim", "nss", "auc_judd")}


def _floats(values: ArrayLike) -> str:
    """Numbers as base64 of little-endian float32, row by row."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def _data_uri(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
