"""Every published checkpoint layout converts and loads into the model it came from; everything else is refused."""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.files import read_json, write_json
from deflect.gfms import GFMError, build, card_of, gfm_card, load_gfm
from deflect.gfms.checkpoint import read_checkpoint
from deflect.gfms.convert import convert, save_weights
from deflect.gfms.fetch import fetch
from deflect.gfms.verify import verify

torch.set_num_threads(1)
State = dict[str, Tensor]
ARGS = argparse.Namespace(output_dir=Path("/somewhere"), lr=1e-4, model="vit")


def source(name: str, block: str = "pre_norm") -> VisionTransformer:
    """A small model in which every tensor, norms and biases too, matters to the features."""
    torch.manual_seed(7)
    model = build(replace(gfm_card(name, "mini"), block=block)).eval()
    for key, parameter in model.named_parameters():
        if key != "pos_embed" or card_of(model).kind == "learned":
            nn.init.normal_(parameter, mean=float("norm" in key), std=0.1)
    return model


def extra(**shapes: tuple[int, ...]) -> State:
    return {key.replace("__", "."): torch.randn(shape) for key, shape in shapes.items()}


def scale_mae_torchgeo(state: State) -> dict:
    return state


def scale_mae_without_positions(state: State) -> dict:
    return {key: value for key, value in state.items() if key != "pos_embed"}


def scale_mae_authors(state: State) -> dict:
    decoder = extra(
        mask_token=(1, 1, 32), mask_token_decoder=(1, 1, 32), decoder_pos_embed=(1, 65, 32),
        decoder_embed__weight=(32, 64), decoder_blocks__0__attn__qkv__weight=(96, 32), decoder_norm__bias=(32,),
        fpn__fpn1__0__weight=(32, 32, 2, 2),
        fcn_high__convs__0__weight=(3, 32, 3, 3), fcn_low__convs__0__weight=(3, 32, 3, 3), fcn__conv__weight=(3, 32),
        pos_emb_projection__weight=(32, 32),
    )  # fmt: skip
    stale = {"pos_embed": torch.randn(1, 65, 64)}  # computed in every forward pass, so what is stored means nothing
    return {"model": state | decoder | stale, "optimizer": {"state": {}}, "epoch": 799, "scaler": {}, "args": ARGS}


def dino(teacher: str) -> Callable[[State], dict]:
    def layout(state: State) -> dict:
        head = extra(head__mlp__0__weight=(8, 64), head__last_layer__weight_g=(9, 1), head__last_layer__weight_v=(9, 8))
        student = {f"module.backbone.{key}": torch.randn_like(value) for key, value in state.items()}
        return {
            "student": student | {f"module.{key}": value for key, value in head.items()},
            "teacher": {f"{teacher}backbone.{k}": v for k, v in state.items()}
            | {teacher + k: v for k, v in head.items()},
            "optimizer": {"state": {}, "param_groups": []},
            "epoch": 100,
            "args": ARGS,
            "dino_loss": {"center": torch.zeros(1, 9)},
            "fp16_scaler": None,
        }

    return layout


def cross_scale_shared(state: State) -> State:
    names = {"pos_embed": "encoder_pos_embed", "norm.weight": "encoder_norm.weight", "norm.bias": "encoder_norm.bias"}
    kept = {names.get(key, key): value for key, value in state.items() if not key.startswith("blocks.")}
    return kept | extra(
        mask_token=(1, 1, 32), decoder_pos_embed=(1, 65, 32), decoder_embed__weight=(32, 64), decoder_norm__bias=(32,),
        decoder_pred__bias=(192,), predictor__fc1__weight=(32, 32),
    )  # fmt: skip


def cross_scale_timm(state: State) -> dict:
    blocks = {key.replace("blocks.", "encoder."): value for key, value in state.items() if key.startswith("blocks.")}
    decoder = extra(decoder__0__norm1__weight=(32,), decoder__0__attn__qkv__weight=(96, 32))
    return {"model": cross_scale_shared(state) | blocks | decoder, "epoch": 399, "args": ARGS}


def cross_scale_xformers(mlp: dict[str, str]) -> Callable[[State], dict]:
    def layout(state: State) -> dict:
        att, ff = "wrap_att.sublayer.layer.", "wrap_ff.sublayer.layer.mlp."
        parts = {"norm1": "wrap_att.norm", "norm2": "wrap_ff.norm", "attn.proj": att + "proj"}
        blocks: State = {}
        for key, value in state.items():
            if key.startswith("blocks."):
                _, block, rest = key.split(".", 2)
                part, kind = rest.rsplit(".", 1)
                stem = f"encoder.encoders.{block}."
                if part == "attn.qkv":
                    for letter, chunk in zip("qkv", value.chunk(3), strict=True):
                        blocks[f"{stem}{att}in_proj_container.{letter}_proj.{kind}"] = chunk.clone()
                elif part.startswith("mlp"):
                    blocks[f"{stem}{ff}{mlp[f'{part[4:]}.{kind}']}"] = value
                else:
                    blocks[f"{stem}{parts[part]}.{kind}"] = value
        decoder = extra(decoder__encoders__0__wrap_att__norm__weight=(32,))
        return {"model": cross_scale_shared(state) | blocks | decoder, "epoch": 399, "args": ARGS}

    return layout


