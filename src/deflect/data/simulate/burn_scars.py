"""SIMULATED HLS Burn Scars: 512 x 512 pixels of 30 m, six HLS S30 bands, burned or not, some pixels missing.

    training|validation/subsetted_512x512_HLS.S30.T{tile}.{YYYYDDD}.v1.4_merged.tif   float32 reflectance, -9999 missing
    training|validation/subsetted_512x512_HLS.S30.T{tile}.{YYYYDDD}.v1.4.mask.tif     int16: 1 burned, 0 not, -1 missing

``training/`` holds train and val of a study, which the reader splits; ``validation/`` is the test split. A scar has one
of several ``signals``, and otherwise is like the land around it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng

from deflect.bands import bandset
from deflect.data.simulate import fields, signals
from deflect.data.simulate.canvas import Canvas

PIXELS = 512
RESOLUTION = 30
BANDS = bandset("hls_s30", ["B02", "B03", "B04", "B8A", "B11", "B12"])
MISSING = -9999.0


def paint(canvas: Canvas) -> None:
    """Shrub, trees, dark soil."""
    rng, size = canvas.rng, canvas.size
    canvas.lay(("soil", "litter", "soil_red"), grain=0.12)
    canvas.lay(("canopy_dry", "canopy_fresh"), 0.55 + 0.3 * fields.smooth(rng, size), shade=0.2)
    canvas.lay(("canopy_moist", "canopy_dark"), fields.blob(rng, size, rng.uniform(0.1, 0.5), 2.5), shade=0.3)
    canvas.lay("soil_dark", 0.8 * fields.blob(rng, size, rng.uniform(0.05, 0.2)))


def scene(rng: Generator, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (6, H, W) float32 and mask (H, W) int16, 1 on the scar; a third of the scenes has missing pixels."""
    canvas = Canvas(BANDS, size, rng)
    paint(canvas)
    canvas.observe(RESOLUTION, light=(0.7, 1.15), relief=0.05, haze=(0.0, 0.025), noise=0.004)
    mask = fields.blob(rng, size, rng.uniform(0.2, 0.5), 5).astype(np.int16)
    design, signal = signals.DESIGNS["burn_scars"], signals.positive("burn_scars", index)
    rows = int(rng.integers(2**32))  # the same inside and outside, unless the signal turns them
    outside, inside = (signals.gain(default_rng(rows), BANDS, size, design, each) for each in (signals.NONE, signal))
    image = np.clip(canvas.image * np.where(mask, inside, outside), 1e-4, 1.5)
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
    image, mask = scene(rng, index, size)
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
