"""Every setting with its type, bounds, default and meaning. Needs no torch.

This module has the known names and imports quickly; the others import pydantic.
"""

from __future__ import annotations

from typing import Literal, get_args

GFM = Literal["scale_mae", "dino_mc", "cross_scale_mae"]
Method = Literal[
    "deflect", "lora", "slr", "norm_tuning", "bitfit", "patch_embed", "frozen", "spectral_probe", "late_fusion", "full"
]
Dataset = Literal["so2sat", "brick_kiln", "forestnet", "burn_scars", "mados"]
Task = Literal["classification", "segmentation"]
Split = Literal["train", "val", "test"]
WandbMode = Literal["disabled", "offline", "online"]
#: Statistics of a set of pixels. ``std`` is of the population, ``qNN`` the linearly interpolated percentile.
Statistic = Literal["mean", "std", "min", "max", "q10", "q25", "q75", "q90"]

GFMS: tuple[str, ...] = get_args(GFM)
METHODS: tuple[str, ...] = get_args(Method)
DATASETS: tuple[str, ...] = get_args(Dataset)
TASKS: tuple[str, ...] = get_args(Task)
SPLITS: tuple[str, ...] = get_args(Split)
WANDB_MODES: tuple[str, ...] = get_args(WandbMode)
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
#: The headline metric of each task.
METRICS: dict[str, str] = {"classification": "f1_macro", "segmentation": "mIoU"}
