"""Every method: which parameters it trains, which it must not change, and its algebra."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from methods_page import PAGE, methods_page
from paths import SNAPSHOTS
from tiny_gfm import BANDS, EVA, STATISTICS, VARIANTS, images, optimise, stir, tiny
from torch import nn

from deflect.bands import SENTINEL2, BandSet, BandStatistics
from deflect.errors import ConfigError, ModelError
from deflect.gfms import scale_rgb
from deflect.methods import AdaptedGFM, adapt, adapt_as, merge, method_config, parameter_report
from deflect.methods.lora import LoRALinear, lora_layer
from deflect.methods.report import published_report
from deflect.methods.slr import SLRLinear
from deflect.settings.methods import CONFIGS

OWN = [method for method in CONFIGS if method != "peft"]
ALL = [*OWN, "peft:dora", "peft:ia3", "peft:vera"]
SNAPSHOT = SNAPSHOTS / "trainable_names.json"


def adapted(method: str, variant: str = "plain", **settings: Any) -> AdaptedGFM:
    """``method`` on a tiny GFM, with the same random numbers every time; ``bands`` may be all or rgb."""
    if method == "peft:vera":
        settings.setdefault("options", {"r": 4})
    gfm = tiny(variant)
    torch.manual_seed(1)
    model = adapt_as(gfm, method, method_config(method, **settings), BANDS, STATISTICS)
    model.calibrate([images(gfm, n=4, seed=5)])
    return model.eval()


# ---------------------------------------------------------------------- what runs, what trains


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("method", [*OWN, "peft:ia3"])
def test_every_method_runs_on_every_kind_of_vit(method: str, variant: str) -> None:
    model = adapted(method, variant)
    image = images(model.gfm)
    side = image.shape[-1] // model.patch_size[0]
    assert model.forward_features(image).shape == (2, model.num_prefix_tokens + side * side, model.map_width(1))
    maps = model.forward_intermediates(image, indices=[2, 0])
    assert [m.shape for m in maps] == [(2, model.map_width(2), side, side)] * 2
    assert torch.equal(maps[0], maps[1]) == (method == "spectral_probe")
    assert all(torch.isfinite(m).all() for m in maps)


@pytest.mark.parametrize("autocast", [True, False])
def test_bf16_on_a_cpu_follows_float32(autocast: bool) -> None:
    """With 8 bands oneDNN's convolution in bf16 is wrong on processors with AMX; gradients reach the kernels."""
    model = adapted("patch_embed")
    image = images(model.gfm)
    wanted = model(image).detach()
    if not autocast:
        model = model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = model(image)
    torch.testing.assert_close(found.float(), wanted, atol=0.1, rtol=0)
    found.float().square().sum().backward()
    kernels = model.gfm.patch_embed.proj.weight.grad
    assert kernels is not None
    assert kernels.abs().sum() > 0


def test_trainable_names_are_those_of_the_snapshot() -> None:
    """To write the snapshot anew, delete it and run this test; then read what changed."""
    found = {method: adapted(method).trainable_names() for method in ALL}
    for method in ("norm_tuning", "bitfit", "full"):
        found[f"{method}, rgb"] = adapted(method, bands="rgb").trainable_names()
    found["lora, usual"] = adapted("lora", convention="usual").trainable_names()
    for variant in EVA:
        for method in ("deflect", "lora", "bitfit", "norm_tuning", "full"):
            found[f"{method}, {variant}"] = adapted(method, variant, bands="rgb").trainable_names()
    found["deflect, without attention"] = adapted("deflect", attention=False).trainable_names()
    if not SNAPSHOT.exists():
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(SNAPSHOT.read_text())


@pytest.mark.parametrize("method", ALL)
def test_steps_change_trainable_parameters_only(method: str) -> None:
    model = adapted(method)
    trainable = set(model.trainable_names())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if trainable:
        optimise(model, images(model.gfm))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trainable


def test_adapt_does_not_change_the_given_gfm() -> None:
    gfm = tiny("with_head")
    before = {name: value.clone() for name, value in gfm.state_dict().items()}
    for method in OWN:
        adapt(gfm, method, BANDS, STATISTICS)
    assert all(torch.equal(value, before[name]) for name, value in gfm.state_dict().items())
    assert all(parameter.requires_grad for parameter in gfm.parameters())


