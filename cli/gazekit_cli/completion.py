"""What a shell is offered for the value of an option: the names that the library itself knows, when it is asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable


def names_in(*places: str) -> Callable[[str], list[str]]:
    """A completion from a table, a tuple or a function of the library.

    Parameters
    ----------
    *places : "module:name"
        Where the names are; a function is called. Imported when a shell asks, so that a command starts as fast as
        without it.
    """

    def complete(incomplete: str) -> list[str]:
        found: list[str] = []
        for place in places:
            module, _, name = place.partition(":")
            names: Iterable[str] | Callable[[], Iterable[str]] = getattr(importlib.import_module(module), name)
            found += names() if callable(names) else names
        return [name for name in found if name.startswith(incomplete)]

    return complete
