"""The short form of `make test-faults`: every way of killing a build, a few times."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).with_name("faults.py")


@pytest.mark.slow
def test_builds_killed_at_random_moments_end_with_the_bytes_of_a_clean_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FAULTS, "--kills", "12"],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    print(done.stdout)  # the seed, where this fails
    assert done.returncode == 0, done.stderr
    assert "nothing lost" in done.stdout
    for way in ("whole", "tasks", "finalize", "processes", "workers"):
        assert f"\n{way} " in done.stdout
