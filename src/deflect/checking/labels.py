"""The labels of one split as numbers. Arrays of any task are told apart by type and shape.

int (N,) classes, int8 (N, H, W) masks, uint8 (N, K) 0 or 1 for each of K labels, float32 (N,) or (N, H, W) targets
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What is counted: images of a class, pixels of a class, images that have a label, values of a target.
IMAGES, PIXELS, POSITIVES, TARGET = "images", "pixels", "positives", "values"
#: Pixels of a map of targets that are kept of each image.
KEPT = 64


@dataclass(frozen=True)
class Labels:
    """Labels of one split.

    ``counts`` (K,): pixels of each class, or images; ``images`` (K,): images with the class; ``of``: images that were
    counted; ``blank`` (of,): images without any label; ``unlabelled``: share of pixels, or images, without label;
    ``values``: finite targets, of maps a few pixels per image; empty for classes.
    """

    kind: str
    counts: NDArray[np.int64]
    images: NDArray[np.int64]
    blank: NDArray[np.bool_]
    unlabelled: float
    values: NDArray[np.float32]

    @property
    def of(self) -> int:
        return len(self.blank)

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K,) share of each class in all that have a label; of multi-label data, of the images."""
        total = self.of if self.kind == POSITIVES else int(self.counts.sum())
        return self.counts / max(total, 1)


def kind_of(labels: NDArray[Any]) -> str:
    if labels.dtype.kind == "f":
        return TARGET
    return {1: IMAGES, 2: POSITIVES, 3: PIXELS}[labels.ndim]


def count(labels: NDArray[Any], classes: int, rows: NDArray[np.int64]) -> Labels:
    """Count the labels of a split: all of them, or of maps those of the images ``rows``."""
    kind, none = kind_of(labels), np.zeros(0, np.float32)
    if kind == TARGET:
        maps = labels[rows] if labels.ndim == 3 else labels[:, None]
        values = maps.reshape(len(maps), -1).astype(np.float32)
        finite = np.isfinite(values)
        few = values[:, :: max(1, values.shape[1] // KEPT)]
        nothing = np.zeros(classes, np.int64)
        return Labels(kind, nothing, nothing, np.all(~finite, axis=1), 1 - float(finite.mean()), few[np.isfinite(few)])
    if kind == POSITIVES:
        counts = (labels == 1).sum(0)
        return Labels(kind, counts, counts, np.all(labels != 1, axis=1), 0.0, none)
    if kind == IMAGES:
        counts = np.bincount(labels[labels >= 0].astype(np.int64), minlength=classes)
        absent = np.less(labels, 0)
        return Labels(kind, counts, counts, absent, float(absent.mean()), none)
    table = np.stack([np.bincount(labels[row].ravel().astype(np.int64) + 1, minlength=classes + 1) for row in rows])
    counts = table[:, 1:].sum(0)
    blank = table[:, 1:].sum(1) == 0
    return Labels(kind, counts, (table[:, 1:] > 0).sum(0), blank, float(table[:, 0].sum() / table.sum()), none)
