"""Labels at marks, each where it overlaps least with what is already drawn.

Marks that almost coincide share one label, with one line for each from top to bottom.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

#: Directions tried around a mark, the most readable first.
_SIDES = (
    *((1, 0), (-1, 0), (0, 1), (0, -1)),
    *((0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8)),
    *((0.4, 0.9), (0.4, -0.9), (-0.4, 0.9), (-0.4, -0.9)),
)
_DISTANCES = (6, 9, 13, 18, 24, 32, 42)  # points
_INK = "#222222"
_NEAR = 6  # points: marks closer than this almost coincide
_LEADER = 12  # from this distance, a thin line connects the label to its mark

Array = NDArray[np.float64]
#: A horizontal or vertical line in data coordinates: x and y of its start, x and y of its end.
Line = tuple[float, float, float, float]


class Label(NamedTuple):
    """A mark at (x, y) in data coordinates, ``error`` its half interval, and its text."""

    x: float
    y: float
    error: float
    text: str


def place(axes: Axes, labels: Sequence[Label], lines: Sequence[Line] = ()) -> None:
    """Write every label near its mark, off the straight ``lines``. Axis limits must be final."""
    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()
    pixels = axes.figure.dpi / 72  # per point
    points = axes.transData.transform([(label.x, label.y) for label in labels])
    taken = [_box(axes, (x0, x1), (y0, y1)).padded(2) for x0, y0, x1, y1 in lines]
    # padding by a mark's radius
    taken += [_box(axes, (x, x), (y - error, y + error)).padded(4 * pixels) for x, y, error, _ in labels]
    for members in _groups(points, _NEAR * pixels):
        label, point = labels[members[0]], points[members[0]]
        names = "\n".join(labels[i].text for i in members)
        text = axes.annotate(names, (label.x, label.y), (0, 0), textcoords="offset points", color=_INK, fontsize=7)
        text.set(linespacing=1.05, in_layout=False)
        size = text.get_window_extent(canvas.get_renderer())
        boxes = [_candidate(point, size, distance * pixels, side) for distance in _DISTANCES for side in _SIDES]
        others = np.delete(points, members, axis=0)
        costs = [_cost(box.padded(1), taken, axes.bbox) + _doubt(box, point, others) for box in boxes]
        best = costs.index(min(costs))
        box = boxes[best]
        taken.append(box.padded(1))
        text.set_position((box.p0 - point) / pixels)
        if _DISTANCES[best // len(_SIDES)] >= _LEADER:
            end = axes.transData.inverted().transform(_nearest(box, point))
            axes.plot([label.x, end[0]], [label.y, end[1]], color=_INK, lw=0.4, zorder=3, scalex=False, scaley=False)


def _groups(points: Array, near: float) -> list[list[int]]:
    """Indices of points in groups whose members are closer than ``near`` to another one, the highest first."""
    groups: list[list[int]] = []
    for i, point in enumerate(points):
        close = [group for group in groups if min(np.hypot(*(points[group] - point).T)) < near]
        groups = [group for group in groups if group not in close] + [[i, *itertools.chain(*close)]]
    return [sorted(group, key=lambda i: -points[i][1]) for group in sorted(groups, key=min)]


def _box(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> Bbox:
    """A box of data coordinates, in pixels."""
    return Bbox(axes.transData.transform(np.transpose([x, np.sort(y)])))


def _candidate(point: Array, size: Bbox, distance: float, side: tuple[float, float]) -> Bbox:
    """Box of a text of ``size``, ``distance`` from ``point`` toward ``side``, in pixels."""
    extent = np.array([size.width, size.height])
    centre = point + np.array(side) * distance + np.sign(side) * (extent / 2)
    return Bbox.from_bounds(*(centre - extent / 2), *extent)


def _cost(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """Weighted area in square pixels of ``box`` that overlaps others or is outside the axes."""
    covered = sum(_shared(box, other) for other in taken)
    return 8 * covered + 10 * (box.width * box.height - _shared(box, frame))


def _doubt(box: Bbox, point: Array, others: Array) -> float:
    """A cost for being closer to another mark than to its own, in square pixels."""
    own = _gap(box, point)
    return 0.5 * box.width * box.height * sum(_gap(box, other) < 1.3 * own for other in others)


def _gap(box: Bbox, point: Array) -> float:
    """Distance from a point to a box."""
    return float(np.hypot(*(point - _nearest(box, point))))


def _nearest(box: Bbox, point: Array) -> Array:
    return np.clip(point, box.p0, box.p1)


def _shared(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return both.width * both.height if both else 0.0
