"""Windows of speech and of time: the published rule by hand, against a slow oracle, and as properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import fixation_tables, image_shapes

import gazekit
from gazekit.errors import EmptyGazeError, InputError
from gazekit.windows import LEAD_S, Window, spoken_windows, time_slices, window_weights


def transcript(*rows: tuple[str, float, float]) -> pd.DataFrame:
    words, onset, offset = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"word": pd.Series(words, dtype=object)}
    return pd.DataFrame(columns | {"onset_s": np.array(onset, float), "offset_s": np.array(offset, float)})


SAID = transcript(
    ("heart", 0.5, 0.8),
    ("enlarged", 0.8, 1.4),
    (",", 1.4, 1.6),
    ("left", 1.7, 1.9),
    ("effusion", 1.9, 2.4),
    (".", 2.4, 2.6),
    ("no", 5.0, 5.2),
    ("Effusion", 5.2, 5.8),
    ("on", 5.8, 5.9),
    ("right", 5.9, 6.2),
    (".", 6.2, 6.4),
    (".", 6.4, 6.5),
    ("clear", 9.0, 9.4),
)


def spans(windows: list[Window]) -> list[tuple[float, float]]:
    return [(round(w.start_s, 9), round(w.stop_s, 9)) for w in windows]


def test_sentences_by_hand():
    windows = spoken_windows(SAID)
    assert [w.text for w in windows] == ["heart enlarged, left effusion.", "no Effusion on right.", "clear"]
    # the first has none before it; the others open 1.5 s early, which the sentence before does not cut short
    assert spans(windows) == [(-1.0, 2.6), (3.5, 6.4), (7.5, 9.4)]


def test_a_window_opens_no_earlier_than_the_sentence_before():
    assert spans(spoken_windows(SAID, lead_s=5)) == [(-4.5, 2.6), (0.5, 6.4), (5.0, 9.4)]


def test_phrases_end_at_commas_too_and_words_are_units_of_their_own():
    phrases = spoken_windows(SAID, unit="phrase")
    assert [w.text for w in phrases] == ["heart enlarged,", "left effusion.", "no Effusion on right.", "clear"]
    assert spans(phrases)[1] == (0.5, 2.6)
    words = spoken_windows(SAID, unit="word")
    assert [w.text for w in words] == [w for w in SAID["word"] if w not in ".,"]
    assert spans(words)[2] == (0.8, 1.9)


def test_the_window_of_a_label_ends_where_its_mention_begins():
    mentions = ("effusion", "enlarged")
    windows = spoken_windows(SAID, mentions=mentions, until="last_mention")
    assert [w.text for w in windows] == ["heart enlarged, left effusion.", "no Effusion on right."]
    assert spans(windows) == [(-1.0, 1.9), (3.5, 5.2)]
    assert spans(spoken_windows(SAID, mentions=mentions, until="first_mention")) == [(-1.0, 0.8), (3.5, 5.2)]
    assert spans(spoken_windows(SAID, mentions=mentions, until="start")) == [(-1.0, 0.5), (3.5, 5.0)]
    assert spans(spoken_windows(SAID, mentions=mentions)) == [(-1.0, 2.6), (3.5, 6.4)]
    assert spoken_windows(SAID, mentions=("nodule",)) == []


def test_rows_of_several_words_are_cut_at_their_full_stops():
    said = transcript(("heart", 0.4, 0.7), ("size is normal.", 0.7, 1.6), ("no effusion,", 2.0, 3.0), ("3.5 cm", 3, 4))
    assert [w.text for w in spoken_windows(said)] == ["heart size is normal.", "no effusion, 3.5 cm"]
    assert len(spoken_windows(said, mentions={"normal"})) == 1
    assert len(spoken_windows(said, mentions={"effusion"}, unit="phrase")) == 1


def test_nothing_said_is_no_window():
    assert spoken_windows(transcript()) == []
    assert spoken_windows(transcript((".", 0.0, 0.1), (",", 0.2, 0.3))) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit": "line"}, "unit must be"),
        ({"until": "stop"}, "until must be one of end"),
        ({"lead_s": -1.0}, "lead_s must be seconds"),
        ({"lead_s": math.nan}, "lead_s must be seconds"),
        ({"until": "last_mention"}, "needs mentions"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        spoken_windows(SAID, **options)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ",", ".", "/"]), st.floats(0, 1), st.floats(0, 1))))
def test_each_word_is_in_one_sentence_and_windows_follow_the_rule(drawn):
    clock, rows = 0.0, []
    for word, gap, length in drawn:
        rows.append((word, clock + gap, clock + gap + length))
        clock += gap + length
    windows = spoken_windows(transcript(*rows))
    said = "".join(word for word, *_ in rows)
    expected = [part for part in said.replace(".", ".|").split("|") if set(part) & {"a", "b"}]
    assert [w.text.replace(" ", "") for w in windows] == expected
    starts = [spoken_windows(transcript(*rows), until="start", lead_s=lead) for lead in (0, math.inf)]
    for k, window in enumerate(windows):
        start = starts[0][k].start_s
        before = starts[0][k - 1].start_s if k else -math.inf
        assert window.start_s == max(start - LEAD_S, before)
        assert starts[1][k].start_s == before
        assert window.start_s <= start <= window.stop_s


# --- slices of time


def test_time_slices_by_hand():
    assert spans(time_slices(0, 2.5, width_s=1)) == [(0, 1), (1, 2), (2, 2.5)]
    assert len(time_slices(0, 0.3, width_s=0.1)) == 3


@pytest.mark.parametrize("bad", [(0, 0, 1), (1, 0, 1), (0, 1, 0), (0, math.inf, 1), (0, 1, math.nan)])
def test_wrong_slices_are_refused(bad):
    with pytest.raises(InputError, match="start_s < stop_s"):
        time_slices(*bad[:2], width_s=bad[2])


@given(st.floats(-5, 5), st.floats(0.01, 9), st.floats(0.05, 3))
def test_time_slices_tile_the_span(start, length, width):
    windows = time_slices(start, start + length, width_s=width)
    assert windows[0].start_s == start
    assert windows[-1].stop_s == start + length
    for before, after in itertools.pairwise(windows):
        assert before.stop_s == after.start_s
    assert all(0 < w.stop_s - w.start_s <= width * 1.001 + 1e-9 for w in windows)


@given(st.data())
def test_slices_share_the_time_of_every_fixation_among_them(data):
    fixations = data.draw(fixation_tables(data.draw(image_shapes())))
    last = float(fixations["offset_s"].max())
    windows = time_slices(0, last, width_s=data.draw(st.floats(0.1, 3)))
    shared = sum(window_weights(fixations, window) for window in windows)
    assert_allclose(shared, fixations["offset_s"] - fixations["onset_s"], atol=1e-9)


# --- weights and maps


def slow_sentence_map(fixations, t0, t1, shape):
    """REFLACX localisation reference: overlap weights, full 2-D densities inside the shown rectangle, over the max."""
    total = np.zeros(shape)
    for row in fixations.itertuples():
        if not (row.offset_s > t0 and row.onset_s <= t1):
            continue
        weight = min(row.offset_s, t1) - max(row.onset_s, t0)
        for r in range(max(round(row.shown_ymin_px), 0), min(round(row.shown_ymax_px), shape[0])):
            for c in range(max(round(row.shown_xmin_px), 0), min(round(row.shown_xmax_px), shape[1])):
                zx, zy = (c - row.x_px) / row.px_per_deg_x, (r - row.y_px) / row.px_per_deg_y
                peak = 1 / (2 * math.pi * row.px_per_deg_x * row.px_per_deg_y)
                total[r, c] += weight * peak * math.exp(-(zx * zx + zy * zy) / 2)
    return total / total.max() if total.max() > 0 else None


FIXATIONS = pd.DataFrame(
    {
        "onset_s": [0.105, 0.45, 1.004, 2.7],
        "offset_s": [0.412, 0.95, 1.31, 3.0],
        "x_px": [60.0, 40.0, -5.0, 9.0],
        "y_px": [45.0, 70.0, 88.0, 9.0],
        "px_per_deg_x": [12.0, 6.0, 12.0, 12.0],
        "px_per_deg_y": [10.0, 6.0, 10.0, 10.0],
        "shown_xmin_px": [0.0] * 4,
        "shown_ymin_px": [0.0, 30.0, 0.0, 0.0],
        "shown_xmax_px": [160.0, 80.0, 160.0, 160.0],
        "shown_ymax_px": [120.0, 90.0, 120.0, 120.0],
    }
)


def test_overlap_by_hand():
    # the second begins before the window and counts from 0.5; the third is cut at 1.2; the fourth comes after
    assert_allclose(window_weights(FIXATIONS, Window(0.5, 1.2)), [0, 0.45, 0.196, 0], atol=1e-12)
    # a fixation that starts where the window stops, or stops where it starts, shares no time with it
    assert_array_equal(window_weights(FIXATIONS, Window(0.412, 0.45)), np.zeros(4))


def test_a_sentence_map_is_the_published_one():
    window = spoken_windows(SAID, mentions=["enlarged"], until="last_mention")[0]
    weights = window_weights(FIXATIONS, window)
    dense = gazekit.heatmap(FIXATIONS, image_shape=(120, 160), weights=weights, normalize="max")
    expected = slow_sentence_map(FIXATIONS, window.start_s, window.stop_s, (120, 160))
    assert_allclose(dense, expected, atol=1e-5)
    # by hand: 0.35 s / 6^2 + 0.307 s / 120 exp(-4.5139) at the second fixation, 0.307 s / 120 at the first
    assert np.unravel_index(dense.argmax(), dense.shape) == (70, 40)
    assert_allclose(dense[45, 60], 0.26238661, rtol=1e-5)


@given(st.data())
def test_window_maps_equal_the_slow_reference(data):
    shape = data.draw(image_shapes(largest=24))
    fixations = data.draw(fixation_tables(shape, max_size=5))
    t0 = data.draw(st.floats(-1, 3))
    t1 = t0 + data.draw(st.floats(0, 4))
    weights = window_weights(fixations, Window(t0, t1))
    expected = slow_sentence_map(fixations, t0, t1, shape)
    if weights.sum() <= 0:
        with pytest.raises(EmptyGazeError):
            gazekit.heatmap(fixations, image_shape=shape, weights=weights, normalize="max")
    elif expected is not None and expected[np.isfinite(expected)].any():
        try:
            dense = gazekit.heatmap(fixations, image_shape=shape, weights=weights, normalize="max")
        except EmptyGazeError:  # next to nothing of it is on the image
            return
        assert_allclose(dense, expected, atol=1e-5)
