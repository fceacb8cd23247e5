"""GFMs of the user's own: weights in every usual layout become a model whose features are timm's to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from own_vit import TIMM, in_hub_cache, save_half, trained
from paths import REAL_VIT, needs_real_vit
from safetensors.torch import load_file, save_file
from torch import Tensor

from deflect.errors import DownloadError, ModelError
from deflect.gfms import GFMCard, build, load_gfm
from deflect.gfms.card import near_size, taps
from deflect.gfms.own import convert_own, own_card
from deflect.gfms.verify import verify
from deflect.gfms.vit import sincos_positions
from deflect.gfms.weights import read_card, save_weights
from deflect.settings.own_gfm import OwnGFM

State = dict[str, Tensor]


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def noise(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


LAYOUTS: dict[str, Callable[[State], dict[str, Any]]] = {
    "plain, with classifier": lambda s: s | {"head.weight": torch.ones(5, 64), "head.bias": torch.ones(5)},
    "mae": lambda s: {"model": s | {"mask_token": torch.ones(1), "decoder_embed.weight": torch.ones(2, 2)}, "epoch": 3},
    "lightning": lambda s: {"state_dict": prefixed(s, "model.encoder."), "hyper_parameters": {"lr": 0.1}},
    "ddp": lambda s: {"state_dict": prefixed(s, "module.")},
    "dino": lambda s: {
        "student": prefixed(noise(s), "module.backbone."),
        "teacher": prefixed(s, "module.backbone.") | {"module.head.mlp.0.weight": torch.ones(2, 2)},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
    },
    "averaged": lambda s: {"model": noise(s), "model_ema": s},
    "student alone": lambda s: {"student": prefixed(s, "backbone.")},
}


def converted(state: dict[str, Any], folder: Path, **settings: Any) -> Path:
    """The weights after a conversion from a torch checkpoint."""
    torch.save(state, folder / "given.pth")
    out = folder / "weights" / "my_vit.safetensors"
    own = OwnGFM(**{"timm": TIMM, "weights": str(folder / "given.pth")} | settings)
    convert_own("my_vit", own, out)
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_every_layout_are_found(layout: str, tmp_path: Path) -> None:
    state = trained().state_dict()
    found = load_file(converted(LAYOUTS[layout](state), tmp_path))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_float16_file_gives_the_features_of_timm_and_its_card_the_model(tmp_path: Path) -> None:
    state = save_half(trained(), tmp_path / "given.safetensors")
    own = OwnGFM(timm=TIMM, weights=str(tmp_path / "given.safetensors"), mean=(0.4, 0.5, 0.6), licence="MIT")
    out = tmp_path / "my_vit.safetensors"
    card = convert_own("my_vit", own, out)
    assert GFMCard.from_dict(card.to_dict()) == card == read_card(out)
    assert (card.title, card.size, card.licence, card.positions) == (TIMM, "own", "MIT", "learned")
    assert (card.rgb_mean, card.rgb_std) == ((0.4, 0.5, 0.6), tuple(timm.create_model(TIMM).pretrained_cfg["std"]))
    reference = timm.create_model(TIMM, num_classes=0).eval()
    reference.load_state_dict(state)
    for size in (160, 48):
        if size != 160:
            reference.set_input_size((size, size))
        rgb, gfm = torch.randn(2, 3, size, size), load_gfm("my_vit", out, img_size=size).eval()
        assert torch.equal(gfm.forward_features(rgb), reference.forward_features(rgb))
    assert verify("my_vit", out, "own")["parameters"] == sum(value.numel() for value in state.values())


def test_positions_tell_the_size_of_the_images(tmp_path: Path) -> None:
    model = trained(img_size=96)
    out = converted(model.state_dict(), tmp_path)
    assert read_card(out).architecture["img_size"] == 96
    rgb, gfm = torch.randn(1, 3, 96, 96), load_gfm("my_vit", out, img_size=96).eval()
    assert torch.equal(gfm.forward_features(rgb), model.forward_features(rgb))


def test_positions_of_metres_follow_the_images(tmp_path: Path) -> None:
    out = converted(trained().state_dict(), tmp_path, gsd="image")
    gfm = load_gfm("my_vit", out, img_size=64, gsd=7.5)
    assert torch.equal(gfm.pos_embed.data, sincos_positions((4, 4), 64, 7.5))
    assert not gfm.pos_embed.requires_grad
    with pytest.raises(ModelError, match="has no position for every token; expected `none`"):
        own_card("a", OwnGFM(timm="vit_small_patch14_reg4_dinov2", gsd="image"))


WRONG: dict[str, tuple[Callable[[State], dict[str, Any]], str]] = {
    "other names": (lambda s: {"embeddings.weight": torch.ones(1)}, "expected one patch_embed.proj.weight"),
    "two encoders": (lambda s: prefixed(s, "a.") | prefixed(s, "b."), "found it under 'a.', 'b.'"),
    "another depth": (
        lambda s: {key: value for key, value in s.items() if "blocks.5." not in key},
        "test_vit has 6 blocks and kernels (64, 3, 16, 16), these weights have 5",
    ),
    "missing": (lambda s: {k: v for k, v in s.items() if k != "norm.bias"}, "missing: norm.bias"),
    "unexpected": (lambda s: s | {"adapter.weight": torch.ones(1)}, "unexpected: adapter.weight"),
    "integers": (lambda s: s | {"norm.bias": torch.ones(64, dtype=torch.int8)}, "found others in norm.bias"),
    "not finite": (lambda s: s | {"norm.bias": torch.full((64,), torch.nan)}, "not finite: norm.bias"),
    "no square": (lambda s: s | {"pos_embed": torch.ones(1, 24, 64)}, "wrong shape: pos_embed"),
    "runs code": (lambda s: {"model": s, "run": print}, "may run code"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_weights_are_one_line_and_write_nothing(case: str, tmp_path: Path) -> None:
    change, message = WRONG[case]
    with pytest.raises(ModelError) as caught:
        converted(change(trained().state_dict()), tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("weights/*"))


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="no such file; expected a file, timm or hf:USER/NAME"):
        convert_own("a", OwnGFM(timm=TIMM, weights=str(path)), tmp_path / "out.safetensors")
    path.write_bytes(b"no weights at all")
    with pytest.raises(ModelError, match="damaged, or no safetensors file"):
        convert_own("a", OwnGFM(timm=TIMM, weights=str(path)), tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_smal_patch16_224", "did you mean 'vit_small_patch16_224'?"),
        ("vit_tiny_patch16_224.nonsense", "Invalid pretrained tag"),
        ("resnet18", "expected a model of timm's class VisionTransformer or Eva, resnet18 is of ResNet"),
    ],
)
def test_an_unknown_model_is_named(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        own_card("my_vit", OwnGFM(timm=name))
    assert str(caught.value).startswith("own_gfms.my_vit.timm: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("weights", "repository"), [("timm", "timm/test_vit.r160_in1k"), ("hf:me/mine", "me/mine")])
def test_weights_in_the_cache_of_hugging_face_need_no_connection(
    weights: str, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = in_hub_cache(tmp_path / "hub", repository, monkeypatch)
    own = OwnGFM(timm="test_vit.r160_in1k", weights=weights)
    card = convert_own("my_vit", own, tmp_path / "my_vit.safetensors")
    found = load_file(tmp_path / "my_vit.safetensors")
    assert all(torch.equal(found[key], value) for key, value in state.items())
    assert (card.origin["weights"], card.title) == (weights, "test_vit.r160_in1k")


@pytest.mark.parametrize("weights", ["timm", "hf:nobody/nothing"])
def test_weights_that_are_not_in_the_cache_are_one_line(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DownloadError, match=r"own_gfms\.a\.weights: .* run `deflect gfm fetch a`") as caught:
        convert_own("a", OwnGFM(timm="test_vit.r160_in1k", weights=weights), tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "patch", "near"), [(48, 14, 42), (224, 14, 224), (40, 16, 48), (5, 14, 14)])
def test_the_nearest_size_that_patches_divide(size: int, patch: int, near: int) -> None:
    assert near_size(size, patch) == near


def test_rotary_model_is_loaded_with_its_own_positions(tmp_path: Path) -> None:
    card = own_card("my_vit", OwnGFM(timm="vit_small_patch16_dinov3"))
    assert (card.positions, card.architecture["patch_size"]) == ("rotary", 16)
    card = replace(card, architecture=card.architecture | {"depth": 1})
    model = build(card).eval()
    save_weights(model.state_dict(), card, tmp_path / "a.safetensors", {})
    rgb = torch.randn(1, 3, 64, 64)
    model.set_input_size((64, 64))
    found = load_gfm("my_vit", tmp_path / "a.safetensors", img_size=64).eval()
    assert torch.equal(found.forward_features(rgb), model.forward_features(rgb))


@needs_real_vit
def test_real_weights_need_a_configuration_alone(tmp_path: Path) -> None:
    out = tmp_path / "my_vit.safetensors"
    card = convert_own("my_vit", OwnGFM(timm="vit_small_patch14_dinov2", weights=str(REAL_VIT)), out)
    assert card.architecture == {"img_size": 518, "patch_size": 14, "embed_dim": 384, "depth": 12, "num_heads": 6}
    assert taps(card.architecture["depth"]) == (3, 5, 7, 11)
    reference = timm.create_model("vit_small_patch14_dinov2", num_classes=0).eval()
    reference.load_state_dict({key: value.float() for key, value in load_file(REAL_VIT).items()})
    reference.set_input_size((56, 56))
    rgb = torch.randn(1, 3, 56, 56)
    gfm = load_gfm("my_vit", out, img_size=56).eval()
    assert torch.equal(gfm.forward_features(rgb), reference.forward_features(rgb))


@needs_real_vit
@pytest.mark.slow
def test_real_weights_are_verified_and_random_ones_are_not(tmp_path: Path) -> None:
    own = OwnGFM(timm="vit_small_patch14_dinov2", weights=str(REAL_VIT))
    convert_own("my_vit", own, tmp_path / "my_vit.safetensors")
    assert verify("my_vit", tmp_path / "my_vit.safetensors", "own")["parameters"] == 22_056_192
    random = timm.create_model("vit_small_patch14_dinov2", num_classes=0).state_dict()
    save_file(random, tmp_path / "random.safetensors")
    own = own.model_copy(update={"weights": str(tmp_path / "random.safetensors")})
    convert_own("random", own, tmp_path / "out.safetensors")
    with pytest.raises(ModelError, match="not trained weights"):
        verify("random", tmp_path / "out.safetensors", "own")
