"""Figures of the page: reflectance of a band, a target's values, and the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deflect.analysis.figures.style import GREY, canvas, encode, styled
from deflect.checking.places import Places
from deflect.checking.thumbnails import address
from deflect.checking.usual import Usual

#: Colours that colour-blind readers can distinguish (Okabe and Ito), and line styles for grey prints.
LOOKS: dict[str, tuple[str, Any]] = {"train": ("#0072B2", "-"), "val": ("#E69F00", "--"), "test": ("#009E73", ":")}
MARKERS = {"train": "o", "val": "s", "test": "^"}
BINS = 50


def band_histogram(band: str, values: Mapping[str, NDArray[np.float32]], known: Sequence[Usual]) -> str:
    """Reflectance of one band in each split, under the usual range of published datasets."""
    return address(encode(_histogram(values, "reflectance", [one for one in known if band in one.mean], band), "png"))


def target_histogram(name: str, values: Mapping[str, NDArray[np.float32]]) -> str:
    return address(encode(_histogram(values, name), "png"))


@styled
def _histogram(
    values: Mapping[str, NDArray[np.float32]], label: str, known: Sequence[Usual] = (), band: str = ""
) -> Figure:
    figure, [[axes]] = canvas(1, 1, 2.8, 1.75)
    ends = np.concatenate([np.percentile(each, (0.2, 99.8)) for each in values.values() if len(each)])
    low, high = float(ends.min()), float(ends.max())
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    for split, each in values.items():
        colour, line = LOOKS[split]
        counts = np.histogram(each, edges)[0] / max(len(each), 1)
        axes.stairs(counts, edges, color=colour, linestyle=line, linewidth=1.2, label=split)
    top = axes.get_ylim()[1]
    for place, one in enumerate(known):
        (start, end), y = one.span(band), top * (1.06 + 0.09 * place)
        axes.plot([max(start, 0), end], [y, y], color="#AAAAAA", linewidth=3, solid_capstyle="butt")
        axes.plot(one.mean[band], y, marker="|", color="#333333", markersize=5)
    axes.set(xlabel=label, ylabel="share of pixels" if band else "share of values", ylim=(0, None), title=band)
    axes.locator_params(axis="x", nbins=5)
    axes.legend(handlelength=1.6, loc="upper right", bbox_to_anchor=(1, 1 - 0.09 * len(known)))
    return figure


@styled
def _map(places: Places) -> Figure:
    figure, [[axes]] = canvas(1, 1, 4.2, 3.4)
    centres = {split: boxes[~np.isnan(boxes[:, 0])] for split, boxes in places.boxes.items()}
    for split, boxes in centres.items():
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        look: Any = {"color": LOOKS[split][0], "marker": MARKERS[split], "s": 14, "alpha": 0.7, "linewidths": 0.3}
        axes.scatter(x, y, edgecolors="white", label=f"{split} ({len(boxes)})", **look)
    _square(axes, np.concatenate(list(centres.values())))
    axes.set(xlabel="longitude (°)", ylabel="latitude (°)")
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=5)
    figure.legend(loc="outside upper left", ncols=3, labelcolor=GREY)
    return figure


def _square(axes: Axes, boxes: NDArray[np.float64]) -> None:
    """A degree of longitude as long as it is at this latitude, with some room around."""
    latitude = np.radians(np.clip(boxes[:, [1, 3]].mean(), -80, 80))
    axes.set_aspect(1 / np.cos(latitude), adjustable="datalim")
    axes.margins(0.08)


def location_map(places: Places) -> str:
    """Longitude and latitude of the images of each split."""
    return address(encode(_map(places), "png"))
