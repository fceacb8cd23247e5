"""From published files to the prepared store: read, check, write.

Memory stays at about one shard per process whatever the size of the dataset. An interrupted run is resumed, and the
same files give the same bytes. The store gets its final name after all checks. A store that was made from the same
files by the same code is kept.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandStatistics
from deflect.data import checks
from deflect.data.card import StoreCard, write_card
from deflect.data.catalog import DATASETS, DatasetSheet
from deflect.data.disk import lock
from deflect.data.finish import finish_split, finished, refuse_other_files, take_final_name
from deflect.data.readers import read_every, sheet_for
from deflect.data.readers.base import RawDataset
from deflect.data.shards import Plan, create, make_plan, read_notes, write_shards
from deflect.data.simulate import MARKER
from deflect.data.statistics import band_statistics, image_sums, target_statistics, total
from deflect.fingerprint import code_sha256
from deflect.settings import REGRESSIONS

#: Training images that are compared with the published statistics before any is written.
SAMPLE = 64


def prepare(
    dataset: str,
    raw: Path | str,
    out: Path | str,
    *,
    simulated: bool = False,
    check_published: bool = True,
    jobs: int = 1,
    sheet: DatasetSheet | None = None,
) -> StoreCard:
    """Prepare ``dataset`` from the published files in ``raw`` into the store ``out``.

    Args:
        simulated: the files were written by the simulator: sizes and statistics are not checked, and the card records
            it. The simulator's marker file in ``raw`` has the same effect, so that its files never pass for real ones.
            A user's own data is real in every study.
        check_published: compare sizes and statistics with the catalog and refuse copies of images between splits.
            False accepts published files as they are.
        jobs: processes; 0 uses one per available core.
        sheet: another data sheet than the catalog's, such as ``AS_PUBLISHED["brick_kiln"]``.
    """
    raw, out = Path(raw), Path(out)
    plan, made_from = _plan(dataset, raw, out, simulated, check_published, sheet)
    splits, size, sheet, simulated = plan.raw, plan.shape[1], plan.raw["train"].sheet, made_from["simulated"]
    with lock(out.parent, out.name):
        if kept := finished(out, made_from):
            return kept
        _begin(plan, made_from, raw)
        write_shards(plan, jobs or _cores())
        notes = read_notes(plan)
        statistics = _check(splits, notes, size, raw, refuse_copies=check_published)
        if _as_published(sheet, made_from):
            checks.check_published(sheet, statistics, raw)
        card = StoreCard(
            name=dataset,
            task=sheet.task,
            bands=sheet.bands,
            classes=sheet.classes,
            image_size=size,
            gsd=sheet.gsd,
            scale=tuple(scale for scale, _ in sheet.calibration) or sheet.scale,
            offset=tuple(offset for _, offset in sheet.calibration) or sheet.offset,
            nodata=tuple(value for value in sheet.nodata if math.isfinite(value)),
            metric=sheet.metric,
            splits={split: finish_split(plan.work, split, images) for split, images in splits.items()},
            statistics=statistics,
            simulated=simulated,
            source="simulated by deflect" if simulated else sheet.source.url or sheet.citation,
            unchecked=not check_published and dataset in DATASETS,
            target=_target(sheet, notes, raw),
        )
        write_card(plan.work, card)
        take_final_name(plan.work, out, made_from)
    return card


def prepare_part(
    dataset: str,
    raw: Path | str,
    out: Path | str,
    part: int,
    parts: int,
    *,
    simulated: bool = False,
    check_published: bool = True,
    jobs: int = 1,
    sheet: DatasetSheet | None = None,
) -> None:
    """One of the ``parts`` of the work of ``prepare``, counted from 1, for a machine of its own.

    ``prepare`` then finds what is prepared, and does the rest: what is missing or damaged, the checks, and the card.
    """
    raw, out = Path(raw), Path(out)
    plan, made_from = _plan(dataset, raw, out, simulated, check_published, sheet)
    with lock(out.parent, out.name):
        if finished(out, made_from):
            return
        _begin(plan, made_from, raw)
    with lock(out.parent, out.name, shared=True):
        if plan.work.exists():  # else another process has finished the store
            write_shards(plan, jobs or _cores(), part, parts)


def _plan(
    dataset: str, raw: Path, out: Path, simulated: bool, check_published: bool, sheet: DatasetSheet | None
) -> tuple[Plan, dict[str, Any]]:
    """What is to be written, and what a store is made from."""
    simulated = (simulated and dataset in DATASETS) or (raw / MARKER).is_file()
    sheet = sheet or sheet_for(dataset, raw)
    splits = read_every(dataset, raw, sheet)
    checks.check_ids({split: images.ids for split, images in splits.items()}, raw)
    refuse_other_files(out)
    plan, code = make_plan(splits, out), code_sha256("prepare")
    return plan, {"plan": plan.work.name, "code": code, "checked": check_published, "simulated": simulated}


def _as_published(sheet: DatasetSheet, made_from: dict[str, Any]) -> bool:
    """Whether sizes and statistics are compared with the catalog."""
    return made_from["checked"] and not made_from["simulated"] and sheet.name in DATASETS


def _begin(plan: Plan, made_from: dict[str, Any], raw: Path) -> None:
    """Compare sizes and a sample with the catalog, and create the arrays."""
    images = plan.raw["train"]
    if _as_published(images.sheet, made_from):
        checks.check_sizes(images.sheet, plan.sizes, plan.shape[1], raw)
        _check_sample(images, raw)
    create(plan)


def _check_sample(images: RawDataset, raw: Path) -> None:
    """Compare a few images with the published statistics, before spending hours on all of them."""
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int)).tolist()
    sums = [image_sums(images.sheet, *images.load_measured(row)) for row in rows]
    found = band_statistics(images.sheet, sums, raw)
    checks.check_published(images.sheet, found, raw, sample=len(rows))


def _check(
    splits: dict[str, RawDataset], notes: dict[str, list[dict[str, Any]]], size: int, raw: Path, refuse_copies: bool
) -> BandStatistics:
    """All checks that need every image; returns the statistics of the training split."""
    sheet = splits["train"].sheet
    ids = {split: images.ids for split, images in splits.items()}
    hashes = {split: np.concatenate([note["hashes"] for note in shards]) for split, shards in notes.items()}
    checks.check_copies(ids, hashes, raw, refuse_copies)
    checks.check_labels(sheet, {split: total(shards, "labelled") for split, shards in notes.items()}, raw)
    statistics = band_statistics(sheet, notes["train"], raw)
    if sheet.name not in DATASETS:
        checks.check_dark(int(total(notes["train"], "dark")), raw)
    outside = {split: total(shards, "outside") / (len(ids[split]) * size**2) for split, shards in notes.items()}
    checks.check_reflectance(sheet, statistics, outside, raw)
    return statistics


def _target(sheet: DatasetSheet, notes: dict[str, list[dict[str, Any]]], raw: Path) -> tuple[float, float] | None:
    """Mean and standard deviation of a regression's training labels; those of every split are checked."""
    if sheet.task not in REGRESSIONS:
        return None
    return {split: target_statistics(sheet, shards, raw, split) for split, shards in notes.items()}["train"]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS
