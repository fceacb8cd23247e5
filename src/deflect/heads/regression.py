"""The head of a regression: a linear or UPerNet head of one output, in the unit of the target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deflect.heads.linear import LinearHead
from deflect.heads.upernet import UPerNet


class RegressionHead(nn.Module):
    """``mean + std * x`` of the output x of ``head``: (B, 1) or (B, 1, h, w), in float32.

    Mean and standard deviation of the training labels are buffers, saved with the weights: a trained model needs no
    data to predict in the unit of the target. The weights are trained as those of a standardised target.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, head: LinearHead | UPerNet) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("std", torch.ones(1))

    def set_target(self, mean: float, std: float) -> None:
        """Set mean and standard deviation of the target."""
        self.mean.fill_(mean)
        self.std.fill_(std)

    def reduce(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The part without parameters, as in ``LinearHead``."""
        return self.head.reduce(maps)

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """The numbers; in float32 also under autocast, because half precision would round a large mean."""
        return self.mean + self.std * self.head.classify(features).float()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.classify(self.reduce(maps))
