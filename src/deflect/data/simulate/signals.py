"""What the classes of SIMULATED images differ in. A class has one signal, of one of four kinds:

* ``index``: reflectance of near or short-wave infrared bands that spectral indices contain.
* ``texture``: the direction of rows in red, green and blue. There is one row per patch of the mini study, so the pixels
  of a patch are the same set for every direction; only their arrangement differs.
* ``band``: reflectance of a band that no index contains. Landsat and HLS images have no such band: there it is the
  direction of rows in SWIR2 alone, of which every statistic of pixels and indices is the same.
* ``rgb``: reflectance of blue, which no index but BSI contains.

A signal is a gain on the finished image. It takes no random number, so two classes differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator

from deflect.bands import BandSet

Kind = Literal["index", "texture", "band", "rgb"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Relative change of reflectance by one step.
STEP: dict[Kind, float] = {"index": 0.22, "texture": 0.0, "band": 0.2, "rgb": 0.25}
#: Amplitude of rows relative to the reflectance, and rows per image side: patches of 8 of 48 pixels.
CONTRAST, ROWS = 0.25, 6
#: Rows per image side along x and y: upright, level, rising and falling.
DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1))
#: Roles of bands that change together.
_TOGETHER = {"N": ("RE2", "RE3", "N", "N2")}


@dataclass(frozen=True)
class Signal:
    """``steps`` by role of a band, or the ``direction`` of rows (a place in DIRECTIONS)."""

    kind: Kind
    steps: Mapping[str, int] = field(default_factory=dict)
    direction: int | None = None


#: Changes nothing.
NONE = Signal("index")


@dataclass(frozen=True)
class Design:
    """The ``signals`` of a dataset, and what an image without signal can have: the ``directions`` of its rows.

    ``swir``: SWIR2 has rows of its own. ``strength``: how often a step is applied; water and floating matter differ
    much more by themselves than land does.
    """

    signals: tuple[Signal, ...]
    directions: tuple[int, ...] = (0, 1, 2, 3)
    swir: bool = False
    strength: int = 1


def _stepped(kind: Kind, *steps: dict[str, int]) -> tuple[Signal, ...]:
    return tuple(Signal(kind, each) for each in steps)


def _turned(kind: Kind, *directions: int) -> tuple[Signal, ...]:
    return tuple(Signal(kind, direction=each) for each in directions)


_INFRARED = ({"N": 1}, {"N": -1}, {"S1": 1}, {"S1": -1}, {"S2": 1}, {"S2": -1}, {"S1": 1, "S2": 1})
_BLUE = ({"B": 1}, {"B": -1}, {"B": 2})
_FREE = ({"RE3": 1}, {"RE3": -1}, {"N2": 1})
#: One signal per class, in the order of labels; of Brick Kiln and Burn Scars, which are binary, those of positives.
DESIGNS = {
    "so2sat": Design(
        _stepped("index", *_INFRARED)
        + _turned("texture", 0, 1, 2, 3)
        + _stepped("band", *_FREE)
        + _stepped("rgb", *_BLUE)
    ),
    "brick_kiln": Design(
        5 * _stepped("index", {"S1": 1, "S2": 1})
        + 3 * _turned("texture", 3)
        + 2 * _stepped("band", {"RE3": 1})
        + 2 * _stepped("rgb", {"B": 1}),
        directions=(2,),
    ),
    "forestnet": Design(
        _stepped("index", *_INFRARED[:5])
        + _turned("texture", 0, 1, 2)
        + _turned("band", 0, 1)
        + _stepped("rgb", *_BLUE[:2]),
        swir=True,
    ),
    "burn_scars": Design(
        8 * _stepped("index", {"N": -2, "S2": 2})
        + 5 * _turned("texture", 3)
        + 3 * _turned("band", 3)
        + 4 * _stepped("rgb", {"B": 2}),
        directions=(2,),
        swir=True,
    ),
    "mados": Design(
        _stepped("index", *_INFRARED[:6])
        + _turned("texture", 0, 1, 2, 3)
        + _stepped("band", *_FREE[:2])
        + _stepped("rgb", *_BLUE),
        strength=3,
    ),
}


def positive(dataset: str, index: int) -> Signal:
    """The signal of positive ``index`` of a binary dataset; 7 spreads the kinds over few images."""
    signals = DESIGNS[dataset].signals
    return signals[7 * index % len(signals)]


def gain(rng: Generator, bands: BandSet, size: int, design: Design, signal: Signal = NONE) -> np.ndarray:
    """Factors (C, H, W) on the reflectance of ``bands``: rows, and the ``signal``."""
    visible, swir = rng.choice(design.directions, 2)
    phases = rng.uniform(0, 2 * np.pi, 2)
    if signal.direction is not None:
        visible, swir = (signal.direction, swir) if signal.kind == "texture" else (visible, signal.direction)
    steps = {role: design.strength * n for name, n in signal.steps.items() for role in _TOGETHER.get(name, (name,))}
    rows = dict.fromkeys("RGB", _rows(size, visible, phases[0]))
    if design.swir:  # 45 degrees from those of red, green and blue where an image without signal has one direction
        rows["S2"] = _rows(size, (swir + 2) % 4, phases[1])
    factors = [rows.get(role, 1) * (1 + STEP[signal.kind]) ** steps.get(role, 0) for role in bands.roles]
    return np.stack([np.broadcast_to(factor, (size, size)) for factor in factors]).astype(np.float32)


def _rows(size: int, direction: int, phase: float) -> np.ndarray:
    """Factors (H, W) of rows."""
    x, y = np.meshgrid(*2 * [np.arange(size) / size])
    along, across = DIRECTIONS[direction]
    return 1 + CONTRAST * np.cos(2 * np.pi * ROWS * (along * x + across * y) + phase)


def shares(dataset: str) -> dict[Kind, float]:
    """Share of each kind in the signals of a dataset."""
    kinds = [signal.kind for signal in DESIGNS[dataset].signals]
    return {kind: kinds.count(kind) / len(kinds) for kind in KINDS}
