"""``manifest.parquet`` and ``failures.csv``: derived from the shards, at any time, for people and other tools."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gazekit.cache_files import gaze_kind, read_shard_file, row_failures
from gazekit.shards import FAILURES_FILE, MANIFEST_FILE, SHARDS, replacing

FAILURE_COLUMNS = ("id", "image_id", "reading_ids", "reason", "message")


def write_manifest(root: Path, shards: Sequence[str]) -> None:
    """Write both files from the shards named, reading one shard at a time.

    The manifest has one row a planned row of the cache, skipped ones included, in the order of their ids; the list
    of failures one line a skipped image or reading.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema()
    with (
        replacing(root / MANIFEST_FILE) as manifest_file,
        replacing(root / FAILURES_FILE) as failures_file,
        parquet.ParquetWriter(manifest_file, schema) as manifest,
    ):
        text = io.TextIOWrapper(failures_file, encoding="utf-8", newline="", write_through=True)
        failures = csv.DictWriter(text, FAILURE_COLUMNS, lineterminator="\n")
        failures.writeheader()
        for name in shards:
            rows = read_shard_file(root / SHARDS / name)["rows"]
            lines = [_manifest_row(name, row) for row in rows]
            manifest.write_table(pa.Table.from_pylist(lines, schema=schema))
            for failure in _failures(rows):
                failures.writerow(failure)
        text.detach()


def _failures(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for failure in row_failures(row):
            yield failure | {"reading_ids": " ".join(failure["reading_ids"])}


def _manifest_row(shard: str, row: dict[str, Any]) -> dict[str, Any]:
    facts = row.get("image", {})
    return row | {
        "shard": shard,
        "gaze": gaze_kind(row),
        "image_bytes": None if row["image_bytes"] < 0 else row["image_bytes"],
        "decoder": facts.get("decoder"),
        "voi": facts.get("voi"),
        "inverted": facts.get("inverted"),
        "flags": facts.get("flags"),
        "failed_readings": [i for failure in row["failures"] for i in failure["reading_ids"]],
    }


def _schema() -> Any:
    import pyarrow as pa

    text, texts, number = pa.string(), pa.list_(pa.string()), pa.float64()
    return pa.schema(
        [
            ("id", text),
            ("image_id", text),
            ("reading_ids", texts),
            ("patient_id", text),
            ("dataset", text),
            ("view", text),
            ("shard", text),
            ("row", pa.int64()),
            ("status", text),
            ("reason", text),
            ("split", text),
            ("gaze", text),
            ("confidence", number),
            ("n_readings", pa.int64()),
            ("n_fixations", pa.int64()),
            ("off_image_share", number),
            ("dwell_s", number),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("image_bytes", pa.int64()),
            ("decoder", text),
            ("voi", text),
            ("inverted", pa.bool_()),
            ("flags", texts),
            ("failed_readings", texts),
            ("heatmap_factor", number),
        ]
    )
