"""Spectral indices on tensors. Formulas use the role letters of Spyndex; bands are found in an image by identity.

Formulas are those of the Awesome Spectral Indices catalogue (Montero et al., Scientific Data 2023), which Spyndex
computes; a test compares every one with ``spyndex.computeIndex``. Input is reflectance in physical units: an index of
z-scored bands is meaningless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from torch import Tensor

from deflect.bands import BandSet
from deflect.errors import ConfigError

#: Argument: bands of an image by role (``b.N``, ``b.R``) and their centre wavelengths in nm (``b.lambdaN``).
Formula = Callable[[SimpleNamespace], Tensor]


@dataclass(frozen=True)
class SpectralIndex:
    """One index: the ``roles`` it needs, its ``formula``, its name in Spyndex.

    ``limit`` is the largest magnitude of the index for physical reflectance (0 to 1). Noise over dark water can make
    a denominator almost zero and the ratio 1e4; such values are clamped to the limit.
    """

    name: str
    spyndex: str
    roles: tuple[str, ...]
    formula: Formula
    limit: float = 1.0


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """The normalised difference."""
    return (a - b) / (a + b)


def _difference(name: str, a: str, b: str) -> SpectralIndex:
    return SpectralIndex(name, name, (a, b), lambda bands: _ratio(getattr(bands, a), getattr(bands, b)))


def _slope(b: SimpleNamespace) -> float:
    """Position of the near infrared between red and short-wave infrared."""
    return (b.lambdaN - b.lambdaR) / (b.lambdaS1 - b.lambdaR)


_ALL = (
    _difference("NDVI", "N", "R"),  # vegetation
    _difference("NDWI", "G", "N"),  # open water
    _difference("MNDWI", "G", "S1"),  # open water, built-up suppressed
    _difference("NDMI", "N", "S1"),  # leaf moisture
    _difference("NDBI", "S1", "N"),  # built-up
    _difference("NBR", "N", "S2"),  # burned area
    _difference("NBR2", "S1", "S2"),  # burned area, moisture
    SpectralIndex("BSI", "BI", ("S1", "R", "N", "B"), lambda b: _ratio(b.S1 + b.R, b.N + b.B)),  # bare soil
    _difference("NDTI", "R", "G"),  # turbidity
    _difference("NDSoI", "S2", "G"),  # soil
    SpectralIndex("SAVI", "SAVI", ("N", "R"), lambda b: 1.5 * (b.N - b.R) / (b.N + b.R + 0.5), limit=1.5),
    _difference("NDREI", "N", "RE1"),  # red edge, canopy chlorophyll
    _difference("NDCI", "RE1", "R"),  # chlorophyll in water
    SpectralIndex("FAI", "FAI", ("N", "R", "S1"), lambda b: b.N - (b.R + (b.S1 - b.R) * _slope(b))),  # floating algae
    # Floating debris; R is needed for its wavelength alone (Biermann et al. 2020).
    SpectralIndex(
        "FDI", "FDI", ("N", "RE2", "S1", "R"), lambda b: b.N - (b.RE2 + 10 * (b.S1 - b.RE2) * _slope(b)), limit=3.0
    ),
)
INDICES: dict[str, SpectralIndex] = {index.name: index for index in _ALL}


def available(bands: BandSet) -> tuple[str, ...]:
    """Names of the indices that can be computed from ``bands``, in the order of the table."""
    return tuple(name for name, index in INDICES.items() if all(map(bands.has_role, index.roles)))


def require(bands: BandSet, names: Sequence[str]) -> None:
    """Raise ConfigError unless every index in ``names`` can be computed from ``bands``."""
    for name in names:
        if name not in INDICES:
            raise ConfigError(f"unknown spectral index {name!r}; known: {', '.join(INDICES)}")
        missing = [role for role in INDICES[name].roles if not bands.has_role(role)]
        if missing:
            raise ConfigError(
                f"{bands.sensor}: {name} needs a band with role {', '.join(missing)}, "
                f"which {', '.join(bands.names)} lack; these bands allow {', '.join(available(bands)) or 'no index'}"
            )


def spectral_indices(image: Tensor, bands: BandSet, names: Sequence[str] | None = None) -> Tensor:
    """Indices of every pixel, as the formulas give them (0/0 is NaN): (B, C, ...) -> (B, K, ...).

    Args:
        image: reflectance, channels in the order of ``bands``.
        names: the K indices; all available ones by default.
    """
    names = available(bands) if names is None else names
    require(bands, names)
    view = SimpleNamespace()
    for role in {role for name in names for role in INDICES[name].roles}:
        channel = bands.channel_of_role(role)
        vars(view).update({role: image[:, channel], f"lambda{role}": bands[channel].wavelength})
    values = image.new_empty((image.shape[0], len(names), *image.shape[2:]))
    for k, name in enumerate(names):
        values[:, k] = INDICES[name].formula(view)
    return values


def tidy_(values: Tensor, names: Sequence[str]) -> Tensor:
    """In place: set non-finite values of ``spectral_indices`` to 0 and clamp the others to the limit of their index."""
    values.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    for k, name in enumerate(names):
        values[:, k].clamp_(-INDICES[name].limit, INDICES[name].limit)
    return values
