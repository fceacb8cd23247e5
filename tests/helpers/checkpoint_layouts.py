"""Checkpoints of small models in every published layout."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.gfms import build, card_of, gfm_card

State = dict[str, Tensor]
ARGS = argparse.Namespace(output_dir=Path("/somewhere"), lr=1e-4, model="vit")


def source(name: str, block: str = "pre_norm") -> VisionTransformer:
    """A small model whose features depend on every tensor, norms and biases included."""
    torch.manual_seed(7)
    model = build(replace(gfm_card(name, "mini"), block=block)).eval()
    for key, parameter in model.named_parameters():
        if key != "pos_embed" or card_of(model).positions == "learned":
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
    stale = {"pos_embed": torch.randn(1, 65, 64)}  # the authors' model computes it in every forward pass
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
#: The fused MLP as older versions of xFormers saved it.
FUSED = {"fc1.weight": "0.weight", "fc1.bias": "1.bias", "fc2.weight": "2.weight", "fc2.bias": "3.bias"}


def cross_scale_fused(state: State) -> dict:
    """xFormers 0.0.19 does not save the biases of its fused MLP, which stay 0."""
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
