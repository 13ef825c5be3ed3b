"""Lines of an EyeLink ASC file, written by hand, and the screen that they speak of."""

from __future__ import annotations

from gazekit import Screen

SCREEN = Screen(size_px=(1920, 1080), size_mm=(531.0, 299.0), distance_mm=650.0)
HEAD = ["** EYELINK II CL v5.15 Jan 24 2018", "MSG\t90 DISPLAY_COORDS 0 0 1919 1079"]
MONO = "SAMPLES\tGAZE\tLEFT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2"
EVENTS = "EVENTS\tGAZE\tLEFT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2"
START, END = "START\t100 \tLEFT\tSAMPLES\tEVENTS", "END\t110 \tSAMPLES\tEVENTS\tRES\t  40.00\t  41.00"


def sample(time: float, x: float, y: float) -> str:
    return f"{time:g}\t{x:7.1f}\t{y:7.1f}\t 1103.0\t..."


def samples(first: int, last: int) -> list[str]:
    """One a millisecond, at (time, 2 time)."""
    return [sample(time, time, 2 * time) for time in range(first, last + 1)]


def efix(first: int, last: int, x: float = 500.0, y: float = 300.0, eye: str = "L") -> str:
    return f"EFIX {eye}   {first}\t{last}\t{last - first + 1}\t{x:7.1f}\t{y:7.1f}\t   1100"


def block(*lines: str, spec: str = MONO) -> list[str]:
    return [START, EVENTS, spec, *lines, END]
