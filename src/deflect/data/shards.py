"""Write a store's arrays shard by shard: parallel, in bounded memory, and resumable.

The arrays are created at full size in a temporary folder. A shard is a range of consecutive images; it is read,
checked, written to its rows, and then noted in a small JSON file with its sums and hashes. A noted shard is not
written again. The size of shards depends on the data alone, so any number of processes gives the same bytes.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.card import LABEL_TYPES, label_shape
from deflect.data.disk import human, naming_full_disk, require_space
from deflect.data.readers.base import RawDataset
from deflect.data.statistics import image_sums, total
from deflect.data.workers import in_processes
from deflect.errors import DataError, DeflectError
from deflect.files import atomic_path, read_json, sha256_json, sha256_lines, write_json
from deflect.progress import bar

log = logging.getLogger(__name__)

#: Size of the pixels of a shard in bytes, and most images: enough to keep processes busy, little enough for any memory
#: and to be done again.
SHARD_BYTES, SHARD_IMAGES = 32 << 20, 4096
#: Increased when the meaning of the arrays changes, so that an unfinished store of an older version is not resumed.
FORMAT = 3
#: Split, first image and last image + 1.
Shard = tuple[str, int, int]


@dataclass(frozen=True)
class Plan:
    """What will be written: the splits and their sizes, the shape (C, H, W) and dtype of an image, and the folder."""

    raw: dict[str, RawDataset]
    sizes: dict[str, int]
    shape: tuple[int, int, int]
    dtype: str
    work: Path
    first: int = 0  # in the plan of a shard: the row of the first image of ``raw``

    def shards(self) -> list[Shard]:
        rows = SHARD_BYTES // (math.prod(self.shape) * np.dtype(self.dtype).itemsize)
        rows = max(1, min(rows, SHARD_IMAGES))
        return [(split, i, min(i + rows, n)) for split, n in self.sizes.items() for i in range(0, n, rows)]

    def of(self, split: str, start: int, stop: int) -> Plan:
        """The plan of a shard, which is sent to another process: it has the names of its own images only."""
        return replace(self, raw={split: self.raw[split].part(start, stop)}, first=start)

    def arrays(self, split: str) -> list[tuple[Path, tuple[int, ...], str]]:
        """Path, shape and dtype of the arrays of a split."""
        n, sheet = self.sizes[split], self.raw[split].sheet
        label = label_shape(sheet.task, len(sheet.classes), self.shape[-1])
        return [
            (self.work / f"{split}.images.npy", (n, *self.shape), self.dtype),
            (self.work / f"{split}.labels.npy", (n, *label), LABEL_TYPES[sheet.task]),
        ]

    def note(self, split: str, start: int, stop: int) -> Path:
        return self.work / f"{split}.{start:08d}-{stop:08d}.json"


def make_plan(raw: dict[str, RawDataset], out: Path) -> Plan:
    """The same files, by size and time, give the same temporary folder."""
    first, _ = raw["train"].load(0)
    identity = {
        "format": FORMAT,
        "sheet": repr(raw["train"].sheet),
        "ids": {split: sha256_lines(dataset.ids) for split, dataset in raw.items()},
        "files": {split: dataset.signature() for split, dataset in raw.items()},
        "subsets": {split: dataset.published_subsets() for split, dataset in raw.items()},
    }
    work = out.with_name(f".{out.name}.{sha256_json(identity)[:12]}.part")
    sizes = {split: len(dataset) for split, dataset in raw.items()}
    return Plan(raw, sizes, first.shape, str(first.dtype), work)


def create(plan: Plan) -> None:
    """Create the arrays that do not exist yet, and log how many images there are and what disk they need."""
    plan.work.mkdir(parents=True, exist_ok=True)
    arrays = [array for split in plan.raw for array in plan.arrays(split) if not array[0].exists()]
    needed = sum(math.prod(shape) * np.dtype(dtype).itemsize for _, shape, dtype in arrays)
    free = require_space(plan.work, needed)
    images, image = sum(plan.sizes.values()), f"{' x '.join(map(str, plan.shape))} {plan.dtype}"
    name = plan.raw["train"].sheet.name
    log.info("%s: %d images of %s; %s to write, %s free", name, images, image, human(needed), human(free))
    for array in arrays:
        _create(*array)


def write_shards(plan: Plan, jobs: int, part: int = 1, parts: int = 1) -> None:
    """Write the missing shards; with ``parts`` only every ``parts``-th, from number ``part`` (from 1) on."""
    shards = plan.shards()[part - 1 :: parts]
    missing = _missing(plan, shards)
    with bar("preparing", _images(shards), done=_images(shards) - _images(missing), unit="images") as shown:
        for shard in _written(plan, missing, jobs):
            shown.update(_images([shard]))


def read_notes(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """The notes of all shards by split, in order, with each hash as 16 bytes."""
    return {split: [_read_note(plan, *shard) for shard in plan.shards() if shard[0] == split] for split in plan.raw}


def write_shard(plan: Plan, split: str, start: int, stop: int) -> None:
    """Read the images ``start`` to ``stop`` of a split into their rows and note their sums and hashes."""
    dataset = plan.raw[split]
    sums: list[dict[str, np.ndarray]] = []
    hashes = []
    # opened for one shard only, so that written pages do not add up to the size of the dataset
    images, labels = (np.load(path, mmap_mode="r+") for path, _, _ in plan.arrays(split))
    for row in range(start, stop):
        index = row - plan.first
        image, label, measured = dataset.load_measured(index)
        if image.shape != plan.shape:
            raise DataError(
                f"{dataset.path(index)}: expected {plan.shape} as in the first image, found {image.shape}; crop it "
                "(or, for your own data, set size in card.yaml)"
            )
        if str(image.dtype) != plan.dtype:
            raise DataError(
                f"{dataset.path(index)}: expected pixels of type {plan.dtype} as in the first image, found "
                f"{image.dtype}; store all files in one type, e.g. float32"
            )
        images[row], labels[row] = image, label
        sums.append(image_sums(dataset.sheet, image, label, measured))
        hashes.append(_digest(image))
    images.flush()
    labels.flush()
    facts = {name: total(sums, name).tolist() for name in sums[0]} | {
        "hashes": hashes,
        "labels": _digest(labels[start:stop]),
    }
    write_json(plan.note(split, start, stop), facts, seal=True)


def _missing(plan: Plan, shards: list[Shard]) -> list[Shard]:
    """The shards that no earlier process finished; the others are read and compared with their notes."""
    missing = []
    with bar("comparing what is prepared", _images(shards), unit="images") as shown:
        for shard in shards:
            if not _is_written(plan, *shard):
                missing.append(shard)
            shown.update(_images([shard]))
    return missing


def _read_note(plan: Plan, split: str, start: int, stop: int) -> dict[str, Any]:
    """The note of a finished shard; as 32 digits each, the hashes of a million images would take 90 MB."""
    note: dict[str, Any] = read_json(plan.note(split, start, stop))
    return note | {"hashes": np.frombuffer(bytes.fromhex("".join(note["hashes"])), "S16")}


def _is_written(plan: Plan, split: str, start: int, stop: int) -> bool:
    """Whether an earlier process finished this shard, and its rows are unchanged."""
    try:
        note = read_json(plan.note(split, start, stop))
    except (DeflectError, FileNotFoundError):
        return False
    images, labels = (np.load(path, mmap_mode="r") for path, _, _ in plan.arrays(split))
    same_images = [_digest(image) for image in images[start:stop]] == note["hashes"]
    return same_images and _digest(labels[start:stop]) == note["labels"]


def _digest(array: np.ndarray) -> str:
    return blake2b(array.tobytes(), digest_size=16).hexdigest()


def _create(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """Create an .npy file with its blocks allocated: writing to a page without one would end the process (SIGBUS)."""
    with naming_full_disk(path.parent, "prepare"), atomic_path(path) as aside:
        np.lib.format.open_memmap(aside, mode="w+", dtype=np.dtype(dtype), shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with open(aside, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, aside.stat().st_size)


def _images(shards: Iterable[Shard]) -> int:
    return sum(stop - start for _, start, stop in shards)


def _written(plan: Plan, missing: list[Shard], jobs: int) -> Iterator[Shard]:
    """Write shards and yield each that is finished."""
    if jobs == 1 or len(missing) < 2:
        for shard in missing:
            write_shard(plan, *shard)
            yield shard
    else:
        yield from in_processes(_write, ((plan.of(*shard), shard) for shard in missing), min(jobs, len(missing)))


def _write(plan: Plan, shard: Shard) -> Shard:
    write_shard(plan, *shard)
    return shard
