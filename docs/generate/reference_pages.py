"""A mkdocs hook: the help of all commands in place of ``<!-- commands of APP -->``, and the table of reason codes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from gazekit.errors import REASONS
from vpmim.setting_checks import toml_value

COMMANDS = re.compile(r"<!-- commands of (\w+) -->")
REASON_CODES, SETTINGS = "<!-- reason codes -->", "<!-- settings -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    markdown = COMMANDS.sub(lambda found: "\n".join(command_help(found[1])), markdown)
    for marker, lines in ((REASON_CODES, reason_table), (SETTINGS, setting_tables)):
        if marker in markdown:
            markdown = markdown.replace(marker, "\n".join(lines()))
    return markdown


def reason_table() -> Iterator[str]:
    """Markdown lines: each reason code and what it means."""
    yield from ("| code | meaning |", "|---|---|")
    yield from (f"| `{code}` | {meaning} |" for code, meaning in REASONS.items())


def setting_tables() -> Iterator[str]:
    """Markdown lines: each table of a configuration, its keys, their defaults and what their docstring says."""
    from vpmim.config import flatten
    from vpmim.settings import Config

    defaults = flatten(Config())
    for field in dataclasses.fields(Config):
        table, kind = field.name, type(getattr(Config(), field.name))
        if not dataclasses.is_dataclass(kind):
            continue
        yield from (f"## {table}", "", "| key | default | meaning |", "|---|---|---|")
        for names, meaning in attributes(kind):
            keys = [f"{table}.{name}" for name in names]
            shown = [f"`{toml_value(defaults[key])}`" for key in keys if key in defaults]
            if shown:
                yield f"| {', '.join(f'`{key}`' for key in keys)} | {', '.join(shown)} | {meaning} |"
        yield ""


def attributes(kind: type) -> Iterator[tuple[list[str], str]]:
    """Names and text of each entry in the Attributes section of a class."""
    section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes\n----------\n")[2].split("\n\n")[0]
    entries = re.split(r"\n(?! )", section)
    for entry in filter(None, entries):
        names, _, text = entry.partition(" : ")
        yield names.split(", "), " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def command_help(app: str) -> Iterator[str]:
    """Markdown lines for each command of ``gazekit`` or ``vpmim``."""
    for words, command in leaf_commands(typer.main.get_command(importlib.import_module(f"{app}_cli.main").app)):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        shown = [_name(p) if p.required else f"[{_name(p)}]" for p in arguments]
        required = [f"{p.opts[0]} {_value(p)}" for p in options if p.required]
        yield from (f"## {words}", "", "```text", " ".join([app, words, *shown, *required, "[OPTIONS]"]), "```", "")
        yield from (re.sub(r"^```$(?=\n\w)", "```sh", command.help.strip(), flags=re.MULTILINE), "")
        yield from ("| argument or option | meaning |", "|---|---|")
        yield from (f"| `{_name(p)}` | {_meaning(p)} |" for p in arguments)
        yield from (f"| `{_spelling(p)}` | {_meaning(p)} |" for p in options)
        yield ""


def leaf_commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Words and command of everything that can be called, groups of commands opened."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaf_commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _spelling(option: Any) -> str:
    names = " / ".join([option.opts[0], *option.secondary_opts])
    return names if option.is_flag else f"{names} {_value(option)}"


def _value(option: Any) -> str:
    return str(option.metavar or option.opts[0].strip("-").upper())


def _meaning(parameter: Any) -> str:
    text = (parameter.help or "").replace("|", "\\|")
    shown = parameter.param_type_name == "option" and not parameter.is_flag and parameter.default is not None
    return f"{text} Default `{parameter.default}`." if shown else text
