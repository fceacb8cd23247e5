"""Visual Prompt Tuning (Jia et al., ECCV 2022): trainable tokens stand between the prefix and the patch tokens.

Deep prompts are new at every block: their outputs are dropped and the next block's prompts take the place. Shallow
prompts enter once, in front of the first block, and run through all of them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from deflect.methods.base import AdaptedGFM
from deflect.methods.selective import train_widened_patch_embed
from deflect.settings.methods import VPTConfig


def apply(model: AdaptedGFM, config: VPTConfig) -> None:
    """Add prompts, uniform with the bound of Xavier's rule for the patch embedding, as in the paper's code."""
    fan = 3 * math.prod(model.patch_size) + model.embed_dim
    sets = model.depth if config.deep else 1
    like: Any = model.gfm.patch_embed.proj.weight
    prompts = like.new_empty(sets, config.prompts, model.embed_dim)
    model.prompts = nn.Parameter(nn.init.uniform_(prompts, -math.sqrt(6 / fan), math.sqrt(6 / fan)))
    train_widened_patch_embed(model)


class PromptedGFM(AdaptedGFM):
    """A GFM whose blocks see ``prompts`` (blocks or 1, N, D) beside its own tokens."""

    config: VPTConfig
    prompts: nn.Parameter

    def block(self, index: int, tokens: Tensor, carried: Any) -> Tensor:
        if index < len(self.prompts):
            tokens = self._insert(self.read(tokens) if index else tokens, self.prompts[index])
        return self.gfm.blocks[index](tokens)

    def read(self, tokens: Tensor) -> Tensor:
        """The tokens without the prompts."""
        prefix = self.num_prefix_tokens
        return torch.cat([tokens[:, :prefix], tokens[:, prefix + self.config.prompts :]], dim=1)

    def _insert(self, tokens: Tensor, prompts: Tensor) -> Tensor:
        prefix, prompts = self.num_prefix_tokens, prompts.expand(tokens.shape[0], -1, -1)
        return torch.cat([tokens[:, :prefix], prompts, tokens[:, prefix:]], dim=1)
