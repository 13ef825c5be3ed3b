"""Training data: what is read, in which order, where it lives, and what is refused."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from synthetic import squares, write_cache, write_folder

from gazekit.cache import open_cache
from gazekit.errors import CacheError
from gazekit.geometry import fit_frame
from vpmim import data as training_data
from vpmim.config import load_config
from vpmim.data import DataError, load_data, valid_areas
from vpmim.schedule import plan_schedule
from vpmim.training_source import open_training_cache

CPU = torch.device("cpu")


def config_for(*overrides: str):
    return load_config("vp_mim", ["data.input_size=56", "train.batch_size=4", *overrides])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_cache(tmp_path_factory.mktemp("data") / "cache", images=12, without_gaze=2)


def places(data, config, **options):
    schedule = plan_schedule(config, len(data))
    batches = data.batches(schedule, seed=config.seed, batch_size=config.train.batch_size, **options)
    return [(step, samples.index_B.tolist()) for step, samples in batches]


def test_samples_are_the_rows_of_the_cache(cache):
    data = load_data([cache], config_for(), device=CPU)
    opened = open_cache(cache)
    samples = data.gather([9, 0, 11])
    assert samples.index_B.tolist() == [9, 0, 11]
    assert (samples.confidence_B > 0).tolist() == [True, True, False]
    assert data.ids == opened.ids
    for row, place in enumerate([9, 0, 11]):
        record = opened[place]
        assert np.array_equal(samples.image_BSS[row].numpy(), record.image)
        assert np.array_equal(samples.frame_B6[row].numpy(), record.frame.to_array())
        count = len(record.gaussians)
        assert torch.all(samples.gaussians_BF9[row, count:, 4] == 0)
        np.testing.assert_allclose(samples.gaussians_BF9[row, :count, :4], record.gaussians[:, :4], rtol=1e-12)


def test_otsu_thresholds_are_taken_at_load_for_images_with_gaze(cache):
    samples = load_data([cache], config_for(), device=CPU).gather(range(12))
    assert torch.all(samples.tau_B[:10] > 0)
    assert torch.all(samples.tau_B[10:] == 0)


def test_every_image_comes_once_an_epoch_and_the_order_changes(cache):
    config = config_for("train.epochs=3")
    data = load_data([cache], config, device=CPU)
    epochs = np.reshape([index for _, batch in places(data, config) for index in batch], (3, 12))
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(12))] * 3
    assert epochs[0].tolist() != epochs[1].tolist()


def test_the_order_depends_on_seed_and_step_alone(cache):
    config = config_for("train.max_steps=8")
    data = load_data([cache], config, device=CPU)
    whole = places(data, config)
    assert [step for step, _ in whole] == list(range(1, 9))
    for after in range(9):
        assert places(data, config, after=after) == whole[after:]
    assert places(data, config_for("train.max_steps=8", "seed=1")) != whole


@pytest.mark.parametrize("options", [{}, {"measured_share": 0.9}])
def test_ranks_share_out_the_batches_of_one_process(cache, options):
    config = config_for("train.max_steps=5")
    data = load_data([cache], config, device=CPU)
    shares = [places(data, config, rank=rank, ranks=2, **options) for rank in range(2)]
    joined = [(step, first + second) for (step, first), (_, second) in zip(*shares, strict=True)]
    assert joined == places(data, config, **options)


def test_images_with_measured_gaze_come_as_often_as_asked_and_a_run_may_stop_anywhere(cache, tmp_path):
    folder = write_folder(tmp_path / "folder", images=20)
    config = config_for("train.epochs=5")
    data = load_data([cache, folder], config, device=CPU)
    assert np.flatnonzero(data.measured_N).tolist() == list(range(10))  # of 32
    whole = places(data, config, measured_share=0.75)
    visited = np.reshape([index for _, batch in whole for index in batch], (5, 32))
    assert data.measured_N[visited].sum(axis=1).tolist() == [24] * 5
    counts = np.bincount(visited.ravel())
    assert counts[:10].tolist() == [12] * 10
    assert sorted(counts[10:].tolist()) == [1] * 4 + [2] * 18
    for after in (0, 1, 7, 8, 9, 39):
        assert places(data, config, measured_share=0.75, after=after) == whole[after:]


def test_gaze_that_is_off_its_image_is_no_reason_to_visit_it_more_often(cache, monkeypatch):
    def opened(path, *, trusting):
        part = open_training_cache(path, trusting=trusting)
        away = part.gaussians[3] + [1e6, 0, 0, 0, 0, 0, 0, 0, 0]
        return part._replace(gaussians=[*part.gaussians[:3], away, *part.gaussians[4:]])

    monkeypatch.setattr(training_data, "open_training_cache", opened)
    data = load_data([cache], config_for(), device=CPU)
    assert np.flatnonzero(~data.measured_N).tolist() == [3, 10, 11]


def test_two_visits_to_an_image_have_numbers_of_their_own(cache):
    data = load_data([cache], config_for("train.epochs=4"), device=CPU)
    schedule = plan_schedule(config_for("train.epochs=4"), len(data))
    for share in (0, 1):
        batches = [samples for _, samples in data.batches(schedule, seed=0, batch_size=4, measured_share=share)]
        keys = {(int(i), int(v)) for samples in batches for i, v in zip(samples.index_B, samples.visit_B, strict=True)}
        assert len(keys) == 4 * 12


def test_streamed_batches_equal_resident_ones(cache, tmp_path):
    folder = write_folder(tmp_path / "folder", images=5, size=80)
    resident = config_for("train.max_steps=9", "data.residency=device")
    streamed = config_for("train.max_steps=9", "data.residency=stream")
    sets = [load_data([cache, folder], config, device=CPU) for config in (resident, streamed)]
    assert sets[0].image_NSS is not None
    assert sets[1].image_NSS is None
    schedule = plan_schedule(resident, len(sets[0]))
    options = {"seed": 0, "batch_size": 4}
    for (step, one), (other_step, other) in zip(*(s.batches(schedule, **options) for s in sets), strict=True):
        assert step == other_step
        for name in (
            "image_BSS",
            "gaussians_BF9",
            "tau_B",
            "valid_B4",
            "index_B",
            "visit_B",
            "frame_B6",
            "confidence_B",
        ):
            assert torch.equal(getattr(one, name), getattr(other, name))
    assert torch.equal(sets[0].gather([16, 3]).image_BSS, sets[1].gather([16, 3]).image_BSS)


def test_an_abandoned_stream_leaves_no_thread(cache):
    config = config_for("train.max_steps=50", "data.residency=stream")
    data = load_data([cache], config, device=CPU)
    batches = data.batches(plan_schedule(config, len(data)), seed=0, batch_size=4)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "vpmim-data"]


def test_an_error_while_streaming_is_raised_where_the_batch_is_used(tmp_path):
    path = write_cache(tmp_path / "cache", images=12)
    config = config_for("train.max_steps=50", "data.residency=stream")
    data = load_data([path], config, device=CPU)
    (path / "shards" / "00001" / "image.npy").write_bytes(b"cut short")
    with pytest.raises(CacheError, match=r"image\.npy is damaged"):
        list(data.batches(plan_schedule(config, len(data)), seed=0, batch_size=4))


def test_caches_and_folders_are_mixed_and_count_on(cache, tmp_path):
    folder = write_folder(tmp_path / "folder", images=5, size=80)
    other = write_cache(tmp_path / "other", images=4, seed=1)
    data = load_data([folder, cache, other], config_for(), device=CPU)
    assert len(data) == 5 + 12 + 4
    assert [part["images"] for part in data.facts] == [5, 12, 4]
    assert [part["with_gaze"] for part in data.facts] == [0, 10, 4]
    assert data.ids[5:17] == open_cache(cache).ids
    samples = data.gather(range(21))
    assert samples.image_BSS.shape == (21, 64, 64)  # the folder's images take the caches' size
    assert (samples.confidence_B > 0).tolist() == [False] * 5 + [True] * 10 + [False] * 2 + [True] * 4


def test_a_folder_alone_is_stored_a_seventh_larger_than_the_input(tmp_path):
    folder = write_folder(tmp_path / "folder", images=3, size=96)
    config = load_config("localmim", ["data.input_size=56"])
    data = load_data([folder], config, device=CPU)
    assert data.gather([0]).image_BSS.shape == (1, 64, 64)
    assert not data.gather([0, 1, 2]).confidence_B.any()


def test_unreadable_files_of_a_folder_are_counted_with_their_reason(tmp_path):
    folder = write_folder(tmp_path / "folder", images=3)
    (folder / "990000.png").write_bytes(b"<html>log in</html>")
    data = load_data([folder], load_config("mae", ["data.input_size=56"]), device=CPU)
    assert data.ids == ["990001.png", "990002.png"]
    assert [failure[:2] for failure in data.failures] == [("990000.png", "not_image")]


def test_valid_areas_are_the_stored_edges_of_the_image():
    frames = [fit_frame(shape, 64) for shape in [(100, 80), (33, 90), (64, 64)]]
    valid_N4 = valid_areas(torch.tensor(np.stack([frame.to_array() for frame in frames])))
    np.testing.assert_allclose(valid_N4, [frame.valid_box for frame in frames], atol=1e-12)
    assert valid_N4[2].tolist() == [-0.5, -0.5, 63.5, 63.5]


def test_readings_of_one_image_are_not_exchanged_by_the_shuffled_control(tmp_path):
    path = write_cache(tmp_path / "cache", images=4, shard_size=4)
    shard = path / "shards" / "00000" / "shard.json"
    content = json.loads(shard.read_text())
    for row in content["rows"][:3]:
        row["image_id"] = "99image"
    shard.write_text(json.dumps(content))
    data = load_data([path], config_for("prior.source=shuffled"), device=CPU)
    assert all(data.prior.row_N[:3] == 4)  # only the other image's gaze is left to take


def test_gaze_is_demanded_exactly_by_configurations_that_use_it(tmp_path):
    path = write_cache(tmp_path / "cache", images=4, without_gaze=4)
    with pytest.raises(DataError, match=r"none of the 4 images in cache has any.*--config localmim"):
        load_data([path], config_for(), device=CPU)
    with pytest.raises(DataError):  # a control changes the map, not which images have one
        load_data([path], config_for("prior.source=uniform"), device=CPU)
    assert len(load_data([path], config_for("prior.source=none"), device=CPU)) == 4
    assert len(load_data([path], load_config("mae"), device=CPU)) == 4


def test_a_cache_of_another_format_version_is_refused(tmp_path):
    path = write_cache(tmp_path / "cache", images=4)
    header = json.loads((path / "cache.json").read_text())
    (path / "cache.json").write_text(json.dumps(header | {"format_version": 99}))
    with pytest.raises(CacheError, match="format version 99"):
        load_data([path], config_for(), device=CPU)


def test_caches_of_different_image_sizes_are_refused(cache, tmp_path):
    for name in ("other", cache.name):  # caches in different folders often share a name
        other = write_cache(tmp_path / name, images=4, size=48)
        with pytest.raises(DataError, match=rf"cache: 64, .*{name}: 48 pixels.*--image-size"):
            load_data([cache, other], config_for(), device=CPU)


def test_what_is_neither_cache_nor_images_is_refused_with_the_cure(tmp_path):
    with pytest.raises(DataError, match="it does not exist"):
        load_data([tmp_path / "nowhere"], config_for(), device=CPU)
    with pytest.raises(DataError, match=r"no cache\.json.*gazekit build-heatmaps"):
        load_data([tmp_path], config_for(), device=CPU)
    with pytest.raises(DataError, match="at least one cache"):
        load_data([], config_for(), device=CPU)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of its 1 images can be read.*empty file"):
        load_data([tmp_path], load_config("mae"), device=CPU)


def test_the_same_image_twice_is_said_once(cache):
    with pytest.warns(UserWarning, match="12 of 24 ids occur more than once"):
        data = load_data([cache, cache], config_for(), device=CPU)
    assert len(data) == 24


def test_the_fingerprint_follows_the_data(cache, tmp_path):
    def fingerprint(*paths):
        return load_data(paths, load_config("mae"), device=CPU).fingerprint

    folder = write_folder(tmp_path / "folder", images=3)
    first = fingerprint(cache, folder)
    assert first == fingerprint(cache, folder)
    assert first != fingerprint(folder, cache)
    (folder / "990001.png").unlink()
    assert first != fingerprint(cache, folder)


def test_images_that_do_not_fit_are_streamed(cache, monkeypatch):
    monkeypatch.setattr("vpmim.data.os.sysconf", lambda name: 300)  # 90,000 bytes free for 49,152 of images
    assert load_data([cache], config_for(), device=CPU).image_NSS is None
    monkeypatch.setattr("vpmim.data.os.sysconf", lambda name: 400)
    assert load_data([cache], config_for(), device=CPU).image_NSS is not None


def test_synthetic_squares_are_what_they_say():
    pixels, centres = squares(3, size=64)
    brightest = [np.unravel_index(image.argmax(), image.shape)[::-1] for image in pixels]
    assert np.abs(np.array(brightest) - centres).max() < 2
