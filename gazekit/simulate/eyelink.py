"""EyeLink ASC files, written from simulated recordings as ``edf2asc`` writes them.

Source: EyeLink Portable Duo user manual, "The ASC File Format" (lines and their order), and the Data Viewer manual,
"Protocol for EyeLink Data to Viewer Integration" (``!V`` messages); column widths as public recordings show them.
Nothing here is shared with the code that reads these files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.geometry import Screen, screen_px_per_degree
from gazekit.simulate.desk import DESK, DeskSummary, ScreenTrial, Session, simulate_desk
from gazekit.simulate.files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 1000.0

CLOCK_MS = 1_500_000
"""On the tracker's clock when the recording's begins."""

CROSS_MS = 200
"""A cross is shown before each image; it is recorded too."""

VERGENCE_PX = (6.0, -1.5)
"""From the left eye's gaze to the right one's."""

VALIDATION_DVA = {"left": 0.41, "right": 0.31}
PUPIL = 900.0
PAUSE_MS = 1500


@dataclass(frozen=True, slots=True)
class Setup:
    """What is recorded.

    Attributes
    ----------
    eyes : tuple of str
        ``left``, ``right``.
    resolution : bool
        Whether each sample has its pixels a degree (``edf2asc -res``); their mean is in the file in any case.
    remote : bool
        Whether the distance of the target on the forehead is recorded, as in a remote set-up.
    """

    eyes: tuple[str, ...] = ("left",)
    resolution: bool = False
    remote: bool = False

    @property
    def letters(self) -> str:
        """``L``, ``R`` or ``LR``."""
        return "".join(eye[0].upper() for eye in self.eyes)


SETUPS = (Setup(), Setup(("left", "right")), Setup(("right",), resolution=True), Setup(remote=True))
"""Those of the readers, in turn."""


def simulate_eyelink(out: str | os.PathLike[str], **options: Any) -> DeskSummary:
    """Write a simulated data set in the form of EyeLink ASC files, one a reader, each with another of `SETUPS`.

    Parameters
    ----------
    out : path
        Gets ``eyelink/``, ``images/``, screen.toml and SIMULATED.txt.
    **options
        As in `gazekit.simulate.desk.simulate_desk`.
    """
    return simulate_desk(out, _write_sessions, dataset="eyelink", rate_hz=RATE_HZ, **options)


def _write_sessions(folder: Path, sessions: Sequence[Session]) -> None:
    for k, session in enumerate(sessions):
        write_text(folder / f"{session.reader}.asc", asc_text(session.trials, SETUPS[k % len(SETUPS)]))


def asc_text(
    trials: Sequence[ScreenTrial], setup: Setup, *, rate_hz: float = RATE_HZ, screen: Screen = DESK.screen
) -> str:
    """A whole file.

    Parameters
    ----------
    trials : sequence of ScreenTrial
        Of the left eye. Each is a trial and a recording (``START`` to ``END``) of its own.
    setup : Setup
    rate_hz : {250, 500, 1000, 2000}
    screen : Screen

    Returns
    -------
    str
        At 2000 Hz, as without ``-ftime``, two samples have the same millisecond.
    """
    lines = list(_preamble(setup, screen))
    clock = CLOCK_MS
    for number, trial in enumerate(trials, start=1):
        written = _Writer(trial, setup, rate_hz, screen, clock)
        lines += written.lines(number)
        clock = written.end + PAUSE_MS
    return "\n".join([*lines, ""])


def _preamble(setup: Setup, screen: Screen) -> Iterator[str]:
    width, height = screen.size_px
    yield "** CONVERTED FROM SIMULATED.edf: no eye was tracked"
    yield "** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED"
    yield "** VERSION: EYELINK II 1"
    yield "** SOURCE: EYELINK CL"
    yield "** EYELINK II CL v5.15 Jan 24 2018 (EyeLink 1000 Plus)"
    yield "**"
    yield ""
    yield f"MSG\t{CLOCK_MS - 9000} DISPLAY_COORDS 0 0 {width - 1} {height - 1}"
    yield f"MSG\t{CLOCK_MS - 5000} !CAL"
    yield f">>>>>>> CALIBRATION (HV9,P-CR) FOR {setup.eyes[0].upper()}: <<<<<<<<<"
    yield f"MSG\t{CLOCK_MS - 5000} !CAL eye check box: (L,R,T,B)"
    yield "\t  -63     7   -44     4"
    for eye in setup.eyes:
        yield (
            f"MSG\t{CLOCK_MS - 2000} !CAL VALIDATION HV9 {setup.letters} {eye.upper():<5} GOOD ERROR "
            f"{VALIDATION_DVA[eye]:.2f} avg. 0.64 max  OFFSET 0.35 deg. 12.5,9.6 pix."
        )


@dataclass(frozen=True)
class _Writer:
    """One trial, `clock` being the tracker's time at which its recording starts."""

    trial: ScreenTrial
    setup: Setup
    rate_hz: float
    screen: Screen
    clock: int

    @property
    def shown(self) -> int:
        """Time of the image's onset."""
        return self.clock + CROSS_MS

    @property
    def end(self) -> int:
        return self.stamp(len(self.trial.samples))

    def stamp(self, k: int) -> int:
        """Time of a sample in whole milliseconds."""
        first = round(float(self.trial.samples["time_s"].iloc[0]) * self.rate_hz)
        return self.shown + int((first + k) * 1000 / self.rate_hz)

    def of_eye(self, left: NDArray[np.float64], eye: str) -> NDArray[np.float64]:
        return left + VERGENCE_PX if eye == "right" else left

    def resolution(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels a degree, (..., 2)."""
        return screen_px_per_degree(points, self.screen)

    def lines(self, number: int) -> Iterator[str]:
        width, height = self.screen.size_px
        words = "\t".join(eye.upper() for eye in self.setup.eyes)
        rate = f"RATE\t{self.rate_hz:7.2f}\tTRACKING\tCR\tFILTER\t2"
        target, resolution = "\tHTARGET" if self.setup.remote else "", "\tRES" if self.setup.resolution else ""
        settings = f"CR {self.rate_hz:.0f} 2 1 {self.setup.letters}"
        yield f"MSG\t{self.clock - 60} TRIALID {number}"
        yield f"MSG\t{self.clock - 1} RECCFG {settings}"
        yield f"MSG\t{self.clock - 1} ELCLCFG {'RTABLER' if self.setup.remote else 'MTABLER'}"
        yield f"MSG\t{self.clock - 1} GAZE_COORDS 0.00 0.00 {width - 1:.2f} {height - 1:.2f}"
        yield f"START\t{self.clock} \t{words}\tSAMPLES\tEVENTS"
        yield "PRESCALER\t1"
        yield "VPRESCALER\t1"
        yield "PUPIL\tAREA"
        yield f"EVENTS\tGAZE\t{words}{resolution}\t{rate}"
        yield f"SAMPLES\tGAZE\t{words}{target}{resolution}\t{rate}"
        yield f"INPUT\t{self.clock}\t0"
        yield f"MSG\t{self.clock} !MODE RECORD {settings}"
        centre = np.array([(side - 1) / 2 for side in self.screen.size_px])
        for k in range(round(CROSS_MS * self.rate_hz / 1000)):
            yield self.sample(self.clock + int(k * 1000 / self.rate_hz), centre)
        x0, y0, x1, y1 = self.trial.drawn
        image = f"../images/{self.trial.image_id}.dcm"
        # sent late: the number in front says how long the image had been there
        yield f"MSG\t{self.shown + 8} 8 !V IMGLOAD TOP_LEFT {image} {x0} {y0} {x1 - x0} {y1 - y0}"
        gaze = self.trial.samples[["x_px", "y_px"]].to_numpy(np.float64)
        before, after = self.events(gaze)
        for k, point in enumerate(gaze):
            yield from before.get(k, ())
            yield self.sample(self.stamp(k), point)
            yield from after.get(k, ())
        mean = self.resolution(gaze[np.isfinite(gaze).all(axis=1)]).mean(axis=0)
        yield f"END\t{self.end} \tSAMPLES\tEVENTS\tRES\t{mean[0]:7.2f}\t{mean[1]:7.2f}"
        yield f"MSG\t{self.end + 21} TRIAL_RESULT 0"

    def sample(self, time: int, left: NDArray[np.float64]) -> str:
        cells = [str(time)]
        lost = not np.isfinite(left).all()
        for eye in self.setup.eyes:
            x, y = self.of_eye(left, eye)
            cells += ["   .", "   .", "    0.0"] if lost else [f"{x:7.1f}", f"{y:7.1f}", f"{PUPIL:7.1f}"]
        if self.setup.resolution:
            cells += ["   .", "   ."] if lost else [f"{value:7.2f}" for value in self.resolution(left)]
        cells.append("..." if len(self.setup.eyes) == 1 else ".....")
        if self.setup.remote:
            cells[-1] += " "
            cells += [f"{5069.0:7.1f}", f"{3637.0:7.1f}", f"{self.screen.distance_mm:7.1f} ............."]
        return "\t".join(cells)

    def events(self, gaze: NDArray[np.float64]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """Lines that stand before and after each sample: starts before an event's first one, ends after its last."""
        before: dict[int, list[str]] = {}
        after: dict[int, list[str]] = {}
        times = self.trial.samples["time_s"].to_numpy(np.float64)
        truth = self.trial.fixations[["onset_s", "offset_s"]].to_numpy(np.float64)
        edges = np.searchsorted(times, truth + [-1e-9, 1e-9], side="right") - [0, 1]
        edges = edges[edges[:, 0] <= edges[:, 1]]
        for eye in self.setup.eyes:
            letter = "L" if eye == "left" else "R"
            for first, last in edges.tolist():
                begin, _, cells = self.span(first, last)
                x, y = np.nanmean(self.of_eye(gaze[first : last + 1], eye), axis=0)
                cells += [f"{x:7.1f}", f"{y:7.1f}", f"{PUPIL:7.0f}"]
                if self.setup.resolution:
                    cells += [f"{value:7.2f}" for value in self.resolution(np.array([x, y]))]
                before.setdefault(first, []).append(f"SFIX {letter}   {begin}")
                after.setdefault(last, []).append(f"EFIX {letter}   " + "\t".join(cells))
            for first, last in zip(edges[:-1, 1] + 1, edges[1:, 0] - 1, strict=True):
                if first < last:
                    self.saccade(int(first), int(last), letter, gaze, before, after)
        return before, after

    def saccade(
        self,
        first: int,
        last: int,
        letter: str,
        gaze: NDArray[np.float64],
        before: dict[int, list[str]],
        after: dict[int, list[str]],
    ) -> None:
        """A saccade between two fixations, and the blink within it."""
        begin, _, cells = self.span(first, last)
        closed = np.flatnonzero(np.isnan(gaze[first : last + 1, 0])) + first
        before.setdefault(first, []).append(f"SSACC {letter}  {begin}")
        if len(closed):
            shut, _, blink = self.span(int(closed[0]), int(closed[-1]))
            before.setdefault(int(closed[0]), []).append(f"SBLINK {letter} {shut}")
            after.setdefault(int(closed[-1]), []).append(f"EBLINK {letter} " + "\t".join(blink))
        cells += [f"{v:7.1f}" if np.isfinite(v) else "   ." for v in gaze[[first, last]].ravel()]
        after.setdefault(last, []).append(f"ESACC {letter}  " + "\t".join([*cells, f"{1.0:7.2f}", f"{100:7.0f}"]))

    def span(self, first: int, last: int) -> tuple[int, int, list[str]]:
        """Times of an event's first and last sample, and the cells that tell them and its duration."""
        begin, end = self.stamp(first), self.stamp(last)
        return begin, end, [str(begin), str(end), f"{end - begin + 1000 / self.rate_hz:g}"]
