"""Spans of a reading's time in which gaze counts: what was looked at while a sentence was said, or in a time slice.

Source of the rule for speech: the localisation work on REFLACX (Bigolin Lanfredi et al.). Readers look before they
speak, so the window of a sentence opens some time before its first word, but not before the sentence before it began:
``t0 = max(start - lead, start of the previous)``; it closes at ``t1``, the end of the sentence or the start of the
last word of interest in it. A fixation counts with the time it shares with (t0, t1].
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from gazekit.errors import InputError
from gazekit.reading import TIMES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LEAD_S = 1.5
"""Seconds before the first word of a sentence at which its window opens, as published; an older variant took 5."""

_ENDS = {"sentence": (".",), "phrase": (".", ",")}
_PUNCTUATION = (".", ",", "/")
_UNTIL = ("end", "last_mention", "first_mention", "start")


@dataclass(frozen=True, slots=True)
class Window:
    """A span of a reading's time.

    Attributes
    ----------
    start_s, stop_s : float
        Seconds, on the clock of the fixations.
    text : str
        What was said, "" for a slice of time.
    """

    start_s: float
    stop_s: float
    text: str = ""


def spoken_windows(
    transcript: pd.DataFrame,
    *,
    unit: Literal["sentence", "phrase", "word"] = "sentence",
    lead_s: float = LEAD_S,
    mentions: Collection[str] | None = None,
    until: Literal["end", "last_mention", "first_mention", "start"] = "end",
) -> list[Window]:
    """The window of each sentence, phrase or word of a dictation, in the order in which they were said.

    Parameters
    ----------
    transcript : DataFrame
        ``word, onset_s, offset_s``; a row may hold several words. A sentence ends with a row that ends in ``.``, a
        phrase also with one that ends in ``,``. Punctuation alone makes no window.
    unit : "sentence", "phrase" or "word"
        "word": each row that is not punctuation.
    lead_s : float
        Seconds before the unit's first word at which its window opens.
    mentions : collection of str, optional
        Words of interest, in any case; only units that hold one have a window. Default: every unit.
    until : "end", "last_mention", "first_mention" or "start"
        Where the window closes: with the unit, or where its last or first word of interest, or it itself, begins.
        The published default for a label is "last_mention".

    Returns
    -------
    list of Window
        ``start_s = max(onset - lead_s, onset of the unit before)``; the first unit has none before.

    Raises
    ------
    InputError
        An unknown unit or `until`, a negative lead, or a mention asked for without `mentions`.
    """
    if unit not in (*_ENDS, "word"):
        raise InputError(f'unit must be "sentence", "phrase" or "word", got {unit!r}')
    if until not in _UNTIL:
        raise InputError(f"until must be one of {', '.join(_UNTIL)}, got {until!r}")
    if not lead_s >= 0:
        raise InputError(f"lead_s must be seconds, 0 or more, got {lead_s}")
    if mentions is None and until.endswith("mention"):
        raise InputError(f"until={until!r} needs mentions, the words of interest")
    words = [str(word) for word in transcript["word"]]
    onset, offset = (transcript[name].to_numpy(np.float64).tolist() for name in TIMES)
    sought = None if mentions is None else {word.lower() for word in mentions}
    windows = []
    previous = -np.inf
    for rows in _units(words, unit):
        start = onset[rows[0]]
        found = [k for k in rows if sought is not None and not sought.isdisjoint(_spoken(words[k]))]
        stops = {"end": offset[rows[-1]], "start": start}
        if found:
            stops |= {"last_mention": onset[found[-1]], "first_mention": onset[found[0]]}
        if sought is None or found:
            windows.append(Window(max(start - lead_s, previous), stops[until], _text([words[k] for k in rows])))
        previous = start
    return windows


def time_slices(start_s: float, stop_s: float, *, width_s: float) -> list[Window]:
    """Windows of `width_s` seconds, one after the other from `start_s`; the last ends at `stop_s`.

    Raises
    ------
    InputError
        A width that is not positive, or a stop that is not after the start.
    """
    if not (0 < width_s < np.inf and -np.inf < start_s < stop_s < np.inf):
        raise InputError(f"expected start_s < stop_s and width_s > 0, got {start_s}, {stop_s}, {width_s}")
    # the tolerance keeps 0.3 / 0.1 from being four slices
    edges = start_s + width_s * np.arange(np.ceil((stop_s - start_s) / width_s - 1e-9))
    return [Window(a, b) for a, b in zip(edges.tolist(), [*edges[1:].tolist(), float(stop_s)], strict=True)]


def window_weights(fixations: pd.DataFrame, window: Window) -> NDArray[np.float64]:
    """Seconds that each fixation shares with a window: the ``weights`` of `gazekit.heatmap` and `patch_relevance`.

    Parameters
    ----------
    fixations : DataFrame
        Canonical table, or samples as `gazekit.samples_as_fixations` makes one of them.
    window : Window

    Returns
    -------
    (F,) float64
        ``min(offset, stop) - max(onset, start)``, 0 where that is negative.
    """
    onset, offset = (fixations[name].to_numpy(np.float64) for name in TIMES)
    return np.asarray(np.maximum(np.minimum(offset, window.stop_s) - np.maximum(onset, window.start_s), 0))


def _units(words: list[str], unit: str) -> list[list[int]]:
    """Rows of each unit that says something."""
    units: list[list[int]] = [[]]
    for k, word in enumerate(words):
        units[-1].append(k)
        if unit == "word" or word.endswith(_ENDS[unit]):
            units.append([])
    return [rows for rows in units if any(words[k] not in _PUNCTUATION for k in rows)]


def _spoken(row: str) -> set[str]:
    return {word.strip(".,/") for word in row.lower().split()}


def _text(words: Collection[str]) -> str:
    return " ".join(words).replace(" .", ".").replace(" ,", ",")
