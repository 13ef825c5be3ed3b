"""The whole method: which configurations are which published losses, what gaze changes, and what it never does."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import batch, tiny_config
from torch import Tensor
from torch.nn import functional as F

from vpmim.config import Config, ConfigError
from vpmim.data import Samples
from vpmim.model import MaskedImageModel, build_model
from vpmim.objective import panels, reconstruct, training_losses

SCALES = ("loss_4x", "loss_2x", "loss_1x", "loss_0.5x")
WITHOUT_PRIOR = ("loss.gaze_lambda=0", "prior.source=none", "recalibrate.mode=none")
EVEN = "data.input_size=96"


def losses(config: Config, samples: Samples, *, progress: float = 0.5) -> dict[str, Tensor]:
    """Losses of a network made from the configuration's own seed."""
    return training_losses(build_model(config), samples, config, progress=progress)


def local_mim(prediction: list[Tensor], grey: Tensor, mask: Tensor, patch: int) -> list[float]:
    """LocalMIM (Wang et al. 2023): HOG by a Sobel convolution, squared error, mean over what is hidden, a scale."""
    sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernel = torch.stack([sobel, sobel.T])[:, None].double()
    gradient = F.conv2d(F.pad(grey[:, None].double(), (1, 1, 1, 1), mode="reflect"), kernel)
    bins = (torch.atan2(gradient[:, 0], gradient[:, 1]) / torch.pi * 9).floor().long() % 9
    oriented = F.one_hot(bins, 9).permute(0, 3, 1, 2) * gradient.norm(dim=1, keepdim=True)
    side = grey.shape[1] // patch
    result = []
    for scale, predicted in zip((4, 2, 1, 0.5), prediction, strict=True):
        target = F.normalize(F.avg_pool2d(oriented, round(patch / scale)), dim=1).flatten(2).mT
        square = mask.double().unflatten(1, (side, side))[:, None]
        hidden = F.interpolate(square, scale_factor=scale) if scale >= 1 else F.avg_pool2d(square, 2)
        error = ((predicted.double() - target) ** 2).mean(dim=2)
        result.append(((error * hidden.flatten(1)).sum() / hidden.sum()).item())
    return result


def test_lambda_zero_equals_localmim_digit_for_digit() -> None:
    samples = batch([False] * 3)  # what the data gives for prior.source = none
    ours = losses(tiny_config("vp_mim", *WITHOUT_PRIOR), samples)
    theirs = losses(tiny_config("localmim"), samples)
    assert {name: value.item() for name, value in ours.items()} == {n: value.item() for n, value in theirs.items()}


@pytest.mark.parametrize("name", ["localmim", "vp_mim"])
def test_localmim_loss_equals_an_independent_one(name: str) -> None:
    config = tiny_config(name, EVEN, "target.gate=0", *(WITHOUT_PRIOR if name == "vp_mim" else ()))
    model, samples = build_model(config), batch([False] * 3)
    step = reconstruct(model, samples, config, progress=0.5)
    expected = local_mim(step.outputs.predictions, step.crops.grey_BHW, step.selection.mask_BL, 16)
    got = training_losses(model, samples, config, progress=0.5)
    assert [got[scale].item() for scale in SCALES] == pytest.approx(expected, rel=1e-5)
    assert got["loss"].item() == pytest.approx(sum(expected), rel=1e-5)


def test_mae_loss_equals_an_independent_one() -> None:
    config = tiny_config("mae", "decoder.width=32", "decoder.depth=2", "decoder.heads=4")
    model, samples = build_model(config), batch([False] * 3)
    step = reconstruct(model, samples, config, progress=0.5)
    tiles = F.unfold(step.crops.grey_BHW[:, None], 16, stride=16).mT
    target = (tiles - tiles.mean(2, keepdim=True)) / (tiles.var(2, keepdim=True) + 1e-6).sqrt()
    error = ((step.outputs.predictions[0] - target) ** 2).mean(dim=2)
    mask = step.selection.mask_BL.float()
    got = training_losses(model, samples, config, progress=0.5)
    assert got["loss"].item() == pytest.approx(((error * mask).sum() / mask.sum()).item(), rel=1e-5)
    assert set(got) == {"loss", "loss_1x"}


