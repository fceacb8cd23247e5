"""Checks of a whole dataset, at their limits."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from deflect.bands import BandStatistics
from deflect.data import checks
from deflect.data.catalog import DATASETS
from deflect.data.readers.checks import check_class, check_mask
from deflect.data.statistics import band_statistics, total
from deflect.errors import DataError

RAW = Path("raw")
SHEET = DATASETS["so2sat"]
SPLITS = ("train", "val", "test")
BANDS = len(SHEET.bands)


@pytest.mark.parametrize(("first", "second"), combinations(SPLITS, 2))
def test_an_image_in_two_splits(first: str, second: str, caplog: pytest.LogCaptureFixture) -> None:
    ids = {split: [f"{split}0", f"{split}1"] for split in SPLITS}
    hashes = {split: np.array([f"{split} a", f"{split} b"], "S16") for split in SPLITS}
    checks.check_ids(ids, RAW)
    checks.check_copies(ids, hashes, RAW, refuse=True)
    with pytest.raises(DataError, match=f"{first} and {second} share 1 images, e.g. '{first}1'"):
        checks.check_ids(ids | {second: ["x", f"{first}1"]}, RAW)
    copied = hashes | {second: np.array(["x", f"{first} b"], "S16")}
    message = f"1 images of {second} are copies of images of {first}, e.g. '{second}1' of '{first}1'"
    with pytest.raises(DataError, match=message):
        checks.check_copies(ids, copied, RAW, refuse=True)
    checks.check_copies(ids, copied, RAW, refuse=False)
    assert message in caplog.text


def test_classes_of_a_mask_at_their_limits() -> None:
    mask = np.array([[-1, 0], [3, 4]])
    assert np.array_equal(check_mask(mask, 5, (2, 2), RAW), mask)
    for value in (-2, 5):
        with pytest.raises(DataError, match=f"expected classes 0 to 4 in the mask, found {value};"):
            check_mask(np.array([[0, value], [1, 2]]), 5, (2, 2), RAW)
    assert check_class(4, 5, RAW) == 4
    for label in (-1, 5):
        with pytest.raises(DataError, match=f"expected a label from 0 to 4, found {label}"):
            check_class(label, 5, RAW)


def test_sizes_are_refused_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    checks.check_sizes(SHEET, SHEET.splits, SHEET.image_size, RAW)
    assert not caplog.text
    other = SHEET.splits | {"val": 7}
    with pytest.raises(DataError, match="should have 19992/986/986 images, found 19992/7/986"):
        checks.check_sizes(SHEET, other, SHEET.image_size, RAW)
    checks.check_sizes(replace(SHEET, splits_exact=False), other, SHEET.image_size, RAW)
    assert "the publisher does not state the numbers" in caplog.text


def test_a_class_that_is_not_trained_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    sheet = DATASETS["burn_scars"]
    both, first = np.array([5, 5]), np.array([5, 0])
    checks.check_labels(sheet, {"train": both, "val": first, "test": first}, RAW)
    assert not caplog.text, "a class that is trained on may be missing elsewhere"
    for split in ("val", "test"):
        checks.check_labels(sheet, {"train": first, "val": first, "test": first} | {split: both}, RAW)
        assert f"class Burn scar is in {split} but not in train" in caplog.text
        with pytest.raises(DataError, match=f"nothing in {split} has a label"):
            checks.check_labels(sheet, {"train": both, "val": both, "test": both} | {split: np.zeros(2)}, RAW)


def test_statistics_are_those_of_all_measured_pixels() -> None:
    values = [np.random.default_rng(i).normal(0.2, 0.1, (BANDS, n)) for i, n in ((0, 40), (1, 90))]
    notes = [{"measured": [v.shape[1]] * BANDS, "sum": v.sum(1), "square": (v**2).sum(1)} for v in values]
    found = band_statistics(SHEET, notes, RAW)
    together = np.concatenate(values, axis=1)
    np.testing.assert_allclose(found.mean, together.mean(1), rtol=1e-8)
    np.testing.assert_allclose(found.std, together.std(1), rtol=1e-8)


def test_bands_without_measurement_or_variation_are_named() -> None:
    note = {"measured": np.full(BANDS, 10), "sum": np.full(BANDS, 2.0), "square": np.full(BANDS, 0.5)}
    band_statistics(SHEET, [note], RAW)
    name, last = SHEET.bands.names[-1], np.arange(BANDS) == BANDS - 1
    with pytest.raises(DataError, match=f"band {name} has no measurement"):
        band_statistics(SHEET, [note | {"measured": np.where(last, 0, 10)}], RAW)
    with pytest.raises(DataError, match=rf"band {name} is constant \(0.2\)"):
        band_statistics(SHEET, [note | {"square": np.where(last, 0.4, 0.5)}], RAW)
    with pytest.raises(DataError, match=rf"band {name} is constant \(0\)"):
        band_statistics(SHEET, [note | {key: np.where(last, 0.0, note[key]) for key in ("sum", "square")}], RAW)


def test_values_that_cannot_be_reflectance() -> None:
    good = BandStatistics((0.1,) * BANDS, (0.05,) * BANDS)
    inside = {split: np.zeros(BANDS) for split in SPLITS}
    low, high = SHEET.reflectance_range
    checks.check_reflectance(SHEET, good, inside | {"test": np.full(BANDS, checks.OUTSIDE)}, RAW)
    with pytest.raises(DataError, match=rf"0\.2 % of the pixels of band {SHEET.bands.names[1]} in val are beyond"):
        checks.check_reflectance(SHEET, good, inside | {"val": np.where(np.arange(BANDS) == 1, 2e-3, 1.5e-3)}, RAW)
    wide = BandStatistics(good.mean, (*good.std[1:], 1.01 * (high - low)))
    with pytest.raises(DataError, match=f"band {SHEET.bands.names[-1]} has a standard deviation"):
        checks.check_reflectance(SHEET, wide, inside, RAW)
    checks.check_reflectance(SHEET, BandStatistics(good.mean, (high - low,) * BANDS), inside, RAW)
    dark = (0.0,) * (BANDS - 1)
    with pytest.raises(DataError, match=r"the brightest band has a mean reflectance of 0\.00099"):
        checks.check_reflectance(SHEET, BandStatistics((*dark, 0.00099), good.std), inside, RAW)
    checks.check_reflectance(SHEET, BandStatistics((*dark, checks.DARKEST), good.std), inside, RAW)


@pytest.mark.parametrize(("what", "place"), [("mean", 0), ("standard deviation", 1)])
def test_published_statistics_at_their_tolerance(what: str, place: int) -> None:
    published = [tuple(float(i + 10) for i in range(BANDS))] * 2
    sheet = replace(SHEET, published_mean=published[0], published_std=published[1], published_tolerance=(0.03, 0.2))
    tolerance = sheet.published_tolerance[place]

    def found(factor: float) -> BandStatistics:
        own = [np.array(values) * sheet.scale for values in published]
        own[place][2] *= factor
        return BandStatistics(*(tuple(values) for values in own))

    for factor in (1, 1 + 0.99 * tolerance, 1 - 0.99 * tolerance):
        checks.check_published(sheet, found(factor), RAW)
    for factor in (1 + 1.01 * tolerance, 1 - 1.01 * tolerance):
        with pytest.raises(DataError, match=f"band {SHEET.bands.names[2]}: {what} 12 expected within"):
            checks.check_published(sheet, found(factor), RAW)
    checks.check_published(sheet, found(1 + 0.99 * checks.ROUGH), RAW, sample=9)
    with pytest.raises(DataError, match="a sample of 9 images is not as published"):
        checks.check_published(sheet, found(1 + 1.01 * checks.ROUGH), RAW, sample=9)
    checks.check_published(replace(sheet, published_mean=None, published_std=None), found(9), RAW)


def test_every_band_that_is_not_as_published_is_named() -> None:
    published = (1.0,) * BANDS
    sheet = replace(SHEET, published_mean=published, published_std=published, published_tolerance=(0.03, 0.2))
    own = tuple(sheet.scale * value for value in (2.0, 1.0, 3.0, *published[3:]))
    with pytest.raises(DataError) as error:
        checks.check_published(sheet, BandStatistics(own, tuple(sheet.scale * value for value in published)), RAW)
    first, second, third = SHEET.bands.names[:3]
    assert f"{first}: mean 1 expected within 3 %, found 2; {third}: mean 1 expected" in str(error.value)
    assert f"{second}:" not in str(error.value)
    assert f"add {SHEET.name} to `unchecked` of the study" in str(error.value)


def test_dark_pixels_of_all_shards_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    checks.check_dark(0, RAW)
    assert not caplog.text
    checks.check_dark(int(total([{"dark": 3}, {"dark": 4}], "dark")), RAW)
    assert "7 pixels of train are 0 in every band" in caplog.text
