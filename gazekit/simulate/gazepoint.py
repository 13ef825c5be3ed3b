"""Gazepoint Analysis exports, written from simulated sessions: 62 columns in the order of version 7.3, CRLF.

Shares have 5 decimals, as do seconds; each row ends in a comma, as those of Gazepoint Analysis do. Nothing here is
shared with the code that reads these files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.simulate.desk import DESK, DeskSummary, ScreenTrial, Session, simulate_desk
from gazekit.simulate.files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 60.0
TICKS_HZ = 10_000_000

HEADER = (
    "MEDIA_ID,MEDIA_NAME,CNT,TIME(2026/01/31 09:00:00.000),TIMETICK(f=10000000),FPOGX,FPOGY,FPOGS,FPOGD,FPOGID,FPOGV,"
    "BPOGX,BPOGY,BPOGV,CX,CY,CS,KB,KBS,USER,LPCX,LPCY,LPD,LPS,LPV,RPCX,RPCY,RPD,RPS,RPV,BKID,BKDUR,BKPMIN,LPMM,LPMMV,"
    "RPMM,RPMMV,DIAL,DIALV,GSR,GSR_US,GSR_US_TONIC,GSR_US_PHASIC,GSRV,HR,HRV,HRP,IBI,TTL0,TTL1,TTL2,TTL3,TTL4,TTL5,TTL6,"
    "TTLV,PIXS,PIXV,AOI,SACCADE_MAG,SACCADE_DIR,VID_FRAME,"
)
_PUPIL = "0.41000,0.52000,18.20000,1.00000,1"
_BIOMETRICS = "0.00000,0,0,0.00000,0.00000,0.00000,0,0.00000,0,0,0.00000,0,0,0,0,0,0,0,0,0.00000,0,"


def simulate_gazepoint(out: str | os.PathLike[str], **options: Any) -> DeskSummary:
    """Write a simulated data set in the form of Gazepoint Analysis: ``User 0_all_gaze.csv`` and fixations beside it.

    Parameters
    ----------
    out : path
        Gets ``gazepoint/``, ``images/``, screen.toml and SIMULATED.txt.
    **options
        As in `gazekit.simulate.desk.simulate_desk`.
    """
    return simulate_desk(out, _write_sessions, dataset="gazepoint", rate_hz=RATE_HZ, **options)


def _write_sessions(folder: Path, sessions: Sequence[Session]) -> None:
    for k, session in enumerate(sessions):
        all_gaze, fixations = exports(session.trials, DESK.screen.size_px)
        write_text(folder / f"User {k}_all_gaze.csv", all_gaze)
        write_text(folder / f"User {k}_fixations.csv", fixations)


def exports(trials: Sequence[ScreenTrial], screen_px: tuple[int, int]) -> tuple[str, str]:
    """``all_gaze.csv`` and ``fixations.csv`` of one session.

    Parameters
    ----------
    trials : sequence of ScreenTrial
        The media, shown one after the other; ``TIME`` and ``FPOGID`` begin again with each.
    screen_px : (width, height)

    Returns
    -------
    (str, str)
        A fixation is written on each record within it, its duration so far; the last of them is its row in the second
        table. One that no record falls into is in neither.
    """
    gaze: list[str] = []
    fixations: list[str] = []
    tick, record = 700_000_000_000, 0
    for medium, trial in enumerate(trials):
        own: dict[int, str] = {}
        fixed = trial.fixations[["onset_s", "offset_s", "x_px", "y_px"]].to_numpy()
        for time, x, y in trial.samples[["time_s", "x_px", "y_px"]].to_numpy().tolist():
            number, valid, fixation = _fixation_at(fixed, time, screen_px)
            start = f"{medium},{trial.image_id}.png,{record},{time:.5f},{tick + round(time * TICKS_HZ)}"
            row = f"{start},{fixation},{_gaze(x, y, screen_px)},{_rest()}"
            gaze.append(row)
            if valid:
                own[number] = row
            record += 1
        fixations += own.values()
        tick += 60 * TICKS_HZ
    return _text(gaze), _text(fixations)


def _text(rows: Sequence[str]) -> str:
    return "".join(f"{row}\r\n" for row in (HEADER, *rows))


def _fixation_at(fixed: NDArray[np.float64], time: float, screen_px: tuple[int, int]) -> tuple[int, bool, str]:
    """Number, validity and the six cells of the fixation at a time; between two, the last one, not valid."""
    number = int(np.searchsorted(fixed[:, 0], time, side="right"))
    if number == 0:
        return 0, False, "0.00000,0.00000,0.00000,0.00000,0,0"
    onset, offset, x, y = fixed[number - 1].tolist()
    valid = time <= offset
    x, y = _shares(x, y, screen_px)
    return number, valid, f"{x:.5f},{y:.5f},{onset:.5f},{min(time, offset) - onset:.5f},{number},{int(valid)}"


def _gaze(x: float, y: float, screen_px: tuple[int, int]) -> str:
    if x != x:
        return "0.00000,0.00000,0"
    x, y = _shares(x, y, screen_px)
    return f"{x:.5f},{y:.5f},1"


def _shares(x: float, y: float, screen_px: tuple[int, int]) -> tuple[float, float]:
    """Pixels counted from the centre of the first one to shares of the screen counted from its edge."""
    return (x + 0.5) / screen_px[0], (y + 0.5) / screen_px[1]


def _rest() -> str:
    """Cursor, keys, user data, pupils, blink, biometrics, area of interest, saccade, video frame."""
    cursor = "0.50000,0.50000,0,,0,"
    blink, pupils_mm = "0,0.00000,12", "3.10000,1,3.20000,1"
    return f"{cursor},{_PUPIL},{_PUPIL},{blink},{pupils_mm},{_BIOMETRICS},0.00000,0.00000,0,"
