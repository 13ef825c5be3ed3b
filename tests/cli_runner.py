"""The command lines, run in this process as a shell would see them: exit code, stdout, stderr."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple, NoReturn


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    stdout: str
    stderr: str


def run_main(main: Callable[[], NoReturn], *arguments: object) -> Outcome:
    """Run an app's entry point; an exception that leaves it fails the test, as a traceback would."""
    argv, terminate = sys.argv, signal.getsignal(signal.SIGTERM)
    stdout, stderr = io.StringIO(), io.StringIO()
    sys.argv = [main.__module__.partition("_")[0], *map(str, arguments)]
    try:
        with warnings.catch_warnings(), redirect_stdout(stdout), redirect_stderr(stderr):
            warnings.simplefilter("default")
            main()
    except SystemExit as leaving:
        return Outcome(int(leaving.code or 0), stdout.getvalue(), stderr.getvalue())
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, terminate)
    raise AssertionError("the entry point came back")


def run_gazekit(*arguments: object) -> Outcome:
    """``gazekit ARGUMENTS``."""
    from gazekit_cli.main import main

    return run_main(main, *arguments)


def run_vpmim(*arguments: object) -> Outcome:
    """``vpmim ARGUMENTS``."""
    from vpmim_cli.main import main

    return run_main(main, *arguments)
