"""The GFMs equal their published definitions: parameter counts, positions, blocks, and features on the same weights."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn

from deflect.errors import ModelError
from deflect.gfms import GFMS, GFMCard, build, card_of, count_parameters, gfm_card, load_gfm, scale_rgb, taps
from deflect.gfms.card import CARDS
from deflect.gfms.vit import PostNormBlock, UnusedNorm, sincos_positions


@pytest.mark.parametrize(
    ("name", "size", "parameters"),
    [
        ("scale_mae", "full", 303_301_632),
        ("dino_mc", "full", 21_670_272),
        ("cross_scale_mae", "full", 85_697_280),
        ("cross_scale_mae", "large", 303_166_464),
    ],
)
@pytest.mark.parametrize("block", ["pre_norm", "post_norm"])
def test_published_parameter_counts(name: str, size: str, parameters: int, block: str) -> None:
    with torch.device("meta"):
        model = build(replace(gfm_card(name, size), block=block))
    assert count_parameters(model) == parameters


def test_scale_mae_large_has_torchgeos_parameters() -> None:
    from torchgeo.models import scalemae_large_patch16

    with torch.device("meta"):
        theirs, ours = scalemae_large_patch16(num_classes=0), load_gfm("scale_mae")
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert shapes == {key: value.shape for key, value in ours.state_dict().items()}


@pytest.mark.parametrize("gsd", [0.3, 1.0, 2.5, 10.0, 30.0])
@pytest.mark.parametrize("img_size", [32, 64, 112])
def test_scale_mae_equals_torchgeo(gsd: float, img_size: int) -> None:
    from torchgeo.models.scale_mae import ScaleMAE

    ours = load_gfm("scale_mae", size="mini", img_size=img_size, gsd=gsd).eval()
    architecture = card_of(ours).architecture | {"img_size": img_size}
    theirs = ScaleMAE(res=gsd, num_classes=0, **architecture).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, img_size, img_size)
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_features(x), theirs.forward_features(x), rtol=1e-5, atol=1e-5)


def test_scale_mae_depends_on_gsd() -> None:
    torch.manual_seed(0)
    model = load_gfm("scale_mae", size="mini", img_size=64).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        reference = model.forward_features(x)
        model.set_gsd(10.0)
        assert (model.forward_features(x) - reference).abs().max() > 1e-3
        model.set_gsd(1.0)
        assert torch.equal(model.forward_features(x), reference)
    with pytest.raises(ModelError, match="gsd must be positive"):
        model.set_gsd(0.0)


@pytest.mark.parametrize("name", ["dino_mc", "cross_scale_mae"])
def test_other_gfms_do_not_depend_on_gsd(name: str) -> None:
    positions = [load_gfm(name, size="mini", img_size=64, gsd=gsd).pos_embed.detach() for gsd in (None, 30.0)]
    if name == "cross_scale_mae":
        assert torch.equal(*positions)


def test_positions_follow_the_published_formula() -> None:
    """Columns first, sine before cosine, zeros for the class token; written out here number by number."""
    dim, gsd = 8, 2.5
    found = sincos_positions((2, 3), dim, gsd)[0]
    assert found.shape == (7, dim)
    assert torch.equal(found[0], torch.zeros(dim))
    for row in range(2):
        for column in range(3):
            expected = []
            for coordinate in (column * gsd, row * gsd):
                angles = torch.tensor([coordinate, coordinate / 100], dtype=torch.float64)
                expected += [angles.sin(), angles.cos()]
            torch.testing.assert_close(found[1 + row * 3 + column], torch.cat(expected).float())


def test_fixed_positions_are_computed_for_the_grid_and_never_trained() -> None:
    model = load_gfm("cross_scale_mae", size="mini", img_size=96)
    assert not model.pos_embed.requires_grad
    assert torch.equal(model.pos_embed, sincos_positions((12, 12), 64))
    model.set_input_size((64, 32))
    assert torch.equal(model.pos_embed, sincos_positions((8, 4), 64))


def test_dino_mc_equals_timm() -> None:
    torch.manual_seed(0)
    ours = load_gfm("dino_mc", img_size=64).eval()
    theirs = timm.create_model("vit_small_patch8_224", num_classes=0, img_size=64).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.forward_features(x), theirs.forward_features(x))


def test_learned_positions_are_interpolated_and_keep_the_class_token() -> None:
    torch.manual_seed(0)
    model = load_gfm("dino_mc", size="mini", img_size=64)
    native = model.pos_embed.detach().clone()
    model.set_input_size((96, 96))
    assert model.pos_embed.shape == (1, 145, 64)
    assert model.pos_embed.requires_grad
    assert torch.equal(model.pos_embed[:, 0], native[:, 0])


def test_cross_scale_mae_pre_norm_equals_timm_before_its_unused_norm() -> None:
    torch.manual_seed(0)
    ours = load_gfm("cross_scale_mae", size="mini", img_size=64).eval()
    theirs = timm.models.VisionTransformer(num_classes=0, **card_of(ours).architecture).eval()
    theirs.load_state_dict(ours.state_dict())
    theirs.norm = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.forward_features(x), theirs.forward_features(x))


def plain_post_norm(block: PostNormBlock, dim: int, heads: int) -> nn.TransformerEncoderLayer:
    """PyTorch's own post-norm layer with the weights of ``block``."""
    layer = nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=False
    )
    mine = {"norm1": block.norm1, "norm2": block.norm2, "linear1": block.mlp.fc1, "linear2": block.mlp.fc2}
    state = {f"{name}.{key}": value for name, part in mine.items() for key, value in part.state_dict().items()}
    state |= {f"self_attn.out_proj.{key}": value for key, value in block.attn.proj.state_dict().items()}
    state |= {f"self_attn.in_proj_{key}": value for key, value in block.attn.qkv.state_dict().items()}
    layer.load_state_dict(state)
    return layer.eval()


