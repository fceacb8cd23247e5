"""Disk space and downloads that a study needs, from its configuration, the catalog and the models."""

from __future__ import annotations

import json
import math
from functools import cache

import numpy as np
import torch

from deflect.data.card import LABEL_TYPES, label_shape
from deflect.data.catalog import DatasetSheet, dataset_sheet
from deflect.data.disk import human
from deflect.gfms import GFMCard
from deflect.gfms.own import card_in
from deflect.methods import AdaptedGFM, parameter_report
from deflect.methods.report import model_of
from deflect.settings import DATASETS
from deflect.settings.study import Config, RunName, Study
from deflect.settings.training import TrainSettings
from deflect.training.model import build_head

FLOAT = 4
#: Predictions, history, record and cards of a run.
SMALL_FILES = 300_000


def disk_needs(config: Config) -> dict[str, int]:
    """Bytes by purpose that a study of published data takes in the end.

    A user's own datasets, which exist already, and simulated ones, which are small, are left out.
    """
    study = config.study
    sheets = {name: dataset_sheet(name) for name in study.datasets if name in DATASETS and not study.simulated}
    sizes = {gfm: gfm_bytes(card_in(study, gfm)) for gfm in study.gfms}
    return {
        "downloads and unpacked files": sum(map(raw_bytes, sheets.values())),
        "prepared data": sum(map(store_bytes, sheets.values())),
        # the converted file, and the download, which holds a decoder or a teacher as well if it is a published one
        "weights of the GFMs": sum(size * (1 + _downloads(study, gfm)) for gfm, size in sizes.items()),
        "runs": sum(_run_bytes(config, sheets[run.dataset], run) for run in study.runs() if run.dataset in sheets),
        "checkpoint of the largest run": 4 * max(sizes.values()) if "full" in study.methods and sheets else 0,
    }


def download_bytes(config: Config) -> tuple[int, int]:
    """Bytes of the archives and of the weights to download; an archive of unpublished size counts as unpacked."""
    study = config.study
    sources = [dataset_sheet(name).source for name in study.datasets if name in DATASETS and not study.simulated]
    weights = sum(_downloads(study, gfm) * gfm_bytes(card_in(study, gfm)) for gfm in study.gfms)
    return sum(source.bytes or source.unpacked_bytes or 0 for source in sources), weights


def _downloads(study: Study, gfm: str) -> int:
    """The size of a GFM's download, as a multiple of its weights."""
    if own := study.own_gfms.get(gfm):
        return int(own.from_hub)
    return 0 if study.gfm_size == "mini" else 2


def needs_line(config: Config) -> str:
    """The disk space in words."""
    needs = disk_needs(config)
    if config.study.simulated:
        return f"study {config.study.name}, on simulated data, takes {simulated_disk(config)}"
    parts = ", ".join(f"{what} {human(size)}" for what, size in needs.items() if size)
    return f"study {config.study.name} takes about {human(sum(needs.values()))} ({parts})"


def simulated_disk(config: Config) -> str:
    """The disk space of a study on simulated data, in words."""
    own = f" besides {human(sum(disk_needs(config).values()))} of weights" if config.study.own_gfms else ""
    return f"less than 1 GB{own}"


def raw_bytes(sheet: DatasetSheet) -> int:
    """The archive, where its size is published, and the unpacked files."""
    return (sheet.source.bytes or 0) + (sheet.source.unpacked_bytes or 0)


def store_bytes(sheet: DatasetSheet) -> int:
    """Pixels and labels as a store keeps them."""
    images, pixels, labels = sum(sheet.splits.values()), sheet.image_size**2, np.dtype(LABEL_TYPES[sheet.task])
    label = math.prod(label_shape(sheet.task, len(sheet.classes), sheet.image_size)) * labels.itemsize
    return images * (len(sheet.bands) * pixels * (1 if "uint8" in sheet.unit else FLOAT) + label)


@cache
def gfm_bytes(card: GFMCard) -> int:
    return FLOAT * model_of(card, "frozen", {}).gfm_params


def _run_bytes(config: Config, sheet: DatasetSheet, run: RunName) -> int:
    study, method = config.study, config.method(run.method)
    adapted = _adapted(card_in(study, run.gfm), method.method, json.dumps(method.settings))
    numbers = 0
    if study.keeps_weights(run.seed) or method.method == "deflect":
        numbers += parameter_report(adapted).tuned_params
    if study.keeps_weights(run.seed):
        channels = study.training_of(sheet.name, sheet.task).upernet_channels
        numbers += _head(sheet.task, adapted, len(sheet.classes), channels)
    matrices = sheet.splits["test"] * len(sheet.classes) ** 2 // 8 if sheet.task == "segmentation" else 0  # compressed
    return FLOAT * numbers + matrices + SMALL_FILES


@cache
def _adapted(card: GFMCard, method: str, settings: str) -> AdaptedGFM:
    """``settings`` are JSON, because the cache compares them."""
    return model_of(card, method, json.loads(settings))


@cache
def _head(task: str, adapted: AdaptedGFM, classes: int, channels: int) -> int:
    with torch.device("meta"):
        head = build_head(task, adapted, classes, TrainSettings(upernet_channels=channels))
    return sum(value.numel() for value in head.state_dict().values())
