"""Settings of DEFLECT. The paper's exact values are not known; every default here is a stated reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from deflect.methods.config import MethodConfig, MethodError, check_choice, check_positive
from deflect.spectral import STATISTICS

Features = Literal["indices", "bands", "both"]
Constraint = Literal["hard", "soft", "none"]

#: Two budgets of the paper on Scale-MAE: 0.20 % of the GFM's parameters (its Table 2) and 0.28 % (its Table 4).
#: The shares are the paper's, how they divide between attention and T is not known.
SETTINGS: dict[str, dict[str, Any]] = {
    "table2": {"rank": 4, "hidden": 32},
    "table4": {"rank": 5, "hidden": 96},
}


@dataclass(frozen=True, kw_only=True)
class DeflectConfig(MethodConfig):
    """Settings of DEFLECT; the defaults are ``SETTINGS["table2"]``.

    rank: width r of the low-rank maps that give q_A, k_A and v_A.
    hidden: width of the bottleneck in T (with a GELU); ``None`` makes T one linear map.
    features: what a pixel is described by: spectral indices, band reflectances, or both.
    indices: names of the spectral indices; ``all`` takes every one that the bands allow.
    statistics: what a patch keeps of the features of its pixels.
    norm_matching: give every spectral token the length of its spatial token z_P(0).
    attention: untangled attention in the blocks. Without it the spectral tokens are added once to the spatial
        ones, through a gate per channel that starts at zero, and ``constraint`` acts on that sum.
    constraint: ``hard`` gives every displacement its pretrained length, ``soft`` asks for it in the loss, ``none``
        leaves it free.
    soft_weight: factor of the soft constraint in the loss.
    blocks: 0-based blocks with untangled attention.
    standardise: z-score the descriptors with statistics of the training split (``calibrate``).
    length_gradient: let gradients flow through the pretrained length too. Without it, as by default, the length is
        a constant of the step, which spares the backward pass of the second attention.
    init_std: standard deviation of the down-projections at the start; up-projections start at zero.
    """

    rank: int = 4
    hidden: int | None = 32
    features: Features = "both"
    indices: tuple[str, ...] | Literal["all"] = "all"
    statistics: tuple[str, ...] = STATISTICS
    norm_matching: bool = True
    attention: bool = True
    constraint: Constraint = "hard"
    soft_weight: float = 1.0
    blocks: tuple[int, ...] | Literal["all"] = "all"
    standardise: bool = True
    length_gradient: bool = False
    init_std: float = 1.0
    #: The GFM itself sees RGB alone; extra bands enter through the spectral path.
    widens_patch_embed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(rank=self.rank, soft_weight=self.soft_weight, init_std=self.init_std)
        if self.hidden is not None:
            check_positive(hidden=self.hidden)
        check_choice("features", self.features, get_args(Features))
        check_choice("constraint", self.constraint, get_args(Constraint))
        for field in ("indices", "statistics", "blocks"):
            self._check_tuple(field)
        for name in self.statistics:
            check_choice("statistics", name, STATISTICS)

    def _check_tuple(self, field: str) -> None:
        value = getattr(self, field)
        if value == "all" and field != "statistics":
            return
        if isinstance(value, str) or not value or len(set(value)) != len(value):
            raise MethodError(f"{field}: expected a list without repeats, found {value!r}")
        object.__setattr__(self, field, tuple(value))
