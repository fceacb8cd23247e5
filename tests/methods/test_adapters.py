"""Saved adapters reproduce outputs exactly, and cannot be loaded on another GFM."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import needs_real
from real_imagery import bigearthnet
from safetensors.torch import load_file, save_file
from tiny_gfm import BANDS, STATISTICS, images, optimise, tiny

from deflect.errors import ModelError
from deflect.files import read_json, sha256_file, write_json
from deflect.gfms import load_gfm
from deflect.methods import AdaptedGFM, adapt, adapt_as, load_adapter, merge, method_config, save_adapter

CASES: list[tuple[str, dict[str, Any]]] = [
    ("deflect", {}),
    ("deflect", {"attention": False, "indices": ["NDVI", "NBR"], "hidden": None}),
    (
        "deflect",
        {"blocks": [0, 2], "constraint": "soft", "statistics": ["mean", "std"], "bands": "rgb", "indices": ["NDTI"]},
    ),
    ("lora", {"convention": "usual", "alpha": 3.0}),
    ("lora", {"bands": "rgb"}),
    ("slr", {"targets": ["qkv"]}),
    ("norm_tuning", {"patch_init": "random"}),
    ("bitfit", {}),
    ("patch_embed", {}),
    ("frozen", {}),
    ("frozen", {"bands": "all", "patch_init": "random"}),
    ("spectral_probe", {}),
    ("spectral_probe", {"features": "indices", "standardise": False}),
    ("late_fusion", {}),
    ("late_fusion", {"hidden": 5, "bands": "rgb", "statistics": ["mean"]}),
    ("full", {}),
    ("vpt", {"deep": False, "prompts": 3}),
    ("peft:dora", {"options": {"r": 2}}),
    ("peft:vera", {"options": {"r": 4}}),
]


def trained(method: str = "lora", variant: str = "plain", seed: int = 1, **settings: Any) -> AdaptedGFM:
    gfm = tiny(variant)
    torch.manual_seed(seed)
    model = adapt_as(gfm, method, method_config(method, **settings), BANDS, STATISTICS)
    model.calibrate([images(gfm, n=4)])
    if model.trainable_names():
        optimise(model, images(gfm))
    return model.eval()


@pytest.mark.parametrize(("method", "settings"), CASES)
def test_a_loaded_adapter_reproduces_every_bit(tmp_path: Path, method: str, settings: dict[str, Any]) -> None:
    model = trained(method, **settings)
    save_adapter(model, tmp_path)
    torch.manual_seed(99)  # another random start must not show
    loaded = load_adapter(tiny(), tmp_path).eval()
    image = images(model.gfm, seed=8)
    assert torch.equal(model(image), loaded(image))
    assert loaded.config == model.config
    assert loaded.bands == BANDS
    assert loaded.trainable_names() == model.trainable_names()
    save_adapter(loaded, tmp_path / "again")
    assert (tmp_path / "again" / "adapter.json").read_bytes() == (tmp_path / "adapter.json").read_bytes()


@pytest.mark.parametrize("method", ["deflect", "lora", "norm_tuning", "spectral_probe", "late_fusion", "vpt"])
def test_only_the_adapter_is_saved(tmp_path: Path, method: str) -> None:
    model = trained(method)
    save_adapter(model, tmp_path)
    saved = load_file(tmp_path / "adapter.safetensors")
    place = {"deflect": "upe", "spectral_probe": "descriptors", "late_fusion": "descriptors"}.get(method)
    buffers = {f"{place}.{name}" for name in ("mean", "std", "nonfinite")} if place else set()
    assert set(saved) == set(model.trainable_names()) | buffers


def test_contents_of_the_card(tmp_path: Path) -> None:
    model = trained("deflect")
    save_adapter(model, tmp_path)
    card = json.loads((tmp_path / "adapter.json").read_text())
    assert card["method"] == "deflect"
    assert [band["name"] for band in card["bands"]["bands"]] == BANDS.names
    assert card["config"]["rank"] == 4
    assert card["rgb_input"]["kind"] == "learned"
    assert card["descriptor"]["indices"][0] == "NDVI"
    assert len(card["descriptor"]["mean"]) == len(card["descriptor"]["features"]) * 8
    assert card["descriptor"]["nonfinite"] > 0
    assert card["parameters"]["tuned_params"] == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_shared_projections_are_saved_once(tmp_path: Path) -> None:
    save_adapter(trained("peft:vera", options={"r": 4}), tmp_path)
    assert sum("vera_A" in name for name in load_file(tmp_path / "adapter.safetensors")) == 1


def test_another_gfm_is_an_error_and_another_image_size_is_not(tmp_path: Path) -> None:
    save_adapter(trained("lora"), tmp_path)
    other = tiny()
    other.blocks[1].mlp.fc2.weight.data.neg_()
    with pytest.raises(ModelError, match="this adapter belongs to VisionTransformer with weights"):
        load_adapter(other, tmp_path)
    larger = tiny()
    larger.set_input_size((48, 48))
    assert load_adapter(larger, tmp_path)(images(larger)).shape == (2, 37, 32)


def test_the_normalisation_of_training_is_kept(tmp_path: Path) -> None:
    gfm = load_gfm("cross_scale_mae", size="mini", img_size=32)
    model = adapt(gfm, "frozen", BANDS).eval()
    save_adapter(model, tmp_path)
    loaded = load_adapter(gfm, tmp_path).eval()
    assert loaded.gfm.card == gfm.card
    del gfm.card
    bare = load_adapter(gfm, tmp_path).eval()
    image = images(gfm)
    assert torch.equal(bare(image), model(image))
    assert torch.equal(loaded(image), model(image))


def test_errors_of_damaged_adapters_name_the_file(tmp_path: Path) -> None:
    save_adapter(trained("lora"), tmp_path)
    path = tmp_path / "adapter.safetensors"
    saved = load_file(path)
    name = "gfm.blocks.0.attn.qkv.lora_up.weight"
    for broken, message in (
        ({k: v for k, v in saved.items() if k != name}, f"missing {name}"),
        (saved | {"head.weight": torch.zeros(2)}, "unexpected head.weight"),
        (saved | {name: torch.zeros(2, 2)}, rf"{name} has shape \(2, 2\), expected \(96, 16\)"),
    ):
        save_file(broken, path)
        with pytest.raises(ModelError, match=r"differs from the sha256 in adapter\.json"):
            load_adapter(tiny(), tmp_path)
        card = read_json(tmp_path / "adapter.json")
        write_json(tmp_path / "adapter.json", card | {"sha256": sha256_file(path)})
        with pytest.raises(ModelError, match=message):
            load_adapter(tiny(), tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter\.safetensors"):
        load_adapter(tiny(), tmp_path)


def test_saving_a_merged_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="merged"):
        save_adapter(merge(trained("lora")), tmp_path)


@pytest.mark.parametrize("method", ["deflect", "spectral_probe", "late_fusion"])
def test_an_uncalibrated_model_stays_uncalibrated(tmp_path: Path, method: str) -> None:
    save_adapter(adapt(tiny(), method, BANDS), tmp_path)
    assert json.loads((tmp_path / "adapter.json").read_text())["descriptor"]["mean"] is None
    with pytest.raises(ModelError, match="call calibrate"):
        load_adapter(tiny(), tmp_path)(images(tiny()))


@needs_real
def test_real_sentinel2_images_go_through_an_adapted_gfm(tmp_path: Path) -> None:
    images, bands = bigearthnet()
    image = torch.from_numpy(images[:6])
    gfm = load_gfm("scale_mae", size="mini", img_size=120, gsd=10)
    model = adapt(gfm, "deflect", bands)
    model.calibrate(image.split(2))
    optimise(model, image)
    save_adapter(model, tmp_path)
    loaded = load_adapter(gfm, tmp_path).eval()
    assert torch.equal(loaded(image), model(image))
    assert loaded.deflection(image)["angle"].mean() > 0


def test_saved_tensors_follow_the_umask(tmp_path: Path) -> None:
    """safetensors makes files that nobody else on a cluster can read."""
    before = os.umask(0o027)
    try:
        save_adapter(trained("lora"), tmp_path)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / f"adapter.{kind}").stat().st_mode) for kind in ("safetensors", "json")}
    assert modes == {0o640}
