"""What CONTRIBUTING says of a new gaze source is true: its code is a tracker, and one line makes it a data set."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
import toy_tracker
from cli_runner import run_gazekit
from PIL import Image

from gazekit.cache import open_cache
from gazekit.sources import SOURCES

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
SCREEN = ("--screen-px", "1920x1080", "--screen-mm", "530x300", "--distance-mm", "650")


def test_the_tracker_shown_is_the_one_that_is_tested():
    [shown] = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    functions = (toy_tracker.parse_toy, toy_tracker.read_toy)
    assert shown == "\n\n".join(inspect.getsource(function) for function in functions)


def test_one_line_makes_it_a_data_set_of_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SOURCES, "toy", toy_tracker.read_toy)
    (tmp_path / "gaze").mkdir()
    (tmp_path / "images").mkdir()
    rows = [f"99chest.png {k / 250} {300 + 500 * (k >= 100)} 400" for k in range(200)]
    (tmp_path / "gaze" / "99a.toy").write_text("\n".join(rows))
    Image.linear_gradient("L").save(tmp_path / "images" / "99chest.png")
    options = ("--images", tmp_path / "images", *SCREEN, "--json")
    built = run_gazekit(
        "build-heatmaps", tmp_path / "gaze", tmp_path / "cache", "--dataset", "toy", "--executor", "serial", *options
    )
    assert built.code == 0, built
    said = json.loads(built.stdout)
    assert (said["readings"], said["out"]) == (1, str(tmp_path / "cache"))
    assert open_cache(tmp_path / "cache").ids == ["99chest"]
    found = run_gazekit("fixations", tmp_path / "gaze", tmp_path / "fixations.csv", "--format", "toy", *options)
    assert found.code == 0, found
    assert json.loads(found.stdout)["fixations"] == 2
    measured = run_gazekit("quality", tmp_path / "gaze", "--dataset", "toy", *options)
    assert measured.code == 0, measured
