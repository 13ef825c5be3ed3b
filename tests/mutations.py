"""Bytes that were right once: edits of a file, drawn by hypothesis, and the watch under which they are read."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Edit = tuple[float, str, bytes]

TELLING = (
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x00\x80",
    b'"',
    b",",
    b"\n",
    b"\r",
    b"=",
    b"[" * 600,
    b"{",
    b"nan",
    b"-1",
    b"1e999",
)
NUMBERS = (
    b"9" * 30,
    b"9" * 5000,
    b"0x10",
    b"1_0",
    b"2.5",
    b"1" * 310,
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b"../../x",
    b"'''",
)
SECONDS = 20
MEGABYTES = 1000


def edits(largest: int = 5) -> st.SearchStrategy[list[Edit]]:
    """Up to `largest` places of a file, what is done there, and the bytes it is done with."""
    data = st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from(TELLING + NUMBERS))
    kinds = st.sampled_from(["set", "drop", "add", "repeat", "cut", "flip"])
    return st.lists(st.tuples(st.floats(0, 1), kinds, data), min_size=1, max_size=largest)


def edited(content: bytes, changes: Sequence[Edit], start: int = 0) -> bytes:
    """`content` with the edits applied one after the other, none before `start`."""
    out = bytearray(content)
    for where, kind, data in changes:
        at = min(start + int(where * max(len(out) - start, 0)), len(out))
        if kind == "set":
            out[at : at + len(data)] = data
        elif kind == "drop":
            del out[at : at + len(data)]
        elif kind == "add":
            out[at:at] = data
        elif kind == "repeat":
            out[at:at] = out[at : at + 50 * len(data)]
        elif kind == "cut" and data[0] % 4 == 0:  # seldom: a short file has little to find
            del out[at:]
        elif at < len(out):
            out[at] ^= 1 << (data[0] % 8)
    return bytes(out)


def random_edits(rng: np.random.Generator, n: int) -> list[Edit]:
    """As `edits`, drawn by numpy: for mutants that are made many at a time."""
    kinds = ("set", "drop", "add", "repeat", "cut", "flip", "flip", "flip")
    return [(float(rng.random()), str(rng.choice(kinds)), rng.bytes(int(rng.integers(1, 9)))) for _ in range(n)]


def examples(n: int) -> settings:
    """`n` examples in ``make test``; as many times more as the loaded profile has more than 100."""
    return settings(
        max_examples=max(1, n * settings.default.max_examples // 100),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def scaled(n: int) -> int:
    """`n` in ``make test``, more under a profile that has more examples."""
    return max(1, n * settings.default.max_examples // 100)


@contextmanager
def watched() -> Iterator[None]:
    """Fail after `SECONDS`, or if the largest memory of this process grows by `MEGABYTES`."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"no end after {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, kept)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEGABYTES, f"{grown:.0f} MB more"
