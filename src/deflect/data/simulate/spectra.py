"""Reflectance of materials in the bands of any sensor, from which SIMULATED scenes are composed.

Sources: the earthlib library (field and laboratory spectra; its canopies are PROSAIL runs) and the Landsat-8 water
samples of spyndex. Other materials are derived from them by linear mixing and by Beer-Lambert absorption in a film or
column of water.

Some materials are alike in the visible and differ in the infrared, as in nature: ``canopy_*`` have the same green
reflectance and different water content; wet soils differ from moist ones mostly in the short-wave infrared.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from deflect.bands import BandSet

#: Absorption of pure water: wavelength in nm and coefficient in 1/m, rounded from Pope & Fry (1997, visible) and
#: Kou et al. (1993, infrared).
_WATER_NM = (400, 443, 490, 560, 600, 665, 705, 740, 783, 842, 865, 945, 1000, 1250, 1610, 2190, 2450)
_WATER_PER_M = (0.007, 0.007, 0.015, 0.062, 0.22, 0.43, 0.70, 2.4, 2.3, 4.2, 4.6, 27, 36, 110, 670, 1900, 5000)

#: Water on grains of soil, in the field and after rain or flooding, as the depth of a film in metres.
_FIELD_FILM, _WET_FILM = 0.04e-3, 0.3e-3

#: Wet grains also scatter less at every wavelength.
_WET_DARKENING = 0.8

#: Measured materials, and their types in earthlib (LEVEL_3).
_TYPES = {
    "litter": ("litter", "npv"),
    "asphalt": ("asphalt", "parking_lot"),
    "road": ("road",),
    "concrete": ("sidewalk", "bridge"),
    "roof_tile": ("tile",),
    "roof_concrete": ("concrete_tile",),
    "roof_shingle": ("comp_shingle",),
}


def absorb(spectra: np.ndarray, wavelengths: np.ndarray, depth: float) -> np.ndarray:
    """Spectra (N, W) seen through ``depth`` metres of pure water, passed twice."""
    coefficient = np.exp(np.interp(wavelengths, _WATER_NM, np.log(_WATER_PER_M)))
    return spectra * np.exp(-2 * depth * coefficient)


def _within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Mask of the values between two quantiles of themselves."""
    return (values >= np.quantile(values, low)) & (values <= np.quantile(values, high))


def _canopies(canopy: np.ndarray, nm: np.ndarray) -> dict[str, np.ndarray]:
    """Canopies of equal green by short-wave to near infrared ratio (leaf water), and a light and a dark one."""
    green, near, short = (canopy[:, np.abs(nm - w).argmin()] for w in (560, 865, 1610))
    alike = canopy[_within(green, 0.2, 0.7)]
    thirst = (short / near)[_within(green, 0.2, 0.7)]
    return {
        "canopy_moist": alike[_within(thirst, 0.0, 0.25)],
        "canopy_fresh": alike[_within(thirst, 0.3, 0.6)],
        "canopy_dry": alike[_within(thirst, 0.75, 1.0)],
        "canopy_light": canopy[_within(green, 0.7, 0.97)],
        "canopy_dark": canopy[_within(green, 0.0, 0.3)],
    }


def _soils(soil: np.ndarray, nm: np.ndarray) -> dict[str, np.ndarray]:
    """Soils by colour and brightness. The laboratory's are dry; soils in the field have a film of water."""
    green, red = (soil[:, np.abs(nm - w).argmin()] for w in (560, 665))
    common = soil[_within(red, 0.05, 0.5) & _within(red / green, 0.0, 0.5)]
    reddish = soil[_within(red / green, 0.8, 0.98) & _within(red, 0.2, 0.7)]
    soil = absorb(soil, nm, _FIELD_FILM)
    return {
        "soil": absorb(common, nm, _FIELD_FILM),
        "soil_wet": _WET_DARKENING * absorb(common, nm, _WET_FILM),
        "soil_red": absorb(reddish, nm, _FIELD_FILM),
        "soil_dark": soil[_within(red, 0.0, 0.12)],
    }


def _waters(water: np.ndarray, land: dict[str, np.ndarray], nm: np.ndarray) -> dict[str, np.ndarray]:
    """Kinds of water and of floating matter: a share of a material, seen through a column of water, over water."""

    def suspended(matter: str, share: float, depth: float) -> np.ndarray:
        rows = land[matter][np.linspace(0, len(land[matter]) - 1, 30).astype(int)]
        base = water[np.arange(30) % len(water)]
        return (1 - share) * base + share * absorb(rows, nm, depth)

    return {
        "water": water,
        "water_turbid": suspended("soil", 0.18, 0.15),
        "water_sediment": suspended("soil", 0.35, 0.08),
        "water_green": suspended("canopy_fresh", 0.35, 0.03),
        "sargassum": suspended("canopy_dry", 0.6, 0.2e-3),
        "algae": suspended("canopy_moist", 0.3, 0.3e-3),
        "driftwood": suspended("litter", 0.6, 0.6e-3),
    }


@cache
def measured() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Wavelengths (W,) in nm and, per material, its spectra (N, W) in reflectance."""
    import earthlib
    import spyndex

    library = earthlib.full_library
    nm = 1000 * np.asarray(library.sensor.band_centers, dtype=float)
    kind = library.metadata["LEVEL_3"].to_numpy()
    data = np.asarray(library.data, dtype=float)
    data[data.min(axis=1) <= 0] = np.nan  # a few records have zeros in the visible
    pools = {name: np.isin(kind, types) & np.isfinite(data[:, 0]) for name, types in _TYPES.items()}
    land = {name: data[rows] for name, rows in pools.items()}
    for kinds, family in (("canopy", _canopies), ("soil", _soils)):
        land |= family(data[(kind == kinds) & np.isfinite(data[:, 0])], nm)

    samples = spyndex.datasets.open("spectral")
    samples = samples[samples["class"] == "Water"][[f"SR_B{i}" for i in range(1, 8)]].to_numpy(dtype=float)
    landsat = (443, 482, 561, 655, 865, 1609, 2201)
    water = np.stack([np.interp(nm, landsat, row) for row in samples])
    return nm, land | _waters(water, land, nm)


@cache
def response(bands: BandSet) -> np.ndarray:
    """Matrix (W, C) from spectra to band reflectance, the mean over the full width of each band."""
    nm, _ = measured()
    identity = np.eye(len(nm))
    matrix = np.empty((len(nm), len(bands)))
    for channel, band in enumerate(bands):
        inside = np.linspace(band.wavelength - band.width / 2, band.wavelength + band.width / 2, 9)
        matrix[:, channel] = [np.interp(inside, nm, row).mean() for row in identity]
    return matrix


@cache
def materials(bands: BandSet) -> dict[str, np.ndarray]:
    """Per material the reflectance (N, C) of its spectra in ``bands``, float32."""
    _, spectra = measured()
    return {name: (rows @ response(bands)).astype(np.float32) for name, rows in spectra.items()}
