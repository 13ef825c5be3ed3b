"""SimMIM, Medical MAE, AttMask and HPM hide, predict and sum as their papers say; the teacher that two of them need."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from golden_losses import quick_config
from safetensors.torch import load_file
from synthetic import write_cache
from test_objective import local_mim
from tiny import batch, tiny_config
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from vpmim.config import Config, ConfigError
from vpmim.export import load_encoder
from vpmim.model import MaskedImageModel, build_model
from vpmim.objective import Reconstruction, panels, reconstruct, training_losses
from vpmim.recalibrate import spread_by_attention
from vpmim.targets import pixel_target
from vpmim.train import train

SMALL_DECODER = ("decoder.width=32", "decoder.depth=1", "decoder.heads=4")
METHODS = ("simmim", "medical_mae", "attmask", "hpm")
COUNT = 49
"""Patches of the tiny configuration, 7 x 7."""


def small(name: str, *overrides: str) -> Config:
    """A tiny configuration, its decoder too where it has one."""
    return tiny_config(name, *(() if name == "simmim" else SMALL_DECODER), *overrides)


def taken(config: Config, *, progress: float = 0.5) -> tuple[MaskedImageModel, Reconstruction, dict[str, Tensor]]:
    """A step on four images, two with gaze."""
    model, samples = build_model(config), batch([True, False] * 2)
    return (
        model,
        reconstruct(model, samples, config, progress=progress),
        training_losses(model, samples, config, progress=progress),
    )


def to_image(patches: Tensor, patch: int, side: int) -> Tensor:
    """(B, L, p * p) as (B, side * p, side * p), by a loop."""
    image = torch.zeros(len(patches), side * patch, side * patch)
    for place in range(side * side):
        row, col = place // side * patch, place % side * patch
        image[:, row : row + patch, col : col + patch] = patches[:, place].reshape(-1, patch, patch)
    return image


# ---------------------------------------------------------------------------------------------- losses


def test_simmim_loss_equals_an_independent_one() -> None:
    _, step, got = taken(small("simmim"))
    grey, mask = (step.crops.grey_BHW - 0.5) / 0.25, step.selection.mask_BL.float()
    hidden = mask.unflatten(1, (7, 7)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    made = to_image(step.outputs.predictions[0], 16, 7)
    expected = ((grey - made).abs() * hidden).sum() / hidden.sum()
    assert got["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(got) == {"loss", "loss_1x"}


def test_simmim_encoder_sees_a_mask_token_in_place_of_what_is_hidden() -> None:
    config = small("simmim")
    model, step, _ = taken(config)
    vit = model.encoder.vit
    with torch.no_grad():
        tokens = vit.patch_embed((step.crops.grey_BHW[:, None] - 0.5) / 0.25)
        hidden = step.selection.mask_BL[..., None].float()
        tokens = tokens * (1 - hidden) + model.mask_token * hidden
        x = torch.cat([vit.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + vit.pos_embed
        x = vit.norm(vit.blocks(x))[:, 1:]
        head = model.pyramid.heads[0].predict
        torch.testing.assert_close(step.outputs.predictions[0], x @ head.weight.T + head.bias, rtol=1e-4, atol=1e-5)


def test_simmim_hides_squares_of_32_pixels() -> None:
    config = small("simmim", "data.input_size=128")
    model, samples = build_model(config), batch([False] * 6)
    mask = reconstruct(model, samples, config, progress=0).selection.mask_BL.unflatten(1, (8, 8))
    assert mask.sum(dim=(1, 2)).tolist() == [64 - 25] * 6
    per_square = mask.unflatten(1, (4, 2)).unflatten(3, (4, 2)).sum(dim=(2, 4)).flatten(1)
    assert ((per_square % 4 != 0).sum(dim=1) == 1).all()  # 39 is nine squares and three patches of another
    with pytest.raises(ConfigError, match=r"mask\.block = 24 pixels is no multiple.*16 pixels; set mask\.block=32"):
        build_model(small("simmim", "mask.block=24"))


def test_medical_mae_loss_equals_an_independent_one() -> None:
    _, step, got = taken(small("medical_mae"))
    target = F.unfold((step.crops.grey_BHW[:, None] - 0.5) / 0.25, 16, stride=16).mT
    error = ((step.outputs.predictions[0] - target) ** 2).mean(dim=2)
    mask = step.selection.mask_BL.float()
    assert mask.sum(dim=1).tolist() == [COUNT - int(COUNT * 0.1)] * 4
    assert got["loss"].item() == pytest.approx(((error * mask).sum() / mask.sum()).item(), rel=1e-5)


def test_medical_mae_crops_are_at_least_half_of_the_image() -> None:
    config = small("medical_mae")
    assert config.data.crop_scale == (0.5, 1.0)


def caught_attention(model: MaskedImageModel, grey: Tensor) -> Tensor:
    """Attention of the last block, (B, heads, T, T), as timm's own plain code makes it on its way."""
    attn, caught = model.teacher.encoder.vit.blocks[-1].attn, []
    attn.fused_attn = False
    attn.attn_drop.register_forward_hook(lambda module, inputs, output: caught.append(output))
    with torch.no_grad():
        model.teacher.encoder.encode(grey)
    return caught[0]


