"""Near-duplicates between the splits, among the images that were read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from deflect.checking.facts import Pair, SplitFacts
from deflect.data.duplicates import NEAR, describe, nearest


def near_pairs(splits: Mapping[str, SplitFacts]) -> list[Pair]:
    """Each image that nearly is one of an earlier split, with the most similar one; most similar pairs first."""
    scale = splits["train"].pooled.std((0, 2), keepdim=True).clamp(min=1e-12)
    described = {name: describe(split.pooled, scale) for name, split in splits.items()}
    pairs = []
    for first, second in combinations(splits, 2):
        one, two = splits[first], splits[second]
        similarity, place = (found.numpy() for found in nearest(described[second], described[first]))
        for other in np.flatnonzero(similarity >= NEAR):
            row = place[other]
            exact = one.digests[row] == two.digests[other]
            pairs.append(Pair(first, int(one.rows[row]), second, int(two.rows[other]), float(similarity[other]), exact))
    return sorted(pairs, key=lambda pair: (-pair.exact, -pair.similarity))
