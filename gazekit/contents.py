"""What is in a cache, in numbers: the table that ``gazekit inspect`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from gazekit.cache import PriorCache
from gazekit.cache_files import MEASURED, PREDICTED
from gazekit.shards import FORMAT_VERSION

_QUARTILES = (0.25, 0.5, 0.75)


def contents(cache: PriorCache) -> dict[str, Any]:
    """Describe a cache.

    Parameters
    ----------
    cache : PriorCache

    Returns
    -------
    dict
        Figures and small dicts, all of which JSON can hold: identity, parameters, counts, gaze statistics
        (quartiles over the rows with measured gaze), how the images were decoded, what was skipped.
    """
    rows = cache.rows
    measured, predicted = (
        [row for row, of in zip(rows, cache.gaze_kinds, strict=True) if of == kind] for kind in (MEASURED, PREDICTED)
    )
    return {
        "cache": str(cache.path),
        "format_version": FORMAT_VERSION,
        "fingerprint": cache.fingerprint,
        **cache.parameters,
        "rows": len(rows),
        "images": len({row["image_id"] for row in rows}),
        "readings": sum(row["n_readings"] for row in rows),
        "patients": len({row["patient_id"] for row in rows if row["patient_id"] is not None}),
        "rows_with_gaze": len(measured) + len(predicted),
        "gaze_of_rows": _counts(kind or "none" for kind in cache.gaze_kinds),
        "confidence_of_predicted": _quartiles(row["confidence"] for row in predicted),
        "images_by_readings": _counts(row["n_readings"] for row in rows),
        "fixations": int(cache.offsets[-1]),
        "fixations_per_row": _quartiles(row["n_fixations"] for row in measured),
        "dwell_s_per_row": _quartiles(row["dwell_s"] for row in measured),
        "off_image_share": _quartiles(row["off_image_share"] for row in measured),
        "original_size": _sizes(cache),
        "view": _counts(row["view"] for row in rows),
        "decoder": _counts(row["image"].get("decoder") for row in rows),
        "voi": _counts(row["image"].get("voi") for row in rows),
        "image_flags": _counts(flag for row in rows for flag in row["image"].get("flags", ())),
        "inverted": sum(bool(row["image"].get("inverted")) for row in rows),
        "skipped": _counts(failure["reason"] for failure in cache.failures),
        "megabytes": round(sum(f.stat().st_size for f in cache.path.rglob("*") if f.is_file()) / 1e6, 3),
    }


def splits(cache: PriorCache) -> list[dict[str, Any]]:
    """One row a split: images, patients, readings, fixations, gaze time and what was skipped."""
    names = sorted({row["split"] for row in cache.rows}, key=lambda name: (name is None, name))
    table = []
    for name in names:
        rows = [row for row in cache.rows if row["split"] == name]
        table.append(
            {
                "split": name or "none",
                "rows": len(rows),
                "patients": len({row["patient_id"] for row in rows if row["patient_id"] is not None}),
                "readings": sum(row["n_readings"] for row in rows),
                "fixations": sum(row["n_fixations"] for row in rows),
                "dwell_s": round(sum(row["dwell_s"] for row in rows), 3),
            }
        )
    return table


def _counts(values: Iterable[Any]) -> dict[str, int]:
    counted = Counter("unknown" if value is None else str(value) for value in values)
    return dict(sorted(counted.items()))


def _quartiles(values: Iterable[float]) -> dict[str, float]:
    array = np.array(list(values), np.float64)
    if not len(array):
        return {}
    return {f"q{round(100 * q)}": round(float(np.quantile(array, q)), 4) for q in _QUARTILES}


def _sizes(cache: PriorCache) -> dict[str, str]:
    if not len(cache):
        return {}
    width, height = cache.frames[:, 4].astype(int), cache.frames[:, 5].astype(int)
    return {"from": f"{width.min()} x {height.min()}", "to": f"{width.max()} x {height.max()}"}
