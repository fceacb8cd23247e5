"""A SIMULATED scene in reflectance: materials laid over each other, observed by a satellite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from deflect.bands import BandSet
from deflect.data.simulate import fields
from deflect.data.simulate.spectra import materials

Materials = str | Sequence[str]
#: Standard deviation of the gain of a band, in every image anew: classes overlap by it.
CALIBRATION = 0.03


class Canvas:
    """A square scene; ``image`` is reflectance, (C, H, W) float32, in the order of ``bands``."""

    def __init__(self, bands: BandSet, size: int, rng: Generator) -> None:
        self.bands, self.size, self.rng = bands, size, rng
        self.library = materials(bands)
        self.image = np.zeros((len(bands), size, size), dtype=np.float32)

    def draw(self, material: Materials, count: int) -> np.ndarray:
        """``count`` spectra (count, C) of one material, or of several with equal probability."""
        names = [material] if isinstance(material, str) else list(material)
        pools = [self.library[names[k]] for k in self.rng.integers(len(names), size=count)]
        return np.stack([pool[self.rng.integers(len(pool))] for pool in pools])

    def lay(
        self, material: Materials, cover: np.ndarray | float = 1.0, *, shade: float = 0.0, grain: float = 0.1
    ) -> None:
        """Cover a fraction 0..1 of each pixel with a material, by linear mixing.

        The material varies between two of its spectra over the scene; ``shade`` is its share of shadow, ``grain`` the
        relative standard deviation of its brightness.
        """
        first, second = self.draw(material, 2)[:, :, None, None]
        drift = np.clip(0.5 + 0.4 * fields.smooth(self.rng, self.size, 3), 0, 1)
        bright = (1 - shade) * (1 + grain * fields.smooth(self.rng, self.size, 1.5))
        self.blend(bright * (first + drift * (second - first)), cover)

    def lay_numbered(
        self, material: Materials, number: np.ndarray, cover: np.ndarray | float = 1.0, *, spread: float = 0.15
    ) -> None:
        """Cover each numbered unit (field, roof) with one spectrum; ``spread`` is the variation of its brightness."""
        count = int(number.max()) + 1
        palette = self.draw(material, min(count, 12))
        palette = palette[self.rng.integers(len(palette), size=count)]
        palette = palette * self.rng.normal(1, spread, (count, 1)).clip(0.4, 1.6).astype(np.float32)
        self.blend(np.moveaxis(palette[number], -1, 0), cover)

    def blend(self, reflectance: np.ndarray, cover: np.ndarray | float) -> None:
        """Mix a reflectance (C, H, W) into the scene with weight ``cover``."""
        self.image += np.clip(cover, 0, 1) * (reflectance - self.image)

    def observe(
        self,
        pixel: float,
        *,
        light: tuple[float, float],
        haze: tuple[float, float],
        relief: float = 0.0,
        noise: float = 0.003,
    ) -> None:
        """Turn the scene into an image of a satellite with pixels of ``pixel`` metres.

        Args:
            light: range of the illumination gain of a scene.
            haze: range of the path reflectance at 490 nm, which falls with wavelength ** -3.5.
            relief: standard deviation of the brightness of slopes.
            noise: standard deviation of the noise, added after the blur of the optics and of coarser bands.
        """
        calibration = self.rng.normal(self.rng.uniform(*light), CALIBRATION, len(self.bands)).astype(np.float32)
        slopes = 1 + relief * fields.smooth(self.rng, self.size, 3) if relief else 1
        self.image *= calibration[:, None, None] * np.clip(slopes, 0.35, 1.8)
        fall = (490 / np.array(self.bands.wavelengths, dtype=np.float32)) ** np.float32(3.5)
        self.image += np.float32(self.rng.uniform(*haze)) * fall[:, None, None]
        for axis in (1, 2):
            self.image = _blur(self.image, axis)
        for channel, band in enumerate(self.bands):
            factor = round(band.gsd / pixel)
            if factor > 1:
                self.image[channel] = coarse(self.image[channel], factor, repeat=True)
        self.image += noise * self.rng.standard_normal(self.image.shape, dtype=np.float32)


def _blur(image: np.ndarray, axis: int, side: float = 0.12) -> np.ndarray:
    """Mix each pixel with its two neighbours along ``axis``; edges are repeated."""
    last = image.shape[axis] - 1
    before, after = (np.clip(np.arange(last + 1) + step, 0, last) for step in (-1, 1))
    return (1 - 2 * side) * image + side * (image.take(before, axis) + image.take(after, axis))


def coarse(band: np.ndarray, factor: int, *, repeat: bool) -> np.ndarray:
    """Mean over blocks of ``factor`` pixels (smaller at the far edges), upsampled again if ``repeat``."""
    size = len(band)
    starts = np.arange(0, size, factor)
    counts = np.diff(np.append(starts, size)).astype(np.float32)
    means = np.add.reduceat(np.add.reduceat(band, starts, axis=0), starts, axis=1) / np.outer(counts, counts)
    return np.repeat(np.repeat(means, factor, 0), factor, 1)[:size, :size] if repeat else means
