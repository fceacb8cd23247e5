"""Mistakes that could pass silently are handled, or refused with an error that names the cause."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from tiny_gfm import BANDS, STATISTICS, images, optimise, tiny
from torch import Tensor

from deflect.bands import BandStatistics
from deflect.errors import ModelError
from deflect.methods import AdaptedGFM, adapt, adapt_as, load_adapter, method_config, parameter_report, save_adapter
from deflect.spectral import patches, pixel_statistics


def adapted(method: str, gfm: VisionTransformer | None = None, **settings: Any) -> AdaptedGFM:
    gfm = gfm or tiny()
    model = adapt_as(gfm, method, method_config(method, **settings), BANDS, STATISTICS)
    model.calibrate([images(gfm, n=4).float()])
    return model.eval()


def test_spectral_tokens_fit_a_gfm_that_pads() -> None:
    model = adapted("deflect", tiny(dynamic_img_size=True, dynamic_img_pad=True))
    assert model(torch.rand(1, 8, 40, 48)).shape == (1, 31, 32)
    for method in ("deflect", "spectral_probe", "late_fusion"):
        model = adapted(method, tiny(dynamic_img_size=True, dynamic_img_pad=True))
        with pytest.raises(ModelError, match=r"multiples of the patch size \(8, 8\), found images of 37 x 45"):
            model(torch.rand(1, 8, 37, 45))


class CausalAttention(Attention):
    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        return super().forward(x, is_causal=True)


class HalfBlock(Block):
    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        return x + 0.5 * self.attn(self.norm1(x))


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ({"attn_layer": CausalAttention}, "Block with CausalAttention"),
        ({"block_fn": HalfBlock}, "HalfBlock with Attention"),
        ({"attn_layer": "diff"}, "Block with DiffAttention"),
    ],
)
def test_overridden_forward_passes_are_refused_or_kept(layers: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=f"block 0 is a {named}; expected"):
        adapted("deflect", tiny(**layers))
    gfm = tiny(**layers)
    model = adapted("deflect", gfm, attention=False)
    image = images(gfm)
    torch.testing.assert_close(model(image), gfm.forward_features(model.normalise(model.channels(image))))


def with_other_positions() -> VisionTransformer:
    gfm = tiny()
    gfm.pos_embed.data.add_(0.1)
    return gfm


def with_other_late_values() -> VisionTransformer:
    gfm = tiny()
    for parameter in gfm.blocks.parameters():
        parameter.data.view(-1)[64:] += 0.1
    return gfm


OTHER_GFMS = {
    "heads": lambda: tiny(num_heads=4),
    "activation": lambda: tiny(act_layer="quick_gelu"),
    "positions": with_other_positions,
    "late values": with_other_late_values,
}


@pytest.mark.parametrize("other", OTHER_GFMS)
def test_an_adapter_refuses_a_gfm_with_other_outputs(tmp_path: Path, other: str) -> None:
    save_adapter(adapted("lora"), tmp_path)
    load_adapter(tiny(), tmp_path)
    with pytest.raises(ModelError, match="this adapter belongs to"):
        load_adapter(OTHER_GFMS[other](), tmp_path)


@pytest.mark.parametrize("method", ["lora", "norm_tuning", "bitfit", "full", "peft:dora"])
def test_saved_adapter_is_complete_after_freezing(tmp_path: Path, method: str) -> None:
    model = adapted(method)
    optimise(model, images(model.gfm))
    save_adapter(model.requires_grad_(False), tmp_path)
    assert torch.equal(load_adapter(tiny(), tmp_path).eval()(images(model.gfm)), model(images(model.gfm)))


def test_calibration_refuses_z_scores() -> None:
    model = adapt(tiny(), "deflect", BANDS)
    with pytest.raises(ModelError, match=r"calibrate: .*% of band B04 is negative, as in z-scores"):
        model.calibrate([torch.randn(4, 8, 32, 32)])
    with pytest.raises(ModelError, match=r"floating point.*found torch.int16"):
        model.calibrate([torch.ones(4, 8, 32, 32, dtype=torch.int16)])


@pytest.mark.parametrize("method", ["deflect", "lora", "frozen", "spectral_probe", "late_fusion"])
def test_first_images_out_of_range_are_refused(method: str) -> None:
    model = adapted(method)
    image = images(model.gfm)
    with pytest.raises(ModelError, match=r"first images: band B04 has mean .*10000"):
        model(image * 10000)
    with pytest.raises(ModelError, match="as in z-scores"):
        model(torch.randn(image.shape))
    assert torch.isfinite(model(image)).all()


@pytest.mark.parametrize("mean", [1200.0, float("nan")])
def test_statistics_of_digital_numbers_are_refused(mean: float) -> None:
    with pytest.raises(ModelError, match=r"statistics: band B02 has mean .*10000"):
        adapt(tiny(), "lora", BANDS, BandStatistics((mean,) * 8, (600.0,) * 8))


def test_statistics_may_be_arrays(tmp_path: Path) -> None:
    statistics = BandStatistics(np.full(8, 0.1), np.full(8, 0.1))  # type: ignore[arg-type]
    save_adapter(adapt(tiny(), "lora", BANDS, statistics), tmp_path)
    assert load_adapter(tiny(), tmp_path).statistics == statistics


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("where", ["gfm", "model"])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        *(("deflect", {}), ("deflect", {"attention": False}), ("lora", {}), ("slr", {}), ("vpt", {}), ("frozen", {})),
        *(("spectral_probe", {}), ("late_fusion", {})),
    ],
)
def test_models_run_in_other_precisions(method: str, settings: dict[str, Any], where: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    wanted = adapted(method, **settings)
    torch.manual_seed(1)
    model = adapted(method, tiny().to(dtype), **settings) if where == "gfm" else copy.deepcopy(wanted).to(dtype)
    image = images(tiny())
    for given in (image, image.to(dtype)):
        found = model(given)
        assert found.dtype == dtype
        assert torch.isfinite(found).all()
        # Random prompts differ between types, and so do z-scores by rounded means.
        if method not in ("vpt", "spectral_probe"):
            torch.testing.assert_close(found.float(), wanted(image), atol=0.3, rtol=0)


def test_an_adapted_gfm_is_not_adapted_again() -> None:
    with pytest.raises(ModelError, match=r"attn\.qkv: this GFM was adapted already"):
        adapt_as(adapted("lora", bands="rgb").gfm, "slr", method_config("slr", bands="rgb"), BANDS)


def test_the_second_classifier_of_a_distilled_vit_is_left_out() -> None:
    gfm = timm.create_model("deit_tiny_distilled_patch16_224", depth=1, num_classes=10)
    model = adapt(gfm, "full", BANDS, STATISTICS)
    assert not any("head" in place for place in parameter_report(model).modules)
    assert model.gfm_params == sum(p.numel() for n, p in gfm.named_parameters() if "head" not in n)


def test_a_soft_model_can_be_copied_between_steps() -> None:
    model = adapted("deflect", constraint="soft").train()
    model(images(model.gfm))
    assert copy.deepcopy(model).extra_loss() == 0
    assert model.extra_loss().requires_grad


@pytest.mark.parametrize("method", ["deflect", "frozen", "lora"])
def test_a_gfm_with_other_inputs_is_refused_when_adapted(method: str) -> None:
    with pytest.raises(ModelError, match=r"over 3 bands \(red, green, blue\), found 12"):
        adapt(tiny(in_chans=12), method, BANDS, STATISTICS)
    with pytest.raises(ModelError, match="expected timm's PatchEmbed, found HybridEmbed"):
        adapt(timm.create_model("vit_tiny_r_s16_p8_224", depth=1), method, BANDS, STATISTICS)


@pytest.mark.parametrize(("size", "patch"), [((32, 8), 8), ((4, 4), 1)])
def test_statistics_leave_the_image_alone(size: tuple[int, int], patch: int) -> None:
    image = torch.rand(1, 3, *size)
    before = image.clone()
    pixel_statistics(patches(image, (patch, patch)))
    assert torch.equal(image, before)


def test_maps_of_dropped_patches_are_refused() -> None:
    model = adapt(tiny(patch_drop_rate=0.5), "lora", BANDS, STATISTICS).train()
    with pytest.raises(ModelError, match="expected 16 patch tokens"):
        model.forward_intermediates(images(model.gfm), [1])


def test_loading_an_uncalibrated_state_asks_for_calibration() -> None:
    model = adapted("deflect")
    model(images(model.gfm))
    model.load_state_dict(adapt(tiny(), "deflect", BANDS).state_dict())
    with pytest.raises(ModelError, match="call calibrate"):
        model(images(model.gfm))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("ln_tuning", "use norm_tuning"), ("poly", "task number"), ("trainable_tokens", "word embedding")],
)
def test_unsuitable_methods_of_peft_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        adapt(tiny(), f"peft:{name}", BANDS, STATISTICS)


def test_wrong_types_of_bands_and_batches_are_named() -> None:
    with pytest.raises(ModelError, match=r"expected a BandSet.* found 'rgb'"):
        adapt(tiny(), "lora", "rgb")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"found tuple; .*images alone"):
        adapt(tiny(), "deflect", BANDS).calibrate([(images(tiny()), 0)])  # type: ignore[list-item]


def test_a_card_of_another_type_is_refused() -> None:
    with pytest.raises(ModelError, match="to a GFMCard"):
        adapt(tiny(), "lora", BANDS, STATISTICS, card={"reflectance_white": 0.2})  # type: ignore[arg-type]


def test_an_adapter_loads_on_a_gfm_built_without_the_dropout_of_training(tmp_path: Path) -> None:
    save_adapter(adapted("lora", tiny(drop_path_rate=0.1, proj_drop_rate=0.1)), tmp_path)
    load_adapter(tiny(), tmp_path)


@pytest.mark.parametrize("rates", [{"proj_drop_rate": 0.5}, {"attn_drop_rate": 0.5}])
def test_dropout_does_not_change_the_pretrained_length(rates: dict[str, float]) -> None:
    model = adapted("deflect", tiny(**rates)).train()
    found = model.deflection(images(model.gfm))
    torch.testing.assert_close(found["length"], torch.ones_like(found["length"]), atol=2e-6, rtol=0)
    if "proj_drop_rate" in rates:
        assert found["angle"].max() < 1e-6, "no direction changes before training"


def test_an_rgb_band_set_leaves_the_patch_embedding_alone() -> None:
    model = adapt(tiny(), "lora", BANDS.subset(["B04", "B03", "B02"]))
    assert not any("patch_embed" in name for name in model.trainable_names())


def test_error_of_peft_names_the_method() -> None:
    with pytest.raises(ModelError, match="peft:lora: "):
        adapt(tiny(), "peft:lora", BANDS, STATISTICS, targets=("query",))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("lora", r"lora: it tunes LayerNorms, .* \(norms found: RmsNorm\); convention='usual' leaves norms alone"),
        ("slr", r"slr: it tunes LayerNorms, .* \(norms found: RmsNorm\)$"),
        ("norm_tuning", r"norm_tuning: it tunes LayerNorms, .* \(norms found: RmsNorm\)$"),
    ],
)
def test_a_gfm_without_layer_norms_is_refused_by_the_methods_that_tune_them(method: str, message: str) -> None:
    gfm = tiny(norm_layer="rmsnorm")
    with pytest.raises(ModelError, match=message):
        adapted(method, gfm)
    assert adapted("lora", gfm, convention="usual").trainable_names()


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("swin_tiny_patch4_window7_224", "lora", "expected a timm VisionTransformer or Eva, found SwinTransformer"),
        ("beit_base_patch16_224", "frozen", "expected a timm VisionTransformer or Eva, found Beit"),
        ("naflexvit_base_patch16_gap", "frozen", "expected a timm VisionTransformer or Eva, found NaFlexVit"),
        ("samvit_base_patch16_224", "frozen", "expected a timm VisionTransformer or Eva, found VisionTransformerSAM"),
        ("vit_base_patch16_sapiens2", "norm_tuning", r"it tunes LayerNorms, .* \(norms found: RmsNorm\)"),
        ("vit_tiny_r_s16_p8_224", "bitfit", "patch_embed: expected timm's PatchEmbed, found HybridEmbed"),
        ("vit_base_patch16_xp_224", "deflect", "block 0 is a ParallelScalingBlock"),
        ("vit_base_patch16_xp_224", "lora", "targets: no linear layer called fc1, fc2, proj, qkv"),
    ],
)
def test_models_that_the_readme_excludes_are_refused(name: str, method: str, message: str) -> None:
    with torch.device("meta"):
        gfm = timm.create_model(name, num_classes=0)
        with pytest.raises(ModelError, match=message):
            adapt(gfm, method, BANDS, STATISTICS)
