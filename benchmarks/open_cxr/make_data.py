"""The data of the open chest X-ray benchmark: one cache of all images, and the labels of two tasks.

    python benchmarks/open_cxr/make_data.py INDEX OUT [--limit N]

INDEX is a CSV with columns ``path`` (relative to its folder or the one above), ``source`` (``kermany`` or ``nih``),
``patient`` and ``label`` (``normal`` or ``pneumonia``). OUT gets

    cache/                        every image, without gaze and without labels
    labels/kermany/labels.csv     pneumonia; patients split 70/10/20 by a hash of their ids
    labels/nih_0 ... nih_4/       pneumonia; five folds by patient: a fold is tested, an eighth of the rest validates

No patient is in two parts.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Iterable
from pathlib import Path

from gazekit.build import build_heatmaps
from gazekit.sources.images import list_images
from vpmim.checkpoint import write_file
from vpmim.datasets.labelled import OWN_SHARES, split_patients

sys.path.append(str(Path(__file__).resolve().parent.parent))  # benchmarks/, for evidence.py
from evidence import CACHE, data_options, read_index

FOLDS = 5
KERMANY = "kermany"
SOURCES = (KERMANY, "nih")
LABELS = ("normal", "pneumonia")
NIH = tuple(f"nih_{fold}" for fold in range(FOLDS))


def main() -> None:
    """Write what is not there yet."""
    parser = data_options(__doc__)
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    rows, root = read_index(arguments.index, arguments.limit)
    check_rows(rows, arguments.index)
    for source in SOURCES:
        own = [row for row in rows if row["source"] == source]
        patients = [row["patient"] for row in own]
        if source == KERMANY:
            write_labels(arguments.out / "labels" / KERMANY, own, split_patients(patients, OWN_SHARES))
        else:
            for fold, name in enumerate(NIH):
                write_labels(arguments.out / "labels" / name, own, fold_parts(patients, fold))
    summary = build_heatmaps(
        list_images({image_id(row["path"]): row["path"] for row in rows}),
        root,
        arguments.out / "cache",
        workers=arguments.workers,
        **CACHE,
    )
    print(f"{summary.images} images in {summary.seconds:.0f} s, {len(summary.failures)} could not be read")


def check_rows(rows: list[dict[str, str]], index: Path) -> None:
    """End with one line where the index cannot be what this benchmark needs."""
    ids: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        for column, known in (("source", SOURCES), ("label", LABELS)):
            if row.get(column) not in known:
                sys.exit(
                    f"{index}, line {line}, column {column!r}: expected {' or '.join(known)}, got {row.get(column)!r}"
                )
        if (first := ids.setdefault(image_id(row["path"]), line)) != line:
            sys.exit(f"{index}, line {line}: {row['path']} has the id of line {first}; rename one of the files")
    for source in SOURCES:
        patients = {row["patient"] for row in rows if row["source"] == source}
        if len(patients) < 10 * FOLDS:
            sys.exit(f"{index}: {len(patients)} patients of {source} are too few to be dealt into parts")


def image_id(path: str) -> str:
    """A path as an id: dots for slashes, without the ending."""
    return path.rsplit(".", 1)[0].replace("/", ".")


def fold_parts(patients: list[str], fold: int) -> list[str]:
    """Part of each image when a fold is tested: patients are dealt out by a hash of their ids."""
    order = {patient: _place(patient) for patient in patients}
    dealt = {patient: place % FOLDS for place, patient in enumerate(sorted(order, key=lambda name: order[name]))}
    rest = sorted(
        (patient for patient in order if dealt[patient] != fold), key=lambda name: _place(f"val {fold} {name}")
    )
    validating = set(rest[: len(rest) // 8])
    return ["test" if dealt[p] == fold else "val" if p in validating else "train" for p in patients]


def write_labels(folder: Path, rows: list[dict[str, str]], parts: Iterable[str]) -> None:
    """``labels.csv`` as `vpmim.datasets.folder` reads it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "patient_id", "pneumonia", "split"])
    for row, part in zip(rows, parts, strict=True):
        table.writerow([row["path"], row["patient"], int(row["label"] == "pneumonia"), part])
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "labels.csv", text.getvalue())


def _place(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


if __name__ == "__main__":
    main()
