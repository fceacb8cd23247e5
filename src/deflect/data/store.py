"""The prepared store: one folder of memory-mapped arrays per dataset, described by a card.

    store.json           the card: bands by name, classes, units, statistics, sizes and content hashes
    {split}.images.npy   (N, C, H, W) in the published unit and dtype; times ``card.stored_scale`` they are reflectance
    {split}.labels.npy   (N,) int64 for classification, (N, H, W) int8 for segmentation; -1 is ignored;
                         (N, K) uint8 of 0 and 1 for multilabel, (N,) float32 for regression, (N, H, W) float32 for
                         pixel_regression; NaN is ignored
    {split}.ids.txt      one published id per line, in the order of the arrays
    train.fractions.json row numbers of the published subsets of the training split, where there are any

``store.json`` is written last, so a folder with it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from deflect.data.card import CARD, StoreCard, label_shape, read_card, read_ids, verify_files
from deflect.errors import DataError
from deflect.settings import PIXEL_TASKS, SPLITS

__all__ = ["Split", "Store", "StoreCard"]

Indices = Sequence[int] | np.ndarray | Tensor
#: Creates an uninitialised tensor of a shape and dtype.
Empty = Callable[[tuple[int, ...], torch.dtype], Tensor]
#: From the index in the batch and the label map (H, W) of an image to the rows and columns to read.
Window = Callable[[int, np.ndarray], tuple[slice, slice]]


def decode_labels(stored: Tensor) -> Tensor:
    """Classes as int64, numbers of a regression unchanged."""
    return stored if stored.is_floating_point() else stored.long()


def new_memory(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor. NumPy's memory uses huge pages; ``torch.empty`` takes three times as long to fill."""
    return torch.from_numpy(np.empty(shape, str(dtype).removeprefix("torch.")))


class Split(Dataset):
    """One split of a store: a torch ``Dataset`` of dict samples; ``batch`` and ``stored`` are faster.

    Attributes:
        images: (N, C, H, W) memory map in the stored unit.
        labels: (N, ...) of the task's shape and type; -1 or NaN where there is none.
        ids: the published id of each image.
    """

    def __init__(self, folder: Path, name: str, card: StoreCard) -> None:
        self.folder, self.name, self.card = Path(folder), name, card
        self.key = "mask" if card.task in PIXEL_TASKS else "label"
        size, n = card.image_size, card.splits[name]["n"]
        self.images = self._load("images", (n, len(card.bands), size, size))
        self.labels = self._load("labels", (n, *label_shape(card.task, len(card.classes), size)))

    def _load(self, what: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / f"{self.name}.{what}.npy"
        if not path.is_file():
            raise DataError(f"{path}: missing next to {CARD}; delete {self.folder} and prepare again")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise DataError(f"{path}: damaged ({error}); delete {self.folder} and prepare again") from error
        if array.shape != shape:
            raise DataError(f"{path}: expected {shape}, found {array.shape}; delete {self.folder} and prepare again")
        return array

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers of a ``DataLoader`` open the memory maps themselves; pickling would copy the arrays."""
        return type(self), (self.folder, self.name, self.card)

    @cached_property
    def ids(self) -> list[str]:
        return read_ids(self.folder, self.name)

    def __len__(self) -> int:
        return len(self.images)

    def stored(
        self, indices: Indices, empty: Empty = new_memory, window: Window | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B, ...) as stored, copied into memory created by ``empty``.

        Training loads these: 8 and 16-bit pixels are fewer bytes to copy to an accelerator, which decodes them quickly,
        and of images larger than the model's input only a ``window`` is read.
        """
        rows = np.asarray(indices, dtype=np.intp).tolist()
        images = [self.images.view(np.ndarray)[row] for row in rows]
        labels = [self.labels.view(np.ndarray)[row] for row in rows]
        if window is not None and self.key == "mask":
            cuts = [window(place, label) for place, label in enumerate(labels)]
            images = [image[:, y, x] for image, (y, x) in zip(images, cuts, strict=True)]
            labels = [label[y, x] for label, (y, x) in zip(labels, cuts, strict=True)]
        return _gather(images, empty), _gather(labels, empty)

    def decode(self, stored: Tensor) -> Tensor:
        """Stored pixels as float32 reflectance, on their device; float32 ``stored`` is changed in place."""
        pixels = stored.float()
        return pixels if self.card.stored_scale == 1 else pixels.mul_(self.card.stored_scale)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Images as float32 reflectance (B, C, H, W) and labels (B, ...): int64, or float32 of a regression."""
        images, labels = self.stored(indices)
        return self.decode(images), decode_labels(labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        images, labels = self.batch([index])
        return {"image": images[0], self.key: labels[0]}


class Store:
    """A prepared dataset: ``Store(folder).split("train").batch([0, 1, 2])``."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.card = read_card(self.folder)

    def split(self, name: str) -> Split:
        if name not in self.card.splits:
            raise DataError(f"{self.folder}: no split {name!r}; a store has {', '.join(SPLITS)}")
        return Split(self.folder, name, self.card)

    def verify(self, splits: Iterable[str] = SPLITS) -> None:
        """Compare the shape and hash of every file of ``splits`` with the card; unchanged files are hashed once."""
        for name in splits:
            self.split(name)
        verify_files(self.folder, self.card, splits)


def _gather(parts: Sequence[np.ndarray], empty: Empty) -> Tensor:
    gathered = empty((len(parts), *parts[0].shape), getattr(torch, parts[0].dtype.name))
    np.stack(parts, out=gathered.numpy())
    return gathered
