"""Checks of pixels: empty, dark, bright and saturated ones, and shifts between splits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deflect.checking.facts import Facts, SplitFacts
from deflect.checking.finding import Finding, across, images, listed

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
#: A shift between splits, in standard deviations of the images' means over train and in standard errors.
SHIFT, ERRORS = 0.5, 5.0
#: Fewest images whose means are compared.
FEWEST = 10


def empty_images(facts: Facts) -> Iterator[Finding]:
    for name, split in facts.splits.items():
        for what, found, remedy in (
            ("The same value everywhere", _constant(split), "Remove them; they show nothing."),
            (
                f"Dark (mean reflectance below {DARK_IMAGE:g} in every band)",
                (split.means.max(1) < DARK_IMAGE) & (split.empty < 1),
                "Look at them: night, deep shadow, or files with another scale. Remove them or correct the scale.",
            ),
        ):
            if found.any():
                first = listed([split.ids[row] for row in np.flatnonzero(found)[:3]])
                yield Finding(f"{what}: {images(int(found.sum()))} of {name}, e.g. {first}.", remedy)
    varied = {name: ~_constant(split)[:, None] for name, split in facts.splits.items()}
    stuck = {name: ((split.stds == 0) & varied[name]).mean(0) for name, split in facts.splits.items()}
    for band, shares in _bands_above(facts, stuck, SPIKE):
        yield Finding(
            f"Band {band} has one value in all of {across(shares, 'images')}; their other bands vary.",
            "The band is missing there: read these files again, or leave the band out with `use`.",
        )


def without_measurement(facts: Facts) -> Iterator[Finding]:
    empty = {name: float(split.empty.mean()) for name, split in facts.splits.items()}
    if empty := {name: share for name, share in empty.items() if share > EMPTY}:
        mostly = sum(int((split.empty > MOSTLY).sum()) for split in facts.splits.values())
        yield Finding(
            f"{across(empty, 'pixels')} are 0 in every band; mostly empty: {images(mostly)}.",
            "Remove images that are mostly empty (borders of scenes); if 0 is no measurement, set `nodata: 0` in the "
            "card.",
        )
    zero = {name: (split.pixels == 0).mean(0) for name, split in facts.splits.items()}
    for band, shares in _bands_above(facts, zero, SPIKE):
        yield Finding(
            f"Band {band} is 0 in {across(shares, 'pixels')} where other bands are not.",
            "Probably they have no measurement in this band: set `nodata` if the files do not say so, leave the band "
            "out with `use`, or take only the ground that all bands cover.",
        )


def saturated(facts: Facts) -> Iterator[Finding]:
    """Many pixels have the largest value: more than have the one below, so it is no coarse scale."""
    spikes = {name: np.array([_spike(band) for band in split.pixels.T]) for name, split in facts.splits.items()}
    for band, shares in _bands_above(facts, spikes, SPIKE):
        yield Finding(
            f"Band {band} is saturated: {across(shares, 'pixels')} have its largest value.",
            "It was clipped when it was written: write the files from the source again, without a stretch to 8 bits, "
            "or accept that bright surfaces look alike.",
        )


def _spike(values: NDArray[np.float32]) -> float:
    """Share of the largest value, if it is more frequent than the one below by far."""
    found, counts = np.unique(values, return_counts=True)
    return counts[-1] / len(values) if len(found) > 2 and counts[-1] > 2 * counts[-2] else 0.0


def _bands_above(
    facts: Facts, shares: dict[str, NDArray[np.float64]], least: float
) -> Iterator[tuple[str, dict[str, float]]]:
    """Each band with a share (C,) above ``least`` in a split, and its shares in these splits."""
    for place, band in enumerate(facts.card.bands.names):
        if found := {name: float(each[place]) for name, each in shares.items() if each[place] > least}:
            yield band, found


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
        if min(len(train), len(means)) < FEWEST:
            continue
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
