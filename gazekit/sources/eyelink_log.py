"""What the lines of an EyeLink ASC file that are no samples say: recordings, trials, pictures and fixations."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gazekit.sources.eyelink_format import (
    COMMENTS,
    IGNORED,
    Fixation,
    Picture,
    SampleLine,
    display,
    file_name,
    fixation_of,
    mode,
    number,
    picture,
    picture_variable,
    resolution_of,
    sample_line,
    validation,
    without_offset,
)

if TYPE_CHECKING:
    from gazekit.geometry import Box

_TRACKER = re.compile(r"\*\* (EYELINK .+? v[\d.]+)")
_VARIABLE = re.compile(r"!V TRIAL_VAR\s+(\S+)\s+(.+)")


@dataclass(slots=True)
class Block:
    """One recording, ``START`` to ``END``: lines `first` to `last` (exclusive) of the file."""

    first: int
    start_ms: float
    last: int = -1
    end_ms: float = -math.inf
    samples: SampleLine | None = None
    events_are_gaze: bool = True
    px_per_deg: tuple[float, float] | None = None
    fixations: list[Fixation] = field(default_factory=list)
    validation_dva: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Span:
    """One trial: lines `first` to `last` (exclusive), those of its messages."""

    name: str
    first: int
    last: int = -1


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the screen, from `start_ms` up to `stop_ms`; `name` is None where nothing names it."""

    start_ms: float = -math.inf
    stop_ms: float = math.inf
    name: str | None = None
    drawn: Box | None = None
    anchor: tuple[float, float, float] | None = None


