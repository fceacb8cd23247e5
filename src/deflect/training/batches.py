"""From a split of the store to batches: order, window, flip, resize.

All randomness comes from (seed, epoch), so a run that resumes at an epoch gets the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.data.card import has_label
from deflect.data.store import Empty, StoreCard, Window, decode_labels, new_memory
from deflect.settings.training import TrainSettings
from deflect.training.context import Context

T = TypeVar("T")
Inputs = Tensor | list[Tensor]  # images, or precomputed features of images


class Batches(Protocol):
    """A split of the data: ``deflect.data.store.Split`` or ``Features``."""

    card: StoreCard

    def __len__(self) -> int: ...

    def stored(self, indices: np.ndarray, empty: Empty, window: Window | None = None) -> tuple[Inputs, Tensor]: ...

    def decode(self, stored: Any) -> Inputs:
        """The model's input from the output of ``stored``, on the same device."""


def batch_starts(n: int, context: Context) -> range:
    """Where the batches of an epoch of ``n`` images start.

    The last batch may be smaller; it is left out with ``drop_last``, or if it has fewer images than processes.
    """
    size, rest = context.settings.batch_size, n % context.settings.batch_size
    left_out = rest < context.ranks.world or (context.settings.drop_last and n > size)
    return range(0, n - rest if left_out else n, size)


def fit_to(images: Tensor, size: int) -> Tensor:
    """Bilinear, antialiased resize of (B, C, H, W) to a square of ``size``."""
    if images.shape[-2:] == (size, size):
        return images
    shrinks = images.shape[-1] > size  # antialiasing is several times slower and has no effect on enlarging
    return F.interpolate(images, (size, size), mode="bilinear", antialias=shrinks)


def training_batches(split: Batches, epoch: int, context: Context) -> Iterator[tuple[Inputs, Tensor]]:
    """The batches of one epoch on the context's device, at the model's input size.

    Every process draws the same order and windows for the whole batch and keeps each ``world``-th image, so that
    training with any number of GPUs gives the same result except for rounding. (On CPUs each process has its own batch
    statistics in a segmentation head; a soft constraint weights the images of a last, uneven batch unequally.)
    """
    settings, mine = context.settings, slice(context.ranks.rank, None, context.ranks.world)
    random = np.random.default_rng([context.seed, epoch])
    order = split.order(random) if isinstance(split, FewLabels) else random.permutation(len(split))

    def load(start: int) -> tuple[Inputs, Tensor]:
        rows = order[start : start + settings.batch_size]
        draws = random.random((len(rows), 4))
        window = training_window(draws[mine], settings)
        inputs, labels = split.stored(rows[mine], memory(context.device), window)
        if settings.augment and isinstance(inputs, Tensor):
            inputs, labels = flipped(inputs, labels, draws[mine])
        return to_device(inputs, labels, split, context.device)

    for inputs, labels in ahead(load, batch_starts(len(order), context), context.device):
        yield fit_to(inputs, settings.image_size) if isinstance(inputs, Tensor) else inputs, labels


def training_window(draws: np.ndarray, settings: TrainSettings) -> Window:
    """One square window per image larger than the input: anywhere, or around a labelled pixel (``crop: focus``).

    Args:
        draws: numbers in [0, 1), at least two per image.
    """
    size = settings.image_size

    def window(place: int, label: np.ndarray) -> tuple[slice, slice]:
        room = label.shape[-1] - size
        if room <= 0:
            return slice(None), slice(None)
        u, v = draws[place, :2]
        y, x = int(u * (room + 1)), int(v * (room + 1))
        labelled = np.argwhere(has_label(label)) if settings.crop == "focus" else ()
        if len(labelled):
            # uniform among the windows that contain the pixel; the fractional rest of u serves as a new draw
            pixel, rest = divmod(u * len(labelled), 1)
            first = np.maximum(labelled[int(pixel)] - size + 1, 0)
            last = np.minimum(labelled[int(pixel)], room)
            y, x = (first + (rest, v) * (last - first + 1)).astype(int).tolist()
        return slice(y, y + size), slice(x, x + size)

    return window


