"""The ``gazekit`` app: one module a command, each of which parses, calls one library function and prints."""

from __future__ import annotations

from typing import NoReturn

from gazekit_cli.build_heatmaps import build_heatmaps
from gazekit_cli.compare import compare
from gazekit_cli.console import add_version, make_app, run_app
from gazekit_cli.export import export
from gazekit_cli.finalize import finalize
from gazekit_cli.fixations import fixations
from gazekit_cli.gc import gc
from gazekit_cli.inspect import inspect
from gazekit_cli.lesions import lesions
from gazekit_cli.quality import quality
from gazekit_cli.render import render
from gazekit_cli.report import report
from gazekit_cli.simulate import simulate
from gazekit_cli.verify import verify

app = make_app("gazekit", "Gaze logs and chest X-rays to heatmaps, patch relevance and a training cache.")
add_version(app, "gazekit")
app.command("build-heatmaps")(build_heatmaps)
app.command("finalize")(finalize)
app.command("fixations")(fixations)
app.command("inspect")(inspect)
app.command("verify")(verify)
app.command("gc")(gc)
app.command("render")(render)
app.command("report")(report)
app.command("compare")(compare)
app.command("lesions")(lesions)
app.command("quality")(quality)
app.command("export")(export)
app.command("simulate")(simulate)


def main() -> NoReturn:
    """Entry point of the console script."""
    run_app(app)
