"""Linear head for classification: average pool, concatenate the taps, one linear layer (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


class LinearHead(nn.Module):
    """Logits (B, num_classes) from ``taps`` feature maps (B, embed_dim, h, w).

    ``reduce`` has no parameters, so that the pooled features of a frozen encoder can be stored; ``classify`` has all.
    """

    def __init__(self, embed_dim: int, taps: int, num_classes: int, init: Literal["small", "torch"] = "small") -> None:
        super().__init__()
        self.fc = nn.Linear(taps * embed_dim, num_classes)
        if init == "small":  # as in ViT classifiers: the first loss is close to log(num_classes)
            nn.init.trunc_normal_(self.fc.weight, std=0.02)
            nn.init.zeros_(self.fc.bias)

    def reduce(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Average pool: a list of (B, embed_dim)."""
        return [x.mean(dim=(2, 3)) for x in maps]

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        return self.fc(torch.cat(list(features), dim=1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.classify(self.reduce(maps))
