"""A run on tiles of a real Landsat 7 scene maps the whole scene from its files of one band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from own_data import write_tiff
from paths import REAL, needs_real
from tiny_store import tiny_spec

from deflect.cli import main
from deflect.data.prepare import prepare
from deflect.training.run import train

SCENE = REAL / "landsat7_north_carolina"
#: Digit of the file's name: band of Landsat 8 at this wavelength, gain, offset (W/m2/sr/um, high gain) and solar
#: irradiance (W/m2/um) of ETM+, Chander et al. 2009.
BANDS = {
    "1": ("B2", 0.778740, -6.98, 1997.0),
    "2": ("B3", 0.798819, -7.20, 1812.0),
    "3": ("B4", 0.621654, -5.62, 1533.0),
    "4": ("B5", 0.639764, -5.74, 1039.0),
    "5": ("B6", 0.126220, -1.13, 230.8),
    "7": ("B7", 0.043898, -0.39, 84.9),
}
#: Sine of the sun's elevation, about that of a spring morning at this latitude; the files do not give it.
SUN = 0.78
CLASSES = ["developed", "agriculture", "herbaceous", "shrubland", "forest", "water", "sediment"]
SIZE = 48


def units() -> tuple[list[float], list[float]]:
    """Scale and offset of each band: (stored + offset) * scale is reflectance at the sensor."""
    scales = [np.pi * gain / (irradiance * SUN) for _, gain, _, irradiance in BANDS.values()]
    return scales, [offset / gain for _, gain, offset, _ in BANDS.values()]


def file_of(digit: str) -> Path:
    return SCENE / f"lsat7_2000_{digit}0.tif"


def numbers() -> tuple[np.ndarray, np.ndarray, rasterio.Affine]:
    """Digital numbers (6, H, W), NaN where a band has none; land cover from 0, 255 where unknown; the transform."""
    stacked = []
    for digit in BANDS:
        with rasterio.open(file_of(digit)) as file:
            stacked.append(file.read(1, masked=True).astype(np.float32).filled(np.nan))
            transform = file.transform
    with rasterio.open(SCENE / "strata.tif") as file:
        cover = file.read(1)
    return np.stack(stacked), np.where(cover > 0, cover - 1, 255).astype(np.uint8), transform


def write_tiles(folder: Path) -> None:
    """Tiles of reflectance in which most pixels have all bands."""
    scales, offsets = (np.array(values)[:, None, None] for values in units())
    pixels, cover, transform = numbers()
    pixels = ((pixels + offsets) * scales).astype(np.float32)
    names = []
    for y in range(0, pixels.shape[1] - SIZE + 1, SIZE):
        for x in range(0, pixels.shape[2] - SIZE + 1, SIZE):
            tile = pixels[:, y : y + SIZE, x : x + SIZE]
            if np.isfinite(tile).all(0).mean() > 0.5:
                names.append(f"tile_{y}_{x}")
                grid = {"crs": "EPSG:32119", "transform": transform @ rasterio.Affine.translation(x, y)}
                write_tiff(folder / f"images/{names[-1]}.tif", tile, **grid)
                write_tiff(folder / f"masks/{names[-1]}.tif", cover[None, y : y + SIZE, x : x + SIZE], **grid)
    card = {"task": "segmentation", "sensor": "landsat8", "bands": [name for name, *_ in BANDS.values()]}
    card |= {"scale": 1, "gsd": 28.5, "classes": CLASSES, "labels": "masks", "ignore": 255}
    card |= {"splits": {"seed": 0, "fractions": [0.6, 0.2, 0.2]}}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))


@needs_real
@pytest.mark.slow
def test_a_real_scene_of_six_files_is_mapped_on_its_grid(tmp_path: Path) -> None:
    write_tiles(tmp_path / "raw")
    prepare("landsat", tmp_path / "raw", tmp_path / "store")
    spec = tiny_spec(
        tmp_path, "segmentation", "full", store=tmp_path / "store", epochs=4, image_size=SIZE, upernet_channels=16
    )
    train(spec)
    files = [f"{name}={file_of(digit)}" for digit, (name, *_) in reversed(BANDS.items())]
    scales, offsets = (",".join(map(str, values)) for values in units())
    command = ["predict", str(spec.out), *files, f"--scale={scales}", f"--offset={offsets}"]
    assert main([*command, "-o", str(tmp_path / "map.tif"), "--overlap", "0.5"]) == 0
    pixels, cover, transform = numbers()
    with rasterio.open(tmp_path / "map.tif") as file:
        found = file.read(1)
        assert (file.crs.to_epsg(), file.transform) == (32119, transform)
    missing = np.isnan(pixels).any(0)
    assert 0.3 < missing.mean() < 0.5
    assert np.array_equal(found == 255, missing)
    known = ~missing & (cover < 255)
    commonest = np.bincount(cover[known]).max() / known.sum()
    assert (found[known] == cover[known]).mean() > commonest + 0.1
