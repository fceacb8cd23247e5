"""Digests of a GFM: an adapter can only be loaded on the GFM that was adapted."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from timm.models.eva import EvaBlockPostNorm
from torch import nn

from deflect.gfms.vit import ViT

SAMPLES = 64
#: Attributes of layers, rotary positions and blocks on which features depend, and which no weight shows.
SETTINGS = (
    *("num_heads", "eps", "approximate", "no_embed_class", "post_norm"),
    *("temperature", "grid_offset", "grid_indexing", "rotate_half", "ref_feat_shape", "max_res", "linear_bands"),
    *("in_pixels", "normalize_coords", "min_period", "max_period", "mrope_section"),
)


def fingerprint(gfm: nn.Module) -> str:
    """A digest of weights and layers, without positions, which depend on the size of the image."""
    return _digest(repr((sorted(weight_samples(gfm).items()), _settings(gfm))).encode())


def positions_fingerprint(gfm: ViT) -> dict[str, Any] | None:
    """The grid of learned positions and a digest of their values."""
    positions = gfm.pos_embed
    if positions is None or positions.is_meta:
        return None
    values = positions.detach().float().cpu().contiguous().numpy().tobytes()
    return {"grid": list(gfm.patch_embed.grid_size), "digest": _digest(values)}


def weight_samples(gfm: nn.Module) -> dict[str, bytes]:
    """At most ``SAMPLES`` values, at equal steps, of every parameter but positions, by its name in the original GFM."""
    found = {}
    for name, value in gfm.named_parameters():
        if name != "pos_embed" and not value.is_meta:
            flat = value.detach().flatten()
            steps = torch.linspace(0, len(flat) - 1, min(SAMPLES, len(flat)), dtype=torch.float64).long()
            found[name.replace(".base_layer.", ".")] = flat[steps.to(flat.device)].float().cpu().numpy().tobytes()
    return found


def _settings(gfm: nn.Module) -> list[str]:
    """What features depend on apart from weights: number of heads, epsilons, activations, order of a block.

    Values are those of all layers together, so that dropout and stochastic depth make no difference.
    """
    found = {f"act {type(module.act).__name__}" for module in gfm.modules() if hasattr(module, "act")}
    found |= {"EvaBlockPostNorm" for module in gfm.modules() if isinstance(module, EvaBlockPostNorm)}
    for name in SETTINGS:
        found |= {f"{name} {getattr(module, name)}" for module in gfm.modules() if hasattr(module, name)}
    return sorted(found)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