def test_cxr_mim_loss_equals_an_independent_one() -> None:
    config = tiny_config("cxr_mim", EVEN)
    model, samples = build_model(config), batch([True] * 4)
    step = reconstruct(model, samples, config, progress=0.5)
    assert bool((step.crops.confidence_B > 0).all())
    got = training_losses(model, samples, config, progress=0.5)
    for k, (scale, size) in enumerate(zip((4, 2, 1, 0.5), (24, 12, 6, 3), strict=True)):
        gaze = F.adaptive_avg_pool2d(step.crops.fine_BRS[:, None], size).flatten(1)
        gaze = gaze / gaze.amax(dim=1, keepdim=True)
        square = step.selection.mask_BL.float().unflatten(1, (6, 6))[:, None]
        mask = (F.interpolate(square, scale_factor=scale) if scale >= 1 else F.avg_pool2d(square, 2)).flatten(1)
        weight = torch.softmax(mask * gaze / 0.1, dim=1) + mask
        error = ((step.outputs.predictions[k] - step.targets[k]) ** 2).mean(dim=2)
        assert got[SCALES[k]].item() == pytest.approx(((weight * error).sum() / weight.sum()).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["vp_mim", "cxr_mim", "vp_mim_joint"])
def test_a_sample_without_gaze_equals_the_random_configuration(name: str) -> None:
    samples = batch([True, False] * 4)
    config, plain = tiny_config(name), tiny_config("localmim")
    model = build_model(config)
    mixed = reconstruct(model, samples, config, progress=0.9)
    random = reconstruct(model, samples, plain, progress=0.9)
    assert torch.equal(mixed.selection.mask_BL[1::2], random.selection.mask_BL[1::2])
    assert not torch.equal(mixed.selection.mask_BL[::2], random.selection.mask_BL[::2])
    for got, expected in zip(mixed.weights, random.weights, strict=True):
        assert torch.equal(got[1::2], expected[1::2])
        assert not torch.equal(got[::2], expected[::2])


@pytest.mark.parametrize("name", ["vp_mim", "cxr_mim", "vp_mim_joint"])
def test_images_without_gaze_give_the_losses_of_the_random_configuration(name: str) -> None:
    samples, config = batch([False] * 4), tiny_config(name)
    plain = tiny_config("localmim", f"loss.normalise={config.loss.normalise}")
    got, expected = losses(config, samples), losses(plain, samples)
    assert [got[scale].item() for scale in SCALES] == [expected[scale].item() for scale in SCALES]
    assert got.get("loss_gaze", torch.tensor(0.0)).item() == 0


def test_a_sample_does_not_depend_on_its_batch() -> None:
    config = tiny_config()
    model, samples = build_model(config).eval(), batch([True, False, True], visit=1)
    whole = reconstruct(model, samples, config, progress=0.9)
    one = Samples(**{f.name: getattr(samples, f.name)[2:] for f in dataclasses.fields(samples)})
    alone = reconstruct(model, one, config, progress=0.9)
    assert torch.equal(whole.selection.mask_BL[2:], alone.selection.mask_BL)
    for got, expected in zip(whole.weights, alone.weights, strict=True):
        torch.testing.assert_close(got[2:], expected, rtol=1e-4, atol=1e-5)


def test_image_and_prior_move_together() -> None:
    config = tiny_config("vp_mim", "recalibrate.mode=none")
    model, samples = build_model(config), batch([True] * 16, visit=5)
    step = reconstruct(model, samples, config, progress=0.0)
    cells = F.avg_pool2d(step.crops.grey_BHW[:, None], 4)[:, 0]
    looked_at = (step.crops.confidence_B > 0) & (step.crops.fine_BRS.sum(dim=(1, 2)) > 0.9)
    assert int(looked_at.sum()) >= 8
    for grey, prior in zip(cells[looked_at], step.crops.fine_BRS[looked_at], strict=True):
        top = divmod(int(prior.argmax()), 28)
        brightest = divmod(int(grey.argmax()), 28)
        assert max(abs(a - b) for a, b in zip(top, brightest, strict=True)) <= 5


def test_relevant_patches_are_hidden_less_and_the_count_is_exact() -> None:
    config = tiny_config()
    step = reconstruct(build_model(config), batch([True] * 32), config, progress=0.0)
    assert step.selection.mask_BL.sum(dim=1).tolist() == [49 - 12] * 32
    relevant = step.crops.relevant_BL
    rate = step.selection.mask_BL[relevant].float().mean(), step.selection.mask_BL[~relevant].float().mean()
    assert rate[0] < 0.5 < 0.75 < rate[1]


