"""Near-duplicates between the splits of a prepared dataset: images of val or test that training has almost seen.

Each image is described by its bands, averaged to 8 x 8 pixels, in units of the band's standard deviation over the
training split, without the image's own mean. Two images are as similar as the cosine of their descriptors. Without its
mean, open water or bare ground is not similar to all other water or ground. The price: of images without any pattern,
only exact copies are found. A copy that is turned, or shifted by more than a 24th of its width, is not found either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.data.store import Split, Store

#: Cosine from which two images are near-duplicates. Among disjoint tiles of real Sentinel-2 and Landsat scenes the most
#: similar ones reach 0.93; a tile with a pattern and its copy with noise of a tenth of the standard deviation have 0.98
#: or more.
NEAR = 0.95
#: Pixels along a side of a descriptor; images at a time; pairs that are listed.
SIDE, ROWS, LISTED = 8, 512, 10


def duplicates(store: Store) -> dict[str, Any]:
    """Near-duplicates of training images in the other splits.

    Returns:
        ``dataset``, ``store_sha256``, ``threshold`` and, for ``val`` and ``test``: the number of ``images``, how many
        of them are ``near`` a training image, how many of these are ``exact`` copies, and the most similar ``pairs``
        with both ids, their ``similarity`` (cosine) and ``difference`` (largest of any pixel and band, reflectance).
    """
    train = store.split("train")
    pooled = pool(train)
    scale = pooled.std((0, 2), keepdim=True).clamp(min=1e-12)
    known = describe(pooled, scale)
    found: dict[str, Any] = {"dataset": store.card.name, "store_sha256": store.card.sha256, "threshold": NEAR}
    for name in ("val", "test"):
        split = store.split(name)
        similarity, row = nearest(describe(pool(split), scale), known)
        found[name] = _facts(split, train, similarity.numpy(), row.numpy())
    return found


def pool(split: Split) -> Tensor:
    """Averages of all images as stored: (N, C, SIDE * SIDE)."""
    return torch.cat([F.adaptive_avg_pool2d(images, SIDE).flatten(2) for images in _images(split)])


def describe(pooled: Tensor, scale: Tensor) -> Tensor:
    """Descriptors of length 1, or 0 without any pattern: (N, C * SIDE * SIDE)."""
    scaled = pooled / scale
    return F.normalize((scaled - scaled.mean(2, keepdim=True)).flatten(1))


def nearest(descriptors: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and row of the most similar of the ``known`` descriptors, for each of ``descriptors``; both (N,)."""
    best = [(part @ known.T).max(1) for part in descriptors.split(ROWS)]
    return torch.cat([part.values for part in best]), torch.cat([part.indices for part in best])


def _facts(split: Split, train: Split, similarity: np.ndarray, row: np.ndarray) -> dict[str, Any]:
    near = [place for place in np.argsort(-similarity, kind="stable") if similarity[place] >= NEAR]
    pairs = []
    for place in near:
        image, other = split.images[place].astype(np.float64), train.images[row[place]].astype(np.float64)
        pairs.append(
            {
                "id": split.ids[place],
                "train_id": train.ids[row[place]],
                "similarity": round(float(similarity[place]), 4),
                "difference": float(f"{np.abs(image - other).max() * split.card.stored_scale:.3g}"),
            }
        )
    exact = sum(pair["difference"] == 0 for pair in pairs)
    return {"images": len(split), "near": len(near), "exact": exact, "pairs": pairs[:LISTED]}


def _images(split: Split) -> Iterator[Tensor]:
    """All images as stored, as float32."""
    for start in range(0, len(split), ROWS):
        yield torch.from_numpy(split.images[start : start + ROWS].astype(np.float32))
