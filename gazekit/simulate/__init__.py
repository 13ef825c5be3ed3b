"""Simulated readings: format-exact data sets with known truth, for tests, samples and experiments.

`simulate_reading` is the simulated radiologist, a pure function; `simulate_reflacx` and its like write a whole data
set. A format that can be written has one entry in `SIMULATORS`. None of this shares code with the readers of these
formats, so that a round trip tests both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gazekit.simulate.anatomy import Anatomy, Lesion
from gazekit.simulate.bids import simulate_bids
from gazekit.simulate.dataset import SimulationSummary, simulate_reflacx
from gazekit.simulate.egd import simulate_egd
from gazekit.simulate.eyelink import simulate_eyelink
from gazekit.simulate.gazepoint import simulate_gazepoint
from gazekit.simulate.mimic_eye import simulate_mimic_eye
from gazekit.simulate.parameters import ReaderParameters
from gazekit.simulate.pupil import simulate_pupil
from gazekit.simulate.reader import SimulatedReading, simulate_reading
from gazekit.simulate.table import simulate_table
from gazekit.simulate.tobii import simulate_tobii

SIMULATORS: dict[str, Callable[..., Any]] = {
    "reflacx": simulate_reflacx,
    "egd": simulate_egd,
    "mimic-eye": simulate_mimic_eye,
    "bids": simulate_bids,
    "gazepoint": simulate_gazepoint,
    "pupil": simulate_pupil,
    "tobii": simulate_tobii,
    "eyelink": simulate_eyelink,
    "table": simulate_table,
}
"""Data set name -> function that writes a simulated one."""

__all__ = [
    "SIMULATORS",
    "Anatomy",
    "Lesion",
    "ReaderParameters",
    "SimulatedReading",
    "SimulationSummary",
    "simulate_bids",
    "simulate_egd",
    "simulate_eyelink",
    "simulate_gazepoint",
    "simulate_mimic_eye",
    "simulate_pupil",
    "simulate_reading",
    "simulate_reflacx",
    "simulate_table",
    "simulate_tobii",
]
