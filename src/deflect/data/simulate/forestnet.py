"""SIMULATED ForestNet (GEO-Bench v1, m-forestnet): 12 drivers of forest loss, 8-bit Landsat-8, 332 x 332 pixels.

A polygon of loss is in the middle of old forest; drivers differ in ``signals``. As in the original, pixels outside the
polygon are blended with white (alpha 192 of 255), band names include the date, ids are ``{lat}_{lon}_{YYYY_MM_DD}``.
Unit: reflectance * 255.
"""

from __future__ import annotations

import datetime

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields, signals
from deflect.data.simulate.canvas import Canvas
from deflect.data.simulate.geobench import Sample
from deflect.data.simulate.geobench_objects import StoredBand

NAME = "m-forestnet"
PIXELS = 332
DESIGN = signals.DESIGNS["forestnet"]
CLASSES = len(DESIGN.signals)
RESOLUTION = 15
LABEL_FILE = "label_map.json"
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


def paint(canvas: Canvas) -> np.ndarray:
    """Paint forest and the loss; returns the polygon, (H, W) with 1 inside."""
    rng, size = canvas.rng, canvas.size
    canvas.lay("canopy_moist", shade=0.3, grain=0.15)
    canvas.lay(("canopy_dark", "canopy_fresh"), fields.blob(rng, size, rng.uniform(0.1, 0.5)), shade=0.3)
    polygon = fields.central_blob(rng, size, rng.uniform(0.3, 0.6))
    canvas.lay(("soil", "soil_red", "litter"), 0.9 * polygon)
    cover = fields.blob(rng, size, rng.uniform(0.4, 0.8), 2.5)
    canvas.lay(("canopy_fresh", "canopy_light", "canopy_dry"), polygon * cover, shade=0.15)
    return polygon


def sample(rng: Generator, index: int, order: int, size: int) -> Sample:
    """The sample of class ``index`` modulo 12, somewhere in Indonesia, between 2013 and 2017."""
    label = index % CLASSES
    canvas = Canvas(BANDS, size, rng)
    polygon = paint(canvas)
    canvas.observe(RESOLUTION, light=(0.75, 1.15), relief=0.06, haze=(0.02, 0.06))
    canvas.image *= signals.gain(rng, BANDS, size, DESIGN, DESIGN.signals[label])
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
