"""Random spatial fields (size, size), float32: the shapes and textures of SIMULATED scenes."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.random import Generator


@cache
def _decay(size: int, slope: float) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf  # no constant part
    return (frequency ** (-slope / 2)).astype(np.float32)


def smooth(rng: Generator, size: int, slope: float = 3.0) -> np.ndarray:
    """A field of mean 0 and standard deviation 1 with power ~ frequency ** -slope (2 rough, 4 smooth)."""
    decay = _decay(size, slope)
    white = rng.standard_normal((*decay.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field = np.fft.irfft2(white * decay, s=(size, size)).astype(np.float32, copy=False)
    return field / field.std()


def blob(rng: Generator, size: int, share: float, slope: float = 3.5) -> np.ndarray:
    """An irregular patch, 1 inside and 0 outside, that covers ``share`` of the field."""
    field = smooth(rng, size, slope)
    return (field > np.quantile(field, 1 - share)).astype(np.float32)


def central_blob(rng: Generator, size: int, share: float) -> np.ndarray:
    """A patch around the centre that covers ``share`` of the field."""
    y, x = axes(size)
    field = 0.3 * smooth(rng, size) - 4 * np.hypot(y, x)
    return (field > np.quantile(field, 1 - share)).astype(np.float32)


@cache
def axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column coordinates from -0.5 to 0.5, as (size, 1) and (1, size)."""
    axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    return axis[:, None], axis[None, :]


def turned(rng: Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in pixels along two axes at a random angle and offset."""
    y, x = axes(size)
    angle, (dy, dx) = rng.uniform(0, np.pi), rng.uniform(0, size, 2)
    u = size * (np.cos(angle) * x + np.sin(angle) * y) + dx
    v = size * (np.cos(angle) * y - np.sin(angle) * x) + dy
    return u.astype(np.float32), v.astype(np.float32)


def parcels(rng: Generator, size: int, count: int) -> np.ndarray:
    """Parcel number 0..count-1 of each pixel, int: the Voronoi cells of random points."""
    y, x = axes(size)
    points = rng.uniform(-0.5, 0.5, (count, 2)).astype(np.float32)
    # |a - b|^2 without the |a|^2 that all points share
    distance = (points**2).sum(1) - 2 * (y[..., None] * points[:, 0] + x[..., None] * points[:, 1])
    return distance.argmin(axis=-1)


def blocks(rng: Generator, size: int, period: float, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Buildings on a turned grid: a mask with about ``share`` covered, and each pixel's block number 0..255."""
    u, v = turned(rng, size)
    side = np.sqrt(share) * period
    mask = (np.mod(u, period) < side) & (np.mod(v, period) < side)
    number = (np.floor(u / period) * 31 + np.floor(v / period) * 17).astype(int) % 256
    return mask.astype(np.float32), number
