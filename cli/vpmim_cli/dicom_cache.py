"""DICOM images of a labelled data set to a cache that vpmim reads: gazekit's part in an evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gazekit_cli.console import note
from vpmim_cli.counting import counting


def convert_dicom(paths: Mapping[str, Path], size: int, *, cache: Path) -> Path:
    """Build the cache of a data set's DICOM files, or go on with the one that is there.

    Parameters
    ----------
    paths : image id -> file
    size : side of the stored square, pixels
    cache : where it is made; kept for the next evaluation

    Returns
    -------
    Path of the cache
    """
    from gazekit.build import build_heatmaps
    from gazekit.sources.images import list_images

    root = Path(os.path.commonpath([path.parent for path in paths.values()]))
    relative = {name: path.relative_to(root).as_posix() for name, path in paths.items()}
    note(f"the images are DICOM: their cache is {cache}; other evaluations take it by --cache")
    with counting("converting", "images") as advance:
        total = len(paths)
        summary = build_heatmaps(
            list_images(relative),
            root,
            cache,
            image_size=size,
            heatmap_size=0,
            on_row=lambda done: advance(done, total),
        )
    if summary.failures:
        note(f"{len(summary.failures)} of {total} images could not be converted; {cache / 'failures.csv'} says why")
    return cache
