"""The table of an ablation that is not finished: only runs of equal seeds are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpmim.ablate import Cell, render, table
from vpmim.ablation_grid import Arm, Grid
from vpmim.config import load_config
from vpmim.statistics import roc_auc

CONFIG = load_config("mae")
LABELS = np.array([0, 1] * 20, float)[:, None]


def finished(folder: Path, arm: str, seed: int, quality: float) -> Cell:
    """A cell whose scores follow the labels as far as `quality` says."""
    cell = Cell(arm=arm, config=Arm(arm, CONFIG).seeded(seed), folder=folder / arm / f"seed_{seed}")
    noise = np.random.default_rng(seed).standard_normal(LABELS.shape)  # the seed's own, alike in every arm
    (cell.folder / "eval").mkdir(parents=True)
    np.savez(
        cell.folder / "eval" / "scores.npz",
        ids=np.arange(40).astype(str),
        patients=np.arange(40).astype(str),
        classes=np.array(["lesion"]),
        labels=LABELS,
        scores_encoder=(quality * LABELS + noise)[None],
    )
    return cell


def auc(quality: float, seed: int) -> float:
    noise = np.random.default_rng(seed).standard_normal(LABELS.shape)
    return roc_auc(LABELS[:, 0], (quality * LABELS + noise)[:, 0])


def test_an_arm_with_fewer_seeds_is_compared_with_the_baseline_over_those(tmp_path):
    grid = Grid("g", tuple(Arm(name, CONFIG) for name in ("first", "all", "some", "none")), (0, 1, 2))
    cells = [
        *(finished(tmp_path, "first", seed, 1.0) for seed in (0, 1, 2)),
        *(finished(tmp_path, "all", seed, 1.5) for seed in (0, 1, 2)),
        finished(tmp_path, "some", 1, 2.0),
    ]
    rows = {row["arm"]: row for row in table(grid, cells, draws=50)}
    assert list(rows) == ["first", "all", "some"]
    assert {name: row["seeds"] for name, row in rows.items()} == {"first": 3, "all": 3, "some": 1}
    assert rows["first"]["auc"] == pytest.approx(np.mean([auc(1.0, seed) for seed in (0, 1, 2)]))
    assert rows["all"]["difference"] == pytest.approx(rows["all"]["auc"] - rows["first"]["auc"])
    assert rows["some"]["auc"] == pytest.approx(auc(2.0, 1))
    assert rows["some"]["difference"] == pytest.approx(auc(2.0, 1) - auc(1.0, 1))
    assert "over the seeds that both have" in render(list(rows.values()))
    assert "over the seeds that both have" not in render([rows["first"], rows["all"]])
    assert abs(rows["some"]["difference"] - (rows["some"]["auc"] - rows["first"]["auc"])) > 1e-3