def test_recalibration_begins_with_the_training_and_reads_the_decoder() -> None:
    config = tiny_config("vp_mim", "recalibrate.sigma=1")
    model, samples = build_model(config), batch([True] * 2)
    early = reconstruct(model, samples, config, progress=0.05)
    late = reconstruct(model, samples, config, progress=0.9)
    torch.testing.assert_close(early.recalibrated_BRS, early.crops.fine_BRS)
    assert not torch.allclose(late.recalibrated_BRS, late.crops.fine_BRS, atol=1e-4)
    torch.testing.assert_close(late.recalibrated_BRS.sum(dim=(1, 2)), late.crops.fine_BRS.sum(dim=(1, 2)))
    assert not any(weights.requires_grad for weights in late.weights)


def test_recalibration_can_read_the_gaze_head() -> None:
    config = tiny_config("vp_mim_joint", "recalibrate.mode=predicted", "recalibrate.beta=1", "recalibrate.full=0.1")
    model, samples = build_model(config), batch([True] * 2)
    step = reconstruct(model, samples, config, progress=0.5)
    expected = (
        torch.softmax(model.expected_gaze(step.crops.grey_BHW), dim=1) * step.crops.fine_BRS.sum(dim=(1, 2))[:, None]
    )
    patches = step.recalibrated_BRS.unflatten(1, (7, 4)).unflatten(3, (7, 4)).sum(dim=(2, 4)).flatten(1)
    torch.testing.assert_close(patches, expected)
    training_losses(model, samples, config, progress=0.5)["loss"].backward()
    with pytest.raises(ConfigError, match=r"loss\.gaze_prediction"):
        tiny_config("paper/vp_mim", "recalibrate.mode=predicted")


def test_the_gaze_head_adds_its_loss_and_changes_nothing_else() -> None:
    samples = batch([True, True, False])
    plain, joint = losses(tiny_config("paper/vp_mim"), samples), losses(tiny_config("vp_mim_joint"), samples)
    assert [plain[scale].item() for scale in SCALES] == [joint[scale].item() for scale in SCALES]
    assert joint["loss"].item() == pytest.approx(plain["loss"].item() + 0.1 * joint["loss_gaze"].item())
    # the head starts with no opinion: cross-entropy log 12 over the visible patches, of two samples in three
    assert joint["loss_gaze"].item() == pytest.approx(2 / 3 * torch.tensor(12.0).log().item(), rel=1e-5)


def test_the_gaze_head_composes_with_every_method() -> None:
    for name in ("mae", "localmim", "cxr_mim"):
        config = tiny_config(name, "loss.gaze_prediction=0.1", "decoder.depth=1")
        assert losses(config, batch([True, True]))["loss_gaze"].item() > 1


def test_every_parameter_learns() -> None:
    config = tiny_config("vp_mim_joint")
    model = build_model(config)
    with torch.no_grad():
        model.gaze_head.score.weight.normal_()
    training_losses(model, batch([True] * 2), config, progress=0.5)["loss"].backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    # a bias on all keys, or on all logits, changes no softmax
    assert set(idle) <= {"gaze_head.score.bias"}


def test_only_the_network_runs_in_bf16() -> None:
    config = tiny_config("vp_mim", EVEN)
    model, samples = build_model(config), batch([True] * 2)
    full = reconstruct(model, samples, config, progress=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = reconstruct(model, samples, config, progress=0.0)
        loss = training_losses(model, samples, config, progress=0.9)["loss"]
    assert loss.dtype == torch.float32
    assert half.outputs.predictions[0].dtype == torch.bfloat16
    assert torch.equal(half.crops.grey_BHW, full.crops.grey_BHW)
    assert torch.equal(half.selection.ids_keep_BK, full.selection.ids_keep_BK)
    for got, expected in zip(half.targets + half.weights, full.targets + full.weights, strict=True):
        assert torch.equal(got, expected)


def test_a_step_is_a_function_of_seed_visit_and_image_alone() -> None:
    config, samples = tiny_config(), batch([True, False])
    state = torch.get_rng_state()
    first = losses(config, samples)["loss"]
    torch.manual_seed(99)
    assert torch.equal(first, losses(config, samples)["loss"])
    torch.set_rng_state(state)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, losses(config, batch([True, False], visit=1))["loss"])
    assert not torch.equal(first, losses(tiny_config("vp_mim", "seed=1"), samples)["loss"])


