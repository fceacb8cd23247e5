"""What is read of a prepared dataset: of each split a seeded sample of images, all labels, and their places.

Of a million images only some thousands are read, so that the page takes minutes at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deflect.checking.labels import Labels, count
from deflect.checking.places import Places
from deflect.data.card import StoreCard
from deflect.data.duplicates import average
from deflect.data.store import Split, Store
from deflect.progress import bar
from deflect.settings import SPLITS

SEED = 0
#: Most images of a split that are read, and most bytes; at least ``FEWEST`` images are.
SAMPLE, BYTES, FEWEST = 5000, 2 << 30, 200
#: Bytes of images that are read at a time.
CHUNK = 32 << 20
#: Random pixels that are kept of each image.
KEPT = 64


@dataclass(frozen=True)
class SplitFacts:
    """One split of ``n`` images, of which the S images ``rows`` were read.

    Attributes:
        pixels: (P, C) reflectance of random pixels that are not 0 in every band.
        means, stds: (S, C) of the pixels of each image that are not 0 in every band.
        empty: (S,) share of the pixels of each image that are 0 in every band.
        pooled: (S, C, SIDE * SIDE) averages as stored, for `deflect.data.duplicates.describe`.
        digests: (S,) hashes of the images, equal for copies.
    """

    split: Split
    n: int
    rows: NDArray[np.int64]
    ids: list[str]
    labels: Labels
    pixels: NDArray[np.float32]
    means: NDArray[np.float64]
    stds: NDArray[np.float64]
    empty: NDArray[np.float64]
    pooled: Tensor
    digests: list[bytes]


class Pair(NamedTuple):
    """An image of ``second`` that is nearly one of ``first``: rows of the store and their similarity."""

    first: str
    row: int
    second: str
    other: int
    similarity: float
    exact: bool


@dataclass(frozen=True)
class Facts:
    """What the checks look at. ``places`` is None, with the reason in ``no_places``, if there are none."""

    card: StoreCard
    splits: dict[str, SplitFacts]
    pairs: list[Pair]
    places: Places | None = None
    no_places: str = ""

    @property
    def sampled(self) -> bool:
        """Whether a split has images that were not read."""
        return any(len(facts.rows) < facts.n for facts in self.splits.values())


def read_splits(store: Store) -> dict[str, SplitFacts]:
    """Read the sample of every split, with a progress bar."""
    splits = {name: store.split(name) for name in SPLITS}
    rows = {name: sample(split) for name, split in splits.items()}
    with bar(f"reading {store.card.name}", sum(map(len, rows.values())), unit="images") as shown:
        return {name: read_split(split, rows[name], shown) for name, split in splits.items()}


def sample(split: Split) -> NDArray[np.int64]:
    """Rows of the images that are read, in order."""
    size = max(FEWEST, min(SAMPLE, BYTES // max(1, split.images[0].nbytes)))
    if size >= len(split):
        return np.arange(len(split))
    return np.sort(_random(split).choice(len(split), size, replace=False))


def read_split(split: Split, rows: NDArray[np.int64], shown: Any) -> SplitFacts:
    random, found, pooled = _random(split), [], []
    together = max(1, CHUNK // split.images[0].nbytes)
    for start in range(0, len(rows), together):
        stored = split.images[rows[start : start + together]]
        found += [_read_image(image, split.card.stored_scale, random) for image in stored]
        pooled.append(average(stored))
        shown.update(len(stored))
    pixels, means, stds, empty, digests = zip(*found, strict=True)
    return SplitFacts(
        split=split,
        n=len(split),
        rows=rows,
        ids=[split.ids[row] for row in rows],
        labels=count(split.labels, len(split.card.classes), rows),
        pixels=np.concatenate(pixels),
        means=np.stack(means),
        stds=np.stack(stds),
        empty=np.array(empty),
        pooled=torch.cat(pooled),
        digests=list(digests),
    )


def _read_image(stored: NDArray[Any], scale: float, random: np.random.Generator) -> tuple[Any, ...]:
    reflectance = stored.astype(np.float32) * np.float32(scale)
    measured = reflectance.reshape(len(stored), -1)[:, (stored != 0).any(0).ravel()]
    size = stored[0].size
    if not measured.shape[1]:
        nothing = np.zeros(len(stored))
        statistics = measured.T, nothing, nothing
    else:
        kept = measured[:, random.integers(measured.shape[1], size=KEPT)].T
        statistics = kept, measured.mean(1, dtype=np.float64), measured.std(1, dtype=np.float64)
    return *statistics, 1 - measured.shape[1] / size, blake2b(stored.tobytes(), digest_size=16).digest()


def _random(split: Split) -> np.random.Generator:
    return np.random.default_rng([SEED, SPLITS.index(split.name)])
