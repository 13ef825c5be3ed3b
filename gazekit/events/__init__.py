"""Gaze samples to fixations and blinks.

`detect_fixations` is what most people need. Below it, `trace_samples` turns a table of samples into a `Trace` (time,
degrees, short gaps filled, segments between long ones), and each algorithm is a function of a `Trace` with its
thresholds as keywords. Times are seconds and data, never an index: irregular and fractional ones are taken as they are.
"""

from __future__ import annotations

from gazekit.events.blinks import detect_blinks
from gazekit.events.detection import ALGORITHMS, detect_fixations
from gazekit.events.eyes import combine_eyes
from gazekit.events.runs import Runs
from gazekit.events.saccades import measure_saccades
from gazekit.events.samples import trace_samples
from gazekit.events.trace import Trace, make_trace

__all__ = [
    "ALGORITHMS",
    "Runs",
    "Trace",
    "combine_eyes",
    "detect_blinks",
    "detect_fixations",
    "make_trace",
    "measure_saccades",
    "trace_samples",
]
