"""``gazekit compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gazekit_cli.console import progress
from gazekit_cli.scores_summary import show_scores

SHOWN = ("readings", "nss", "auc_judd", "sauc", "cc", "sim", "kl", "ig_uniform_bits", "scanmatch")
"""Scores of each image that fit on a terminal; ``--json`` has them all."""


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="The cache, or folder of saliency maps, to score.", show_default=False)
    ],
    second: Annotated[
        Path | None,
        typer.Argument(
            metavar="[B]", help="What to score it against; without it, the readers within A.", show_default=False
        ),
    ] = None,
    map_size: Annotated[int, typer.Option(help="Longer side of the compared maps, in cells.")] = 256,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first image that cannot be compared.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Compare gaze image by image: saliency metrics of A's maps at B's fixations, the maps themselves, and scanpaths.

    A and B are caches or folders of saliency maps (`<image id>.npy` or a grey `.png`, over the whole image, of any
    size), joined by image id. With A alone, the readings of each of its images are compared with each other: pairs for
    cc, sim, kl and scanpaths, each reading with the mean of the others for nss and auc_judd. An image that cannot be
    compared is listed and left out (exit 1).

    Examples:

    ```
    gazekit compare out/predicted out/recorded --json
    gazekit compare saliency_maps/ out/recorded
    gazekit compare out/recorded
    ```
    """
    from gazekit.cache import open_cache
    from gazekit.metrics.compare import common_images, compare_sides
    from gazekit.metrics.readers import compare_readers, several_readings
    from gazekit.sources.saliency_maps import open_cache_or_maps

    if second is None:
        cache = open_cache(first)
        with progress("comparing", len(several_readings(cache)), "images") as advance:
            found = compare_readers(cache, map_size=map_size, strict=strict, on_image=advance)
    else:
        sides = open_cache_or_maps(first), open_cache_or_maps(second)
        with progress("comparing", len(common_images(*sides)), "images") as advance:
            found = compare_sides(*sides, map_size=map_size, strict=strict, on_image=advance)
    values: dict[str, Any] = {"images": len(found.scores), "skipped": len(found.skipped), **found.counts}
    rows = [{"image_id": image_id, **scores} for image_id, scores in found.scores.items()]
    show_scores(
        values,
        rows,
        mean=found.mean,
        skipped=found.skipped,
        title="compare",
        as_json=as_json,
        shown=("image_id", *SHOWN),
    )
