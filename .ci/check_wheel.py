"""The wheel holds the four packages and the configurations, and nothing else.

python .ci/check_wheel.py dist/*.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = {"gazekit": "gazekit", "vpmim": "vpmim", "gazekit_cli": "cli/gazekit_cli", "vpmim_cli": "cli/vpmim_cli"}


def expected() -> set[str]:
    """Names that must be in the wheel: all modules, style sheets, scripts and pages, and vpmim/configs."""
    names = {
        f"{package}/{path.relative_to(REPOSITORY / folder).as_posix()}"
        for package, folder in SOURCES.items()
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in {".py", ".css", ".js", ".html"}
    }
    return names | {
        f"vpmim/configs/{path.relative_to(REPOSITORY / 'configs').as_posix()}"
        for path in (REPOSITORY / "configs").rglob("*.toml")
    }


def main(wheel: str) -> int:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    missing, extra = expected() - names, names - expected()
    for name in sorted(missing):
        print(f"missing from the wheel: {name}")
    for name in sorted(extra):
        print(f"not expected in the wheel: {name}")
    print(f"{wheel}: {len(names)} files, {len(missing)} missing, {len(extra)} unexpected")
    return 1 if missing or extra else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