@pytest.mark.parametrize(
    ("method", "settings", "percent"),
    [
        ("norm_tuning", {"bands": "rgb"}, 0.0324),
        ("bitfit", {"bands": "rgb"}, 0.0895),
        ("lora", {"bands": "rgb"}, 2.1478 + 0.0324),
        ("slr", {"bands": "rgb"}, 2.2774 + 0.0324),
        ("patch_embed", {}, 0.8646),
        ("frozen", {}, 0.0),
        ("spectral_probe", {}, 0.0),
        ("full", {"bands": "rgb"}, 100 * (1 - (201_728 + 2_048) / 303_301_632)),  # without positions and final norm
    ],
)
def test_shares_on_vit_l_are_the_papers(method: str, settings: dict[str, Any], percent: float) -> None:
    found = published_report(method, settings)
    assert found.gfm_params == 303_301_632
    assert found.tuned_percent == pytest.approx(percent, abs=5e-4)
    assert sum(found.modules.values()) == found.tuned_params


def test_report_does_not_count_a_classifier() -> None:
    plain, with_head = tiny(), tiny("with_head")
    assert parameter_report(adapt(with_head, "frozen", BANDS)).gfm_params == sum(p.numel() for p in plain.parameters())


def test_methods_page_is_what_the_code_makes() -> None:
    assert PAGE.read_text() == methods_page(), "run `make docs`"


# ---------------------------------------------------------------------- input


@pytest.mark.parametrize("white", [0.3, 0.2])
def test_rgb_is_normalised_as_in_pretraining(white: float) -> None:
    gfm = tiny("post_norm")  # carries a GFM card
    gfm.card = card = replace(gfm.card, reflectance_white=white)
    model = adapt(gfm, "frozen", BANDS)
    image = 4 * images(gfm) - 0.1
    rgb = image[:, list(BANDS.rgb)]
    assert (rgb > white).any()
    assert (rgb < 0).any(), "both ends are cut"
    torch.testing.assert_close(model.normalise(model.channels(image)), scale_rgb(rgb, card))


def test_rgb_of_a_gfm_without_card_by_hand() -> None:
    """ImageNet's mean and standard deviation; reflectance 0.3 is white."""
    model = adapt(tiny(), "frozen", BANDS)
    for reflectance, value in ((-0.1, 0.0), (0.0, 0.0), (0.15, 0.5), (0.3, 1.0), (0.9, 1.0)):
        found = model.normalise(torch.full((1, 3, 8, 8), reflectance))[0, :, 0, 0]
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        torch.testing.assert_close(found, (value - mean) / std)


def test_extra_bands_are_z_scored_and_not_clipped() -> None:
    model = adapted("patch_embed")
    image = images(model.gfm) * 20
    for position, name in enumerate(["B05", "B06", "B08", "B11", "B12"], start=3):
        channel = BANDS.channel(name)
        z_score = (image[:, channel] - STATISTICS.mean[channel]) / STATISTICS.std[channel]
        torch.testing.assert_close(model.normalise(model.channels(image))[:, position], z_score)


@pytest.mark.parametrize("method", ALL)
def test_band_order_changes_nothing(method: str) -> None:
    order = torch.randperm(len(BANDS), generator=torch.Generator().manual_seed(4)).tolist()
    shuffled = BANDS.subset([BANDS.names[i] for i in order])
    statistics = BandStatistics(*(tuple(values[i] for i in order) for values in (STATISTICS.mean, STATISTICS.std)))
    model, gfm = adapted(method), tiny()
    torch.manual_seed(1)
    other = adapt_as(gfm, method, model.config, shuffled, statistics).eval()
    image = images(model.gfm)
    other.calibrate([images(model.gfm, n=4, seed=5)[:, order]])
    stir(model), stir(other)
    assert torch.equal(model(image), other(image[:, order]))


def test_repeat_keeps_the_embedding_of_an_image_whose_extra_bands_repeat_its_colours() -> None:
    gfm, bands = tiny(), SENTINEL2.subset(["B12", "B04", "B08", "B03", "B02", "B11"])
    model = adapt(gfm, "patch_embed", bands, BandStatistics((0.0,) * 6, (1.0,) * 6))
    rgb = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(model.gfm.patch_embed(rgb.repeat(1, 2, 1, 1)), gfm.patch_embed(rgb))


def test_zero_and_random_keep_the_rgb_kernels() -> None:
    kernels = tiny().patch_embed.proj.weight
    for init in ("zero", "random"):
        wide = adapted("patch_embed", patch_init=init).gfm.patch_embed.proj.weight
        assert torch.equal(wide[:, :3], kernels)
        assert wide[:, 3:].std().item() == pytest.approx(kernels.std().item() * (init == "random"), rel=0.05)


