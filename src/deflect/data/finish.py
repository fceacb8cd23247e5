"""The end of preparing: the remaining files of a store, its final name, and whether an earlier one can be kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from deflect.data.card import CARD, FRACTIONS, PARTS, StoreCard, hash_name, read_card, verify_files, write_ids
from deflect.data.readers.base import RawDataset
from deflect.errors import DataError
from deflect.files import read_json, sha256_file, write_json
from deflect.settings import SPLITS


def refuse_other_files(out: Path) -> None:
    """The whole folder ``out`` is replaced, so it may only contain an older store."""
    own = {CARD} | {f"{split}.{part}" for split in SPLITS for part in (*PARTS, FRACTIONS)}
    others = sorted(path.name for path in out.iterdir() if path.name not in own) if out.is_dir() else []
    if others:
        raise DataError(f"{out}: contains {others[0]!r}, which is no part of a store; choose another folder")


def finished(out: Path, made_from: dict[str, Any]) -> StoreCard | None:
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


def finish_split(work: Path, split: str, images: RawDataset) -> dict[str, Any]:
    """Write the ids and published subsets of a split, and hash its files."""
    write_ids(work, split, images.ids)
    parts = PARTS
    if subsets := images.published_subsets():
        row = {name: index for index, name in enumerate(images.ids)}
        rows = {str(share): sorted(row[name] for name in names) for share, names in subsets.items()}
        write_json(work / f"{split}.{FRACTIONS}", rows)
        parts = (*PARTS, FRACTIONS)
    return {"n": len(images)} | {hash_name(part): sha256_file(work / f"{split}.{part}") for part in parts}


def take_final_name(work: Path, out: Path, made_from: dict[str, Any]) -> None:
    """Delete the notes of shards, unfinished ones too, move the folder into place, and note what it was made from."""
    for note in (*work.glob("*.*-*.json"), *work.glob(".*.part")):
        note.unlink()
    if out.exists():
        shutil.rmtree(out)
    os.replace(work, out)
    for left in out.parent.glob(f".{out.name}.{'[0-9a-f]' * 12}.part"):
        shutil.rmtree(left)
    write_json(_origin(out), made_from)


def _origin(out: Path) -> Path:
    """The note of what a store was made from; outside the store, since it depends on the files' times."""
    return out.parent / ".made_from" / f"{out.name}.json"
