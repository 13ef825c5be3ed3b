"""``gazekit lesions``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gazekit_cli.console import progress
from gazekit_cli.scores_summary import show_scores


def lesions(
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="The cache.", show_default=False)],
    regions: Annotated[str, typer.Option(help="Annotations to take: ellipses or boxes.")] = "ellipses",
    map_size: Annotated[int, typer.Option(help="Side of the grid on which maps are compared, in cells.")] = 128,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first reading that cannot be scored.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Measure gaze on marked lesions: dwell share, time to the first fixation, and NCC beside the average location.

    Example:

    ```
    gazekit lesions out/cache --json
    ```
    """
    from gazekit.cache import open_cache
    from gazekit.metrics.cached_gaze import rows_by_image
    from gazekit.metrics.lesion_statistics import lesion_statistics

    opened = open_cache(cache)
    with progress("measuring", len(rows_by_image(opened)), "images") as advance:
        found = lesion_statistics(opened, regions=regions, map_size=map_size, strict=strict, on_image=advance)
    values: dict[str, Any] = {
        "readings": len(found.scores),
        "skipped": len(found.skipped),
        "without_regions": found.without_regions,
    }
    rows = [{"reading_id": reading_id, **scores} for reading_id, scores in found.scores.items()]
    show_scores(values, rows, mean=found.mean, skipped=found.skipped, title="lesions", as_json=as_json)
