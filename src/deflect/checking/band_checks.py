"""Checks of bands: copies of each other, swapped ones, and those that are not as usual for the sensor."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from deflect.checking.facts import Facts
from deflect.checking.finding import Finding, NotChecked
from deflect.checking.usual import Usual, usual

#: Correlation from which a band is a copy of another.
COPY = 0.999
#: Standard deviations from published means that are far; the page shows 2.
FAR = 3.0
#: Standard deviations, of two bands together, from which their means are out of place.
AWAY = 2.0
#: Roles of bands whose reflectance depends on the processing level: aerosol and water vapour; none is cirrus.
ATMOSPHERIC = ("A", "WV", "")


def copies_of_bands(facts: Facts) -> Iterator[Finding]:
    pixels = facts.splits["train"].pixels.astype(np.float64)
    if len(pixels) < 2:
        raise NotChecked("no pixels")
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.atleast_2d(np.corrcoef(pixels.T))
    names = facts.card.bands.names
    for first, second in combinations(range(len(names)), 2):
        if correlation[first, second] > COPY:
            yield Finding(
                f"Bands {names[first]} and {names[second]} are nearly copies (correlation "
                f"{correlation[first, second]:.5f}).",
                "Check that each channel of the files is the band that the card names; a copy adds nothing.",
            )


def unusual_bands(facts: Facts) -> Iterator[Finding]:
    known = usual(facts.card.bands)
    if not known:
        raise NotChecked(f"no dataset of sensor {facts.card.bands.sensor} has published statistics in the catalog")
    names = facts.card.bands.names
    mean = dict(zip(names, facts.card.statistics.mean, strict=True))
    of_ground = [band.name for band in facts.card.bands if band.role not in ATMOSPHERIC]
    for first, second in combinations(of_ground, 2):
        if _swapped(mean, first, second, known):
            yield Finding(
                f"Bands {first} and {second} look swapped: {first} has a mean of {mean[first]:.3f} and {second} of "
                f"{mean[second]:.3f}, and each is what is usual for the other.",
                "Compare the order of `bands` in the card with the channels of a file.",
            )
    for band in names:
        spans = [one.span(band, FAR) for one in known if band in one.mean]
        low, high = min((a for a, _ in spans), default=-np.inf), max((b for _, b in spans), default=np.inf)
        if not low <= mean[band] <= high:
            yield Finding(
                f"Band {band} has a mean reflectance of {mean[band]:.3f} in train; published datasets of "
                f"{facts.card.bands.sensor} have {max(low, 0):.3f} to {high:.3f} (mean ± {FAR:g} standard deviations).",
                "Check `scale`, `offset` and the order of `bands`. Right for snow, clouds and salt, and in blue for "
                "reflectance at the top of the atmosphere (Level-1C).",
            )


def _swapped(mean: dict[str, float], first: str, second: str, known: list[Usual]) -> bool:
    """Whether the two means are out of place, and far nearer to what is usual when exchanged."""
    both = [one for one in known if first in one.mean and second in one.mean]
    if not both:
        return False
    as_is, exchanged = (
        min(abs(a - u.mean[first]) / u.std[first] + abs(b - u.mean[second]) / u.std[second] for u in both)
        for a, b in ((mean[first], mean[second]), (mean[second], mean[first]))
    )
    return bool(as_is > AWAY and exchanged < as_is / 3)
