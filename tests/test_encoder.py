"""The encoder: what it computes is timm's, and what is hidden from it has no influence."""

from __future__ import annotations

import pytest
import timm
import torch
from tiny import tiny_config, tiny_spec

from vpmim.encoder import Encoder, EncoderError, build_encoder

ARCHITECTURES = [
    ("vit_tiny_patch16_224", 48),
    ("vit_small_patch8_224", 40),
    ("vit_base_patch14_dinov2", 42),  # layer scale
    ("vit_base_patch16_clip_224", 48),  # norm before the blocks, no bias in the stem
    ("vit_base_patch16_gap_224", 48),  # no class token
    ("vit_base_patch16_reg4_gap_256", 48),  # registers, norm behind the pooling
    ("deit3_small_patch16_224", 48),  # class token without a position
]


@pytest.mark.parametrize(("name", "size"), ARCHITECTURES)
def test_tokens_equal_those_of_timm(name: str, size: int) -> None:
    encoder = Encoder(tiny_spec(name=name, input_size=size, heads=3)).eval()
    grey = torch.rand(2, size, size)
    expected = encoder.vit.fc_norm(encoder.vit.forward_features(((grey - 0.5) / 0.25)[:, None]))
    assert encoder.vit.embed_dim == 48
    torch.testing.assert_close(encoder.encode(grey), expected)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit3_small_patch16_224", "vit_base_patch16_gap_224"])
def test_visible_patches_keep_their_own_position(name: str) -> None:
    encoder = Encoder(tiny_spec(name=name, input_size=48)).eval()
    grey = torch.rand(2, 48, 48)
    order = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    (tokens,) = encoder(grey, order)
    # attention does not know the order, so all patches in another order are the same tokens in that order
    expected = encoder.encode(grey)[:, encoder.prefix :].gather(1, order[..., None].expand(-1, -1, 48))
    torch.testing.assert_close(tokens[:, encoder.prefix :], expected)


def test_hidden_patches_have_no_influence() -> None:
    encoder = Encoder(tiny_spec(input_size=64), taps=(1, 0)).eval()
    grey = torch.rand(2, 64, 64)
    ids_keep = torch.tensor([[0, 5, 15], [1, 2, 3]])
    changed = grey.clone()
    changed[0, 16:32, 0:16] = 1 - changed[0, 16:32, 0:16]  # patch 4 of the first image is hidden
    for before, after in zip(encoder(grey, ids_keep), encoder(changed, ids_keep), strict=True):
        assert before.shape == (2, 1 + 3, 48)
        assert torch.equal(before, after)
    changed[0, 16:32, 16:32] = 0  # patch 5 is not
    assert not torch.equal(encoder(grey, ids_keep)[1][0], encoder(changed, ids_keep)[1][0])


def test_a_hidden_patch_costs_no_gradient_through_its_position() -> None:
    encoder = Encoder(tiny_spec(input_size=64))
    encoder(torch.rand(1, 64, 64), torch.tensor([[2, 7]]))[0].sum().backward()
    used = encoder.vit.pos_embed.grad[0].abs().sum(dim=1) > 0
    assert used.nonzero().flatten().tolist() == [0, 3, 8]  # the class token's, and one place later the patches'


def test_positions_are_interpolated_for_other_sizes() -> None:
    encoder = Encoder(tiny_spec(input_size=48)).eval()
    larger = Encoder(tiny_spec(input_size=80)).eval()
    state = timm.models.vision_transformer.checkpoint_filter_fn(encoder.vit.state_dict(), larger.vit)
    larger.vit.load_state_dict(state)
    grey = torch.rand(1, 80, 80)
    torch.testing.assert_close(encoder.encode(grey), larger.encode(grey))
    assert encoder.encode(torch.rand(1, 32, 64)).shape == (1, 1 + 2 * 4, 48)


def test_taps_count_from_the_first_block_and_from_the_last() -> None:
    encoder = Encoder(tiny_spec(depth=6), taps=(2, 4, -2, 0)).eval()
    assert encoder.blocks_read == (2, 4, 4, 6)
    grey = torch.rand(1, 32, 32)
    taps = encoder(grey)
    after: list[torch.Tensor] = []
    for block in encoder.vit.blocks:
        block.register_forward_hook(lambda module, inputs, output: after.append(output))
    encoder.encode(grey)
    for tap, block, norm in zip(taps, encoder.blocks_read, [*encoder.tap_norms[:3], encoder.vit.norm], strict=True):
        torch.testing.assert_close(tap, norm(after[block - 1]))


