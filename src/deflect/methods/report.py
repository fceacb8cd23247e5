"""Parameter counts of GFM and adapter, without the head."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch

from deflect.bands import SENTINEL2, BandSet, BandStatistics
from deflect.gfms import CARDS, GFMCard, build
from deflect.gfms.card import near_size
from deflect.gfms.vit import ViT
from deflect.methods.base import AdaptedGFM
from deflect.methods.registry import adapt_as, method_config

SO2SAT = SENTINEL2.subset(["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])


@dataclass(frozen=True)
class ParameterReport:
    """Counts of one adapted GFM.

    gfm_params: parameters of the original RGB GFM, including patch embedding and positions.
    tuned_params: trainable parameters of the adapted encoder.
    tuned_percent: 100 * tuned_params / gfm_params, the paper's "share of GFM parameters tuned".
    modules: trainable parameters by name, with ``*`` for the block.
    """

    gfm_params: int
    tuned_params: int
    tuned_percent: float
    modules: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def parameter_report(model: AdaptedGFM) -> ParameterReport:
    places: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            places[re.sub(r"\.\d+\.", ".*.", name)] += parameter.numel()
    tuned = sum(places.values())
    return ParameterReport(model.gfm_params, tuned, 100 * tuned / model.gfm_params, dict(places))


def published_report(
    method: str, settings: dict[str, Any], gfm: str = "scale_mae", bands: BandSet = SO2SAT, size: str = "full"
) -> ParameterReport:
    """Counts of ``method`` on a published GFM, without allocating its weights."""
    return parameter_report(published_model(method, settings, gfm, bands, size))


def published_model(
    method: str, settings: dict[str, Any], gfm: str = "scale_mae", bands: BandSet = SO2SAT, size: str = "full"
) -> AdaptedGFM:
    """A published GFM adapted by ``method``, without its weights (on the meta device)."""
    return model_of(CARDS[gfm, size], method, settings, bands)


def model_of(card: GFMCard, method: str, settings: dict[str, Any], bands: BandSet = SO2SAT) -> AdaptedGFM:
    """The GFM of ``card`` adapted by ``method``, without its weights (on the meta device)."""
    statistics = BandStatistics((0.0,) * len(bands), (1.0,) * len(bands))
    with warnings.catch_warnings():  # of torch and peft: meta tensors are not initialised
        warnings.simplefilter("ignore")
        return adapt_as(_bare(card), method, method_config(method, **settings), bands, statistics)


@cache
def _bare(card: GFMCard) -> ViT:
    with torch.device("meta"):
        return build(card, img_size=near_size(224, card.architecture["patch_size"]))
