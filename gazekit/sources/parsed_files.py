"""Files that hold many trials, parsed once while their trials are loaded one by one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from gazekit.errors import RecordError
from gazekit.sources.recording import Recording

MAX_BYTES = 256 << 20
"""Of files whose recordings are kept in memory; the last one is kept whatever its size."""


class ParsedFiles:
    """`parse` with a memory: a file is parsed again only if it has changed, or others have taken its place.

    Picklable, with an empty memory: each process parses for itself.

    Parameters
    ----------
    parse : callable
        Path of a file to its `Recording`.
    """

    def __init__(self, parse: Callable[[Path], Recording]) -> None:
        self.parse = parse
        self._kept: OrderedDict[tuple[Path, int, int], Recording] = OrderedDict()

    def __call__(self, path: Path) -> Recording:
        """The recording in a file; raises what `parse` raises, or `RecordError` (``unreadable``)."""
        try:
            stat = path.stat()
        except OSError as error:
            raise RecordError(
                "unreadable", f"{path.name}: {str(error.strerror).lower()}; copy the file again"
            ) from None
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._kept:
            self._kept[key] = self.parse(path)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(size for _, size, _ in self._kept) > MAX_BYTES:
            self._kept.popitem(last=False)
        return self._kept[key]

    def __reduce__(self) -> tuple[type[ParsedFiles], tuple[Callable[[Path], Recording]]]:
        return type(self), (self.parse,)
