"""Features of images: prepared as in pre-training, the same from files and from a cache, written whole."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from labelled_images import write_labelled, write_weights
from synthetic import write_cache
from tiny import tiny_spec

from gazekit.cache import open_cache
from vpmim.augment import crop_images
from vpmim.encoder import Encoder
from vpmim.export import load_encoder
from vpmim.feature_file import write_features
from vpmim.features import (
    encoder_features,
    extract,
    pixel_features,
    preprocessing,
    random_encoder,
    resample_square,
    weights_fingerprint,
)
from vpmim.image_source import ImageFiles, ImagesError
from vpmim_cli.main import main

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """The console sets process-wide handlers; put them back."""
    before, terminate = warnings.showwarning, signal.getsignal(signal.SIGTERM)
    yield
    warnings.showwarning = before
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run ``vpmim ARGS`` in this process: (exit code, stdout, stderr)."""

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vpmim", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(leaving.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"), images=40)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny")


def squares(n=3, size=37):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, size, size), dtype=np.uint8))


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_whole_square_goes_through_the_resampling_of_training_crops():
    images = squares()
    whole = torch.tensor([[-0.5, -0.5, 36.5, 36.5]] * 3, dtype=torch.float64)
    crops = crop_images(images, whole, torch.zeros(3, dtype=torch.bool), 32)
    assert torch.equal(resample_square(images, 32), crops)
    expected = torch.nn.functional.interpolate(images[:, None] / 255, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(crops, expected[:, 0], atol=1e-5, rtol=0)


def test_a_square_of_the_input_size_is_not_resampled():
    images = squares(size=32)
    torch.testing.assert_close(resample_square(images, 32), images / 255)
    torch.testing.assert_close(pixel_features(32)(images), (images / 255).flatten(1))


@pytest.mark.parametrize("kind", ["cls", "mean", "both"])
def test_features_are_the_encoders(kind):
    encoder = random_encoder(tiny_spec(), 0)
    images = squares()
    with torch.inference_mode():
        found = encoder_features(encoder, kind, device=CPU)(images)
        tokens = encoder.encode(resample_square(images, 32))
    cls, mean = tokens[:, 0], tokens[:, 1:].mean(dim=1)
    expected = {"cls": cls, "mean": mean, "both": torch.cat([cls, mean], dim=1)}[kind]
    torch.testing.assert_close(found, expected)


def test_several_functions_see_the_same_images_in_one_pass(data, weights):
    paths = sorted((data / "images").iterdir())
    functions = {"encoder": encoder_features(load_encoder(weights), "cls", device=CPU), "pixels": pixel_features(8)}
    together = extract(ImageFiles(tuple(paths)).batches(37, device=CPU), functions, device=CPU)
    assert together.row_N.tolist() == list(range(40))
    for name, function in functions.items():
        alone = extract(ImageFiles(tuple(paths)).batches(37, device=CPU), {name: function}, device=CPU)
        np.testing.assert_array_equal(together.values[name], alone.values[name])
    assert together.values["pixels"].shape == (40, 64)


def test_progress_counts_every_image_read_or_not(data, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    paths = [*sorted((data / "images").iterdir()), tmp_path / "bad.png"]
    seen: list[int] = []
    batches = ImageFiles(tuple(paths)).batches(37, device=CPU)
    found = extract(batches, {"p": pixel_features(8)}, device=CPU, progress=seen.append)
    assert seen == [32, 41]
    assert [(row, error.reason) for row, error in found.failures] == [(40, "not_image")]


def test_a_random_encoder_is_its_seeds_and_leaves_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    first, again, other = random_encoder(tiny_spec(), 0), random_encoder(tiny_spec(), 0), random_encoder(tiny_spec(), 1)
    assert torch.equal(torch.rand(1), before)
    assert weights_fingerprint(first) == weights_fingerprint(again) != weights_fingerprint(other)


def test_the_fingerprint_of_weights_sees_one_number_and_one_name():
    encoder = random_encoder(tiny_spec(), 0)
    before = weights_fingerprint(encoder)
    with torch.no_grad():
        encoder.vit.norm.bias[0] += 1e-6
    assert weights_fingerprint(encoder) != before


def test_a_run_records_the_squares_it_was_trained_on(tmp_path):
    encoder = Encoder(tiny_spec())
    assert preprocessing(tmp_path, encoder).stored_size == 37
    (tmp_path / "environment.json").write_text(json.dumps({"data": [{"image_size": 48}]}))
    found = preprocessing(tmp_path, encoder)
    assert found.stored_size == 48
    assert found.fingerprint != dataclasses.replace(found, stored_size=37).fingerprint


def test_features_of_a_cache_are_those_of_its_squares(weights, tmp_path):
    cache = write_cache(tmp_path / "cache", images=5)
    done = write_features(weights, cache, tmp_path / "f.npz")
    found = arrays_of(tmp_path / "f.npz")
    opened = open_cache(cache)
    assert found["ids"].tolist() == opened.ids
    images = torch.from_numpy(np.array(opened.images[0:5]))
    with torch.inference_mode():
        expected = encoder_features(load_encoder(weights), "cls", device=CPU)(images)
    np.testing.assert_allclose(found["features"], expected.numpy(), atol=1e-6)
    assert (done.images, done.width) == (5, 48)


def test_the_command_writes_one_row_an_image_and_names_what_it_skips(call, data, weights, tmp_path):
    images = tmp_path / "images"
    (images / "deeper").mkdir(parents=True)
    for k, source in enumerate(sorted((data / "images").iterdir())[:3]):
        (images / ("deeper" if k else ".") / source.name).write_bytes(source.read_bytes())
    (images / "bad.png").write_bytes(b"<html>")
    code, out, err = call("features", weights, images, "--out", tmp_path / "f.npz", "--features", "both", "--json")
    assert code == 1
    printed = json.loads(out)
    assert (printed["images"], printed["features"], printed["skipped"]) == (3, 96, 1)
    assert printed["out"] == str(tmp_path / "f.npz")
    assert "bad.png" in err
    found = arrays_of(tmp_path / "f.npz")
    assert found["ids"].tolist() == ["990000.png", "deeper/990001.png", "deeper/990002.png"]
    assert found["features"].shape == (3, 96)
    assert found["skipped_ids"].tolist() == ["bad.png"]
    assert found["skipped_reasons"].tolist() == ["not_image"]
    assert str(found["weights_sha256"]) == printed["weights_sha256"]
    assert call("features", weights, images, "--out", tmp_path / "g.npz", "--strict")[0] == 2
    assert not (tmp_path / "g.npz").exists()


@pytest.mark.parametrize(("images", "out", "says"), [("none", "f.npz", "no folder"), (".", "f.csv", "npz")])
def test_features_of_nothing_or_to_nowhere_are_refused(weights, tmp_path, images, out, says):
    with pytest.raises(ImagesError, match=says):
        write_features(weights, tmp_path / images, tmp_path / out)


def test_a_folder_of_dicom_is_told_how_to_become_a_cache(weights, tmp_path):
    (tmp_path / "1.dcm").touch()
    with pytest.raises(ImagesError, match="gazekit build-heatmaps"):
        write_features(weights, tmp_path, tmp_path / "f.npz")


def test_linear_eval_prints_the_systems_last_and_writes_the_scores_as_parquet(call, data, weights, tmp_path):
    options = ("--dataset", "folder", "--data", data, "--out", tmp_path / "eval", "--controls", "--seeds", 2)
    code, out, err = call("linear-eval", weights, *options)
    assert code == 0
    systems = [line.split("  ")[0] for line in out.splitlines()[-3:]]
    assert systems == ["encoder", "random encoder", "raw pixels"]
    assert "left out of the mean: never" in err
    table = pq.read_table(tmp_path / "eval/scores.parquet")
    scores = arrays_of(tmp_path / "eval/scores.npz")
    assert table["id"].to_pylist() == scores["ids"].tolist()
    np.testing.assert_array_equal(table["encoder blob"].to_numpy(), scores["scores_encoder"][0, :, 0])
    np.testing.assert_array_equal(
        table["random_encoder chance (seed 1)"].to_numpy(), scores["scores_random_encoder"][1, :, 1]
    )
    code, out, _ = call("linear-eval", weights, *options, "--json")
    printed = json.loads(out)
    assert (code, printed["test_images"], len(printed["rows"])) == (0, 8, 3)
    assert (printed["out"], printed["results"]) == (str(tmp_path / "eval"), str(tmp_path / "eval" / "results.json"))


def test_linear_eval_leaves_with_2_on_a_leak_and_with_1_on_images_left_out(call, data, weights, tmp_path):
    other = tmp_path / "data"
    (other / "images").mkdir(parents=True)
    for path in (data / "images").iterdir():
        (other / "images" / path.name).write_bytes(path.read_bytes())
    text = (data / "labels.csv").read_text()
    options = ("--dataset", "folder", "--data", other, "--out", tmp_path / "eval")
    (other / "labels.csv").write_text(text.replace("99p004", "99p000"))
    code, _, err = call("linear-eval", weights, *options)
    assert code == 2
    assert "leak" in err
    (other / "labels.csv").write_text(text)
    (other / "images/990008.png").unlink()
    assert call("linear-eval", weights, *options)[0] == 2
    code, _, err = call("linear-eval", weights, *options, "--allow-missing")
    assert code == 1
    assert "skipped: images/990008.png (test), missing_image" in err


def test_table_prints_markdown_or_the_results_themselves(call, data, weights, tmp_path):
    call("linear-eval", weights, "--dataset", "folder", "--data", data, "--out", tmp_path / "eval")
    code, out, _ = call("table", tmp_path / "eval")
    assert code == 0
    assert out.startswith("| results | system |")
    code, out, _ = call("table", tmp_path / "eval", "--json")
    assert json.loads(out)[str(tmp_path / "eval")]["protocol"] == "cached"
    assert call("table", tmp_path)[0] == 2
