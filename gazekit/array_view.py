"""One array over all shards of a cache, as if it were one: read piece by piece, handed out as copies."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.cache_files import check_finite

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from gazekit.cache import PriorCache


class ArrayView:
    """One array over all shards: indexed by an int, a slice or an index array, always as a copy."""

    def __init__(self, cache: PriorCache, name: str, starts: Sequence[int]) -> None:
        self._cache, self._name, self._starts = cache, name, starts
        self._spec = cache.specs[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (self._starts[-1], *self._spec.row_shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the whole array."""
        return np.dtype(self._spec.dtype)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._range(start, max(start, stop))
            key = np.arange(start, stop, step)
        if np.ndim(key) == 0:
            i = row_position(key, len(self))
            single: NDArray[Any] = self._range(i, i + 1)[0]
            return single
        index = np.asarray(key)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.intp)
        out = np.empty((len(index), *self._spec.row_shape), self.dtype)
        for at, i in enumerate(index.tolist()):
            out[at] = self[i]
        return out

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the array lies in several files, so it can only be copied")
        whole = self._range(0, len(self))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _range(self, start: int, stop: int) -> NDArray[Any]:
        k = bisect.bisect_right(self._starts, start) - 1
        for other in range(k, bisect.bisect_left(self._starts, stop)):
            self._cache.shard_array(other, self._name)  # checked before memory is taken on the header's word
        out = np.empty((stop - start, *self._spec.row_shape), self.dtype)
        at = start
        while at < stop:
            first, end = self._starts[k], min(self._starts[k + 1], stop)
            if end > at:
                out[at - start : end - start] = self._cache.shard_array(k, self._name)[at - first : end - first]
                at = end
            k += 1
        if self._name == "fixations":
            check_finite(out, self._cache.path)
        return out


def row_position(key: Any, n: int) -> int:
    """Place of row `key` of n, where a negative one counts from the end; `IndexError` beyond."""
    i = int(key.__index__())
    if not -n <= i < n:
        raise IndexError(f"row {i} of {n}")
    return i % n
