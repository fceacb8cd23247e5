"""Where the images of each split are, from the coordinates of their files, and which of them meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deflect.data.readers import read_every, sheet_for
from deflect.errors import DataError
from deflect.progress import bar

#: Share of the smaller image from which two overlap. The box around a tile that is turned against north is larger than
#: the tile, so the boxes of neighbours overlap a little.
OVERLAP = 0.2
#: Share of its side by which a box is enlarged, so that neighbours meet in spite of rounding.
MARGIN = 0.01


@dataclass(frozen=True)
class Places:
    """By split, (S, 4) west, south, east and north in degrees, NaN without place, and the name of each image."""

    boxes: dict[str, NDArray[np.float64]]
    files: dict[str, list[str]]

    @property
    def missing(self) -> dict[str, int]:
        """Images without place by split."""
        return {split: int(np.isnan(boxes[:, 0]).sum()) for split, boxes in self.boxes.items()}

    @property
    def found(self) -> int:
        return sum(map(len, self.boxes.values())) - sum(self.missing.values())

    @cached_property
    def meetings(self) -> list[Meeting]:
        """Images of different splits whose boxes overlap or touch."""
        found = [_meeting(self, *pair) for pair in combinations(self.boxes, 2)]
        return [meeting for meeting in found if meeting.overlapping + meeting.touching]


@dataclass(frozen=True)
class Meeting:
    """Images of the split ``second`` that overlap or only touch one of ``first``; ``examples`` are pairs of files."""

    first: str
    second: str
    overlapping: int
    touching: int
    examples: list[tuple[str, str]]


def read_places(name: str, raw: Path, ids: dict[str, list[str]]) -> Places:
    """The places of the images ``ids`` of each split.

    Raises:
        DataError: the raw files are missing, or no longer have these images.
    """
    every, boxes, files = read_every(name, raw, sheet_for(name, raw)), {}, {}
    with bar(f"places of {name}", sum(map(len, ids.values())), unit="images") as shown:
        for split, names in ids.items():
            images = every[split]
            index = {known: place for place, known in enumerate(images.ids)}
            if gone := [one for one in names if one not in index]:
                message = f"{len(gone)} prepared images are not in {split} any more, e.g. {gone[0]!r}"
                raise DataError(f"{raw}: {message}; run `deflect data prepare {name}`")
            found = []
            for one in names:
                found.append(images.footprint(index[one]) or (np.nan,) * 4)
                shown.update()
            boxes[split] = np.array(found, dtype=np.float64)
            files[split] = [_titled(one, images.path(index[one])) for one in names]
    return Places(boxes, files)


def _titled(name: str, path: Path) -> str:
    """The file's name, and that of the image if it is only a part of the file."""
    return path.name if path.stem == name.rpartition("/")[2] else f"{name} ({path.name})"


def _meeting(places: Places, first: str, second: str) -> Meeting:
    from shapely import STRtree, box

    grown = {}
    for split in (first, second):
        west, south, east, north = places.boxes[split].T
        x, y = MARGIN * (east - west), MARGIN * (north - south)
        grown[split] = box(west - x, south - y, east + x, north + y)  # of NaN: nothing meets it
    other, own = STRtree(grown[first]).query(grown[second])[::-1]
    share = _shared(places.boxes[first][other], places.boxes[second][own])
    order = np.argsort(-share, kind="stable")[:3]
    overlapping = np.unique(own[share > OVERLAP])
    return Meeting(
        first,
        second,
        len(overlapping),
        len(np.setdiff1d(own, overlapping)),
        [(places.files[first][other[at]], places.files[second][own[at]]) for at in order],
    )


def _shared(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of the intersection of boxes (N, 4) as a share of the smaller one."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    smaller = np.minimum(*((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)))
    return sides.clip(min=0).prod(1) / np.maximum(smaller, 1e-300)
