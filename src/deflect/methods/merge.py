"""Merge LoRA and SLR into the weights of the GFM."""

from __future__ import annotations

import copy

from deflect.errors import ModelError
from deflect.methods.base import AdaptedGFM
from deflect.methods.lora import LoRALinear

WHY_NOT = {
    "deflect": "the update depends on the image's spectra, so no fixed weight computes it",
    "vpt": "prompts are tokens, not weights",
    "peft": "its layers are those of the peft library",
}


def merge(model: AdaptedGFM) -> AdaptedGFM:
    """A copy of a LoRA or SLR model with equal outputs and plain linear layers, none of them trainable.

    Raises:
        ModelError: the method cannot be merged; the message says why.
    """
    if not any(isinstance(module, LoRALinear) for module in model.modules()):
        family = model.method.partition(":")[0]
        reason = "already merged" if model.merged else WHY_NOT.get(family, "its weights are those of the GFM already")
        raise ModelError(f"merge: {model.method} has nothing to fold in: {reason}")
    merged = copy.deepcopy(model).requires_grad_(False)
    for name, module in list(merged.gfm.named_modules()):
        if isinstance(module, LoRALinear):
            merged.gfm.set_submodule(name, module.merge())
    merged.merged = True
    return merged
