"""DEFLECT: the five properties that must hold exactly (paper section 2.4), and its variants."""

from __future__ import annotations

import re
from importlib import import_module
from operator import attrgetter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from methods_page import BAND_SETS
from tiny_gfm import BANDS, VARIANTS, images, optimise, tiny
from torch import Tensor, nn

from deflect.bands import SENTINEL2
from deflect.errors import ConfigError, ModelError
from deflect.gfms import load_gfm
from deflect.methods import adapt, adapt_as, method_config
from deflect.methods.deflect.deflection import angle, keep_length, length, length_penalty
from deflect.methods.deflect.model import DeflectedGFM
from deflect.methods.report import published_report
from deflect.settings.methods import BUDGETS


def deflected(variant: str = "plain", calibrate: bool = True, **settings: Any) -> DeflectedGFM:
    gfm = tiny(variant)
    torch.manual_seed(1)
    model = adapt_as(gfm, "deflect", method_config("deflect", **settings), BANDS)
    assert isinstance(model, DeflectedGFM)
    if calibrate:
        model.calibrate([images(gfm, n=4, seed=5)])
    return model.eval()


def trained(variant: str = "plain", **settings: Any) -> DeflectedGFM:
    model = deflected(variant, **settings)
    optimise(model, images(model.gfm), steps=5)
    return model


def frozen_features(model: DeflectedGFM, image: Tensor) -> Tensor:
    """What the GFM itself makes of the RGB bands, by timm's own forward pass."""
    return model.gfm.forward_features(model.normalise(model.channels(image)))


# ---------------------------------------------------------------------- 2.4, property by property


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"constraint": "soft"}, {"constraint": "none"}, {"attention": False}, {"blocks": [1]}],
    ids=lambda settings: "-".join(map(str, settings.values())) or "default",
)
def test_1_starts_at_the_frozen_gfm(variant: str, settings: dict[str, Any]) -> None:
    model = deflected(variant, **settings)
    image = images(model.gfm)
    torch.testing.assert_close(model(image), frozen_features(model, image), atol=1e-6, rtol=1e-6)
    assert model.deflection(image)["angle"].max() < 1e-6


@pytest.mark.parametrize("variant", ["plain", "dinov2", "post_norm"])
def test_2_frozen_parameters_do_not_change_and_all_others_do(variant: str) -> None:
    model = deflected(variant)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = images(model.gfm)
    start = model(image).detach()
    optimise(model, image)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(model.trainable_names())
    assert not any(name.startswith("gfm.") for name in changed)
    assert not torch.allclose(model(image), start, atol=1e-3), "the steps must show in the features"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("attention", [True, False])
def test_3_hard_constraint_keeps_every_length(variant: str, attention: bool) -> None:
    model = trained(variant, attention=attention)
    found = model.deflection(images(model.gfm))
    blocks, tokens = (model.depth if attention else 1), (model.gfm.patch_embed.num_patches)
    assert found["length"].shape == found["angle"].shape == (blocks, 2, tokens)
    torch.testing.assert_close(found["length"], torch.ones(blocks, 2, tokens), atol=2e-6, rtol=0)
    assert found["angle"].mean() > 0.01, "the direction must have changed"


def test_3_without_the_constraint_lengths_change() -> None:
    model = trained(constraint="none")
    assert (model.deflection(images(model.gfm))["length"] - 1).abs().max() > 0.01


