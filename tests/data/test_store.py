"""The prepared store returns what was written, as reflectance, and detects inconsistent files."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from deflect.bands import BandStatistics, bandset
from deflect.data.card import write_card
from deflect.data.store import Split, Store, StoreCard
from deflect.errors import DataError, DeflectError
from deflect.files import sha256_file

BANDS = bandset("sentinel2", ["B04", "B03", "B8A"])


def write_store(folder: Path, task: str = "classification", dtype: str = "uint16", scale: float = 1e-4) -> StoreCard:
    rng = np.random.default_rng(0)
    splits = {}
    folder.mkdir()
    for split, n in (("train", 6), ("val", 2), ("test", 3)):
        labels = rng.integers(0, 2, n) if task == "classification" else rng.integers(-1, 2, (n, 8, 8)).astype(np.int8)
        np.save(folder / f"{split}.images.npy", (rng.random((n, 3, 8, 8)) * 255).astype(dtype))
        np.save(folder / f"{split}.labels.npy", labels)
        (folder / f"{split}.ids.txt").write_text("".join(f"{split}_{i}\n" for i in range(n)))
        digests = {f"{what}_sha256": sha256_file(folder / f"{split}.{what}.npy") for what in ("images", "labels")}
        splits[split] = {"n": n} | digests
    card = StoreCard(
        name="own",
        task=task,
        bands=BANDS,
        classes=("a", "b"),
        image_size=8,
        gsd=10.0,
        scale=scale,
        metric="f1_macro",
        splits=splits,
        statistics=BandStatistics((0.1,) * 3, (0.2,) * 3),
        simulated=True,
        source="",
    )
    write_card(folder, card)
    return card


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_batch_is_reflectance_in_the_order_of_the_indices(tmp_path: Path, dtype: str) -> None:
    write_store(tmp_path / "s", dtype=dtype)
    split = Store(tmp_path / "s").split("train")
    stored = np.load(tmp_path / "s" / "train.images.npy")
    for indices in ([4, 0, 4], np.array([4, 0, 4]), torch.tensor([4, 0, 4])):
        images, labels = split.batch(indices)
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(images, stored[[4, 0, 4]].astype(np.float32) * np.float32(1e-4))
        np.testing.assert_array_equal(labels, np.load(tmp_path / "s" / "train.labels.npy")[[4, 0, 4]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_stored_pixels_use_the_given_memory_and_decode_to_the_same_batch(tmp_path: Path, dtype: str) -> None:
    write_store(tmp_path / "s", dtype=dtype, task="segmentation")
    split, given = Store(tmp_path / "s").split("train"), []

    def memory(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        given.append(torch.full(shape, 77).to(dtype))
        return given[-1]

    images, labels = split.stored([4, 0, 4], memory)
    assert images is given[0]
    assert labels is given[1]
    assert (str(images.dtype), labels.dtype) == (f"torch.{dtype}", torch.int8)
    expected_images, expected_labels = split.batch([4, 0, 4])
    assert torch.equal(split.decode(images), expected_images)
    assert torch.equal(labels.long(), expected_labels)


def test_windows_crop_images_and_label_maps(tmp_path: Path) -> None:
    write_store(tmp_path / "s", task="segmentation")
    split = Store(tmp_path / "s").split("train")
    corners = [(0, 3), (2, 1)]

    def window(place: int, label: np.ndarray) -> tuple[slice, slice]:
        assert label.shape == (8, 8)
        y, x = corners[place]
        return slice(y, y + 4), slice(x, x + 4)

    images, labels = split.stored([5, 2], window=window)
    whole_images, whole_labels = split.stored([5, 2])
    for i, (y, x) in enumerate(corners):
        assert torch.equal(images[i], whole_images[i, :, y : y + 4, x : x + 4])
        assert torch.equal(labels[i], whole_labels[i, y : y + 4, x : x + 4])


def test_batch_does_not_share_memory_with_the_file(tmp_path: Path) -> None:
    write_store(tmp_path / "s", dtype="float32", scale=1.0)
    split = Store(tmp_path / "s").split("train")
    before = split.batch([0])[0].clone()
    split.batch([0])[0].zero_()
    assert torch.equal(split.batch([0])[0], before)


def test_split_is_a_dataset_for_loaders_with_workers(tmp_path: Path) -> None:
    write_store(tmp_path / "s", task="segmentation")
    split = Store(tmp_path / "s").split("train")
    (batch,) = DataLoader(split, batch_size=6, num_workers=1)
    assert batch["image"].shape == (6, 3, 8, 8)
    assert batch["mask"].shape == (6, 8, 8)
    assert batch["mask"].min() == -1
    assert len(split) == 6
    assert split.ids == [f"train_{i}" for i in range(6)]
    with pytest.raises(IndexError):
        split[6]


def test_a_pickled_split_is_small_and_opens_the_same_files(tmp_path: Path) -> None:
    write_store(tmp_path / "s")
    split = Store(tmp_path / "s").split("test")
    content = pickle.dumps(split)
    copy: Split = pickle.loads(content)
    assert len(content) < split.images.nbytes + 3000
    assert isinstance(copy.images, np.memmap)
    assert torch.equal(copy.batch([1])[0], split.batch([1])[0])


def test_card_survives_json_and_its_hash_depends_on_every_field(tmp_path: Path) -> None:
    card = write_store(tmp_path / "s")
    found = Store(tmp_path / "s").card
    assert found == card
    assert found.sha256 == card.sha256
    assert replace(card, scale=2e-4).sha256 != card.sha256
    assert replace(card, splits=card.splits | {"val": card.splits["train"]}).sha256 != card.sha256


def test_verify_detects_one_changed_byte(tmp_path: Path) -> None:
    write_store(tmp_path / "s")
    Store(tmp_path / "s").verify()
    with open(tmp_path / "s" / "val.images.npy", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(DataError, match=r"val\.images\.npy: differs from the hash"):
        Store(tmp_path / "s").verify()


def test_errors_name_the_file_and_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with pytest.raises(DataError, match=r"store\.json: no prepared data here; run `deflect data prepare s`"):
        Store(folder)
    card = write_store(folder)
    with pytest.raises(DataError, match="no split 'valid'; a store has train, val, test"):
        Store(folder).split("valid")
    np.save(folder / "val.labels.npy", np.zeros(5, np.int64))
    with pytest.raises(DataError, match=r"val\.labels\.npy: expected \(2,\), found \(5,\)"):
        Store(folder).split("val")
    (folder / "train.images.npy").write_bytes((folder / "train.images.npy").read_bytes()[:300])
    with pytest.raises(DataError, match=r"train\.images\.npy: damaged"):
        Store(folder).split("train")
    (folder / "test.images.npy").unlink()
    with pytest.raises(DataError, match=r"test\.images\.npy: missing"):
        Store(folder).split("test")
    (folder / "store.json").write_text("{}")
    with pytest.raises(DataError, match="not a card of this version"):
        Store(folder)
    with pytest.raises(DeflectError, match="task must be one of"):
        replace(card, task="detection")
