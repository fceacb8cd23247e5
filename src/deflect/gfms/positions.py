"""Fixed sine-cosine positions of the MAE family, with Scale-MAE's ground sampling distance (arXiv 2212.14532).

The patch at column x and row y of the grid has the coordinates x·g and y·g, g = ground sampling distance / 1 m. With
frequencies w_k = 10000^(-k / (D/4)), k = 0..D/4-1, its position is the concatenation of

    sin(x·g·w), cos(x·g·w), sin(y·g·w), cos(y·g·w)        (each D/4 numbers; columns first)

and zeros for the class token. Plain MAE positions, which Cross-Scale MAE uses, are those of g = 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sincos_positions(grid: tuple[int, int], dim: int, gsd: float = 1.0, prefix_tokens: int = 1) -> Tensor:
    """Positions (1, prefix_tokens + rows * columns, dim) of a ``grid`` of (rows, columns) patches.

    Computed in float32, as in pretraining, whatever the precision of the model: in half precision the angles of large
    distances would be noise.

    Args:
        grid: rows and columns of patches.
        dim: embedding dimension, a multiple of 4.
        gsd: metres per pixel of the image that the patches are cut from.
        prefix_tokens: class and register tokens, which get zeros.
    """
    rows, columns = grid
    y, x = torch.meshgrid(torch.arange(rows).float() * gsd, torch.arange(columns).float() * gsd, indexing="ij")
    frequencies = 1.0 / 10000 ** (torch.arange(dim // 4).float() / (dim // 4))
    angles = [coordinate.reshape(-1, 1) * frequencies for coordinate in (x, y)]
    patches = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return torch.cat([patches.new_zeros(prefix_tokens, dim), patches]).unsqueeze(0)
