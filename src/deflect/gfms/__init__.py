"""The geospatial foundation models: data sheets, models, weights and mini pretraining.

The models are loaded on first use, because timm takes seconds to import and the command line needs only data sheets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deflect.gfms.card import CARDS, GFMS, GFMCard, gfm_card, taps

if TYPE_CHECKING:
    from deflect.gfms.vit import build, card_of, count_parameters, scale_rgb
    from deflect.gfms.weights import load_gfm

_HOME = {"load_gfm": "weights", "build": "vit", "card_of": "vit", "count_parameters": "vit", "scale_rgb": "vit"}
__all__ = [
    "CARDS",
    "GFMS",
    "GFMCard",
    "ModelError",
    "build",
    "card_of",
    "count_parameters",
    "gfm_card",
    "load_gfm",
    "scale_rgb",
    "taps",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'deflect.gfms' has no attribute {name!r}")
    return getattr(import_module(f"deflect.gfms.{_HOME[name]}"), name)
