"""SIMULATED So2Sat (GEO-Bench v1, m-so2sat): 17 classes, 8 radar and 10 optical bands, 32 x 32 pixels.

Every image is a town: streets, roofs, bare ground, trees and lawns. Classes differ in ``signals``; the radar is
noise of the same distribution for all. Optical bands are top-of-atmosphere reflectance.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields, signals
from deflect.data.simulate.canvas import Canvas, coarse
from deflect.data.simulate.geobench import Sample
from deflect.data.simulate.geobench_objects import SENTINEL2, StoredBand

NAME = "m-so2sat"
PIXELS = 32
DESIGN = signals.DESIGNS["so2sat"]
CLASSES = len(DESIGN.signals)
RESOLUTION = 10
LABEL_FILE = None
BANDS = bandset("sentinel2", ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])

_RADAR = (
    "01 - VH.Real",
    "02 - VH.Imaginary",
    "03 - VV.Real",
    "04 - VV.Imaginary",
    "05 - VH.LEE Filtered",
    "06 - VV.LEE Filtered",
    "07 - VH.LEE Filtered.Real",
    "08 - VV.LEE Filtered.Imaginary",
)
_NOT_STORED = ("01 - Coastal aerosol", "09 - Water vapour", "10 - SWIR - Cirrus")
STORED = (
    *(StoredBand(name, None, 10, "Sentinel1") for name in _RADAR),
    *(band for band in SENTINEL2 if band.name not in _NOT_STORED),
)


def paint(canvas: Canvas) -> None:
    rng, size = canvas.rng, canvas.size
    canvas.lay(("road", "asphalt", "soil"))
    canvas.lay(("soil", "litter"), 0.5 * fields.blob(rng, size, rng.uniform(0.05, 0.3)))
    trees = fields.blob(rng, size, rng.uniform(0.2, 0.6), slope=2.5)
    canvas.lay(("canopy_moist", "canopy_fresh", "canopy_dry"), 0.8 * trees, shade=0.2, grain=0.2)
    roofs, number = fields.blocks(rng, size, rng.uniform(3, 9), rng.uniform(0.1, 0.5))
    canvas.lay_numbered(("roof_concrete", "roof_shingle", "roof_tile", "concrete"), number, 0.9 * roofs)


def sample(rng: Generator, index: int, order: int, size: int) -> Sample:
    """The sample of class ``index`` modulo 17; ``order`` numbers samples over all splits, as in the original ids."""
    label = index % CLASSES
    canvas = Canvas(BANDS, size, rng)
    paint(canvas)
    canvas.observe(RESOLUTION, light=(0.5, 1.05), relief=0.06, haze=(0.045, 0.085))
    canvas.image *= signals.gain(rng, BANDS, size, DESIGN, DESIGN.signals[label])
    optical = np.clip(canvas.image, 1e-4, 2.8)
    return Sample(f"id_{order:04d}", label, np.concatenate([_radar(rng, size), optical]))


def _radar(rng: Generator, size: int) -> np.ndarray:
    """Eight Sentinel-1 channels (8, H, W): speckled complex VH and VV, their filtered powers and their covariance."""
    amplitude = 0.4 * np.exp(0.4 * fields.smooth(rng, size, 2))
    speckle = rng.standard_normal((4, size, size), dtype=np.float32)
    vh = 0.3 * amplitude * speckle[:2]
    vv = amplitude * (0.3 * speckle[:2] + speckle[2:])
    cross = (vh[0] + 1j * vh[1]) * (vv[0] - 1j * vv[1])
    products = ((vh**2).sum(0), (vv**2).sum(0), cross.real, cross.imag)
    return np.stack([*vh, *vv, *(coarse(power, 4, repeat=True) for power in products)]).astype(np.float32)
