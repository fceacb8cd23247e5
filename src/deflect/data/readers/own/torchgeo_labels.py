"""The label in a sample of torchgeo, for the task of a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.checks import IGNORE
from deflect.data.readers.own.metadata import equal
from deflect.data.readers.own.torchgeo_card import TorchgeoCard
from deflect.errors import DataError
from deflect.settings import PIXEL_TASKS

#: Kinds of values and dimensions of the labels of each task, and what messages call them.
LABELS = {
    "classification": ("biu", 0, "a whole number"),
    "regression": ("fiu", 0, "a number"),
    "multilabel": ("fbiu", 1, "one 0 or 1 per class"),
    "segmentation": ("biuf", 2, "a whole number per pixel"),
    "pixel_regression": ("fiu", 2, "a number per pixel"),
}


def key_of(card: TorchgeoCard, sample: dict[str, Any]) -> str:
    """The key of the label: the card's or, by default, ``mask`` for tasks with a label per pixel, else ``label``."""
    return card.label or ("mask" if card.task in PIXEL_TASKS and "mask" in sample else "label")


def label_of(label: np.ndarray, key: str, card: TorchgeoCard, path: Path) -> Any:
    """The label as the task has it: classes from 0, with -1 for none, or numbers, with NaN for none.

    Args:
        label: as torchgeo returns it.
        key: its key in the sample.
        path: of the image, for messages.

    Raises:
        DataError: it does not fit the task.
    """
    if label.ndim in (1, 3) and len(label) == 1:
        label = label[0]  # of (1,) or (1, H, W)
    kinds, dimensions, words = LABELS[card.task]
    if label.ndim != dimensions or label.dtype.kind not in kinds:
        found = f"{key} of shape {label.shape} and type {label.dtype}"
        raise DataError(f"{path}: task {card.task} needs {words}, found {found}; it fits {_fitting(label)}")
    if card.task == "classification":
        return int(label) - card.label_offset
    if card.task == "segmentation":
        return _classes(label, card, path)
    if card.task == "pixel_regression":
        return np.where(_unlabelled(label, card), np.float32(np.nan), label.astype(np.float32))
    return label


def _fitting(label: np.ndarray) -> str:
    """The tasks that a label fits."""
    fitting = [task for task, (kinds, size, _) in LABELS.items() if label.ndim == size and label.dtype.kind in kinds]
    return f"task {' or '.join(fitting)}" if fitting else "no task"


def _unlabelled(label: np.ndarray, card: TorchgeoCard) -> np.ndarray:
    return equal(label, () if card.ignore is None else (card.ignore,)) | ~np.isfinite(label)


def _classes(label: np.ndarray, card: TorchgeoCard, path: Path) -> np.ndarray:
    """int64 (H, W)."""
    unlabelled = _unlabelled(label, card)
    known, first = label[~unlabelled], card.label_offset
    if (broken := known[known != np.rint(known)]).size:
        raise DataError(f"{path}: task segmentation needs {LABELS[card.task][2]}, found {broken[0]:g}; it fits task "
                        "pixel_regression")  # fmt: skip
    if (below := known[known < first]).size:
        what = f"expected classes from {first} in the mask, found {below[0]:g}"
        raise DataError(f"{path}: {what}; if it means no label, set ignore to it, else correct label_offset")
    return np.where(unlabelled, IGNORE, np.where(unlabelled, 0, label).astype(np.int64) - first)