@dataclass
class Log:
    """The lines that are no samples, read in the order of the file with `take` and then `close`.

    Attributes
    ----------
    name : str
        What messages call the file.
    blocks : list of Block
    spans : list of Span
    messages : list of (line, ms, text)
        Those that are not used up here, the offset that some begin with taken off.
    screen : (x0, y0, x1, y1) or None
        Half-open range of the display's pixels, as gaze is written.
    facts : dict
    counts : Counter
    warnings : list of str
    """

    name: str
    blocks: list[Block] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    messages: list[tuple[int, float, str]] = field(default_factory=list)
    screen: Box | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    _screen_is_tracker_s: bool = False
    _validation_dva: dict[str, float] = field(default_factory=dict)

    def take(self, line: int, text: str) -> None:
        """One line."""
        words = text.split()
        if not words or text[0].isspace() or words[0] in IGNORED:
            return
        block = self.blocks[-1] if self.blocks and self.blocks[-1].last < 0 else None
        key = words[0]
        if text.startswith(COMMENTS):
            if found := _TRACKER.match(text):
                self.facts["tracker"] = found[1]
        elif key == "MSG":
            self._message(line, text)
        elif key == "START":
            self._end_block(line)
            start_ms = number(words[1]) if len(words) > 1 else float("nan")
            self.blocks.append(Block(line, start_ms, validation_dva=dict(self._validation_dva)))
        elif block is None or key not in ("SAMPLES", "EVENTS", "END", "EFIX"):
            self.counts["unknown_line"] += 1
        elif key == "SAMPLES":
            block.samples = sample_line(words)
            if block.samples.rate_hz is not None:
                self.facts.setdefault("sampling_rate_hz", block.samples.rate_hz)
        elif key == "EVENTS":
            block.events_are_gaze = "GAZE" in words
        elif key == "END":
            block.px_per_deg = resolution_of(words)
            block.end_ms = number(words[1]) if len(words) > 1 else block.end_ms
            block.last = line
        elif (fixation := fixation_of(line, words)) is not None:
            block.fixations.append(fixation)
        else:
            self.counts["bad_fixation_line"] += 1

    def close(self, line: int) -> None:
        """The end of the file, after its last line."""
        self._end_block(line)
        self._end_span(line)
        if not self.spans:
            begins = [0, *(block.last + 1 for block in self.blocks)]
            self.spans = [Span(str(k + 1), begins[k], block.last) for k, block in enumerate(self.blocks)]

    def shown(self, span: Span, block: Block, variable: str | None) -> list[Shown]:
        """The pictures of a trial during a recording of it.

        Parameters
        ----------
        span : Span
        block : Block
        variable : str or None
            Trial variable, or beginning of a message, that names the picture; None: ``!V IMGLOAD``, or the one trial
            variable that holds the name of an image file.

        Returns
        -------
        list of Shown
            In order of time. A picture is there until the next one. One that is named after the recording was there
            all the time, unless the offset of its message says since when. Where none is named, the whole recording,
            without a name.
        """
        pictures: list[Picture] = []
        variables: dict[str, str] = {}
        first, last = (bisect_left(self.messages, (line,)) for line in (span.first, span.last))
        for line, time_ms, text in self.messages[first:last]:
            if found := _VARIABLE.match(text):
                variables[found[1]] = found[2]
            elif variable is None:
                pictures += [p for p in [picture(line, time_ms, text, self.screen)] if p is not None]
            elif text.startswith(f"{variable} "):
                pictures.append(Picture(line, time_ms, file_name(text.removeprefix(variable))))
        there = [replace(p, time_ms=-math.inf) for p in pictures if p.line < block.first][-1:]
        meanwhile = [p for p in pictures if block.first <= p.line and (p.line < block.last or p.time_ms < block.end_ms)]
        there += sorted(meanwhile, key=lambda p: p.time_ms)
        there = [p for k, p in enumerate(there) if k == 0 or _look(p) != _look(there[k - 1])]
        if any(p.name for p in there):
            stops = [*(p.time_ms for p in there[1:]), math.inf]
            return [Shown(p.time_ms, stop, *_look(p)) for p, stop in zip(there, stops, strict=True) if p.name]
        late = next((p for p in pictures if p.name), Picture(0, 0, picture_variable(variables, variable)))
        return [Shown(-math.inf, math.inf, *_look(late))]

    def _end_block(self, line: int) -> None:
        if self.blocks and self.blocks[-1].last < 0:
            first = self.blocks[-1].first
            self.warnings.append(f"{self.name}, line {first + 1}: START without END; taken to end at line {line}")
            self.blocks[-1].last = line

    def _end_span(self, line: int) -> None:
        if self.spans and self.spans[-1].last < 0:
            self.spans[-1].last = line

    def _message(self, line: int, text: str) -> None:
        parts = text.split(maxsplit=2)
        if len(parts) < 3:
            return
        time_ms, message = without_offset(number(parts[1]), parts[2])
        if message.startswith("TRIALID"):
            self._end_span(line)
            self.spans.append(Span(message.removeprefix("TRIALID").strip(), line))
        elif message.startswith("TRIAL_RESULT"):
            self._end_span(line + 1)
        elif (coordinates := display(message)) is not None:
            self._set_screen(line, coordinates, tracker_s=message.startswith("GAZE"))
        elif (error := validation(message)) is not None:
            self._validation_dva[error[0]] = error[1]
        elif (settings := mode(message)) is not None:
            self.facts.update(settings)
        else:
            self.messages.append((line, time_ms, message))

    def _set_screen(self, line: int, coordinates: Box, *, tracker_s: bool) -> None:
        """Keep the display's coordinates, the tracker's own (GAZE_COORDS) rather than the experiment's."""
        if self._screen_is_tracker_s and not tracker_s:
            return
        left, top, right, bottom = coordinates
        # the last pixel is part of it; but no display has an odd number of pixels, and some scripts write the size
        last = 0 if (right - left) % 2 == 0 and (bottom - top) % 2 == 0 else 1
        screen = (left, top, right + last, bottom + last)
        if self._screen_is_tracker_s and screen != self.screen:
            self.warnings.append(f"{self.name}, line {line + 1}: the screen's coordinates change; the first are used")
            return
        self.screen, self._screen_is_tracker_s = screen, tracker_s


def _look(shown: Picture) -> tuple[str | None, Box | None, tuple[float, float, float] | None]:
    return shown.name, shown.drawn, shown.anchor
