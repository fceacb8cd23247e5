"""Training with few labels: which training images keep theirs.

Subsets that the publisher gives (GEO-Bench) are used as they are. All others are the start of one list, so that smaller
ones are part of larger ones: the next image is always one with the class that the fewest images so far show. Among
several it is the first by a hash of its id, whatever the order of the files. The seed of a run changes nothing here. In
a regression, tenths of the images by their (mean) number take the place of classes.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from deflect.data.card import read_fractions
from deflect.data.store import Split, Store
from deflect.errors import DataError
from deflect.settings import REGRESSIONS

log = logging.getLogger(__name__)

TENTHS = 10


def labelled_rows(store: Store, fraction: float) -> np.ndarray:
    """Row numbers of the training images whose labels are used.

    Raises:
        DataError: a class of the training split has no labelled image. In a published subset this is a warning.
    """
    split = store.split("train")
    if fraction == 1:
        return np.arange(len(split))
    shown = classes_shown(split)
    published = read_fractions(store.folder, store.card).get(fraction)
    order = balanced_order(shown, split.ids)
    rows = np.array(published or order[: round(fraction * len(split))], dtype=int)
    lacking = shown.any(axis=0) & ~shown[rows].any(axis=0)
    if lacking.any() and store.card.task not in REGRESSIONS:
        message = (
            f"{store.folder}: label_fraction {fraction:g} labels {len(rows)} of {len(split)} training images, "
            f"none with class {', '.join(np.array(store.card.classes)[lacking])}"
        )
        if not published:
            raise DataError(f"{message}; take {_smallest(shown[order])} or more")
        log.warning("%s; this subset is used as published", message)
    return rows


def classes_shown(split: Split) -> np.ndarray:
    """Whether each image shows each class, or is in each tenth of a regression: (N, K) bool."""
    if split.card.task == "multilabel":
        return np.asarray(split.labels, dtype=bool)
    if split.card.task in REGRESSIONS:
        return _tenths(split)
    shown = np.zeros((len(split), len(split.card.classes)), dtype=bool)
    for row, label in enumerate(split.labels):
        classes = np.unique(label)
        shown[row, classes[classes >= 0]] = True
    return shown


def _tenths(split: Split) -> np.ndarray:
    """In which tenth of the images the number of each is, by its mean over pixels: (N, 10); none without a number."""
    means = np.array(
        [
            label[np.isfinite(label)].mean() if np.isfinite(label).any() else np.nan
            for label in map(np.asarray, split.labels)
        ]
    )
    edges = np.nanquantile(means, np.arange(1, TENTHS) / TENTHS)
    return (np.digitize(means, edges)[:, None] == np.arange(TENTHS)) & np.isfinite(means)[:, None]


def balanced_order(shown: np.ndarray, ids: Sequence[str]) -> list[int]:
    """All rows, in the order in which they get a label; those that show no class come last."""
    rows = np.array(sorted(range(len(ids)), key=lambda row: hashlib.sha256(ids[row].encode()).digest()))
    waiting = {k: deque(rows[shown[rows, k]].tolist()) for k in range(shown.shape[1])}
    taken: dict[int, None] = {}
    images = np.zeros(shown.shape[1], dtype=int)
    while waiting:
        rarest = min(waiting, key=lambda k: images[k])
        if not waiting[rarest]:
            del waiting[rarest]
        elif (row := waiting[rarest].popleft()) not in taken:
            taken[row] = None
            images += shown[row]
    return [*taken, *(row for row in rows.tolist() if row not in taken)]


def _smallest(shown: np.ndarray) -> str:
    """The smallest fraction of images, in the order of the rows of ``shown``, with all classes."""
    complete = (np.logical_or.accumulate(shown) == shown.any(axis=0)).all(axis=1)
    return f"{math.ceil(1000 * (complete.argmax() + 1) / len(shown)) / 1000:g}"
