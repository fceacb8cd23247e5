"""The metadata of GeoTIFFs is compared with the card; a contradiction is refused in one line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from own_data import BANDS, image, write_card, write_folders, write_masks, write_tiff
from rasterio.enums import ColorInterp

from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.errors import DataError

UTM = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
LANDSAT = {"sensor": "landsat8", "bands": ["B2", "B3", "B4", "B5"], "gsd": 30}
PLANET = {
    "sensor": "planet",
    "bands": [
        {"name": name, "role": role, "wavelength": 500, "width": 40, "gsd": 3}
        for name, role in (("blue", "B"), ("green", "G"), ("red", "R"), ("nir", "N"))
    ],
}


def one_file(folder: Path, pixels: np.ndarray | None = None, card: dict[str, Any] | None = None, **stated: Any) -> Any:
    """A reader whose first image is ``pixels`` with tags, colours or a mask as stated."""
    write_folders(folder)
    path = read("own", folder, "train").path(0)
    later = {key: stated.pop(key, None) for key in ("scales", "offsets", "colorinterp")}
    hidden = stated.pop("hidden", None)
    write_tiff(path, image(0) if pixels is None else pixels, **stated)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        for key, value in later.items():
            if value is not None:
                setattr(file, key, value)
        if hidden is not None:
            file.write_mask(~hidden)
    write_card(folder, **(card or {}))
    return read("own", folder, "train")


@pytest.mark.parametrize(
    ("names", "card"),
    [
        (["b04", "b03", "b02", "b08"], {}),
        (["B4_median", "B3_median", "B2_median", "B8_median"], {}),
        (["S2_B04_10m", "S2_B03_10m", "S2_B02_10m", "S2_B08_10m"], {}),
        (["red", "green", "blue", "nir"], {}),
        (["Red", "Green", "Blue", "NIR"], PLANET),
        (["B04", "B03", "B02", ""], {}),
        (["B05", "B06", "B07", "B8A"], {}),
        (["B02", "B03", "Red Edge 1", "B08"], {}),
        (["SR_B4", "SR_B3", "SR_B2", "SR_B5"], LANDSAT),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B6"], LANDSAT),
    ],
)
def test_other_bands_are_refused(names: list[str], card: dict[str, Any], tmp_path: Path) -> None:
    gsd = card.get("gsd", 10)
    place = rasterio.Affine(gsd, 0, 5e5, 0, -gsd, 5e6)
    dataset = one_file(tmp_path, names=names, card=card, transform=place)
    with pytest.raises(DataError, match="the file names its bands"):
        dataset.load(0)


@pytest.mark.parametrize(
    ("names", "card"),
    [
        (["b2", "B3_median", "SR_B04", "B8"], {}),
        (["Blue", "green", "RED", "near infrared"], {}),
        (["blue", "green", "red", "nir"], PLANET),
        (["Band 1", "Band 2", "Band 3", "Band 4"], {}),
        (["blue", "green", "red", "nir"], {"bands": ["B02", "B03", "B04", "B8A"]}),
    ],
)
def test_other_spellings_of_the_same_bands_are_read(names: list[str], card: dict[str, Any], tmp_path: Path) -> None:
    one_file(tmp_path, names=names, card=card).load(0)


@pytest.mark.parametrize(
    ("card", "stated", "named"),
    [
        ({}, {"scales": (1e-4,) * 4, "offsets": (-0.1,) * 4}, "set scale: 0.0001 and offset: -1000"),
        ({}, {"scales": (2.75e-5,) * 4, "offsets": (-0.2,) * 4}, "set scale: 2.75e-05 and offset: -7272.72727"),
        ({"gsd": 30}, {}, "pixels of 10 m by the file's coordinates, card.yaml says gsd 30"),
        ({"gsd": 9e-5}, {"crs": "EPSG:4326", "transform": rasterio.Affine(9e-5, 0, 5, 0, -9e-5, 45)}, "in metres"),
        ({}, {"crs": "EPSG:2263", "transform": rasterio.Affine(10, 0, 1e6, 0, -10, 2e5)}, "pixels of 3.05 m"),
        ({}, {"pixels": image(0).astype(np.uint8), "names": BANDS}, "uint8 pixels reach a reflectance of 0.0255"),
        ({}, {"colorinterp": (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)}, "colours"),
        ({}, {"photometric": "RGB", "alpha": "yes"}, "transparency"),
    ],
)
def test_a_contradiction_is_refused(card: dict[str, Any], stated: dict[str, Any], named: str, tmp_path: Path) -> None:
    dataset = one_file(tmp_path, card=card, **stated)
    with pytest.raises(DataError) as error:
        dataset.load(0)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ({"offset": -1000}, {"scales": (1e-4,) * 4, "offsets": (-0.1,) * 4}),
        ({}, {"crs": "EPSG:4326", "transform": rasterio.Affine(9e-5, 0, 5, 0, -9e-5, 45)}),
        ({}, {"crs": "EPSG:3857", "transform": rasterio.Affine(14.14, 0, 5e5, 0, -14.14, 5.62e6)}),
        ({"gsd": 3}, {"crs": "EPSG:2263", "transform": rasterio.Affine(10, 0, 1e6, 0, -10, 2e5)}),
        ({"gsd": 3}, {"crs": None}),
    ],
)
def test_files_that_agree_with_the_card_are_read(card: dict[str, Any], stated: dict[str, Any], tmp_path: Path) -> None:
    one_file(tmp_path, card=card, **stated).load(0)


@pytest.mark.parametrize(("scale", "offset", "hint"), [(1e-4, -0.1, "-1000"), (2.75e-5, -0.2, "-7272.73")])
def test_an_offset_in_reflectance_is_refused(scale: float, offset: float, hint: str, tmp_path: Path) -> None:
    write_folders(tmp_path, scale=scale, offset=offset)
    with pytest.raises(DataError, match=f"offset: expected in the unit of stored values.*write {hint}"):
        read("own", tmp_path, "train")


def test_an_offset_of_stored_reflectance_is_accepted(tmp_path: Path) -> None:
    write_folders(tmp_path, scale=1, offset=-0.1)
    read("own", tmp_path, "train")


def test_nodata_is_compared_before_the_offset(tmp_path: Path) -> None:
    write_masks(tmp_path, offset=-1000)
    dataset = read("own", tmp_path, "train")
    pixels = np.full((4, 16, 16), 2000, np.uint16)
    pixels[:, 3, 3] = 1000  # a reflectance of 0
    pixels[1, 4, 4] = 0
    write_tiff(dataset.path(0), pixels)
    write_tiff(dataset.label_path(0), np.ones((1, 16, 16), np.uint8))
    loaded, mask, measured = dataset.load_measured(0)
    assert loaded[0, 3, 3] == 0
    assert mask[3, 3] == 1
    assert np.argwhere(mask == -1).tolist() == [[4, 4]]
    assert np.argwhere(~measured).tolist() == [[1, 4, 4]]


@pytest.mark.parametrize("value", [float(np.finfo("float32").min), float(np.float32(-9999.9))])
@pytest.mark.parametrize("digits", [".6g", ".17g"])
def test_a_rounded_nodata_value_is_accepted(value: float, digits: str, tmp_path: Path) -> None:
    pixels = (image(0) / 1e4).astype(np.float32)
    pixels[:, :3] = value
    card = {"scale": 1, "nodata": float(f"{value:{digits}}")}
    loaded = one_file(tmp_path, pixels, card, nodata=value).load(0)[0]
    assert (loaded[:, :3] == 0).all()


def test_masked_pixels_of_an_image_are_not_measurements(tmp_path: Path) -> None:
    hidden = np.zeros((16, 16), bool)
    hidden[:4] = True
    _, _, measured = one_file(tmp_path, hidden=hidden).load_measured(0)
    assert np.array_equal(measured, np.broadcast_to(~hidden, (4, 16, 16)))


def test_masked_pixels_of_a_mask_file_have_no_label(tmp_path: Path) -> None:
    write_masks(tmp_path)
    dataset = read("own", tmp_path, "train")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(dataset.label_path(0), "r+") as file:
        file.write_mask(np.arange(16 * 16).reshape(16, 16) >= 128)
    assert (dataset.load(0)[1][:8] == -1).all()
    assert (dataset.load(0)[1][8:] != -1).any()


def test_a_class_that_is_the_nodata_value_of_a_mask_file_is_refused(tmp_path: Path) -> None:
    write_masks(tmp_path)
    dataset = read("own", tmp_path, "train")
    write_tiff(dataset.label_path(0), np.ones((1, 16, 16), np.uint8), nodata=1)
    with pytest.raises(DataError, match="the file says nodata is 1 and has such pixels; add it to ignore"):
        dataset.load(0)


DEGREES = rasterio.Affine(2.7e-6, 0, 5, 0, -2.7e-6, 45)


@pytest.mark.parametrize("crs", ["EPSG:4326", None])
@pytest.mark.parametrize(
    ("change", "shift"),
    [
        (rasterio.Affine.translation(1, 0), "1"),
        (rasterio.Affine.translation(0, -0.2), "0.2"),
        (rasterio.Affine.scale(1.01), "0.16"),
        (rasterio.Affine.translation(0, 16) @ rasterio.Affine.scale(1, -1), "16"),
    ],
)
def test_a_shifted_mask_is_refused(crs: str | None, change: Any, shift: str, tmp_path: Path) -> None:
    write_masks(tmp_path, gsd=0.3)
    dataset = read("own", tmp_path, "train")
    write_tiff(dataset.path(0), image(0), crs=crs, transform=DEGREES)
    write_tiff(dataset.label_path(0), np.ones((1, 16, 16), np.uint8), crs=crs, transform=DEGREES @ change)
    with pytest.raises(DataError, match=f"a corner is {shift} pixels from that of its image"):
        dataset.load(0)
    write_tiff(dataset.label_path(0), np.ones((1, 16, 16), np.uint8), crs=crs, transform=DEGREES)
    dataset.load(0)


def test_other_pixel_types_are_named(tmp_path: Path) -> None:
    write_folders(tmp_path)
    dataset = read("own", tmp_path, "train")
    write_tiff(dataset.path(1), image(7).astype(np.float32))
    with pytest.raises(
        DataError, match=r"expected pixels of type uint16 .* found float32; store all files in one type"
    ):
        prepare("own", tmp_path, tmp_path / "store")


def test_what_files_do_not_state_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folders(tmp_path)
    caplog.set_level(logging.INFO)
    prepare("own", tmp_path, tmp_path / "store")
    (line,) = [record.message for record in caplog.records if "does not state" in record.message]
    assert "the order of bands, scale and offset, nodata; the values of card.yaml are used" in line
