"""Who may import whom: gazekit leaves torch out, vpmim leaves the analysis and DICOM stack out."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gazekit
import vpmim


def modules_of(package) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}.")
    return [package.__name__, *sorted(module.name for module in found)]


def loaded_after_importing(names: list[str]) -> set[str]:
    """Top-level packages in ``sys.modules`` of a fresh interpreter that imported `names`."""
    script = (
        "import importlib, json, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.slow
def test_importing_every_vpmim_module_leaves_analysis_dicom_and_command_line_packages_out():
    names = modules_of(vpmim)
    assert {"vpmim.train", "vpmim.data", "vpmim.plain_cli", "vpmim.datasets"} <= set(names)
    loaded = loaded_after_importing(names)
    assert "torch" in loaded
    assert not loaded & {"pandas", "pyarrow", "pydicom", "typer", "click", "rich", "scipy", "cv2", "sklearn", "skimage"}


def test_importing_every_gazekit_module_leaves_torch_out():
    names = modules_of(gazekit)
    assert {"gazekit.cache", "gazekit.geometry"} <= set(names)
    assert not loaded_after_importing(names) & {"torch", "torchvision", "timm", "vpmim", "safetensors"}


def test_every_exported_name_is_there_when_asked_for_and_not_before():
    script = (
        "import sys, gazekit\n"
        "loaded = [name for name in sys.modules if name.startswith('gazekit.')]\n"
        "assert not loaded, loaded\n"
        "missing = [name for name in dir(gazekit) if not hasattr(gazekit, name)]\n"
        "assert not missing, missing\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_trainer_takes_nothing_of_gazekit_but_its_cache_its_errors_and_its_new_directories():
    files = sorted(Path(vpmim.__path__[0]).rglob("*.py"))
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    taken = {name for name in names if name.partition(".")[0] == "gazekit"}
    assert taken == {"gazekit.cache", "gazekit.errors", "gazekit.new_directory"}


def test_importing_gazekit_and_opening_caches_needs_numpy_alone():
    loaded = loaded_after_importing(["gazekit", "gazekit.cache"])
    assert not loaded & {"torch", "pandas", "pyarrow", "scipy", "cv2", "pydicom", "rich", "typer"}
