"""docs/tutorial.md runs as it is written: on the real scene with real weights where both are, on stand-ins always."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import rasterio
from landsat import SCENE
from own_data import write_tiff
from own_vit import TIMM, save_half, trained
from paths import REAL_VIT, ROOT

from deflect.analysis.notebook import execute

CLASSES = 6


def write_scene(folder: Path) -> None:
    """Simulated files with names, types and nodata of the real scene, and land cover in blocks of 8 x 8 pixels."""
    random = np.random.default_rng(0)
    numbers = random.integers(0, CLASSES, (32, 32)).repeat(8, 0).repeat(8, 1)
    grid = {"crs": "EPSG:32119", "transform": rasterio.Affine(28.5, 0, 630534, 0, -28.5, 228114)}
    for channel, digit in enumerate((1, 2, 3, 4, 5, 7)):
        pixels = 60 + 25 * ((numbers + channel) % 3) + random.normal(0, 3, numbers.shape)
        dtype, nodata = ("int16", -32768) if digit == 7 else ("float32", -99999)
        pixels[:, :20] = nodata
        write_tiff(folder / f"lsat7_2000_{digit}0.tif", pixels[None].astype(dtype), nodata=nodata, **grid)
    write_tiff(folder / "strata.tif", 1 + numbers[None].astype("float32"), nodata=-99999, **grid)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: object) -> None:
    monkeypatch.chdir(folder)
    execute(ROOT / "docs/tutorial.md", folder / "tutorial.ipynb", parameters)
    cells = [cell for cell in nbformat.read(folder / "tutorial.ipynb", 4).cells if cell.cell_type == "code"]
    assert any("image/png" in output.get("data", {}) for output in cells[-1].outputs)
    missing: Any = False
    for path in sorted(Path(str(parameters["scene"])).glob("lsat7_2000_*.tif")):
        with rasterio.open(path) as file:
            missing |= file.read_masks(1) == 0
    with rasterio.open(folder / "map.tif") as found:
        assert (found.shape, found.transform, found.crs) == (file.shape, file.transform, file.crs)
        assert np.array_equal(found.read(1) == 255, missing)
        assert found.read(1)[~missing].max() < CLASSES


def test_the_tutorial_ends_in_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(tmp_path / "scene")
    save_half(trained(), tmp_path / "vit.safetensors")
    run(tmp_path, monkeypatch, scene="scene", vit=TIMM, weights="vit.safetensors", image_size=64, epochs=1)


@pytest.mark.slow
@pytest.mark.skipif(not (SCENE.is_dir() and REAL_VIT.is_file()), reason="scene or weights are not on this machine")
def test_the_tutorial_on_the_real_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, scene=str(SCENE), weights=str(REAL_VIT), epochs=1)
