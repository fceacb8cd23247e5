"""Bands in files of their own, of other pixel sizes, types and units, are read as one image on one grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from own_data import image, write_card, write_tiff

from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.data.store import Store
from deflect.errors import DataError

DRAWN = {"seed": 0, "fractions": [0.5, 0.25, 0.25]}
PATTERN = "{class}/{id}_{band}.tif"


def grid(gsd: float) -> Any:
    return rasterio.Affine(gsd, 0, 5e5, 0, -gsd, 5e6)


def write_bands(folder: Path, gsds: dict[str, float], n: int = 4, **card: Any) -> None:
    """A file per band over 240 m, and one that is no band."""
    write_card(folder, images=PATTERN, bands=list(gsds), splits=DRAWN, **card)
    for label, title in enumerate(("field", "forest")):
        for index in range(n):
            pixels = image(100 * label + index, 24, 6)
            for number, (band, gsd) in enumerate(gsds.items()):
                step = round(gsd / 10)
                write_tiff(folder / title / f"a_{index}_{band}.tif", pixels[number : number + 1, ::step, ::step],
                           transform=grid(gsd))  # fmt: skip
            write_tiff(folder / title / f"a_{index}_SCL.tif", pixels[:1], transform=grid(10))


FINE = dict.fromkeys(("B02", "B03", "B04", "B08"), 10.0)


def test_files_of_one_grid_are_stacked_in_the_order_of_the_card(tmp_path: Path) -> None:
    write_bands(tmp_path, dict(reversed(FINE.items())))
    dataset = read("own", tmp_path, "train")
    assert dataset.sheet.bands.names == ["B08", "B04", "B03", "B02"]
    assert dataset.ids[0].startswith("field/a_")
    number = int(dataset.ids[0].split("_")[1])
    pixels, label = dataset.load(0)
    np.testing.assert_array_equal(pixels, image(number, 24, 6)[:4])
    assert (pixels.dtype, label) == (np.uint16, 0)
    assert len(list(dataset.files())) == 4 * len(dataset) + 1
    prepare("own", tmp_path, tmp_path / "store")


@pytest.mark.parametrize(("gsd", "size"), [(10, 24), (20, 12)])
def test_bands_of_other_pixel_sizes_are_resampled_to_gsd(gsd: int, size: int, tmp_path: Path) -> None:
    write_bands(tmp_path, FINE | {"B05": 20, "B01": 60}, gsd=gsd)
    dataset = read("own", tmp_path, "train")
    pixels, _ = dataset.load(0)
    stored = image(int(dataset.ids[0].removeprefix("field/a_")), 24, 6)
    assert pixels.shape == (6, size, size)
    if gsd == 10:
        np.testing.assert_array_equal(pixels[:4], stored[:4])
        # a bilinear interpolation between centres: the pixel of 10 m nearest to the centre of four pixels of 20 m
        centres = stored[4, ::2, ::2].astype(float)
        expected = (9 * centres[0, 0] + 3 * centres[0, 1] + 3 * centres[1, 0] + centres[1, 1]) / 16
        assert abs(int(pixels[4, 1, 1]) - expected) <= 1
    else:
        means = stored[:4].reshape(4, 12, 2, 12, 2).mean((2, 4))
        assert np.abs(pixels[:4] - means).max() <= 0.5
        np.testing.assert_array_equal(pixels[4], stored[4, ::2, ::2])


def test_pixels_without_a_measurement_are_not_mixed_with_others(tmp_path: Path) -> None:
    write_bands(tmp_path, FINE | {"B05": 20}, nodata=0)
    dataset = read("own", tmp_path, "train")
    path = next(path for path in dataset.files() if path.name.endswith("B05.tif"))
    coarse = np.full((1, 12, 12), 2000, np.uint16)
    coarse[0, 5, 5] = 0
    write_tiff(path, coarse, transform=grid(20))
    pixels, _, measured = dataset.load_measured(0)
    assert set(np.unique(pixels[4][measured[4]])) == {2000}
    gaps = np.argwhere(~measured[4])
    assert 4 <= len(gaps) <= 16
    assert gaps.min() >= 9
    assert gaps.max() <= 12


def test_scale_offset_type_and_nodata_per_band(tmp_path: Path) -> None:
    write_bands(tmp_path, FINE, scale=None)
    bands = [{"name": "B02", "scale": 0.0005}, {"name": "B03", "scale": 0.0001, "offset": -100}, "B04", "B08"]
    write_card(tmp_path, images=PATTERN, bands=bands, splits=DRAWN, scale=0.0001, offset=0)
    dataset = read("own", tmp_path, "train")
    path = dataset.path(0)
    stored = (np.arange(576).reshape(1, 24, 24) + 1).astype(np.float32)
    stored[0, 3, 4] = -9999
    write_tiff(path, stored, transform=grid(10), nodata=-9999)
    pixels, _, measured = dataset.load_measured(0)
    assert pixels.dtype == np.float32
    expected = stored[0] * np.float32(0.0005)
    expected[3, 4] = 0
    np.testing.assert_allclose(pixels[0], expected, rtol=1e-6)
    assert np.argwhere(~measured).tolist() == [[0, 3, 4]]
    with rasterio.open(str(path).replace("B02", "B03")) as file:
        np.testing.assert_allclose(pixels[1], (file.read(1).astype(float) - 100) * 1e-4, rtol=1e-5)
    card = prepare("own", tmp_path, tmp_path / "store")
    assert (card.scale, card.offset, card.stored_scale) == ((5e-4, 1e-4, 1e-4, 1e-4), (0, -100, 0, 0), 1)
    batch = Store(tmp_path / "store").split("train").batch([0])[0].numpy()
    np.testing.assert_array_equal(batch[0], pixels)


def test_tags_are_the_scale_that_the_card_leaves_out(tmp_path: Path) -> None:
    write_bands(tmp_path, FINE, scale=None)
    for path in tmp_path.glob("*/*_B*.tif"):
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (2.75e-5,), (-0.2,)
    sheet = read("own", tmp_path, "train").sheet
    assert (sheet.scale, round(sheet.offset)) == (2.75e-5, -7273)
    with rasterio.open(path, "r+") as file:
        file.offsets = (0.0,)
    with pytest.raises(DataError, match="the file has the value stored"):
        prepare("own", tmp_path, tmp_path / "store")
    write_card(tmp_path, images=PATTERN, bands=list(FINE), splits=DRAWN, scale=0.0001)
    with pytest.raises(DataError, match=r"set scale: 2\.75e-05 and offset: -7272\.72727"):
        prepare("own", tmp_path, tmp_path / "store")


def test_a_missing_band_names_image_and_band(tmp_path: Path) -> None:
    write_bands(tmp_path, FINE)
    (tmp_path / "forest/a_1_B08.tif").unlink()
    with pytest.raises(DataError, match=r"1 of 8 images lack files of bands \(forest/a_1; the first lacks B08\)"):
        read("own", tmp_path, "train")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"crs": "EPSG:32633"}, "coordinate system differs from that of a_"),
        ({"transform": rasterio.Affine(10, 0, 5e5 + 30, 0, -10, 5e6)}, "a corner is 3 pixels from that of a_"),
        ({"transform": rasterio.Affine(20, 0, 5e5, 0, -20, 5e6)}, "a corner is 24 pixels from that of a_"),
    ],
)
def test_files_of_other_places_are_refused(stated: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_bands(tmp_path, FINE)
    dataset = read("own", tmp_path, "train")
    write_tiff(dataset.path(0).with_name(dataset.path(0).name.replace("B02", "B04")), image(0, 24, 1), **stated)
    with pytest.raises(DataError, match=message):
        dataset.load(0)


def test_channels_that_are_no_bands_are_skipped(tmp_path: Path) -> None:
    entries: dict[str, dict[str, Any]] = {
        "null": {"bands": ["B02", None, "B03", "B04", None]},
        "names": {"bands": ["B02", "SCL", "B03", "B04", "elevation"], "use": ["B02", "B03", "B04"]},
    }
    for name, change in entries.items():
        write_card(tmp_path / name, **change)
        for label, title in enumerate(("field", "forest")):
            for index in range(8):
                write_tiff(tmp_path / name / title / f"{title}_{index}.tif", image(100 * label + index, bands=5))
        dataset = read("own", tmp_path / name, "train")
        number = 100 * dataset.ids[0].startswith("forest") + int(dataset.ids[0].split("_")[1])
        np.testing.assert_array_equal(dataset.load(0)[0], image(number, bands=5)[[0, 2, 3]])
    write_card(tmp_path / "names", bands=["B02", "SCL", "B03", "B04", "elevation"])
    with pytest.raises(DataError, match=r"no band 'SCL'; .* write null for a channel that is no band"):
        read("own", tmp_path / "names", "train")
