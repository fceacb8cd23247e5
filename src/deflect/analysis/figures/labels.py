"""Labels at marks without overlaps: each goes where it covers least of what is already there.

Marks that almost coincide get one label together, a line each from top to bottom.
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

#: Directions tried around a mark, the most readable first. A label touches its mark with the side that faces it.
_SIDES = (
    *((1, 0), (-1, 0), (0, 1), (0, -1)),
    *((0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8)),
    *((0.4, 0.9), (0.4, -0.9), (-0.4, 0.9), (-0.4, -0.9)),
)
_DISTANCES = (6, 9, 13, 18, 24, 32, 42)  # points
_INK = "#222222"
_NEAR = 6  # points: marks closer than this almost coincide
_LEADER = 12  # from this distance on, a thin line ties the label to its mark

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
    taken = [*(_line(axes, line) for line in lines), *(_mark(axes, label) for label in labels)]
    points = axes.transData.transform([(label.x, label.y) for label in labels])
    for members in _groups(points, _NEAR * axes.figure.dpi / 72):
        label, point = labels[members[0]], points[members[0]]
        names = "\n".join(labels[i].text for i in members)
        text = axes.annotate(names, (label.x, label.y), (0, 0), textcoords="offset points", color=_INK, fontsize=7)
        text.set(linespacing=1.05, in_layout=False)
        size = text.get_window_extent(canvas.get_renderer())
        boxes = [_box(point, size, distance, side, axes.figure.dpi) for distance in _DISTANCES for side in _SIDES]
        others = np.delete(points, members, axis=0)
        costs = [_cost(box.padded(1), taken, axes.bbox) + _doubt(box, point, others) for box in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best].padded(1))
        offset = (boxes[best].p0 - point) * 72 / axes.figure.dpi
        text.set_position(offset)
        if _DISTANCES[best // len(_SIDES)] >= _LEADER:
            _lead(axes, label, boxes[best])


def _groups(points: NDArray[np.float64], near: float) -> list[list[int]]:
    """Indices of points in groups whose members are closer than ``near`` to another one, the highest first."""
    groups: list[list[int]] = []
    for i, point in enumerate(points):
        close = [group for group in groups if min(np.hypot(*(points[group] - point).T)) < near]
        groups = [group for group in groups if group not in close] + [[i, *itertools.chain(*close)]]
    return [sorted(group, key=lambda i: -points[i][1]) for group in sorted(groups, key=min)]


def _box(point: NDArray[np.float64], size: Bbox, distance: float, side: tuple[float, float], dpi: float) -> Bbox:
    """Box of a text of ``size``, ``distance`` points from ``point`` toward ``side``, in pixels."""
    width, height = size.width, size.height
    centre = point + np.array(side) * distance * dpi / 72 + np.sign(side) * (width / 2, height / 2)
    return Bbox.from_bounds(centre[0] - width / 2, centre[1] - height / 2, width, height)


def _lead(axes: Axes, label: Label, box: Bbox) -> None:
    """A thin line from a mark to the nearest point of its far label."""
    x, y = axes.transData.transform((label.x, label.y))
    near = np.clip(x, box.x0, box.x1), np.clip(y, box.y0, box.y1)
    end = axes.transData.inverted().transform(near)
    axes.plot([label.x, end[0]], [label.y, end[1]], color=_INK, lw=0.4, zorder=3, scalex=False, scaley=False)


def _mark(axes: Axes, label: Label) -> Bbox:
    """The box of a mark and its error bar, in pixels."""
    x, low = axes.transData.transform((label.x, label.y - label.error))
    _, high = axes.transData.transform((label.x, label.y + label.error))
    radius = 4 * axes.figure.dpi / 72
    return Bbox.from_extents(x - radius, low - radius, x + radius, high + radius)


def _line(axes: Axes, line: Line) -> Bbox:
    """The box of a horizontal or vertical line with a margin, in pixels."""
    (x0, y0), (x1, y1) = axes.transData.transform([line[:2], line[2:]])
    return Bbox.from_extents(x0, min(y0, y1), x1, max(y0, y1)).padded(2)


def _cost(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """Area in square pixels that ``box`` shares with others or that is outside the axes.

    Both count several times, since a thin error bar through a text covers little of it and still spoils it.
    """
    covered = sum(_shared(box, other) for other in taken)
    return 8 * covered + 10 * (box.width * box.height - _shared(box, frame))


def _doubt(box: Bbox, point: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """A cost for being closer to another mark than to its own, in square pixels."""
    own = _gap(box, point)
    return 0.5 * box.width * box.height * sum(_gap(box, other) < 1.3 * own for other in others)


def _gap(box: Bbox, point: NDArray[np.float64]) -> float:
    """Distance from a point to the nearest point of a box."""
    nearest = np.clip(point, box.p0, box.p1)
    return float(np.hypot(*(point - nearest)))


def _shared(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return both.width * both.height if both else 0.0
