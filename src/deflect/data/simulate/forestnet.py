"""SIMULATED ForestNet (GEO-Bench v1, m-forestnet): 12 drivers of forest loss, 8-bit Landsat-8, 332 x 332 pixels.

A polygon of loss is in the middle of old forest. As in the original, pixels outside the polygon are blended with white
(alpha 192 of 255), band names include the date, and ids are ``{lat}_{lon}_{YYYY_MM_DD}``. Unit: reflectance * 255.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields
from deflect.data.simulate.canvas import Canvas, Materials
from deflect.data.simulate.geobench import Sample
from deflect.data.simulate.geobench_objects import StoredBand

NAME = "m-forestnet"
PIXELS = 332
CLASSES = 12
RESOLUTION = 15
LABEL_MAP = True
BANDS = bandset("landsat8", ["B4", "B3", "B2", "B5", "B6", "B7"])

#: Opacity of the image over white, outside the loss polygon.
ALPHA = 192 / 255

STORED = (
    StoredBand("04 - Red", 0.6546, 15, "Landsat8"),
    StoredBand("03 - Green", 0.5614, 15, "Landsat8"),
    StoredBand("02 - Blue", 0.482, 15, "Landsat8"),
    StoredBand("05 - NIR", 0.8647, 30, "Landsat8"),
    StoredBand("06 - SWIR1", 1.6089, 30, "Landsat8"),
    StoredBand("07 - SWIR2", 2.2007, 30, "Landsat8"),
)


@dataclass(frozen=True)
class Driver:
    """What replaces the forest: ``cover`` on a share ``density`` of ``ground``.

    ``pattern`` is "rows", "parcels", "patches" or "ponds", ``scale`` its size in pixels of a 64-pixel scene, ``area``
    the share of the polygon in the scene.
    """

    ground: Materials
    cover: Materials
    density: float
    pattern: str
    scale: float
    area: float


DRIVERS = (
    Driver(("soil", "soil_red"), "canopy_fresh", 0.65, "rows", 4, 0.30),
    Driver(("soil", "litter"), "canopy_dry", 0.70, "rows", 6, 0.30),
    Driver(("litter", "soil"), "canopy_light", 0.65, "rows", 5, 0.28),
    Driver("litter", "canopy_dry", 0.55, "patches", 10, 0.20),
    Driver(("soil", "soil_red"), ("canopy_light", "litter"), 0.45, "parcels", 5, 0.18),
    Driver("soil_wet", ("canopy_fresh", "canopy_dry"), 0.60, "parcels", 6, 0.18),
    Driver(("soil", "soil_red"), "canopy_fresh", 0.60, "rows", 4, 0.14),
    Driver(("soil_bright", "gravel"), "water_sediment", 0.25, "patches", 8, 0.18),
    Driver("soil_wet", ("water_green", "water_turbid"), 0.75, "ponds", 7, 0.20),
    Driver("soil", "canopy_moist", 0.80, "patches", 5, 0.25),
    Driver("litter", "canopy_light", 0.90, "patches", 14, 0.22),
    Driver(("char", "soil_dark"), "canopy_dry", 0.35, "patches", 9, 0.20),
)


def paint(canvas: Canvas, label: int) -> np.ndarray:
    """Paint forest and the loss; returns the polygon, (H, W) with 1 inside."""
    driver, rng, size = DRIVERS[label], canvas.rng, canvas.size
    canvas.lay("canopy_moist", shade=0.3, grain=0.15)
    canvas.lay(("canopy_dark", "canopy_fresh"), fields.blob(rng, size, rng.uniform(0.1, 0.5)), shade=0.3)
    canvas.lay(("soil", "canopy_light", "litter"), 0.7 * fields.blob(rng, size, rng.uniform(0.0, 0.12)))
    if rng.random() < 0.3:
        canvas.lay(("water_turbid", "soil"), fields.line(rng, size, rng.uniform(1, 3)))
    polygon = fields.central_blob(rng, size, driver.area * rng.uniform(0.7, 1.4))
    canvas.lay(driver.ground, 0.9 * polygon)
    canvas.lay("litter", 0.4 * polygon * fields.blob(rng, size, 0.4))
    density = min(driver.density * rng.uniform(0.7, 1.25), 0.97)
    _plant(canvas, driver, density, polygon)
    return polygon


def _plant(canvas: Canvas, driver: Driver, density: float, polygon: np.ndarray) -> None:
    rng, size = canvas.rng, canvas.size
    scale = driver.scale * size / 64 * rng.uniform(0.8, 1.25)
    if driver.pattern == "rows":
        canvas.lay(driver.cover, polygon * (0.6 * density + 0.4 * fields.rows(rng, size, scale, density)), shade=0.15)
    elif driver.pattern == "parcels":
        number = fields.parcels(rng, size, int((size / scale) ** 2 / 2))
        planted = rng.random(number.max() + 1) < density
        canvas.lay_numbered(driver.cover, number, polygon * planted[number])
    elif driver.pattern == "ponds":
        ponds, number = fields.blocks(rng, size, scale, density)
        canvas.lay_numbered(driver.cover, number, polygon * ponds)
    else:
        slope = 2 if driver.scale < 8 else 3
        canvas.lay(driver.cover, polygon * fields.blob(rng, size, density, slope), shade=0.15)


def sample(rng: Generator, index: int, order: int, size: int) -> Sample:
    """The sample of class ``index`` modulo 12, somewhere in Indonesia, between 2013 and 2017."""
    label = index % CLASSES
    canvas = Canvas(BANDS, size, rng)
    polygon = paint(canvas, label)
    canvas.observe(RESOLUTION, light=(0.75, 1.15), relief=0.06, haze=(0.02, 0.06))
    numbers = np.clip(255 * canvas.image, 0, 255)
    faded = ALPHA * numbers + (1 - ALPHA) * 255
    data = np.where(polygon > 0, numbers, faded).astype(np.uint8)

    date = datetime.date(2013, 4, 1) + datetime.timedelta(days=int(rng.integers(0, 1600)))
    lat, lon = rng.uniform(-9, 5), rng.uniform(96, 140)
    half = size / 2 * RESOLUTION / 111_320
    meta = {"n_cloud_pixels": 0, "is_composite": False, "forest_loss_region": _outline(polygon)}
    transform = (2 * half / size, 0.0, lon - half, 0.0, -2 * half / size, lat + half, 0.0, 0.0, 1.0)
    return Sample(f"{lat!r}_{lon!r}_{date:%Y_%m_%d}", label, data, date, meta, transform, crs=4326)


def _outline(polygon: np.ndarray) -> str:
    """Bounding box of the loss polygon as well-known text, in pixels."""
    rows, columns = np.nonzero(polygon)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return "POLYGON ((" + ", ".join(f"{x} {y}" for x, y in corners) + "))"
