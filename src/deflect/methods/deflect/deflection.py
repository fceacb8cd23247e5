"""Deflection: a displacement changes its direction but not its pretrained length (section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor

#: Smallest length: far below that of a token, far above the smallest float32.
TINY = 1e-30


def keep_length(delta: Tensor, frozen: Tensor) -> Tensor:
    """The hard constraint, ||delta_P|| * delta / ||delta||, for displacements (..., D) and ``frozen``, delta_P.

    The factor of equal displacements is exactly 1, so the initial model reproduces the frozen GFM exactly.
    """
    return delta * (length(frozen) / length(delta))


def length_penalty(delta: Tensor, frozen: Tensor) -> Tensor:
    """The soft constraint: | ||delta|| - ||delta_P|| | / ||delta_P||, mean over tokens; a scalar."""
    wanted = length(frozen)
    return ((length(delta) - wanted).abs() / wanted).mean()


def length(vectors: Tensor) -> Tensor:
    """Euclidean length over the last dimension, at least in float32: (..., D) -> (..., 1)."""
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=dtype).clamp_min(TINY)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Radians between vectors: (..., D) -> (...). Accurate near 0, unlike an arc cosine."""
    a, b = a / length(a), b / length(b)
    return 2 * torch.atan2(torch.linalg.vector_norm(a - b, dim=-1), torch.linalg.vector_norm(a + b, dim=-1))
