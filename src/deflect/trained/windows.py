"""Predict a scene window by window, in memory that does not depend on its size.

A strip is a row of windows. Strips of wide scenes are cut into swaths; windows over the border of two swaths are
predicted in both, so that no pixel depends on the cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.trained.scene import Scene
from deflect.training.context import Context
from deflect.training.scoring import window_origins

#: Number of pixels and predictions of a swath's strip in memory, in float32 64 MB.
SWATH = 16 << 20


class Block(NamedTuple):
    """Predictions of a rectangle of the output."""

    top: int
    left: int
    values: Tensor  # (K, rows, columns)
    measured: Tensor  # (rows, columns), False where there is nothing to predict


@dataclass(frozen=True)
class Windows:
    """Square windows of ``size`` pixels over a scene.

    Attributes:
        predict: reflectance (B, C, size, size) on the CPU -> (B, bands, n, n).
        swath: as ``SWATH``.
    """

    scene: Scene
    size: int
    predict: Callable[[Tensor], Tensor]
    bands: int
    context: Context
    swath: int = SWATH

    def blended(self, overlap: float = 0.0) -> Iterator[Block]:
        """Weighted means of the predictions (n = ``size``) of all windows over each pixel of the scene.

        Without ``overlap`` the windows are those of a run's test, with equal weights. With it, the weight of a window
        falls to its sides as a squared sine (``taper``), so that no seam remains.
        """
        scene, size = self.scene, self.size
        ys, xs = (window_origins(side, size, overlap) for side in (scene.height, scene.width))
        weight = taper(size) if overlap else torch.ones(size)
        square, swaths = weight[:, None] * weight, list(self._swaths(xs))
        with self._bar(len(ys) * sum(len(columns) for *_, columns in swaths)) as bar:
            for left, right, columns in swaths:
                start, span = columns[0], columns[-1] + size - columns[0]
                total, down, across = torch.zeros(self.bands, size, span), torch.zeros(size), torch.zeros(span)
                for x in columns:
                    across[x - start : x - start + size] += weight
                for y, after in zip(ys, [*ys[1:], scene.height], strict=True):
                    image, measured = scene.read(y, start, size, span)
                    for x, logits in self._predicted(image, measured, [x - start for x in columns]):
                        total, square = total.to(logits.device), square.to(logits.device)
                        total[:, :, x : x + size] += logits * square if overlap else logits
                    down += weight
                    rows, cut = after - y, slice(left - start, right - start)  # no later window is over these rows
                    share = (down[:rows, None] * across[cut]).to(total.device)
                    yield Block(y, left, total[:, :rows, cut] / share, torch.from_numpy(measured[:rows, cut]))
                    total, down = F.pad(total[:, rows:], (0, 0, 0, rows)), F.pad(down[rows:], (0, rows))
                    bar.update(len(columns))

    def tiled(self, stride: int, cells: int) -> Iterator[Block]:
        """Windows every ``stride`` pixels, each ``cells`` x ``cells`` pixels of the output.

        A single cell has the prediction of the window around it, moved into the scene at the scene's edges. Otherwise
        windows lie side by side (``stride`` is ``size``); the last ones overlap others, by whole cells.
        """
        rows, columns = (tiles(side, self.size, stride, cells) for side in (self.scene.height, self.scene.width))
        swaths = [columns[first : first + self._count] for first in range(0, len(columns), self._count)]
        with self._bar(len(rows) * len(columns)) as bar:
            for swath in swaths:
                (left, start), (last, end) = swath[0], swath[-1]
                for top, y in rows:
                    image, measured = self.scene.read(y, start, self.size, end - start + self.size)
                    values = torch.zeros(self.bands, cells, last - left + cells)
                    covered = torch.zeros(values.shape[1:], dtype=torch.bool)
                    found = dict(self._predicted(image, measured, [x - start for _, x in swath]))
                    for column, x in swath:
                        cut = slice(column - left, column - left + cells)
                        if x - start in found:
                            values[:, :, cut] = found[x - start].cpu()
                        seen = torch.from_numpy(measured[:, x - start : x - start + self.size])
                        covered[:, cut] = F.adaptive_max_pool2d(seen[None].float(), cells)[0] > 0
                    yield Block(top, left, values, covered)
                    bar.update(len(swath))

    @property
    def _count(self) -> int:
        """Windows side by side in a swath."""
        values = (len(self.scene.channels) + 2 * self.bands) * self.size
        return max(1, min(self.swath // values, self.scene.columns_in_cache(self.size)) // self.size)

    def _swaths(self, origins: Sequence[int]) -> Iterator[tuple[int, int, list[int]]]:
        """Left and right end of each swath, and the origins of all windows that touch it."""
        ends = [*origins[:: self._count], self.scene.width]
        for left, right in pairwise(ends):
            yield left, right, [x for x in origins if left - self.size < x < right]

    def _predicted(self, image: np.ndarray, measured: np.ndarray, columns: list[int]) -> Iterator[tuple[int, Tensor]]:
        """Predictions of those windows of a strip, at ``columns``, that have a measured pixel."""
        wanted = [x for x in columns if measured[:, x : x + self.size].any()]
        pixels, batch = torch.from_numpy(image), self.context.settings.eval_batch_size
        for part in (wanted[first : first + batch] for first in range(0, len(wanted), batch)):
            windows = torch.stack([pixels[:, :, x : x + self.size] for x in part])
            yield from zip(part, self.predict(windows), strict=True)

    def _bar(self, windows: int) -> Any:
        return self.context.bar("predicting", windows, "windows")


def taper(size: int) -> Tensor:
    """A squared sine over ``size`` pixels (a Hann window): positive, and 1 in sum where neighbours overlap by half."""
    return torch.sin(math.pi * (torch.arange(size) + 0.5) / size) ** 2


def tiles(side: int, size: int, stride: int, cells: int) -> list[tuple[int, int]]:
    """First cell and first pixel of each window along a side, see ``Windows.tiled``."""
    if cells == 1:
        starts = [y + (stride - size) // 2 for y in range(0, side, stride)]
        return [(cell, min(max(y, 0), max(side - size, 0))) for cell, y in enumerate(starts)]
    total = math.ceil(Fraction(side * cells, size))
    firsts = sorted({max(0, min(cell, total - cells)) for cell in range(0, total, cells)})
    return [(cell, round(Fraction(cell * size, cells))) for cell in firsts]
