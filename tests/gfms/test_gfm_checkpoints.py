"""Every published checkpoint layout converts to its model; everything else is an error."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from checkpoint_layouts import LAYOUTS, PLAIN, State, cross_scale_xformers, dino, source
from safetensors.torch import load_file, save_file

from deflect.errors import DownloadError, ModelError
from deflect.files import read_json, sha256_file, write_json
from deflect.gfms import build, card_of, gfm_card, load_gfm
from deflect.gfms.checkpoint import read_checkpoint
from deflect.gfms.convert import convert, save_weights
from deflect.gfms.fetch import fetch
from deflect.gfms.verify import verify


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_converts_to_its_model(layout: str, tmp_path: Path) -> None:
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
def test_errors_of_broken_checkpoints_name_the_key(name: str, change: Callable, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        convert(name, broken(name, change, tmp_path), tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("out*"))


def test_a_single_missing_bias_is_an_error(tmp_path: Path) -> None:
    checkpoint = cross_scale_xformers(PLAIN)(dict(source("cross_scale_mae", "post_norm").state_dict()))
    del checkpoint["model"]["encoder.encoders.2.wrap_ff.sublayer.layer.mlp.3.bias"]
    torch.save(checkpoint, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"missing: blocks\.2\.mlp\.fc2\.bias$"):
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
def test_errors_of_other_published_files_name_them(content: dict, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=message):
        convert("dino_mc", tmp_path / "a.pth", tmp_path / "out.safetensors")


def test_positions_other_than_the_published_grid_are_an_error(tmp_path: Path) -> None:
    shuffled = broken("cross_scale_mae", lambda s: s.update(pos_embed=s["pos_embed"].flip(1)), tmp_path)
    with pytest.raises(ModelError, match="not the 8 x 8 sine-cosine grid"):
        convert("cross_scale_mae", shuffled, tmp_path / "out.safetensors")


def test_an_incomplete_q_k_v_is_an_error(tmp_path: Path) -> None:
    checkpoint = cross_scale_xformers(PLAIN)(dict(source("cross_scale_mae", "post_norm").state_dict()))
    del checkpoint["model"]["encoder.encoders.1.wrap_att.sublayer.layer.in_proj_container.k_proj.weight"]
    torch.save(checkpoint, tmp_path / "a.pth")
    with pytest.raises(
        ModelError, match=r"missing: blocks\.1\.attn\.qkv\.weight; unexpected: blocks\.1\.attn\.q\.weight"
    ):
        convert("cross_scale_mae", tmp_path / "a.pth", tmp_path / "out.safetensors")


class Hostile:
    """What a malicious checkpoint holds: unpickling it runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.witness}",)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    content = {"model": dict(source("scale_mae").state_dict()), "args": Hostile(tmp_path / "ran")}
    torch.save(content, tmp_path / "hostile.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(content["args"], protocol=2))
    for file in ("hostile.pth", "plain.pth"):
        with pytest.raises(ModelError, match=rf"{file}.*posix\.system, which is not allowed"):
            convert("scale_mae", tmp_path / file, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists()


def test_errors_of_damaged_files_name_them(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(ModelError, match=r"a\.pth: not read: it is damaged or no torch checkpoint"):
        read_checkpoint(tmp_path / "a.pth")
    torch.save([1], tmp_path / "b.pth")
    with pytest.raises(ModelError, match=r"b\.pth: expected a dictionary of weights, found list"):
        read_checkpoint(tmp_path / "b.pth")
    torch.save({"model": [1]}, tmp_path / "c.pth")
    with pytest.raises(ModelError, match="expected a dictionary of tensors, found list"):
        convert("scale_mae", tmp_path / "c.pth", tmp_path / "out.safetensors")
    with pytest.raises(ModelError, match=r"expected one checkpoint, found a\.pth, b\.pth, c\.pth"):
        convert("scale_mae", tmp_path, tmp_path / "out.safetensors")
    with pytest.raises(FileNotFoundError, match="deflect gfm fetch scale_mae"):
        convert("scale_mae", tmp_path / "nothing.pth", tmp_path / "out.safetensors")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = source("dino_mc")
    save_weights(model.state_dict(), card_of(model), tmp_path / "dino_mc.safetensors", {})
    return tmp_path / "dino_mc.safetensors"


def test_loading_needs_the_right_card(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"expected weights of scale_mae \(mini\), found dino_mc \(mini\)"):
        load_gfm("scale_mae", saved, size="mini")
    with pytest.raises(ModelError, match=r"expected weights of dino_mc \(full\), found dino_mc \(mini\)"):
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
    with pytest.raises(ModelError, match="differs from the sha256 on its card"):
        load_gfm("dino_mc", saved, size="mini")
    card = read_json(saved.with_suffix(".json"))
    card["origin"]["sha256"] = sha256_file(saved)
    write_json(saved.with_suffix(".json"), card)
    with pytest.raises(
        ModelError, match=r"missing: norm\.bias; wrong shape: cls_token .*; not float32: blocks\.0\.norm1"
    ):
        load_gfm("dino_mc", saved, size="mini")


def test_training_a_loaded_model_does_not_change_the_file(saved: Path) -> None:
    before = saved.read_bytes()
    model = load_gfm("dino_mc", saved, size="mini", img_size=64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert saved.read_bytes() == before


def test_gsd_applies_to_loaded_weights(tmp_path: Path) -> None:
    model = source("scale_mae")
    save_weights(model.state_dict(), card_of(model), tmp_path / "w.safetensors", {})
    loaded = load_gfm("scale_mae", tmp_path / "w.safetensors", size="mini", img_size=32, gsd=20.0)
    assert torch.equal(loaded.pos_embed, build(card_of(model), 32, 20.0).pos_embed)
    assert not loaded.pos_embed.requires_grad


def test_verify_detects_random_weights_and_changed_files(saved: Path) -> None:
    torch.manual_seed(0)
    fresh = load_gfm("dino_mc", size="mini", img_size=64)
    save_weights(fresh.state_dict(), card_of(fresh), saved, {})
    with pytest.raises(ModelError, match=r"not trained weights of DINO-MC.*share of norm scales still at 1 is 1\.0"):
        verify("dino_mc", saved)
    card = read_json(saved.with_suffix(".json"))
    write_json(saved.with_suffix(".json"), card | {"origin": {"sha256": "0" * 64}})
    with pytest.raises(ModelError, match="its card says 0000"):
        verify("dino_mc", saved)


def test_fetch_checks_a_file_that_was_put_there_by_hand(tmp_path: Path) -> None:
    pass

    (tmp_path / "cross_scale_mae_base_pretrain.pth").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="md5 0c33995da85c112d9602f89d5b186bbc expected"):
        fetch("cross_scale_mae", tmp_path)
    (tmp_path / "dino_mc.pth").write_bytes(b"weights")  # no checksum is published: what is found is recorded
    assert fetch("dino_mc", tmp_path) == tmp_path / "dino_mc.pth"
    assert read_json(tmp_path / "checksums.json")["dino_mc.pth"]["bytes"] == 7
    (tmp_path / "dino_mc.pth").write_bytes(b"changed")
    with pytest.raises(DownloadError, match="where it was first seen"):
        fetch("dino_mc", tmp_path)
    with pytest.raises(ModelError, match="make it with `deflect gfm pretrain dino_mc`"):
        fetch("dino_mc", tmp_path, size="mini")
