"""The geospatial foundation models: cards, models, weights and mini pretraining.

Whatever imports timm, which takes seconds, is loaded on first use: the command line needs only the cards.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deflect.gfms.card import CARDS, GFMS, GFMCard, gfm_card, taps

if TYPE_CHECKING:
    from deflect.gfms.vit import build, card_of, count_parameters, scale_rgb
    from deflect.gfms.weights import load_gfm

_VIT = ("build", "card_of", "count_parameters", "scale_rgb")
__all__ = ["CARDS", "GFMS", "GFMCard", "gfm_card", "load_gfm", "taps"]
__all__ += ["build", "card_of", "count_parameters", "scale_rgb"]


def __getattr__(name: str) -> Any:
    if name not in (*_VIT, "load_gfm"):
        raise AttributeError(f"module 'deflect.gfms' has no attribute {name!r}")
    return getattr(import_module("deflect.gfms.vit" if name in _VIT else "deflect.gfms.weights"), name)
