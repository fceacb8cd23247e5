"""How many parameters a method tunes: GFM and adapter counted separately, the head never."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from deflect.bands import SENTINEL2, BandSet, BandStatistics
from deflect.gfms import CARDS, build
from deflect.methods.base import AdaptedGFM
from deflect.methods.registry import adapt_as, method_config

SO2SAT = SENTINEL2.subset(["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])


@dataclass(frozen=True)
class ParameterReport:
    """Counts of one adapted GFM.

    gfm_params: numbers in the frozen RGB GFM, its patch embedding and positions included.
    tuned_params: trainable numbers of the adapted encoder.
    tuned_percent: 100 * tuned_params / gfm_params, the paper's "share of GFM parameters tuned".
    modules: trainable numbers by place, with ``*`` for the block.
    """

    gfm_params: int
    tuned_params: int
    tuned_percent: float
    modules: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def parameter_report(model: AdaptedGFM) -> ParameterReport:
    """Count the parameters of ``model``."""
    places: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            places[re.sub(r"\.\d+\.", ".*.", name)] += parameter.numel()
    tuned = sum(places.values())
    return ParameterReport(model.gfm_params, tuned, 100 * tuned / model.gfm_params, dict(places))


def published_report(
    method: str, settings: dict[str, Any], gfm: str = "scale_mae", bands: BandSet = SO2SAT, size: str = "full"
) -> ParameterReport:
    """Counts of ``method`` on a published GFM, whose weights are never allocated."""
    statistics = BandStatistics((0.0,) * len(bands), (1.0,) * len(bands))
    with warnings.catch_warnings():  # torch and peft remark that tensors without memory are not initialised
        warnings.simplefilter("ignore")
        config = method_config(method, **settings)
        return parameter_report(adapt_as(_bare(gfm, size), method, config, bands, statistics))


@cache
def _bare(gfm: str, size: str) -> VisionTransformer:
    with torch.device("meta"):
        return build(CARDS[gfm, size], img_size=224)
