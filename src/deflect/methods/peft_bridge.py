"""Any method of the ``peft`` library that adapts linear layers, by name: ``peft:dora``, ``peft:ia3``, ``peft:vera``.

https://github.com/huggingface/peft. The library is imported only when such a method is asked for.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from deflect.errors import MethodError
from deflect.methods.fingerprint import weight_samples
from deflect.methods.selective import train_widened_patch_embed
from deflect.settings.methods import PeftConfig

if TYPE_CHECKING:
    from deflect.methods.base import AdaptedGFM

#: Names that ``peft`` offers as an option of another method.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dora": ("lora", {"use_dora": True}),
    "rslora": ("lora", {"use_rslora": True}),
}

#: Methods that accept linear layers and then do something else with them, and why they are refused.
REFUSED = {
    "ln_tuning": "it would tune the linear layers in full; use norm_tuning",
    "poly": "it mixes adapters by task and wants a task number with every image",
    "trainable_tokens": "it tunes rows of a word embedding, which an image model does not have",
}


def apply(model: AdaptedGFM, config: PeftConfig) -> None:
    """Let the library change the layers of the GFM in place.

    Raises:
        MethodError: no layer matches, frozen weights would change, or nothing is left to train.
    """
    from peft import get_peft_model

    before = weight_samples(model.gfm)
    try:
        get_peft_model(model.gfm, _library_config(config))
    except ValueError as error:  # e.g. no layer matches
        raise MethodError(f"peft:{config.name}: {error}") from error
    after = weight_samples(model.gfm)
    if any(after.get(name) != sample for name, sample in before.items()):
        raise MethodError(f"peft:{config.name}: these options rewrite frozen weights (as PiSSA does); choose others")
    if not model.trainable_names():
        raise MethodError(f"peft:{config.name}: no parameter to train")
    train_widened_patch_embed(model)


def _library_config(config: PeftConfig) -> Any:
    """The configuration object of ``peft``.

    Raises:
        MethodError: there is no such method, it does not adapt layers, or an option is unknown.
    """
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    if reason := REFUSED.get(config.name.lower()):
        raise MethodError(f"peft:{config.name}: {reason}")
    kind, variant = VARIANTS.get(config.name.lower(), (config.name, {}))
    classes = {kind.value.lower(): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    usable = {name: cls for name, cls in classes.items() if "target_modules" in _field_names(cls)}
    if kind.lower() not in usable:
        raise MethodError(f"peft:{config.name}: not a layer-wise method of peft; known: {', '.join(sorted(usable))}")
    cls = usable[kind.lower()]
    given = {"target_modules": _pattern(config.targets), **variant, **config.options}
    if "feedforward_modules" in _field_names(cls):  # IA3 scales the input of the second MLP layer
        given.setdefault("feedforward_modules", _pattern(config.targets[-1:]))
    unknown = set(given) - _field_names(cls)
    if unknown:
        raise MethodError(f"peft:{config.name}: unknown options {', '.join(sorted(unknown))} for {cls.__name__}")
    return cls(**given)


def _pattern(targets: tuple[str, ...]) -> str:
    """Inside the blocks only: the patch embedding has a layer called ``proj`` too."""
    return rf"blocks\.\d+\.(.*\.)?({'|'.join(targets)})"


def _field_names(cls: Any) -> set[str]:
    return {f.name for f in fields(cls)}
