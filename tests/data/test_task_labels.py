"""Labels of multi-label and regression datasets, from a reader to the prepared store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_store import BANDS, tiny_store

from deflect.bands import BandStatistics
from deflect.data.card import CARD, StoreCard
from deflect.data.catalog import DatasetSheet
from deflect.data.prepare import prepare
from deflect.data.readers import READERS
from deflect.data.readers.base import RawDataset
from deflect.data.store import Store
from deflect.errors import ConfigError, DataError
from deflect.files import read_json
from deflect.settings import METRICS, SPLITS

SIZE, N = 8, {"train": 6, "val": 3, "test": 3}


def sheet_of(task: str, **changes: Any) -> DatasetSheet:
    classes = ("biomass (t/ha)",) if "regression" in task else ("field", "forest", "water")
    facts = {
        "name": "own", "title": "own", "task": task, "bands": BANDS, "stored_names": tuple(BANDS.names),
        "classes": classes, "splits": N, "image_size": SIZE, "gsd": 10.0, "unit": "reflectance", "scale": 1.0,
        "reflectance_range": (-0.1, 1.6), "metric": METRICS[task], "licence": "", "citation": "", "notes": (),
        "nodata": (-1.0,),
    }  # fmt: skip
    return DatasetSheet(**(facts | changes))


class Memory(RawDataset):
    """A dataset in memory; its only files are there for the checks of a reader."""

    marker = "files"

    def _list_ids(self) -> list[str]:
        return [f"{self.split}{i}" for i in range(N[self.split])]

    def path(self, index: int) -> Path:
        return self.folder / "files"

    def _read(self, index: int) -> tuple[np.ndarray, Any]:
        random = np.random.default_rng([SPLITS.index(self.split), index])
        image = random.random((len(BANDS), SIZE, SIZE)).astype(np.float32)
        image[2, 0, 0] = -1  # no measurement
        return image, self.label(random)

    def label(self, random: np.random.Generator) -> Any:
        if self.sheet.task == "multilabel":
            return [1, int(random.integers(2)), 0]
        if self.sheet.task == "regression":
            return 100 + random.random()
        numbers = 100 + random.random((SIZE, SIZE))
        numbers[1] = np.nan
        return numbers


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/files").touch()
    return tmp_path / "raw"


def prepared(files: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setitem(READERS, "own", Memory)
    out = files.parent / "own"
    prepare("own", files, out, sheet=sheet_of(task))
    return Store(out)


@pytest.mark.parametrize(
    ("task", "shape", "dtype"),
    [("multilabel", (3,), "uint8"), ("regression", (), "float32"), ("pixel_regression", (SIZE, SIZE), "float32")],
)
def test_prepared_labels_are_those_that_were_read(
    files: Path, task: str, shape: tuple[int, ...], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepared(files, task, monkeypatch)
    for split in SPLITS:
        raw, found = Memory(files, split, sheet_of(task)), store.split(split)
        assert (found.labels.shape, found.labels.dtype) == ((N[split], *shape), dtype)
        expected = np.stack([np.asarray(raw._read(row)[1]) for row in range(N[split])]).astype(dtype)
        if task == "pixel_regression":
            expected[:, 0, 0] = np.nan  # where the image has no measurement
        np.testing.assert_array_equal(found.labels, expected)
        labels = found.batch([0, 1])[1]
        assert labels.dtype == (torch.int64 if task == "multilabel" else torch.float32)
        np.testing.assert_array_equal(labels, expected[:2])  # numbers are not cut to integers
        np.testing.assert_array_equal(found[1][found.key], expected[1])
        np.testing.assert_array_equal(raw[1][found.key], expected[1])
    if task == "multilabel":
        assert store.card.target is None
    else:
        train = np.asarray(store.split("train").labels, dtype=float)
        assert store.card.target == pytest.approx((np.nanmean(train), np.nanstd(train)), rel=1e-6)


@pytest.mark.parametrize(
    ("task", "label", "message"),
    [
        ("multilabel", [1, 0], r"expected one 0 or 1 for each of 3 classes, found shape \(2,\)"),
        ("multilabel", [1, 0, 2], r"expected labels of 0 \(absent\) or 1 \(present\), found 2"),
        ("multilabel", [1, 0.5, 0], "found 0.5"),
        ("multilabel", [1, np.nan, 0], "found nan"),
        ("regression", np.nan, "expected one finite number as label, found nan"),
        ("regression", 1e300, r"expected one finite number as label, found 1e\+300"),
        ("regression", "12 t", "expected one finite number as label, found '12 t'"),
        ("regression", [1.0, 2.0], r"expected one finite number as label, found \[1.0, 2.0\]"),
        ("regression", None, "expected one finite number as label, found None"),
        ("pixel_regression", np.zeros((4, 4)), r"image of \(8, 8\) pixels but label of \(4, 4\)"),
        ("pixel_regression", np.full((SIZE, SIZE), np.inf), "expected finite numbers, or NaN for none, found infinity"),
        ("pixel_regression", np.full((SIZE, SIZE), "a"), "expected an image of numbers as label, found <U1"),
    ],
)
def test_wrong_labels_are_one_line_with_the_file(
    files: Path, task: str, label: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "label", lambda *_: label)
    with pytest.raises(DataError, match=message) as error:
        Memory(files, "train", sheet_of(task)).load(0)
    assert str(error.value).startswith(f"{files}/files: ")
    assert "\n" not in str(error.value)


def test_a_constant_target_is_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "label", lambda self, random: 7.5 if self.split == "test" else float(random.random()))
    with pytest.raises(DataError, match=r"biomass \(t/ha\) is 7.5 in all of test: a constant needs no model"):
        prepared(files, "regression", monkeypatch)


def test_a_split_without_any_label_is_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "label", lambda self, random: [int(self.split != "val"), 0, 0])
    with pytest.raises(DataError, match="nothing in val has a label"):
        prepared(files, "multilabel", monkeypatch)


def test_a_regression_has_one_target() -> None:
    with pytest.raises(ConfigError, match="own: a regression has one target, found 2 classes"):
        sheet_of("regression", classes=("a", "b"))


def test_cards_without_a_target_keep_their_bytes_and_hash(tmp_path: Path) -> None:
    """Records of finished runs have the hash of their store's card."""
    store = tiny_store(tmp_path / "c", "classification")
    assert "target" not in read_json(tmp_path / "c" / CARD)
    assert "target" not in store.card.to_dict()
    older = StoreCard(
        name="c", task="classification", bands=BANDS, classes=("a", "b"), image_size=8, gsd=10.0, scale=1.0,
        metric="f1_macro", splits={}, statistics=BandStatistics((0.2,) * 6, (0.1,) * 6), simulated=True, source="tests",
    )  # fmt: skip
    assert older.sha256 == "04807a12ebfda2d95b74e8691d1b80b7cfdd37673e0c0fc5bf5766873b7fce8b"
    card = tiny_store(tmp_path / "r", "regression").card
    assert StoreCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    assert replace(card, target=(0.0, 2.0)).sha256 != card.sha256
    with pytest.raises(DataError, match="a regression needs mean and standard deviation of its target"):
        replace(card, target=None)
