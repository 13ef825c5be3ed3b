"""Cached features: found where a crop's patches lie, read with care, and what the gaze is spread by."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_losses import quick_config
from synthetic import write_cache
from tiny import batch, tiny_config
from torch import Tensor

from gazekit.cache import open_cache
from vpmim.cached_features import CachedFeaturesError, crop_features, read_patch_features
from vpmim.data import load_data
from vpmim.feature_file import write_features
from vpmim.model import build_model
from vpmim.objective import reconstruct
from vpmim.recalibrate import spread_by_similarity
from vpmim.run_folder import RunError
from vpmim.train import train

CACHED = ("recalibrate.mode=cached", "recalibrate.beta=1", "recalibrate.full=0.1")


def coordinates(side: int, cells: int) -> Tensor:
    """(1, cells, cells, 2): x and y of the centres of equal cells over a square, its first pixel's centre at 0."""
    centre = (torch.arange(cells) + 0.5) * side / cells - 0.5
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    return torch.stack([x, y], dim=2)[None]


def test_a_patch_takes_the_features_of_where_it_lies_in_the_image() -> None:
    features = coordinates(64, 8).repeat(2, 1, 1, 1)
    boxes = torch.tensor([[11.5, 7.5, 51.5, 27.5]] * 2, dtype=torch.float64)
    got = crop_features(features, boxes, torch.tensor([False, True]), side=64, grid=(2, 4))
    x, y = [16.5, 26.5, 36.5, 46.5], [12.5, 22.5]
    expected = torch.tensor([[a, b] for b in y for a in x])
    torch.testing.assert_close(got[0], expected)
    torch.testing.assert_close(got[1], torch.tensor([[a, b] for b in y for a in reversed(x)]))


def test_the_whole_image_has_its_own_features() -> None:
    features = torch.randn(1, 7, 7, 5, generator=torch.Generator().manual_seed(0)).half()
    box = torch.tensor([[-0.5, -0.5, 127.5, 127.5]], dtype=torch.float64)
    got = crop_features(features, box, torch.tensor([False]), side=128, grid=(7, 7))
    torch.testing.assert_close(got, features.float().flatten(1, 2), rtol=1e-4, atol=1e-4)


def test_gaze_is_spread_by_the_cached_features_of_the_crop() -> None:
    config = tiny_config("vp_mim", *CACHED, "recalibrate.features=x.npz")
    model, samples = build_model(config), batch([True, False])
    features = torch.randn(2, 5, 5, 6, generator=torch.Generator().manual_seed(1))
    step = reconstruct(model, dataclasses.replace(samples, features_BRCD=features.half()), config, progress=0.9)

    def by_patch(fine: Tensor) -> Tensor:
        return fine.unflatten(1, (7, 4)).unflatten(3, (7, 4)).sum(dim=(2, 4)).flatten(1)

    expected = spread_by_similarity(
        by_patch(step.crops.fine_BRS), step.crops.features_BLD, grid=(7, 7), temperature=0.1, sigma=4.0
    )
    assert step.crops.features_BLD.shape == (2, 49, 6)
    torch.testing.assert_close(by_patch(step.recalibrated_BRS), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(step.recalibrated_BRS[0], step.crops.fine_BRS[0], atol=1e-4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A cache, a run on it, and the features that the run's encoder makes of the cache."""
    folder = tmp_path_factory.mktemp("features")
    cache = write_cache(folder / "cache", images=8, without_gaze=2)
    train([cache], folder / "start", quick_config("localmim", "train.max_steps=1"), device="cpu")
    write_features(folder / "start", cache, folder / "F.npz", kind="patches", device="cpu")
    return cache, folder / "start", folder / "F.npz"


def test_the_file_holds_the_tokens_of_the_patches_in_their_places(made: tuple[Path, Path, Path]) -> None:
    cache, _, file = made
    with np.load(file, allow_pickle=False) as content:
        assert content["features"].shape == (8, 4, 4, 48)
        assert content["features"].dtype == np.float16
        assert content["ids"].tolist() == list(open_cache(cache).ids)


def test_a_run_with_cached_features_trains_resumes_and_knows_other_ones(
    made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    cache, _, file = made
    mine = tmp_path / "F.npz"
    mine.write_bytes(file.read_bytes())
    config = quick_config(
        "vp_mim", *CACHED, f"recalibrate.features={mine}", "train.max_steps=3", "train.checkpoint_every=1"
    )
    plain = quick_config("vp_mim", "recalibrate.mode=none", "train.max_steps=3")
    spread = train([cache], tmp_path / "run", config, device="cpu")
    assert spread.loss != train([cache], tmp_path / "plain", plain, device="cpu").loss
    with np.load(file) as content:
        np.savez(mine, ids=content["ids"], features=content["features"][::-1])
    with pytest.raises(RunError):
        train([cache], tmp_path / "run", config, device="cpu", resume=True)


def test_images_with_gaze_need_features_and_the_others_do_not(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cache, _, file = made
    config = quick_config("vp_mim", *CACHED, f"recalibrate.features={tmp_path / 'part.npz'}")
    looked_at = (load_data([cache], quick_config("vp_mim"), device=torch.device("cpu")).prior.row_N > 0).numpy()
    with np.load(file) as content:
        ids, features = content["ids"], content["features"]
    np.savez(tmp_path / "part.npz", ids=ids[looked_at], features=features[looked_at])
    data = load_data([cache], config, device=torch.device("cpu"))
    assert (data.features_NRCD[looked_at].numpy() == features[looked_at]).all()
    assert not data.features_NRCD[~looked_at].any()
    np.savez(tmp_path / "part.npz", ids=ids[1:], features=features[1:])
    with pytest.raises(CachedFeaturesError, match=rf"has no features of 1 images with gaze, such as {ids[0]}; make"):
        load_data([cache], config, device=torch.device("cpu"))


@pytest.mark.parametrize("kind", ["absent", "text", "vectors", "array", "damaged"])
def test_what_holds_no_features_of_patches_is_refused_with_the_cure(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "F.npz"
    if kind == "text":
        path.write_text("id,feature\n")
    elif kind == "vectors":
        np.savez(path, ids=np.array(["a"]), features=np.zeros((1, 5)))
    elif kind == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros((1, 2, 2, 5)))
    elif kind == "damaged":
        np.savez_compressed(path, ids=np.array(["a"]), features=np.arange(2000.0).reshape(1, 10, 10, 20))
        damaged = bytearray(path.read_bytes())
        middle = len(damaged) // 2
        damaged[middle : middle + 64] = b"\xff" * 64
        path.write_bytes(damaged)
    with pytest.raises(CachedFeaturesError, match=r"F\.npz .*vpmim features WEIGHTS DATA --features patches"):
        read_patch_features(path, ["a"], np.array([True]))
