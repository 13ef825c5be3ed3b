"""The order of visits: every image equally often, or those with measured gaze more often, and by whom it is keyed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmim.order import epoch_visits, visits_an_epoch
from vpmim.random import permutation


def marked(n: int, measured: int) -> np.ndarray:
    """Which of n images have measured gaze: `measured` of them, at places of no order."""
    flags = np.zeros(n, bool)
    flags[np.random.default_rng(0).permutation(n)[:measured]] = True
    return flags


@pytest.mark.parametrize("measured", [0, 7, 20])
def test_without_a_share_every_image_is_visited_once_an_epoch(measured: int) -> None:
    for epoch in range(3):
        visits = epoch_visits(5, epoch, marked(20, measured), measured_share=0)
        assert np.array_equal(visits.index_V, permutation(5, epoch, 20))
        assert visits.visit_V.tolist() == [epoch] * 20


@pytest.mark.parametrize(("measured", "share"), [(10, 0.5), (15, 0.5), (20, 1.0), (0, 0.5), (0, 1.0)])
def test_a_share_that_is_there_already_or_cannot_be_had_changes_nothing(measured: int, share: float) -> None:
    asked, plain = (epoch_visits(5, 2, marked(20, measured), measured_share=s) for s in (share, 0))
    assert all(np.array_equal(a, b) for a, b in zip(asked, plain, strict=True))


def test_two_of_ten_images_take_six_of_ten_visits() -> None:
    measured = marked(10, 2)
    visited = [epoch_visits(0, epoch, measured, measured_share=0.6) for epoch in range(4)]
    for visits in visited:
        assert measured[visits.index_V].sum() == 6
    # 24 visits to 2 images, 16 to 8: 12 each and 2 each
    counts = Counter(np.concatenate([visits.index_V for visits in visited]).tolist())
    assert {counts[i] for i in np.flatnonzero(measured)} == {12}
    assert {counts[i] for i in np.flatnonzero(~measured)} == {2}
    numbers = sorted(int(v) for visits in visited for i, v in zip(*visits, strict=True) if i == measured.argmax())
    assert numbers == list(range(12))


@pytest.mark.parametrize(("n", "share", "expected"), [(5, 0.5, 3), (100, 0.55, 55), (10, 0.3, 3), (3, 1.0, 3)])
def test_a_share_that_does_not_divide_is_rounded_up_and_no_further(n: int, share: float, expected: int) -> None:
    measured = marked(n, 1)
    assert measured[epoch_visits(0, 0, measured, measured_share=share).index_V].sum() == expected


def test_visits_an_epoch_are_the_share_over_what_there_is() -> None:
    assert visits_an_epoch(marked(10, 2), measured_share=0.6) == pytest.approx(3)
    assert [visits_an_epoch(marked(10, k), measured_share=0.5) for k in (0, 5, 10)] == [1, 1, 1]


def test_the_groups_are_mixed_within_an_epoch() -> None:
    measured = marked(1000, 50)
    for epoch in range(3):
        halves = measured[epoch_visits(0, epoch, measured, measured_share=0.5).index_V].reshape(2, 500).mean(axis=1)
        assert halves == pytest.approx([0.5, 0.5], abs=0.1)


@settings(deadline=None)
@given(
    n=st.integers(1, 60), part=st.floats(0, 1), share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1),
    epochs=st.integers(1, 5),
)  # fmt: skip
def test_visits_are_unique_evenly_spread_and_at_least_the_share(n, part, share, seed, epochs):
    measured = marked(n, round(part * n))
    visited = [epoch_visits(seed, epoch, measured, measured_share=share) for epoch in range(epochs)]
    keys = [key for visits in visited for key in zip(visits.index_V.tolist(), visits.visit_V.tolist(), strict=True)]
    assert len(set(keys)) == len(keys) == epochs * n
    for group in (np.flatnonzero(measured), np.flatnonzero(~measured)):
        counts = [Counter(image for image, _ in keys)[image] for image in group.tolist()]
        assert not counts or max(counts) - min(counts) <= 1
    for visits in visited:
        assert not measured.any() or measured[visits.index_V].sum() >= share * n - 1e-9


def test_the_order_is_keyed_by_seed_and_epoch() -> None:
    measured = marked(40, 4)

    def order(seed: int, epoch: int) -> list[int]:
        return epoch_visits(seed, epoch, measured, measured_share=0.5).index_V.tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
