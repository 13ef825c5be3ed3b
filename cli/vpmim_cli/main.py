"""The ``vpmim`` app: one module a command, each of which parses, calls one library function and prints."""

from __future__ import annotations

import os
from typing import NoReturn

from gazekit_cli.console import add_version, make_app, run_app
from vpmim_cli.ablate import ablate
from vpmim_cli.bench import bench
from vpmim_cli.doctor import doctor
from vpmim_cli.export import export
from vpmim_cli.features import features
from vpmim_cli.finetune import finetune
from vpmim_cli.gaze_fit import gaze_fit
from vpmim_cli.gaze_predict import gaze_predict
from vpmim_cli.linear_eval import linear_eval
from vpmim_cli.localise import localise
from vpmim_cli.predict import predict
from vpmim_cli.report import report
from vpmim_cli.reproduce import reproduce
from vpmim_cli.table import table
from vpmim_cli.train import train

app = make_app("vpmim", "Gaze-guided masked image modelling for chest X-rays: pre-train, evaluate, export.")
add_version(app, "vpmim")
app.command("train")(train)
app.command("export")(export)
app.command("ablate")(ablate)
app.command("finetune")(finetune)
app.command("predict")(predict)
app.command("linear-eval")(linear_eval)
app.command("features")(features)
app.command("table")(table)
app.command("localise")(localise)
app.command("reproduce")(reproduce)
app.command("report")(report)
app.command("bench")(bench)
app.command("doctor")(doctor)

gaze = make_app("gaze", "Predicted gaze: a prior for images that nobody looked at.")
gaze.command("fit")(gaze_fit)
gaze.command("predict")(gaze_predict)
app.add_typer(gaze)


def main() -> NoReturn:
    """Entry point of the console script."""
    # Before torch is loaded: threads that wait by spinning make a shared machine more than ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run_app(app)
