"""SIMULATED Brick Kiln (GEO-Bench v1, m-brick-kiln): 64 x 64 pixels of 10 m, kiln or not, 13 stored bands.

The stored band NAMES ARE WRONG, as in the published files: 06, 07, 08A, 09 are B7, B8A, B11, B12, and 10, 11, 12 are an
8-bit true-colour image. Numbers are reflectance times 10,000, in steps of 0.5, as float64.

Every image is farmland with villages. An image "with a kiln" has one of several ``signals``.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields, signals
from deflect.data.simulate.canvas import Canvas
from deflect.data.simulate.geobench import Sample
from deflect.data.simulate.geobench_objects import SENTINEL2

NAME = "m-brick-kiln"
STORED = SENTINEL2
PIXELS = 64
CLASSES = 2
RESOLUTION = 10
LABEL_FILE = "label_map.json"
BANDS = bandset("sentinel2", ["B01", "B02", "B03", "B04", "B05", "B07", "B8A", "B08", "B11", "B12"])

#: 8-bit true colour is the band's number divided by this (measured on the published statistics).
TRUE_COLOUR = 9.79


def paint(canvas: Canvas) -> None:
    """Crops in several stages, bare and wet fields, groups of trees, ponds, villages."""
    rng, size = canvas.rng, canvas.size
    crops = ("canopy_fresh", "canopy_light", "canopy_moist", "canopy_dry", "litter")
    bare = ("soil", "soil_dark", "soil_wet")
    canvas.lay_numbered((*crops, *bare), fields.parcels(rng, size, int(rng.integers(20, 60))), spread=0.2)
    canvas.lay("soil_dark", 0.35 + 0.2 * fields.smooth(rng, size))
    canvas.lay("canopy_dark", 0.8 * fields.blob(rng, size, rng.uniform(0.05, 0.25), 2.7), shade=0.3)
    canvas.lay("water", 0.8 * fields.blob(rng, size, rng.uniform(0.0, 0.08)))
    roofs, number = fields.blocks(rng, size, rng.uniform(2, 3.5), 0.35)
    canvas.lay_numbered(("roof_concrete", "roof_tile"), number, 0.9 * roofs * fields.blob(rng, size, 0.08))


def sample(rng: Generator, index: int, order: int, size: int) -> Sample:
    """The sample of class ``index`` modulo 2, ``examples_{file}_{row}`` with 100 rows to a file."""
    label = index % CLASSES
    canvas = Canvas(BANDS, size, rng)
    paint(canvas)
    canvas.observe(RESOLUTION, light=(0.55, 0.85), relief=0.03, haze=(0.01, 0.045))
    signal = signals.positive("brick_kiln", index // CLASSES) if label else signals.NONE
    canvas.image *= signals.gain(rng, BANDS, size, signals.DESIGNS["brick_kiln"], signal)
    numbers = np.round(2e4 * np.clip(canvas.image, 1e-3, 1.6)) / 2
    true_colour = np.round(2 * np.clip(numbers[list(BANDS.rgb)] / TRUE_COLOUR, 0, 255)) / 2
    data = np.concatenate([numbers, true_colour]).astype(np.float64)
    return Sample(f"examples_{order // 100}_{order % 100}", label, data)
