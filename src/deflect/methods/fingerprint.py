"""Digests of a GFM, by which an adapter is refused on another GFM than the one it was made for."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

SAMPLES = 64


def fingerprint(gfm: nn.Module) -> str:
    """A digest of weights and layers; positions are left out, because they follow the size of the image."""
    return _digest(repr((sorted(weight_samples(gfm).items()), _settings(gfm))).encode())


def positions_fingerprint(gfm: VisionTransformer) -> dict[str, Any] | None:
    """The grid of learned positions and a digest of their values: on equal grids, equal GFMs have equal ones."""
    positions = gfm.pos_embed
    if positions is None or positions.is_meta:
        return None
    values = positions.detach().float().cpu().contiguous().numpy().tobytes()
    return {"grid": list(gfm.patch_embed.grid_size), "digest": _digest(values)}


def weight_samples(gfm: nn.Module) -> dict[str, bytes]:
    """Values from all over every parameter but the positions, by its name in the bare GFM."""
    return {
        name.replace(".base_layer.", "."): _spread(value.detach()).float().cpu().numpy().tobytes()
        for name, value in gfm.named_parameters()
        if name != "pos_embed" and not value.is_meta
    }


def _spread(value: Tensor) -> Tensor:
    """At most ``SAMPLES`` values at equal steps, the first and the last among them."""
    flat = value.flatten()
    steps = torch.linspace(0, len(flat) - 1, min(SAMPLES, len(flat)), dtype=torch.float64)
    return flat[steps.long().to(flat.device)]


def _settings(gfm: nn.Module) -> list[str]:
    """What features depend on apart from weights: heads, epsilons, activations, the order of a block.

    A set over all layers, so that layers which only act in training (dropout, stochastic depth) make no difference.
    """
    found = {f"act {type(module.act).__name__}" for module in gfm.modules() if hasattr(module, "act")}
    for name in ("num_heads", "eps", "approximate", "no_embed_class", "post_norm"):
        found |= {f"{name} {getattr(module, name)}" for module in gfm.modules() if hasattr(module, name)}
    return sorted(found)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
