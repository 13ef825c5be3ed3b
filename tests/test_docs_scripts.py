"""The walk-throughs in docs/ run from a fresh clone, print what they promise and draw a picture."""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image


@pytest.mark.parametrize(
    ("script", "picture", "said"),
    [
        ("explore_a_reading", "reading.png", "flags: none"),
        ("compare_two_readers", "readers.png", "AUC-Judd"),
        ("bring_your_own_tracker", "tracker.png", "30 fixations found, 30 were put in"),
    ],
)
def test_a_script_in_docs_runs_and_draws(script, picture, said, monkeypatch, capsys, tmp_path):
    mpl.use("Agg")
    monkeypatch.setenv("OUT", str(tmp_path))
    runpy.run_path(f"docs/{script}.py", run_name="__main__")
    plt.close("all")
    assert said in capsys.readouterr().out
    with Image.open(tmp_path / picture) as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    assert min(pixels.shape[:2]) > 600
    assert len(np.unique(pixels @ [65536, 256, 1])) > 1000, "X-rays in colour, not an empty sheet"


def test_each_script_is_a_notebook_that_begins_with_its_title():
    for path in sorted(Path("docs").glob("*.py")):
        lines = path.read_text().splitlines()
        assert lines[0] == "# %% [markdown]"
        assert lines[1].startswith("# # ")
        assert sum(line.startswith("# %%") for line in lines) >= 6