@pytest.mark.parametrize("kind", ["high", "low"])
def test_attmask_loss_equals_an_independent_one(kind: str) -> None:
    config = small("attmask", f"mask.attention={kind}", "data.input_size=96", "target.gate=0")
    model, step, got = taken(config)
    grey = step.crops.grey_BHW
    attention = caught_attention(model, grey)[:, :, 0, 1:].mean(dim=1)
    hidden = 36 - int(36 * 0.25)
    mask = torch.zeros(4, 36, dtype=torch.bool).scatter(
        1, attention.argsort(descending=kind == "high")[:, :hidden], True
    )
    assert torch.equal(step.selection.mask_BL, mask)
    expected = local_mim(step.outputs.predictions, grey, mask, 16)
    assert got["loss"].item() == pytest.approx(sum(expected), rel=1e-5)


def test_attmask_differs_from_localmim_in_what_it_hides_alone() -> None:
    samples = batch([False] * 3)
    config, plain = small("attmask", "mask.kind=random"), small("localmim")
    got, expected = (training_losses(build_model(c), samples, c, progress=0.5)["loss"] for c in (config, plain))
    assert torch.equal(got, expected)


def hpm_ranking(predicted: Tensor, error: Tensor, mask: Tensor) -> float:
    """HPM's relative loss (Wang et al. 2023), pair by pair: cross-entropy of which of two hidden patches is harder."""
    terms = []
    for p, e, m in zip(predicted.tolist(), error.tolist(), mask.tolist(), strict=True):
        hidden = [i for i in range(len(m)) if m[i]]
        for i in hidden:
            for j in hidden:
                probability = torch.sigmoid(torch.tensor(p[i] - p[j], dtype=torch.float64))
                if e[i] > e[j]:
                    terms.append(-probability.log())
                elif e[i] < e[j]:
                    terms.append(-(1 - probability).log())
    return torch.stack(terms).mean().item()


def test_hpm_loss_equals_an_independent_one() -> None:
    _, step, got = taken(small("hpm"))
    target = pixel_target(step.crops.grey_BHW, patch=16)
    error = ((step.outputs.predictions[0] - target) ** 2).mean(dim=2)
    mask = step.selection.mask_BL
    ranking = hpm_ranking(step.outputs.difficulty_BL, error, mask)
    assert got["loss_rank"].item() == pytest.approx(ranking, rel=1e-5)
    assert got["loss_1x"].item() == pytest.approx(((error * mask).sum() / mask.sum()).item(), rel=1e-5)
    assert got["loss"].item() == pytest.approx(got["loss_1x"].item() + ranking, rel=1e-5)


def test_hpm_ranking_teaches_the_predictor_and_not_the_reconstruction() -> None:
    model, _, got = taken(small("hpm"))
    got["loss_rank"].backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert {name.partition(".")[0] for name in learning} == {"encoder", "loss_predictor"}


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_hpm_hides_a_growing_share_of_the_hardest_patches(progress: float) -> None:
    config = small("hpm")
    model, step, _ = taken(config, progress=progress)
    difficulty = model.teacher(step.crops.grey_BHW).difficulty_BL
    hidden = COUNT - int(COUNT * 0.25)
    hardest = int(hidden * 0.5 * progress)
    assert step.selection.mask_BL.sum(dim=1).tolist() == [hidden] * 4
    top = difficulty.argsort(dim=1, descending=True)[:, :hardest]
    assert step.selection.mask_BL.gather(1, top).all()
    if progress == 0:  # MAE's masks, from the same draws
        plain = small("mae")
        random = reconstruct(build_model(plain), batch([True, False] * 2), plain, progress=0)
        assert torch.equal(step.selection.mask_BL, random.selection.mask_BL)


# ---------------------------------------------------------------------------------------------- teacher


