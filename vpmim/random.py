"""Counter-based random numbers: the draw for an image depends on (seed, visit, image, stream) and on nothing else.

A training step that draws from here has no generator state to save or to share. A resumed run, a batch of another
composition, several processes and another device all see the same numbers bit for bit, because everything up to
the last conversion is integer arithmetic. No intermediate overflows 63 bits: a compiler is free to do what it likes
with signed overflow, and torch's does.

Shape suffixes: B images, J counters an image, N draws an image.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_FLOAT_BITS = 24


class Stream(IntEnum):
    """What a draw is for. Separate streams: an option that needs more draws leaves the others as they were."""

    CROP = 0
    FLIP = 1
    MASK = 2
    KAPPA = 3


def uniform(seed: int, visit: int | Tensor, index_B: Tensor, *, stream: int, n: int) -> Tensor:
    """Uniform numbers for a batch.

    Parameters
    ----------
    seed : int in [0, 2^64)
    visit : int in [0, 2^32), or int64 tensor that broadcasts against `index_B`
        Which of its visits to the image this is; the epoch, where each epoch visits an image once.
    index_B : (B,) int64 in [0, 2^32)
        Each image's place in the data set; its device is where the numbers are made.
    stream : int in [0, 2^32)
        `Stream`, or any other constant.
    n : int
        Draws an image; the first ones do not depend on how many are asked for.

    Returns
    -------
    (B, n) float32 in [0, 1), multiples of 2^-24.

    Notes
    -----
    Philox4x32-10 (Salmon et al., SC 2011) with the counter (block of four draws, image, visit, stream) and the seed as
    its key.
    """
    block_J = torch.arange(-(-n // 4), device=index_B.device)
    none_BJ = torch.zeros_like(index_B)[:, None] + torch.zeros_like(block_J)
    visit_B = torch.zeros_like(index_B) + visit
    counter = (none_BJ + block_J, none_BJ + index_B[:, None], none_BJ + visit_B[:, None], none_BJ + stream)
    words = philox(counter, (seed & _WORD, seed >> 32 & _WORD))
    word_BN = torch.stack(words, dim=2).flatten(1)[:, :n]
    return (word_BN >> (32 - _FLOAT_BITS)).to(torch.float32) * 2.0**-_FLOAT_BITS


def permutation(seed: int, epoch: int, n: int, *, stream: int = 0) -> np.ndarray:
    """Order in which an epoch visits n images: (n,) int64, a function of (seed, epoch, stream, n)."""
    return np.random.default_rng((seed, epoch, stream)).permutation(n)


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four 32-bit words (in int64) from a counter of four and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def _multiply(word: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of the product of two 32-bit words, the multiplier taken in halves."""
    low = word * (by & 0xFFFF)
    rest = word * (by >> 16) + (low >> 16)
    return rest >> 16, (rest & 0xFFFF) << 16 | low & 0xFFFF
