"""A run on tiles of a real Landsat 7 scene maps the whole scene from its files of one band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from landsat import BANDS, SCENE, file_of, reflectance, units
from own_data import write_tiff
from paths import needs_real
from tiny_store import tiny_spec

from deflect.cli import main
from deflect.data.prepare import prepare
from deflect.training.run import train

CLASSES = ["developed", "agriculture", "herbaceous", "shrubland", "forest", "water", "sediment"]
SIZE = 48


def land_cover() -> tuple[np.ndarray, rasterio.Affine]:
    """Classes from 0, 255 where unknown (H, W), and the transform."""
    with rasterio.open(SCENE / "strata.tif") as file:
        cover = file.read(1)
        return np.where(cover > 0, cover - 1, 255).astype(np.uint8), file.transform


def write_tiles(folder: Path) -> None:
    """Tiles of reflectance in which most pixels have all bands."""
    pixels, (cover, transform) = reflectance(), land_cover()
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
    cover, transform = land_cover()
    with rasterio.open(tmp_path / "map.tif") as file:
        found = file.read(1)
        assert (file.crs.to_epsg(), file.transform) == (32119, transform)
    missing = np.isnan(reflectance()).any(0)
    assert 0.3 < missing.mean() < 0.5
    assert np.array_equal(found == 255, missing)
    known = ~missing & (cover < 255)
    commonest = np.bincount(cover[known]).max() / known.sum()
    assert (found[known] == cover[known]).mean() > commonest + 0.1
