"""From a split of the store to batches: order, window, flip, resize. All randomness comes from (seed, epoch).

Because nothing carries over from one epoch to the next, a run that resumes at an epoch sees the very same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.training.context import Context
from deflect.training.model import Inputs
from deflect.training.settings import TrainSettings

T = TypeVar("T")


class Batches(Protocol):
    """What the loop needs of a split: ``deflect.data.store.Split`` has it, and so has ``Features`` below."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> tuple[Inputs, Tensor]: ...


def batch_starts(n: int, context: Context) -> range:
    """Where the batches of an epoch of ``n`` images start.

    The last batch may be smaller; it is left out only where it has no image for some of the processes.
    """
    rest = n % context.settings.batch_size
    return range(0, n - rest if rest < context.ranks.world else n, context.settings.batch_size)


def fit_to(images: Tensor, size: int) -> Tensor:
    """Bilinear resize of (B, C, H, W) to a square of ``size``, antialiased; nothing where it fits already."""
    if images.shape[-2:] == (size, size):
        return images
    shrinks = images.shape[-1] > size  # the antialiasing kernel is several times slower and only acts when shrinking
    return F.interpolate(images, (size, size), mode="bilinear", antialias=shrinks)


def training_batches(split: Batches, epoch: int, context: Context) -> Iterator[tuple[Inputs, Tensor]]:
    """The batches of one epoch on the context's device, at the model's input size.

    Every process draws the same order and windows for the whole batch and keeps each ``world``-th image, so that
    training does not depend on the number of devices but for rounding.
    """
    settings, mine = context.settings, slice(context.ranks.rank, None, context.ranks.world)
    random = np.random.default_rng([context.seed, epoch])
    order = random.permutation(len(split))

    def load(start: int) -> tuple[Inputs, Tensor]:
        rows = order[start : start + settings.batch_size]
        draws = random.random((len(rows), 4))
        inputs, labels = split.batch(rows[mine])
        if isinstance(inputs, Tensor):
            inputs, labels = augmented(inputs, labels, draws[mine], settings)
        return to_device(inputs, context.device), to_device(labels, context.device)

    for inputs, labels in ahead(load, batch_starts(len(order), context), context.device):
        yield fit_to(inputs, settings.image_size) if isinstance(inputs, Tensor) else inputs, labels


def augmented(images: Tensor, labels: Tensor, draws: np.ndarray, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """Cut the training window of segmentation images larger than the input; flip and turn if the settings say so."""
    if labels.ndim == 3 and images.shape[-1] > settings.image_size:
        images, labels = windowed(images, labels, draws, settings)
    if settings.augment:
        images, labels = flipped(images, labels, draws)
    return images, labels


def windowed(images: Tensor, labels: Tensor, draws: np.ndarray, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """One square window per image: anywhere, or centred on a labelled pixel where ``settings.crop`` is "focus"."""
    size, room = settings.image_size, images.shape[-1] - settings.image_size
    windows = []
    for image, label, (u, v, *_) in zip(images, labels, draws, strict=True):
        y, x = int(u * (room + 1)), int(v * (room + 1))
        labelled = torch.nonzero(label != -1) if settings.crop == "focus" else label.new_empty(0)
        if len(labelled):
            centre = labelled[int(u * len(labelled))]
            y, x = (int(c) for c in (centre - size // 2).clamp(0, room))
        windows.append((image[:, y : y + size, x : x + size], label[y : y + size, x : x + size]))
    return torch.stack([w[0] for w in windows]), torch.stack([w[1] for w in windows])


def flipped(images: Tensor, labels: Tensor, draws: np.ndarray) -> tuple[Tensor, Tensor]:
    """Each image in one of the eight orientations of a square, its label map along with it."""
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
        inputs, labels = split.batch(rows[start : start + size])
        return rows[start : start + size], to_device(inputs, context.device), to_device(labels, context.device)

    yield from ahead(load, range(0, len(rows), size), context.device)


def to_device(value: T, device: torch.device) -> T:
    """Move a tensor or a list of tensors, without waiting for the copy."""
    if device.type == "cpu":
        return value
    if isinstance(value, list):
        return [to_device(v, device) for v in value]  # type: ignore[return-value]
    return value.pin_memory().to(device, non_blocking=True)  # type: ignore[attr-defined]


def ahead(load: Callable[[int], T], starts: range, device: torch.device) -> Iterator[T]:
    """Load each batch; for an accelerator in a thread, one batch ahead of the step that uses it.

    One thread, so that the random numbers are drawn in the order of the batches. On the CPU the thread would only
    compete with the step for the cores.
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
    """Features of a frozen encoder, computed once: a split whose ``batch`` needs no encoder."""

    def __init__(self, features: list[Tensor], labels: Tensor) -> None:
        self.features, self.labels = features, labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray) -> tuple[list[Tensor], Tensor]:
        rows = torch.from_numpy(np.asarray(indices))
        return [f[rows] for f in self.features], self.labels[rows]