PLAIN = {"fc1.weight": "0.weight", "fc1.bias": "0.bias", "fc2.weight": "3.weight", "fc2.bias": "3.bias"}
#: As older versions of xFormers saved the fused MLP.
FUSED = {"fc1.weight": "0.weight", "fc1.bias": "1.bias", "fc2.weight": "2.weight", "fc2.bias": "3.bias"}


def cross_scale_fused(state: State) -> dict:
    """xFormers 0.0.19 keeps the biases of its fused MLP outside the state, where they stay 0."""
    content = cross_scale_xformers(FUSED)(state)
    biases = [key for key in content["model"] if key.endswith(("mlp.1.bias", "mlp.3.bias"))]
    for key in biases:
        content["model"].pop(key).zero_()
    assert len(biases) == 8
    return content


def lightning(name: str) -> Callable[[State], dict]:
    def layout(state: State) -> dict:
        return {"state_dict": LAYOUTS[name][2](state)["model"], "epoch": 399, "pytorch-lightning_version": "2.0"}

    return layout


LAYOUTS: dict[str, tuple[str, str, Callable[[State], dict]]] = {
    "scale_mae of torchgeo": ("scale_mae", "pre_norm", scale_mae_torchgeo),
    "scale_mae of torchgeo without positions": ("scale_mae", "pre_norm", scale_mae_without_positions),
    "scale_mae of its authors": ("scale_mae", "pre_norm", scale_mae_authors),
    "dino_mc teacher": ("dino_mc", "pre_norm", dino("")),
    "dino_mc teacher behind DDP": ("dino_mc", "pre_norm", dino("module.")),
    "cross_scale_mae timm": ("cross_scale_mae", "pre_norm", cross_scale_timm),
    "cross_scale_mae xFormers": ("cross_scale_mae", "post_norm", cross_scale_xformers(PLAIN)),
    "cross_scale_mae xFormers fused": ("cross_scale_mae", "post_norm", cross_scale_xformers(FUSED)),
    "cross_scale_mae xFormers 0.0.19 fused": ("cross_scale_mae", "post_norm", cross_scale_fused),
    "scale_mae in state_dict": ("scale_mae", "pre_norm", lightning("scale_mae of its authors")),
    "cross_scale_mae in state_dict": ("cross_scale_mae", "post_norm", lightning("cross_scale_mae xFormers")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_becomes_the_model_it_came_from(layout: str, tmp_path: Path) -> None:
    name, block, make = LAYOUTS[layout]
    model = source(name, block)
    torch.save(make(dict(model.state_dict())), tmp_path / "published.pth")
    card = convert(name, tmp_path, tmp_path / "out" / f"{name}.safetensors")
    assert (card.name, card.size, card.block) == (name, "mini", block)
    loaded = load_gfm(name, tmp_path / "out" / f"{name}.safetensors", size="mini", img_size=64).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.forward_features(x), model.forward_features(x))
        fresh = load_gfm(name, size="mini", img_size=64).eval()
        assert (fresh.forward_features(x) - loaded.forward_features(x)).abs().mean() > 0.1


def test_full_size_dino_mc_converts(tmp_path: Path) -> None:
    model = load_gfm("dino_mc")
    torch.save(dino("")(dict(model.state_dict())), tmp_path / "dino_mc.pth")
    card = convert("dino_mc", tmp_path / "dino_mc.pth", tmp_path / "dino_mc.safetensors")
    assert replace(card, origin={}) == gfm_card("dino_mc")
    assert card.origin["checkpoint"] == "dino_mc.pth"
    loaded = load_gfm("dino_mc", tmp_path / "dino_mc.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(("size", "title"), [("mini", "DINO-MC (mini)"), ("full", "DINO-MC ViT-S/16")])
def test_dino_mc_patch_size_is_read_from_the_weights(size: str, title: str, tmp_path: Path) -> None:
    card = gfm_card("dino_mc", size)
    model = build(replace(card, architecture=card.architecture | {"patch_size": 16, "img_size": 96}))
    torch.save(dino("")(dict(model.state_dict())), tmp_path / "vit_s16.pth")
    found = convert("dino_mc", tmp_path / "vit_s16.pth", tmp_path / "out.safetensors")
    assert found.architecture["patch_size"] == 16
    assert found.architecture["img_size"] == 96
    assert found.title == title
    assert load_gfm("dino_mc", tmp_path / "out.safetensors", size=size, img_size=64).patch_embed.grid_size == (4, 4)


def broken(name: str, change: Callable[[State], object], folder: Path) -> Path:
    """A checkpoint with timm names in which ``change`` has broken something."""
    state = dict(source(name).state_dict())
    change(state)
    torch.save(state, folder / "broken.pth")
    return folder / "broken.pth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.2.attn.qkv.bias"), r"missing: blocks\.2\.attn\.qkv\.bias"),
        (lambda s: s.pop("norm.weight"), r"missing: norm\.weight"),
        (lambda s: s.update(strange=torch.zeros(1)), "unexpected: strange"),
        (
            lambda s: s.update({"blocks.0.attn.q.weight": torch.zeros(64, 64)}),
            r"unexpected: blocks\.0\.attn\.q\.weight",
        ),
        (lambda s: s.update({"cls_token": torch.zeros(1, 2, 64)}), r"wrong shape: cls_token \(1, 2, 64\), expected"),
        (lambda s: s["blocks.0.norm1.bias"].fill_(torch.nan), r"not finite: blocks\.0\.norm1\.bias"),
        (lambda s: s.update({"backbone.cls_token": s["cls_token"]}), r"cls_token and backbone\.cls_token"),
        (lambda s: s.update(cls_token="text"), "keys that are no tensors"),
        (lambda s: s.pop("patch_embed.proj.weight"), "no patch_embed.proj.weight"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("blocks.3.")], "these weights have 64 x 3"),
    ],
)
@pytest.mark.parametrize("name", ["scale_mae", "dino_mc", "cross_scale_mae"])
def test_broken_checkpoints_are_refused_by_key(name: str, change: Callable, message: str, tmp_path: Path) -> None:
    with pytest.raises(GFMError, match=message):
        convert(name, broken(name, change, tmp_path), tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("out*"))


