"""The modules of a folder of ``benchmarks/``, whose scripts import each other by their plain names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def benchmark_module(folder: str, name: str) -> ModuleType:
    """Import one, and leave no name behind under which another folder's module would be found."""
    path = BENCHMARKS / folder
    sys.path.insert(0, str(path))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(path))
        for script in path.glob("*.py"):
            sys.modules.pop(script.stem, None)
