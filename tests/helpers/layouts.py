"""Every layout of docs/your_own_dataset.md, written with what a reader has to find in it.

What is expected comes from the arrays that were written, never from the code that reads them.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pixel_formats as formats
import rasterio
from own_data import BANDS, CARD, image, write_card, write_tiff
from pixel_formats import SCALE, WriteImage, WriteMask, geotiff, mask

CLASSES = CARD["classes"]
SPLITS = ("train", "train", "val", "test")  # of images 0, 1, 2, 3, 0, ...
DRAWN = CARD["splits"]
FINE = dict.fromkeys(BANDS, 10)
SENTINEL2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
COARSE = FINE | {"B05": 20, "B11": 20}


@dataclass
class Written:
    """A dataset by what its files say.

    Attributes:
        samples: id -> reflectance (C, H, W), NaN where nothing was measured, and label.
        splits: id -> split, where the files or the card say it.
        groups: id -> what must not be divided between splits.
        scale, offset, nodata: as a record has to have them.
    """

    bands: list[str]
    samples: dict[str, tuple[np.ndarray, Any]]
    splits: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    scale: float | tuple[float, ...] = SCALE
    offset: float | tuple[float, ...] = 0.0
    nodata: tuple[float, ...] = ()
    gsd: float = 10.0


Layout = Callable[[Path], Written]


def numbers_of(index: int, bands: int = len(BANDS), size: int = 16) -> np.ndarray:
    return image(index, size, bands)


def classes_of(index: int, size: int = 16) -> np.ndarray:
    """Classes (H, W) of an image, with a place of no class."""
    classes = np.random.default_rng(1000 + index).integers(0, 2, (size, size))
    classes[5, 5:8] = -1
    return classes


def values_of(index: int, size: int = 16) -> np.ndarray:
    """Numbers (H, W) for a regression, with NaN."""
    values = np.random.default_rng(1000 + index).normal(120, 30, (size, size)).astype(np.float32)
    values[5, 5:8] = np.nan
    return values


def _facts(written: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What a record has to have, by the keys of the card and, beyond them, ``expected``."""
    keys = {key: written[key] for key in ("scale", "offset", "gsd") if written.get(key) is not None}
    return keys | expected


def _names(card: Mapping[str, Any]) -> list[str]:
    """The bands that a card keeps, in its order."""
    names = [entry["name"] if isinstance(entry, dict) else entry for entry in card.get("bands", BANDS)]
    return [name for name in names if name in card.get("use", names) and name is not None]


def _kept(reflectance: np.ndarray, card: Mapping[str, Any]) -> np.ndarray:
    """The channels that are bands."""
    entries = card.get("bands", BANDS)
    names = [entry["name"] if isinstance(entry, dict) else entry for entry in entries]
    return reflectance[[names.index(name) for name in _names(card)]]


# ---------------------------------------------------------------------- labels


def class_folders(
    folder: Path,
    write: WriteImage = geotiff,
    path: str = "{title}/{title}_{index}.tif",
    name: str = "{title}/{title}_{index}",
    expected: Mapping[str, Any] = {},
    n: int = 4,
    **card: Any,
) -> Written:
    """A folder per class. ``path`` and ``name`` of each image may contain a split and a farm as well."""
    write_card(folder, **card)
    written = Written(_names(card), {}, **_facts(card, dict(expected)))
    for label, title in enumerate(CLASSES):
        for index in range(n):
            parts = {"title": title, "index": index, "split": SPLITS[index % 4], "farm": f"farm{index % 4}"}
            found = write(folder / path.format(**parts), numbers_of(100 * label + index, len(card.get("bands", BANDS))))
            key = name.format(**parts)
            written.samples[key] = _kept(found, card), label
            if "{split}" in path:
                written.splits[key] = parts["split"]
            if "{farm}" in path:
                written.groups[key] = parts["farm"]
    return written


