"""All methods by name, and ``adapt``, which applies one to a GFM."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from timm.models.vision_transformer import VisionTransformer

from deflect.bands import BandSet, BandStatistics
from deflect.errors import ConfigError, MethodError
from deflect.methods import lora, peft_bridge, selective, slr, vpt
from deflect.methods.base import AdaptedGFM
from deflect.methods.deflect.model import DeflectedGFM
from deflect.methods.inputs import RGBInput
from deflect.settings.methods import CONFIGS, MethodConfig
from deflect.settings.reading import read


class Method(NamedTuple):
    """How a method adapts a GFM.

    apply: changes a model in place; its GFM arrives frozen, its patch embedding already fits the bands.
    model: class of the adapted model; most methods change only parameters and layers of the GFM.
    """

    apply: Callable[[AdaptedGFM, Any], None]
    model: type[AdaptedGFM] = AdaptedGFM


METHODS: dict[str, Method] = {
    "deflect": Method(selective.nothing, DeflectedGFM),
    "lora": Method(lora.apply),
    "slr": Method(slr.apply),
    "norm_tuning": Method(selective.norm_tuning),
    "bitfit": Method(selective.bitfit),
    "patch_embed": Method(selective.patch_embed),
    "frozen": Method(selective.nothing),
    "full": Method(selective.full),
    "vpt": Method(vpt.apply, vpt.PromptedGFM),
    "peft": Method(peft_bridge.apply),
}


def method_config(method: str, **settings: Any) -> MethodConfig:
    """The checked settings of ``method``, defaults filled in. ``peft:NAME`` names a method of ``peft``.

    Raises:
        MethodError: the method or a setting is unknown, or a value is not allowed.
    """
    family, _, name = method.partition(":")
    if family not in CONFIGS or (family == "peft") != bool(name):
        known = ", ".join(m for m in CONFIGS if m != "peft")
        raise MethodError(f"unknown method {method!r}; known: {known}, peft:NAME")
    try:
        return read(CONFIGS[family], settings | ({"name": name} if name else {}), method)
    except ConfigError as error:
        raise MethodError(str(error)) from None


def adapt(
    gfm: VisionTransformer,
    method: str,
    bands: BandSet,
    statistics: BandStatistics | None = None,
    card: Any | None = None,
    **settings: Any,
) -> AdaptedGFM:
    """A copy of ``gfm`` that takes images of ``bands`` in reflectance and is tuned by ``method``.

    Args:
        gfm: any timm VisionTransformer that takes RGB images; it is not changed.
        method: a name in ``METHODS``, or ``peft:NAME``.
        bands: the bands of the images, in the order of their channels. Red, green and blue must be among them.
        statistics: per band, over the training split; needed where extra bands enter the patch embedding.
        card: how the GFM was pretrained (a ``GFMCard``); by default the GFM's own ``card``, or else timm's
            ``pretrained_cfg``, or else ImageNet's normalisation.
        settings: fields of the method's configuration.

    Raises:
        MethodError: see ``method_config``; or the method finds nothing to adapt in this GFM.
        BandError: a band is missing.
    """
    return adapt_as(gfm, method, method_config(method, **settings), bands, statistics, card)


def adapt_as(
    gfm: VisionTransformer,
    method: str,
    config: MethodConfig,
    bands: BandSet,
    statistics: BandStatistics | None = None,
    card: Any | None = None,
) -> AdaptedGFM:
    """``adapt`` with a ready configuration; so its own field ``bands`` (all or rgb) can be set too."""
    if not isinstance(gfm, VisionTransformer):
        raise MethodError(f"expected a timm VisionTransformer, found {type(gfm).__name__}")
    if not isinstance(bands, BandSet):
        raise MethodError(f"bands: expected a BandSet, as deflect.bandset(sensor, names) gives, found {bands!r}")
    rgb = RGBInput.of(gfm, card)
    how = METHODS[method.partition(":")[0]]
    model = how.model(copy.deepcopy(gfm), method, config, bands, statistics, rgb)
    how.apply(model, config)
    model.released = frozenset(model.trainable_names())
    model.card = model.card if card is None else card
    return model.to(next(gfm.parameters()).device)
