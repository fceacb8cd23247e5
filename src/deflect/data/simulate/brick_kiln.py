"""SIMULATED Brick Kiln (GEO-Bench v1, m-brick-kiln): 64 x 64 pixels of 10 m, kiln or not, 13 stored bands.

The stored band NAMES ARE WRONG, as in the published files: 06, 07, 08A, 09 are B7, B8A, B11, B12, and 10, 11, 12 are an
8-bit true-colour image. Numbers are reflectance times 10,000, in steps of 0.5, as float64.

Every scene is farmland with villages. A kiln is an oval of brick with a dark track in a yard of dry clay. Most other
scenes have a clearing of the same shape and colour, but of wet soil or roofs.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields
from deflect.data.simulate.canvas import Canvas, Materials
from deflect.data.simulate.geobench import Sample
from deflect.data.simulate.geobench_objects import SENTINEL2

NAME = "m-brick-kiln"
STORED = SENTINEL2
PIXELS = 64
CLASSES = 2
RESOLUTION = 10
LABEL_MAP = True
BANDS = bandset("sentinel2", ["B01", "B02", "B03", "B04", "B05", "B07", "B8A", "B08", "B11", "B12"])

#: 8-bit true colour is the band's number divided by this (measured on the published statistics).
TRUE_COLOUR = 9.79


def paint(canvas: Canvas, label: int) -> None:
    rng, size = canvas.rng, canvas.size
    _plain(canvas)
    for _ in range(rng.integers(0, 3)):
        _village(canvas)
    if label == 1 or rng.random() < 0.7:
        _clearing(canvas, kiln=label == 1)
    if rng.random() < 0.5:
        canvas.lay(("water_turbid", "water_green"), fields.line(rng, size, rng.uniform(1, 4)))


def _plain(canvas: Canvas) -> None:
    """Crops in several stages, bare and wet fields, groups of trees, ponds."""
    rng, size = canvas.rng, canvas.size
    crops = ("canopy_fresh", "canopy_light", "canopy_moist", "canopy_dry", "litter")
    bare = ("soil", "soil_dark", "soil_red_wet")
    canvas.lay_numbered((*crops, *bare), fields.parcels(rng, size, int(rng.integers(20, 60))), spread=0.2)
    canvas.lay("soil_dark", 0.35 + 0.2 * fields.smooth(rng, size))
    canvas.lay("canopy_dark", 0.8 * fields.blob(rng, size, rng.uniform(0.05, 0.25), 2.7), shade=0.3)
    canvas.lay("water", 0.8 * fields.blob(rng, size, rng.uniform(0.0, 0.08)))


def _village(canvas: Canvas) -> None:
    rng, size = canvas.rng, canvas.size
    place = fields.ellipse(rng, size, rng.uniform(8, 22), rng.uniform(8, 16))
    roofs, number = fields.blocks(rng, size, rng.uniform(2, 3.5), 0.35)
    canvas.lay(("canopy_dark", "canopy_moist"), 0.7 * place, shade=0.3)
    canvas.lay_numbered(("metal", "roof_concrete", "roof_tile"), number, place * roofs * 0.9)


def _clearing(canvas: Canvas, kiln: bool) -> None:
    """A kiln, or its shapes in other materials: a flooded field, or a market of painted and shingled roofs."""
    rng, size = canvas.rng, canvas.size
    scale = size / 64
    centre = (rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25))
    yard = fields.ellipse(rng, size, scale * rng.uniform(24, 38), scale * rng.uniform(14, 24), centre=centre)
    stacks = fields.rows(rng, size, 4, 0.4) * yard
    length, width = scale * rng.uniform(13, 18), scale * rng.uniform(5, 8)
    angle = rng.uniform(0, np.pi)
    oval = fields.ellipse(rng, size, length, width, centre=centre, angle=angle)
    track = fields.ellipse(rng, size, 0.7 * length, 0.4 * width, centre=centre, angle=angle)
    materials: tuple[Materials, ...]
    if kiln:
        materials = (("soil", "soil_red"), "brick", "brick", "char")
    elif rng.random() < 0.6:
        wet = ("soil_wet", "soil_red_wet")
        materials = (wet, wet, "soil_red_wet", ("water_turbid", "asphalt"))
    else:
        materials = ("asphalt", "roof_shingle", ("paint", "metal"), ("water_turbid", "asphalt"))
    for material, cover, shape in zip(materials, (0.75, 0.6, 0.9, 0.8), (yard, stacks, oval, track), strict=True):
        canvas.lay(material, cover * shape)
    canvas.shadow(oval, 1, 0.3)


def sample(rng: Generator, index: int, order: int, size: int) -> Sample:
    """The sample of class ``index`` modulo 2, ``examples_{file}_{row}`` with 100 rows to a file."""
    label = index % CLASSES
    canvas = Canvas(BANDS, size, rng)
    paint(canvas, label)
    canvas.observe(RESOLUTION, light=(0.55, 0.85), relief=0.03, haze=(0.01, 0.045))
    numbers = np.round(2e4 * np.clip(canvas.image, 1e-3, 1.6)) / 2
    true_colour = np.round(2 * np.clip(numbers[list(BANDS.rgb)] / TRUE_COLOUR, 0, 255)) / 2
    data = np.concatenate([numbers, true_colour]).astype(np.float64)
    return Sample(f"examples_{order // 100}_{order % 100}", label, data)
