"""EGD-CXR's transcripts (gaze-formats 2.5): phrases with times, as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.sources.tables import bad_table, shorten

if TYPE_CHECKING:
    import pandas as pd

MAX_TRANSCRIPT_BYTES = 16 << 20

# a mark after a word is a word of its own, a mark inside one ("3.5", "and/or") is not
_WORD = re.compile(r"[.,;:/?!](?=[.,;:/?!]*(?:\s|$))|\S+?(?=[.,;:/?!]*(?:\s|$))")


def read_transcript(path: Path, name: str, warnings: list[str]) -> pd.DataFrame | None:
    """``transcript.json`` as ``word, onset_s, offset_s``; None, with a warning, where there is none.

    A phrase has one time, which each of its words carries; punctuation after a word is a word of its own, as in
    REFLACX.

    Raises
    ------
    RecordError
        ``bad_table``: not JSON as the format says.
    """
    import pandas as pd

    if not path.exists():
        warnings.append(f"{name}: no such file; the reading is used without it")
        return None
    words: list[tuple[str, float, float]] = []
    for k, phrase in enumerate(_phrases(path, name), start=1):
        where = f"{name}, phrase {k}"
        text = phrase.get("phrase") if isinstance(phrase, Mapping) else None
        if not isinstance(text, str):
            raise bad_table(f"{where}: expected a phrase with its times, found {shorten(str(phrase))}")
        onset, offset = (_time(phrase, key, where) for key in ("begin_time", "end_time"))
        if offset < onset:
            warnings.append(f"{where}: ends before it begins; kept")
        words += [(word, onset, offset) for word in _WORD.findall(text)]
    texts = pd.Series([word for word, _, _ in words], dtype=object)
    times = np.array([(onset, offset) for _, onset, offset in words], np.float64).reshape(-1, 2)
    return pd.DataFrame({"word": texts, "onset_s": times[:, 0], "offset_s": times[:, 1]})


def _phrases(path: Path, name: str) -> list[Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TRANSCRIPT_BYTES + 1)
    except OSError as error:
        raise bad_table(f"{name}: {error.strerror or 'cannot be read'}") from None
    if len(content) > MAX_TRANSCRIPT_BYTES:
        raise bad_table(f"{name}: larger than {MAX_TRANSCRIPT_BYTES:,} bytes; this is not a transcript")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise bad_table(f"{name}: not UTF-8 at byte offset {error.start}; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise bad_table(f"{name}, line {error.lineno}: not JSON: {error.msg}; download it again") from None
    except RecursionError:
        raise bad_table(f"{name}: nested too deeply; this is not a transcript") from None
    phrases = found.get("time_stamped_text") if isinstance(found, dict) else None
    if not isinstance(phrases, list):
        raise bad_table(f"{name}: no list time_stamped_text in it; download it again")
    return phrases


def _time(phrase: Mapping[str, Any], key: str, where: str) -> float:
    value = phrase.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad_table(f"{where}, {key}: expected a time in seconds, found {shorten(str(value))}")
    return float(value)