def test_a_part_of_the_biases_is_not_taken_for_none(tmp_path: Path) -> None:
    checkpoint = cross_scale_xformers(PLAIN)(dict(source("cross_scale_mae", "post_norm").state_dict()))
    del checkpoint["model"]["encoder.encoders.2.wrap_ff.sublayer.layer.mlp.3.bias"]
    torch.save(checkpoint, tmp_path / "a.pth")
    with pytest.raises(GFMError, match=r"missing: blocks\.2\.mlp\.fc2\.bias$"):
        convert("cross_scale_mae", tmp_path / "a.pth", tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"student": {"module.backbone.cls_token": torch.zeros(1, 1, 64)}, "epoch": 3}, "the student alone; the feat"),
        (timm.create_model("resnet18").state_dict(), "weights of a ResNet; dino_mc is a Vision Transformer"),
        ({"teacher": timm.create_model("resnet50").state_dict()}, "weights of a ResNet; dino_mc is"),
    ],
    ids=["student", "ResNet", "ResNet teacher"],
)
def test_other_files_of_the_publisher_are_named(content: dict, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(GFMError, match=message):
        convert("dino_mc", tmp_path / "a.pth", tmp_path / "out.safetensors")


def test_other_positions_than_the_published_grid_are_refused(tmp_path: Path) -> None:
    shuffled = broken("cross_scale_mae", lambda s: s.update(pos_embed=s["pos_embed"].flip(1)), tmp_path)
    with pytest.raises(GFMError, match="not the 8 x 8 sine-cosine grid"):
        convert("cross_scale_mae", shuffled, tmp_path / "out.safetensors")


def test_an_incomplete_q_k_v_is_refused(tmp_path: Path) -> None:
    checkpoint = cross_scale_xformers(PLAIN)(dict(source("cross_scale_mae", "post_norm").state_dict()))
    del checkpoint["model"]["encoder.encoders.1.wrap_att.sublayer.layer.in_proj_container.k_proj.weight"]
    torch.save(checkpoint, tmp_path / "a.pth")
    with pytest.raises(
        GFMError, match=r"missing: blocks\.1\.attn\.qkv\.weight; unexpected: blocks\.1\.attn\.q\.weight"
    ):
        convert("cross_scale_mae", tmp_path / "a.pth", tmp_path / "out.safetensors")


class Hostile:
    """What a malicious checkpoint holds: unpickling it runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.witness}",)


def test_a_checkpoint_that_would_run_code_does_not(tmp_path: Path) -> None:
    content = {"model": dict(source("scale_mae").state_dict()), "args": Hostile(tmp_path / "ran")}
    torch.save(content, tmp_path / "hostile.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(content["args"], protocol=2))
    for file in ("hostile.pth", "plain.pth"):
        with pytest.raises(GFMError, match=rf"{file}.*posix\.system, which is not allowed"):
            convert("scale_mae", tmp_path / file, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(GFMError, match=r"a\.pth: not read: it is damaged or no torch checkpoint"):
        read_checkpoint(tmp_path / "a.pth")
    torch.save([1], tmp_path / "b.pth")
    with pytest.raises(GFMError, match=r"b\.pth: expected a dictionary of weights, found list"):
        read_checkpoint(tmp_path / "b.pth")
    torch.save({"model": [1]}, tmp_path / "c.pth")
    with pytest.raises(GFMError, match="expected a dictionary of tensors, found list"):
        convert("scale_mae", tmp_path / "c.pth", tmp_path / "out.safetensors")
    with pytest.raises(GFMError, match=r"expected one checkpoint, found a\.pth, b\.pth, c\.pth"):
        convert("scale_mae", tmp_path, tmp_path / "out.safetensors")
    with pytest.raises(FileNotFoundError, match="deflect gfm fetch scale_mae"):
        convert("scale_mae", tmp_path / "nothing.pth", tmp_path / "out.safetensors")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = source("dino_mc")
    save_weights(model.state_dict(), card_of(model), tmp_path / "dino_mc.safetensors", {})
    return tmp_path / "dino_mc.safetensors"


def test_loading_needs_the_right_card(saved: Path) -> None:
    with pytest.raises(GFMError, match=r"expected weights of scale_mae \(mini\), found dino_mc \(mini\)"):
        load_gfm("scale_mae", saved, size="mini")
    with pytest.raises(GFMError, match=r"expected weights of dino_mc \(full\), found dino_mc \(mini\)"):
        load_gfm("dino_mc", saved)
    saved.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="no card of the weights"):
        load_gfm("dino_mc", saved, size="mini")
    with pytest.raises(FileNotFoundError, match="no weights"):
        load_gfm("dino_mc", saved.with_name("other.safetensors"), size="mini")


def test_loading_is_strict(saved: Path) -> None:
    state = load_file(saved)
    changed = {"blocks.0.norm1.weight": state["blocks.0.norm1.weight"].half(), "cls_token": torch.zeros(2)}
    save_file({**{k: v for k, v in state.items() if k != "norm.bias"}, **changed}, saved)
    with pytest.raises(
        GFMError, match=r"missing: norm\.bias; wrong shape: cls_token .*; not float32: blocks\.0\.norm1"
    ):
        load_gfm("dino_mc", saved, size="mini")


def test_training_a_loaded_model_leaves_the_file_alone(saved: Path) -> None:
    before = saved.read_bytes()
    model = load_gfm("dino_mc", saved, size="mini", img_size=64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert saved.read_bytes() == before


def test_the_distance_applies_to_loaded_weights_too(tmp_path: Path) -> None:
    model = source("scale_mae")
    save_weights(model.state_dict(), card_of(model), tmp_path / "w.safetensors", {})
    loaded = load_gfm("scale_mae", tmp_path / "w.safetensors", size="mini", img_size=32, gsd=20.0)
    assert torch.equal(loaded.pos_embed, build(card_of(model), 32, 20.0).pos_embed)
    assert not loaded.pos_embed.requires_grad


def test_verify_refuses_random_weights_and_changed_files(saved: Path) -> None:
    torch.manual_seed(0)
    fresh = load_gfm("dino_mc", size="mini", img_size=64)
    save_weights(fresh.state_dict(), card_of(fresh), saved, {})
    with pytest.raises(GFMError, match=r"not trained weights of DINO-MC.*share of norm scales still at 1 is 1\.0"):
        verify("dino_mc", saved)
    card = read_json(saved.with_suffix(".json"))
    write_json(saved.with_suffix(".json"), card | {"origin": {"sha256": "0" * 64}})
    with pytest.raises(GFMError, match="its card says 0000"):
        verify("dino_mc", saved)


def test_fetch_checks_a_file_that_was_put_there_by_hand(tmp_path: Path) -> None:
    from deflect.data.fetch_file import FetchError

    (tmp_path / "cross_scale_mae_base_pretrain.pth").write_bytes(b"something else")
    with pytest.raises(FetchError, match="md5 0c33995da85c112d9602f89d5b186bbc expected"):
        fetch("cross_scale_mae", tmp_path)
    (tmp_path / "dino_mc.pth").write_bytes(b"weights")  # no checksum is published: what is found is recorded
    assert fetch("dino_mc", tmp_path) == tmp_path / "dino_mc.pth"
    assert read_json(tmp_path / "checksums.json")["dino_mc.pth"]["bytes"] == 7
    (tmp_path / "dino_mc.pth").write_bytes(b"changed")
    with pytest.raises(FetchError, match="where it was first seen"):
        fetch("dino_mc", tmp_path)
    with pytest.raises(GFMError, match="make it with `deflect gfm pretrain dino_mc`"):
        fetch("dino_mc", tmp_path, size="mini")
