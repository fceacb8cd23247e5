"""Cut large images into squares."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deflect.data.card import has_label
from deflect.data.readers.checks import reading
from deflect.data.readers.own.card import CARD, OwnCard
from deflect.data.readers.own.image import ImageReader
from deflect.data.readers.own.masks import read_mask
from deflect.data.readers.raster import Grid, Window
from deflect.errors import DataError

log = logging.getLogger(__name__)


def squares(grid: Grid, paths: Sequence[Path], mask: Path, card: OwnCard, reader: ImageReader) -> Iterator[Window]:
    """The squares of ``size``, every ``stride`` pixels, with a label; the last ones lie at the image's edges.

    Args:
        grid: of the image in ``paths``.

    Raises:
        DataError: the image is smaller than a square.
    """
    size, stride, empty = card.size or 0, card.stride or 0, 0
    if min(grid.shape) < size:
        shape = " x ".join(map(str, grid.shape))
        raise DataError(f"{paths[0]}: {shape} pixels; set size: {min(grid.shape)} or less in {CARD}")
    for top in _starts(grid.shape[0], size, stride):
        used = _labelled(grid, paths, mask, (top, 0, size, grid.shape[1]), card, reader)
        for left in _starts(grid.shape[1], size, stride):
            if used[left : left + size].any():
                yield top, left, size, size
            else:
                empty += 1
    if empty:
        log.info("%s: %d squares without any label or measurement are left out", paths[0], empty)


def _labelled(
    grid: Grid, paths: Sequence[Path], mask: Path, strip: Window, card: OwnCard, reader: ImageReader
) -> np.ndarray:
    """Which columns of a strip have a pixel with a label and a measurement of the first band."""
    with reading(mask):
        labels = read_mask(mask, card, grid, paths[0], strip)
    with reading(paths[0]):
        return np.asarray((has_label(labels) & reader.is_measured(paths, strip)).any(0))


def _starts(side: int, size: int, stride: int) -> list[int]:
    return sorted({*range(0, side - size + 1, stride), side - size})
