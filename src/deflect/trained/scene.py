"""A scene of one or several files, read by window as reflectance."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deflect.data.card import ImageCard
from deflect.data.readers.band_names import meant, stated
from deflect.data.readers.checks import reading
from deflect.data.readers.own_data_metadata import equal
from deflect.errors import DataError
from deflect.files import require_file
from deflect.trained.channels import Channel, calibrated, match
from deflect.trained.checks import check_grid, check_gsd, check_reflectance

#: Bytes of files that GDAL keeps in memory; its own choice grows with the machine, and then with the scene.
CACHE = 64 << 20
#: One file with all bands, or a file of one channel for each band.
Files = Path | str | Mapping[str, Path | str]


@dataclass(frozen=True)
class Scene:
    """Files of one grid; ``channels`` are the bands of the model, in its order."""

    path: Path  # the first file, for messages and names
    channels: list[Channel]
    images: ImageCard

    @property
    def grid(self) -> Any:
        """An open file; all have the same ``height``, ``width``, ``crs`` and ``transform``."""
        return self.channels[0].file

    @property
    def height(self) -> int:
        return int(self.grid.height)

    @property
    def width(self) -> int:
        return int(self.grid.width)

    @cached_property
    def _groups(self) -> list[list[int]]:
        """Bands that are read together: of one file, type and nodata value."""

        def kind(place: int) -> tuple[Any, ...]:
            channel = self.channels[place]
            return id(channel.file), channel.dtype.str, repr(channel.nodata)

        return [list(group) for _, group in groupby(sorted(range(len(self.channels)), key=kind), key=kind)]

    def columns_in_cache(self, rows: int) -> int:
        """Columns of which GDAL keeps all blocks that strips of so many rows share, so that none is read twice."""
        cost, width = 1.0, self.width
        for channels in ([self.channels[place] for place in places] for places in self._groups):
            height, across = channels[0].file.block_shapes[0]
            if across < width:  # otherwise narrower swaths would read the same blocks
                cost += (rows + 2 * height) * len(channels) * channels[0].dtype.itemsize
        return int(CACHE / cost)

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Reflectance (C, height, width) in float32, and where all bands have a measurement (height, width).

        A band without a measurement is 0, as in prepared stores. Beyond the lower and right edges of the scene the
        image is mirrored and nothing counts as measured.
        """
        from rasterio.windows import Window

        rows, columns = min(height, self.height - top), min(width, self.width - left)
        image = np.empty((len(self.channels), rows, columns), np.float32)
        missing = np.zeros((rows, columns), bool)
        window = Window(left, top, columns, rows)
        for places in self._groups:
            channels = [self.channels[place] for place in places]
            with reading(channels[0].path):
                stored = channels[0].file.read([channel.index for channel in channels], window=window)
                hidden = _mask(channels[0].file, window)
            gaps = equal(stored, self._nodata(channels[0]))
            if stored.dtype.kind == "f":
                gaps |= ~np.isfinite(stored)
            if hidden is not None:
                gaps |= hidden
            for place, channel, values, gap in zip(places, channels, stored, gaps, strict=True):
                image[place] = values
                if channel.offset:
                    image[place] += np.float32(channel.offset)
                if channel.scale != 1:
                    image[place] *= np.float32(channel.scale)
                if gap.any():
                    image[place][gap] = 0
                    missing |= gap
        beyond = (0, height - rows), (0, width - columns)
        if any(after for _, after in beyond):
            image = np.pad(image, ((0, 0), *beyond), "reflect")
            missing = np.pad(missing, beyond, constant_values=True)
        return image, ~missing

    def _nodata(self, channel: Channel) -> tuple[float, ...]:
        own = () if channel.nodata is None else (channel.nodata,)
        return tuple(value for value in {*own, *self.images.nodata} if np.isfinite(value))


def _mask(file: Any, window: Any) -> np.ndarray | None:
    """Where a mask or the transparency of a file hides its pixels (h, w)."""
    from rasterio.enums import ColorInterp, MaskFlags

    if ColorInterp.alpha in file.colorinterp:  # GDAL makes a mask of it only after one or three bands
        return file.read(file.colorinterp.index(ColorInterp.alpha) + 1, window=window) == 0
    return file.read_masks(1, window=window) == 0 if MaskFlags.per_dataset in file.mask_flag_enums[0] else None


@contextmanager
def open_scene(
    files: Files,
    images: ImageCard,
    scale: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    any_gsd: bool = False,
) -> Iterator[Scene]:
    """Open a scene for a model that was trained on ``images``, and check it.

    Args:
        files: a GeoTIFF or VRT, or one for each band by name.
        scale, offset: instead of those in the files or of ``images``: one number, or one per band of the model.
        any_gsd: accept any size of pixels.

    Raises:
        DataError: bands, grids, pixel size or reflectance do not fit.
    """
    import rasterio

    named = {str(name): Path(path) for name, path in files.items()} if isinstance(files, Mapping) else None
    paths = list(named.values()) if named is not None else [Path(files)]  # type: ignore[arg-type]
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE))
        opened = [stack.enter_context(_open(path)) for path in paths]
        for path, file in zip(paths[1:], opened[1:], strict=True):
            check_grid(path, file, paths[0], opened[0])
        channels = [channel for path, file in zip(paths, opened, strict=True) for channel in _channels(path, file)]
        if named is not None:
            if len(channels) != len(named):
                raise DataError(f"{paths[0]}: a file given as NAME=FILE has one channel, found more; give it alone")
            if unknown := [name for name in named if not meant(name, images.bands)]:
                known = ", ".join(images.bands.names)
                raise DataError(f"{named[unknown[0]]}: expected the name of a band, {known}, found {unknown[0]!r}")
            channels = [Channel(c.path, c.file, c.index, name) for c, name in zip(channels, named, strict=True)]
        channels = calibrated(match(channels, images.bands), images, scale, offset)
        scene = Scene(paths[0], channels, images)
        if not any_gsd:
            check_gsd(scene)
        check_reflectance(scene)
        yield scene


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A GeoTIFF or VRT, opened."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with reading(path), warnings.catch_warnings():
        require_file(path)
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        file = rasterio.open(path, driver="VRT" if path.suffix.lower() == ".vrt" else "GTiff", sharing=False)
    with file:
        yield file


def _channels(path: Path, file: Any) -> list[Channel]:
    """The channels of a file, without transparency."""
    colours = [colour.name for colour in file.colorinterp]
    texts = stated([name or "" for name in file.descriptions], colours)
    return [Channel(path, file, i + 1, text) for i, text in enumerate(texts) if colours[i] != "alpha"]
