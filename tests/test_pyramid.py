"""Decoders: transposed convolutions, MAE's decoder and averages, each against a plain version of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpmim.pyramid import Doubling, Pyramid, ScaleHead, TokenDecoder, TopDown, scale_grid, sincos_positions
from vpmim.settings import DecoderConfig


def test_doubling_is_a_transposed_convolution() -> None:
    double = Doubling(6, 4)
    nn.init.normal_(double.bias)
    x = torch.randn(2, 3, 5, 6)
    kernel = double.weight.permute(0, 3, 1, 2)  # in, out, row, column
    expected = F.conv_transpose2d(x.permute(0, 3, 1, 2), kernel, double.bias, stride=2)
    got = double(x).permute(0, 5, 1, 3, 2, 4).reshape(2, 4, 6, 10)
    torch.testing.assert_close(got, expected)


def by_convolutions(head: ScaleHead, tokens: Tensor) -> Tensor:
    """What a `ScaleHead` does, with the layers that its description names, on an image of channels."""
    x = tokens.mT.unflatten(2, head.grid)
    for i, double in enumerate(head.upsample):
        if i > 0:
            x = F.gelu(head.between[i - 1](x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        x = F.conv_transpose2d(x, double.weight.permute(0, 3, 1, 2), double.bias, stride=2)
    if head.scale == 0.5:
        x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    x = F.conv2d(x, head.predict.weight[..., None, None], head.predict.bias)
    return x.flatten(2).mT


@pytest.mark.parametrize("scale", [4.0, 2.0, 1.0, 0.5])
@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 1), (7, 2)])
def test_scale_head_equals_convolutions_on_the_grid(scale: float, grid: tuple[int, int]) -> None:
    head = ScaleHead(32, 9, scale=scale, grid=grid)
    tokens = torch.randn(2, grid[0] * grid[1], 32)
    got = head(tokens)
    assert got.shape == (2, math.prod(scale_grid(grid, scale)), 9)
    torch.testing.assert_close(got, by_convolutions(head, tokens), rtol=1e-5, atol=1e-5)


def test_the_last_cell_of_an_odd_grid_averages_the_patches_it_has() -> None:
    head = ScaleHead(4, 1, scale=0.5, grid=(3, 3))
    with torch.no_grad():
        head.predict.weight.fill_(0.25)
    tokens = torch.arange(9.0)[None, :, None].expand(1, 9, 4)
    assert head(tokens)[0, :, 0].tolist() == [2.0, 3.5, 6.5, 8.0]


def test_channels_halve_with_each_doubling() -> None:
    widths = {scale: ScaleHead(256, 9, scale=scale, grid=(2, 2)).predict.in_features for scale in (4, 2, 1, 0.5)}
    assert widths == {4: 64, 2: 128, 1: 256, 0.5: 256}


def plain_decoder(decoder: TokenDecoder, tokens: Tensor, ids_restore: Tensor, heads: int) -> Tensor:
    """MAE's decoder for one sample, written out: a list of tokens, then attention by the textbook."""
    prefix = decoder.prefix
    embedded = F.linear(tokens, decoder.embed.weight, decoder.embed.bias)
    sequence = list(embedded[:prefix])
    for patch, place in enumerate(ids_restore.tolist()):
        visible = place < len(tokens) - prefix
        token = embedded[prefix + place] if visible else decoder.mask_token
        sequence.append(token + decoder.positions_LW[patch])
    x = torch.stack(sequence)
    for block in decoder.blocks:
        y = F.layer_norm(x, x.shape[1:], block.norm1.weight, block.norm1.bias, 1e-6)
        q, k, v = F.linear(y, block.attn.qkv.weight, block.attn.qkv.bias).chunk(3, dim=1)
        out = []
        for h in range(heads):
            part = slice(h * q.shape[1] // heads, (h + 1) * q.shape[1] // heads)
            attention = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(q.shape[1] / heads), dim=1)
            out.append(attention @ v[:, part])
        x = x + F.linear(torch.cat(out, dim=1), block.attn.proj.weight, block.attn.proj.bias)
        y = F.layer_norm(x, x.shape[1:], block.norm2.weight, block.norm2.bias, 1e-6)
        hidden = F.gelu(F.linear(y, block.mlp.fc1.weight, block.mlp.fc1.bias))
        x = x + F.linear(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)
    return F.layer_norm(x[prefix:], x.shape[1:], decoder.norm.weight, decoder.norm.bias, 1e-6)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_token_decoder_equals_mae_written_out(prefix: int) -> None:
    torch.manual_seed(0)
    config = DecoderConfig(width=32, heads=4, depth=3)
    decoder = TokenDecoder(20, config, grid=(3, 4), prefix=prefix)
    ids_restore = torch.stack([torch.randperm(12), torch.randperm(12)])
    tokens = torch.randn(2, prefix + 5, 20)
    got = decoder(tokens, ids_restore)
    assert got.shape == (2, 12, 32)
    for i in range(2):
        torch.testing.assert_close(got[i], plain_decoder(decoder, tokens[i], ids_restore[i], 4), rtol=1e-4, atol=1e-5)


