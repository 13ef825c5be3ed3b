"""The id rule: what may name a row, a file and a column of every table."""

from __future__ import annotations

import re

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def is_id(text: str) -> bool:
    """Whether `text` obeys the id rule: 1 to 128 letters, digits, ``.``, ``_``, ``-``, the first not a dot."""
    return _ID.fullmatch(text) is not None
