"""EyeLink ASC files read whole: by hand onto their images, and back from an independent writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from eyelink_lines import HEAD, SCREEN, block, efix, sample, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gazekit import read_eyelink
from gazekit.errors import InputError
from gazekit.geometry import screen_px_per_degree
from gazekit.simulate.desk import ScreenTrial
from gazekit.simulate.eyelink import SETUPS, VALIDATION_DVA, VERGENCE_PX, Setup, asc_text
from gazekit.sources.eyelink import parse_eyelink

# ------------------------------------------------------------------------------------------------ on its image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (100, 1))).save(folder / "chest.png")
    return folder


def test_gaze_is_mapped_through_the_rectangle_of_the_message(tmp_path: Path, images: Path) -> None:
    # 200 x 100 image pixels on 400 x 300 screen pixels from (500, 300) on
    message = "MSG\t99 !V IMGLOAD TOP_LEFT chest.png 500 300 400 300"
    lines = block(*(sample(t, 500, 300) for t in range(100, 105)), efix(100, 104, 899, 599))
    path = tmp_path / "r.asc"
    path.write_text("\n".join([*HEAD, message, *lines, ""]))
    [reading] = read_eyelink(path, images=images)
    # the centre of the rectangle's last pixel is half a screen pixel from its edge
    assert reading.fixations["x_px"].tolist() == [pytest.approx(199.5 - 0.25)]
    assert reading.fixations["y_px"].tolist() == [pytest.approx(99.5 - 0.5 / 3)]
    assert reading.fixations["px_per_deg_x"].tolist() == [pytest.approx(20.0)]
    assert reading.samples()["x_px"].iloc[0] == pytest.approx(-0.25)
    assert (reading.reading_id, reading.image_id, reading.image_shape) == ("r", "chest", (100, 200))


def test_an_image_at_its_own_size_stands_on_its_anchor(tmp_path: Path, images: Path) -> None:
    lines = block(*samples(100, 104), efix(100, 104, 960, 540))
    path = tmp_path / "r.asc"
    path.write_text("\n".join([*HEAD, "MSG\t99 !V IMGLOAD CENTER chest.png 960 540", *lines, ""]))
    [reading] = read_eyelink(path, images=images)
    assert reading.fixations[["x_px", "y_px"]].iloc[0].tolist() == [100.0, 50.0]


def test_a_screen_that_is_given_counts_in_place_of_the_mean_resolution(tmp_path: Path) -> None:
    path = tmp_path / "r.asc"
    path.write_text("\n".join([*HEAD, *block(*samples(100, 104), efix(100, 104, 200, 300)), ""]))
    [mean], [exact] = read_eyelink(path), read_eyelink(path, screen=SCREEN)
    assert mean.fixations["px_per_deg_x"].tolist() == [40.0]
    assert exact.fixations["px_per_deg_x"].tolist() == [screen_px_per_degree([200, 300], SCREEN)[0]]


def test_the_spec_names_the_message_that_names_the_image(tmp_path: Path, images: Path) -> None:
    (tmp_path / "r.asc").write_text(
        "\n".join([*HEAD, "MSG\t99 SHOW chest.png", *block(*samples(100, 104), efix(100, 104)), ""])
    )
    (tmp_path / "spec.toml").write_text('[stimuli]\nmessage = "SHOW"\n')
    [reading] = read_eyelink(tmp_path / "r.asc", images=images, spec=tmp_path / "spec.toml")
    assert reading.image_id == "chest"


def test_without_any_resolution_the_screen_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "r.asc"
    path.write_text("\n".join([*HEAD, *block(*samples(100, 104)), ""]).replace("\tRES\t  40.00\t  41.00", ""))
    with pytest.raises(InputError, match="give --screen-px WxH --screen-mm WxH --distance-mm D"):
        read_eyelink(path)


# ----------------------------------------------------------------------------------------------------- round trips


@st.composite
def screen_trials(draw: st.DrawFn, rate_hz: int) -> list[ScreenTrial]:
    """A few trials whose eyes are lost now and then, but never all through a fixation."""
    trials = []
    for number in range(draw(st.integers(1, 3))):
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        edges = np.cumsum(rng.integers(2, 12, size=2 * draw(st.integers(1, 4))))
        n = int(edges[-1]) + 3
        gaze = rng.uniform(20, 1000, size=(n, 2))
        lost = rng.random(n) < 0.3
        for first, last in edges.reshape(-1, 2):
            lost[first] = False
            lost[last] = False
        gaze[lost] = np.nan
        first = 2 * draw(st.integers(0, 50))
        times = (first + np.arange(n)) / rate_hz
        table = pd.DataFrame({"time_s": times, "x_px": gaze[:, 0], "y_px": gaze[:, 1]})
        onset, offset = times[edges.reshape(-1, 2)].T
        means = [np.nanmean(gaze[a : b + 1], axis=0) for a, b in edges.reshape(-1, 2)]
        fixations = pd.DataFrame(
            {"onset_s": onset, "offset_s": offset, "x_px": np.array(means)[:, 0], "y_px": np.array(means)[:, 1]}
        )
        trials.append(ScreenTrial(f"99{number}", (90, 80), (10 * number, 5, 500, 400), table, fixations))
    return trials


@given(
    data=st.data(),
    rate_hz=st.sampled_from([250, 500, 1000, 2000]),
    setup=st.sampled_from([*SETUPS, Setup(("left", "right"), resolution=True, remote=True)]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_writer_writes_is_read_back(tmp_path: Path, data: st.DataObject, rate_hz: int, setup: Setup) -> None:
    trials = data.draw(screen_trials(rate_hz))
    path = tmp_path / "9901.asc"
    path.write_text(asc_text(trials, setup, rate_hz=rate_hz, screen=SCREEN))
    recording = parse_eyelink(path)
    assert recording.screen_px == SCREEN.size_px
    assert not recording.warnings
    assert [t.stimulus for t in recording.trials] == [f"{t.image_id}.dcm" for t in trials]
    fixating = min(setup.eyes, key=VALIDATION_DVA.__getitem__)
    for read, true in zip(recording.trials, trials, strict=True):
        assert read.drawn == true.drawn
        written = true.samples.to_numpy()
        np.testing.assert_allclose(read.samples["time_s"], written[:, 0] - written[0, 0], atol=1e-9)
        for eye in setup.eyes:
            shift = np.array(VERGENCE_PX) if eye == "right" else 0.0
            names = [f"{axis}_{eye}_px" if len(setup.eyes) == 2 else f"{axis}_px" for axis in "xy"]
            np.testing.assert_allclose(read.samples[names], written[:, 1:] + shift, atol=0.051)
        seen = read.samples[np.isfinite(written[:, 1])]
        exact = screen_px_per_degree(written[np.isfinite(written[:, 1]), 1:], SCREEN)
        tolerance = 0.006 if setup.resolution else np.ptp(exact, axis=0).max() + 0.01
        np.testing.assert_allclose(seen[["px_per_deg_x", "px_per_deg_y"]], exact, atol=tolerance)
        assert read.fixations is not None
        shift = np.array(VERGENCE_PX) if fixating == "right" else 0.0
        # whole milliseconds at 2000 Hz
        times = true.fixations[["onset_s", "offset_s"]] - written[0, 0]
        np.testing.assert_allclose(read.fixations[["onset_s", "offset_s"]], times, atol=0.00051)
        np.testing.assert_allclose(
            read.fixations[["x_px", "y_px"]], true.fixations[["x_px", "y_px"]] + shift, atol=0.051
        )
