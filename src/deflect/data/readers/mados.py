"""MADOS (marine debris and oil spill) in its published folders.

    splits/{train,val,test}_X.txt               one ``Scene_<i>_<crop>`` per line
    Scene_<i>/{10,20,60}/Scene_<i>_L2R_rhorc_<wavelength>_<crop>.tif    240, 120 or 40 pixels; the number is its GSD
    Scene_<i>/10/Scene_<i>_L2R_cl_<crop>.tif    0 unlabelled, 1 to 15 classes

Sentinel-2A and 2B differ by a few nm in the file names, so a file belongs to the band of the nearest wavelength. Bands
of 20 and 60 m are repeated to 10 m. NaN pixels become 0 and keep their label, as published.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.checks import refuse_paths
from deflect.data.readers.raster import read_raster
from deflect.errors import DataError
from deflect.files import read_text

GSDS = (10, 20, 60)
#: Maximum distance of the wavelength in a file name from the band's, in nm; 2A and 2B are within 12 of the nominal.
NEAR = 20.0


class Mados(RawDataset):
    """One official split of MADOS; bands sorted by wavelength, classes counted from 0, -1 without label."""

    marker = "splits"
    ignore_nodata = False

    def _list_ids(self) -> list[str]:
        path = self.folder / "splits" / f"{self.split}_X.txt"
        if not path.is_file():
            raise DataError(f"{path}: missing split file; fetch or place the dataset again")
        ids = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        refuse_paths(ids, path)
        return ids

    def path(self, index: int) -> Path:
        scene, crop = self.ids[index].rsplit("_", 1)
        return self.folder / scene / "10" / f"{scene}_L2R_cl_{crop}.tif"

    def files(self) -> Iterable[Path | str]:
        yield from super().files()
        yield from (path for index in range(len(self)) for path in self._bands(index))

    def _read(self, index: int) -> Sample:
        labels, sheet = read_raster(self.path(index)).pixels[0], self.sheet
        image = np.stack([_plane(path, labels.shape) for path in self._bands(index)])
        classes = labels.astype(np.int16) + sheet.label_shift
        return image, np.where(labels == sheet.unlabelled, sheet.ignore_index, classes)

    def _bands(self, index: int) -> list[Path]:
        """The file of each band, in the order of the bands."""
        scene, crop = self.ids[index].rsplit("_", 1)
        bands, found = self.sheet.bands, dict[str, Path]()
        folders = [self.folder / scene / str(gsd) for gsd in GSDS]
        for path in [path for folder in folders for path in sorted(folder.glob(f"{scene}_L2R_rhorc_*_{crop}.tif"))]:
            wavelength = float(path.name.split("_")[-2])
            distances = np.abs(np.subtract(bands.wavelengths, wavelength))
            band = bands.names[int(distances.argmin())]
            if distances.min() > NEAR:
                raise DataError(f"{path}: no band of MADOS near {wavelength:g} nm; fetch or place the dataset again")
            if band in found:
                raise DataError(f"{path}: a second file of band {band}, after {found[band].name}; fetch it again")
            found[band] = path
        for wanted in bands:
            if wanted.name not in found:
                what = f"crop {crop} has no file near {wanted.wavelength:g} nm ({wanted.name})"
                raise DataError(f"{self.folder / scene}: {what}; fetch or place the dataset again")
        return [found[name] for name in bands.names]


def _plane(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A band at 10 m, the pixels of a coarser file repeated."""
    pixels = read_raster(path).pixels[0]
    factor = int(path.parent.name) // GSDS[0]
    if tuple(side * factor for side in pixels.shape) != shape:
        raise DataError(f"{path}: {pixels.shape} pixels do not fit a label image of {shape}; fetch the file again")
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