def table(
    folder: Path,
    cells: Callable[[int], dict[str, Any]],
    label: Callable[[int], Any],
    labels: str = "labels.csv",
    write: WriteImage = geotiff,
    n: int = 8,
    **card: Any,
) -> Written:
    """Images with a table; ``cells`` are those of a row beside the image."""
    write_card(folder, labels=labels, **card)
    written = Written(_names(card), {}, **_facts(card, {}))
    rows = []
    for index in range(n):
        name = f"tile_{index}"
        written.samples[name] = write(folder / f"images/{name}.tif", numbers_of(index)), label(index)
        rows.append({"image": name} | cells(index))
        if card.get("splits") == "column":
            written.splits[name] = rows[-1]["split"]
        if "group" in card.get("splits", ()):
            written.groups[name] = rows[-1]["site"]
    with open(folder / labels, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return written


def masks(
    folder: Path,
    write_mask: WriteMask = mask,
    write: WriteImage = geotiff,
    label: Callable[[int], np.ndarray] = classes_of,
    image_path: str = "images/{name}.tif",
    mask_path: str = "masks/{name}.tif",
    name: str = "{name}",
    **card: Any,
) -> Written:
    """An image and a mask each."""
    write_card(folder, **({"task": "segmentation", "labels": "masks", "ignore": 255} | card))
    written = Written(_names(card), {}, **_facts(card, {}))
    for index in range(8):
        parts = {"name": f"tile_{index}", "split": SPLITS[index % 4]}
        found = write(folder / image_path.format(**parts), numbers_of(index))
        write_mask(folder / mask_path.format(**parts), label(index))
        written.samples[name.format(**parts)] = found, label(index)
        if "{split}" in image_path:
            written.splits[name.format(**parts)] = parts["split"]
    return written


def lists(folder: Path, written: Written) -> Written:
    """Write the images of each split to a file, and name the files in the card."""
    written.splits = {name: SPLITS[index % 4] for index, name in enumerate(written.samples)}
    for split in ("train", "val", "test"):
        members = [name for name, of in written.splits.items() if of == split]
        (folder / f"{split}.txt").write_text("\n".join(members) + "\n")
    return written


LISTS = {split: f"{split}.txt" for split in ("train", "val", "test")}


# ---------------------------------------------------------------------- bands in several files


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


# ---------------------------------------------------------------------- scenes


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


# ---------------------------------------------------------------------- links


def linked(folder: Path, files: bool) -> Written:
    """The images on another disk, by links to folders or to files."""
    disk = folder.absolute().with_name(f"{folder.name}_disk")
    written = class_folders(disk)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(disk / "card.yaml", folder)
    for title in CLASSES:
        if not files:
            (folder / title).symlink_to(disk / title)
            continue
        (folder / title).mkdir()
        for path in (disk / title).iterdir():
            (folder / title / path.name).symlink_to(path)
    return written


# ---------------------------------------------------------------------- all


def pixels(write: WriteImage, ending: str = "tif", expected: Mapping[str, Any] = {}, **card: Any) -> Layout:
    """Class folders with files of another format."""
    if ending != "tif":
        card |= {"images": f"{{class}}/{{id}}.{ending}"}
    path = f"{{title}}/{{title}}_{{index}}.{ending}"
    return partial(class_folders, write=write, path=path, expected=expected, **card)


def compressed(**profile: Any) -> Layout:
    return pixels(partial(geotiff, **profile))


def _own_bands() -> list[dict[str, Any]]:
    facts = zip(BANDS, "BGRN", (490, 560, 665, 842), strict=True)
    return [{"name": f"my {name}", "role": role, "wavelength": nm, "width": 50, "gsd": 3} for name, role, nm in facts]


def _class_cell(index: int) -> dict[str, Any]:
    return {"label": CLASSES[index % 2], "split": SPLITS[index % 4]}


def _several(index: int) -> np.ndarray:
    """Classes of an image: none, one or both."""
    return np.array([index % 2, index // 2 % 2], np.uint8)


def _yield(index: int) -> float:
    return round(np.random.default_rng(index).normal(4.5), 2)


TARGET = {"classes": None, "target": "biomass (t/ha)"}
COLOURED = {"colours": formats.COLOURS, "ignore": formats.NO_CLASS}
MIXED = ((1e-4, 2e-4, 5e-5, 1e-4), (-0.1, 0.0, 0.02, 0.0))

#: Name in the table of docs/your_own_dataset.md -> what writes it.
LAYOUTS: dict[str, Layout] = {
    # labels and splits
    "class folders": class_folders,
    "class folders in split folders": partial(
        class_folders, path="{split}/{title}/{title}_{index}.tif", name="{split}/{title}/{title}_{index}",
        splits="folders",
    ),
    "class folders with split lists": lambda folder: lists(folder, class_folders(folder, splits=LISTS)),
    "table": partial(table, cells=_class_cell, label=lambda index: index % 2, splits="column"),
    "table with numbers from 1": partial(
        table, cells=lambda index: {"label": 1 + index % 2}, label=lambda index: index % 2, label_offset=1
    ),
    "table with groups": partial(
        table, cells=lambda index: {"label": CLASSES[index % 2], "site": f"site{index % 4}"},
        label=lambda index: index % 2, splits=DRAWN | {"group": "site"}, n=16,
    ),
    "masks": masks,
    "masks in split folders": partial(
        masks, image_path="{split}/images/{name}.tif", mask_path="{split}/masks/{name}.tif", name="{split}/{name}",
        splits="folders",
    ),
    "masks with split lists": lambda folder: lists(folder, masks(folder, splits=LISTS)),
    "masks with other names": partial(
        masks, image_path="north/{name}_image.tif", mask_path="north/{name}_truth.tif", name="north/{name}",
        images="{region}/{id}_image.tif", masks="{region}/{id}_truth.tif",
    ),
    "masks for several dates": dates,
    "table of names with several parts": table_of_bands,
    "classes below other folders": partial(
        class_folders, path="north/{title}/x/{title}_{index}.tif", name="north/{title}/{title}_{index}",
        images="{region}/{class}/*/{id}.tif",
    ),
    "groups in names": partial(
        class_folders, path="{title}/{farm}-{index}.tif", name="{title}/{farm}/{index}", n=8,
        images="{class}/{farm}-{id}.tif", splits=DRAWN | {"group": "farm"},
    ),
    "blocks": sites,
    # masks
    "masks from 1": partial(masks, write_mask=partial(mask, first=1, none=0), label_offset=1, ignore=0),
    "masks of 16 bits": partial(masks, write_mask=partial(mask, none=-1, dtype="int16"), ignore=-1),
    "masks of one bit": partial(
        masks, write_mask=partial(mask, nbits=1), label=lambda index: np.maximum(classes_of(index), 0), ignore=None
    ),
    "masks, PNG": partial(masks, write_mask=formats.grey_png, mask_path="masks/{name}.png", masks="masks/{id}.png"),
    "masks of floats": partial(masks, write_mask=formats.float_mask, ignore=None),
    "masks with a mask of their own": partial(masks, write_mask=formats.masked_mask, ignore=None),
    "palette, GeoTIFF": partial(masks, write_mask=formats.palette_geotiff, **COLOURED),
    "palette, PNG": partial(
        masks, write_mask=formats.palette_png, mask_path="masks/{name}.png", masks="masks/{id}.png", **COLOURED
    ),
    "colours, GeoTIFF": partial(masks, write_mask=formats.colour_geotiff, **COLOURED),
    "colours, PNG": partial(
        masks, write_mask=formats.colour_png, mask_path="masks/{name}.png", masks="masks/{id}.png", **COLOURED
    ),
    "colours and transparency, PNG": partial(
        masks, write_mask=formats.transparent_colour_png, mask_path="masks/{name}.png", masks="masks/{id}.png",
        colours=formats.COLOURS, ignore=None,
    ),
    "masks in another coordinate system": partial(
        masks, write_mask=partial(mask, crs=AT_ZERO, transform=rasterio.Affine(10, 0, 0, 0, -10, 5e6))
    ),
    # files of bands, and channels
    "a file per band": band_files,
    "bands of 10, 20 and 60 m at 10 m": partial(band_files, gsds=COARSE | {"B09": 60}),
    "bands of 10, 20 and 60 m at 20 m": partial(band_files, gsds=COARSE | {"B09": 60}, gsd=20),
    "files of several bands at 10 m": partial(band_groups, gsd=10),
    "files of several bands at 20 m": partial(band_groups, gsd=20),
    "Sentinel-2 SAFE": safe,
    "scale, offset, type and nodata per band": units_per_band,
    "channels that are no bands": partial(class_folders, bands=["B02", None, "B03", "B04", None]),
    "names that are no bands": partial(
        class_folders, bands=["elevation", "B02", "SCL", "B03", "B04"], use=["B02", "B03", "B04"]
    ),
    "a sensor of its own": partial(class_folders, sensor="planet", bands=_own_bands()),
    # scenes
    "scenes cut into squares": scenes,
    "a scene in files of bands, cut and in blocks": scene_in_blocks,
    # pixels
    "scale and offset tags": pixels(
        partial(formats.tagged, scales=(1e-4,) * 4, offsets=(-0.1,) * 4), scale=None, expected={"offset": -1000}
    ),
    "scale and offset tags that differ": pixels(
        partial(formats.tagged, scales=MIXED[0], offsets=MIXED[1]), scale=None,
        expected={"scale": MIXED[0], "offset": tuple(b / a for a, b in zip(*MIXED, strict=True))},
    ),
    "nodata tag": pixels(partial(formats.with_nodata, values=(0, 0), nodata=0)),
    "several nodata values": pixels(
        partial(formats.with_nodata, values=(0, 65535)), nodata=[0, 65535], expected={"nodata": (0, 65535)}
    ),
    "internal mask": pixels(partial(formats.masked, internal=True)),
    "mask in a file .msk": pixels(partial(formats.masked, internal=False)),
    "transparency": pixels(formats.transparent),
    "8 bits": pixels(formats.bytes_of, scale=formats.BYTE),
    "16 bits with a sign": pixels(formats.signed),
    "32 bits": pixels(partial(formats.whole_numbers, dtype="int32")),
    "floats of 64 bits": pixels(partial(formats.whole_numbers, dtype="float64")),
    "floats": pixels(formats.floats, scale=1),
    "13 channels of 8 bits": pixels(formats.bytes_of, bands=SENTINEL2, scale=formats.BYTE),
    "13 channels of 16 bits": pixels(geotiff, bands=SENTINEL2),
    "13 channels of 16 bits with a sign": pixels(formats.signed, bands=SENTINEL2),
    "13 channels of floats": pixels(formats.floats, bands=SENTINEL2, scale=1),
    "cloud-optimised GeoTIFF": pixels(formats.cog),
    "tiles": compressed(tiled=True, blockxsize=16, blockysize=16),
    "interleaved pixels": compressed(interleave="pixel"),
    "BigTIFF": compressed(BIGTIFF="YES", endianness="BIG"),
    "LZW with predictor": compressed(compress="lzw", predictor=2),
    "deflate with predictor": compressed(compress="deflate", predictor=2),
    "zstd": compressed(compress="zstd"),
    "LERC with deflate": compressed(compress="LERC_DEFLATE", max_z_error=0),
    "LERC with zstd": compressed(compress="LERC_ZSTD", max_z_error=0),
    "JPEG 2000": pixels(formats.jpeg2000, ending="jp2"),
    "PNG": pixels(formats.png, "png", bands=["B04", "B03", "B02"], scale=formats.BYTE),
    "PNG with transparency": pixels(
        formats.transparent_png, "png", bands=["B04", "B03", "B02"], scale=formats.BYTE
    ),
    "endings .TIF": partial(class_folders, path="{title}/{title}_{index}.TIF"),
    "degrees": compressed(crs="EPSG:4326", transform=rasterio.Affine(9e-5, 0, 9, 0, -9e-5, 45)),
    "no coordinates": compressed(crs=None, transform=rasterio.Affine.identity()),
    "links to folders": partial(linked, files=False),
    "links to files": partial(linked, files=True),
    # tasks
    "several classes in a cell": partial(
        table, task="multilabel", label=_several,
        cells=lambda index: {"label": "|".join(np.array(CLASSES)[_several(index) > 0])},
    ),
    "a column per class": partial(
        table, task="multilabel", label=_several,
        cells=lambda index: dict(zip(CLASSES, _several(index).tolist(), strict=True)),
    ),
    "a number per image": partial(
        table, task="regression", cells=lambda index: {"label": _yield(index)}, label=_yield, **TARGET
    ),
    "a number per pixel with NaN": partial(
        masks, write_mask=formats.numbers_mask, label=values_of, task="pixel_regression", ignore=None, **TARGET
    ),
    "a number per pixel with a nodata tag": partial(
        masks, write_mask=partial(formats.numbers_mask, none=-9999, nodata=-9999), label=values_of,
        task="pixel_regression", ignore=None, **TARGET,
    ),
}  # fmt: skip
