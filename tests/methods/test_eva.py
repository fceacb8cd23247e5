"""Models of timm's ``Eva`` family (DINOv3, EVA-02, ...): rotary positions, masked keys, split and shared layers.

That every method runs, that DEFLECT starts at the GFM and that lengths are kept is tested for all ``VARIANTS``, which
include these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from gfms_page import PAGE, gfms_page
from test_methods import ALL, adapted, stir
from tiny_gfm import BANDS, EVA, STATISTICS, images, optimise, tiny
from torch import Tensor

from deflect.errors import ModelError
from deflect.gfms.vit import set_input
from deflect.methods import AdaptedGFM, adapt, load_adapter, merge, save_adapter
from deflect.methods.deflect.model import DeflectedGFM
from deflect.methods.fingerprint import fingerprint

MASKED, SHARED = "dinov3_masked_keys", "shared_keys"


def timms(model: AdaptedGFM, gfm: Any, image: Tensor) -> Tensor:
    """What an untouched GFM makes of the RGB bands, by timm's own forward pass."""
    return gfm.forward_features(model.normalise(model.channels(image)).to(gfm.patch_embed.proj.weight.dtype))


# ---------------------------------------------------------------------- the frozen GFM


@pytest.mark.parametrize("variant", EVA)
@torch.no_grad()
def test_features_at_the_start_are_timms_to_the_last_bit(variant: str) -> None:
    gfm = tiny(variant)
    image = images(gfm)
    for method, settings in (("frozen", {}), ("deflect", {}), ("deflect", {"constraint": "none"})):
        model = adapted(method, variant, **settings)
        assert torch.equal(model(image), timms(model, gfm, image)), (method, settings)


@pytest.mark.parametrize("variant", [MASKED, SHARED, "rope_mixed"])
@pytest.mark.parametrize("method", ALL)
def test_steps_change_trainable_parameters_only(method: str, variant: str) -> None:
    model = adapted(method, variant)
    trainable = set(model.trainable_names())
    before = {name: value.clone() for name, value in [*model.state_dict().items(), *model.named_buffers()]}
    if trainable:
        optimise(model, images(model.gfm))
    after = dict([*model.state_dict().items(), *model.named_buffers()])
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == trainable


