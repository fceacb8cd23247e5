"""All methods by name, and ``adapt``, which applies one to a GFM."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from deflect.bands import BandSet, BandStatistics
from deflect.errors import ConfigError, ModelError
from deflect.gfms.card import GFMCard
from deflect.gfms.vit import ViT
from deflect.methods import selective
from deflect.methods.base import AdaptedGFM
from deflect.methods.deflect.model import DeflectedGFM
from deflect.methods.inputs import RGBInput
from deflect.methods.late_fusion import LateFusionGFM
from deflect.methods.lora import add_lora
from deflect.methods.peft_bridge import add_peft
from deflect.methods.slr import add_slr
from deflect.methods.spectral_probe import SpectralProbe
from deflect.methods.vpt import PromptedGFM
from deflect.settings.methods import CONFIGS, MethodConfig, read_settings

#: Methods with another forward pass than the GFM's.
MODELS: dict[str, type[AdaptedGFM]] = {
    "deflect": DeflectedGFM,
    "spectral_probe": SpectralProbe,
    "late_fusion": LateFusionGFM,
    "vpt": PromptedGFM,
}

#: Functions that add or release parameters of a frozen GFM, for the other methods; ``frozen`` needs none.
CHANGES: dict[str, Callable[[AdaptedGFM], None]] = {
    "lora": add_lora,
    "slr": add_slr,
    "peft": add_peft,
    "norm_tuning": selective.tune_norms,
    "bitfit": selective.tune_biases,
    "patch_embed": selective.tune_patch_embed,
    "full": selective.tune_all,
}


def method_config(method: str, **settings: Any) -> MethodConfig:
    """The validated configuration of ``method``, which may be ``peft:NAME``; errors are ModelErrors."""
    family, _, name = method.partition(":")
    if family not in CONFIGS or (family == "peft") != bool(name):
        known = ", ".join(m for m in CONFIGS if m != "peft")
        raise ModelError(f"unknown method {method!r}; known: {known}, peft:NAME")
    try:
        return read_settings(method, settings, method)
    except ConfigError as error:
        raise ModelError(str(error)) from None


def adapt(
    gfm: ViT,
    method: str,
    bands: BandSet,
    statistics: BandStatistics | None = None,
    card: GFMCard | None = None,
    **settings: Any,
) -> AdaptedGFM:
    """A copy of ``gfm`` that takes reflectance of ``bands`` and is tuned by ``method``.

    Args:
        gfm: any timm VisionTransformer or Eva for RGB images; it is not changed.
        method: a name in ``deflect.settings.methods.CONFIGS``, or ``peft:NAME``.
        bands: the bands of the images, in the order of their channels, including red, green and blue.
        statistics: per band, over the training split; needed if extra bands enter the patch embedding.
        card: how the GFM was pretrained; by default the GFM's ``card``, timm's ``pretrained_cfg`` or ImageNet's values.
        settings: fields of the method's configuration.

    Raises:
        ModelError: the method or a setting is invalid, or there is nothing to adapt in this GFM.
        ConfigError: a band is missing.
    """
    return adapt_as(gfm, method, method_config(method, **settings), bands, statistics, card)


def adapt_as(
    gfm: ViT,
    method: str,
    config: MethodConfig,
    bands: BandSet,
    statistics: BandStatistics | None = None,
    card: GFMCard | RGBInput | None = None,
) -> AdaptedGFM:
    """``adapt`` with a configuration object, whose field ``bands`` (all or rgb) can be set too."""
    if not isinstance(gfm, ViT):
        raise ModelError(f"expected a timm VisionTransformer or Eva, found {type(gfm).__name__}")
    if not isinstance(bands, BandSet):
        raise ModelError(f"bands: expected a BandSet, see deflect.bandset(sensor, names), found {bands!r}")
    device, gfm = next(gfm.parameters()).device, copy.deepcopy(gfm)
    if card is not None and not isinstance(card, RGBInput):
        gfm.card = card  # type: ignore[assignment]
    rgb = card if isinstance(card, RGBInput) else RGBInput.of(gfm)
    family = method.partition(":")[0]
    model = MODELS.get(family, AdaptedGFM)(gfm, method, config, bands, statistics, rgb)
    if family in CHANGES:
        CHANGES[family](model)
    if len(model.channels.inner) > 3 and getattr(config, "train_patch_embed", family != "frozen"):
        selective.tune_patch_embed(model)
    model.released = frozenset(model.trainable_names())
    return model.to(device)
