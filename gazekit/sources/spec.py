"""The spec of a tracker's data set: what its files do not say themselves, in a small TOML file.

[screen]                       # where degrees of visual angle come from
size_px = [1920, 1080]
size_mm = [530, 300]
distance_mm = 650

[columns]                      # of a table: our name = "their name"
time = "t"
x = "gaze x"
y = "gaze y"
stimulus = "picture"

[units]
time = "ms"                    # s, ms, us, ns
position = "screen_px"         # screen_px, screen_share, image_px, image_share

[lost]
positions = [-1]               # lost where both x and y are one of these

[events]
source = "detect"              # or "tracker": the file's own fixations
algorithm = "ivt"
velocity_threshold = 30        # and any other keyword of the algorithm

[stimuli]
placement = "fit"              # fit, centre (one image pixel a screen pixel), stretch
ignore = ["blank", "cross.png"]
message = "picture"            # of EyeLink: trial variable, or beginning of a message, that names the image

[[stimulus]]
name = "picture 7.png"         # as the file names it
image = "files/p99/s1.dcm"     # under --images; default: an image called as the stimulus
rectangle = [420, 0, 1500, 1080]   # where it was drawn: x0, y0, x1, y1, screen pixels, half-open

[readers]
"recording 1" = "A"            # file name without its suffix = reader
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import math
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gazekit.errors import InputError
from gazekit.geometry import Screen
from gazekit.sources.paths import check_id, check_path, picture_name

if TYPE_CHECKING:
    from gazekit.geometry import Box

    Numbers = Sequence[float]

T = TypeVar("T")

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Unit of time to its length in seconds."""

POSITION_UNITS = ("screen_px", "screen_share", "image_px", "image_share")
"""Pixels, (0, 0) being the centre of the top-left one, or shares of the whole, (0, 0) being its top left corner."""

PLACEMENTS = ("fit", "centre", "stretch")
EVENT_SOURCES = ("tracker", "detect")

COLUMNS = (
    *("time", "x", "y", "x_left", "y_left", "x_right", "y_right", "onset", "offset", "duration", "pupil"),
    *("validity", "validity_left", "validity_right", "px_per_deg_x", "px_per_deg_y", "reader", "stimulus", "trial"),
)
"""What a table may hold, by the names that ``[columns]`` gives them."""


@dataclass(frozen=True, slots=True)
class ScreenSpec:
    """``[screen]``: size in pixels (width, height), in millimetres, and distance of the eye; None where not said."""

    size_px: tuple[int, int] | None = None
    size_mm: tuple[float, float] | None = None
    distance_mm: float | None = None

    def __post_init__(self) -> None:
        for name in ("size_px", "size_mm"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _positive_pair(value, name))
        if self.size_px is not None:
            if any(n != int(n) for n in self.size_px):
                raise InputError(f"size_px must be whole pixels, got {self.size_px!r}")
            object.__setattr__(self, "size_px", (int(self.size_px[0]), int(self.size_px[1])))
        if self.distance_mm is not None and not (_is_number(self.distance_mm) and self.distance_mm > 0):
            raise InputError(f"distance_mm must be a number above zero, got {self.distance_mm!r}")


@dataclass(frozen=True, slots=True)
class Units:
    """``[units]`` of a table: a key of `SECONDS`, and one of `POSITION_UNITS`."""

    time: str = "s"
    position: str = "screen_px"

    def __post_init__(self) -> None:
        _check_choice("time", self.time, tuple(SECONDS))
        _check_choice("position", self.position, POSITION_UNITS)


@dataclass(frozen=True, slots=True)
class Lost:
    """``[lost]`` of a table: how it writes lost gaze, besides an empty cell or NaN.

    Attributes
    ----------
    positions : tuple of float and str
        Gaze is lost where x and y are both one of these numbers. A text, such as "NA", is what the table writes in
        place of a number that is missing.
    validity : tuple of str
        Gaze is lost where the validity column holds one of these.
    """

    positions: tuple[float | str, ...] = ()
    validity: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_list(self.positions) or not all(isinstance(p, str) or _is_number(p) for p in self.positions):
            raise InputError(f"positions must be a list of numbers, or of texts in quotes, got {self.positions!r}")
        if not _is_list(self.validity):
            raise InputError(f"validity must be a list of codes, got {self.validity!r}")
        object.__setattr__(self, "positions", tuple(self.positions))
        object.__setattr__(self, "validity", tuple(map(str, self.validity)))


