"""Images of vegetation and soil in which no check of a dataset finds anything."""

from __future__ import annotations

import numpy as np
from tiny_store import BANDS

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
CLASSES = ["plants", "soil"]
#: Reflectance of vegetation and of soil in the bands of ``BANDS``.
SPECTRA = np.array([[0.05, 0.08, 0.06, 0.28, 0.18, 0.10], [0.08, 0.11, 0.13, 0.19, 0.26, 0.21]])
SIZES = {"train": 60, "val": 40, "test": 40}
SIZE = 16


def good(masks: bool = False) -> Splits:
    """Two classes of vegetation and soil with patterns of their own."""
    random, splits = np.random.default_rng(0), {}
    for split, n in SIZES.items():
        labels = np.arange(n) % 2
        coarse = random.normal(1, 0.15, (n, len(BANDS), 8, 8)).repeat(2, 2).repeat(2, 3)
        fine = random.normal(1, 0.05, (n, len(BANDS), SIZE, SIZE))
        images = (SPECTRA[labels][:, :, None, None] * coarse * fine).astype(np.float32)
        maps = np.broadcast_to(labels[:, None, None], (n, SIZE, SIZE)).astype(np.int8).copy()
        maps[:, :4] = 1 - maps[:, :4]
        splits[split] = images, maps if masks else labels.astype(np.int64)
    return splits
