"""From published files to the prepared store: read, check, write.

Memory stays at about one shard per process whatever the size of the dataset. An interrupted run is resumed, and the
same files give the same bytes. The store gets its final name after all checks. A store that was made from the same
files by the same code is kept.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandStatistics
from deflect.data import checks
from deflect.data.card import (
    CARD,
    FRACTIONS,
    PARTS,
    StoreCard,
    hash_name,
    read_card,
    verify_files,
    write_card,
    write_ids,
)
from deflect.data.catalog import DATASETS, DatasetSheet
from deflect.data.disk import lock
from deflect.data.readers import read_every, sheet_for
from deflect.data.readers.base import RawDataset
from deflect.data.shards import make_plan, write_shards
from deflect.data.simulate import MARKER
from deflect.data.statistics import band_statistics, image_sums, target_statistics, total
from deflect.errors import DataError
from deflect.files import read_json, sha256_file, write_json
from deflect.fingerprint import code_sha256
from deflect.settings import REGRESSIONS, SPLITS

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
    simulated = (simulated and dataset in DATASETS) or (raw / MARKER).is_file()
    sheet = sheet or sheet_for(dataset, raw)
    splits = read_every(dataset, raw, sheet)
    checks.check_ids({split: images.ids for split, images in splits.items()}, raw)
    _refuse_other_files(out)
    with lock(out.parent, out.name):
        plan = make_plan(splits, out)
        size = plan.shape[1]
        as_published = check_published and not simulated and dataset in DATASETS
        code = code_sha256("prepare")
        made_from = {"plan": plan.work.name, "code": code, "checked": check_published, "simulated": simulated}
        if kept := _finished(out, made_from):
            return kept
        if as_published:
            checks.check_sizes(sheet, {split: len(images) for split, images in splits.items()}, size, raw)
            _check_sample(splits["train"], raw)
        notes = write_shards(plan, jobs or _cores())
        statistics = _check(splits, notes, size, raw, refuse_copies=check_published)
        if as_published:
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
            splits={split: _finish(plan.work, split, images) for split, images in splits.items()},
            statistics=statistics,
            simulated=simulated,
            source="simulated by deflect" if simulated else sheet.source.url or sheet.citation,
            unchecked=not check_published and dataset in DATASETS,
            target=_target(sheet, notes, raw),
        )
        write_card(plan.work, card)
        _take_final_name(plan.work, out)
        write_json(_origin(out), made_from)
    return card


def _check_sample(images: RawDataset, raw: Path) -> None:
    """Compare a few images with the published statistics, before spending hours on all of them."""
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int)).tolist()
    sums = [image_sums(images.sheet, *images.load_measured(row)) for row in rows]
    found = band_statistics(images.sheet, sums, raw)
    checks.check_published(images.sheet, found, raw, sample=len(rows))


def _origin(out: Path) -> Path:
    """The note of what a store was made from; outside the store, since it depends on the files' times."""
    return out.parent / ".made_from" / f"{out.name}.json"


def _finished(out: Path, made_from: dict[str, Any]) -> StoreCard | None:
    """The card of the store ``out`` if it was made in the same way; touched, so that a workflow sees it as new."""
    if not (out / CARD).is_file() or not _origin(out).is_file() or read_json(_origin(out)) != made_from:
        return None
    try:
        card = read_card(out)
        verify_files(out, card)
    except DataError:
        return None
    (out / CARD).touch()
    return card


def _check(
    splits: dict[str, RawDataset], notes: dict[str, list[dict[str, Any]]], size: int, raw: Path, refuse_copies: bool
) -> BandStatistics:
    """All checks that need every image; returns the statistics of the training split."""
    sheet = splits["train"].sheet
    ids = {split: images.ids for split, images in splits.items()}
    hashes = {split: [digest for note in shards for digest in note["hashes"]] for split, shards in notes.items()}
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


def _finish(work: Path, split: str, images: RawDataset) -> dict[str, Any]:
    """Write the ids and published subsets of a split, and hash its files."""
    write_ids(work, split, images.ids)
    parts = PARTS
    if subsets := images.published_subsets():
        row = {name: index for index, name in enumerate(images.ids)}
        rows = {str(share): sorted(row[name] for name in names) for share, names in subsets.items()}
        write_json(work / f"{split}.{FRACTIONS}", rows)
        parts = (*PARTS, FRACTIONS)
    return {"n": len(images)} | {hash_name(part): sha256_file(work / f"{split}.{part}") for part in parts}


def _take_final_name(work: Path, out: Path) -> None:
    """Delete the notes of shards, unfinished ones too, and move the folder into place."""
    for note in (*work.glob("*.*-*.json"), *work.glob(".*.part")):
        note.unlink()
    if out.exists():
        shutil.rmtree(out)
    os.replace(work, out)
    for left in out.parent.glob(f".{out.name}.{'[0-9a-f]' * 12}.part"):
        shutil.rmtree(left)


def _refuse_other_files(out: Path) -> None:
    """The whole folder ``out`` is replaced, so it may only contain an older store."""
    own = {CARD} | {f"{split}.{part}" for split in SPLITS for part in (*PARTS, FRACTIONS)}
    others = sorted(path.name for path in out.iterdir() if path.name not in own) if out.is_dir() else []
    if others:
        raise DataError(f"{out}: contains {others[0]!r}, which is no part of a store; choose another folder")
