"""A scene of one or several files, read by window as reflectance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.card import ImageCard
from deflect.data.readers.checks import reading
from deflect.data.readers.own.metadata import equal
from deflect.data.readers.raster import hidden_pixels
from deflect.trained.channels import Channel

#: Bytes of files that GDAL keeps in memory; its own choice grows with the machine, and then with the scene.
CACHE = 64 << 20


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
                hidden = hidden_pixels(channels[0].file, window)
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
