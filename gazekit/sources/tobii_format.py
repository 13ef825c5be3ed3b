"""The columns of Tobii's exports, whatever the program and version that wrote them.

Sources: the column names and units of Tobii Pro Lab ("Gaze point left X [DACS px]", before 1.194 without a unit or as
"(DACSmm)"), of Tobii Studio 3 ("GazePointLeftX (ADCSpx)") and 2 ("GazePointXLeft"), of the Tobii SDK's own recordings
("LGazePos2dx", shares of the screen) and of the Tobii Pro SDK ("left_gaze_point_on_display_area_x"), as their manuals
name them and as public recordings show them. DACS and ADCS are pixels or millimetres of the display, MCS those of the
medium shown on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

PIXELS = ("", "dacspx", "adcspx")
"""Units of a column in pixels of the display; none is written by programs that write no units."""

_NONE = ("",)
_TIME = ("", "ms", "us")

COLUMNS: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = MappingProxyType(
    {
        # the tracker's own clock is finer than that of a recording
        "time": (
            ("eyetrackertimestamp", _TIME),
            ("devicetimestamp", _NONE),
            ("recordingtimestamp", _TIME),
            ("timestamp", _NONE),
            ("time", _NONE),
        ),
        **{
            f"{axis}_{eye}": (
                (f"gazepoint{eye}{axis}", PIXELS),
                (f"gazepoint{axis}{eye}", PIXELS),
                (f"{eye[0]}gazepos2d{axis}", _NONE),
                (f"{eye}gazepointondisplayarea{axis}", _NONE),
            )
            for eye in ("left", "right")
            for axis in "xy"
        },
        **{axis: ((f"gazepoint{axis}", PIXELS),) for axis in "xy"},
        **{f"fixation_{axis}": ((f"fixationpoint{axis}", PIXELS),) for axis in "xy"},
        **{
            f"validity_{eye}": (
                (f"validity{eye}", _NONE),
                (f"{eye[0]}validity", _NONE),
                (f"{eye}gazepointvalidity", _NONE),
            )
            for eye in ("left", "right")
        },
        "event": (("eyemovementtype", _NONE), ("gazeeventtype", _NONE)),
        "event_index": (("eyemovementtypeindex", _NONE), ("fixationindex", _NONE)),
        "medium": (
            ("presentedmedianame", _NONE),
            ("presentedstimulusname", _NONE),
            ("recordingmedianame", _NONE),
            ("medianame", _NONE),
        ),
        "medium_x": (("presentedmediapositionx", PIXELS), ("mediaposx", PIXELS)),
        "medium_y": (("presentedmediapositiony", PIXELS), ("mediaposy", PIXELS)),
        "medium_width": (("presentedmediawidth", ("", "px")), ("mediawidth", ("", "px"))),
        "medium_height": (("presentedmediaheight", ("", "px")), ("mediaheight", ("", "px"))),
        "screen_width": (("recordingresolutionwidth", ("", "px")),),
        "screen_height": (("recordingresolutionheight", ("", "px")),),
        "screen": (("recordingresolution", ("", "px")),),
        "recording": (("recordingname", _NONE),),
        "reader": (("participantname", _NONE),),
        "sensor": (("sensor", _NONE),),
    }
)
"""Our name to theirs: column without spaces and case, and the units that it may have, the preferred ones first."""

TEXTS = ("validity_left", "validity_right", "event", "medium", "screen", "recording", "reader", "sensor")

SHARES = ("gazepos2d", "displayarea")
"""Parts of names of columns whose gaze is in shares of the screen."""

TIME_UNITS_S = MappingProxyType({"ms": 1e-3, "us": 1e-6})

MICROSECONDS = ("eyetrackertimestamp", "devicetimestamp", "time")
"""Columns without a unit that are in microseconds."""

CODES_OF_VALID = frozenset({"Valid", "0", "1"})
"""Pro Lab's word, and the codes of Studio and the SDK for an eye found for sure (0) or probably (1); 2 to 4 are not."""

PRO_SDK_VALIDITY = "gazepointvalidity"
"""Part of the names of columns of the Pro SDK, in which 1 is valid and 0 is not."""

FIXATION = "Fixation"
EYE_TRACKER = "Eye Tracker"
CALIBRATION = "eyetracker "
"""How Pro Lab calls the stimuli of its own calibration and validation, in lower case."""

_UNIT = re.compile(r"\s*[\[(]([^\])]*)[\])]\s*$")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file: its name there, its name without spaces and case, and its unit."""

    header: str
    base: str
    unit: str


def find_columns(header: Sequence[str]) -> dict[str, Column]:
    """The columns that are known, by our names."""
    there = {(column.base, column.unit): column for column in map(_column, header)}
    found: dict[str, Column] = {}
    for ours, theirs in COLUMNS.items():
        for base, units in theirs:
            if column := next((there[base, unit] for unit in units if (base, unit) in there), None):
                found[ours] = column
                break
    return found


def _column(header: str) -> Column:
    unit = _UNIT.search(header)
    base = header[: unit.start()] if unit else header
    # two signs are written for micro
    written = re.sub(r"\s", "", unit[1]).lower().replace("µ", "u").replace("μ", "u") if unit else ""
    return Column(header, re.sub(r"[\s_]", "", base).lower(), written)


def time_unit_s(column: Column, median_step: float) -> float:
    """Length of a time column's unit in seconds.

    Versions of Pro Lab write milliseconds or microseconds under one name without a unit. Their trackers record 30 to
    1200 samples a second, so that a step is 0.8 to 33 of the one, or 800 to 33,000 of the other.
    """
    if column.unit in TIME_UNITS_S:
        return TIME_UNITS_S[column.unit]
    if column.base in MICROSECONDS:
        return 1e-6
    return 1e-6 if column.base == "recordingtimestamp" and median_step > 200 else 1e-3


def valid_codes(column: Column) -> Collection[str]:
    """The cells of a validity column that say an eye was found."""
    return frozenset({"1", "True"}) if PRO_SDK_VALIDITY in column.base else CODES_OF_VALID
