"""``python -m vpmim.train``: the options of ``vpmim train``, for machines without typer."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gazekit.errors import SYSTEM_REFUSALS
from vpmim.dry_run import forecast_training
from vpmim.process import speaks
from vpmim.run_folder import requested_config
from vpmim.train import TrainSummary, train

EXIT_OK, EXIT_SKIPPED, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SYSTEM = range(5)


def main(arguments: Sequence[str]) -> int:
    """Parse, train, print; returns the exit code."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_, **__: _line(f"warning: {' '.join(str(message).split())}")
    try:
        config = requested_config(
            options.out, config=options.config, overrides=options.set, init=options.init, resume=options.resume
        )
        if options.dry_run:
            forecast = forecast_training(
                options.data, options.out, config, resume=options.resume, strict=options.strict
            )
            sys.stdout.write(_summary(dataclasses.asdict(forecast) | {"out": str(options.out)}, as_json=options.json))
            return EXIT_OK
        summary = train(
            options.data,
            options.out,
            config,
            resume=options.resume,
            device=options.device,
            strict=options.strict,
            say=_line,
            on_step=_each_tenth(),
        )
    except OSError as error:
        refused = error.errno in SYSTEM_REFUSALS
        _line(f"error: {'the system refused: ' if refused else ''}{error.strerror or error}: {error.filename or ''}")
        return EXIT_SYSTEM if refused else EXIT_INPUT
    except ValueError as error:  # every error raised on purpose is one
        _line(f"error: {' '.join(str(error).split())}")
        return EXIT_INPUT
    except KeyboardInterrupt:
        _line("interrupted; nothing is lost: run the same command again, with --resume where RUN is there already")
        return EXIT_INTERRUPTED
    if speaks():
        sys.stdout.write(_summary(dataclasses.asdict(summary) | {"out": str(options.out)}, as_json=options.json))
    return exit_code(summary)


def exit_code(summary: TrainSummary) -> int:
    """0 all done, 1 some images were skipped, 3 interrupted and resumable."""
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_SKIPPED if summary.skipped else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vpmim.train",
        description="Pre-train an encoder on caches of gazekit, on folders of PNG or JPEG images, or on both.",
        epilog="example: python -m vpmim.train CACHE --out RUN --config vp_mim --set train.batch_size=64",
    )
    parser.add_argument("data", nargs="+", type=Path, metavar="CACHE", help="a cache, or a folder of images")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="the folder that the run is written to")
    parser.add_argument("--config", metavar="NAME|FILE.toml", help="a method by name, or a file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of RUN")
    parser.add_argument("--init", metavar="scratch|imagenet|PATH", help="the encoder's first weights")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--strict", action="store_true", help="refuse a folder with an image that cannot be read")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    return parser


def _summary(values: Mapping[str, object], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(values, allow_nan=False) + "\n"
    return "".join(f"{name.replace('_', ' '):14} {value}\n" for name, value in values.items())


def _each_tenth() -> Callable[[int, int], None]:
    last = -1

    def on_step(step: int, steps: int) -> None:
        nonlocal last
        if 10 * step // steps > last:
            last = 10 * step // steps
            _line(f"step {step}/{steps}")

    return on_step


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
