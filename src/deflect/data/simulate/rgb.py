"""SIMULATED unlabelled RGB scenes, on which the mini GFMs are pretrained."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from deflect.bands import SENTINEL2
from deflect.data.simulate import brick_kiln, burn_scars, forestnet, mados, so2sat
from deflect.data.simulate.canvas import Canvas

RGB = SENTINEL2.subset(["B04", "B03", "B02"])
_KINDS = ((so2sat, 17), (brick_kiln, 2), (forestnet, 12), (burn_scars, 1), (mados, 22))


def rgb_scene(rng: Generator, index: int, size: int) -> np.ndarray:
    """One scene (3, H, W), float32 reflectance in the order R, G, B; kinds of landscape take turns."""
    module, variants = _KINDS[index % len(_KINDS)]
    canvas = Canvas(RGB, size, rng)
    module.paint(canvas, int(rng.integers(variants)))
    canvas.light((0.6, 1.2), relief=0.06)
    canvas.haze((0.0, 0.08))
    canvas.sense(10)
    return np.clip(canvas.image, 0, None)
