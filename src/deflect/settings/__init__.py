"""Every setting with its type, bounds, default and meaning. Needs no torch.

This module has the known names and imports quickly; the others import pydantic.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

GFM = Literal["scale_mae", "dino_mc", "cross_scale_mae"]
Dataset = Literal["so2sat", "brick_kiln", "forestnet", "burn_scars", "mados", "bigearthnet"]
Task = Literal["classification", "segmentation", "multilabel", "regression", "pixel_regression"]
Split = Literal["train", "val", "test"]
WandbMode = Literal["disabled", "offline", "online"]
#: Statistics of a set of pixels. ``std`` is of the population, ``qNN`` the linearly interpolated percentile.
Statistic = Literal["mean", "std", "min", "max", "q10", "q25", "q75", "q90"]

GFMS: tuple[str, ...] = get_args(GFM)
#: Methods with a name of their own; those of the ``peft`` library are called ``peft:NAME``.
METHODS = (
    *("deflect", "lora", "slr", "norm_tuning", "bitfit", "patch_embed", "frozen"),
    *("spectral_probe", "late_fusion", "full", "vpt"),
)
PEFT = "peft:[a-z0-9_]+"
DATASETS: tuple[str, ...] = get_args(Dataset)
#: Those of the paper; its claims are about them.
PAPER_DATASETS: tuple[Dataset, ...] = ("so2sat", "brick_kiln", "forestnet", "burn_scars", "mados")
TASKS: tuple[str, ...] = get_args(Task)
SPLITS: tuple[str, ...] = get_args(Split)
WANDB_MODES: tuple[str, ...] = get_args(WandbMode)
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
#: The headline metric of each task; higher is better.
METRICS: dict[str, str] = {
    "classification": "f1_macro",
    "segmentation": "mIoU",
    "multilabel": "mAP",
    "regression": "R2",
    "pixel_regression": "R2",
}
#: Tasks with a label for each pixel, and those whose label is a number instead of a class.
PIXEL_TASKS = ("segmentation", "pixel_regression")
REGRESSIONS = ("regression", "pixel_regression")
#: Their metrics in the unit of the target, not fractions.
IN_UNITS = ("RMSE", "MAE")


def is_method(name: str) -> bool:
    """Whether ``name`` is that of a method, such as `lora` or `peft:dora`, and not of a variant."""
    return name in METHODS or re.fullmatch(PEFT, name) is not None
