"""SIMULATED MADOS: marine debris and oil spills, 240 x 240 pixels of 10 m, eleven Sentinel-2 bands, 15 sparse classes.

    MADOS/Scene_{i}/{10,20,60}/Scene_{i}_L2R_rhorc_{wavelength}_{crop}.tif   float32, each band at its own resolution
    MADOS/Scene_{i}/10/Scene_{i}_L2R_{cl,conf,rep}_{crop}.tif   uint8: class 1..15 or 0 unlabelled; confidence; report
    MADOS/splits/{train,val,test}_X.txt                         lines Scene_{i}_{crop}

File names have the wavelengths of Sentinel-2A or -2B. Pixels outside the swath are NaN; dark water may be slightly
negative, as in Rayleigh-corrected reflectance. Most pixels are unlabelled. A crop is water with floating matter, in
four regions of different classes, which differ in ``signals``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields, signals
from deflect.data.simulate.canvas import Canvas, coarse

PIXELS = 240
RESOLUTION = 10
CROPS_PER_SCENE = 4
BANDS = bandset("sentinel2", ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])
WAVELENGTHS = {
    "S2A": (443, 492, 560, 665, 704, 740, 783, 833, 865, 1614, 2202),
    "S2B": (442, 492, 559, 665, 704, 739, 780, 833, 864, 1610, 2186),
}

#: Classes as stored are 1 to 15; 0 is unlabelled.
DESIGN = signals.DESIGNS["mados"]
REGIONS = 4


def paint(canvas: Canvas) -> None:
    """Water of two kinds, with floating matter almost everywhere."""
    rng, size = canvas.rng, canvas.size
    waters = ("water", "water_sediment", "water_turbid", "water_green")
    canvas.lay(waters, grain=0.05)
    canvas.lay(waters, fields.blob(rng, size, rng.uniform(0.25, 0.5), 4), grain=0.05)
    canvas.lay(("sargassum", "algae", "driftwood"), 0.6 + 0.4 * fields.smooth(rng, size, 2.5))


def crop(rng: Generator, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (11, H, W) float32 at 10 m and sparse classes (H, W) uint8."""
    canvas = Canvas(BANDS, size, rng)
    paint(canvas)
    canvas.observe(RESOLUTION, light=(0.7, 1.1), haze=(0.0, 0.005), noise=0.002)
    canvas.image -= np.float32(rng.uniform(0, 0.012))  # over-corrected
    region = np.stack([fields.smooth(rng, size, 6) for _ in range(REGIONS)]).argmax(axis=0)
    numbers = (REGIONS * index + np.arange(REGIONS)) % len(DESIGN.signals)
    gains = np.stack([signals.gain(rng, BANDS, size, DESIGN, DESIGN.signals[k]) for k in numbers], axis=1)
    image = canvas.image * np.take_along_axis(gains, region[None, None], axis=1)[:, 0]
    labels = np.where(rng.random((size, size)) < 0.4, 1 + numbers[region], 0).astype(np.uint8)
    if rng.random() < 0.25:
        along, _ = fields.turned(rng, size)
        missing = along < np.quantile(along, rng.uniform(0.02, 0.1))
        image[:, missing] = np.nan
        labels[missing] = 0
    return image, labels


def write(folder: Path, scene: int, number: int, rng: Generator, index: int, size: int) -> str:
    """Write crop ``number`` of ``scene`` in ``folder``; returns its line in the split file."""
    import tifffile

    image, labels = crop(rng, index, size)
    satellite = "S2A" if scene % 2 == 0 else "S2B"
    for gsd in (10, 20, 60):
        (folder / f"Scene_{scene}" / str(gsd)).mkdir(parents=True, exist_ok=True)

    def save(gsd: float, what: str, data: np.ndarray) -> None:
        path = folder / f"Scene_{scene}" / f"{gsd:g}" / f"Scene_{scene}_L2R_{what}_{number}.tif"
        tifffile.imwrite(path, data, metadata=None, software=False)  # no shape, date or program name: stable bytes

    for band, wavelength, data in zip(BANDS, WAVELENGTHS[satellite], image, strict=True):
        save(band.gsd, f"rhorc_{wavelength}", coarse(data, round(band.gsd / RESOLUTION), repeat=False))
    confidence = rng.choice(np.array([1, 2, 3], dtype=np.uint8), p=[0.7, 0.2, 0.1])
    save(10, "cl", labels)
    save(10, "conf", np.where(labels > 0, confidence, 0).astype(np.uint8))
    save(10, "rep", np.where(labels > 0, 3, 0).astype(np.uint8))
    return f"Scene_{scene}_{number}"
