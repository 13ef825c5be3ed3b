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
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
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

PACE_AFTER_S = 2.0  # before that a bar or a line says only how far a command has come

_PIPED_WIDTH = 10_000  # into a file or a pipe each row is one line, whole, for other programs to search

err = Console(stderr=True, highlight=False, soft_wrap=True)

_bars: list[Progress] = []  # those on the terminal, the innermost last


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
    if isinstance(error, FileExistsError | NotADirectoryError) and path and not Path(os.fsdecode(path)).is_dir():
        return f"{os.fspath(path)} is, or lies under, a file; name a folder"
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


class Advance(Protocol):
    """Told how many items are done, and how many there are in all where that was not known before."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


@contextmanager
def progress(label: str, total: int | None = None, unit: str = "", *, then: str = "") -> Iterator[Advance]:
    """A progress bar with rate and time left on a terminal; elsewhere one plain line at each tenth of the way.

    Until the total is known the bar only moves and tells the time, and plain output says nothing.

    Parameters
    ----------
    label, unit : str
        What is done, with what.
    total : int, optional
        Known from the beginning.
    then : str
        What the command still does when all items are done, if that may take long.
    """
    with _bar(label) if err.is_terminal else _lines(label) as show:
        yield _counting(show, total, unit, then, started=time.perf_counter())


_Show = Callable[[int, int | None, str, str], None]
"""Told items done, items in all, both in words, and the pace in words; or, without a total, what goes on now."""


def _counting(show: _Show, total: int | None, unit: str, then: str, *, started: float) -> Advance:
    """Turn reports of items done into words and a pace."""
    known = total
    first: tuple[int, float] | None = None

    def advance(done: int, total: int | None = None, /) -> None:
        nonlocal known, first
        known = known if total is None else total
        if not known:
            return
        now = time.perf_counter()
        pace = _pace(first, done, known, now) if now - started > PACE_AFTER_S else ""
        first = (done, now) if first is None and done else first
        show(done, known, f"{done}/{known} {unit}".rstrip(), pace)
        if then and done >= known:
            show(done, None, then, "")

    if total is not None:
        show(0, total, f"0/{total} {unit}".rstrip(), "")
    return advance


def _pace(first: tuple[int, float] | None, done: int, total: int, now: float) -> str:
    """``3.2/s, 40 s left``, from the second report on: work before the first one, or before a resume, is no part."""
    if first is None or not first[0] < done < total or now <= first[1]:
        return ""
    rate = (done - first[0]) / (now - first[1])
    speed = f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s" if rate >= 0.1 else f"{1 / rate:.3g} s each"
    return f"{speed}, {_span((total - done) / rate)} left"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else str(timedelta(seconds=round(seconds)))


@contextmanager
def _bar(label: str) -> Iterator[_Show]:
    """A bar on the terminal; a bar that is there already steps aside meanwhile."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    for outer in _bars[-1:]:
        outer.stop()
    with Progress(*columns, console=err, transient=True) as bar:
        _bars.append(bar)
        task = bar.add_task(label, total=None, count="", pace="")

        def show(done: int, total: int | None, words: str, pace: str) -> None:
            nonlocal task
            if total is None:
                bar.remove_task(task)  # a total cannot be taken back
                task = bar.add_task(words, total=None, count="", pace="")
            else:
                bar.update(task, description=label, completed=done, total=total, count=words, pace=pace)

        try:
            yield show
        finally:
            _bars.pop()
    for outer in _bars[-1:]:
        outer.start()


@contextmanager
def _lines(label: str) -> Iterator[_Show]:
    """Plain lines: one at each tenth of the way, and one for what comes after."""
    last_tenth = -1

    def show(done: int, total: int | None, words: str, pace: str) -> None:
        nonlocal last_tenth
        if total is None:
            note(words)
        elif done and (tenth := 10 * done // total) > last_tenth:
            last_tenth = tenth
            note(f"{label}: {words}" + (f", {pace}" if pace else ""))

    yield show


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
