"""The splits of a user's own dataset, as ``splits`` of the card describes them."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from deflect.settings import SPLITS

log = logging.getLogger(__name__)

EARTH = 6371.0  # radius in km
#: Share of an image's area that counts as an overlap; neighbours share none but rounding.
OVERLAP = 1e-2
Members = dict[str, list[str]]


def drawn(labels: Mapping[str, Hashable], seed: int, fractions: Sequence[float]) -> Members:
    """Random splits, label by label: images are sorted by a hash of seed and id, the same on every machine."""
    of: dict[Hashable, list[str]] = defaultdict(list)
    for name, label in labels.items():
        of[label].append(name)
    members: Members = {split: [] for split in SPLITS}
    for names in of.values():
        names.sort(key=lambda name: _hash(seed, name))
        first, second = (round(sum(fractions[:k]) * len(names)) for k in (1, 2))
        for split, part in zip(SPLITS, (names[:first], names[first:second], names[second:]), strict=True):
            members[split] += part
    return members


def drawn_groups(names: Iterable[str], group: Callable[[str], str], seed: int, fractions: Sequence[float]) -> Members:
    """Random splits that keep the images of a group together.

    Groups are sorted by a hash of seed and group. Each is added to the split that lacks most images, relative to its
    fraction, so that few large groups do not all go to one split.
    """
    of: dict[str, list[str]] = defaultdict(list)
    for name in names:
        of[group(name)].append(name)
    total = sum(map(len, of.values()))
    wanted = {split: fraction * total for split, fraction in zip(SPLITS, fractions, strict=True)}
    members: Members = {split: [] for split in SPLITS}
    for key in sorted(of, key=lambda key: _hash(seed, key)):
        split = max(SPLITS, key=lambda split: (wanted[split] - len(members[split])) / wanted[split])
        members[split] += of[key]
    return members


def block(corners: np.ndarray, km: float) -> str:
    """The block of about ``km`` x ``km`` around the middle of an image with these corners, (4, 2) in degrees.

    Blocks are rows of equal latitude, divided into equal parts, so that they have this size everywhere and are the same
    for images in different coordinate systems.
    """
    east, north = np.radians(corners.mean(0))
    row = math.floor(north * EARTH / km)
    return f"{row}_{math.floor(east * EARTH * math.cos((row + 0.5) * km / EARTH) / km)}"


def without_overlaps(members: Members, corners: Mapping[str, np.ndarray]) -> Members:
    """``members`` without the images of train, and then of val, that overlap an image of a later split."""
    kept = dict(members)
    for split, later in (("train", ("val", "test")), ("val", ("test",))):
        others = [corners[name] for other in later for name in kept[other]]
        drop = overlapping([corners[name] for name in kept[split]], others)
        kept[split] = [name for name, dropped in zip(kept[split], drop, strict=True) if not dropped]
        if drop.any():
            what = f"{drop.sum()} of {len(drop)} images are left out of {split}"
            log.info("%s: they overlap images of %s", what, " or ".join(later))
    return kept


def overlapping(images: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """Which of the images, given by their corners, share more than ``OVERLAP`` of their area with one of the others."""
    import shapely

    if not len(images) or not len(others):
        return np.zeros(len(images), bool)
    mine, theirs = shapely.polygons(np.stack(images)), shapely.polygons(np.stack(others))
    pairs = shapely.STRtree(theirs).query(mine)
    shared = shapely.area(shapely.intersection(mine[pairs[0]], theirs[pairs[1]]))
    return np.isin(np.arange(len(mine)), pairs[0][shared > OVERLAP * shapely.area(mine[pairs[0]])])


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
