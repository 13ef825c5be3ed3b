"""Options that several commands have, and values that are more than one word or number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gazekit.errors import InputError
from gazekit.geometry import Screen

SpecOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="What a tracker's files do not say: columns, units, screen, stimuli.",
        show_default=False,
    ),
]
ScreenPxOption = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Screen in pixels; with the next two.", show_default=False),
]
ScreenMmOption = Annotated[str | None, typer.Option(metavar="WxH", help="Screen in mm.", show_default=False)]
DistanceOption = Annotated[float | None, typer.Option(help="Eye to screen in mm.", show_default=False)]


def parse_grid(text: str) -> tuple[int, int]:
    """``14`` or ``12x16`` (rows x columns) to (rows, cols)."""
    found = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", text)
    if found is None:
        raise InputError(f"--grid must be N or ROWSxCOLS, got {text!r}")
    rows = int(found[1])
    return rows, int(found[2]) if found[2] else rows


def parse_screen(size_px: str | None, size_mm: str | None, distance_mm: float | None) -> Screen | None:
    """``--screen-px WxH --screen-mm WxH --distance-mm D`` to a `Screen`; None where none of them is given."""
    if size_px is None and size_mm is None and distance_mm is None:
        return None
    if size_px is None or size_mm is None or distance_mm is None:
        raise InputError("a screen needs all of --screen-px WxH, --screen-mm WxH and --distance-mm D")
    width, height = _pair("--screen-px", size_px)
    if width != int(width) or height != int(height):
        raise InputError(f"--screen-px must be whole pixels, got {size_px!r}")
    return Screen(size_px=(int(width), int(height)), size_mm=_pair("--screen-mm", size_mm), distance_mm=distance_mm)


def _pair(option: str, text: str) -> tuple[float, float]:
    found = re.fullmatch(r"(\d{1,5}(?:\.\d+)?)[xX](\d{1,5}(?:\.\d+)?)", text)
    if found is None:
        raise InputError(f"{option} must be WIDTHxHEIGHT, got {text!r}")
    return float(found[1]), float(found[2])
