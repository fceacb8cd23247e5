"""SIMULATED HLS Burn Scars: 512 x 512 pixels of 30 m, six HLS S30 bands, burned or not, some pixels missing.

    training|validation/subsetted_512x512_HLS.S30.T{tile}.{YYYYDDD}.v1.4_merged.tif   float32 reflectance, -9999 missing
    training|validation/subsetted_512x512_HLS.S30.T{tile}.{YYYYDDD}.v1.4.mask.tif     int16: 1 burned, 0 not, -1 missing

``training/`` holds train and val of a study, which the reader splits; ``validation/`` is the test split. In RGB a scar
resembles shaded slopes, dark soil, rock and water; in the infrared it does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator

from deflect.bands import bandset
from deflect.data.simulate import fields
from deflect.data.simulate.canvas import Canvas

PIXELS = 512
RESOLUTION = 30
BANDS = bandset("hls_s30", ["B02", "B03", "B04", "B8A", "B11", "B12"])
MISSING = -9999.0


def paint(canvas: Canvas, label: int | None = None) -> np.ndarray:
    """Paint a landscape with a scar; returns the mask (H, W) int16, 1 on the scar. ``label`` is not used."""
    rng, size = canvas.rng, canvas.size
    canvas.lay(("soil", "litter", "soil_red"), grain=0.12)
    canvas.lay(("canopy_dry", "canopy_fresh"), 0.55 + 0.3 * fields.smooth(rng, size), shade=0.2)
    canvas.lay(("canopy_moist", "canopy_dark"), fields.blob(rng, size, rng.uniform(0.1, 0.5), 2.5), shade=0.3)
    _dark_places(canvas)
    scar = fields.blob(rng, size, rng.uniform(0.08, 0.4), 3.2)
    severity = np.clip(rng.uniform(0.65, 0.9) + 0.15 * fields.smooth(rng, size, 2.5), 0.35, 1)
    canvas.lay("char", scar * severity, grain=0.15)
    canvas.lay(("canopy_dry", "litter"), 0.15 * scar * fields.blob(rng, size, 0.4, 2))
    return scar.astype(np.int16)


def _dark_places(canvas: Canvas) -> None:
    """Surfaces that resemble a scar in RGB: dark wet soil, dark rock, deep shade, water."""
    rng, size = canvas.rng, canvas.size
    canvas.lay("soil_dark", 0.8 * fields.blob(rng, size, rng.uniform(0.05, 0.2)))
    canvas.lay(("asphalt", "roof_shingle"), 0.7 * fields.blob(rng, size, rng.uniform(0.0, 0.12)))
    canvas.image *= 1 - rng.uniform(0.4, 0.65) * fields.blob(rng, size, rng.uniform(0.05, 0.2), 2.5)
    canvas.lay("water", fields.blob(rng, size, rng.uniform(0.0, 0.1)))
    if rng.random() < 0.5:
        canvas.lay("road", fields.line(rng, size, 1))


def scene(rng: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (6, H, W) float32 and mask (H, W) int16; a third of the scenes has missing pixels."""
    canvas = Canvas(BANDS, size, rng)
    mask = paint(canvas)
    canvas.observe(RESOLUTION, light=(0.7, 1.15), relief=0.15, haze=(0.0, 0.025), noise=0.004)
    image = np.clip(canvas.image, 1e-4, 1.5)
    if rng.random() < 1 / 3:
        along, _ = fields.turned(rng, size)
        missing = along < np.quantile(along, rng.uniform(0.02, 0.15))
        image[:, missing] = MISSING
        mask[missing] = -1
    return image, mask


def name(rng: Generator, index: int, part: str) -> str:
    """File name up to the product version; the tile is a number of the scene, so that names differ."""
    letters = "ABCDEFGHJKLMNPQRSTUV"
    last = letters[index // 3600 % 10 + 10 * (part == "validation")]
    tile = f"{10 + index % 10}{letters[2 + index // 10 % 18]}{letters[index // 180 % 20]}{last}"
    return f"subsetted_512x512_HLS.S30.T{tile}.{rng.integers(2018, 2022)}{rng.integers(1, 366):03d}.v1.4"


def write(folder: Path, rng: Generator, index: int, size: int) -> None:
    """Write scene ``index`` of one of the two folders as a pair of GeoTIFFs."""
    stem = folder / name(rng, index, folder.name)
    image, mask = scene(rng, size)
    zone = 10 + index % 10
    _write_tif(Path(f"{stem}_merged.tif"), image, zone, MISSING)
    _write_tif(Path(f"{stem}.mask.tif"), mask[None], zone, None)


def _write_tif(path: Path, data: np.ndarray, zone: int, nodata: float | None) -> None:
    """Write (C, H, W) uncompressed and pixel-interleaved, in UTM ``zone`` north."""
    import rasterio

    profile = dict(zip(("count", "height", "width"), data.shape, strict=True), dtype=data.dtype.name, nodata=nodata)
    profile["transform"] = rasterio.Affine(RESOLUTION, 0, 500_000, 0, -RESOLUTION, 4_500_000)
    with rasterio.open(path, "w", driver="GTiff", crs=f"EPSG:{32600 + zone}", interleave="pixel", **profile) as file:
        file.write(data)
