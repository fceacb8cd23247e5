"""SIMULATED HLS Burn Scars: 512 x 512 pixels of 30 m, six HLS S30 bands, burned or not, some pixels missing.

    training|validation/subsetted_512x512_HLS.S30.T{tile}.{YYYYDDD}.v1.4_merged.tif   float32 reflectance, -9999 missing
    training|validation/subsetted_512x512_HLS.S30.T{tile}.{YYYYDDD}.v1.4.mask.tif     int16: 1 burned, 0 not, -1 missing

The validation split of a study is cut from ``training/`` by the reader, so train and val are there together; the
test split is ``validation/``. To the eye a scar resembles shaded slopes, dark soil, lava and water; in the infrared it
does not.
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
    """Paint a landscape and its scar; returns the mask (H, W) int16 with 1 on the scar. ``label`` has no meaning."""
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
    """What a scar is mistaken for in RGB: dark wet soil, rock as dark as asphalt, deep shade, water."""
    rng, size = canvas.rng, canvas.size
    canvas.lay("soil_dark", 0.8 * fields.blob(rng, size, rng.uniform(0.05, 0.2)))
    canvas.lay(("asphalt", "roof_shingle"), 0.7 * fields.blob(rng, size, rng.uniform(0.0, 0.12)))
    canvas.image *= 1 - rng.uniform(0.4, 0.65) * fields.blob(rng, size, rng.uniform(0.05, 0.2), 2.5)
    canvas.lay("water", fields.blob(rng, size, rng.uniform(0.0, 0.1)))
    if rng.random() < 0.5:
        canvas.lay("road", fields.line(rng, size, 1))


def scene(rng: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (6, H, W) float32 and mask (H, W) int16, with the swath's edge missing in a third of the scenes."""
    canvas = Canvas(BANDS, size, rng)
    mask = paint(canvas)
    canvas.light((0.7, 1.15), relief=0.15)
    canvas.haze((0.0, 0.025))
    canvas.sense(RESOLUTION, noise=0.004)
    image = np.clip(canvas.image, 1e-4, 1.5)
    if rng.random() < 1 / 3:
        along, _ = fields.turned(rng, size)
        missing = along < np.quantile(along, rng.uniform(0.02, 0.15))
        image[:, missing] = MISSING
        mask[missing] = -1
    return image, mask


def name(rng: Generator, index: int, part: str) -> str:
    """File name up to the product version; the tile numbers the scene of a folder, so names never repeat."""
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

    count, height, width = data.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": data.dtype.name}
    place = {
        "crs": f"EPSG:{32600 + zone}",
        "transform": rasterio.Affine(RESOLUTION, 0, 500_000, 0, -RESOLUTION, 4_500_000),
    }
    with rasterio.open(path, "w", **profile, **place, nodata=nodata, interleave="pixel") as file:
        file.write(data)