def flipped(images: Tensor, labels: Tensor, draws: np.ndarray) -> tuple[Tensor, Tensor]:
    """Each image, and its label map, in one of the eight orientations of a square."""
    images, labels = images.clone(), labels.clone()
    for i, (*_, flip, turn) in enumerate(draws):
        for maps in (images, labels) if labels.ndim == 3 else (images,):
            turned = torch.rot90(maps[i], int(turn * 4), dims=(-2, -1))
            maps[i] = turned.flip(-1) if flip < 0.5 else turned
    return images, labels


def evaluation_batches(split: Batches, context: Context) -> Iterator[tuple[np.ndarray, Inputs, Tensor]]:
    """Row numbers, inputs at stored size and labels, in order; each process sees every ``world``-th image."""
    size = context.settings.eval_batch_size
    rows = np.arange(context.ranks.rank, len(split), context.ranks.world)

    def load(start: int) -> tuple[np.ndarray, Inputs, Tensor]:
        inputs, labels = split.stored(rows[start : start + size], memory(context.device))
        return rows[start : start + size], *to_device(inputs, labels, split, context.device)

    yield from ahead(load, range(0, len(rows), size), context.device)


def memory(device: torch.device) -> Empty:
    """Allocator of batches: for CUDA pinned memory, which torch reuses."""
    if device.type != "cuda":
        return new_memory
    return lambda shape, dtype: torch.empty(shape, dtype=dtype, pin_memory=True)


def to_device(inputs: Inputs, labels: Tensor, split: Batches, device: torch.device) -> tuple[Inputs, Tensor]:
    """Copy a batch in its small stored types, without waiting, and decode it on the device."""

    def moved(tensor: Tensor) -> Tensor:
        if tensor.device.type == device.type:
            return tensor
        return tensor.pin_memory().to(device, non_blocking=True)  # flipped images are in new, unpinned memory

    return split.decode(moved(inputs) if isinstance(inputs, Tensor) else inputs), decode_labels(moved(labels))


def ahead(load: Callable[[int], T], starts: range, device: torch.device) -> Iterator[T]:
    """Load each batch; for an accelerator in a thread, one batch ahead of the step that uses it.

    A single thread draws the random numbers in the order of the batches. On the CPU it would compete with the step.
    """
    if device.type == "cpu":
        yield from map(load, starts)
        return
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for start in starts:
            previous, coming = coming, pool.submit(load, start)
            if previous is not None:
                yield previous.result()
        if coming is not None:
            yield coming.result()


class Features:
    """A split whose features were computed once by a frozen encoder."""

    def __init__(self, features: list[Tensor], labels: Tensor, card: StoreCard) -> None:
        self.features, self.labels, self.card = features, labels, card

    def __len__(self) -> int:
        return len(self.labels)

    def stored(self, indices: np.ndarray, empty: Empty, window: Window | None = None) -> tuple[list[Tensor], Tensor]:
        """Features of whole images, and labels. They are on the device already, so ``empty`` is not used."""
        rows = torch.from_numpy(np.asarray(indices)).to(self.labels.device)
        return [f[rows] for f in self.features], self.labels[rows]

    def decode(self, stored: list[Tensor]) -> list[Tensor]:
        return stored


class FewLabels:
    """A training split that uses the labels of the images ``rows`` only, in as many steps as with all of its labels."""

    def __init__(self, split: Batches, rows: np.ndarray) -> None:
        self.split, self.rows, self.card = split, rows, split.card
        self.stored, self.decode = split.stored, split.decode

    def __len__(self) -> int:
        return len(self.split)

    def order(self, random: np.random.Generator) -> np.ndarray:
        """The images of an epoch: all ``rows`` in a new order, again and again."""
        passes = -(-len(self) // len(self.rows))
        return np.concatenate([random.permutation(self.rows) for _ in range(passes)])[: len(self)]
