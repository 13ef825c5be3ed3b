"""Options that a method may be given: other targets, a jittered rate, decoders that look at the coarser one."""

from __future__ import annotations

import pytest
import torch
from tiny import batch, tiny_config
from torch import Tensor
from torch.nn import functional as F

from vpmim.config import Config, ConfigError
from vpmim.model import build_model
from vpmim.objective import panels, reconstruct, training_losses
from vpmim.report_panels import training_cards

ONE_SCALE = ("decoder.taps=[0]", "decoder.scales=[1]")
FEATURE = ("target.kind=feature", *ONE_SCALE)


def losses(config: Config, gaze: list[bool]) -> dict[str, Tensor]:
    """Losses of a network made from the configuration's own seed."""
    return training_losses(build_model(config), batch(gaze), config, progress=0.5)


# ---------------------------------------------------------------------------------------------- targets


def test_the_loss_of_feature_targets_equals_an_independent_one() -> None:
    config = tiny_config("localmim", *FEATURE)
    model, samples = build_model(config), batch([False] * 3)
    step = reconstruct(model, samples, config, progress=0.5)
    with torch.no_grad():
        vit = model.teacher.encoder.vit
        tokens = vit.forward_features((step.crops.grey_BHW[:, None] - 0.5) / 0.25)[:, 1:]
    target = (tokens - tokens.mean(2, keepdim=True)) / (tokens.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    error, mask = ((step.outputs.predictions[0] - target) ** 2).mean(dim=2), step.selection.mask_BL.float()
    got = training_losses(model, samples, config, progress=0.5)
    assert got["loss"].item() == pytest.approx(((error * mask).sum() / mask.sum()).item(), rel=1e-4)


def test_feature_targets_follow_the_teacher_and_teach_only_the_encoder_that_learns() -> None:
    config = tiny_config("vp_mim_joint", *FEATURE)
    model, samples = build_model(config), batch([True, False])
    before = reconstruct(model, samples, config, progress=0.5).targets[0]
    training_losses(model, samples, config, progress=0.5)["loss"].backward()
    assert not before.requires_grad
    assert all(p.grad is None for p in model.teacher.parameters())
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(reconstruct(model, samples, config, progress=0.5).targets[0], before)
    model.update_teacher(keep=0.5)
    assert not torch.allclose(reconstruct(model, samples, config, progress=0.5).targets[0], before, atol=1e-3)


@pytest.mark.parametrize("name", ["mae", "simmim", "attmask", "hpm", "vp_mim"])
def test_any_method_takes_feature_targets(name: str) -> None:
    small = () if name == "simmim" else ("decoder.depth=1", *ONE_SCALE)
    got = losses(tiny_config(name, "target.kind=feature", *small), [True, False])
    got["loss"].backward()
    assert 0 < got["loss"].item() < 10


def test_feature_targets_have_one_scale() -> None:
    with pytest.raises(ConfigError, match=r'target\.kind = "feature" is per patch: it needs decoder\.scales = \[1\]'):
        tiny_config("vp_mim", "target.kind=feature")


def test_features_are_no_picture_and_panels_and_report_do_without() -> None:
    config = tiny_config("vp_mim", *FEATURE)
    pictures = panels(build_model(config), batch([True]), config, progress=0.5)
    assert {"image", "prior", "recalibrated", "relevant", "mask", "weights_1x"} == set(pictures)
    (card,) = training_cards([pictures], pixels=False, count=1)
    assert "weight of each cell" in card
    assert "reconstruction" not in card


def test_the_magnitude_is_one_more_channel_that_panels_leave_out() -> None:
    config = tiny_config("vp_mim", "target.magnitude=true")
    model, samples = build_model(config), batch([True, False])
    step = reconstruct(model, samples, config, progress=0.5)
    assert {target.shape[2] for target in step.targets} == {10} == {p.shape[2] for p in step.outputs.predictions}
    pictures = panels(model, samples, config, progress=0.5)
    assert pictures["target_2x"].shape[-1] == pictures["prediction_2x"].shape[-1] == 9
    assert (pictures["target_1x"].reshape(2, 49, 9) == step.targets[2][..., :9].numpy()).all()


# ---------------------------------------------------------------------------------------------- masking


def test_a_jittered_rate_differs_from_image_to_image_and_the_count_stays_exact() -> None:
    n = 64
    config = tiny_config("vp_mim", "mask.kappa_jitter=0.3", "prior.partition=topk", "data.crop_scale=[1, 1]")
    plain = tiny_config("vp_mim", "prior.partition=topk", "data.crop_scale=[1, 1]")
    model = build_model(config)
    hidden = []
    for visit in range(2):
        samples = batch([True] * n, visit=visit)
        step = reconstruct(model, samples, config, progress=0.5)
        assert step.selection.mask_BL.sum(dim=1).tolist() == [49 - 12] * n
        relevant = step.crops.relevant_BL
        assert relevant.sum(dim=1).tolist() == [13] * n
        hidden.append((step.selection.mask_BL & relevant).sum(dim=1))
    # floor(kappa * 13) for kappa uniform in [0.2, 0.8]: 2 to 10, 6 on average
    assert 2 <= int(hidden[0].min()) < 4
    assert 9 <= int(hidden[0].max()) <= 10
    assert abs(hidden[0].double().mean().item() - 6) < 4 * 2.25 / n**0.5
    assert not torch.equal(hidden[0], hidden[1])
    step = reconstruct(model, samples, plain, progress=0.5)
    assert (step.selection.mask_BL & step.crops.relevant_BL).sum(dim=1).tolist() == [6] * n


def test_a_jittered_rate_is_cut_to_shares_and_goes_with_schedules_and_soft_masking() -> None:
    wide = ("mask.kappa_jitter=1", "mask.kappa=0", "mask.kappa_end=1")
    for more in ((), ("prior.partition=soft",)):
        config = tiny_config("vp_mim", *wide, *more)
        step = reconstruct(build_model(config), batch([True] * 16), config, progress=1.0)
        assert step.selection.mask_BL.sum(dim=1).tolist() == [49 - 12] * 16
    with pytest.raises(ConfigError, match=r"mask\.kappa_jitter: expected a share"):
        tiny_config("vp_mim", "mask.kappa_jitter=2")


def test_without_gaze_a_jittered_rate_changes_nothing() -> None:
    jittered, plain = (tiny_config("vp_mim", f"mask.kappa_jitter={width}") for width in (0.5, 0.0))
    assert losses(jittered, [False] * 3)["loss"].item() == losses(plain, [False] * 3)["loss"].item()


# ---------------------------------------------------------------------------------------------- decoders


def test_looking_at_the_coarser_scale_starts_as_without_it_digit_for_digit() -> None:
    plain, joined = (
        losses(tiny_config(), [True, False]),
        losses(tiny_config("vp_mim", "decoder.topdown=true"), [True, False]),
    )
    assert {name: value.item() for name, value in plain.items()} == {n: value.item() for n, value in joined.items()}


def test_every_parameter_learns_once_the_gates_have_opened() -> None:
    config = tiny_config("paper/vp_mim", "decoder.topdown=true")
    model, samples = build_model(config), batch([True] * 2)
    training_losses(model, samples, config, progress=0.5)["loss"].backward()
    gates = [joint.gate for joint in model.pyramid.topdown]
    assert len(gates) == 3
    assert all(bool(gate.grad != 0) for gate in gates)
    with torch.no_grad():
        for gate in gates:
            gate.fill_(0.5)
    training_losses(model, samples, config, progress=0.5)["loss"].backward()
    assert [name for name, p in model.named_parameters() if not bool(p.grad.abs().sum() > 0)] == []


def test_two_scales_are_needed_to_look_from_one_to_the_other() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.topdown joins the decoders of two scales or more"):
        tiny_config("mae", "decoder.topdown=true")


def test_the_published_attmask_predicts_what_its_teacher_sees() -> None:
    config = tiny_config("paper/attmask")
    model, samples = build_model(config), batch([False] * 3)
    step = reconstruct(model, samples, config, progress=0.5)
    attention = model.teacher(step.crops.grey_BHW).attention_BL
    hidden = 49 - int(49 * 0.7)
    assert step.selection.mask_BL.gather(1, attention.argsort(descending=True)[:, :hidden]).all()
    assert step.selection.mask_BL.sum(dim=1).tolist() == [hidden] * 3
    assert step.outputs.predictions[0].shape == step.targets[0].shape == (3, 49, 48)


# ---------------------------------------------------------------------------------------------- encoders


@pytest.mark.parametrize(
    ("encoder", "size"),
    [
        ("vit_base_patch8_224", 200),  # 25 x 25
        ("vit_small_patch14_dinov2", 98),  # 7 x 7, HOG on the resampled crop, layer scale
        ("vit_base_patch14_reg4_dinov2", 126),  # 9 x 9, registers
        ("vit_large_patch16_224", 96),
        ("vit_tiny_patch16_224", 512),  # 32 x 32
        ("vit_base_patch16_gap_224", 176),  # 11 x 11, no class token
        ("vit_base_patch32_224", 288),  # 9 x 9
    ],
)
def test_any_plain_vision_transformer_trains_and_is_read_at_every_scale(encoder: str, size: int) -> None:
    config = tiny_config("vp_mim_joint", f"model.encoder={encoder}", f"data.input_size={size}", "mask.ratio=0.9")
    model, samples = build_model(config), batch([True, False])
    step = reconstruct(model, samples, config, progress=0.9)
    side = size // model.encoder.patch
    cells = [(4 * side) ** 2, (2 * side) ** 2, side**2, (-(-side // 2)) ** 2]
    assert [target.shape[1] for target in step.targets] == [p.shape[1] for p in step.outputs.predictions] == cells
    got = training_losses(model, samples, config, progress=0.9)
    got["loss"].backward()
    assert all(bool(value.isfinite()) for value in got.values())


# ---------------------------------------------------------------------------------------------- VP-MIM


@pytest.mark.parametrize("name", ["vp_mim", "paper/vp_mim"])
def test_vp_mim_loss_equals_an_independent_one(name: str) -> None:
    config = tiny_config(name, "data.input_size=96")
    model, samples = build_model(config), batch([True, True, False])
    if model.gaze_head is not None:
        with torch.no_grad():
            model.gaze_head.score.weight.normal_(generator=torch.Generator().manual_seed(0))
    step = reconstruct(model, samples, config, progress=0.2)
    has_gaze, mask = step.crops.confidence_B > 0, step.selection.mask_BL
    assert has_gaze.tolist() == [True, True, False]
    fine = step.crops.fine_BRS.double()
    total = 0.0
    for b in range(3):
        # recalibration: half of the way to beta 0.5, each patch to the patches like it and near it
        h = fine[b].reshape(6, 4, 6, 4).sum(dim=(1, 3)).flatten()
        y = F.normalize(step.outputs.tokens_BLW[b].detach().double(), dim=1)
        place = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0)).double()
        spread = torch.softmax(y @ y.T / 0.1 - torch.cdist(place, place) ** 2 / 32, dim=1)
        new = 0.75 * h + 0.25 * (h @ spread)
        square = new.reshape(6, 6).repeat_interleave(4, 0).repeat_interleave(4, 1)
        old = h.reshape(6, 6).repeat_interleave(4, 0).repeat_interleave(4, 1)
        shaped = torch.where(old < 1e-8, square / 16, square * fine[b] / old.clamp(min=1e-8))
        for k, size in enumerate((24, 12, 6, 3)):
            gaze = F.adaptive_avg_pool2d(shaped[None], size).flatten()
            hidden = F.interpolate(mask[b].double().reshape(1, 1, 6, 6), size=size, mode="area").flatten()
            weight = hidden
            if has_gaze[b]:
                q = hidden * torch.exp(gaze / gaze.max() / 0.25)
                weight = hidden + hidden.sum() * q / q.sum()
                clipped = weight.clamp(max=8)
                weight = clipped * weight.sum() / clipped.sum()
            error = ((step.outputs.predictions[k][b].double() - step.targets[k][b]) ** 2).mean(dim=1)
            total += ((weight * error).sum() / weight.sum()).item() / 3
        if model.gaze_head is not None and has_gaze[b]:
            visible = step.selection.ids_keep_BK[b]
            prior, logits = h[visible] / h[visible].sum(), step.outputs.gaze_logits_BK[b].double()
            total -= config.loss.gaze_prediction * (prior * (logits - logits.logsumexp(0))).sum().item() / 3
    got = training_losses(model, samples, config, progress=0.2)
    assert got["loss"].item() == pytest.approx(total, rel=1e-5)
