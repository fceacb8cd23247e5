"""Writing a store's arrays shard by shard: parallel, in bounded memory, and resumable.

The arrays are laid out at full size in a folder aside. A shard is a run of consecutive images; it is read, checked,
written to its rows, and then noted in a small JSON file with its sums and hashes. A shard that is noted is never done
again. The bounds of shards depend on the data alone, so any number of processes gives the same bytes.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.disk import naming_full_disk, require_space
from deflect.data.readers.base import RawDataset
from deflect.data.statistics import Sums
from deflect.errors import DataError, DeflectError
from deflect.files import atomic_path, read_json, sha256_json, write_json
from deflect.progress import bar

#: Pixels of one shard, in bytes: large enough to keep processes busy, small enough for any memory.
SHARD_BYTES = 32 << 20
#: Raised when the meaning of the arrays changes, so that an unfinished store of an older version is not resumed.
FORMAT = 3


@dataclass(frozen=True)
class Plan:
    """What will be written: the splits, the shape (C, H, W) and dtype of an image, and where."""

    raw: dict[str, RawDataset]
    shape: tuple[int, int, int]
    dtype: str
    work: Path

    @property
    def rows(self) -> int:
        """Images per shard."""
        return max(1, SHARD_BYTES // (int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize))

    def shards(self) -> list[tuple[str, int, int]]:
        """Split, first and last + 1 image of every shard."""
        sizes = {split: len(dataset) for split, dataset in self.raw.items()}
        return [(split, i, min(i + self.rows, n)) for split, n in sizes.items() for i in range(0, n, self.rows)]

    def arrays(self, split: str) -> Iterable[tuple[Path, tuple[int, ...], str]]:
        """Path, shape and dtype of the arrays of a split."""
        dataset = self.raw[split]
        n, (_, height, width) = len(dataset), self.shape
        yield self.work / f"{split}.images.npy", (n, *self.shape), self.dtype
        if dataset.sheet.task == "classification":
            yield self.work / f"{split}.labels.npy", (n,), "int64"
        else:
            yield self.work / f"{split}.labels.npy", (n, height, width), "int8"


def make_plan(raw: dict[str, RawDataset], out: Path) -> Plan:
    """Look at the first image and at the files' sizes and times; the same files give the same folder aside."""
    first, _ = raw["train"].load(0)
    identity = {
        "format": FORMAT,
        "sheet": repr(raw["train"].sheet),
        "ids": {split: dataset.ids for split, dataset in raw.items()},
        "files": {split: dataset.signature() for split, dataset in raw.items()},
    }
    work = out.with_name(f".{out.name}.{sha256_json(identity)[:12]}.part")
    return Plan(raw, first.shape, str(first.dtype), work)


def write_shards(plan: Plan, jobs: int) -> dict[str, list[dict[str, Any]]]:
    """Write what is not yet written; return the notes of all shards by split, in order."""
    plan.work.mkdir(parents=True, exist_ok=True)
    arrays = [array for split in plan.raw for array in plan.arrays(split) if not array[0].exists()]
    require_space(plan.work, sum(math.prod(shape) * np.dtype(dtype).itemsize for _, shape, dtype in arrays))
    for array in arrays:
        _lay_out(*array)
    missing = [shard for shard in plan.shards() if not _is_written(plan, *shard)]
    total = sum(map(len, plan.raw.values()))
    with bar("preparing", total, done=total - _images(missing), unit="images") as shown:
        if jobs > 1 and len(missing) > 1:
            _in_parallel(plan, missing, jobs, shown)
        else:
            for shard in missing:
                write_shard(plan, *shard)
                shown.update(_images([shard]))
    notes: dict[str, list[dict[str, Any]]] = {split: [] for split in plan.raw}
    for shard in plan.shards():
        notes[shard[0]].append(read_json(_note(plan.work, *shard)))
    return notes


def write_shard(plan: Plan, split: str, start: int, stop: int) -> None:
    """Read the images ``start`` to ``stop`` of a split into their rows and note their sums and hashes."""
    dataset = plan.raw[split]
    sums, hashes = Sums(dataset.sheet), []
    # opened for one shard only, so that written pages do not add up to the size of the dataset
    images, labels = (np.load(path, mmap_mode="r+") for path, _, _ in plan.arrays(split))
    for row in range(start, stop):
        image, label, measured = dataset.load_measured(row)
        if image.shape != plan.shape:
            raise DataError(
                f"{dataset.path(row)}: expected {plan.shape} as in the first image, found {image.shape}; cut it anew "
                "(your own data: or set size in card.yaml)"
            )
        if str(image.dtype) != plan.dtype:
            raise DataError(
                f"{dataset.path(row)}: expected pixels of type {plan.dtype} as in the first image, found "
                f"{image.dtype}; store all files in one type, e.g. float32"
            )
        images[row], labels[row] = image, label
        sums.add(image, label, measured)
        hashes.append(_digest(image))
    images.flush()
    labels.flush()
    facts = sums.facts() | {"hashes": hashes, "labels": _digest(labels[start:stop])}
    write_json(_note(plan.work, split, start, stop), facts, seal=True)


def _is_written(plan: Plan, split: str, start: int, stop: int) -> bool:
    """Whether an earlier process finished this shard, and its rows still hold what it wrote."""
    note = _note(plan.work, split, start, stop)
    if not note.exists():
        return False
    try:
        noted = read_json(note)
    except DeflectError:
        return False
    images, labels = (np.load(path, mmap_mode="r") for path, _, _ in plan.arrays(split))
    same_images = [_digest(image) for image in images[start:stop]] == noted["hashes"]
    return same_images and _digest(labels[start:stop]) == noted["labels"]


def _digest(array: np.ndarray) -> str:
    return blake2b(array.tobytes(), digest_size=16).hexdigest()


def _note(work: Path, split: str, start: int, stop: int) -> Path:
    return work / f"{split}.{start:08d}-{stop:08d}.json"


def _lay_out(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """An .npy file of the full size, its room on the disk taken: a page without room would end the process (SIGBUS)."""
    with naming_full_disk(path.parent, "prepare"), atomic_path(path) as aside:
        np.lib.format.open_memmap(aside, mode="w+", dtype=np.dtype(dtype), shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with open(aside, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, aside.stat().st_size)


def _images(shards: Iterable[tuple[str, int, int]]) -> int:
    return sum(stop - start for _, start, stop in shards)


def _in_parallel(plan: Plan, missing: list[tuple[str, int, int]], jobs: int, shown: Any) -> None:
    # not forked from this process: it may run the threads of torch or HDF5, whose locks a fork would copy
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(min(jobs, len(missing)), context, _take_plan, (plan,)) as pool:
        tasks = {pool.submit(_planned_shard, *shard): shard for shard in missing}
        try:
            for task in as_completed(tasks):
                task.result()
                shown.update(_images([tasks[task]]))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_PLAN: list[Plan] = []


def _take_plan(plan: Plan) -> None:
    """Runs once per process, so that the lists of files travel once."""
    _PLAN[:] = [plan]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose starter was killed would wait for shards without end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _planned_shard(split: str, start: int, stop: int) -> None:
    write_shard(_PLAN[0], split, start, stop)