def test_errors_name_the_band() -> None:
    gfm = tiny()
    with pytest.raises(ConfigError, match="no red and no blue band"):
        adapt(gfm, "frozen", SENTINEL2.subset(["B03", "B08"]))
    with pytest.raises(ConfigError, match="B03 occurs more than once"):
        BandSet("sentinel2", (*BANDS.bands, BANDS.bands[1]))
    with pytest.raises(ConfigError, match="B05, B06, B08, B11, B12: extra bands are z-scored"):
        adapt(gfm, "lora", BANDS)
    with pytest.raises(ConfigError, match="statistics of 3 bands for a set of 8"):
        adapt(gfm, "lora", BANDS, BandStatistics((0.0,) * 3, (1.0,) * 3))
    with pytest.raises(ConfigError, match="expected images"):
        adapted("frozen")(torch.rand(1, 3, 32, 32))


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("lroa", {}, "unknown method 'lroa'; known: deflect, lora"),
        ("peft", {}, "unknown method 'peft'"),
        ("lora", {"rnk": 4}, "lora: unknown key 'rnk'; did you mean 'rank'"),
        ("lora", {"rank": 0}, "rank: expected greater than or equal to 1, found 0"),
        ("lora", {"convention": "theirs"}, "convention: unknown value 'theirs'; known: paper, usual"),
        ("lora", {"targets": ["qkv", "fc3"]}, "no linear layer called fc3"),
        ("slr", {"bands": "nir"}, "bands: unknown value 'nir'; known: all, rgb"),
        ("patch_embed", {"patch_init": "copy"}, "patch_init: unknown value 'copy'; known: repeat, random, zero"),
        ("peft:lroa", {}, "peft:lroa: not a layer-wise method of peft; known: .*lora"),
        ("peft:lora", {"options": {"rank": 3}}, "unknown options rank for LoraConfig"),
        ("peft:lora", {"options": {"init_lora_weights": "pissa"}}, "rewrite frozen weights"),
        ("deflect", {"constraint": "firm"}, "constraint: unknown value 'firm'; known: hard, soft, none"),
        ("deflect", {"statistics": ["q50"]}, r"statistics\.0: unknown value 'q50'; did you mean"),
        ("deflect", {"blocks": [0, 3]}, r"blocks: expected numbers from 0 to 2, found \[3\]"),
        ("deflect", {"blocks": []}, "blocks: expected 'all' or at least 1 item"),
        ("deflect", {"indices": ["NDVI", "NDRE"]}, "unknown spectral index 'NDRE'"),
    ],
)
def test_errors_of_wrong_settings_are_one_line(method: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ModelError, ConfigError), match=message) as caught:
        adapted(method, **settings)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------- algebra


def test_usual_lora_equals_peft_on_the_same_weights() -> None:
    ours = adapted("lora", convention="usual", rank=4, alpha=6.0)
    theirs = adapted("peft:lora", options={"r": 4, "lora_alpha": 6})
    stir(ours)
    source = ours.state_dict()
    for name, value in theirs.state_dict().items():
        for old, new in ((".base_layer", ""), ("lora_A.default", "lora_down"), ("lora_B.default", "lora_up")):
            name = name.replace(old, new)
        value.copy_(source.pop(name))
    assert not source
    image = images(ours.gfm)
    torch.testing.assert_close(ours(image), theirs(image))
    assert parameter_report(ours).tuned_params == parameter_report(theirs).tuned_params


@pytest.mark.parametrize(("name", "scale"), [("lora", 6 / 4), ("rslora", 6 / 4**0.5), ("dora", 6 / 4)])
def test_scale_of_peft_variants_of_lora(name: str, scale: float) -> None:
    model = adapted(f"peft:{name}", options={"r": 4, "lora_alpha": 6})
    assert model.gfm.blocks[0].attn.qkv.scaling == {"default": scale}
    assert any("magnitude" in n for n in model.trainable_names()) == (name == "dora")


@pytest.mark.parametrize("convention", ["paper", "usual"])
def test_lora_formula(convention: str) -> None:
    config = method_config("lora", rank=3, alpha=12.0, convention=convention)
    linear = nn.Linear(6, 5)
    layer = lora_layer(linear, config)
    stir(layer)
    x, down, up = torch.randn(2, 7, 6), layer.lora_down, layer.lora_up
    update = 4.0 * x @ down.weight.T @ up.weight.T
    if convention == "paper":
        update = (x @ down.weight.T + down.bias) @ up.weight.T + up.bias
    torch.testing.assert_close(layer(x), linear(x) + update)


