"""What every command of both apps shares: exit codes, one-line errors, the summary, the progress bar."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from gazekit import __version__
from gazekit.errors import SYSTEM_REFUSALS

EXIT_OK = 0
EXIT_SKIPPED = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 3
EXIT_SYSTEM = 4

_TYPER_INTERRUPTED = 130  # what newer versions of typer make of KeyboardInterrupt; older ones raise Abort

PLAIN_RATE_AFTER_S = 2.0  # before that a line says only how far a command has come

_PIPED_WIDTH = 10_000  # into a file or a pipe each row is one line, whole, for other programs to search

err = Console(stderr=True, highlight=False, soft_wrap=True)


def make_app(name: str, help_text: str) -> typer.Typer:
    """A Typer app without its own tracebacks and with ``-h``."""
    return typer.Typer(
        name=name,
        help=help_text,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def add_version(app: typer.Typer, name: str) -> None:
    """Give an app ``--version``."""

    def show(asked: bool) -> None:
        if asked:
            typer.echo(f"{name} {__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        # as a default: an annotation is evaluated where `show` is not known
        version: bool = typer.Option(False, "--version", callback=show, is_eager=True, help="Show it and exit."),
    ) -> None:
        pass


def run_app(app: typer.Typer) -> NoReturn:
    """Run an app and turn what it raises into one line and the exit code of the contract."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)  # what a command gave to typer.Exit comes back as the result
    except typer.Abort:
        fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OK)
    except OSError as error:
        if error.errno in SYSTEM_REFUSALS:
            fail(
                f"the system refused: {describe_os_error(error)}; nothing is lost, run again once mended",
                EXIT_SYSTEM,
            )
        fail(describe_os_error(error), EXIT_INPUT)
    except MemoryError:
        fail("the system refused: no memory is left; nothing is lost, run again once there is", EXIT_SYSTEM)
    except ValueError as error:  # every error raised on purpose is one
        fail(str(error), EXIT_INPUT)
    except Exception as error:
        if type(error).__module__.startswith("click") or hasattr(error, "format_message"):
            message = error.format_message() if hasattr(error, "format_message") else str(error)
            if not message:  # an app without a command has printed its help
                sys.exit(EXIT_INPUT)
            fail(message, EXIT_INPUT)
        raise
    if code == _TYPER_INTERRUPTED:
        fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED)
    sys.exit(code if isinstance(code, int) else EXIT_OK)


def describe_os_error(error: OSError) -> str:
    """``reason: path`` without Python's bracketed errno."""
    path = error.filename2 or error.filename
    return f"{error.strerror or error}" + (f": {os.fspath(path)}" if path else "")


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and leave."""
    line = " ".join(str(message).split())
    err.print(f"error: {line}", style="red", markup=False)
    sys.exit(code)


def note(message: str) -> None:
    """One plain line on stderr."""
    err.print(message, markup=False)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    err.print(f"warning: {' '.join(str(message).split())}", style="yellow", markup=False)


@contextmanager
def progress(label: str, total: int | None, unit: str = "") -> Iterator[Callable[[int], None]]:
    """A progress bar with rate and time left on a terminal; elsewhere one plain line at each tenth of the way.

    Yields a function that takes the number of items done so far.
    """
    started = time.perf_counter()
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(label, total=total, rate="")
            yield lambda done: bar.update(task, completed=done, rate=_rate(done, time.perf_counter() - started))
        return
    last_tenth = -1

    def plain(done: int) -> None:
        nonlocal last_tenth
        if not total:
            return
        tenth = 10 * done // total
        if tenth > last_tenth:
            last_tenth = tenth
            spent = time.perf_counter() - started
            left = f", {_rate(done, spent)}, {spent * (total - done) / done:.0f} s left" if 0 < done < total else ""
            note(f"{label}: {done}/{total} {unit}".rstrip() + (left if spent > PLAIN_RATE_AFTER_S else ""))

    yield plain


def _rate(done: int, seconds: float) -> str:
    return f"{done / seconds:.3g}/s" if done and seconds > 0 else ""


def summary(values: Mapping[str, Any], *, as_json: bool, title: str, table: Sequence[Mapping[str, Any]] = ()) -> None:
    """Print a command's last word: a small table, or one JSON object on stdout.

    Parameters
    ----------
    values : mapping
        Name to figure; everything JSON can hold.
    as_json : bool
        One JSON object and nothing else on stdout; `table` becomes its ``rows``.
    title : str
    table : sequence of mappings
        Rows of a second table, with the same keys in each.
    """
    if as_json:
        payload = dict(values)
        if table:
            payload["rows"] = [dict(row) for row in table]
        typer.echo(json.dumps(payload, ensure_ascii=False, allow_nan=False))
        return
    figures = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for key, value in values.items():
        figures.add_row(Text(key.replace("_", " ")), _cell(value))
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for key in table[0] if table else ():
        rows.add_column(key.replace("_", " "), overflow="fold")
    for row in table:
        rows.add_row(*(_cell(value) for value in row.values()))
    out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    with out.capture() as printed:
        out.print(figures)
        if table:
            out.print(rows)
    typer.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _cell(value: Any) -> Text:
    return Text(_words(value), overflow="fold")


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_words(v)}" for k, v in value.items()) or "none"
    return str(value)
