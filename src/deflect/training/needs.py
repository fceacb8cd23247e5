"""Disk space and CPU time that a study takes, from its configuration, the catalog and the models."""

from __future__ import annotations

import itertools
import json
import math
from functools import cache

import torch

from deflect.data.catalog import DatasetSheet, dataset_sheet
from deflect.data.disk import human
from deflect.gfms import CARDS, taps
from deflect.methods.report import published_report
from deflect.settings import DATASETS
from deflect.settings.study import Config, Study
from deflect.settings.training import TrainSettings
from deflect.training.model import build_head

FLOAT = 4
#: Predictions, history, record and cards of a run.
SMALL_FILES = 300_000
#: CPU seconds of one image in a training step of DEFLECT in bf16: Scale-MAE's measured at batch 8, the others' in the
#: proportion of the steps in docs/performance.md.
CORE_SECONDS = {"scale_mae": 1.75, "cross_scale_mae": 0.55, "dino_mc": 0.84}


def disk_needs(config: Config) -> dict[str, int]:
    """Bytes by what they are for, at the end of a study of published data on which nothing has run yet.

    Datasets of the user's own and simulated ones are there or small, and are left out.
    """
    study = config.study
    sheets = [dataset_sheet(name) for name in study.datasets if name in DATASETS and not study.simulated]
    sizes = {gfm: gfm_bytes(gfm, study.size_of(gfm)) for gfm in study.gfms}
    return {
        "downloads and unpacked files": sum(map(raw_bytes, sheets)),
        "prepared data": sum(map(store_bytes, sheets)),
        # the converted file, and the download, which holds a decoder or a teacher as well
        "weights of the GFMs": sum(sizes.values()) * (1 if study.gfm_size == "mini" else 3),
        "runs": sum(_run_bytes(config, sheet, *run) for sheet in sheets for run in _runs(study, sheet.name)),
        "checkpoint of the largest run": 4 * max(sizes.values()) if "full" in study.methods and sheets else 0,
    }


def core_hours(config: Config) -> float:
    """About how many hours of one CPU core training full GFMs on published datasets would take; 0 for mini ones."""
    study, seconds = config.study, 0.0
    for sheet in [dataset_sheet(name) for name in study.datasets if name in DATASETS]:
        epochs = TrainSettings.from_dict(study.training_of(sheet.name, sheet.task)).epochs
        images = epochs * sheet.splits["train"]
        seconds += sum(images * CORE_SECONDS.get(gfm, 0) for gfm, _, _ in _runs(study, sheet.name))
    return seconds / 3600 if study.gfm_size == "full" else 0.0


def needs_line(config: Config) -> str:
    """What the disk must hold, in words."""
    if config.study.simulated:
        return f"study {config.study.name}, on simulated data, takes less than 1 GB"
    needs = disk_needs(config)
    parts = ", ".join(f"{what} {human(size)}" for what, size in needs.items() if size)
    return f"study {config.study.name} takes about {human(sum(needs.values()))} ({parts})"


def raw_bytes(sheet: DatasetSheet) -> int:
    """The archive, where its size is published, and the unpacked files."""
    return (sheet.source.bytes or 0) + (sheet.source.unpacked_bytes or 0)


def store_bytes(sheet: DatasetSheet) -> int:
    """Pixels and labels as a store keeps them."""
    images, pixels = sum(sheet.splits.values()), sheet.image_size**2
    label = 8 if sheet.task == "classification" else pixels
    return images * (len(sheet.bands) * pixels * (1 if "uint8" in sheet.unit else FLOAT) + label)


@cache
def gfm_bytes(gfm: str, size: str) -> int:
    return FLOAT * published_report("frozen", {}, gfm, size=size).gfm_params


def _runs(study: Study, dataset: str) -> list[tuple[str, str, int]]:
    """GFM, method or variant, and seed of every run on a dataset."""
    variants = study.variants
    runs: list[tuple[str, str, int]] = list(itertools.product(study.gfms, study.methods, study.seeds))
    if dataset in variants.datasets:
        runs += itertools.product(variants.gfms, variants.settings, variants.seeds or study.seeds)
    return runs


def _run_bytes(config: Config, sheet: DatasetSheet, gfm: str, name: str, seed: int) -> int:
    study, method = config.study, config.method(name)
    settings = TrainSettings.from_dict(study.training_of(sheet.name, sheet.task))
    size = study.size_of(gfm)
    keeps = study.keeps_weights(seed)
    adapter = head = 0
    if keeps or method.method == "deflect":
        adapter = _tuned(gfm, size, method.method, json.dumps(method.settings))
    if keeps:
        head = _head(sheet.task, gfm, size, len(sheet.classes), settings.upernet_channels)
    matrices = sheet.splits["test"] * len(sheet.classes) ** 2 // 8 if sheet.task == "segmentation" else 0  # compressed
    return FLOAT * (adapter + head) + matrices + SMALL_FILES


@cache
def _tuned(gfm: str, size: str, method: str, settings: str) -> int:
    """``settings`` as JSON, by which the cache can compare them."""
    return published_report(method, json.loads(settings), gfm, size=size).tuned_params


@cache
def _head(task: str, gfm: str, size: str, classes: int, channels: int) -> int:
    shape = CARDS[gfm, size].architecture
    settings = TrainSettings(upernet_channels=channels)
    with torch.device("meta"):
        head = build_head(task, shape["embed_dim"], len(taps(shape["depth"])), classes, settings)
    return sum(math.prod(p.shape) for p in head.state_dict().values())
