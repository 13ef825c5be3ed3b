"""Counter-based random numbers: exact against integers of any length, and keyed by nothing but their keys."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmim.random import Stream, permutation, philox, uniform

WORD = 0xFFFFFFFF


def slow_philox(counter, key):
    """Philox4x32-10 in Python's own integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(b >> 32) ^ c[1] ^ k[0], b & WORD, (a >> 32) ^ c[3] ^ k[1], a & WORD]
        k = [(k[0] + 0x9E3779B9) & WORD, (k[1] + 0xBB67AE85) & WORD]
    return c


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_vectors(counter, key, expected):
    counter, key, expected = ([int(word, 16) for word in words.split()] for words in (counter, key, expected))
    assert [int(word) for word in philox(tuple(torch.tensor(word) for word in counter), tuple(key))] == expected
    assert slow_philox(counter, key) == expected


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    visit=st.integers(0, WORD),
    index=st.integers(0, WORD),
    stream=st.integers(0, 100),
)
def test_draws_are_the_top_bits_of_philox_of_their_keys(seed, visit, index, stream):
    got = uniform(seed, visit, torch.tensor([index]), stream=stream, n=6)[0].tolist()
    words = [word for block in (0, 1) for word in slow_philox((block, index, visit, stream), (seed & WORD, seed >> 32))]
    assert got == [(word >> 8) / 2**24 for word in words[:6]]


def test_a_draw_does_not_depend_on_the_batch_it_is_in():
    whole = uniform(3, 2, torch.arange(50), stream=Stream.MASK, n=7)
    picked = torch.tensor([41, 7, 7, 0])
    assert torch.equal(uniform(3, 2, picked, stream=Stream.MASK, n=7), whole[picked])
    assert torch.equal(uniform(3, 2, torch.arange(50), stream=Stream.MASK, n=4), whole[:, :4])


def test_visit_may_be_a_number_or_a_tensor():
    index = torch.arange(6)
    expected = uniform(0, 5, index, stream=0, n=3)
    assert torch.equal(uniform(0, torch.tensor(5), index, stream=0, n=3), expected)
    assert torch.equal(uniform(0, torch.full((6,), 5), index, stream=0, n=3), expected)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"visit": 1}, {"stream": 1}, {"offset": 1}])
def test_every_key_changes_the_draws(changed):
    def draw(seed=0, visit=0, stream=0, offset=0):
        return uniform(seed, visit, torch.arange(1000) + offset, stream=stream, n=4)

    a, b = draw().flatten(), draw(**changed).flatten()
    assert (a == b).float().mean() < 0.001
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06  # 4 standard deviations of 4,000 independent pairs


def test_draws_are_uniform_and_uncorrelated():
    u = uniform(0, 0, torch.arange(2000), stream=0, n=50).double().numpy()
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, bins=100, range=(0, 1))[0]
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert 50 < chi2 < 160  # 99 degrees of freedom
    neighbours = [
        np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1],
        np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1],
    ]
    assert max(map(abs, neighbours)) < 0.013


def test_permutation_is_one_and_is_keyed_by_seed_and_epoch():
    order = permutation(4, 2, 100)
    assert sorted(order) == list(range(100))
    assert np.array_equal(order, permutation(4, 2, 100))
    assert not np.array_equal(order, permutation(4, 3, 100))
    assert not np.array_equal(order, permutation(5, 2, 100))