def test_4_spectral_tokens_do_not_depend_on_the_order_of_pixels_and_spatial_tokens_do() -> None:
    model = trained()
    image = images(model.gfm)
    tiles = image.unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)
    mixed = tiles[..., torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    mixed = F.fold(mixed.permute(0, 1, 4, 2, 3).flatten(1, 2).flatten(2), 32, 8, stride=8)
    spatial = model.spatial_tokens(image)
    spectral = [model.upe(model.spectral_channels(x), spatial) for x in (image, mixed)]
    assert torch.equal(*spectral)
    assert not torch.allclose(model.spatial_tokens(mixed), spatial, atol=1e-2)


@pytest.mark.parametrize(("setting", "low", "high"), [("table2", 0.15, 0.25), ("table4", 0.25, 0.31)])
@pytest.mark.parametrize("dataset", BAND_SETS)
def test_5_budget_on_scale_mae(setting: str, low: float, high: float, dataset: str) -> None:
    found = published_report("deflect", BUDGETS[setting], bands=BAND_SETS[dataset])
    assert found.gfm_params == 303_301_632
    assert low < found.tuned_percent < high


# ---------------------------------------------------------------------- the parts


def test_every_function_named_on_the_first_page_exists() -> None:
    import deflect.methods.deflect as page

    named = re.findall(r"``([a-z]+)\.([\w.]+)``", page.__doc__ or "")
    assert len(named) == 4
    for module, name in named:
        assert callable(attrgetter(name)(import_module(f"{page.__name__}.{module}")))


def test_one_block_equals_the_formulas_written_out() -> None:
    """Sections 2.2 and 2.3 with explicit scores of the four sub-attentions, head by head."""
    model = trained("dinov2", blocks=[0])
    image = images(model.gfm)
    tokens, carried = model.embed(image)
    block, low_rank = model.gfm.blocks[0], model.uatt["0"]
    nn.init.normal_(low_rank.up, generator=torch.Generator().manual_seed(3))  # q_A, k_A and v_A all matter
    spectral = model.upe(model.spectral_channels(image), tokens)
    narrow = (spectral @ low_rank.down.T).chunk(3, -1)
    frozen = block.attn.qkv(block.norm1(tokens)).chunk(3, -1)
    extra = [part @ up for part, up in zip(narrow, low_rank.up, strict=True)]

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (2, 16)).transpose(1, 2)

    (q_p, k_p, v_p), (q_a, k_a, v_a) = map(heads, frozen), map(heads, extra)
    scores = sum(q @ k.transpose(-1, -2) for q in (q_p, q_a) for k in (k_p, k_a)) / 4.0

    def displaced(scores: Tensor, values: Tensor) -> Tensor:
        return block.ls1(block.attn.proj((scores.softmax(-1) @ values).transpose(1, 2).flatten(2)))

    delta, delta_p = displaced(scores, v_p + v_a), displaced(q_p @ k_p.transpose(-1, -2) / 4.0, v_p)
    after = tokens + delta_p.norm(dim=-1, keepdim=True) * delta / delta.norm(dim=-1, keepdim=True)
    after = after + block.ls2(block.mlp(block.norm2(after)))
    torch.testing.assert_close(model.block(0, tokens, carried), after, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", ["plain", "dinov2", "no_cls"])
def test_upe_matches_norms_and_fills_prefix_slots_with_the_mean(variant: str) -> None:
    model = trained(variant)
    image = images(model.gfm)
    spatial = model.spatial_tokens(image)
    spectral = model.upe(model.spectral_channels(image), spatial)
    assert spectral.shape == spatial.shape
    torch.testing.assert_close(spectral.norm(dim=-1), spatial.norm(dim=-1))
    descriptor = (model.descriptor(image) - model.upe.mean) / model.upe.std
    mean = model.upe.transform(descriptor).mean(1)
    for slot in range(model.num_prefix_tokens):
        assert F.cosine_similarity(spectral[:, slot], mean).min() > 1 - 1e-5


def test_without_norm_matching_tokens_keep_the_length_of_t() -> None:
    model = trained(norm_matching=False)
    image = images(model.gfm)
    spatial = model.spatial_tokens(image)
    descriptor = (model.descriptor(image) - model.upe.mean) / model.upe.std
    torch.testing.assert_close(
        model.upe(model.spectral_channels(image), spatial)[:, 1:], model.upe.transform(descriptor)
    )


def test_features_chosen_by_settings() -> None:
    names = {features: deflected(features=features).upe.features for features in ("indices", "bands", "both")}
    assert names["both"] == names["indices"] + names["bands"]
    assert names["bands"] == ("B04", "B03", "B02", "B05", "B06", "B08", "B11", "B12")
    few = deflected(indices=["NDVI", "NBR"], features="indices", statistics=["mean", "q90"])
    assert few.upe.features == ("NDVI", "NBR")
    assert few.descriptor(images(few.gfm)).shape == (2, 16, 4)
    assert deflected(bands="rgb").upe.features == ("NDTI", "B04", "B03", "B02")
    assert isinstance(deflected(hidden=None).upe.transform, torch.nn.Linear)


def test_deflect_distinguishes_images_that_differ_only_in_the_infrared() -> None:
    model = trained()
    image = images(model.gfm)
    other = image.clone()
    other[:, BANDS.channel("B08")] *= 0.5
    assert torch.equal(model.spatial_tokens(image), model.spatial_tokens(other))
    assert not torch.allclose(model(image), model(other), atol=1e-3)


def test_soft_constraint_is_a_penalty_of_the_last_training_pass() -> None:
    model = trained(constraint="soft", soft_weight=3.0)
    image = images(model.gfm)
    model(image)
    assert model.extra_loss() == 0, "no penalty outside training"
    model.train()(image)
    ratio = model.eval().deflection(image)
    model.train()(image)
    penalty = model.extra_loss()
    assert penalty > 0
    penalty.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name.startswith("uatt"))
    assert ratio["length"].sub(1).abs().mean() * 3 == pytest.approx(penalty.item(), rel=0.3)  # patch tokens alone


