"""The words of an EyeLink ASC file, as SR Research's ``edf2asc`` writes it.

Source: EyeLink 1000 Plus and Portable Duo user manuals, "The ASC File Format" (sample and event lines, START and END),
and the Data Viewer manual, "Protocol for EyeLink Data to Viewer Integration" (TRIALID, ``!V`` messages).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gazekit.geometry import Box

EYES = ("left", "right")

IGNORED = frozenset(
    ("SFIX", "SSACC", "ESACC", "SBLINK", "EBLINK", "INPUT", "BUTTON", "PRESCALER", "VPRESCALER", "PUPIL", ">>>>>>>")
)
"""First words of lines that say nothing which is used here."""

COMMENTS = ("**", "#", "/", ";")

NATIVE_FILE = b"SR_RESEARCH_COMBINED_FILE"
"""How a file of the tracker itself begins, before it is converted to ASC."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".dcm")


@dataclass(frozen=True, slots=True)
class SampleLine:
    """What the cells of a sample line are, in order.

    Attributes
    ----------
    kind : str
        ``GAZE`` (screen pixels), ``HREF`` or ``PUPIL``.
    columns : tuple of str
        ``time``, then for each eye ``x_left, y_left, pupil_left``, velocities, ``px_per_deg_x, px_per_deg_y``; what
        follows them on the line is not listed.
    eyes : tuple of str
    rate_hz : float or None
    """

    kind: str
    columns: tuple[str, ...]
    eyes: tuple[str, ...]
    rate_hz: float | None


def sample_line(words: Sequence[str]) -> SampleLine:
    """The format that a ``SAMPLES`` line announces, from its words."""
    eyes = tuple(eye for eye in EYES if eye.upper() in words)
    columns = ["time"]
    columns += [f"{name}_{eye}" for eye in eyes for name in ("x", "y", "pupil")]
    if "VEL" in words:
        columns += [f"velocity_{axis}_{eye}" for eye in eyes for axis in "xy"]
    if "RES" in words:
        columns += ["px_per_deg_x", "px_per_deg_y"]
    kind = words[1] if len(words) > 1 else ""
    return SampleLine(kind, tuple(columns), eyes, _after(words, "RATE"))


def resolution_of(words: Sequence[str]) -> tuple[float, float] | None:
    """``RES x y`` of an ``END`` line: mean screen pixels a degree of the block; None where it says none."""
    if "RES" not in words:
        return None
    cells = [number(word) for word in words[words.index("RES") + 1 :][:2]]
    return (cells[0], cells[1]) if len(cells) == 2 and all(cell > 0 for cell in cells) else None


