"""Open the files of a scene for a model, and check that they fit it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from deflect.data.card import ImageCard
from deflect.data.readers.band_names import meant, stated
from deflect.data.readers.checks import reading
from deflect.data.readers.raster import DRIVERS
from deflect.errors import DataError
from deflect.files import require_file
from deflect.trained.channels import Channel, calibrated, match
from deflect.trained.checks import check_grid, check_gsd, check_reflectance
from deflect.trained.scene import CACHE, Scene

#: Endings of files -> GDAL drivers; a VRT may refer to other files. Names without such an ending are of GeoTIFFs.
OPENED = DRIVERS | {".vrt": "VRT"}
#: One file with all bands, or a file of one channel for each band.
Files = Path | str | Mapping[str, Path | str]


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
        files: a GeoTIFF, JPEG 2000, PNG or VRT, or one for each band by name.
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
    """A file in one of the formats of training, or a VRT, opened."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with reading(path), warnings.catch_warnings():
        require_file(path)
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        file = rasterio.open(path, driver=OPENED.get(path.suffix.lower(), "GTiff"), sharing=False)
    with file:
        yield file


def _channels(path: Path, file: Any) -> list[Channel]:
    """The channels of a file, without transparency."""
    colours = [colour.name for colour in file.colorinterp]
    texts = stated([name or "" for name in file.descriptions], colours)
    return [Channel(path, file, i + 1, text) for i, text in enumerate(texts) if colours[i] != "alpha"]
