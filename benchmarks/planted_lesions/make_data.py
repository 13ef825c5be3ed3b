"""The data of the planted-lesion benchmark: images with and without lesions, their labels, and one cache a prior.

    python benchmarks/planted_lesions/make_data.py INDEX OUT [--limit N] [--conditions gaze,oracle] [--workers 2]

INDEX is a CSV of chest X-rays with columns ``path`` (relative to its folder or the one above) and ``patient``. OUT
gets

    labelled/labels.csv, labelled/*.png     path, patient_id, lesion, nodule, opacity, edge, split
    caches/<condition>/                     the training patients' images with the gaze of one simulated reader
    truth.csv                               id, patient, kind, box

Patients are split 70/10/20 by a hash of their ids. Only training patients are in the caches. All gaze is simulated.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scene import CONDITIONS, KINDS, Planted, draw_scene, paint, readings

from gazekit.build import build_heatmaps
from vpmim.checkpoint import write_file
from vpmim.datasets.labelled import OWN_SHARES, split_patients

sys.path.append(str(Path(__file__).resolve().parent.parent))  # benchmarks/, for evidence.py
from evidence import CACHE, data_options, read_index

SIDE = 256
"""Longer side of the images as written; the caches store them smaller."""


def main() -> None:
    """Write everything that is not there yet."""
    parser = data_options(__doc__)
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    conditions = arguments.conditions.split(",")
    if unknown := set(conditions) - set(CONDITIONS):
        parser.error(f"--conditions: expected some of {', '.join(CONDITIONS)}, got {', '.join(sorted(unknown))}")
    images, truth = plant(arguments.index, arguments.out / "labelled", limit=arguments.limit, seed=arguments.seed)
    parts = split_patients([patient for _, patient in images], OWN_SHARES)
    write_labels(arguments.out, images, truth, parts)
    train = [image for image, part in zip(images, parts, strict=True) if part == "train"]
    for condition in conditions:
        summary = build_heatmaps(
            readings(train, truth, arguments.out / "labelled", condition, arguments.seed),
            arguments.out / "labelled",
            arguments.out / "caches" / condition,
            workers=arguments.workers,
            **CACHE,
        )
        print(f"{condition}: {summary.images} images, {summary.readings} with gaze, {summary.seconds:.0f} s")


def plant(index: Path, out: Path, *, limit: int | None, seed: int) -> tuple[list[tuple[str, str]], dict[str, Planted]]:
    """Write the images that are not there; (image id, patient id) of each, and what is planted."""
    rows, root = read_index(index, limit)
    out.mkdir(parents=True, exist_ok=True)
    images, truth = [], {}
    for number, row in enumerate(rows):
        image_id = f"99{number:05d}"
        with Image.open(root / row["path"]) as opened:  # its size is known before it is decoded
            ratio = SIDE / max(opened.size)
            width, height = (round(side * ratio) for side in opened.size)
            scene = draw_scene(image_id, (height, width), seed=seed)
            truth[image_id] = scene.planted
            images.append((image_id, row["patient"]))
            if (out / f"{image_id}.png").exists():
                continue
            how = Image.Resampling.BOX if ratio < 1 else Image.Resampling.BILINEAR
            grey = opened.convert("L").resize((width, height), how)
        painted = paint(np.asarray(grey, np.float32) / 255, scene)
        content = io.BytesIO()
        Image.fromarray(np.rint(painted * 255).astype(np.uint8)).save(content, "PNG")
        write_file(out / f"{image_id}.png", content.getvalue())  # whole or not at all: what is there is trusted
    return images, truth


def write_labels(out: Path, images: list[tuple[str, str]], truth: dict[str, Planted], parts: tuple[str, ...]) -> None:
    """``labels.csv`` and ``truth.csv``. A kind's negatives are the images without a lesion; other kinds are unknown."""
    labels = [["path", "patient_id", "lesion", *KINDS, "split"]]
    boxes = [["id", "patient", "kind", "xmin", "ymin", "xmax", "ymax"]]
    for (image_id, patient), part in zip(images, parts, strict=True):
        kind, box = truth[image_id].kind, truth[image_id].box
        of_kind = [int(kind == name) if kind in (name, None) else "" for name in KINDS]
        labels.append([f"{image_id}.png", patient, int(kind is not None), *of_kind, part])
        boxes.append([image_id, patient, kind or "", *(box or ("",) * 4)])
    for path, rows in ((out / "labelled" / "labels.csv", labels), (out / "truth.csv", boxes)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_file(path, text.getvalue())  # whole or not at all: an evaluation may be reading it


if __name__ == "__main__":
    main()
