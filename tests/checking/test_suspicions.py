"""Each check finds the fault that it is for, and nothing in good data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from good_store import CLASSES, SIZE, Splits, good
from tiny_store import BANDS, write_store

from deflect.checking import facts as reading
from deflect.checking.check import read_facts
from deflect.checking.facts import Facts
from deflect.checking.places import Places
from deflect.checking.suspicions import CHECKS, run_checks


def found(folder: Path, splits: Splits) -> dict[str, str]:
    """What each check that found something says."""
    store = write_store(folder / "store", splits, BANDS, CLASSES, gsd=10.0)
    return words(read_facts(store, folder / "no raw files"))


def words(facts: Facts) -> dict[str, str]:
    checked = run_checks(facts)
    return {one.title: " ".join(f"{f.found} {f.remedy}" for f in one.findings) for one in checked if one.findings}


@pytest.mark.parametrize("masks", [False, True])
def test_good_data_is_not_suspicious(tmp_path: Path, masks: bool) -> None:
    assert found(tmp_path, good(masks)) == {}


def near(splits: Splits) -> None:
    splits["val"][0][3] = splits["train"][0][5] + np.random.default_rng(1).normal(0, 1e-3, (6, SIZE, SIZE))


def exact(splits: Splits) -> None:
    splits["test"][0][3] = splits["val"][0][5]


def relabelled(splits: Splits) -> None:
    splits["train"][0][3] = splits["train"][0][4]


def swapped(splits: Splits) -> None:
    for images, _ in splits.values():
        images[:, [2, 3]] = images[:, [3, 2]]


def copied(splits: Splits) -> None:
    for images, _ in splits.values():
        images[:, 4] = 1.1 * images[:, 5]


def saturated(splits: Splits) -> None:
    for images, _ in splits.values():
        images[:, 3] = images[:, 3].clip(max=0.3)


def dark(splits: Splits) -> None:
    for images, _ in splits.values():
        images *= 0.1


def bright(splits: Splits) -> None:
    for images, _ in splits.values():
        images[:] = 0.7 + 0.3 * images


def no_offset(splits: Splits) -> None:
    for images, _ in splits.values():
        images += 0.1


def one_is_constant(splits: Splits) -> None:
    splits["test"][0][7] = 0.07


def one_is_dark(splits: Splits) -> None:
    splits["test"][0][7] *= 1e-3


def empty_corner(splits: Splits) -> None:
    splits["val"][0][:, :, :6] = 0


def one_band_without_data(splits: Splits) -> None:
    splits["val"][0][:, 4, :2] = 0


def band_missing_in_some(splits: Splits) -> None:
    splits["train"][0][:5, 1] = 0.08


def brighter_test(splits: Splits) -> None:
    splits["test"][0][:, 3] += 0.05


def class_missing(splits: Splits) -> None:
    splits["val"][1][:] = 0


def rare_class(splits: Splits) -> None:
    for _, labels in splits.values():
        labels[1::2][2:] = 0


def almost_one_class(splits: Splits) -> None:
    for _, labels in splits.values():
        labels[3:] = 0


def other_shares(splits: Splits) -> None:
    splits["test"][1][:35] = 1


FAULTS: list[tuple[Callable[[Splits], None], str, str, set[str]]] = [
    (near, "near-duplicates between splits", "an image of train: 1 image of val, 0 of them exact", set()),
    (exact, "near-duplicates between splits", "an image of val: 1 image of test, 1 of them exact", set()),
    (
        relabelled,
        "copies within a split, and their labels",
        "different labels: 1, e.g. train3 and train4 (soil and plants)",
        set(),
    ),
    (swapped, "bands in the usual range of the sensor and order", "Bands B04 and B08 look swapped", set()),
    (copied, "bands that are copies of each other", "Bands B11 and B12 are nearly copies", set()),
    (saturated, "saturated pixels", "Band B08 is saturated", set()),
    (dark, "brightness, scale and offset", "train is dark: its brightest band", set()),
    (bright, "brightness, scale and offset", "train is bright", {"bands in the usual range of the sensor and order"}),
    (no_offset, "brightness, scale and offset", "`offset: -1000`", set()),
    (one_is_constant, "images that are constant or dark, bands that are missing", "The same value", set()),
    (one_is_dark, "images that are constant or dark, bands that are missing", "Dark (mean", set()),
    (empty_corner, "pixels without measurement", "38 % of the pixels of val are 0 in every band", set()),
    (one_band_without_data, "pixels without measurement", "Band B11 is 0 in 1", set()),
    (band_missing_in_some, "images that are constant or dark, bands that are missing", "Band B03 has one value", set()),
    (brighter_test, "same reflectance in train, val and test", "test differs from train in B08", set()),
    (
        class_missing,
        "every class in every split",
        "val has no label of soil",
        {"same labels in train, val and test", "balance of classes"},
    ),
    (rare_class, "every class in every split", "fewer than 10 images have a label of soil", {"balance of classes"}),
    (
        almost_one_class,
        "balance of classes",
        "of the labelled images of train are plants",
        {"every class in every split"},
    ),
    (other_shares, "same labels in train, val and test", "plants is 50 % of train and 5 %", set()),
]


@pytest.mark.parametrize(("plant", "title", "text", "also"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_planted_fault_is_found_and_no_other(
    tmp_path: Path, plant: Callable[[Splits], None], title: str, text: str, also: set[str]
) -> None:
    splits = good()
    plant(splits)
    said = found(tmp_path, splits)
    assert text in said.get(title, "nothing")
    assert set(said) - also == {title}


def test_masks_without_labels_and_sparse_ones(tmp_path: Path) -> None:
    splits = good(masks=True)
    splits["val"][1][:4] = -1
    splits["test"][1][:, :10] = -1
    [text] = found(tmp_path, splits).values()
    assert text.startswith("10 % of the images of val have no label at all, e.g. val0, val1 and val2.")
    splits["val"][1][:4] = 1
    [text] = found(tmp_path, splits).values()
    assert text.startswith("62 % of the pixels of test have no label.")


def test_few_images(tmp_path: Path) -> None:
    splits = good()
    splits["val"] = tuple(array[:12] for array in splits["val"])
    [text] = found(tmp_path, splits).values()
    assert text.startswith("There are few images: 12 in val.")


def side_by_side(n: int, west: float) -> np.ndarray:
    """``n`` boxes of 0.01 degrees in a row."""
    x = west + 0.01 * np.arange(n)
    return np.stack([x, np.full(n, 45.0), x + 0.01, np.full(n, 45.01)], axis=1)


def test_places_that_overlap_or_touch_are_found_and_others_not() -> None:
    boxes = {"train": side_by_side(20, 10.0), "val": side_by_side(5, 10.2), "test": side_by_side(5, 10.3)}
    boxes["test"][2] = boxes["train"][4] + [0.004, 0, 0.004, 0]  # overlaps by more than a half, touches more
    boxes["test"][3] = np.nan
    files = {split: [f"{split}_{place}.tif" for place in range(len(rows))] for split, rows in boxes.items()}
    val, test = Places(boxes, files).meetings
    assert (val.first, val.second, val.overlapping, val.touching) == ("train", "val", 0, 1)
    assert val.examples == [("train_19.tif", "val_0.tif")]
    assert (test.first, test.second, test.overlapping, test.touching) == ("train", "test", 1, 0)
    assert test.examples[0] == ("train_4.tif", "test_2.tif")
    assert Places(boxes, files).missing == {"train": 0, "val": 0, "test": 1}


def test_a_large_split_is_read_in_part_and_the_same_part_each_time(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(reading, "SAMPLE", 30)
    monkeypatch.setattr(reading, "FEWEST", 1)
    store = write_store(tmp_path / "store", good(masks=True), BANDS, CLASSES, gsd=10.0)
    first, second = (read_facts(store, tmp_path) for _ in range(2))
    assert first.sampled
    assert [len(split.rows) for split in first.splits.values()] == [30, 30, 30]
    train, again = first.splits["train"], second.splits["train"]
    assert train.ids == [f"train{row}" for row in train.rows] == again.ids
    assert np.array_equal(train.pixels, again.pixels)
    assert train.labels.counts.sum() == 30 * SIZE**2
    monkeypatch.setattr(reading, "BYTES", 10 * train.split.images[0].nbytes)
    assert len(reading.sample(train.split)) == 10


def test_what_cannot_be_checked_says_why(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", good(), BANDS, CLASSES, gsd=10.0)
    skipped = {one.title: one.skipped for one in run_checks(read_facts(store, tmp_path / "raw")) if one.skipped}
    assert list(skipped) == [list(CHECKS)[-1]]
    assert "card.yaml: missing" in skipped[list(CHECKS)[-1]]
