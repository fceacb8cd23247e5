"""How many parameters a method tunes: GFM and adapter counted separately, the head never."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from deflect.methods.base import AdaptedGFM


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