def number(word: str) -> float:
    """A cell as float, NaN for one that is missing or no number."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _after(words: Sequence[str], key: str) -> float | None:
    if key not in words[:-1]:
        return None
    value = number(words[words.index(key) + 1])
    return value if value > 0 else None


@dataclass(frozen=True, slots=True)
class Picture:
    """What a message says is on the screen from `time_ms` on; `name` is None for a cleared screen.

    `line` is that of the message. `drawn` is the half-open range of screen pixels; where the message does not tell
    the size, `anchor` may hold what `gazekit.sources.recording.Trial.anchor` does.
    """

    line: int
    time_ms: float
    name: str | None
    drawn: Box | None = None
    anchor: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Fixation:
    """An ``EFIX`` line: milliseconds, the last one being that of the last sample, and screen pixels."""

    line: int
    eye: str
    onset_ms: float
    offset_ms: float
    x: float
    y: float
    px_per_deg: tuple[float, float] | None = None


def fixation_of(line: int, words: Sequence[str]) -> Fixation | None:
    """``EFIX eye start end duration x y pupil [x resolution, y resolution]``; None where a cell is missing."""
    if len(words) < 7 or words[1] not in ("L", "R"):
        return None
    onset, offset, _, x, y = map(number, words[2:7])
    cells = [number(word) for word in words[8:10]]
    resolution = (cells[0], cells[1]) if len(cells) == 2 and all(cell > 0 for cell in cells) else None
    return Fixation(line, EYES["LR".index(words[1])], onset, offset, x, y, resolution)


_COORDINATES = re.compile(r"(?:DISPLAY|GAZE)_COORDS\s*=?((?:\s+-?[\d.]+){4})")
_VALIDATION = re.compile(r"!CAL VALIDATION \S+ +\S+ +(LEFT|RIGHT) +\S+ +ERROR +([\d.]+) avg")
_MODE = re.compile(r"(?:RECCFG|!MODE\s+RECORD)\s+(\S+)\s+(\d+)\s+(\d)")
_IMAGE = re.compile(r"!V IMGLOAD\s+(FILL|CENTER|TOP_LEFT)\s+(.+)")
_PLACE = re.compile(r"(.+?)\s+(-?[\d.]+)\s+(-?[\d.]+)(?:\s+([\d.]+)\s+([\d.]+))?\s*")
_OFFSET = re.compile(r"(-?\d+)\s+(?=\S)")


def display(text: str) -> tuple[float, float, float, float] | None:
    """``left top right bottom`` of a DISPLAY_COORDS or GAZE_COORDS message, first and last pixel; None for others."""
    found = _COORDINATES.match(text)
    if found is None:
        return None
    left, top, right, bottom = map(number, found.group(1).split())
    return (left, top, right, bottom) if right > left and bottom > top else None


def validation(text: str) -> tuple[str, float] | None:
    """Eye and mean error in degrees of a validation message; None for other messages."""
    found = _VALIDATION.match(text)
    return (found.group(1).lower(), number(found.group(2))) if found else None


def mode(text: str) -> dict[str, float | str] | None:
    """Tracking mode, rate and filter of a RECCFG or ``!MODE RECORD`` message; None for other messages."""
    found = _MODE.match(text)
    if found is None:
        return None
    return {"tracking_mode": found[1], "sampling_rate_hz": float(found[2]), "filter_level": int(found[3])}


def without_offset(time_ms: float, text: str) -> tuple[float, str]:
    """Time and text of a message that begins with a whole number: the event was that many ms before the time stamp."""
    found = _OFFSET.match(text)
    return (time_ms - int(found[1]), text[found.end() :]) if found else (time_ms, text)


def picture(line: int, time_ms: float, text: str, screen: Box | None) -> Picture | None:
    """What an ``!V IMGLOAD`` or ``!V CLEAR`` message puts on the screen; None for other messages.

    Parameters
    ----------
    line, time_ms, text
        Of the message.
    screen : (x0, y0, x1, y1) or None
        The whole screen, which FILL fills, in the pixels of the messages.

    Returns
    -------
    Picture or None
        In pixels from the top-left one of the screen.
    """
    if text.startswith("!V CLEAR"):
        return Picture(line, time_ms, None)
    found = _IMAGE.match(text)
    if found is None:
        return None
    how, rest = found.groups()
    place = _PLACE.fullmatch(rest)
    x0, y0, x1, y1 = screen or (0.0, 0.0, 0.0, 0.0)
    if how == "FILL" or place is None:
        fills = how == "FILL" and screen is not None
        return Picture(line, time_ms, file_name(rest), (0.0, 0.0, x1 - x0, y1 - y0) if fills else None)
    name, *numbers = place.groups()
    x, y = number(numbers[0]) - x0, number(numbers[1]) - y0
    share = 0.5 if how == "CENTER" else 0.0
    if numbers[2] is None:
        return Picture(line, time_ms, file_name(name), anchor=(x, y, share))
    width, height = number(numbers[2]), number(numbers[3])
    left, top = x - share * width, y - share * height
    return Picture(line, time_ms, file_name(name), (left, top, left + width, top + height))


def picture_variable(variables: Mapping[str, str], name: str | None) -> str | None:
    """The picture that trial variables name: the one called `name`, or the only one that holds an image's file name."""
    if name is not None:
        return file_name(variables[name]) if name in variables else None
    found = {file_name(value) for value in variables.values() if value.lower().endswith(PICTURE_SUFFIXES)}
    return found.pop() if len(found) == 1 else None


def file_name(path: str) -> str:
    """The last part of a path of Windows or of any other system."""
    return re.split(r"[\\/]", path.strip())[-1]
