"""Visual Prompt Tuning (Jia et al., ECCV 2022): trainable tokens between the prefix and the patch tokens.

Deep prompts are new in every block and replace the outputs of the block before. Shallow prompts are inserted once,
before the first block. They have no place in the image, so rotary positions do not turn them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from deflect.gfms.vit import ViT
from deflect.methods import blocks
from deflect.methods.base import AdaptedGFM
from deflect.settings.methods import VPTConfig


class PromptedGFM(AdaptedGFM):
    """A GFM with ``prompts`` (blocks or 1, N, D), initially Xavier-uniform for the patch embedding, as published."""

    config: VPTConfig

    def __init__(self, gfm: ViT, *args: Any) -> None:
        super().__init__(gfm, *args)
        bound = math.sqrt(6 / (3 * math.prod(self.patch_size) + self.embed_dim))
        sets = self.depth if self.config.deep else 1
        like: Any = gfm.patch_embed.proj.weight
        prompts = like.new_empty(sets, self.config.prompts, self.embed_dim)
        self.prompts = nn.Parameter(nn.init.uniform_(prompts, -bound, bound))
        blocks.extend_prefix(gfm, self.config.prompts)

    def block(self, index: int, tokens: Tensor, carried: Any) -> Tensor:
        if index < len(self.prompts):
            tokens = self.gfm_tokens(tokens) if index else tokens
            prompts = self.prompts[index].expand(tokens.shape[0], -1, -1)
            prefix = self.num_prefix_tokens
            tokens = torch.cat([tokens[:, :prefix], prompts, tokens[:, prefix:]], dim=1)
        return blocks.run(self.gfm.blocks[index], tokens, carried[index])

    def gfm_tokens(self, tokens: Tensor) -> Tensor:
        """The tokens without the prompts."""
        prefix = self.num_prefix_tokens
        return torch.cat([tokens[:, :prefix], tokens[:, prefix + self.config.prompts :]], dim=1)
