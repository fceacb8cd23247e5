"""Any method of the ``peft`` library that adapts linear layers, by name: ``peft:dora``, ``peft:ia3``, ``peft:vera``.

The library (https://github.com/huggingface/peft) is imported only when it is used.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

from deflect.errors import ModelError
from deflect.gfms.vit import ViT
from deflect.methods.base import AdaptedGFM
from deflect.methods.blocks import call_replaced_qkv, layers
from deflect.methods.fingerprint import weight_samples
from deflect.settings.methods import PeftConfig

#: Names of methods that are an option of another method in ``peft``.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dora": ("lora", {"use_dora": True}),
    "rslora": ("lora", {"use_rslora": True}),
}

#: Methods that accept linear layers but do not adapt them, and why they are refused.
REFUSED = {
    "ln_tuning": "it would tune the linear layers in full; use norm_tuning",
    "poly": "it mixes adapters by task and wants a task number with every image",
    "trainable_tokens": "it tunes rows of a word embedding, which an image model does not have",
}

#: Options that make ``peft`` import the module that they name; the cards of adapters contain options.
IMPORTING = {"megatron_config", "megatron_core"}


def add_peft(model: AdaptedGFM) -> None:
    """Let ``peft`` replace layers of the GFM in place."""
    from peft import get_peft_model

    config = cast(PeftConfig, model.config)
    before = weight_samples(model.gfm)
    try:
        get_peft_model(model.gfm, library_config(config, model.gfm))
    except ValueError as error:  # e.g. no layer matches
        raise ModelError(f"peft:{config.name}: {error}") from error
    call_replaced_qkv(model.gfm)
    after = weight_samples(model.gfm)
    if any(after.get(name) != sample for name, sample in before.items()):
        raise ModelError(f"peft:{config.name}: these options rewrite frozen weights (as PiSSA does); choose others")
    if not model.trainable_names():
        raise ModelError(f"peft:{config.name}: no parameter to train")


def library_config(config: PeftConfig, gfm: ViT) -> Any:
    """The configuration object of ``peft``; an unknown method or option is a ModelError."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    name = config.name.lower()
    if reason := REFUSED.get(name):
        raise ModelError(f"peft:{config.name}: {reason}")
    method, variant = VARIANTS.get(name, (name, {}))
    classes = {method.value.lower(): cls for method, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    usable = {method: cls for method, cls in classes.items() if "target_modules" in _field_names(cls)}
    if method not in usable:
        raise ModelError(f"peft:{config.name}: not a layer-wise method of peft; known: {', '.join(sorted(usable))}")
    cls = usable[method]
    given = {"target_modules": _pattern(layers(gfm, config.targets)), **variant, **config.options}
    if "feedforward_modules" in _field_names(cls):  # IA3 scales the input of the second MLP layer
        given.setdefault("feedforward_modules", _pattern(layers(gfm, config.targets[-1:])))
    if unknown := set(given) - (_field_names(cls) - IMPORTING):
        raise ModelError(f"peft:{config.name}: unknown options {', '.join(sorted(unknown))} for {cls.__name__}")
    return cls(**given)


def _pattern(targets: tuple[str, ...]) -> str:
    """Layers of blocks only: the patch embedding has a ``proj`` too."""
    return rf"blocks\.\d+\.(.*\.)?({'|'.join(targets)})"


def _field_names(cls: Any) -> set[str]:
    return {f.name for f in fields(cls)}