def test_post_norm_equals_a_plain_pytorch_encoder() -> None:
    torch.manual_seed(0)
    model = build(replace(gfm_card("cross_scale_mae", "mini"), block="post_norm")).eval()
    for parameter in model.blocks.parameters():  # norms and biases must matter
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model._pos_embed(model.patch_embed(x))
        for block in model.blocks:
            assert block.post_norm
            assert block.norm1.eps == 1e-6
            expected = plain_post_norm(block, 64, 4)(expected)
        torch.testing.assert_close(model.forward_features(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GFMS)
@pytest.mark.parametrize("block", ["pre_norm", "post_norm"])
def test_blocks_can_be_walked_by_hand(name: str, block: str) -> None:
    """Adaptation methods run the model step by step; every step must be there and be all there is."""
    model = build(replace(gfm_card(name, "mini"), block=block)).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))
        for each in model.blocks:
            assert each.attn.fused_attn
            tokens = each(tokens)
        assert torch.equal(model.norm(tokens), model.forward_features(x))


@pytest.mark.parametrize("name", GFMS)
def test_final_norm_is_applied_only_where_it_was_trained(name: str) -> None:
    model = load_gfm(name, size="mini", img_size=64)
    tokens = 3 + torch.randn(1, 5, 64)
    assert torch.equal(model.norm(tokens), tokens) is not card_of(model).apply_final_norm
    assert isinstance(model.norm, nn.LayerNorm)
    assert isinstance(model.norm, UnusedNorm) is (name == "cross_scale_mae")


def test_a_copy_keeps_card_and_distance() -> None:
    model = copy.deepcopy(load_gfm("scale_mae", size="mini", img_size=64, gsd=5.0))
    assert card_of(model).name == "scale_mae"
    assert model.gsd == 5.0
    with pytest.raises(ModelError, match="no GFM card"):
        card_of(nn.Linear(1, 1))


def test_reflectance_to_rgb() -> None:
    card = replace(gfm_card("dino_mc"), rgb_mean=(0.5, 0.25, 0.0), rgb_std=(0.5, 0.25, 1.0), reflectance_white=0.3)
    pixels = torch.tensor([[-0.1, 0.15, 0.3], [0.075, 0.15, 0.3], [0.0, 0.3, 2.0]]).view(1, 3, 1, 3)
    expected = torch.tensor([[-1.0, 0.0, 1.0], [0.0, 1.0, 3.0], [0.0, 1.0, 1.0]]).view(1, 3, 1, 3)
    torch.testing.assert_close(scale_rgb(pixels, card), expected)


def test_cards_round_trip_through_json_and_are_validated() -> None:
    for card in CARDS.values():
        assert GFMCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
        assert card.to_dict()["kind"] == card.positions, "the name in files of every version"
    with pytest.raises(ModelError, match="not a GFM card"):
        GFMCard.from_dict({"name": "scale_mae"})
    with pytest.raises(ModelError, match="positions must be one of"):
        replace(gfm_card("dino_mc"), positions="absolute")
    with pytest.raises(ModelError, match="architecture needs"):
        replace(gfm_card("dino_mc"), architecture={"depth": 3})


def test_errors_list_known_names_and_sizes() -> None:
    with pytest.raises(ModelError, match="known: scale_mae, dino_mc, cross_scale_mae"):
        load_gfm("prithvi")
    with pytest.raises(ModelError, match="no size 'large'; known: full, mini"):
        load_gfm("dino_mc", size="large")
    with pytest.raises(ModelError, match="no positive multiple of the patch size 8; use 64"):
        load_gfm("dino_mc", size="mini", img_size=66)
    with pytest.raises(ModelError, match="img_size 0 is no positive multiple"):
        load_gfm("dino_mc", size="mini", img_size=0)
    with pytest.raises(ModelError, match="positive metres per pixel, found inf"):
        load_gfm("scale_mae", size="mini", gsd=float("inf"))


def test_taps_are_the_papers_fractions_of_depth() -> None:
    assert taps(24) == (7, 11, 15, 23)
    assert taps(12) == (3, 5, 7, 11)
    assert taps(4) == (0, 1, 2, 3)
    for depth in range(4, 40):
        assert sorted(set(taps(depth))) == list(taps(depth))
        assert taps(depth)[-1] == depth - 1
    with pytest.raises(ModelError, match="at least 4 blocks"):
        taps(3)


def test_random_weights_use_torchs_generator() -> None:
    def features(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return load_gfm("dino_mc", size="mini", img_size=64).blocks[0].attn.qkv.weight

    assert torch.equal(features(1), features(1))
    assert not torch.equal(features(1), features(2))
