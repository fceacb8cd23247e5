"""Scenes are read as the prepared data of training; files that do not fit the model are refused in one line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from own_data import write_tiff
from rasterio.enums import ColorInterp
from scenes import BANDS, numbers

from deflect.bands import LANDSAT8, bandset
from deflect.data.card import ImageCard
from deflect.errors import DataError
from deflect.trained.opening import Files, open_scene

CARD = ImageCard(
    name="own",
    task="segmentation",
    bands=bandset("sentinel2", BANDS),
    classes=("a", "b"),
    image_size=32,
    gsd=10,
    scale=1e-4,
    offset=-1000,
    nodata=(0,),
)


def read(files: Files, card: ImageCard = CARD, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    with open_scene(files, card, **options) as scene:
        return scene.read(0, 0, scene.height, scene.width)


def stack(path: Path, files: Sequence[tuple[Path, str, float | None]], side: int) -> Path:
    """A VRT with the first band of each file, its type and its nodata value."""
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{i}">'
        + (f"<NoDataValue>{nodata}</NoDataValue>" if nodata is not None else "")
        + f"<SimpleSource><SourceFilename>{file}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand>"
        for i, (file, kind, nodata) in enumerate(files, 1)
    )
    path.write_text(f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{bands}</VRTDataset>')
    return path


def test_units_and_gaps_are_those_of_prepared_stores(tmp_path: Path) -> None:
    pixels = numbers(0, 40, 40)
    pixels[1, 3:5, 7:9] = 0
    write_tiff(tmp_path / "scene.tif", pixels)
    image, measured = read(tmp_path / "scene.tif")
    expected = (pixels.astype(np.float32) - 1000) * np.float32(1e-4)
    assert np.array_equal(image, np.where(pixels == 0, 0, expected))
    assert np.array_equal(measured, pixels[1] != 0)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["B08", "B04", "B03", "B02"], [3, 2, 1, 0]),
        (["nir", "red", "green", "blue"], [3, 2, 1, 0]),
        (["B8_median", "B02", "SR_B04", "B3"], [3, 0, 2, 1]),
        (None, [0, 1, 2, 3]),
        (["Band 1", "Band 2", "Band 3", "Band 4"], [0, 1, 2, 3]),
    ],
)
def test_bands_are_found_by_name_else_by_order(names: list[str] | None, order: list[int], tmp_path: Path) -> None:
    pixels = numbers(0, 40, 40)
    write_tiff(tmp_path / "plain.tif", pixels)
    write_tiff(tmp_path / "scene.tif", pixels[order], names=names)
    assert np.array_equal(read(tmp_path / "scene.tif")[0], read(tmp_path / "plain.tif")[0])


def test_other_bands_of_a_larger_file_are_left_out(tmp_path: Path) -> None:
    pixels = numbers(0, 40, 40)
    write_tiff(tmp_path / "plain.tif", pixels)
    other = np.zeros_like(pixels[:1])
    names = ["B01", "B02", "B8A", "B08", "B04", "B03", "QA"]
    write_tiff(tmp_path / "scene.tif", np.concatenate([other, pixels[:1], other, pixels[[3, 2, 1]], other]), names)
    for found, expected in zip(read(tmp_path / "scene.tif"), read(tmp_path / "plain.tif"), strict=True):
        assert np.array_equal(found, expected)


def per_band(folder: Path, pixels: np.ndarray) -> dict[str, Path]:
    """A file for each band: float32 with nodata -99999, the last int16 with -32768, as in the real Landsat scene."""
    files = {}
    for name, band in zip(BANDS, pixels, strict=True):
        last = name == BANDS[-1]
        nodata, kind = (-32768, np.int16) if last else (-99999, np.float32)
        files[name] = folder / f"{name}.tif"
        write_tiff(files[name], np.where(band == 0, nodata, band.astype(int)).astype(kind)[None], nodata=nodata)
    return files


def test_files_of_one_band_and_a_vrt_equal_the_file_with_all_bands(tmp_path: Path) -> None:
    pixels = numbers(0, 40, 40)
    pixels[0, :3, :3] = pixels[3, 20:, 30:] = 0
    write_tiff(tmp_path / "scene.tif", pixels)
    files = per_band(tmp_path, pixels)
    kinds = [("Float32", -99999)] * 3 + [("Int16", -32768)]
    vrt = stack(tmp_path / "scene.vrt", [(file, *kind) for file, kind in zip(files.values(), kinds, strict=True)], 40)
    backwards = dict(reversed(files.items()))
    for given in (files, backwards, vrt):
        for found, expected in zip(read(given), read(tmp_path / "scene.tif"), strict=True):
            assert np.array_equal(found, expected)


def test_masks_transparency_and_gaps_in_floats_are_not_measured(tmp_path: Path) -> None:
    pixels = numbers(0, 40, 40).astype(np.float32)
    pixels[2, 5, 5] = np.nan
    write_tiff(tmp_path / "masked.tif", pixels)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "masked.tif", "r+") as file:
        file.write_mask(np.arange(40)[:, None] >= np.full(40, 4))
    image, measured = read(tmp_path / "masked.tif")
    assert not measured[:4].any()
    assert not measured[5, 5]
    assert measured.sum() == 40 * 36 - 1
    assert not image[:, :4].any()
    assert image[2, 5, 5] == 0
    assert image[1, 5, 5] != 0
    opaque = np.full((1, 40, 40), 65535, np.uint16)
    opaque[0, :7] = 0
    write_tiff(tmp_path / "alpha.tif", np.concatenate([numbers(0, 40, 40), opaque]))
    with rasterio.open(tmp_path / "alpha.tif", "r+") as file:
        file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 3, ColorInterp.alpha]
    assert read(tmp_path / "alpha.tif")[1].sum() == 40 * 33


def test_scale_and_offset_of_the_file_and_of_the_user(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = numbers(0, 40, 40)
    write_tiff(tmp_path / "plain.tif", pixels)
    write_tiff(tmp_path / "scene.tif", pixels)
    with rasterio.open(tmp_path / "scene.tif", "r+") as file:
        file.scales, file.offsets = (2e-4,) * 4, (-0.05,) * 4
    with caplog.at_level(logging.INFO):
        image, _ = read(tmp_path / "scene.tif")
    assert np.allclose(image, pixels * 2e-4 - 0.05, atol=1e-6)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'scene.tif'}: reflectance is stored * 0.0002 -0.05 by the file's tags; that of the training "
        "images was (stored -1000) * 0.0001"
    ]
    expected = (pixels + np.float32(0)) * np.float32(1e-4)
    assert np.array_equal(read(tmp_path / "scene.tif", scale=[1e-4], offset=[0])[0], expected)
    each = read(tmp_path / "plain.tif", scale=[1e-4, 1e-4, 1e-4, 2e-4], offset=[0])[0]
    assert np.array_equal(each[3], 2 * expected[3])
    assert np.array_equal(each[:3], expected[:3])
    with rasterio.open(tmp_path / "scene.tif", "r+") as file:  # the same in other words
        file.scales, file.offsets = (1e-4,) * 4, (-0.1,) * 4
    assert np.array_equal(read(tmp_path / "scene.tif")[0], read(tmp_path / "plain.tif")[0])


@pytest.mark.parametrize(
    ("stated", "options", "named"),
    [
        (
            {"pixels": numbers(0, 40, 40)[:3]},
            {},
            "expected the bands B02, B03, B04, B08 of the model, found 3 channels",
        ),
        ({"names": ["B04", "B03", "B02", "B11"]}, {}, "other bands by name: B04, B03, B02, B11"),
        ({"names": ["B02", "B03", "B04", "pan"], "pixels": numbers(0, 40, 40).repeat(2, 0)[:5]}, {}, "5 channels"),
        ({"names": ["B02", "B2", "B04", "B08"]}, {}, "'B02' and 'B2' may both be B02"),
        ({"photometric": "RGB"}, {}, "other bands by name: red, green, blue"),
        (
            {"transform": rasterio.Affine(30, 0, 5e5, 0, -30, 5e6)},
            {},
            "expected pixels of 10 m as in training, found 30",
        ),
        ({}, {"scale": [1.0]}, "has mean 999"),
        ({}, {"scale": [1e-4], "offset": [-5000]}, "of band B02 is negative"),
        ({}, {"scale": [1e-7]}, "uint16 pixels reach a reflectance of 0.00645"),
        ({"pixels": numbers(0, 40, 40) * np.float32(1e-4)}, {"offset": [0]}, "a mean reflectance of 3.6e-05"),
        ({}, {"scale": [1e-4, 2e-4]}, "expected one number or 4, one per band of the model, found 2"),
        ({"pixels": numbers(0, 40, 40).astype(np.complex64)}, {}, "found complex64"),
    ],
)
def test_a_scene_that_does_not_fit_is_refused(
    stated: dict[str, Any], options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    pixels = stated.pop("pixels", numbers(0, 40, 40))
    names = stated.pop("names", None)
    write_tiff(tmp_path / "scene.tif", pixels, names and [*names, *[""] * (len(pixels) - len(names))], **stated)
    with pytest.raises(DataError) as error:
        read(tmp_path / "scene.tif", **options)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_pixels_of_another_size_can_be_accepted(tmp_path: Path) -> None:
    write_tiff(tmp_path / "scene.tif", numbers(0, 40, 40), transform=rasterio.Affine(30, 0, 5e5, 0, -30, 5e6))
    assert read(tmp_path / "scene.tif", any_gsd=True)[1].all()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"pixels": numbers(0, 40, 41)[:1]}, "expected size (40, 40)"),
        ({"crs": "EPSG:32633"}, "expected coordinate system EPSG:32632"),
        ({"transform": rasterio.Affine(10, 0, 5e5 + 10, 0, -10, 5e6)}, "expected transform (10.0, 0.0, 500000.0,"),
        ({"pixels": numbers(0, 40, 40)[:2]}, "has one channel, found more"),
    ],
)
def test_files_of_other_grids_are_refused(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    files = per_band(tmp_path, numbers(0, 40, 40))
    pixels = changed.pop("pixels", numbers(0, 40, 40)[:1])
    write_tiff(files["B04"], pixels, **changed)
    with pytest.raises(DataError) as error:
        read(files)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_names_and_other_formats_are_refused(tmp_path: Path) -> None:
    files = per_band(tmp_path, numbers(0, 40, 40))
    with pytest.raises(DataError, match=r"expected the name of a band, B02, B03, B04, B08, found 'infra'"):
        read({"B02": files["B02"], "B03": files["B03"], "B04": files["B04"], "infra": files["B08"]})
    with pytest.raises(DataError, match=r"gone\.tif: no such file"):
        read(tmp_path / "gone.tif")
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(DataError, match=r"text\.tif: damaged"):
        read(tmp_path / "text.tif")


def test_names_of_another_sensor_are_not_taken_for_those_of_the_model(tmp_path: Path) -> None:
    """Landsat 7 calls its bands 1 to 5 and 7: by number they are others of Landsat 8."""
    card = ImageCard(**(vars(CARD) | {"bands": LANDSAT8.subset(["B2", "B3", "B4", "B5"])}))
    write_tiff(tmp_path / "scene.tif", numbers(0, 40, 40), names=["B1", "B2", "B3", "B4"])
    with pytest.raises(DataError, match="other bands by name: B1, B2, B3, B4"):
        read(tmp_path / "scene.tif", card)


def test_beyond_the_edges_the_image_is_mirrored(tmp_path: Path) -> None:
    write_tiff(tmp_path / "scene.tif", numbers(0, 20, 50))
    with open_scene(tmp_path / "scene.tif", CARD) as scene:
        image, measured = scene.read(10, 45, 32, 32)
        whole, _ = scene.read(0, 0, 20, 50)
    assert np.array_equal(image, np.pad(whole[:, 10:, 45:], ((0, 0), (0, 22), (0, 27)), "reflect"))
    assert measured.sum() == 50
    assert measured[:10, :5].all()
