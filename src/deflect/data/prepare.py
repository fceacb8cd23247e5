"""From published files to the prepared store: read, check, write.

Memory stays at about one shard per process whatever the size of the dataset. A run that was killed goes on where it
stopped, and the same files give the same bytes. Nothing stands under the final name before everything has been checked.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandStatistics
from deflect.data import checks
from deflect.data.card import CARD, SPLITS, StoreCard, write_card, write_ids
from deflect.data.catalog import DATASETS, DatasetSheet
from deflect.data.disk import lock
from deflect.data.readers import read, sheet_for
from deflect.data.readers.base import RawDataset
from deflect.data.shards import Plan, make_plan, write_shards
from deflect.data.simulate import MARKER
from deflect.files import sha256_file


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
        simulated: the files were written by the simulator: sizes and statistics are free, and the card says so. The
            simulator's mark in ``raw`` says so too, so that its files never pass for real ones. A user's own data is
            real in every study.
        check_published: compare sizes and statistics with the catalog and refuse copies of images between splits.
            False takes published files as they are.
        jobs: processes.
        sheet: another data sheet than the catalog's, such as ``AS_PUBLISHED["brick_kiln"]``.

    Raises:
        DeflectError: a file or the dataset as a whole is not as it should be; one line says which and what to do.
    """
    raw, out = Path(raw), Path(out)
    simulated = (simulated and dataset in DATASETS) or (raw / MARKER).is_file()
    sheet = sheet or sheet_for(dataset, raw)
    splits = {split: read(dataset, raw, split, sheet) for split in SPLITS}
    ids = {split: images.ids for split, images in splits.items()}
    checks.check_ids(ids, raw)
    refuse_other_files(out)
    with lock(out.parent, out.name):  # a second one waits
        plan = make_plan(splits, out)
        size = plan.shape[1]
        as_published = check_published and not simulated and dataset in DATASETS
        if as_published:
            checks.check_sizes(sheet, {split: len(names) for split, names in ids.items()}, size, raw)
        notes = write_shards(plan, jobs)
        statistics = _check(plan, notes, raw, refuse_copies=check_published)
        if as_published:
            checks.check_published(sheet, statistics, raw)
        card = StoreCard(
            name=dataset,
            task=sheet.task,
            bands=sheet.bands,
            classes=sheet.classes,
            image_size=size,
            gsd=sheet.gsd,
            scale=sheet.scale,
            metric=sheet.metric,
            splits={split: _finish(plan.work, split, images) for split, images in splits.items()},
            statistics=statistics,
            simulated=simulated,
            source="simulated by deflect" if simulated else _source(splits["train"]),
        )
        write_card(plan.work, card)
        _take_final_name(plan.work, out)
    return card


def _check(plan: Plan, notes: dict[str, list[dict[str, Any]]], raw: Path, refuse_copies: bool) -> BandStatistics:
    """All checks that need every image; returns the statistics of the training split."""
    sheet = plan.raw["train"].sheet
    pixels = {split: len(images) * plan.shape[1] * plan.shape[2] for split, images in plan.raw.items()}
    ids = {split: images.ids for split, images in plan.raw.items()}
    hashes = {split: [digest for note in shards for digest in note["hashes"]] for split, shards in notes.items()}
    checks.check_copies(ids, hashes, raw, refuse_copies)
    labelled = {split: np.sum([note["labelled"] for note in shards], axis=0) for split, shards in notes.items()}
    checks.check_labels(sheet, labelled, raw)
    outside = {
        split: np.sum([note["outside"] for note in shards], axis=0) / pixels[split] for split, shards in notes.items()
    }
    statistics = checks.statistics(sheet, notes["train"], raw)
    if sheet.name not in DATASETS:
        checks.note_dark(notes["train"], raw)
    checks.check_reflectance(sheet, statistics, outside, raw)
    return statistics


def _finish(work: Path, split: str, images: RawDataset) -> dict[str, Any]:
    """Write the ids and hash the arrays of a split."""
    write_ids(work, split, images.ids)
    digests = {f"{what}_sha256": sha256_file(work / f"{split}.{what}.npy") for what in ("images", "labels")}
    return {"n": len(images)} | digests


def _source(images: RawDataset) -> str:
    """Where the files come from: the address of the first one, or what the user's card says."""
    sources = [source for source in images.sheet.sources if source.layout == images.layout or not images.layout]
    return sources[0].url if sources else images.sheet.citation


def _take_final_name(work: Path, out: Path) -> None:
    """Drop the notes of the shards and move the finished folder into place."""
    for note in work.glob("*.*-*.json"):
        note.unlink()
    if out.exists():
        shutil.rmtree(out)
    os.replace(work, out)
    for left in out.parent.glob(f".{out.name}.{'[0-9a-f]' * 12}.part"):
        shutil.rmtree(left)


def refuse_other_files(out: Path) -> None:
    """The folder ``out`` is replaced as a whole, so it must hold nothing but an older store."""
    own = {CARD} | {f"{split}.{ending}" for split in SPLITS for ending in ("images.npy", "labels.npy", "ids.txt")}
    others = sorted(path.name for path in out.iterdir() if path.name not in own) if out.is_dir() else []
    if others:
        raise checks.PrepareError(f"{out}: holds {others[0]!r}, which is no part of a store; choose another folder")
