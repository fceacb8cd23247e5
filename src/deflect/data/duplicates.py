"""Near-duplicates between the splits of a prepared dataset: images of val or test that training has almost seen.

Each image is described by its bands, averaged to 8 x 8 pixels, in units of the band's standard deviation over the
training split, without the image's own mean. Two images are as similar as the cosine of their descriptors. Without its
mean, open water or bare ground is not similar to all other water or ground. The price: of images without any pattern,
only exact copies are found. A copy that is turned, or shifted by more than a 24th of its width, is not found either.

Every image is compared with every training image, so of large datasets only a sample of val and test is compared.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.data.store import Split, Store
from deflect.progress import bar

log = logging.getLogger(__name__)

#: Cosine from which two images are near-duplicates. Among disjoint tiles of real Sentinel-2 and Landsat scenes the most
#: similar ones reach 0.93; a tile with a pattern and its copy with noise of a tenth of the standard deviation have 0.98
#: or more.
NEAR = 0.95
#: Pixels along a side of a descriptor; images at a time; pairs that are listed.
SIDE, ROWS, LISTED = 8, 512, 10
#: Training images at a time, and most of those of which the standard deviation is: 250 MB with ten bands.
CHUNK, SCALED = 1 << 15, 1 << 15
#: Most pairs of images that are compared for a split: minutes on a CPU.
MOST = 4_000_000_000


def duplicates(store: Store) -> dict[str, Any]:
    """Near-duplicates of training images in the other splits.

    Returns:
        ``dataset``, ``store_sha256``, ``threshold`` and, for ``val`` and ``test``: the number of ``images``, how many
        of them are ``near`` a training image, how many of these are ``exact`` copies, and the most similar ``pairs``
        with both ids, their ``similarity`` (cosine) and ``difference`` (largest of any pixel and band, reflectance).
        Of a split with more than ``MOST`` pairs, ``images`` is the size of an evenly spaced sample.
    """
    train = store.split("train")
    rows = {name: sample(store.split(name), MOST // len(train)) for name in ("val", "test")}
    scale = pool(train, evenly(len(train), SCALED)).std((0, 2), keepdim=True).clamp(min=1e-12)
    described = {name: describe(pool(store.split(name), rows[name]), scale) for name in rows}
    best = {name: (torch.full((len(those),), -2.0), torch.zeros(len(those)).long()) for name, those in rows.items()}
    with bar("comparing with training images", len(train), unit="images") as shown:
        for start in range(0, len(train), CHUNK):
            part = np.arange(start, min(start + CHUNK, len(train)))
            known = describe(pool(train, part), scale)
            for name, (similarity, row) in best.items():
                here, place = nearest(described[name], known)
                best[name] = torch.maximum(here, similarity), torch.where(here > similarity, place + start, row)
            shown.update(len(part))
    found: dict[str, Any] = {"dataset": store.card.name, "store_sha256": store.card.sha256, "threshold": NEAR}
    for name, (similarity, row) in best.items():
        found[name] = _facts(store.split(name), train, rows[name], similarity.numpy(), row.numpy())
    return found


def evenly(n: int, most: int) -> np.ndarray:
    """All rows of a split of ``n`` images, or ``most`` evenly spaced ones."""
    return np.linspace(0, n - 1, min(n, max(1, most))).round().astype(int)


def sample(split: Split, most: int) -> np.ndarray:
    """The rows that are compared, at most ``most``."""
    rows = evenly(len(split), most)
    if len(rows) < len(split):
        log.warning("%s: only %d of %d images of %s are compared", split.folder, len(rows), len(split), split.name)
    return rows


def pool(split: Split, rows: np.ndarray) -> Tensor:
    """Averages of images as stored: (N, C, SIDE * SIDE)."""
    return torch.cat([average(split.images[rows[start : start + ROWS]]) for start in range(0, len(rows), ROWS)])


def average(stored: np.ndarray) -> Tensor:
    """Images (N, C, H, W) averaged to (N, C, SIDE * SIDE)."""
    return F.adaptive_avg_pool2d(torch.from_numpy(stored.astype(np.float32)), SIDE).flatten(2)


def describe(pooled: Tensor, scale: Tensor) -> Tensor:
    """Descriptors of length 1, or 0 without any pattern: (N, C * SIDE * SIDE)."""
    scaled = pooled / scale
    return F.normalize((scaled - scaled.mean(2, keepdim=True)).flatten(1))


def nearest(descriptors: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and row of the most similar of the ``known`` descriptors, for each of ``descriptors``; both (N,)."""
    best = [(part @ known.T).max(1) for part in descriptors.split(ROWS)]
    return torch.cat([part.values for part in best]), torch.cat([part.indices for part in best])


def _facts(split: Split, train: Split, rows: np.ndarray, similarity: np.ndarray, row: np.ndarray) -> dict[str, Any]:
    """``rows`` are those of the split, ``row`` that of the most similar training image of each."""
    near = [place for place in np.argsort(-similarity, kind="stable") if similarity[place] >= NEAR]
    pairs = []
    for place in near:
        image, other = split.images[rows[place]].astype(np.float64), train.images[row[place]].astype(np.float64)
        pairs.append(
            {
                "id": split.ids[rows[place]],
                "train_id": train.ids[row[place]],
                "similarity": round(float(similarity[place]), 4),
                "difference": float(f"{np.abs(image - other).max() * split.card.stored_scale:.3g}"),
            }
        )
    exact = sum(pair["difference"] == 0 for pair in pairs)
    return {"images": len(rows), "near": len(near), "exact": exact, "pairs": pairs[:LISTED]}