def test_length_gradient_changes_gradients_not_values() -> None:
    models = [trained(length_gradient=flag) for flag in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    image = images(models[0].gfm)
    outputs = [model.train()(image) for model in models]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().mean().backward()
    assert not torch.allclose(models[0].uatt["0"].up.grad, models[1].uatt["0"].up.grad, rtol=1e-3)


def test_unadapted_blocks_are_those_of_the_gfm() -> None:
    model = trained(blocks=[2])
    image = images(model.gfm)
    assert list(model.uatt) == ["2"]
    plain = adapt(tiny(), "frozen", BANDS).eval()
    early, late = model.forward_intermediates(image, [1, 2])
    frozen_early, frozen_late = plain.forward_intermediates(image, [1, 2])
    assert torch.equal(early, frozen_early)
    assert not torch.allclose(late, frozen_late, atol=1e-3)


def test_deflection_functions() -> None:
    a = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]])
    torch.testing.assert_close(length(a).squeeze(-1), torch.tensor([5.0, 1e-30, 1e-20]))
    torch.testing.assert_close(keep_length(a[:1], torch.tensor([[10.0]])), torch.tensor([[6.0, 8.0]]))
    assert torch.isfinite(keep_length(a, torch.ones(3, 1))).all()
    torch.testing.assert_close(length_penalty(a[:1], torch.tensor([[10.0]])), torch.tensor(0.5))
    right = angle(
        torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 3.0], [5.0, 0.0], [-1.0, 0.0]])
    )
    torch.testing.assert_close(right, torch.tensor([torch.pi / 2, 0.0, torch.pi]))


# ---------------------------------------------------------------------- calibration


def test_calibration_does_not_depend_on_the_batches() -> None:
    model = deflected(calibrate=False)
    data = images(model.gfm, n=6)
    model.calibrate(data.split(4))
    rows = model.descriptor(data)[:, 1:].flatten(0, 1)  # the first patch of every image has dead pixels
    standard = (rows - model.upe.mean) / model.upe.std
    assert standard.mean(0).abs().max() < 1e-3
    assert ((standard.std(0, unbiased=False) - 1).abs() < 1e-3).sum() > 0.9 * len(model.upe.mean)
    assert model.upe.nonfinite > 0, "dead pixels give 0/0, which is counted"
    once = model.upe.std.clone()
    model.calibrate(data.split(1))
    torch.testing.assert_close(model.upe.std, once)


def test_a_constant_feature_is_only_centred() -> None:
    model = deflected(calibrate=False)
    data = images(model.gfm, n=6)
    data[:, BANDS.channel("B02")] = 0.04
    model.calibrate([data])
    size = len(model.config.statistics)
    constant = slice(size * model.upe.features.index("B02"), size * (model.upe.features.index("B02") + 1))
    assert torch.equal(model.upe.std[constant], torch.ones(size))
    torch.testing.assert_close(model.upe.mean[constant], torch.tensor([0.04, 0, *[0.04] * (size - 2)]))
    assert model(data).isfinite().all()


def test_errors_name_the_cause() -> None:
    model = deflected(calibrate=False)
    image = images(model.gfm)
    with pytest.raises(ModelError, match="call calibrate"):
        model(image)
    deflected(calibrate=False, standardise=False)(image)
    with pytest.raises(ModelError, match="no training image"):
        model.calibrate([])
    with pytest.raises(ModelError, match=r"band B04 has mean .*expected reflectance.*10000"):
        model.calibrate([image * 10000])
    with pytest.raises(ModelError, match="band B11 has mean nan"):
        model.calibrate([torch.where(torch.arange(8).view(1, -1, 1, 1) == BANDS.channel("B11"), torch.nan, image)])
    with pytest.raises(ConfigError, match="NDVI needs a band with role N"):
        adapt(tiny(), "deflect", SENTINEL2.subset(["B04", "B03", "B02"]), indices=["NDVI"])
    with pytest.raises(ModelError, match="drops patches"):
        adapt(tiny(patch_drop_rate=0.5), "deflect", BANDS)


# ---------------------------------------------------------------------- precision


@pytest.mark.parametrize("settings", [{}, {"attention": False}])
def test_bf16_autocast_starts_at_the_frozen_gfm_and_learns(settings: dict[str, Any]) -> None:
    model = deflected(**settings)
    image = images(model.gfm)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(image), frozen_features(model, image))
        model.train()(image).float().square().mean().backward()
    name, last = ("gate", model.gate) if "attention" in settings else ("up", model.uatt["2"].up)
    assert last.grad is not None, name
    assert last.grad.dtype == torch.float32
    assert last.grad.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scale_mae", "dino_mc", "cross_scale_mae"])
def test_the_properties_hold_at_real_size(name: str) -> None:
    torch.manual_seed(0)
    gfm = load_gfm(name)
    image = images(gfm, n=1)
    model = adapt(gfm, "deflect", BANDS)
    assert isinstance(model, DeflectedGFM)
    model.calibrate([image])
    before = {key: value.clone() for key, value in gfm.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(model.eval()(image), frozen_features(model, image))
    optimise(model, image, steps=2)
    assert all(torch.equal(value, before[key]) for key, value in model.gfm.state_dict().items())
    found = model.deflection(image)
    assert (found["length"] - 1).abs().max() < 1e-5
    assert found["angle"].mean() > 0.01