@pytest.mark.parametrize("size", [(40, 24), (64, 64)])
@torch.no_grad()
def test_other_and_oblong_images(size: tuple[int, int]) -> None:
    """Directly where the GFM takes any size, and after ``set_input_size``."""
    for variant in ("dinov3", "eva02", "rope_mixed"):
        gfm = tiny(variant)
        if variant != "dinov3":
            gfm.set_input_size(size)
        model = adapt(gfm, "deflect", BANDS, standardise=False).eval()
        image = 0.3 * torch.rand(2, 8, *size)
        assert torch.equal(model(image), timms(model, gfm, image))
        assert model.forward_intermediates(image, [1])[0].shape[-2:] == (size[0] // 8, size[1] // 8)


def test_set_input_of_a_gfm_without_card() -> None:
    gfm = tiny("eva02")
    set_input(gfm, 48)
    assert adapt(gfm, "frozen", BANDS)(images(gfm)).shape == (2, 37, 32)


@pytest.mark.parametrize("variant", EVA)
@torch.no_grad()
def test_half_precision(variant: str) -> None:
    model, gfm = adapted("deflect", variant), tiny(variant)
    image = images(gfm)
    wanted = model(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(image), timms(model, gfm, image))
    found = model.bfloat16()(image)
    assert torch.equal(found, timms(model, gfm.bfloat16(), image))
    torch.testing.assert_close(found.float(), wanted, atol=0.03 * wanted.abs().max().item(), rtol=0)


def test_augmented_angles_are_drawn_once_per_pass_for_both_attentions() -> None:
    model, frozen = adapted("deflect", SHARED).train(), adapted("frozen", SHARED).train()
    assert model.gfm.rope.aug_active
    image = images(model.gfm)
    found = []
    for seed in (0, 1):
        outputs = []
        for each in (model, frozen):
            torch.manual_seed(seed)
            outputs.append(each(image))
        assert torch.equal(*outputs)
        found.append(outputs[0])
    assert not torch.allclose(*found, atol=1e-3), "drawn anew in every pass"


# ---------------------------------------------------------------------- DEFLECT


@pytest.mark.parametrize("variant", ["dinov3", "eva02"])
@torch.no_grad()
def test_rotary_positions_turn_both_parts_of_queries_and_keys(variant: str) -> None:
    """One block with explicit scores of the four sub-attentions; prefix tokens are not turned."""
    model: Any = adapted("deflect", variant, blocks=[0], constraint="none")
    stir(model)
    image = images(model.gfm)
    tokens, carried = model.embed(image)
    block, low_rank, prefix = model.gfm.blocks[0], model.uatt["0"], model.num_prefix_tokens
    attn, normed = block.attn, block.norm1(tokens)
    narrow = (model.upe(model.spectral_channels(image), tokens) @ low_rank.down.T).chunk(3, -1)
    extra = [part @ up for part, up in zip(narrow, low_rank.up, strict=True)]
    if variant == "eva02":
        frozen = [layer(normed) for layer in (attn.q_proj, attn.k_proj, attn.v_proj)]
    else:
        frozen = list(attn.qkv(normed).chunk(3, -1))
    (q_p, k_p, v_p), (q_a, k_a, v_a) = (
        [x.unflatten(-1, (2, 16)).transpose(1, 2) for x in parts] for parts in (frozen, extra)
    )
    grid = model.gfm.patch_embed.grid_size
    sin, cos = model.gfm.rope.get_embed(grid).chunk(2, -1)

    def turned(x: Tensor) -> Tensor:
        patches = x[:, :, prefix:]
        if variant == "dinov3":  # pairs (i, i + d/2)
            first, second = patches.chunk(2, -1)
            other = torch.cat([-second, first], -1)
        else:  # pairs (2i, 2i + 1)
            other = torch.stack([-patches[..., 1::2], patches[..., ::2]], -1).flatten(-2)
        return torch.cat([x[:, :, :prefix], patches * cos + other * sin], 2)

    scores = sum(turned(q) @ turned(k).transpose(-1, -2) for q in (q_p, q_a) for k in (k_p, k_a)) / 4.0
    delta = attn.proj(attn.norm((scores.softmax(-1) @ (v_p + v_a)).transpose(1, 2).flatten(2)))
    gammas = [1.0, 1.0] if block.gamma_1 is None else [block.gamma_1, block.gamma_2]
    after = tokens + gammas[0] * delta
    after = after + gammas[1] * block.mlp(block.norm2(after))
    torch.testing.assert_close(model.block(0, tokens, carried), after, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", [MASKED, SHARED, "eva_post_norm"])
def test_gradients_reach_every_part_of_the_spectral_path(variant: str) -> None:
    model = adapted("deflect", variant).train()
    stir(model)
    model(images(model.gfm)).square().mean().backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    assert {name for name, gradient in gradients.items() if gradient is not None} == set(model.trainable_names())
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values() if gradient is not None)


# ---------------------------------------------------------------------- the other methods


@pytest.mark.parametrize("method", ["lora", "slr", "peft:dora", "peft:ia3"])
@pytest.mark.parametrize("variant", ["dinov3", MASKED, "eva02"])
@torch.no_grad()
def test_updates_of_qkv_alone_change_features(method: str, variant: str) -> None:
    """``EvaAttention`` with biases reads the weights of its qkv and would pass over a layer that replaced it."""
    model = adapted(method, variant, targets=["qkv"], bands="rgb")
    image = images(model.gfm)
    before = timms(model, tiny(variant), image)
    torch.testing.assert_close(model(image), before, atol=1e-5, rtol=1e-4)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "norm" not in name:
            parameter += 0.1
    assert not torch.allclose(model(image), before, atol=1e-3)
    if method in ("lora", "slr"):
        torch.testing.assert_close(merge(model)(image), model(image), atol=1e-3, rtol=1e-3)


def test_targets_name_the_parts_of_split_layers() -> None:
    names = " ".join(adapted("lora", "eva02", bands="rgb").trainable_names())
    for layer in ("q_proj", "k_proj", "v_proj", "proj", "fc1_g", "fc1_x", "fc2"):
        assert f"{layer}.lora_up.weight" in names
    only = adapted("peft:dora", "eva02", bands="rgb", targets=["v_proj"]).trainable_names()
    assert only
    assert all("v_proj" in name for name in only)
    with pytest.raises(ModelError, match="no linear layer called qkv_proj"):
        adapted("lora", "eva02", targets=["qkv_proj"])


def test_masked_keys_stay_without_bias() -> None:
    for method in ("bitfit", "full"):
        model = adapted(method, MASKED)
        optimise(model, images(model.gfm))
        for block in model.gfm.blocks:
            assert not block.attn.k_bias.any()
        assert {"gfm.blocks.0.attn.q_bias", "gfm.blocks.0.attn.v_bias"} <= set(model.trainable_names())


@pytest.mark.parametrize("deep", [True, False])
@torch.no_grad()
def test_prompts_have_no_place(deep: bool) -> None:
    """Prompts are not turned, so their order means nothing, and patch tokens are turned as without prompts."""
    model: Any = adapted("vpt", "dinov3", bands="rgb", deep=deep, prompts=3)
    stir(model)
    image, prefix = images(model.gfm), model.num_prefix_tokens
    found = model(image)
    gfm = tiny("dinov3")
    tokens, rope = gfm._pos_embed(gfm.patch_embed(model.normalise(model.channels(image))))
    for index, block in enumerate(gfm.blocks):
        block.attn.num_prefix_tokens += 3
        if index < len(model.prompts):
            own = torch.cat([tokens[:, :prefix], tokens[:, prefix + 3 :]], 1) if index else tokens
            tokens = torch.cat([own[:, :prefix], model.prompts[index].expand(2, -1, -1), own[:, prefix:]], 1)
        tokens = block(tokens, rope=rope)
    assert torch.equal(found, gfm.norm(torch.cat([tokens[:, :prefix], tokens[:, prefix + 3 :]], 1)))
    model.prompts.copy_(model.prompts[:, [2, 0, 1]])
    torch.testing.assert_close(model(image), found)
    model.prompts.neg_()
    assert not torch.allclose(model(image), found, atol=1e-3)


def test_learned_angles_are_trained_by_full_fine_tuning_alone() -> None:
    for method in ALL:
        assert ("gfm.rope.freqs" in adapted(method, "rope_mixed").trainable_names()) == (method == "full")


@pytest.mark.parametrize("method", ["deflect", "lora", "vpt"])
@pytest.mark.parametrize("variant", [MASKED, SHARED, "rope_mixed"])
def test_checkpointing_changes_no_gradient(method: str, variant: str) -> None:
    gradients = []
    for enable in (False, True):
        model = adapted(method, variant).train()
        model.set_grad_checkpointing(enable)
        stir(model)
        torch.manual_seed(7)  # of augmented angles
        model(images(model.gfm)).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert gradients[0]
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


# ---------------------------------------------------------------------- files and refusals


@pytest.mark.parametrize("variant", [MASKED, "eva02", SHARED])
@pytest.mark.parametrize("method", ALL)
def test_a_loaded_adapter_reproduces_every_bit(tmp_path: Path, method: str, variant: str) -> None:
    model = adapted(method, variant)
    stir(model)
    save_adapter(model, tmp_path)
    loaded = load_adapter(tiny(variant), tmp_path).eval()
    image = images(model.gfm, seed=8)
    assert torch.equal(model(image), loaded(image))
    assert not any("rope" in name for name in model.adapter_state()), "angles belong to the GFM"


@pytest.mark.parametrize(
    "other",
    [
        {"rope_temperature": 50.0},
        {"rope_rotate_half": False},
        {"rope_grid_indexing": "xy"},
        {"rope_grid_offset": 0.5},
        {"use_rot_pos_emb": False},
        {"rope_type": "cat"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_an_adapter_is_refused_on_other_rotary_positions(tmp_path: Path, other: dict[str, Any]) -> None:
    save_adapter(adapted("deflect", "dinov3"), tmp_path)
    with pytest.raises(ModelError, match="this adapter belongs to Eva with weights"):
        load_adapter(tiny("dinov3", **other), tmp_path)


def test_the_fingerprint_does_not_depend_on_image_size_augmentation_or_mode() -> None:
    same = fingerprint(tiny("dinov3"))
    assert fingerprint(tiny("dinov3", img_size=64).train()) == same
    assert fingerprint(tiny("dinov3", rope_shift_coords=0.5, drop_path_rate=0.5)) == same
    assert fingerprint(tiny("eva_post_norm")) != fingerprint(tiny("eva_post_norm", use_post_norm=False))


def test_dropped_patches() -> None:
    with pytest.raises(ModelError, match="drops patches"):
        adapt(tiny("dinov3", patch_drop_rate=0.5), "deflect", BANDS)
    for variant in ("dinov3", "rope_mixed"):
        gfm = tiny(variant, patch_drop_rate=0.5)
        prefix = gfm.num_prefix_tokens
        model = adapt(gfm, "vpt", BANDS, STATISTICS).train()
        assert model(images(gfm)).shape == (2, prefix + 8, 32)


def test_blocks_that_cannot_be_deflected_are_named() -> None:
    gfm = tiny("dinov3")
    gfm.blocks[1].attn.forward = gfm.blocks[1].attn.forward
    with pytest.raises(ModelError, match="block 1 is a EvaBlock with EvaAttention; expected"):
        adapt(gfm, "deflect", BANDS)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["deflect", "lora", "vpt"])
@pytest.mark.parametrize("variant", [MASKED, SHARED, "rope_mixed"])
@torch.no_grad()
def test_an_exported_program_follows_on_another_batch(method: str, variant: str) -> None:
    model = adapted(method, variant)
    stir(model)
    batch = ({0: torch.export.Dim("batch", max=64)},)
    exported = torch.export.export(model, (images(model.gfm),), dynamic_shapes=batch).module()
    image = images(model.gfm, n=3, seed=9)
    torch.testing.assert_close(exported(image), model(image), rtol=1e-4, atol=1e-5)


def test_the_table_of_families_is_what_the_code_makes() -> None:
    page = PAGE.read_text()
    if f"timm {timm.__version__}," not in page:
        pytest.skip("another version of timm than that of the page")
    assert page == gfms_page(), "run `make docs`"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_patch16_dinov3", "small_patch16_dinov3_qkvb", "base_patch16_sapiens2"])
def test_the_properties_hold_at_real_size(name: str) -> None:
    torch.manual_seed(0)
    gfm = timm.create_model(f"vit_{name}", num_classes=0, img_size=224).eval()
    image = images(gfm, n=1)
    model = adapt(gfm, "deflect", BANDS)
    assert isinstance(model, DeflectedGFM)
    model.calibrate([image])
    with torch.no_grad():
        assert torch.equal(model.eval()(image), timms(model, gfm, image))
    optimise(model, image, steps=2)
    assert all(torch.equal(value, model.gfm.state_dict()[name]) for name, value in gfm.state_dict().items())
    found = model.deflection(image)
    assert (found["length"] - 1).abs().max() < 1e-5
    assert found["angle"].mean() > 0.01
