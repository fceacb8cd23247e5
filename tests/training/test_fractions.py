"""Training with few labels: which images keep theirs, and epochs that draw only from these."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_store import tiny_spec, tiny_store
from torch import Tensor

from deflect.data.card import FRACTIONS, PARTS, hash_name, write_card
from deflect.data.store import Store
from deflect.errors import DataError
from deflect.files import sha256_file
from deflect.settings.training import TrainSettings
from deflect.training import model as models
from deflect.training.batches import FewLabels, training_batches
from deflect.training.context import Context, Ranks
from deflect.training.few_labels import balanced_order, classes_shown, labelled_rows
from deflect.training.run import train


class Numbered:
    """Images and labels that are the row number."""

    card = None

    def __len__(self) -> int:
        return 21

    def stored(self, rows: np.ndarray, *_: object) -> tuple[Tensor, Tensor]:
        rows = torch.as_tensor(rows)
        return rows.view(-1, 1, 1, 1).float(), rows

    def decode(self, stored: Tensor) -> Tensor:
        return stored


def drawn(split: object, epoch: int = 0, ranks: Ranks = Ranks()) -> list[list[int]]:  # noqa: B008
    context = Context(TrainSettings(batch_size=8, image_size=1), 3, ranks=ranks)
    return [labels.tolist() for _, labels in training_batches(split, epoch, context)]


def publish(store: Store, rows: dict[str, list[int]]) -> Store:
    """The store with published subsets of its training split."""
    (store.folder / f"train.{FRACTIONS}").write_text(json.dumps(rows))
    return rehash(store)


def rehash(store: Store) -> Store:
    """The store with a card for its files as they are now."""
    files = (*PARTS, FRACTIONS)
    train = {hash_name(part): sha256_file(store.folder / f"train.{part}") for part in files}
    splits = store.card.splits | {"train": store.card.splits["train"] | train}
    write_card(store.folder, replace(store.card, splits=splits))
    return Store(store.folder)


# ---------------------------------------------------------------- which images


def test_subsets_are_balanced_nested_and_independent_of_the_order_of_files() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])  # a small fraction of these would mostly be class 0
    ids = [f"id_{i}" for i in range(100)]
    shown = np.eye(3, dtype=bool)[labels]
    order = balanced_order(shown, ids)
    assert sorted(order) == list(range(100))
    for size, counts in ((3, [1, 1, 1]), (12, [4, 4, 4]), (31, [11, 10, 10]), (60, [25, 25, 10])):
        assert np.bincount(labels[order[:size]]).tolist() == counts
    mixed = random.Random(0).sample(range(100), 100)
    again = balanced_order(shown[mixed], [ids[row] for row in mixed])
    assert [mixed[row] for row in again] == order
    assert order != balanced_order(shown, [f"other_{i}" for i in range(100)])


def test_label_maps_are_chosen_by_their_rarest_class_and_those_without_a_label_last() -> None:
    shown = np.zeros((40, 4), bool)
    shown[:, 0] = True  # every map shows class 0
    shown[:6, 1] = True
    shown[4:9, 2] = True
    shown[9, 3] = True
    shown[10:20] = False
    order = balanced_order(shown, [str(i) for i in range(40)])
    assert shown[order[:4]].any(axis=0).all()
    assert 9 in order[:4]
    assert sorted(order[-10:]) == list(range(10, 20))


def test_classes_of_label_maps_are_read_without_unlabelled_pixels(tmp_path: Path) -> None:
    shown = classes_shown(tiny_store(tmp_path / "s", "segmentation").split("train"))
    assert shown[:, :2].all()
    assert not shown[:, 2].any(), "the last class is in no map"


def test_rows_of_a_store(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", "classification")
    rows = {fraction: labelled_rows(store, fraction) for fraction in (0.125, 0.25, 0.5, 1)}
    assert [len(found) for found in rows.values()] == [3, 6, 12, 24]
    assert set(rows[0.125]) < set(rows[0.25]) < set(rows[0.5])
    assert rows[1].tolist() == list(range(24))
    labels = store.split("train").labels
    assert np.bincount(labels[rows[0.25]]).tolist() == [2, 2, 2]


@pytest.mark.parametrize("fraction", [0.01, 0.1])
def test_a_class_without_a_label_is_an_error_that_names_what_would_do(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(DataError) as caught:
        train(tiny_spec(tmp_path, label_fraction=fraction))
    count, lacking = (0, "class0, class1, class2") if fraction == 0.01 else (2, "class2")
    expected = f"label_fraction {fraction} labels {count} of 24 training images, none with class {lacking}; take 0.125"
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(labelled_rows(Store(tmp_path / "stores/classification"), 0.125)) == 3


def test_a_published_subset_is_used_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = publish(tiny_store(tmp_path / "store", "classification"), {"0.1": [0, 3], "0.2": [7, 8, 9, 10]})
    assert labelled_rows(store, 0.2).tolist() == [7, 8, 9, 10]
    assert not caplog.records
    assert labelled_rows(store, 0.1).tolist() == [0, 3]
    assert "2 of 24 training images, none with class class1, class2; this subset is used as published" in caplog.text
    assert len(labelled_rows(store, 0.5)) == 12  # not published


# ---------------------------------------------------------------- training


def test_an_epoch_has_as_many_steps_and_draws_every_labelled_image_equally_often() -> None:
    rows = np.array([2, 5, 11, 17])
    few, whole = FewLabels(Numbered(), rows), Numbered()
    batches = [drawn(few, epoch) for epoch in range(2)]
    assert [len(batch) for batch in batches[0]] == [len(batch) for batch in drawn(whole)] == [8, 8, 5]
    for epoch in batches:
        order = list(itertools.chain(*epoch))
        passes = [order[start : start + 4] for start in range(0, 20, 4)]
        assert [sorted(one) for one in passes] == [rows.tolist()] * 5
        assert len({tuple(one) for one in passes}) > 1, "reshuffled"
    assert batches[0] != batches[1]


def test_processes_share_each_batch_of_few_labels() -> None:
    few = FewLabels(Numbered(), np.array([2, 5, 11]))
    parts = [drawn(few, ranks=Ranks(rank, 2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in drawn(few)]


def test_with_all_labels_the_order_is_the_permutation_that_it_was() -> None:
    for epoch in (0, 4):
        expected = np.random.default_rng([3, epoch]).permutation(21).tolist()
        assert list(itertools.chain(*drawn(Numbered(), epoch))) == expected


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_run_uses_the_labels_of_its_images_alone(tmp_path: Path, task: str) -> None:
    spec = tiny_spec(tmp_path, task, "norm_tuning", label_fraction=0.25, epochs=2)
    store = publish(Store(spec.store), {"0.25": list(range(6))})
    record = train(spec)
    assert record["data"]["labelled"] == 6
    assert record["data"]["splits"] == {"train": 24, "val": 12, "test": 10}
    labels = np.array(store.split("train").labels)
    labels[6:] = np.roll(labels[6:], 1, axis=0)
    assert not np.array_equal(labels, store.split("train").labels)
    np.save(store.folder / "train.labels.npy", labels)
    rehash(store)
    again = train(replace(spec, out=tmp_path / "again"))
    assert again["data"]["store_sha256"] != record["data"]["store_sha256"]
    assert again["metrics"] == record["metrics"]


def test_cached_features_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = train(tiny_spec(tmp_path, method="frozen", label_fraction=0.25, out=tmp_path / "kept"))
    monkeypatch.setattr(models, "FEATURE_BYTES", 0)
    anew = train(tiny_spec(tmp_path, method="frozen", label_fraction=0.25, out=tmp_path / "anew"))
    assert kept["metrics"]["val"]["loss"] == pytest.approx(anew["metrics"]["val"]["loss"], rel=1e-4)
    whole = train(tiny_spec(tmp_path, method="frozen", out=tmp_path / "whole"))
    assert whole["data"]["labelled"] == 24
    assert whole["metrics"]["val"]["loss"] != kept["metrics"]["val"]["loss"]
