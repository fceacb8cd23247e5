"""Small pictures of images and masks for a web page."""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deflect.bands import BandSet
from deflect.checking.facts import SEED, SplitFacts
from deflect.checking.labels import IMAGES, PIXELS, POSITIVES
from deflect.composite import composite
from deflect.data.store import Split

#: Longest side of a picture in pixels.
SIDE = 160
#: Random images of each class, or of a dataset without classes; classes that are shown at most.
PER_CLASS, IN_ALL, CLASSES = 4, 8, 24
NAMES = {"S2": "SWIR 2", "S1": "SWIR 1", "N": "near infrared", "R": "red", "G": "green"}
FALSE_COLOURS = (("N", "R", "G"), ("S2", "R", "G"), ("S1", "R", "G"))


class Group(NamedTuple):
    """Images that are shown together: a title and rows of the split."""

    title: str
    rows: list[int]


def groups(split: SplitFacts, classes: tuple[str, ...]) -> list[Group]:
    """Seeded random images of each class among those that were read, or from the lowest to the highest target."""
    random, labels, kind = np.random.default_rng(SEED), split.split.labels, split.labels.kind
    rows = random.permutation(split.rows)
    if kind in (IMAGES, POSITIVES):
        of_class = labels[rows][:, None] == np.arange(len(classes)) if kind == IMAGES else labels[rows] == 1
        return [
            Group(title, rows[of_class[:, place]][:PER_CLASS].tolist())
            for place, title in enumerate(classes[:CLASSES])
            if of_class[:, place].any()
        ]
    if kind == PIXELS:
        return [Group("", _with_each_class(rows, labels, len(classes)))]
    means = np.array([np.nanmean(labels[row]) if np.isfinite(labels[row]).any() else np.nan for row in rows])
    order = np.argsort(means)[: np.isfinite(means).sum()]
    return [Group("", rows[order[np.unique(np.linspace(0, len(order) - 1, IN_ALL).astype(int))]].tolist())]


def _with_each_class(rows: NDArray[np.int64], masks: NDArray[Any], classes: int) -> list[int]:
    """The first images with each class, then further ones."""
    wanted, chosen = set(range(classes)), []
    for row in rows:
        if new := wanted & set(np.unique(masks[row]).tolist()):
            chosen.append(int(row))
            wanted -= new
        if not wanted or len(chosen) == CLASSES:
            break
    return chosen + [int(row) for row in rows if row not in chosen][: max(0, IN_ALL - len(chosen))]


def false_colour(bands: BandSet) -> tuple[str, ...]:
    """Roles that are shown as red, green and blue beside the natural colours; empty without infrared bands."""
    return next((roles for roles in FALSE_COLOURS if all(map(bands.has_role, roles))), ())


def picture(split: Split, row: int, roles: tuple[str, ...]) -> str:
    """Three bands of an image as the address of a PNG; natural colours are stretched together."""
    image = _smaller(np.asarray(split.images[row], dtype=np.float64) * split.card.stored_scale)
    return png(composite(image, split.card.bands, roles, joint=roles == ("R", "G", "B")))


def mask(labels: NDArray[Any], classes: int) -> str:
    """A map of classes as the address of a PNG; white is unlabelled."""
    from deflect.analysis.figures.maps import ClassColours

    return png(ClassColours(classes).paint(_smaller(labels)))


def target(values: NDArray[np.float32], low: float, high: float) -> str:
    """A map of numbers as the address of a PNG, dark to bright; white is unlabelled."""
    from deflect.analysis.figures.number_maps import Scale

    return png(Scale(low, high).paint(_smaller(values)))


def png(pixels: NDArray[np.float64]) -> str:
    """An image (H, W, 3) from 0 to 1 as a data address."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(pixels), format="png", metadata={"Software": ""})
    return address(buffer.getvalue())


def address(content: bytes) -> str:
    """The bytes of a PNG file as a data address."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _smaller(array: NDArray[Any]) -> NDArray[Any]:
    """Every n-th pixel of (..., H, W), so that no side is longer than ``SIDE``."""
    step = -(-array.shape[-1] // SIDE)
    return array[..., ::step, ::step]
