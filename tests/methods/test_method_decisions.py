"""Settings of methods by which sources differ: attention's scale, what keeps its length, starts, patch embedding."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_gfm import BANDS, STATISTICS, images, optimise, tiny

from deflect.methods import adapt
from deflect.methods.lora import LoRALinear


def deflected(**settings: object):
    gfm = tiny()
    model = adapt(gfm, "deflect", BANDS, STATISTICS, rank=2, hidden=4, **settings)
    model.calibrate([images(gfm, 6, seed=3)])
    return gfm, model.eval()


@torch.no_grad()
def test_the_scale_2d_halves_the_scores_of_both_paths() -> None:
    gfm, model = deflected(scale="2d")
    image = images(gfm)
    for block in gfm.blocks:  # scores * 1/sqrt(2): the same as queries and keys times 2**-1/4
        dim = gfm.embed_dim
        for part in (block.attn.qkv.weight, block.attn.qkv.bias):
            part[: 2 * dim] *= 2**-0.25
    rgb = model.normalise(model.channels(image))
    torch.testing.assert_close(model(image), gfm.forward_features(rgb), rtol=1e-4, atol=1e-4)


def test_a_constraint_on_the_embedding_keeps_its_length_in_every_block() -> None:
    gfm, model = deflected(constraint_on="embedding")
    image = images(gfm)
    rgb = model.normalise(model.channels(image))
    torch.testing.assert_close(model(image), gfm.forward_features(rgb), rtol=1e-4, atol=1e-4)  # at the start
    optimise(model, image, steps=3, lr=0.05)
    tokens, carried = model.embed(image)
    with torch.no_grad():
        for index, block in enumerate(model.gfm.blocks):
            spatial = block.norm1(tokens)
            frozen = tokens + block.attn(spatial)
            carried.record = []
            update = model._update(index, spatial, tokens, carried)
            torch.testing.assert_close((tokens + update).norm(dim=-1), frozen.norm(dim=-1), rtol=1e-4, atol=1e-4)
            assert not torch.allclose(update.norm(dim=-1), (frozen - tokens).norm(dim=-1), rtol=1e-3)
            tokens = model.block(index, tokens, carried)


def test_tile_gives_kernels_by_the_place_of_a_band_in_the_file() -> None:
    gfm = tiny()
    wide = adapt(gfm, "patch_embed", BANDS, STATISTICS, patch_init="tile")
    kernels, old = wide.gfm.patch_embed.proj.weight, gfm.patch_embed.proj.weight
    for inner, name in enumerate(wide.channels.inner.names):
        torch.testing.assert_close(kernels[:, inner], old[:, BANDS.channel(name) % 3])
    assert torch.equal(kernels[:, 0], old[:, BANDS.channel("B04") % 3])
    assert BANDS.channel("B04") % 3 == 2  # red gets the kernel of blue


@pytest.mark.parametrize("method", ["lora", "slr", "norm_tuning", "bitfit", "vpt"])
def test_a_wider_patch_embedding_can_stay_frozen(method: str) -> None:
    gfm = tiny()
    model = adapt(gfm, method, BANDS, STATISTICS, train_patch_embed=False)
    names = [name for name in model.trainable_names() if "patch_embed" in name]
    assert names == (["gfm.patch_embed.proj.bias"] if method == "bitfit" else [])
    assert model.trainable_names()
    saved = model.adapter_state()
    assert saved["gfm.patch_embed.proj.weight"].shape[1] == len(BANDS)  # it is not that of the GFM


@pytest.mark.parametrize("method", ["lora", "slr"])
def test_the_bias_of_the_down_projection_starts_as_asked(method: str) -> None:
    for start in ("zero", "uniform"):
        model = adapt(tiny(), method, BANDS, STATISTICS, down_bias=start)
        layers = [module for module in model.modules() if isinstance(module, LoRALinear)]
        for layer in layers:
            bound = 1 / math.sqrt(layer.in_features) if start == "uniform" else 0.0
            assert layer.lora_down.bias.abs().max() <= bound
        biases = torch.cat([layer.lora_down.bias * layer.in_features**0.5 for layer in layers])
        assert biases.std().item() == pytest.approx(3**-0.5 if start == "uniform" else 0.0, rel=0.1)


def test_the_update_still_starts_at_zero() -> None:
    linear = torch.nn.Linear(8, 6)
    x = torch.rand(2, 5, 8)
    torch.testing.assert_close(LoRALinear(linear, 3, 1.0, "uniform")(x), F.linear(x, linear.weight, linear.bias))