def test_slr_formula_and_slr_with_unit_scales_is_lora() -> None:
    linear = nn.Linear(6, 5)
    torch.manual_seed(3)
    slr = SLRLinear(linear, rank=3, bias="zero")
    torch.manual_seed(3)
    lora = LoRALinear(linear, rank=3, scale=1.0, bias="zero")
    nn.init.normal_(lora.lora_up.weight)
    slr.lora_up.weight.data.copy_(lora.lora_up.weight)
    x = torch.randn(2, 7, 6)
    assert torch.equal(slr(x), lora(x))
    nn.init.normal_(slr.scale_in), nn.init.normal_(slr.scale_out)
    scaled = slr.scale_in * x
    update = slr.lora_up(slr.lora_down(scaled))
    torch.testing.assert_close(slr(x), slr.scale_out * (linear(scaled) + update))


@pytest.mark.parametrize(
    ("method", "settings"), [("lora", {}), ("lora", {"convention": "usual", "alpha": 32.0}), ("slr", {})]
)
@pytest.mark.parametrize("variant", ["plain", "dinov2"])
def test_merged_equals_unmerged(method: str, settings: dict[str, Any], variant: str) -> None:
    model = adapted(method, variant, **settings)
    stir(model)
    merged = merge(model)
    assert not merged.trainable_names()
    assert {type(m) for m in merged.gfm.blocks.modules() if isinstance(m, nn.Linear)} == {nn.Linear}
    image = images(model.gfm)
    wanted = model(image)
    torch.testing.assert_close(merged(image), wanted, atol=1e-4 * wanted.abs().max().item(), rtol=0)
    with pytest.raises(ModelError, match="already merged"):
        merge(merged)


@pytest.mark.parametrize(
    ("method", "why"),
    [("deflect", "depends on the image"), ("late_fusion", "runs beside the GFM"), ("bitfit", "are those of the GFM")],
)
def test_merge_says_why_it_cannot(method: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        merge(adapted(method))


@pytest.mark.parametrize("method", ["lora", "slr", "peft:dora", "peft:ia3", "peft:vera"])
def test_low_rank_methods_start_at_the_gfm(method: str) -> None:
    model, frozen = adapted(method, bands="rgb"), adapted("frozen")
    image = images(model.gfm)
    torch.testing.assert_close(model(image), frozen(image))


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("variant", ["plain", "dinov2", "no_cls"])
@torch.no_grad()
def test_prompts_follow_the_prefix_and_are_left_out_of_the_features(variant: str, deep: bool) -> None:
    model = adapted("vpt", variant, bands="rgb", deep=deep, prompts=3)
    stir(model)
    image, prefix = images(model.gfm), model.num_prefix_tokens
    tokens = model.spatial_tokens(image)
    for index, block in enumerate(model.gfm.blocks):
        if index < len(model.prompts):
            own = torch.cat([tokens[:, :prefix], tokens[:, prefix + 3 :]], 1) if index else tokens
            tokens = torch.cat([own[:, :prefix], model.prompts[index].expand(2, -1, -1), own[:, prefix:]], 1)
        tokens = block(tokens)
    own = torch.cat([tokens[:, :prefix], tokens[:, prefix + 3 :]], 1)
    torch.testing.assert_close(model(image), model.gfm.norm(own))


def test_prompts_change_features_but_not_the_number_of_tokens() -> None:
    frozen = adapted("frozen")
    image = images(frozen.gfm)
    outputs = [adapted("vpt", bands="rgb", deep=deep)(image) for deep in (True, False)]
    assert all(output.shape == frozen(image).shape for output in outputs)
    assert not torch.allclose(outputs[0], frozen(image)), "prompts are attended to"
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("method", ["deflect", "lora", "late_fusion", "vpt", "peft:dora"])
def test_checkpointing_changes_no_gradient(method: str) -> None:
    gradients = []
    for enable in (False, True):
        model = adapted(method).train()
        model.set_grad_checkpointing(enable)
        stir(model)
        model(images(model.gfm)).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, again in zip(*gradients, strict=True):
        assert (plain is None) == (again is None)
        if plain is not None:
            torch.testing.assert_close(plain, again)
