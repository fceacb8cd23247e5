"""Checks of pixels: empty, dark, saturated; bands that are copies, swapped or unusual; shifts between splits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from deflect.checking.facts import Facts, SplitFacts
from deflect.checking.finding import Finding, NotChecked, images, listed, percent
from deflect.checking.usual import Usual, usual

#: Mean reflectance of its brightest band below which an image is dark, and a whole split. The open water of MADOS, the
#: darkest dataset of the catalog, has 0.058.
DARK_IMAGE, DARK = 0.005, 0.03
#: Mean reflectance of red, green and blue above which a split is bright: fresh snow and clouds have more.
BRIGHT = 0.6
#: Reflectance that no clear sea or shadow keeps in the visible bands: 1000 digital numbers of Sentinel-2.
OFFSET = 0.095
#: Share of pixels that are 0 in every band, and of images that are mostly so.
EMPTY, MOSTLY = 0.05, 0.5
#: Share of pixels with a band's largest value, or with 0 in one band only.
SPIKE = 0.01
#: Correlation from which a band is a copy of another.
COPY = 0.999
#: A shift between splits, in standard deviations of the images' means over train and in standard errors.
SHIFT, ERRORS = 0.5, 5.0


def empty_images(facts: Facts) -> Iterator[Finding]:
    for name, split in facts.splits.items():
        for what, found, remedy in (
            ("have the same value everywhere", _constant(split), "Remove them; they show nothing."),
            (
                f"are dark (mean reflectance below {DARK_IMAGE:g} in every band)",
                (split.means.max(1) < DARK_IMAGE) & (split.empty < 1),
                "Look at them: night, deep shadow, or files with another scale. Remove them or correct the scale.",
            ),
        ):
            if found.any():
                first = listed([split.ids[row] for row in np.flatnonzero(found)[:3]])
                yield Finding(f"{images(int(found.sum()))} of {name} {what}, e.g. {first}.", remedy)
        stuck = (split.stds == 0) & ~_constant(split)[:, None]
        for band, share in zip(facts.card.bands.names, stuck.mean(0), strict=True):
            if share > SPIKE:
                yield Finding(
                    f"Band {band} has one value in all of {percent(share)} of the images of {name}; their other bands "
                    "vary.",
                    "The band is missing there: read these files again, or leave the band out with `use`.",
                )


def without_measurement(facts: Facts) -> Iterator[Finding]:
    for name, split in facts.splits.items():
        share, mostly = float(split.empty.mean()), split.empty > MOSTLY
        if share > EMPTY or mostly.mean() > SPIKE:
            yield Finding(
                f"{percent(share)} of the pixels of {name} are 0 in every band; in {images(int(mostly.sum()))} it is "
                "more than half.",
                "Remove images that are mostly empty (borders of scenes); if 0 means no measurement, the card must "
                "say so with `nodata`.",
            )
        for band, values in zip(facts.card.bands.names, split.pixels.T, strict=True):
            if (zero := float((values == 0).mean())) > SPIKE:
                yield Finding(
                    f"Band {band} is 0 in {percent(zero)} of the pixels of {name} where other bands are not.",
                    "Probably nodata of this band: set `nodata` in the card, or leave the band out with `use`.",
                )


def saturated(facts: Facts) -> Iterator[Finding]:
    """Many pixels have the largest value: more than have the one below, so it is no sparse scale."""
    for name, split in facts.splits.items():
        for band, values in zip(facts.card.bands.names, split.pixels.T, strict=True):
            found, counts = np.unique(values, return_counts=True)
            if len(found) > 2 and counts[-1] > max(SPIKE * len(values), 2 * counts[-2]):
                yield Finding(
                    f"{percent(counts[-1] / len(values))} of the pixels of band {band} in {name} have its largest "
                    f"value, {found[-1]:.4g}.",
                    "The band is saturated or was clipped when it was written: write the files from the source again "
                    "without a stretch to 8 bits, or accept that bright surfaces look alike.",
                )


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
    for first, second in combinations(names, 2):
        if _swapped(mean, first, second, known):
            yield Finding(
                f"Bands {first} and {second} look swapped: {first} has a mean of {mean[first]:.3f} and {second} of "
                f"{mean[second]:.3f}, and each is what is usual for the other.",
                "Compare the order of `bands` in the card with the channels of a file.",
            )
    for band in names:
        spans = [one.spans(band) for one in known if band in one.mean]
        low, high = min((a for a, _ in spans), default=-np.inf), max((b for _, b in spans), default=np.inf)
        if not low <= mean[band] <= high:
            yield Finding(
                f"Band {band} has a mean reflectance of {mean[band]:.3f} in train, outside of what published datasets "
                f"of {facts.card.bands.sensor} have ({max(low, 0):.3f} to {high:.3f}, mean ± 2 standard deviations).",
                "Check `scale`, `offset` and the order of `bands`; right for snow, clouds or salt.",
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
    return bool(as_is > 2 and exchanged < as_is / 3)


def brightness(facts: Facts) -> Iterator[Finding]:
    bands, rgb = facts.card.bands, list(facts.card.bands.rgb)
    for name, split in facts.splits.items():
        if not len(split.pixels):
            continue
        mean = split.pixels.mean(0)
        if mean.max() < DARK:
            yield Finding(
                f"{name} is dark: its brightest band, {bands.names[int(mean.argmax())]}, has a mean reflectance of "
                f"{mean.max():.3g}.",
                "Check `scale`: a factor of 10 is a common mistake. Right for clear, open water.",
            )
        if mean[rgb].mean() > BRIGHT:
            yield Finding(
                f"{name} is bright: red, green and blue have a mean reflectance of {mean[rgb].mean():.2f}.",
                "Check `scale` and `offset`, or whether the images show clouds or snow.",
            )
        darkest = np.quantile(split.pixels[:, rgb], 0.001, axis=0).min()
        if bands.sensor == "sentinel2" and facts.card.offset == 0 and OFFSET < darkest < 2 * OFFSET:
            yield Finding(
                f"No pixel of {name} is darker than {darkest:.3f} in red, green or blue.",
                "Sentinel-2 files of processing baseline 04.00 and later (2022) need `offset: -1000`. Right without "
                "water and shadows, or for reflectance at the top of the atmosphere.",
            )


def pixel_shift(facts: Facts) -> Iterator[Finding]:
    train = facts.splits["train"].means
    spread = np.maximum(train.std(0), 1e-12)
    for name in ("val", "test"):
        means = facts.splits[name].means
        shift = (means.mean(0) - train.mean(0)) / spread
        noise = np.sqrt(1 / len(train) + 1 / len(means))
        far = np.abs(shift) > max(SHIFT, ERRORS * noise)
        if far.any():
            worst = int(np.abs(shift).argmax())
            band = facts.card.bands.names[worst]
            yield Finding(
                f"{name} differs from train in {listed(np.array(facts.card.bands.names)[far].tolist())}: the mean "
                f"reflectance of {band} is {means.mean(0)[worst]:.3f}, in train {train.mean(0)[worst]:.3f}.",
                "That is right if the splits differ on purpose (other seasons, other regions); else check that all "
                "files have one scale and one level of processing.",
            )


def _constant(split: SplitFacts) -> NDArray[np.bool_]:
    return np.asarray((split.stds <= 1e-6 * np.abs(split.means)).all(1))
