"""Names of trials that are part of an id, from what a tracker calls them."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import count

LONGEST = 40

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]+")


def new_name(text: str, taken: Collection[str]) -> str:
    """`text` in the characters of an id, or a number where none is left; with ``-2`` and so on if it is `taken`."""
    stem = _NOT_IN_NAMES.sub("-", text).strip("-")[:LONGEST] or str(len(taken) + 1)
    return next(name for k in count(1) if (name := stem if k == 1 else f"{stem}-{k}") not in taken)