def test_every_tap_has_a_norm_of_its_own_and_the_last_uses_the_one_that_is_exported() -> None:
    encoder = Encoder(tiny_spec(), taps=(1, 1, 2))
    grey = torch.rand(1, 32, 32)
    torch.testing.assert_close(encoder(grey)[2], encoder.encode(grey))
    with torch.no_grad():
        for factor, norm in enumerate([*encoder.tap_norms[:2], encoder.vit.norm], start=2):
            norm.weight.fill_(factor)
    first, second, last = encoder(grey)
    torch.testing.assert_close(first / 2, second / 3)
    torch.testing.assert_close(last, encoder.encode(grey))
    assert {"norm.weight", "norm.bias"} <= set(encoder.vit.state_dict())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_base_patch16_gap_224"])
def test_features_of_the_last_four_blocks_are_timms_intermediates_side_by_side(name: str) -> None:
    encoder = Encoder(tiny_spec(name=name, depth=6, input_size=48)).eval()
    grey = torch.rand(2, 48, 48)
    layers = encoder.vit.get_intermediate_layers(
        ((grey - 0.5) / 0.25)[:, None], n=4, norm=True, return_prefix_tokens=encoder.has_class_token
    )
    if encoder.has_class_token:
        expected = torch.cat([prefix[:, 0] for _, prefix in layers], dim=1)
    else:
        expected = torch.cat([encoder.vit.fc_norm(patches).mean(dim=1) for patches in layers], dim=1)
    torch.testing.assert_close(encoder.features(grey, "last4"), expected)


def test_features_are_the_class_token_the_mean_or_both() -> None:
    encoder = Encoder(tiny_spec(name="vit_base_patch16_reg4_gap_256", input_size=48)).eval()
    grey = torch.rand(2, 48, 48)
    torch.testing.assert_close(encoder.features(grey, "mean"), encoder.encode(grey)[:, 4:].mean(dim=1))
    with pytest.raises(EncoderError, match="no class token"):
        encoder.features(grey, "cls")
    encoder = Encoder(tiny_spec()).eval()
    grey = torch.rand(2, 32, 32)
    cls, mean = encoder.features(grey, "cls"), encoder.features(grey, "mean")
    torch.testing.assert_close(cls, encoder.encode(grey)[:, 0])
    torch.testing.assert_close(encoder.features(grey, "both"), torch.cat([cls, mean], dim=1))
    with pytest.raises(EncoderError, match="cls, mean, both, last4"):
        encoder.features(grey, "max")


def test_every_parameter_that_can_learn_gets_a_gradient() -> None:
    encoder = Encoder(tiny_spec(name="vit_base_patch16_siglip_256"), taps=(1, 0))  # has a pooling by attention
    sum(tap.square().sum() for tap in encoder(torch.rand(1, 32, 32))).backward()
    idle = [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vit_tny_patch16_224"}, "did you mean vit_tiny_patch16_224"),
        ({"name": "eva02_tiny_patch14_224", "input_size": 28}, "only plain vision transformers"),
        ({"name": "resnet18"}, "cannot build|only plain"),
        ({"input_size": 40}, "take 32 or 48"),
        ({"width": 50, "heads": 3}, "no multiple of model.heads"),
    ],
)
def test_an_encoder_that_cannot_be_is_an_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        Encoder(tiny_spec(**changes))


@pytest.mark.parametrize(("taps", "message"), [((5, 0), "has 2"), ((-2, 0), "has 2"), ((1,), "leave out the last")])
def test_taps_that_cannot_be_are_an_error(taps: tuple[int, ...], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        Encoder(tiny_spec(), taps=taps)


def test_an_image_that_is_no_whole_number_of_patches_is_an_error() -> None:
    with pytest.raises(EncoderError, match="33 x 32"):
        Encoder(tiny_spec()).encode(torch.rand(1, 33, 32))


def test_a_configuration_builds_its_encoder() -> None:
    encoder = build_encoder(tiny_config("vp_mim", "data.mean=0.4", "model.drop_path=0.2"))
    assert (encoder.grid, encoder.patch, encoder.prefix, encoder.width, encoder.depth) == ((7, 7), 16, 1, 48, 4)
    assert encoder.blocks_read == (2, 4, 2, 4)
    assert encoder.spec.mean == 0.4
    assert encoder.vit.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)
