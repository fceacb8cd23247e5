"""Planted copies are found as near-duplicates, and other images are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_store import tiny_store

from deflect.data.duplicates import NEAR, describe, duplicates, nearest, pool
from deflect.data.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of smooth random images, unlike each other."""
    store = tiny_store(tmp_path / "store", "classification")
    random = np.random.default_rng(5)
    for split in ("train", "val", "test"):
        path = store.folder / f"{split}.images.npy"
        coarse = random.normal(0.2, 0.05, (len(np.load(path)), 6, 4, 4)).astype(np.float32)
        np.save(path, coarse.repeat(8, axis=2).repeat(8, axis=3))
    return store


def plant(store: Store, split: str, **images: Any) -> None:
    """Replace images of a split: ``test0=...`` is its image 0."""
    path = store.folder / f"{split}.images.npy"
    array = np.load(path)
    for name, image in images.items():
        array[int(name.removeprefix(split))] = image
    np.save(path, array)


def test_images_that_are_not_alike_are_no_duplicates(store: Store) -> None:
    found = duplicates(store)
    assert found["test"] == {"images": 10, "near": 0, "exact": 0, "pairs": []}
    assert found["val"]["images"] == 12
    assert (found["dataset"], found["threshold"]) == ("store", NEAR)


def test_copies_are_found_exact_noisy_brighter_and_slightly_shifted_ones(store: Store) -> None:
    train = np.load(store.folder / "train.images.npy")
    noise = np.random.default_rng(6).normal(0, 0.005, train[0].shape)  # a tenth of the standard deviation
    noisy, brighter, shifted = train[4] + noise, train[5] * 1.1 + 0.02, np.roll(train[6], 1, axis=-1)
    plant(store, "test", test1=train[3], test2=noisy, test3=brighter, test4=shifted)
    plant(store, "val", val0=train[3])
    found = duplicates(store)
    assert (found["test"]["near"], found["test"]["exact"]) == (4, 1)
    pairs = {pair["id"]: pair for pair in found["test"]["pairs"]}
    assert {pair["id"]: pair["train_id"] for pair in found["test"]["pairs"]} == {
        "test1": "train3",
        "test2": "train4",
        "test3": "train5",
        "test4": "train6",
    }
    assert pairs["test1"] | {"similarity": 1, "difference": 0} == pairs["test1"]
    assert pairs["test2"]["difference"] == pytest.approx(abs(noise).max(), rel=0.01)
    assert NEAR <= pairs["test2"]["similarity"] < 1
    assert (found["val"]["near"], found["val"]["exact"]) == (1, 1)


def test_turned_copies_are_not_found_as_the_page_says(store: Store) -> None:
    train = np.load(store.folder / "train.images.npy")
    plant(store, "test", test0=train[3][..., ::-1], test1=np.rot90(train[4], axes=(1, 2)))
    assert duplicates(store)["test"]["near"] == 0


def test_flat_images_are_not_alike_for_having_the_same_colour(store: Store) -> None:
    random = np.random.default_rng(7)
    flat = 0.05 + random.normal(0, 1e-4, (2, 6, 32, 32))  # open water with noise of the sensor
    plant(store, "train", train0=flat[0])
    plant(store, "test", test0=flat[1], test1=np.full((6, 32, 32), 0.05), test2=flat[0])
    found = duplicates(store)["test"]
    assert [(pair["id"], pair["train_id"]) for pair in found["pairs"]] == [("test2", "train0")]


def test_differences_are_reflectance(store: Store) -> None:
    train = np.load(store.folder / "train.images.npy")
    changed = train[3].copy()
    changed[2, 0, 0] += 0.25
    plant(store, "test", test0=changed)
    [pair] = duplicates(store)["test"]["pairs"]
    assert pair["difference"] == 0.25


def test_chunks_do_not_change_the_result(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    train = np.load(store.folder / "train.images.npy")
    plant(store, "test", test9=train[23], test0=train[0])
    whole = duplicates(store)
    monkeypatch.setattr("deflect.data.duplicates.ROWS", 4)
    monkeypatch.setattr("deflect.data.duplicates.CHUNK", 7)
    assert duplicates(store) == whole


def test_of_large_splits_a_sample_is_compared(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first and last images are rows 0 and 9 of the split."""
    train = np.load(store.folder / "train.images.npy")
    plant(store, "test", test0=train[0], test1=train[1], test9=train[23])
    monkeypatch.setattr("deflect.data.duplicates.MOST", 2 * len(train))
    found = duplicates(store)["test"]
    assert (found["images"], found["near"], found["exact"]) == (2, 2, 2)
    assert {pair["id"]: pair["train_id"] for pair in found["pairs"]} == {"test0": "train0", "test9": "train23"}
    assert "only 2 of 10 images of test are compared" in caplog.text


def test_similarity_is_the_correlation_of_patterns(store: Store) -> None:
    train, test = store.split("train"), store.split("test")
    pooled = pool(train, np.arange(len(train)))
    scale = pooled.std((0, 2), keepdim=True)
    similarity, row = nearest(describe(pool(test, np.arange(len(test))), scale), describe(pooled, scale))

    def pattern(image: np.ndarray) -> np.ndarray:
        blocks = image.reshape(6, 8, 4, 8, 4).mean((2, 4)).reshape(6, 64)
        return ((blocks - blocks.mean(1, keepdims=True)) / scale[0].numpy()).ravel()

    one = pattern(np.asarray(test.images[2]))
    cosines = [one @ (p := pattern(image)) / np.linalg.norm(one) / np.linalg.norm(p) for image in train.images]
    assert similarity[2].item() == pytest.approx(max(cosines), abs=1e-5)
    assert row[2].item() == int(np.argmax(cosines))
