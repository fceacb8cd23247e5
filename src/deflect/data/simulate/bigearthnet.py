"""SIMULATED BigEarthNet (GEO-Bench v1, m-bigearthnet): 120 x 120 pixels of 10 m, twelve bands, 43 classes.

An image is a mosaic of one to four land covers, and has the classes of all of them. Ten of the 43 classes occur.
Numbers are surface reflectance times 10,000, whole, as float32.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields
from deflect.data.simulate.canvas import Canvas
from deflect.data.simulate.geobench import Sample
from deflect.data.simulate.geobench_objects import LABEL_STATS, SENTINEL2

NAME = "m-bigearthnet"
PIXELS = 120
CLASSES = 43
RESOLUTION = 10
LABEL_FILE = LABEL_STATS
STORED = tuple(band for band in SENTINEL2 if band.name != "10 - SWIR - Cirrus")
BANDS = bandset("sentinel2", ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"])

#: Class -> materials of its surface.
COVERS = {
    5: ("canopy_fresh", "canopy_moist"),  # broad-leaved forest
    9: ("canopy_dark",),  # coniferous forest
    12: ("roof_tile", "roof_concrete", "asphalt"),  # discontinuous urban fabric
    25: ("soil", "litter"),  # non-irrigated arable land
    27: ("canopy_light",),  # pastures
    28: ("soil_wet",),  # peatbogs
    31: ("water_green",),  # rice fields
    36: ("water",),  # sea and ocean
    37: ("soil_red",),  # sparsely vegetated areas
    41: ("water_turbid",),  # water bodies
}
#: Maximum number of covers of an image, and parcels of each.
MOST, PARCELS = 4, 3


def paint(canvas: Canvas, first: int) -> np.ndarray:
    """Lay the cover number ``first`` and up to three others; returns their classes as int64 (43,) of 0 and 1."""
    rng, classes = canvas.rng, list(COVERS)
    others = rng.permutation([k for k in classes if k != classes[first]])
    chosen = [classes[first], *others[: rng.integers(MOST)]]
    parcel = fields.parcels(rng, canvas.size, PARCELS * len(chosen)) % len(chosen)
    label = np.zeros(CLASSES, dtype=np.int64)
    for number, each in enumerate(chosen):
        inside = (parcel == number).astype(np.float32)
        canvas.lay(COVERS[each], inside, grain=0.15)
        label[each] = inside.any()
    return label


def sample(rng: Generator, index: int, order: int, size: int) -> Sample:
    """The sample with cover ``index`` modulo 10; ``order`` numbers samples over all splits."""
    canvas = Canvas(BANDS, size, rng)
    label = paint(canvas, index % len(COVERS))
    canvas.observe(RESOLUTION, light=(0.7, 1.1), relief=0.05, haze=(0.0, 0.01))
    numbers = np.clip(np.round(1e4 * canvas.image), 1, 16_000).astype(np.float32)
    west, north = 20 * rng.integers(20_000, 40_000), 20 * rng.integers(280_000, 320_000)
    transform = (20.0, 0.0, float(west), 0.0, -20.0, float(north), 0.0, 0.0, 1.0)  # of a 20 m band, as published
    return Sample(f"id_{order:04d}", label, numbers, transform=transform, crs=32631)
