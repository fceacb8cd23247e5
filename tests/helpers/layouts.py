"""Every layout in the table of docs/your_own_dataset.md, with what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pixel_formats as formats
import rasterio
from band_folders import (
    AT_ZERO,
    COARSE,
    band_files,
    band_groups,
    dates,
    safe,
    scene_in_blocks,
    scenes,
    sites,
    table_of_bands,
    units_per_band,
)
from labelled_folders import (
    CLASSES,
    DRAWN,
    LISTS,
    SPLITS,
    Written,
    class_folders,
    classes_of,
    linked,
    lists,
    masks,
    table,
    values_of,
)
from own_data import BANDS
from pixel_formats import WriteImage, geotiff, mask

Layout = Callable[[Path], Written]
SENTINEL2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]


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