@dataclass(frozen=True, slots=True)
class Events:
    """``[events]``: whose fixations are used, and how they are detected.

    Attributes
    ----------
    source : "tracker", "detect" or None
        None: the file's own where it has any, else detected.
    algorithm : str
        A key of `gazekit.events.ALGORITHMS`.
    thresholds : mapping
        Keywords of the algorithm, and ``max_gap``.
    """

    source: str | None = None
    algorithm: str = "adaptive"
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from gazekit.events.detection import check_thresholds

        if self.source is not None:
            _check_choice("source", self.source, EVENT_SOURCES)
        check_thresholds(self.algorithm, self.thresholds)
        for name, value in self.thresholds.items():
            if not _is_number(value):
                raise InputError(f"{name} must be a number, got {value!r}")


@dataclass(frozen=True, slots=True)
class Stimuli:
    """``[stimuli]``: where an image is drawn if nothing says so, and names of stimuli that are not images to build.

    `message` is the trial variable, or the beginning of the message, in which EyeLink's files name the image.
    """

    placement: str = "fit"
    ignore: tuple[str, ...] = ()
    message: str | None = None

    def __post_init__(self) -> None:
        _check_choice("placement", self.placement, PLACEMENTS)
        if not _is_list(self.ignore) or not all(isinstance(name, str) for name in self.ignore):
            raise InputError(f"ignore must be a list of names, got {self.ignore!r}")
        object.__setattr__(self, "ignore", tuple(self.ignore))
        if self.message is not None and (not isinstance(self.message, str) or not self.message.strip()):
            raise InputError(f"message must be text in quotes, got {self.message!r}")

    def ignores(self, name: str) -> bool:
        """Whether a stimulus is named by `ignore`, whose ``*`` stands for anything."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignore)


@dataclass(frozen=True, slots=True)
class Stimulus:
    """One ``[[stimulus]]``.

    Attributes
    ----------
    name : str
        As the file writes it.
    image : str
        Path under the image root; default `image_id`, or else `name`.
    image_id : str
        Default the file name of `image` without the suffix of a picture.
    rectangle : (x0, y0, x1, y1) or None
        Half-open range of screen pixels in which it was drawn.
    patient_id, split, view : str or None
    """

    name: str = ""
    image: str = ""
    image_id: str = ""
    rectangle: Box | None = None
    patient_id: str | None = None
    split: str | None = None
    view: str | None = None

    def __post_init__(self) -> None:
        for key in ("name", "image", "image_id", "patient_id", "split", "view"):
            if getattr(self, key) is not None and not isinstance(getattr(self, key), str):
                raise InputError(f"{key} must be text in quotes, got {getattr(self, key)!r}")
        if not self.name:
            raise InputError("name is missing: the stimulus as the file writes it")
        object.__setattr__(self, "image", check_path(self.image or self.image_id or self.name, "image"))
        object.__setattr__(self, "image_id", check_id(self.image_id or picture_name(self.image), "image_id"))
        if self.patient_id is not None:
            check_id(self.patient_id, "patient_id")
        if self.rectangle is not None:
            object.__setattr__(self, "rectangle", _rectangle(self.rectangle))


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec, checked; see the module for what it says and `read_spec` for where it comes from."""

    screen: ScreenSpec = field(default_factory=ScreenSpec)
    columns: Mapping[str, str] = field(default_factory=dict)
    units: Units = field(default_factory=Units)
    lost: Lost = field(default_factory=Lost)
    events: Events = field(default_factory=Events)
    stimuli: Stimuli = field(default_factory=Stimuli)
    stimulus: Mapping[str, Stimulus] = field(default_factory=dict)
    readers: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Sha256 hex over what it says, whatever the order and layout of the file."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        text = "\n".join(
            f"{name} {sorted(value.items()) if isinstance(value, Mapping) else value}" for name, value in plain.items()
        )
        return hashlib.sha256(text.encode()).hexdigest()


