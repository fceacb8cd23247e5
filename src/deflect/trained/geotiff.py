"""Write a map block by block, as a cloud-optimised GeoTIFF that appears when it is complete."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from deflect.data.disk import require_space
from deflect.errors import ConfigError
from deflect.trained.scene import Scene
from deflect.trained.windows import Block


@dataclass(frozen=True)
class Layers:
    """The bands of a map."""

    names: tuple[str, ...]
    dtype: str
    nodata: float
    encode: Callable[[Tensor], Tensor]  # predictions (K, rows, columns) -> values (bands, rows, columns)
    colours: tuple[str, ...] = ()  # of the values 0, 1, ...
    overviews: str = "average"  # or "nearest", for numbers of classes


def write_geotiff(
    out: Path, blocks: Iterable[Block], layers: Layers, scene: Scene, step: Fraction, tags: Mapping[str, str]
) -> None:
    """Write ``blocks`` to ``out``.

    Args:
        step: pixels of the scene along a side of a pixel of the map.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.shutil import copy
    from rasterio.windows import Window

    if out.exists() and any(out.samefile(channel.path) for channel in scene.channels):
        raise ConfigError(f"{out}: expected the name of a new file, found the scene itself")
    height, width = (math.ceil(side / step) for side in (scene.height, scene.width))
    require_space(out.parent, 2 * height * width * len(layers.names) * np.dtype(layers.dtype).itemsize)
    grid = {"crs": scene.grid.crs, "transform": scene.grid.transform @ rasterio.Affine.scale(float(step))}
    kind = {"driver": "GTiff", "count": len(layers.names), "dtype": layers.dtype, "nodata": layers.nodata}
    with _work(out) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # GDAL's driver COG only copies. Whole rows without compression are the quickest to write in blocks.
        rows = folder / "rows.tif"
        with rasterio.open(rows, "w", height=height, width=width, bigtiff="if_safer", **kind, **grid) as file:
            file.descriptions = layers.names
            file.update_tags(**tags)
            if layers.colours:
                file.write_colormap(1, dict(enumerate(map(_rgba, layers.colours))))
            for top, left, values, measured in blocks:
                encoded = layers.encode(values).cpu().numpy().astype(layers.dtype)
                encoded[:, ~measured.numpy()] = layers.nodata
                encoded = encoded[:, : height - top, : width - left]
                file.write(encoded, window=Window(left, top, *encoded.shape[:0:-1]))
        options = {"compress": "deflate", "bigtiff": "if_safer", "num_threads": "all_cpus"}
        copy(rows, folder / "map.tif", driver="COG", overview_resampling=layers.overviews, **options)
        os.replace(folder / "map.tif", out)


def _rgba(colour: str) -> tuple[int, ...]:
    return *bytes.fromhex(colour.removeprefix("#")), 255


@contextmanager
def _work(out: Path) -> Iterator[Path]:
    """A folder next to ``out`` for unfinished files, deleted at the end; after a killed process by the next one."""
    if out.is_dir():
        raise ConfigError(f"{out}: expected the name of a new file, found a folder")
    folder = out.with_name(f".{out.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
