"""Untangled attention, uAtt: spatial and spectral tokens attend to each other in one fused call (section 2.2).

The four sub-attentions q_P k_P + q_P k_A + q_A k_P + q_A k_A are (q_P + q_A)(k_P + k_A); the values are v_P + v_A.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor, nn


class UntangledAttention(nn.Module):
    """Low-rank maps of the spectral tokens to q_A, k_A and v_A of one block, added to its frozen attention.

    ``down`` (3r, D) is applied outside, for all blocks at once: spectral tokens are the same in every block.
    ``up`` (3, r, A) is initially zero, so that the block is that of the frozen GFM.
    """

    def __init__(self, dim: int, attn_dim: int, rank: int, init_std: float, scale: float | None = None) -> None:
        super().__init__()
        self.init_std, self.scale = init_std, scale
        self.down = nn.Parameter(torch.empty(3 * rank, dim))
        self.up = nn.Parameter(torch.empty(3, rank, attn_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.down, std=self.init_std)
        nn.init.zeros_(self.up)

    def forward(self, attn: Attention, qkv: Tensor, tokens: Tensor, spectral: Tensor) -> Tensor:
        """The displacement delta (B, N, D) of every token.

        Args:
            attn: frozen attention of the block.
            qkv: its ``frozen_qkv`` (B*N, 3A), overwritten: a copy would cost a tenth of a step of ViT-S/8.
            tokens: input of the attention, (B, N, D).
            spectral: ``down`` of the spectral tokens, (B*N, 3r).
        """
        qkv = qkv.addmm_(spectral, torch.block_diag(*self.up).to(spectral.dtype))
        return attend(attn, qkv, tokens, self.scale, attn.attn_drop.p if self.training else 0.0)


def frozen_qkv(attn: Attention, tokens: Tensor) -> Tensor:
    """q_P, k_P, v_P of normalised tokens (B, N, D), after q and k norms, concatenated: (B*N, 3A)."""
    qkv = attn.qkv(tokens.flatten(0, 1))
    if isinstance(attn.q_norm, nn.Identity) and isinstance(attn.k_norm, nn.Identity):
        return qkv
    q, k, v = qkv.unflatten(-1, (3, attn.num_heads, attn.head_dim)).unbind(1)
    return torch.cat([part.flatten(1) for part in (attn.q_norm(q), attn.k_norm(k), v)], dim=-1)


def attend(attn: Attention, qkv: Tensor, tokens: Tensor, scale: float | None = None, dropout: float = 0.0) -> Tensor:
    """proj(softmax(scale * q k^T) v) with the projection of ``attn``, before its dropout: (B, N, D).

    ``scale`` is 1/sqrt(d) by default; ``qkv`` is q, k, v, concatenated, (B*N, 3A); ``tokens`` are the input of the
    attention, with which some layers gate.
    """
    q, k, v = qkv.view(*tokens.shape[:2], 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
    mixed = attn.norm(mixed.transpose(1, 2).flatten(2))
    if attn.gate is not None:
        mixed = mixed * attn.gate(tokens).sigmoid()
    return attn.proj(mixed)
