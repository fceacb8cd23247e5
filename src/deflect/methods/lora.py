"""LoRA (Hu et al., ICLR 2022): W x + U D x, a low-rank update of every frozen linear layer of the blocks.

There are two conventions, with different parameter counts and learning dynamics:

* ``paper`` (default, close to the DEFLECT authors' prototype, see docs/methods.md): D ~ N(0, 1), U = 0, both with
  biases (initially 0), no alpha/r factor, LayerNorms tuned too;
* ``usual`` (Microsoft's LoRA, the ``peft`` library): alpha/r * U D x, D Kaiming-uniform, no biases, norms frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deflect.errors import ModelError
from deflect.gfms.vit import ViT
from deflect.methods.base import AdaptedGFM
from deflect.methods.blocks import call_replaced_qkv, layers
from deflect.methods.selective import tune_norms
from deflect.settings.methods import LoRAConfig


def add_lora(model: AdaptedGFM) -> None:
    config = cast(LoRAConfig, model.config)
    replace_linears(model.gfm, config.targets, lambda linear: lora_layer(linear, config))
    if config.convention == "paper":
        tune_norms(model)


def lora_layer(linear: nn.Linear, config: LoRAConfig) -> LoRALinear:
    """The layer that replaces ``linear``."""
    if config.convention == "paper":
        return LoRALinear(linear, config.rank, scale=1.0, bias=config.down_bias)
    return LoRALinear(linear, config.rank, scale=config.alpha / config.rank, bias=None)


class LoRALinear(nn.Linear):
    """A frozen linear layer, whose parameters keep their names, with a low-rank update.

    ``bias`` is the start of the down-projection's bias, "zero" or "uniform"; without it there are no biases.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, bias: str | None) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.scale, self.bias_start = scale, bias
        like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_down = nn.Linear(self.in_features, rank, bias=bias is not None, **like)
        self.lora_up = nn.Linear(rank, self.out_features, bias=bias is not None, **like)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The initial update is zero. ``nn.Linear`` itself has made D Kaiming-uniform, as ``usual`` needs."""
        nn.init.zeros_(self.lora_up.weight)
        if self.lora_down.bias is not None:
            nn.init.normal_(self.lora_down.weight)
            nn.init.zeros_(self.lora_down.bias)
            if self.bias_start == "uniform":  # as nn.Linear
                nn.init.uniform_(self.lora_down.bias, -(self.in_features**-0.5), self.in_features**-0.5)
            nn.init.zeros_(self.lora_up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + scale * U (D x), in one ``addmm`` after the biases of U and W are added."""
        base = F.linear(x, self.weight, _sum(self.bias, self.lora_up.bias))
        down = self.lora_down(x).flatten(0, -2)
        total = torch.addmm(base.flatten(0, -2), down, self.lora_up.weight.t(), alpha=self.scale)
        return total.view(base.shape)

    def merge(self) -> nn.Linear:
        """One plain linear layer that computes the same."""
        up, down = self.lora_up, self.lora_down
        weight = self.weight + self.scale * up.weight @ down.weight
        shift = None if down.bias is None else up.weight @ down.bias + up.bias  # biases go with scale 1
        return plain_linear(weight, _sum(self.bias, shift))


def replace_linears(gfm: ViT, targets: tuple[str, ...], make: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace every linear layer of the blocks whose last name is one of ``targets`` by ``make(linear)``."""
    linears = {name: module for name, module in gfm.blocks.named_modules() if isinstance(module, nn.Linear)}
    names = {name.split(".")[-1] for name in linears}
    targets = layers(gfm, targets)
    if unmatched := sorted(set(targets) - names):
        raise ModelError(f"targets: no linear layer called {', '.join(unmatched)}; this GFM has {sorted(names)}")
    for name, linear in linears.items():
        if name.split(".")[-1] in targets:
            if isinstance(linear, LoRALinear):
                raise ModelError(f"{name}: this GFM was adapted already, and its update would be lost; merge it first")
            gfm.blocks.set_submodule(name, make(linear))
    call_replaced_qkv(gfm)


#: Why other methods cannot be merged.
NOT_MERGED = {
    "deflect": "the update depends on the image's spectra, so no fixed weight computes it",
    "spectral_probe": "it does not run the GFM",
    "late_fusion": "its map runs beside the GFM",
    "vpt": "prompts are tokens, not weights",
    "peft": "its layers are those of the peft library",
}


def merge(model: AdaptedGFM) -> AdaptedGFM:
    """A copy of a LoRA or SLR model with equal outputs and plain linear layers, none of them trainable."""
    if not any(isinstance(module, LoRALinear) for module in model.modules()):
        reason = NOT_MERGED.get(model.method.partition(":")[0], "its weights are those of the GFM already")
        reason = "already merged" if model.merged else reason
        raise ModelError(f"merge: {model.method} has nothing to fold in: {reason}")
    merged = copy.deepcopy(model).requires_grad_(False)
    for name, module in list(merged.gfm.named_modules()):
        if isinstance(module, LoRALinear):
            merged.gfm.set_submodule(name, module.merge())
    merged.merged = True
    return merged


@torch.no_grad()
def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A frozen linear layer with these values."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    values = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    linear.load_state_dict(values, assign=True)
    return linear.requires_grad_(False)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b
