"""Checks that a GFM's features come from its weight file, and that the weights were trained.

The checks fail for a file that changed after its conversion, a layer with initial values, shuffled positions and
collapsed features. They cannot detect trained weights in the wrong place, such as blocks in another order.
"""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from timm.layers import RmsNorm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from deflect.errors import ModelError
from deflect.files import sha256_file
from deflect.gfms.vit import UnusedNorm, build, card_of, count_parameters, scale_rgb, sincos_positions
from deflect.gfms.weights import load_gfm, read_card

#: A measured value, and the lowest and highest allowed.
Check = tuple[float, float, float]


def verify(name: str, weights: Path, size: str = "") -> dict[str, Any]:
    """Check the converted or pretrained ``weights`` of the GFM ``name``, and their ``size`` if one is given.

    Returns a report with every measured value and its allowed range.

    Raises:
        ModelError: a key does not fit, or a check fails; the message lists all failed checks.
    """
    weights = Path(weights)
    card = read_card(weights)
    if size and card.size != size:
        raise ModelError(
            f"{weights}: {name} of size {size} expected, these are weights of {card.title}; convert it again"
        )
    sha256 = sha256_file(weights)
    if sha256 != card.origin.get("sha256"):
        raise ModelError(f"{weights}: sha256 {sha256}, its card says {card.origin.get('sha256')}; convert it again")
    gfm = load_gfm(name, weights, size=card.size, img_size=card.architecture["img_size"]).eval()
    positions = None
    if card.positions != "rotary" and gfm.pos_embed is not None:
        with safe_open(weights, "pt") as file:
            positions = file.get_tensor("pos_embed")
    measured = _weight_checks(gfm, positions) | _feature_checks(gfm)
    checks = {
        what: {"value": round(value, 4), "low": low, "high": high, "passed": low <= value <= high}
        for what, (value, low, high) in measured.items()
    }
    failed = [
        f"{what} is {c['value']}, expected {c['low']} to {c['high']}" for what, c in checks.items() if not c["passed"]
    ]
    if failed:
        raise ModelError(f"{weights}: these are not trained weights of {card.title}: {'; '.join(failed)}")
    return {
        "name": name,
        "title": card.title,
        "weights": str(weights),
        "sha256": sha256,
        "parameters": count_parameters(gfm),
        "checks": checks,
    }


def _weight_checks(gfm: VisionTransformer, positions: Tensor | None) -> dict[str, Check]:
    """Training changes norms and biases from their initial 1 and 0; neighbours have similar positions."""
    kinds = nn.LayerNorm | nn.RMSNorm | RmsNorm
    norms: list[Any] = [m for m in gfm.modules() if isinstance(m, kinds) and not isinstance(m, UnusedNorm)]
    scales = torch.cat([norm.weight.detach() for norm in norms])
    linear = [m for m in gfm.modules() if isinstance(m, nn.Linear) and m.bias is not None]
    biases = torch.cat([m.bias.detach() for m in linear])
    untouched = sum(bool((m.weight == 1).all()) for m in norms) + sum(not m.bias.any() for m in linear)
    checks: dict[str, Check] = {
        "share of norm scales still at 1": ((scales == 1).float().mean().item(), 0.0, 0.5),
        "median norm scale": (scales.abs().median().item(), 0.01, 20.0),
        "share of biases still at 0": ((biases == 0).float().mean().item(), 0.0, 0.5),
        "norms and linear layers as initialised": (untouched, 0, 0),
    }
    return checks if positions is None else checks | {"positions": _positions_check(gfm, positions)}


def _positions_check(gfm: VisionTransformer, positions: Tensor) -> Check:
    """Positions in the file (loading computes fixed ones again).

    Fixed: largest deviation from the formula. Learned: similarity of neighbours minus that of all pairs.
    """
    rows, columns = gfm.patch_embed.grid_size
    if card_of(gfm).positions != "learned":
        exact = sincos_positions((rows, columns), gfm.embed_dim, prefix_tokens=gfm.num_prefix_tokens)
        return (positions - exact).abs().max().item(), 0.0, 1e-5
    grid = F.normalize(positions[0, gfm.num_prefix_tokens :], dim=1).view(rows, columns, -1)
    neighbours = (grid[:, 1:] * grid[:, :-1]).sum(-1).mean() + (grid[1:] * grid[:-1]).sum(-1).mean()
    everyone = (grid.flatten(0, 1) @ grid.flatten(0, 1).T).mean()
    return (neighbours / 2 - everyone).item(), 0.02, 2.0


@torch.no_grad()
def _feature_checks(gfm: VisionTransformer) -> dict[str, Check]:
    """Features must depend on the weights, the image, the place and the order of patches."""
    card = card_of(gfm)
    rgb = scale_rgb(_scenes(card.architecture["img_size"]), card)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random = build(card).eval().forward_features(rgb)
    features = gfm.forward_features(rgb)
    rolled = gfm.forward_features(rgb.roll(gfm.patch_embed.patch_size[0], 3))
    patches = features[:, gfm.num_prefix_tokens :]
    spread = patches.std(1).mean() / patches.abs().mean()
    return {
        "difference from random weights": (_distance(features, random), 0.3, inf),
        "difference between two scenes": (_distance(features[:1], features[1:]), 0.01, inf),
        "spread of tokens over a scene": (spread.item(), 0.01, inf),
        "difference when patches move": (_distance(features[:, :1], rolled[:, :1]), 1e-5, inf),
    }


def _distance(a: Tensor, b: Tensor) -> float:
    """Length of the difference, relative to the mean length."""
    return (2 * (a - b).norm() / (a.norm() + b.norm())).item()


def _scenes(size: int) -> Tensor:
    """Two fixed smooth scenes (2, 3, S, S) of plausible reflectance."""
    generator = torch.Generator().manual_seed(0)
    coarse = F.interpolate(torch.rand(2, 3, 6, 6, generator=generator), (size, size), mode="bicubic")
    fine = torch.rand(2, 3, size, size, generator=generator)
    return (0.02 + 0.2 * coarse + 0.03 * fine).clamp(0, 1)
