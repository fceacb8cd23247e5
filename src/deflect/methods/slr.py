"""Scaled Low-Rank adapters, SLR (Scheibenreif et al., CVPR 2024): s_out * (W (s_in * x) + U D (s_in * x)).

LoRA in the paper's convention, with a trainable scale, initially 1, of every input and output feature.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from deflect.methods.base import AdaptedGFM
from deflect.methods.lora import LoRALinear, plain_linear, replace_linears
from deflect.methods.selective import tune_norms
from deflect.settings.methods import SLRConfig


def add_slr(model: AdaptedGFM) -> None:
    config = cast(SLRConfig, model.config)
    replace_linears(model.gfm, config.targets, lambda linear: SLRLinear(linear, config.rank, config.down_bias))
    tune_norms(model)


class SLRLinear(LoRALinear):
    """A frozen linear layer with a low-rank update and scaled inputs and outputs."""

    def __init__(self, linear: nn.Linear, rank: int, bias: str) -> None:
        super().__init__(linear, rank, scale=1.0, bias=bias)
        like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.scale_in = nn.Parameter(torch.ones(self.in_features, **like))
        self.scale_out = nn.Parameter(torch.ones(self.out_features, **like))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale_out * super().forward(self.scale_in * x)

    def merge(self) -> nn.Linear:
        inner = super().merge()
        weight = self.scale_out[:, None] * inner.weight * self.scale_in
        return plain_linear(weight, None if inner.bias is None else self.scale_out * inner.bias)
