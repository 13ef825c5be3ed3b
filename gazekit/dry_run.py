"""What a build would do, said without doing it: nothing is written, no image is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazekit.build import check_directory, check_plan
from gazekit.cache_files import finished_shard
from gazekit.plan import plan_cache
from gazekit.shards import HEADER_FILE

if TYPE_CHECKING:
    from gazekit.reading import Readings


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is known of a build before it begins.

    Attributes
    ----------
    rows, readings : int
        Rows of the cache, and readings with gaze that stand behind them.
    missing_images : int
        Rows that will be skipped because no image file was found.
    image_gigabytes : float
        Size of the image files to be read, 10^9 bytes.
    shards, shards_done : int
        Pieces of the cache, and how many of them are finished already.
    rows_to_build : int
        Rows of the other shards.
    """

    rows: int
    readings: int
    missing_images: int
    image_gigabytes: float
    shards: int
    shards_done: int
    rows_to_build: int


def forecast_build(readings: Readings, images_root: str | Path, out: str | Path, **parameters: Any) -> Forecast:
    """Plan a build and compare it with what is there.

    Parameters
    ----------
    readings, images_root, out
        As of `gazekit.build.build_heatmaps`.
    **parameters
        As of `gazekit.plan.plan_cache`.

    Raises
    ------
    InputError, CacheError
        What the build itself would refuse.
    """
    plan = plan_cache(readings, Path(images_root), **parameters)
    root = Path(out)
    check_directory(root)
    if (root / HEADER_FILE).exists():
        check_plan(plan, root)
    todo = [k for k in range(plan.n_shards) if finished_shard(root, k, plan.fingerprint) is None]
    return Forecast(
        rows=len(plan.tasks),
        readings=sum(entry.reading_id is not None for task in plan.tasks for entry in task.entries),
        missing_images=sum(task.image_file is None for task in plan.tasks),
        image_gigabytes=sum(max(task.image_bytes, 0) for task in plan.tasks) / 1e9,
        shards=plan.n_shards,
        shards_done=plan.n_shards - len(todo),
        rows_to_build=sum(len(plan.shard(k)) for k in todo),
    )
