"""Maps of numbers (a pixel_regression) as colours: the numbers from dark to bright, their errors from white to red."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.float64]
MISSING = "#FFFFFF"


class Scale(NamedTuple):
    """The range of the truth, which all maps of a figure share."""

    low: float
    high: float

    @classmethod
    def of(cls, labels: Array) -> Scale:
        return cls(float(np.nanmin(labels)), float(np.nanmax(labels)))

    def paint(self, numbers: Array) -> Array:
        """Numbers (H, W), NaN without one, as colours (H, W, 3)."""
        return _colours(numbers, "viridis", self.low, self.high)

    def errors(self, truth: Array, predicted: Array) -> Array:
        """Absolute errors as colours (H, W, 3); the darkest is as large as the range."""
        return _colours(np.abs(predicted - truth), "Reds", 0.0, self.high - self.low)

    def legend(self, figure: Figure, grid: NDArray[np.object_], name: str) -> None:
        """Two bars above the ``grid`` of axes, with the ``name`` of the target."""
        half = grid.shape[1] // 2
        bars = (
            ("viridis", self.low, self.high, name, grid[:, :half]),
            ("Reds", 0.0, self.high - self.low, "absolute error", grid[:, half:]),
        )
        for colours, low, high, label, axes in bars:
            shown = ScalarMappable(Normalize(low, high), colours)
            bar = figure.colorbar(shown, ax=axes.ravel().tolist(), location="top", shrink=0.6, aspect=40, pad=0.02)
            bar.ax.tick_params(labelsize=6)
            bar.set_label(label, fontsize=6)


def most_varied(labels: Array, count: int) -> list[int]:
    """Rows of the ``count`` maps whose numbers differ most; those without any come last."""
    spread = [np.nanstd(one) if np.isfinite(one).any() else -1.0 for one in labels]
    return np.argsort(-np.array(spread), kind="stable")[:count].tolist()


def _colours(values: Array, name: str, low: float, high: float) -> Array:
    return mpl.colormaps[name].with_extremes(bad=MISSING)(Normalize(low, high)(np.ma.masked_invalid(values)))[..., :3]
