"""Untangled attention, uAtt: spatial and spectral tokens attend to each other in one fused call (section 2.2).

The four sub-attentions q_P k_P + q_P k_A + q_A k_P + q_A k_A are (q_P + q_A)(k_P + k_A); the values are v_P + v_A.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deflect.methods.blocks import attend


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

    def forward(self, attn: Any, qkv: Tensor, tokens: Tensor, spectral: Tensor, rope: Tensor | None) -> Tensor:
        """The displacement delta (B, N, D) of every token.

        Args:
            attn: frozen attention of the block.
            qkv: its ``frozen_qkv`` (B*N, 3A), overwritten: a copy would cost a tenth of a step of ViT-S/8.
            tokens: input of the attention, (B, N, D).
            spectral: ``down`` of the spectral tokens, (B*N, 3r).
            rope: rotary positions of the block, which turn q_P + q_A and k_P + k_A.
        """
        qkv = qkv.addmm_(spectral, torch.block_diag(*self.up).to(spectral.dtype))
        return attend(attn, qkv, tokens, rope, self.scale, attn.attn_drop.p if self.training else 0.0)
