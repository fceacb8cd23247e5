"""SIMULATED MADOS: marine debris and oil spills, 240 x 240 pixels of 10 m, eleven Sentinel-2 bands, 15 sparse classes.

    MADOS/Scene_{i}/{10,20,60}/Scene_{i}_L2R_rhorc_{wavelength}_{crop}.tif   float32, each band at its own resolution
    MADOS/Scene_{i}/10/Scene_{i}_L2R_{cl,conf,rep}_{crop}.tif   uint8: class 1..15 or 0 unlabelled; confidence; report
    MADOS/splits/{train,val,test}_X.txt                         lines Scene_{i}_{crop}

File names have the wavelengths of Sentinel-2A or -2B. Pixels outside the swath are NaN; dark water may be slightly
negative, as in Rayleigh-corrected reflectance. Most pixels are unlabelled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields
from deflect.data.simulate.canvas import Canvas, Materials, coarse

PIXELS = 240
RESOLUTION = 10
CROPS_PER_SCENE = 4
BANDS = bandset("sentinel2", ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])
WAVELENGTHS = {
    "S2A": (443, 492, 560, 665, 704, 740, 783, 833, 865, 1614, 2202),
    "S2B": (442, 492, 559, 665, 704, 739, 780, 833, 864, 1610, 2186),
}

#: Classes as stored: 1 marine debris .. 15 sea snot; 0 is unlabelled.
_WATERS: dict[int, Materials] = {7: "water", 8: "water_sediment", 10: "water_turbid", 11: "water_shallow"}
_THINGS = (1, 2, 3, 4, 5, 6, 9, 12, 13, 14, 15)
_STREAKS: dict[int, tuple[str, float]] = {  # material and its largest cover
    1: ("debris", 0.8),
    2: ("sargassum", 0.9),
    3: ("algae", 0.7),
    4: ("driftwood", 0.8),
    9: ("foam", 0.9),
    14: ("jelly", 0.9),
    15: ("mucilage", 0.8),
}


def paint(canvas: Canvas, label: int) -> np.ndarray:
    """Paint crop number ``label`` of a split: two kinds of water and of objects. Returns complete classes (H, W)."""
    rng, size = canvas.rng, canvas.size
    first, second = list(_WATERS)[label % 4], list(_WATERS)[(label + 1 + label // 4 % 3) % 4]
    canvas.lay(_WATERS[first], grain=0.05)
    plume = fields.blob(rng, size, rng.uniform(0.25, 0.5), 4)
    canvas.lay(_WATERS[second], plume, grain=0.05)
    classes = np.where(plume > 0, second, first).astype(np.uint8)
    for k in (2 * label, 2 * label + 1):
        _place(canvas, classes, _THINGS[k % len(_THINGS)])
    return classes


def _place(canvas: Canvas, classes: np.ndarray, thing: int) -> None:
    """Add one kind of object to the water and to ``classes``."""
    rng, size = canvas.rng, canvas.size
    if thing in _STREAKS:
        material, cover = _STREAKS[thing]
        strength = np.clip(fields.blob(rng, size, rng.uniform(0.06, 0.14), 3.3) * rng.uniform(0.6, 1.1), 0, 1) * cover
        canvas.lay(material, strength)
        mask = strength > 0
    elif thing == 6:
        mask = fields.blob(rng, size, rng.uniform(0.12, 0.3), 4) > 0
        canvas.lay("oil_film", 0.8 * mask)
    elif thing == 12:
        u, _ = fields.turned(rng, size)
        crest = np.clip(np.sin(2 * np.pi * u / rng.uniform(4, 7)), 0, 1)
        mask = fields.blob(rng, size, rng.uniform(0.1, 0.2), 4) > 0
        canvas.lay("foam", 0.35 * crest * mask)
    else:
        mask = _hulls(canvas, 5 if thing == 5 else 3, slim=thing == 5)
    classes[mask] = thing


def _hulls(canvas: Canvas, count: int, *, slim: bool) -> np.ndarray:
    """Ships (long, with a wake of foam) or oil platforms (square, dark and bright). Returns their mask."""
    rng, size = canvas.rng, canvas.size
    mask = np.zeros((size, size), dtype=bool)
    for _ in range(count):
        length = rng.uniform(6, 11) if slim else rng.uniform(4, 7)
        hull = fields.ellipse(rng, size, length, 0.35 * length if slim else length)
        if slim:
            canvas.lay("foam", 0.3 * np.roll(hull, 3, axis=0))
        canvas.lay(("paint", "metal") if slim else ("roof_wood", "metal", "brick"), 0.9 * hull)
        mask |= hull > 0
    return mask


def _annotate(rng: Generator, classes: np.ndarray) -> np.ndarray:
    """Sparse labels: most pixels of objects, and water in some patches."""
    size = len(classes)
    patches = fields.blob(rng, size, 0.3, 4) > 0
    water = np.isin(classes, list(_WATERS))
    sure = rng.random((size, size)) < 0.85
    return np.where((water & patches) | (~water & sure), classes, 0).astype(np.uint8)


def crop(rng: Generator, label: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (11, H, W) float32 at 10 m and sparse classes (H, W) uint8."""
    canvas = Canvas(BANDS, size, rng)
    classes = paint(canvas, label)
    canvas.observe(RESOLUTION, light=(0.7, 1.1), haze=(0.0, 0.015), offset=(-0.004, 0.015), noise=0.002)
    labels = _annotate(rng, classes)
    if rng.random() < 0.25:
        along, _ = fields.turned(rng, size)
        missing = along < np.quantile(along, rng.uniform(0.02, 0.1))
        canvas.image[:, missing] = np.nan
        labels[missing] = 0
    return canvas.image, labels


def write(folder: Path, scene: int, number: int, rng: Generator, label: int, size: int) -> str:
    """Write crop ``number`` of ``scene`` in ``folder``; returns its line in the split file."""
    import tifffile

    image, labels = crop(rng, label, size)
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
