"""Writes a user's own dataset with bands in several files or scenes to cut; returns what a reader has to find in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pixel_formats as formats
import rasterio
from labelled_folders import CLASSES, DRAWN, SPLITS, Written, classes_of, numbers_of
from own_data import BANDS, write_card, write_tiff
from pixel_formats import SCALE, WriteImage, geotiff, mask

#: Bands and the metres of their pixels.
FINE = dict.fromkeys(BANDS, 10)
COARSE = FINE | {"B05": 20, "B11": 20}


def resampled(numbers: np.ndarray, gsd: float, wanted: float) -> np.ndarray:
    """(H, W) on the grid of another pixel size: a bilinear interpolation between centres, or means."""
    if gsd < wanted:
        step = round(wanted / gsd)
        height, width = numbers.shape
        means = numbers.reshape(height // step, step, width // step, step).mean((1, 3))
    else:
        means = _interpolated(_interpolated(numbers, gsd / wanted).T, gsd / wanted).T
    return means


def _interpolated(values: np.ndarray, step: float) -> np.ndarray:
    """Rows between the centres of those of (H, W); beyond the outermost centres, the values there."""
    place = ((np.arange(round(len(values) * step)) + 0.5) / step - 0.5).clip(0, len(values) - 1)
    first = np.floor(place).astype(int).clip(0, len(values) - 2)
    share = (place - first)[:, None]
    return values[first] * (1 - share) + values[first + 1] * share


#: Multiples of it stay whole numbers in means and interpolations between 10, 20 and 60 m, so that none is rounded.
WHOLE = 144


def at(gsd: float) -> rasterio.Affine:
    return rasterio.Affine(gsd, 0, 5e5, 0, -gsd, 5e6)


def write_bands(
    numbers: np.ndarray, gsds: Mapping[str, int], path: Callable[[str], Path], wanted: int, write: WriteImage = geotiff
) -> np.ndarray:
    """Digital numbers (C, H, W) at 10 m as a file per band of its pixel size; returns reflectance at ``wanted``."""
    found = []
    for (band, gsd), fine in zip(gsds.items(), numbers, strict=True):
        stored = fine[:: gsd // 10, :: gsd // 10] // WHOLE * WHOLE
        write(path(band), stored[None], transform=at(gsd))
        height, width = (side * 10 // wanted for side in fine.shape)  # larger pixels may reach beyond the image
        found.append(resampled(stored, gsd, wanted)[:height, :width] * SCALE)
    return np.stack(found)


def band_files(folder: Path, gsds: Mapping[str, int] = FINE, gsd: int = 10, **card: Any) -> Written:
    """Class folders with a file per band, and a file that is no band."""
    write_card(folder, images="{class}/{id}_{band}.tif", bands=list(gsds), gsd=gsd, **card)
    written = Written(list(gsds), {}, gsd=gsd)
    for label, title in enumerate(CLASSES):
        for index in range(4):
            name = f"a_{index}"
            numbers = numbers_of(100 * label + index, len(gsds), 24)
            found = write_bands(numbers, gsds, lambda band, at=f"{title}/{name}": folder / f"{at}_{band}.tif", gsd)
            written.samples[f"{title}/{name}"] = found, label
            write_tiff(folder / f"{title}/{name}_SCL.tif", numbers[:1])
    return written


def band_groups(folder: Path, gsd: int) -> Written:
    """Two files per image: bands of 10 m, and bands of 20 m with a channel that is none."""
    fine, coarse = ["B04", "B03", "B02", "B08"], ["B05", "SCL", "B11"]
    bands = [{"name": name, "file": "10m"} for name in fine] + [{"name": name, "file": "20m"} for name in coarse]
    names = [name for name in fine + coarse if name != "SCL"]
    write_card(folder, images="{class}/{id}_{band}.tif", bands=bands, use=names, gsd=gsd)
    written = Written(names, {}, gsd=gsd)
    for label, title in enumerate(CLASSES):
        for index in range(4):
            tens, twenties = (
                numbers_of(100 * label + index + at, *shape) // WHOLE * WHOLE
                for at, shape in ((0, (4,)), (500, (3, 8)))
            )
            write_tiff(folder / f"{title}/{index}_10m.tif", tens)
            write_tiff(folder / f"{title}/{index}_20m.tif", twenties, transform=at(20))
            found = [resampled(band, 10, gsd) for band in tens] + [resampled(twenties[k], 20, gsd) for k in (0, 2)]
            written.samples[f"{title}/{index}"] = np.stack(found) * SCALE, label
    return written


def units_per_band(folder: Path) -> Written:
    """A file per band, each of another type, scale, offset and nodata value."""
    bands = [
        {"name": "B02", "scale": formats.BYTE, "file": "blue"},  # uint8
        {"name": "B03", "scale": 0.0001, "offset": -1000, "file": "green"},  # uint16
        {"name": "B04", "scale": 0.00002, "offset": 100, "file": "red"},  # int16
        {"name": "B08", "scale": 1, "file": "nir"},  # float32
    ]
    write_card(folder, images="{class}/{band}/{id}.tif", bands=bands, scale=None)
    scales, offsets = (formats.BYTE, 1e-4, 2e-5, 1.0), (0.0, -1000.0, 100.0, 0.0)
    written = Written(BANDS, {}, scale=scales, offset=offsets)
    types = {"blue": (np.uint8, 0), "green": (np.uint16, 65535), "red": (np.int16, -9999), "nir": (np.float32, -1)}
    for label, title in enumerate(CLASSES):
        for index in range(4):
            found = []
            numbers = [*numbers_of(100 * label + index)]
            numbers = [numbers[0] // 16 + 1, numbers[1] + 1000, numbers[2] * 4, numbers[3] / 1e4]
            for (word, (dtype, none)), values, scale, offset in zip(
                types.items(), numbers, scales, offsets, strict=True
            ):
                stored = values.astype(dtype)
                stored[index, :3] = none
                write_tiff(folder / title / word / f"{index}.tif", stored[None], nodata=none)
                reflectance = (stored.astype(float) + offset) * scale
                found.append(np.where(stored == none, np.nan, reflectance))
            written.samples[f"{title}/{index}"] = np.stack(found), label
    return written


def squares(reflectance: np.ndarray, label: np.ndarray, scene: str, size: int, stride: int) -> dict[str, Any]:
    """The squares of a scene by id; the last ones lie at its edges."""
    starts = [sorted({*range(0, side - size + 1, stride), side - size}) for side in label.shape]
    return {
        f"{scene}/{top}_{left}": (
            reflectance[:, top : top + size, left : left + size],
            label[top : top + size, left : left + size],
        )
        for top in starts[0]
        for left in starts[1]
    }


def scene(seed: int, bands: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    numbers = random.integers(300, 4000, (bands, height, width)).astype(np.uint16)
    classes = random.integers(0, 2, (height, width))
    classes[3:5] = -1
    return numbers, classes


def scenes(folder: Path, size: int = 16, stride: int = 12) -> Written:
    """Large images whose squares stay together, with nodata tags."""
    card = {"task": "segmentation", "labels": "masks", "ignore": 255, "size": size, "stride": stride}
    write_card(folder, **card)
    written = Written(BANDS, {})
    for index in range(4):
        numbers, classes = scene(index, 4, 40, 52 + index)
        numbers[1, 10:20, 30:41] = 0
        write_tiff(folder / f"images/s{index}.tif", numbers, nodata=0, tiled=True, blockxsize=16, blockysize=16)
        mask(folder / f"masks/s{index}.tif", classes)
        found = squares(np.where(numbers == 0, np.nan, numbers * SCALE), classes, f"s{index}", size, stride)
        written.samples |= found
        written.groups |= dict.fromkeys(found, f"s{index}")
    return written


def scene_in_blocks(folder: Path, gsds: Mapping[str, int] = COARSE) -> Written:
    """One scene of a file per band, some of larger pixels, cut into squares that blocks divide between splits."""
    card = {"task": "segmentation", "labels": "masks", "ignore": 255, "size": 16, "stride": 16, "bands": list(gsds)}
    write_card(folder, images="scene_{band}.tif", masks="truth.tif", splits=DRAWN | {"block_km": 0.3}, **card)
    numbers, classes = scene(0, len(gsds), 80, 96)
    reflectance = write_bands(numbers, gsds, lambda band: folder / f"scene_{band}.tif", 10)
    mask(folder / "truth.tif", classes)
    return Written(list(gsds), squares(reflectance, classes, "scene", 16, 16))


def safe(folder: Path) -> Written:
    """Folders as ESA delivers Sentinel-2, with JPEG 2000 files of 10 and 20 m, and masks beside them."""
    bands = [{"name": band, "file": f"{band}_{gsd}m"} for band, gsd in COARSE.items()]
    pattern = "{id}.SAFE/GRANULE/*/IMG_DATA/*/*_{band}.jp2"
    card = {"task": "segmentation", "labels": "masks", "ignore": 255, "size": 16, "stride": 16, "bands": bands}
    write_card(folder, images=pattern, masks="labels/{id}.tif", offset=-1000, nodata=0, **card)
    written = Written(list(COARSE), {}, offset=-1000, nodata=(0,))
    for index, day in enumerate(("20240105", "20240110", "20240115", "20240120")):
        product = f"S2A_MSIL2A_{day}T102401_N0510_R065_T32TMT"
        data = folder / f"{product}.SAFE/GRANULE/L2A_T32TMT_A{index}/IMG_DATA"
        numbers, classes = scene(index, len(COARSE), 31, 47)
        numbers += 1000
        numbers[1, 3:6, 2:9] = 0

        def path(band: str, data: Path = data, day: str = day) -> Path:
            return data / f"R{COARSE[band]}m/T32TMT_{day}T102401_{band}_{COARSE[band]}m.jp2"

        reflectance = write_bands(numbers, COARSE, path, 10, formats.jpeg2000) - 0.1
        reflectance[1, 3:6, 2:9] = np.nan
        formats.jpeg2000(data / f"R20m/T32TMT_{day}T102401_SCL_20m.jp2", numbers[:1, ::2, ::2], transform=at(20))
        (folder / f"{product}.SAFE/manifest.safe").write_text("<xml/>")
        mask(folder / f"labels/{product}.tif", classes)
        found = squares(reflectance, classes, product, 16, 16)
        written.samples |= found
        written.groups |= dict.fromkeys(found, product)
    return written


def sites(folder: Path) -> Written:
    """Images at four places 100 km apart, in two coordinate systems."""
    write_card(folder, splits=DRAWN | {"block_km": 20})
    written = Written(BANDS, {})
    for label, title in enumerate(CLASSES):
        for index in range(8):
            place = index % 4
            east, north = 5.05e5 + 1e5 * (place % 2) + 200 * (index // 4), 5.004e6 + 1e5 * (place // 2) + 1000 * label
            grid: dict[str, Any] = {"transform": rasterio.Affine(10, 0, east, 0, -10, north)}
            if index >= 4:  # the same system, with other numbers
                grid = {"transform": rasterio.Affine(10, 0, east - 5e5, 0, -10, north), "crs": AT_ZERO}
            name = f"{title}/{index}"
            written.samples[name] = geotiff(folder / f"{name}.tif", numbers_of(100 * label + index), **grid), label
            written.groups[name] = f"place {place}"
    return written


#: UTM zone 32N without its false easting of 500 km.
AT_ZERO = "+proj=tmerc +lat_0=0 +lon_0=9 +k=0.9996 +x_0=0 +y_0=0 +datum=WGS84 +units=m"


def dates(folder: Path) -> Written:
    """Images of two dates, of a file per band, with one mask for both; a place stays in one split."""
    card = {"task": "segmentation", "labels": "masks", "ignore": 255, "splits": DRAWN | {"group": "place"}}
    write_card(folder, images="{date}/{place}_{band}.tif", masks="truth/{place}.tif", **card)
    written = Written(BANDS, {})
    for place in range(4):
        mask(folder / f"truth/p{place}.tif", classes_of(place))
        for date in ("2020-01", "2020-07"):
            path = f"{date}/p{place}"
            numbers = numbers_of(10 * place + len(written.samples))
            found = write_bands(numbers, FINE, lambda band, path=path: folder / f"{path}_{band}.tif", 10)
            written.samples[path] = found, classes_of(place)
            written.groups[path] = f"p{place}"
    return written


def table_of_bands(folder: Path) -> Written:
    """A table with the parts of the names of images, which have a file per band."""
    write_card(folder, images="{region}/{id}_{date}_{band}.tif", labels="labels.csv", splits="column")
    written, rows = Written(BANDS, {}), []
    for index in range(8):
        parts = f"r{index % 3}", f"tile-{index}", "2020"
        path, name = f"{parts[0]}/{parts[1]}_{parts[2]}", "/".join(parts)
        found = write_bands(numbers_of(index), FINE, lambda band, path=path: folder / f"{path}_{band}.tif", 10)
        written.samples[name], written.splits[name] = (found, index % 2), SPLITS[index % 4]
        rows.append(f"{name};{CLASSES[index % 2]};{SPLITS[index % 4]}")
    (folder / "labels.csv").write_text("image;label;split\n" + "\n".join(rows))
    return written
