"""The GFMs as timm Vision Transformers, with other positions, blocks and final norms.

Every model runs as timm's ``forward_features`` does::

    x = gfm.norm_pre(gfm.patch_drop(gfm._pos_embed(gfm.patch_embed(rgb))))
    for block in gfm.blocks:
        x = block(x)
    x = gfm.norm(x)
"""

from __future__ import annotations

import math
from typing import Any

import timm
import torch
from timm.layers import LayerNorm
from timm.models.eva import Eva
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from deflect.errors import ModelError
from deflect.gfms.card import GFMCard, near_size

Size = tuple[int, int] | None
#: The families of timm that methods adapt: plain ViTs, and those with rotary positions.
ViT = VisionTransformer | Eva


def sincos_positions(grid: tuple[int, int], dim: int, gsd: float = 1.0, prefix_tokens: int = 1) -> Tensor:
    """Fixed positions (1, prefix_tokens + rows * columns, dim) of the MAE family for a ``grid`` of patches.

    The patch at column x and row y of the grid has the coordinates x·g and y·g, g = ground sampling distance / 1 m
    (Scale-MAE, arXiv 2212.14532). With frequencies w_k = 10000^(-k / (D/4)), k = 0..D/4-1, its position is
    sin(x·g·w), cos(x·g·w), sin(y·g·w), cos(y·g·w), each D/4 numbers. Plain MAE positions (Cross-Scale MAE) have g = 1.
    Always float32, as in pretraining: half precision cannot represent the angles of large distances.

    ``grid`` is rows and columns, ``dim`` a multiple of 4, ``gsd`` metres per pixel; ``prefix_tokens`` are zeros.
    """
    rows, columns = grid
    y, x = torch.meshgrid(torch.arange(rows).float() * gsd, torch.arange(columns).float() * gsd, indexing="ij")
    frequencies = 1.0 / 10000 ** (torch.arange(dim // 4).float() / (dim // 4))
    angles = [coordinate.reshape(-1, 1) * frequencies for coordinate in (x, y)]
    patches = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return torch.cat([patches.new_zeros(prefix_tokens, dim), patches]).unsqueeze(0)


class PostNormBlock(Block):
    """Transformer block that normalises after each residual sum, as xFormers' ``residual_norm_style="post"``::

        x = norm1(x + attn(x))
        x = norm2(x + mlp(x))

    Members are those of timm's ``Block``; :attr:`post_norm` distinguishes the two. timm's ``ResPostBlock`` is another
    model: x + norm(attn(x)). The norms' eps is 1e-6, as in xFormers' ``FusedLayerNorm``, which the authors' pinned
    packages use (with Triton; without it, xFormers uses PyTorch's 1e-5).
    """

    post_norm = True

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = self.norm1(x + self.drop_path1(self.ls1(self.attn(x, attn_mask=attn_mask, is_causal=is_causal))))
        return self.norm2(x + self.drop_path2(self.ls2(self.mlp(x))))


class UnusedNorm(LayerNorm):
    """A final norm that was never trained: its parameters are kept and counted, but it is not applied."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class SinCosViT(VisionTransformer):
    """ViT with fixed sine-cosine positions, computed for its grid and ``gsd`` and never interpolated.

    ``pos_embed`` is a parameter without gradient, as in the MAE family; :meth:`set_gsd` and :meth:`set_input_size`
    compute it again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pos_embed: nn.Parameter = nn.Parameter(self.pos_embed, requires_grad=False)
        self.set_gsd(1.0)

    def set_gsd(self, gsd: float) -> None:
        """Set the ground sampling distance of the input image, in metres per pixel *after* any resizing."""
        if not 0 < gsd < math.inf:
            raise ModelError(f"gsd must be positive metres per pixel, found {gsd}")
        self.gsd = float(gsd)
        positions = sincos_positions(self.patch_embed.grid_size, self.embed_dim, self.gsd, self.num_prefix_tokens)
        self.pos_embed.data = positions.to(self.pos_embed)

    def set_input_size(self, img_size: Size = None, patch_size: Size = None) -> None:
        super().set_input_size(img_size, patch_size)
        self.set_gsd(self.gsd)


def build(card: GFMCard, img_size: int | None = None, gsd: float | None = None) -> VisionTransformer:
    """The untrained model of ``card``, with the attribute ``card``, for images of ``img_size`` pixels.

    ``img_size`` is that of pretraining by default. ``gsd`` is used by ``gsd_sincos`` positions only; None is 1 m.
    Build under ``torch.device("meta")`` to count parameters without memory.
    """
    model = _timm_model(card) if card.timm else _vit(card)
    if not card.apply_final_norm:
        model.norm = UnusedNorm(model.embed_dim)
    model.card = card  # type: ignore[assignment]
    set_input(model, card.architecture["img_size"] if img_size is None else img_size, gsd)
    return model


def _vit(card: GFMCard) -> VisionTransformer:
    block = PostNormBlock if card.block == "post_norm" else Block
    cls = VisionTransformer if card.positions == "learned" else SinCosViT
    return cls(**card.architecture, num_classes=0, global_pool="token", block_fn=block)  # type: ignore[arg-type]


def _timm_model(card: GFMCard) -> Any:
    sizes: dict[str, Any] = {name: card.architecture[name] for name in ("img_size", "depth")}
    model: Any = timm.create_model(card.timm, num_classes=0, **sizes)
    if card.positions == "gsd_sincos":
        model.__class__ = SinCosViT  # which differs in its methods only
        model.pos_embed.requires_grad_(False)
        model.set_gsd(1.0)
    return model


def set_input(model: ViT, img_size: int, gsd: float | None = None) -> None:
    """Set the input of a model made by :func:`build` to ``img_size`` x ``img_size`` pixels of ``gsd`` metres.

    Fixed positions are computed again, learned ones interpolated.
    """
    patch = model.patch_embed.patch_size[0]
    if img_size <= 0 or img_size % patch:
        near = near_size(img_size, patch)
        raise ModelError(f"img_size {img_size} is no positive multiple of the patch size {patch}; use {near}")
    if (img_size, img_size) != model.patch_embed.img_size:
        model.set_input_size((img_size, img_size))
    if isinstance(model, SinCosViT):
        model.set_gsd(gsd if gsd is not None and card_of(model).positions == "gsd_sincos" else 1.0)


def card_of(model: nn.Module) -> GFMCard:
    """The card of a model made by :func:`build`; other timm models have none, which is a ModelError."""
    card = getattr(model, "card", None)
    if not isinstance(card, GFMCard):
        raise ModelError(f"{type(model).__name__} has no GFM card; set `model.card` to a GFMCard, or use load_gfm")
    return card


def count_parameters(model: nn.Module) -> int:
    """All parameters, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())


def scale_rgb(rgb: Tensor, card: GFMCard) -> Tensor:
    """Convert reflectance (B, 3, H, W), red, green, blue, to the input of the GFM.

    RGB = clip(reflectance / reflectance_white, 0, 1), then the mean and standard deviation of pretraining.
    """
    mean, std = (rgb.new_tensor(values).view(3, 1, 1) for values in (card.rgb_mean, card.rgb_std))
    return ((rgb / card.reflectance_white).clamp(0, 1) - mean) / std
