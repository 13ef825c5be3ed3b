"""From ``gazekit simulate`` to a cache by the two commands that a user types, for EyeLink and Tobii."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run_gazekit

import gazekit
from gazekit.simulate import ReaderParameters, simulate_eyelink, simulate_tobii

SMALL = ("--image-size", "32", "--grid", "4", "--heatmap-size", "0", "--executor", "serial", "--json")


@pytest.mark.parametrize("dataset", ["eyelink", "tobii"])
def test_two_commands_lead_from_nothing_to_a_cache(tmp_path: Path, dataset: str) -> None:
    root = tmp_path / "sim"
    written = run_gazekit(
        "simulate", root, "--dataset", dataset, "--readings", 2, "--readers", 2, "--duration", 1.5, "--json"
    )
    assert written.code == 0, written
    # an EyeLink file tells its degrees itself
    spec = () if dataset == "eyelink" else ("--spec", root / "screen.toml")
    arguments = (root / dataset, tmp_path / "cache", "--dataset", dataset, "--images", root / "images", *spec)
    built = run_gazekit("build-heatmaps", *arguments, *SMALL)
    assert built.code == 0, built
    summary = json.loads(built.stdout)
    assert (summary["images"], summary["readings"], summary["failures"]) == (1, 2, [])
    assert gazekit.open_cache(tmp_path / "cache").ids[0].startswith("99")


def test_both_trackers_see_the_same_simulated_gaze(tmp_path: Path) -> None:
    quick = ReaderParameters(duration_s=1.5)
    simulate_eyelink(tmp_path / "e", readings=2, readers=2, seed=3, parameters=quick)
    simulate_tobii(tmp_path / "t", readings=2, readers=2, seed=3, parameters=quick)
    eyelink = gazekit.read_eyelink(tmp_path / "e" / "eyelink", images=tmp_path / "e" / "images")
    tobii = gazekit.read_tobii(
        tmp_path / "t" / "tobii", images=tmp_path / "t" / "images", spec=tmp_path / "t" / "screen.toml"
    )
    for a, b in zip(eyelink, tobii, strict=True):
        assert (a.reading_id, a.image_id, len(a.fixations)) == (b.reading_id, b.image_id, len(b.fixations))
        # 250 Hz beside 1000 Hz; the eyes stand 6 screen pixels apart, and Studio's fixations are the mean of both
        np.testing.assert_allclose(a.fixations["onset_s"], b.fixations["onset_s"], atol=0.0081)
        np.testing.assert_allclose(a.fixations[["x_px", "y_px"]], b.fixations[["x_px", "y_px"]], atol=5.0)
        # the mean resolution of a recording beside that of each place
        np.testing.assert_allclose(a.fixations["px_per_deg_x"], b.fixations["px_per_deg_x"], rtol=0.1)
