"""A progress bar for work whose amount is known only once it is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from gazekit_cli.console import Advance, progress


@contextmanager
def counting(label: str, unit: str, *, then: str = "") -> Iterator[Advance]:
    """Yield a function that takes what is done and what there is in all; see `gazekit_cli.console.progress`."""
    with progress(label, None, unit, then=then) as advance:
        yield advance


@contextmanager
def in_turn(*parts: tuple[str, str, str]) -> Iterator[list[Callable[[int, int], None]]]:
    """Bars of work in several parts: a part's first report ends the bar of the part before it.

    Parameters
    ----------
    *parts : (label, unit, then)
        As of `counting`, in the order in which they come. A part may not come at all.

    Yields
    ------
    list of callable
        For each part, what takes items done and items in all.
    """
    with ExitStack() as stack:
        current: list[Advance] = []

        def begin(part: tuple[str, str, str]) -> Advance:
            stack.close()
            label, unit, then = part
            return stack.enter_context(counting(label, unit, then=then))

        def told(number: int) -> Callable[[int, int], None]:
            def advance(done: int, total: int) -> None:
                while len(current) <= number:
                    current.append(begin(parts[number]))
                current[number](done, total)

            return advance

        current.append(begin(parts[0]))
        yield [told(number) for number in range(len(parts))]
