"""Every layout of docs/your_own_dataset.md is read as it was written, and trains to a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import LAYOUTS, Written

from deflect.data.prepare import prepare
from deflect.data.store import Store, StoreCard

SPLITS = ("train", "val", "test")
#: Of float32.
ROUNDING = 1e-6


def expected_label(image: np.ndarray, label: object) -> np.ndarray:
    """Pixels without a measurement have no label."""
    found = np.asarray(label)
    if found.ndim < 2:
        return found
    return np.where(np.isnan(image).any(0), np.nan if found.dtype.kind == "f" else -1, found)


def compare(written: Written, card: StoreCard, store: Store) -> None:
    """Pixels, labels, splits, units and statistics of a store."""
    assert card.bands.names == written.bands
    assert (card.nodata, card.gsd) == (written.nodata, written.gsd)
    np.testing.assert_allclose(card.scale, written.scale, rtol=1e-9)
    np.testing.assert_allclose(card.offset, written.offset, rtol=1e-9)
    of = {}
    for split in SPLITS:
        part = store.split(split)
        images, labels = part.batch(range(len(part)))
        for name, image, label in zip(part.ids, images.numpy(), labels.numpy(), strict=True):
            of[name] = split
            reflectance, truth = written.samples[name]
            np.testing.assert_allclose(image, np.nan_to_num(reflectance), ROUNDING, ROUNDING, err_msg=name)
            np.testing.assert_array_equal(label, expected_label(reflectance, truth), err_msg=name)
    assert of.keys() == written.samples.keys()
    assert written.splits in ({}, of)
    for group in set(written.groups.values()):
        assert len({of[name] for name, other in written.groups.items() if other == group}) == 1, group
    train = np.stack([written.samples[name][0] for name, split in of.items() if split == "train"])
    np.testing.assert_allclose(card.statistics.mean, np.nanmean(train, (0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(card.statistics.std, np.nanstd(train, (0, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_and_labels_are_those_that_were_written(layout: str, tmp_path: Path) -> None:
    written = LAYOUTS[layout](tmp_path / "raw")
    card = prepare("own", tmp_path / "raw", tmp_path / "store")
    compare(written, card, Store(tmp_path / "store"))
