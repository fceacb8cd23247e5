"""The usual reflectance of a sensor's bands: published statistics of the datasets in the catalog, by band name."""

from __future__ import annotations

from typing import NamedTuple

from deflect.bands import BandSet
from deflect.data.catalog import DATASETS


class Usual(NamedTuple):
    """Published mean and standard deviation, in reflectance, of the bands that a dataset of the sensor has."""

    title: str
    source: str
    mean: dict[str, float]
    std: dict[str, float]

    def span(self, band: str, width: float = 2.0) -> tuple[float, float]:
        """Mean minus and plus ``width`` standard deviations."""
        return self.mean[band] - width * self.std[band], self.mean[band] + width * self.std[band]


def usual(bands: BandSet) -> list[Usual]:
    """What is published about bands of this sensor and these names."""
    found = []
    for sheet in DATASETS.values():
        if sheet.bands.sensor != bands.sensor or sheet.published_mean is None or sheet.published_std is None:
            continue
        mean, std = (
            {
                name: (value + shift) * sheet.scale
                for name, value in zip(sheet.bands.names, values, strict=True)
                if name in bands.names
            }
            for values, shift in ((sheet.published_mean, sheet.offset), (sheet.published_std, 0))
        )
        if mean:
            found.append(Usual(sheet.title, sheet.published_source, mean, std))
    return found