def test_attention_is_that_of_the_last_block_and_the_tokens_are_those_of_encode() -> None:
    config = small("attmask")
    model, step, _ = taken(config)
    grey = step.crops.grey_BHW
    tokens, attention = model.encoder.encode_with_attention(grey, slice(None))
    torch.testing.assert_close(tokens, model.encoder.encode(grey))
    torch.testing.assert_close(attention, caught_attention(model, grey).mean(dim=1))
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(4, 50))
    _, of_class = model.encoder.encode_with_attention(grey, slice(0, 1))
    torch.testing.assert_close(of_class, attention[:, :1])


def test_without_a_class_token_all_patches_say_what_is_attended_to() -> None:
    config = small("attmask", "model.encoder=vit_base_patch16_gap_224", "decoder.taps=[1, 2, -1, 0]")
    model, step, _ = taken(config)
    guidance = model.teacher(step.crops.grey_BHW)
    attention = caught_attention(model, step.crops.grey_BHW)
    torch.testing.assert_close(guidance.attention_BL, attention.mean(dim=(1, 2)))


def test_the_teacher_moves_by_its_formula_and_never_learns() -> None:
    model = build_model(small("hpm", "model.drop_path=0.5"))
    before = {name: p.clone() for name, p in model.teacher.named_parameters()}
    for p in model.parameters():
        p.data += 1 if p.requires_grad else 0
    model.update_teacher(keep=0.9)
    student = {f"encoder.{n}": p for n, p in model.encoder.named_parameters()}
    student |= {f"loss_predictor.{n}": p for n, p in model.loss_predictor.named_parameters()}
    assert set(before) == set(student)
    for name, p in model.teacher.named_parameters():
        torch.testing.assert_close(p, 0.9 * before[name] + 0.1 * student[name])
        assert not p.requires_grad
    model.update_teacher(keep=0)
    assert all(torch.equal(p, student[name]) for name, p in model.teacher.named_parameters())
    model.train()
    assert not any(module.training for module in model.teacher.modules())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("methods") / "cache", images=8)


class CrashError(Exception):
    """Stands for anything that ends a process between two steps."""


@pytest.mark.parametrize("name", ["hpm", "attmask"])
def test_the_teacher_is_in_the_checkpoints_and_a_resumed_run_is_bitwise(name: str, cache: Path, tmp_path: Path) -> None:
    config = quick_config(name, "train.max_steps=4", "train.checkpoint_every=1", "train.keep=9", "train.ema=0.5")
    train([cache], tmp_path / "whole", config, device="cpu")
    weights = [
        load_file(tmp_path / "whole" / "checkpoints" / f"step_{step:08d}" / "model.safetensors") for step in range(1, 5)
    ]
    for old, new in itertools.pairwise(weights):
        for key in (key for key in new if key.startswith("teacher.")):
            expected = 0.5 * old[key] + 0.5 * new[key.removeprefix("teacher.")]
            torch.testing.assert_close(new[key], expected)
    # evaluation takes the encoder that learns
    encoder = load_encoder(tmp_path / "whole")
    assert torch.equal(encoder.vit.blocks[0].mlp.fc1.weight, weights[-1]["encoder.vit.blocks.0.mlp.fc1.weight"])

    def crash(step: int, steps: int) -> None:
        if step == 3:
            raise CrashError

    with pytest.raises(CrashError):
        train([cache], tmp_path / "cut", config, device="cpu", on_step=crash)
    train([cache], tmp_path / "cut", config, device="cpu", resume=True)
    for file in ("model.safetensors", "optimizer.pt"):
        whole, cut = (tmp_path / run / "checkpoints" / "step_00000004" / file for run in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    ]
    assert losses[0] == losses[1]


def test_the_teacher_starts_as_the_encoder_does(cache: Path, tmp_path: Path) -> None:
    first = quick_config("localmim", "train.max_steps=1")
    train([cache], tmp_path / "first", first, device="cpu")
    file = tmp_path / "first" / "checkpoints" / "step_00000001" / "model.safetensors"
    config = quick_config("attmask", "train.max_steps=1", "train.ema=1", f"model.init={file}")
    train([cache], tmp_path / "second", config, device="cpu")
    start = load_file(file)
    later = load_file(tmp_path / "second" / "checkpoints" / "step_00000001" / "model.safetensors")
    kept = [key for key in later if key.startswith("teacher.encoder.vit.")]
    assert kept
    assert all(torch.equal(later[key], start[key.removeprefix("teacher.")]) for key in kept)


# ------------------------------------------------------------------------------------- recalibration


def test_spreading_by_attention_equals_the_formula_and_conserves_mass() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.softmax(torch.randn(2, 5, 5, generator=generator), dim=2)
    mass = torch.rand(2, 5, generator=generator)
    got = spread_by_attention(mass, attention)
    for image in range(2):
        for i in range(5):
            expected = sum(attention[image, j, i] * mass[image, j] for j in range(5))
            assert got[image, i].item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(got.sum(dim=1), mass.sum(dim=1))