def read_spec(spec: str | Path | Spec | None) -> Spec:
    """Read and check a spec file.

    Parameters
    ----------
    spec : path, Spec or None
        A `Spec` is returned as it is; None is one that says nothing.

    Returns
    -------
    Spec

    Raises
    ------
    InputError
        No such file, not TOML, an unknown section or key (the nearest known one is named), a value that is not as
        expected, an id or path that is unsafe, a stimulus that occurs twice.
    """
    if spec is None:
        return Spec()
    if isinstance(spec, Spec):
        return spec
    path = Path(spec)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; --spec names a TOML file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: {str(error.strerror).lower()}; --spec names a TOML file") from None
    except (ValueError, RecursionError) as error:  # tomllib lets numbers and nesting without end through to Python
        raise InputError(f"{path}: not a TOML file: {error}") from None
    return parse_spec(content, name=str(path))


def parse_spec(content: Mapping[str, Any], *, name: str = "spec") -> Spec:
    """A `Spec` from what a TOML file holds; `name` is what messages call the file. Raises as `read_spec`."""
    known = [f.name for f in fields(Spec)]
    _check_keys(content, known, name, what="section")
    sections: dict[str, Any] = {}
    for key, kind in (("screen", ScreenSpec), ("units", Units), ("lost", Lost), ("stimuli", Stimuli)):
        if key in content:
            sections[key] = _section(kind, content[key], f"{name}, [{key}]")
    if "events" in content:
        table = _table(content["events"], f"{name}, [events]")
        own = {key: value for key, value in table.items() if key in ("source", "algorithm")}
        thresholds = {key: value for key, value in table.items() if key not in own}
        sections["events"] = _section(Events, own | {"thresholds": thresholds}, f"{name}, [events]")
    if "columns" in content:
        where = f"{name}, [columns]"
        _check_keys(_table(content["columns"], where), COLUMNS, where)
        sections["columns"] = _texts(content["columns"], where)
    if "readers" in content:
        where = f"{name}, [readers]"
        sections["readers"] = _texts(content["readers"], where)
        for file, reader in sections["readers"].items():
            check_id(reader, f"{where}, {file}")
    sections["stimulus"] = _stimuli(content.get("stimulus", []), name)
    return Spec(**sections)


def _stimuli(content: Any, name: str) -> dict[str, Stimulus]:
    if not isinstance(content, list):
        raise InputError(f"{name}, stimulus: expected [[stimulus]] sections, with two brackets")
    stimuli: dict[str, Stimulus] = {}
    for k, table in enumerate(content, start=1):
        where = f"{name}, [[stimulus]] number {k}"
        stimulus = _section(Stimulus, table, where)
        if stimuli.setdefault(stimulus.name, stimulus) is not stimulus:
            raise InputError(f"{where}: {stimulus.name!r} occurs twice; keep one")
    return stimuli


def merged_screen(spec: ScreenSpec, screen: Screen | None) -> ScreenSpec:
    """``[screen]``, in place of which a `Screen` counts where one is given."""
    return spec if screen is None else ScreenSpec(screen.size_px, screen.size_mm, screen.distance_mm)


def _section(kind: type[T], content: Any, where: str) -> T:
    table = _table(content, where)
    _check_keys(table, [f.name for f in fields(kind)], where)  # type: ignore[arg-type]
    try:
        return kind(**table)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _table(content: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: expected a section with keys, got {content!r}")
    return content


def _check_keys(content: Collection[str], known: Sequence[str], where: str, *, what: str = "key") -> None:
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{where}: unknown {what} {key!r}{hint}; known are {', '.join(known)}")


def _texts(content: Any, where: str) -> Mapping[str, str]:
    for key, value in _table(content, where).items():
        if not isinstance(value, str) or not value:
            raise InputError(f"{where}: {key} must be text in quotes, got {value!r}")
    return dict(content)


def _check_choice(key: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{key} must be one of {', '.join(choices)}, got {value!r}{hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _positive_pair(value: Any, name: str) -> tuple[Any, Any]:
    if not _is_list(value) or len(value) != 2 or not all(_is_number(n) and n > 0 for n in value):
        raise InputError(f"{name} must be two numbers above zero, [width, height], got {value!r}")
    return value[0], value[1]


def _rectangle(value: Any) -> Box:
    if not _is_list(value) or len(value) != 4 or not all(map(_is_number, value)):
        raise InputError(f"rectangle must be four numbers, [x0, y0, x1, y1], got {value!r}")
    x0, y0, x1, y1 = map(float, value)
    if x0 >= x1 or y0 >= y1:
        raise InputError(f"rectangle must have x0 < x1 and y0 < y1, got {value!r}")
    return x0, y0, x1, y1
