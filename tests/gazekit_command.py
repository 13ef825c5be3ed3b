"""``gazekit ARGS`` in this process, for tests that need its exit code and its words."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import warnings

from gazekit_cli.main import main


def run_gazekit(*args: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; the process-wide handlers that the console sets are put back."""
    argv, shown, terminate = sys.argv, warnings.showwarning, signal.getsignal(signal.SIGTERM)
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        sys.argv = ["gazekit", *map(str, args)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    finally:
        sys.argv, warnings.showwarning = argv, shown
        signal.signal(signal.SIGTERM, terminate)
    assert "Traceback" not in err.getvalue()
    return code, out.getvalue(), err.getvalue()