def test_schedules_change_what_is_hidden() -> None:
    samples = batch([True] * 16)
    config = tiny_config("vp_mim", "mask.kappa=0", "mask.kappa_end=1", "mask.ratio=0.5", "mask.ratio_end=0.9")
    model = build_model(config)
    for progress, hidden in ((0.0, 49 - 24), (1.0, 49 - 4)):
        step = reconstruct(model, samples, config, progress=progress)
        assert step.selection.mask_BL.sum(dim=1).tolist() == [hidden] * 16
        assert step.selection.mask_BL[step.crops.relevant_BL].float().mean().item() == pytest.approx(progress, abs=0.2)


def test_a_soft_prior_needs_no_partition() -> None:
    config = tiny_config("vp_mim", "prior.partition=soft", "mask.kappa=0.05")
    step = reconstruct(build_model(config), batch([True] * 16 + [False]), config, progress=0.0)
    assert not bool(step.crops.relevant_BL.any())
    looked_at = F.avg_pool2d(step.crops.fine_BRS[:, None], 4).flatten(1)
    top = looked_at[:16].argmax(dim=1)[(step.crops.confidence_B > 0)[:16]]
    hidden = step.selection.mask_BL[:16][(step.crops.confidence_B > 0)[:16]].gather(1, top[:, None]).float().mean()
    assert hidden < 0.4
    random = reconstruct(build_model(config), batch([False] * 17), tiny_config("localmim"), progress=0.0)
    assert torch.equal(step.selection.mask_BL[16], random.selection.mask_BL[16])


@pytest.mark.slow
def test_a_step_traces_whole_without_a_look_at_the_device() -> None:
    config = tiny_config("vp_mim_joint", "model.depth=2", "decoder.taps=[1, 1, 2, 0]")
    model = build_model(config)

    def step(samples: Samples, progress: Tensor) -> dict[str, Tensor]:
        return training_losses(model, samples, config, progress=progress)

    torch.compiler.reset()
    # the whole step as one graph: any value asked of the device, and any second graph, is an error
    traced = torch.compile(step, fullgraph=True, dynamic=False, backend="eager")
    for visit in (0, 1):
        samples = batch([True, False], visit=visit)
        got = traced(samples, torch.tensor(0.5))
        expected = training_losses(model, samples, config, progress=0.5)
        torch.testing.assert_close(got, expected)
    torch.compiler.reset()


def test_panels_show_what_the_step_saw_and_leave_no_trace() -> None:
    config = tiny_config("vp_mim", "model.drop_path=0.5")
    model, samples = build_model(config), batch([True, False])
    model.train()
    state = torch.get_rng_state()
    pictures = panels(model, samples, config, progress=0.9)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    step = reconstruct(model, samples, config, progress=0.9)
    assert (pictures["mask"].reshape(2, -1) == step.selection.mask_BL.numpy()).all()
    assert {name: array.shape[1:] for name, array in pictures.items()} == {
        "image": (112, 112),
        "prior": (28, 28),
        "recalibrated": (28, 28),
        "relevant": (7, 7),
        "mask": (7, 7),
        "prediction_4x": (28, 28, 9),
        "target_4x": (28, 28, 9),
        "weights_4x": (28, 28),
        "prediction_2x": (14, 14, 9),
        "target_2x": (14, 14, 9),
        "weights_2x": (14, 14),
        "prediction_1x": (7, 7, 9),
        "target_1x": (7, 7, 9),
        "weights_1x": (7, 7),
        "prediction_0.5x": (4, 4, 9),
        "target_0.5x": (4, 4, 9),
        "weights_0.5x": (4, 4),
    }


@pytest.mark.parametrize(
    ("encoder", "size"),
    [("vit_small_patch8_224", 96), ("vit_base_patch14_dinov2", 112), ("vit_base_patch16_gap_224", 144)],
)
def test_other_encoders_train_too(encoder: str, size: int) -> None:
    config = tiny_config("vp_mim_joint", f"model.encoder={encoder}", f"data.input_size={size}")
    got = losses(config, batch([True, False]))
    got["loss"].backward()
    assert all(bool(value.isfinite()) for value in got.values())
    assert isinstance(build_model(config), MaskedImageModel)


def test_weights_at_the_start_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = build_model(tiny_config()).state_dict()
    torch.manual_seed(6)
    second = build_model(tiny_config()).state_dict()
    other = build_model(tiny_config("vp_mim", "seed=1")).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["pyramid.decoders.0.embed.weight"], other["pyramid.decoders.0.embed.weight"])