@pytest.mark.parametrize("mode", ["ema", "attn"])
def test_recalibration_can_look_through_the_teacher(mode: str) -> None:
    config = small("vp_mim", f"recalibrate.mode={mode}", "recalibrate.beta=1", "recalibrate.full=0.1")
    model, step, got = taken(config, progress=0.9)
    fine, new = step.crops.fine_BRS, step.recalibrated_BRS
    torch.testing.assert_close(new.sum(dim=(1, 2)), fine.sum(dim=(1, 2)))
    assert not torch.allclose(new[0], fine[0], atol=1e-4)
    mass = fine.unflatten(1, (7, 4)).unflatten(3, (7, 4)).sum(dim=(2, 4)).flatten(1)
    if mode == "attn":
        spread = caught_attention(model, step.crops.grey_BHW).mean(dim=1)[:, 1:, 1:]
        spread = spread / spread.sum(dim=2, keepdim=True)
    else:
        y = F.normalize(model.teacher.encoder.encode(step.crops.grey_BHW)[:, 1:], dim=2)
        place = torch.cartesian_prod(torch.arange(7.0), torch.arange(7.0))
        spread = torch.softmax(y @ y.mT / 0.1 - torch.cdist(place, place) ** 2 / 32, dim=2)
    patches = new.unflatten(1, (7, 4)).unflatten(3, (7, 4)).sum(dim=(2, 4)).flatten(1)
    torch.testing.assert_close(patches, torch.einsum("bji,bj->bi", spread, mass), rtol=1e-3, atol=1e-5)
    got["loss"].backward()
    assert all(p.grad is None for p in model.teacher.parameters())


# ------------------------------------------------------------------------------------- every method


class NoLookAtTheDevice(TorchDispatchMode):
    """Refuses what waits for the device, or whose shape depends on values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.overloadpacket.__name__
        assert name not in ("nonzero", "_local_scalar_dense", "masked_select", "unique", "is_nonzero", "equal"), name
        if name == "index":
            assert not any(index is not None and index.dtype == torch.bool for index in args[1]), "a boolean index"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [*METHODS, "vp_mim", "vp_mim_joint", "cxr_mim", "mae"])
def test_a_step_never_looks_at_values_on_the_device(name: str) -> None:
    config = small(name)
    model, samples = build_model(config), batch([True, False])
    progress = torch.tensor(0.5)
    with NoLookAtTheDevice():
        losses = training_losses(model, samples, config, progress=progress)
        losses["loss"].backward()
        model.update_teacher(keep=0.9)
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoLookAtTheDevice():
        losses["loss"].item()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simmim", "hpm"])
def test_a_step_traces_as_one_graph(name: str) -> None:
    config = small(name, "model.depth=2")
    model, samples = build_model(config), batch([True, False])
    torch.compiler.reset()
    traced = torch.compile(training_losses, fullgraph=True, dynamic=False, backend="eager")
    got = traced(model, samples, config, progress=torch.tensor(0.5))
    expected = training_losses(model, samples, config, progress=torch.tensor(0.5))
    torch.testing.assert_close(got, expected)
    torch.compiler.reset()


@pytest.mark.parametrize("name", METHODS)
def test_the_gaze_head_composes_with_the_method(name: str) -> None:
    _, step, got = taken(small(name, "loss.gaze_prediction=0.1"))
    assert step.outputs.gaze_logits_BK.shape == step.selection.ids_keep_BK.shape
    assert got["loss_gaze"].item() > 0


def test_every_parameter_of_every_method_learns() -> None:
    for name in METHODS:
        model, _, got = taken(small(name))
        got["loss"].backward()
        learning = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
        idle = {n for n, grad in learning if grad is None or not bool(grad.abs().sum() > 0)}
        # one number added to all predicted losses changes no order
        assert idle <= {"loss_predictor.score.bias"}


def test_panels_show_pixels_in_one_form_whatever_they_were_learnt_in() -> None:
    config = small("simmim")
    model, samples = build_model(config), batch([False] * 2)
    pictures = panels(model, samples, config, progress=0.5)
    image = torch.from_numpy(pictures["image"])
    torch.testing.assert_close(
        torch.from_numpy(pictures["target_1x"]).flatten(1, 2), pixel_target(image, patch=16), rtol=1e-3, atol=1e-3
    )


def test_layers_of_a_linear_head_are_one() -> None:
    model = build_model(small("simmim"))
    assert [type(m) for m in model.pyramid.heads[0].modules() if isinstance(m, nn.Linear)] == [nn.Linear]
    assert not list(model.pyramid.decoders.parameters())
