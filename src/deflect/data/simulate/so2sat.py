"""SIMULATED So2Sat (GEO-Bench v1, m-so2sat): 17 local climate zones, 8 radar and 10 optical bands, 32 x 32 pixels.

Zones differ in the density and size of buildings, as seen in RGB, and in the materials of roofs, ground and leaves, as
seen in the infrared. Optical bands are top-of-atmosphere reflectance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields
from deflect.data.simulate.canvas import Canvas, Materials, coarse
from deflect.data.simulate.geobench import Sample
from deflect.data.simulate.geobench_objects import SENTINEL2, StoredBand

NAME = "m-so2sat"
PIXELS = 32
CLASSES = 17
RESOLUTION = 10
LABEL_MAP = False
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


@dataclass(frozen=True)
class Zone:
    """A local climate zone.

    ``built`` and ``green`` are shares 0..1 of the ground, ``period`` the distance of buildings in pixels, ``echo`` the
    mean VV amplitude of the radar, ``fields`` the number of farmed parcels.
    """

    ground: Materials
    built: float = 0.0
    period: float = 4.0
    roofs: Materials = ()
    shadow: float = 0.0
    green: float = 0.0
    leaves: Materials = ()
    echo: float = 0.3
    fields: int = 0


_TREES, _LAWN, _SHRUB = "canopy_moist", ("canopy_fresh", "canopy_light"), "canopy_dry"
_PAVED = ("road", "asphalt")
ZONES = (
    Zone(_PAVED, 0.50, 7, ("roof_concrete", "concrete"), 0.55, 0.05, _TREES, 0.9),
    Zone(_PAVED, 0.55, 5, ("roof_concrete", "roof_shingle"), 0.35, 0.10, _TREES, 0.7),
    Zone((*_PAVED, "soil"), 0.60, 3, ("roof_tile", "roof_wood"), 0.15, 0.12, _LAWN, 0.6),
    Zone("road", 0.28, 9, ("roof_concrete", "concrete"), 0.50, 0.40, _LAWN, 0.8),
    Zone("road", 0.30, 6, ("roof_shingle", "roof_concrete"), 0.30, 0.40, _TREES, 0.6),
    Zone("soil", 0.28, 3, ("roof_tile", "roof_shingle"), 0.15, 0.50, _LAWN, 0.4),
    Zone("soil", 0.70, 2, ("roof_wood", "metal"), 0.10, 0.06, _SHRUB, 0.5),
    Zone("asphalt", 0.45, 12, ("metal", "paint"), 0.15, 0.08, _LAWN, 0.8),
    Zone("soil", 0.08, 6, ("roof_tile", "roof_shingle"), 0.15, 0.70, (*_LAWN, _SHRUB), 0.3),
    Zone(("gravel", "asphalt"), 0.38, 10, ("roof_wood", "metal"), 0.25, 0.05, _SHRUB, 0.9),
    Zone("soil_dark", green=0.95, leaves=_TREES, echo=0.35),
    Zone(_LAWN, green=0.45, leaves=_TREES, echo=0.3),
    Zone(("litter", "soil"), green=0.60, leaves=_SHRUB, echo=0.25),
    Zone(_LAWN, green=0.30, leaves=(*_LAWN, _SHRUB), echo=0.2, fields=8),
    Zone(("gravel", "concrete"), echo=0.2),
    Zone(("soil", "soil_bright", "soil_red"), echo=0.12),
    Zone(("water", "water_green", "water_turbid"), echo=0.04),
)


def paint(canvas: Canvas, label: int) -> None:
    """Paint zone ``label``. Shares vary by a third, so that neighbouring zones overlap."""
    zone, rng, size = ZONES[label], canvas.rng, canvas.size
    built, green = np.clip(np.array([zone.built, zone.green]) * rng.uniform(0.65, 1.35, 2), 0, 0.97)
    canvas.lay(zone.ground, grain=0.08)
    canvas.lay(("soil", "litter", "canopy_dry"), 0.5 * fields.blob(rng, size, rng.uniform(0.05, 0.3)))
    if zone.fields:
        canvas.lay_numbered(zone.leaves, fields.parcels(rng, size, zone.fields), 0.8)
    if green:
        canvas.lay(zone.leaves, fields.blob(rng, size, green, slope=2.5) * rng.uniform(0.6, 1), shade=0.2, grain=0.2)
    if built:
        mask, number = fields.blocks(rng, size, zone.period * rng.uniform(0.75, 1.3), built)
        reach = max(1, round(zone.shadow * 5))
        canvas.shadow(mask, reach, zone.shadow)
        canvas.lay_numbered(zone.roofs, number, mask * 0.9)
    elif rng.random() < 0.4 and "water" not in zone.ground:
        canvas.lay("road", fields.line(rng, size, rng.uniform(0.8, 2)))


def sample(rng: Generator, index: int, order: int, size: int) -> Sample:
    """The sample of class ``index`` modulo 17; ``order`` numbers samples over all splits, as in the original ids."""
    label = index % CLASSES
    canvas = Canvas(BANDS, size, rng)
    paint(canvas, label)
    canvas.observe(RESOLUTION, light=(0.5, 1.05), relief=0.06, haze=(0.045, 0.085))
    optical = np.clip(canvas.image, 1e-4, 2.8)
    return Sample(f"id_{order:04d}", label, np.concatenate([_radar(rng, size, ZONES[label].echo), optical]))


def _radar(rng: Generator, size: int, echo: float) -> np.ndarray:
    """Eight Sentinel-1 channels (8, H, W): speckled complex VH and VV, their filtered powers and their covariance."""
    amplitude = echo * np.exp(0.4 * fields.smooth(rng, size, 2))
    speckle = rng.standard_normal((4, size, size), dtype=np.float32)
    vh = 0.3 * amplitude * speckle[:2]
    vv = amplitude * (0.3 * speckle[:2] + speckle[2:])
    cross = (vh[0] + 1j * vh[1]) * (vv[0] - 1j * vv[1])
    products = ((vh**2).sum(0), (vv**2).sum(0), cross.real, cross.imag)
    return np.stack([*vh, *vv, *(coarse(power, 4, repeat=True) for power in products)]).astype(np.float32)
