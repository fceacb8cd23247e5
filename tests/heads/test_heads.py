"""Heads: shapes, parameter counts, the part without parameters, and a batch of one image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from deflect.heads import LinearHead, UPerNet


def maps(batch: int, dim: int, side: int = 8) -> list[torch.Tensor]:
    return [torch.randn(batch, dim, side, side) for _ in range(4)]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_linear_head_is_average_pool_and_one_layer() -> None:
    head, x = LinearHead(16, 4, 5), maps(3, 16)
    pooled = torch.cat([m.flatten(2).mean(-1) for m in x], dim=1)
    torch.testing.assert_close(head(x), pooled @ head.fc.weight.T + head.fc.bias)
    assert count(head) == 4 * 16 * 5 + 5


def test_initial_loss_of_the_linear_head_is_log_classes() -> None:
    """The first loss is near log K for features of any dimension; a large start would spoil the first steps."""
    torch.manual_seed(0)
    logits = LinearHead(1024, 4, 17)(maps(8, 1024)).detach()
    loss = nn.functional.cross_entropy(logits, torch.arange(8))
    assert abs(float(loss) - math.log(17)) < 0.3


@pytest.mark.parametrize(
    ("dim", "channels", "classes", "expected"),
    [(1024, 512, 2, 46_948_354), (768, 512, 15, 39_351_567), (384, 512, 2, 30_888_834), (64, 16, 15, 92_031)],
)
def test_upernet_parameter_count(dim: int, channels: int, classes: int, expected: int) -> None:
    """The counts of PANGAEA's UPerNet, layer by layer: every convolution has a bias, a norm has 2 per channel."""

    def conv(inside: int, outside: int, kernel: int) -> int:
        return inside * outside * kernel**2 + outside + 2 * outside

    up = 4 * dim * dim + dim
    neck = 3 * up + 2 * dim
    pooling = 4 * conv(dim, channels, 1) + conv(dim + 4 * channels, channels, 3)
    path = 3 * conv(dim, channels, 1) + 3 * conv(channels, channels, 3) + conv(4 * channels, channels, 3)
    assert neck + pooling + path + channels * classes + classes == expected
    with torch.device("meta"):
        assert count(UPerNet(dim, classes, channels)) == expected


def test_upernet_pools_over_the_published_scales() -> None:
    """Bins of 1, 2, 3 and 6 along each side (Zhao et al., PSPNet, section 3.2), each at 1 x 1 convolution's width."""
    head, sides = UPerNet(16, 5, channels=8).eval(), []
    for pool in head.pooling.pools:
        pool[1].register_forward_hook(lambda _, inputs, output: sides.append(tuple(output.shape[1:])))
    head(maps(2, 16))
    assert sides == [(8, 1, 1), (8, 2, 2), (8, 3, 3), (8, 6, 6)]


@torch.no_grad()
def test_upernet_is_the_graph_of_the_paper() -> None:
    """Xiao et al., figure 4: every level joins the one below it, and all are fused at the finest size."""
    head, x = UPerNet(16, 5, channels=8).eval(), maps(2, 16)

    def up(y: torch.Tensor, side: int) -> torch.Tensor:
        return nn.functional.interpolate(y, (side, side), mode="bilinear", align_corners=False)

    c0, c1, c2, c3 = (level(y) for level, y in zip(head.neck, x, strict=True))
    assert [c.shape[-1] for c in (c0, c1, c2, c3)] == [32, 16, 8, 4]
    p3 = head.pooling(c3)
    p2 = head.laterals[2](c2) + up(p3, 8)
    p1 = head.laterals[1](c1) + up(p2, 16)
    p0 = head.laterals[0](c0) + up(p1, 32)
    levels = [head.smooth[0](p0), head.smooth[1](p1), head.smooth[2](p2), p3]
    logits = head.fc(head.join(torch.cat([up(level, 32) for level in levels], dim=1)))
    torch.testing.assert_close(head(x), logits)


def test_upernet_output_is_four_times_finer_and_uses_every_tap() -> None:
    head, x = UPerNet(16, 5, channels=8).eval(), maps(2, 16)
    reference = head(x)
    assert reference.shape == (2, 5, 32, 32)
    for i in range(4):
        changed = list(x)
        changed[i] = changed[i] + 1
        assert not torch.equal(head(changed), reference)


@pytest.mark.parametrize("side", [4, 7, 8])
def test_upernet_trains_on_a_single_image(side: int) -> None:
    """The 1 x 1 pooling level has one value per channel then, which plain batch norm refuses."""
    head = UPerNet(16, 3, channels=8).train()
    head(maps(1, 16, side)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_upernet_batch_norm_is_plain_batch_norm_otherwise() -> None:
    from deflect.heads.upernet import BatchNorm2d

    ours, plain, x = BatchNorm2d(4), nn.BatchNorm2d(4), torch.randn(2, 4, 3, 3)
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(ours.running_var, plain.running_var)
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(ours), nn.SyncBatchNorm)


@pytest.mark.parametrize("head", [LinearHead(16, 4, 5), UPerNet(16, 5, channels=8).eval()])
def test_forward_is_reduce_without_parameters_then_classify(head: LinearHead | UPerNet) -> None:
    x = maps(2, 16)
    reduced = head.reduce(x)
    assert not any(r.requires_grad for r in reduced)
    assert torch.equal(head.classify(reduced), head(x))


def test_upernet_of_an_unknown_scale_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"4, 2, 1 or 0\.5, found 3"):
        UPerNet(16, 5, channels=8, scales=(3, 1, 1, 1))
