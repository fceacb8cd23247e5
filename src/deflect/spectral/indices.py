"""Spectral indices on tensors, written with the role letters of Spyndex and found in an image by band identity.

Formulas are those of the Awesome Spectral Indices catalogue (Montero et al., Scientific Data 2023), which Spyndex
computes; a test compares every one with ``spyndex.computeIndex``. Input is reflectance in physical units: an index of
z-scored bands is meaningless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from deflect.bands import BandSet
from deflect.errors import ConfigError

#: Bands of an image by role (``b.N``, ``b.R``) and their centre wavelengths in nm (``b.lambdaN``).
Formula = Callable[[SimpleNamespace], Tensor]


@dataclass(frozen=True)
class SpectralIndex:
    """One index: the ``roles`` it needs, its ``formula``, its name in Spyndex.

    ``limit`` is the largest magnitude the index has for physical reflectance (0 to 1). Noise over dark water can make
    a denominator almost zero and the ratio 1e4; such values are cut to the limit.
    """

    name: str
    spyndex: str
    roles: tuple[str, ...]
    formula: Formula
    limit: float = 1.0


def _difference(name: str, a: str, b: str) -> SpectralIndex:
    """The normalised difference (a - b) / (a + b)."""

    def formula(bands: SimpleNamespace) -> Tensor:
        first, second = getattr(bands, a), getattr(bands, b)
        return (first - second) / (first + second)

    return SpectralIndex(name, name, (a, b), formula)


def _bare_soil(b: SimpleNamespace) -> Tensor:
    bright, dark = b.S1 + b.R, b.N + b.B
    return (bright - dark) / (bright + dark)


def _soil_adjusted(b: SimpleNamespace) -> Tensor:
    return 1.5 * (b.N - b.R) / (b.N + b.R + 0.5)


def _floating_algae(b: SimpleNamespace) -> Tensor:
    slope = (b.lambdaN - b.lambdaR) / (b.lambdaS1 - b.lambdaR)
    return b.N - (b.R + (b.S1 - b.R) * slope)


def _floating_debris(b: SimpleNamespace) -> Tensor:
    slope = (b.lambdaN - b.lambdaR) / (b.lambdaS1 - b.lambdaR)
    return b.N - (b.RE2 + 10 * (b.S1 - b.RE2) * slope)


INDICES: dict[str, SpectralIndex] = {
    index.name: index
    for index in (
        _difference("NDVI", "N", "R"),  # vegetation
        _difference("NDWI", "G", "N"),  # open water
        _difference("MNDWI", "G", "S1"),  # open water, built-up suppressed
        _difference("NDMI", "N", "S1"),  # leaf moisture
        _difference("NDBI", "S1", "N"),  # built-up
        _difference("NBR", "N", "S2"),  # burned area
        _difference("NBR2", "S1", "S2"),  # burned area, moisture
        SpectralIndex("BSI", "BI", ("S1", "R", "N", "B"), _bare_soil),
        _difference("NDTI", "R", "G"),  # turbidity
        _difference("NDSoI", "S2", "G"),  # soil
        SpectralIndex("SAVI", "SAVI", ("N", "R"), _soil_adjusted, limit=1.5),
        _difference("NDREI", "N", "RE1"),  # red edge, canopy chlorophyll
        _difference("NDCI", "RE1", "R"),  # chlorophyll in water
        SpectralIndex("FAI", "FAI", ("N", "R", "S1"), _floating_algae),
        # R is needed for its wavelength alone (Biermann et al. 2020).
        SpectralIndex("FDI", "FDI", ("N", "RE2", "S1", "R"), _floating_debris, limit=3.0),
    )
}


def available(bands: BandSet) -> tuple[str, ...]:
    """Names of the indices that ``bands`` allow, in the order of the table."""
    return tuple(name for name, index in INDICES.items() if all(bands.has_role(role) for role in index.roles))


def require(bands: BandSet, names: Sequence[str]) -> None:
    """Check that every index in ``names`` can be computed from ``bands``.

    Raises:
        ConfigError: an index is unknown, or needs a band that the set lacks; the message says which.
    """
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
    """Indices of every pixel, as the formulas give them: 0/0 is NaN.

    Args:
        image: reflectance (B, C, ...), channels in the order of ``bands``.
        names: the K indices wanted; all that the bands allow by default.

    Returns:
        (B, K, ...).

    Raises:
        ConfigError: an index is unknown or impossible with these bands.
    """
    names = available(bands) if names is None else names
    require(bands, names)
    view = _by_role(image, bands)
    values = image.new_empty((image.shape[0], len(names), *image.shape[2:]))
    for k, name in enumerate(names):
        values[:, k] = INDICES[name].formula(view)
    return values


def tidy_(values: Tensor, names: Sequence[str]) -> Tensor:
    """In place: non-finite values of ``spectral_indices`` become 0, the others are cut to the limit of their index."""
    values.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    for k, name in enumerate(names):
        values[:, k].clamp_(-INDICES[name].limit, INDICES[name].limit)
    return values


def count_nonfinite(values: Tensor) -> int:
    """How many values are NaN or infinite."""
    return values.numel() - int(torch.isfinite(values).sum())


def _by_role(image: Tensor, bands: BandSet) -> SimpleNamespace:
    roles = {role for index in INDICES.values() for role in index.roles if bands.has_role(role)}
    channel = {role: bands.channel_of_role(role) for role in roles}
    tensors = {role: image[:, c] for role, c in channel.items()}
    wavelengths = {f"lambda{role}": bands[c].wavelength for role, c in channel.items()}
    return SimpleNamespace(**tensors, **wavelengths)