def test_positions_are_sines_and_cosines_of_column_and_row() -> None:
    positions = sincos_positions(3, 4, 8).unflatten(0, (3, 4))
    assert positions[0, 0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    column, row = 3, 2
    angles = [column, column / 100, row, row / 100]
    expected = [wave(a) for pair in (angles[:2], angles[2:]) for wave in (math.sin, math.cos) for a in pair]
    torch.testing.assert_close(positions[row, column], torch.tensor(expected))
    flat = positions.flatten(0, 1)
    assert len(torch.unique(flat, dim=0)) == 12


def test_positions_are_fixed_and_not_saved() -> None:
    decoder = TokenDecoder(20, DecoderConfig(width=32, heads=4), grid=(3, 4), prefix=1)
    assert not any("positions" in name for name in [*decoder.state_dict(), *dict(decoder.named_parameters())])


@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (3, 6)])
def test_pyramid_predicts_every_cell_of_every_scale(grid: tuple[int, int]) -> None:
    config = DecoderConfig(width=32, heads=4)
    pyramid = Pyramid(20, 9, config, grid=grid, prefix=1)
    rows, cols = grid
    taps = [torch.randn(2, 1 + 3, 20) for _ in range(4)]
    predictions, tokens = pyramid(taps, torch.stack([torch.randperm(rows * cols)] * 2))
    half = -(-rows // 2) * -(-cols // 2)
    assert [p.shape[1:] for p in predictions] == [
        (n, 9) for n in (16 * rows * cols, 4 * rows * cols, rows * cols, half)
    ]
    assert tokens is not None
    torch.testing.assert_close(predictions[2], pyramid.heads[2](tokens))


def test_each_scale_reads_its_own_tap() -> None:
    pyramid = Pyramid(20, 9, DecoderConfig(width=32, heads=4), grid=(2, 2), prefix=0)
    taps = [torch.randn(1, 2, 20, requires_grad=True) for _ in range(4)]
    predictions, _ = pyramid(taps, torch.arange(4)[None])
    predictions[1].sum().backward()
    assert [tap.grad is not None for tap in taps] == [False, True, False, False]


def test_maes_decoder_falls_out_of_the_configuration() -> None:
    config = DecoderConfig(taps=(0,), scales=(1.0,), width=64, depth=8, heads=16)
    pyramid = Pyramid(48, 256, config, grid=(4, 4), prefix=1)
    predictions, tokens = pyramid([torch.randn(1, 5, 48)], torch.arange(16)[None])
    assert [p.shape for p in predictions] == [(1, 16, 256)]
    assert len(pyramid.decoders[0].blocks) == 8
    assert (
        Pyramid(48, 9, DecoderConfig(taps=(0,), scales=(2.0,), width=64), grid=(2, 2), prefix=0)(
            [torch.randn(1, 2, 48)], torch.arange(4)[None]
        )[1]
        is None
    )
    assert tokens is not None


def test_topdown_is_gated_cross_attention_written_out() -> None:
    torch.manual_seed(0)
    joint = TopDown(16, 2)
    nn.init.constant_(joint.gate, 0.7)
    nn.init.normal_(joint.norm_coarser.weight)
    x, coarser = torch.randn(1, 5, 16), torch.randn(1, 5, 16)
    q = joint.query(F.layer_norm(x[0], (16,), eps=1e-6))
    k, v = joint.key_value(joint.norm_coarser(coarser[0])).chunk(2, dim=1)
    seen = [torch.softmax(q[:, h] @ k[:, h].T / math.sqrt(8), dim=1) @ v[:, h] for h in (slice(0, 8), slice(8, 16))]
    expected = x[0] + math.tanh(0.7) * joint.project(torch.cat(seen, dim=1))
    torch.testing.assert_close(joint(x, coarser)[0], expected, rtol=1e-4, atol=1e-5)


def test_the_finer_scale_looks_at_the_coarser_and_never_the_other_way() -> None:
    config = DecoderConfig(taps=(1, 2, 0), scales=(1.0, 4.0, 0.5), width=32, heads=4, topdown=True)
    pyramid = Pyramid(20, 9, config, grid=(2, 2), prefix=0)
    for joint in pyramid.topdown:
        nn.init.constant_(joint.gate, 0.5)
    read: dict[float, set[float]] = {}
    for i, scale in enumerate(config.scales):
        taps = [torch.randn(1, 2, 20, requires_grad=True) for _ in range(3)]
        predictions, _ = pyramid(taps, torch.arange(4)[None])
        predictions[i].sum().backward()
        read[scale] = {s for s, tap in zip(config.scales, taps, strict=True) if tap.grad is not None}
    assert read == {0.5: {0.5}, 1.0: {0.5, 1.0}, 4.0: {0.5, 1.0, 4.0}}
