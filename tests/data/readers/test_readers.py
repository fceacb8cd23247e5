"""Every published layout is read by band identity, with the publisher's labels, splits and nodata."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import torch
from paths import FIXTURES, REAL, needs_real
from torch.utils.data import DataLoader

from deflect.data.catalog import AS_PUBLISHED, DATASETS
from deflect.data.readers import RawDataset, read
from deflect.data.readers.burn_scars import validation_indices
from deflect.errors import DataError

FIXTURE = FIXTURES / "geobench"


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


@pytest.mark.parametrize("name", DATASETS)
def test_contract_of_torchgeo(raw: Path, name: str) -> None:
    sheet = DATASETS[name]
    dataset = read(name, raw / name, "train")
    assert len(dataset) == len(dataset.ids) == (7 if name == "burn_scars" else 6)
    sample = dataset[0]
    assert sample["image"].dtype == torch.float32
    assert sample["image"].shape == (len(sheet.bands), 48, 48)
    target = sample["mask" if sheet.task == "segmentation" else "label"]
    assert target.dtype == torch.int64
    assert target.shape == {"classification": (), "multilabel": (43,), "segmentation": (48, 48)}[sheet.task]
    assert torch.isfinite(sample["image"]).all()
    assert "type: NonGeoDataset" in str(dataset)
    assert len(dataset.plot(sample, suptitle="one").axes) == (2 if sheet.task == "segmentation" else 1)
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert len(batch["image"]) == 4
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize("name", DATASETS)
def test_splits_are_disjoint_and_an_archives_top_folder_is_allowed(raw: Path, name: str, tmp_path: Path) -> None:
    ids = [read(name, raw / name, split).ids for split in ("train", "val", "test")]
    assert len(set().union(*ids)) == sum(map(len, ids)) == 11
    own = raw / name / "MADOS" if name == "mados" else raw / name
    copy(own, tmp_path / "top")
    assert read(name, tmp_path, "train").ids == read(name, tmp_path / "top", "train").ids == ids[0]


@pytest.mark.parametrize(
    ("name", "folder", "values"),
    [
        # the fixture's band k holds 10 k in its first row, k in the order of the files' own list of bands
        ("so2sat", "m-so2sat", [80, 90, 100, 110, 120, 130, 140, 150, 160, 170]),
        ("brick_kiln", "m-brick-kiln", [0, 10, 20, 30, 40, 50, 70, 60, 80, 90]),
        ("forestnet", "m-forestnet", [20, 10, 0, 30, 40, 50]),
        ("bigearthnet", "m-bigearthnet", [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]),
    ],
)
def test_files_of_the_geobench_writer_are_read_by_band_name(name: str, folder: str, values: list[int]) -> None:
    image, label = read(name, FIXTURE / folder, "train").load(0)
    assert image[:, 0, 0].tolist() == values
    assert (image[:, 1] == image[:, :1, 0] + 1).all(), "rows and columns must not be swapped"
    present = np.flatnonzero(label).tolist() if name == "bigearthnet" else label
    assert present == {"so2sat": 16, "brick_kiln": 1, "forestnet": 11, "bigearthnet": [8, 12, 27]}[name]
    assert image.dtype == (np.uint8 if name == "forestnet" else np.float32)


def test_a_published_bigearthnet_label_names_what_is_there() -> None:
    """Image id_100699 is in eastern Belgium, and torchgeo-bench keeps its label: 8, 12, 27.

    In the order of CORINE, that of torchgeo today, they would be construction sites, irrigated land and maquis.
    """
    dataset = read("bigearthnet", FIXTURE / "m-bigearthnet", "train")
    _, label = dataset.load(0)
    named = [name for name, there in zip(dataset.sheet.classes, label, strict=True) if there]
    assert named == ["Complex cultivation patterns", "Discontinuous urban fabric", "Pastures"]
    assert dataset.sheet.bands.names == [
        "B01",
        "B02",
        "B03",
        "B04",
        "B05",
        "B06",
        "B07",
        "B08",
        "B8A",
        "B09",
        "B11",
        "B12",
    ]


@pytest.mark.parametrize(("name", "other"), [("bigearthnet", "m-so2sat"), ("so2sat", "m-bigearthnet")])
def test_labels_of_another_dataset_are_refused(name: str, other: str, tmp_path: Path) -> None:
    source = FIXTURE / {"bigearthnet": "m-bigearthnet", "so2sat": "m-so2sat"}[name]
    folder = copy(source, tmp_path / name)
    (theirs,) = (FIXTURE / other).glob("*.hdf5")
    dataset = read(name, folder, "train")
    with h5py.File(theirs) as file, h5py.File(dataset.path(0), "r+") as own:
        own.attrs["pickle"] = file.attrs["pickle"]
    with pytest.raises(DataError, match=r"expected (an integer label, found 43 numbers|one 0 or 1 for each)") as error:
        dataset.load(0)
    assert "\n" not in str(error.value)


def test_brick_kiln_as_published_keeps_thirteen_bands_in_stored_order() -> None:
    dataset = read("brick_kiln", FIXTURE / "m-brick-kiln", "train", AS_PUBLISHED["brick_kiln"])
    assert dataset.load(0)[0][:, 0, 0].tolist() == [10 * k for k in range(13)]
    assert dataset.sheet.bands.names[5:] == ["B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]


def test_burn_scars_validation_split_equals_scikit_learns() -> None:
    """Values of train_test_split(np.arange(n), test_size=0.1, random_state=23) of scikit-learn 1.9."""
    assert [sorted(validation_indices(n)) for n in (7, 10, 11, 17)] == [[6], [5], [5, 7], [0, 10]]
    assert sorted(validation_indices(540))[:5] == [19, 45, 46, 63, 64]
    assert len(validation_indices(540)) == 54
    assert len(validation_indices(541)) == 55


def test_burn_scars_nodata_is_zero_in_pixels_and_ignored_in_labels(raw: Path, tmp_path: Path) -> None:
    folder = copy(raw / "burn_scars", tmp_path / "burn_scars")
    dataset = read("burn_scars", folder, "train")
    image, mask = dataset.load(0)
    with rasterio.open(dataset.path(0), "r+") as file:
        pixels = file.read()
        pixels[:, 3, 3], pixels[0, 4, 4], pixels[1, 5, 5], pixels[2, 6, 6] = -9999, 9999, np.nan, np.inf
        file.write(pixels)
    changed, ignored = dataset.load(0)
    for row, channel in ((4, 0), (5, 1), (6, 2)):
        assert changed[channel, row, row] == 0
        assert ignored[row, row] == -1
    assert (changed[:, 3, 3] == 0).all()
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() < 10
    keep = np.ones((48, 48), bool)
    keep[[3, 4, 5, 6], [3, 4, 5, 6]] = False
    np.testing.assert_array_equal(ignored[keep], mask[keep])
    np.testing.assert_array_equal(changed[:, keep], image[:, keep])


def test_mados_bands_are_sorted_and_labels_shifted(raw: Path) -> None:
    dataset = read("mados", raw / "mados", "train")
    image, mask = dataset.load(0)
    scene, crop = dataset.ids[0].rsplit("_", 1)
    paths = sorted(
        (raw / "mados" / "MADOS" / scene).glob(f"*/*_rhorc_*_{crop}.tif"),
        key=lambda path: int(path.name.split("_")[-2]),
    )
    assert [path.parent.name for path in paths] == ["60", "10", "10", "10", "20", "20", "20", "10", "20", "20", "20"]
    for channel, path in enumerate(paths):
        with rasterio.open(path) as file:
            plane = np.nan_to_num(file.read(1))
        factor = 48 // len(plane)
        np.testing.assert_array_equal(image[channel, ::factor, ::factor], plane)
        np.testing.assert_array_equal(image[channel, factor - 1 :: factor, factor - 1 :: factor], plane)
    with rasterio.open(dataset.path(0)) as file:
        np.testing.assert_array_equal(mask, file.read(1).astype(int) - 1)
    assert (mask == -1).any()


def test_mados_nan_pixels_keep_their_label(raw: Path, tmp_path: Path) -> None:
    dataset = read("mados", copy(raw / "mados", tmp_path / "mados"), "val")
    before = dataset.load(0)[1]
    (path,) = [
        p for p in dataset.path(0).parent.glob("*_rhorc_492_*.tif") if p.name.endswith(dataset.path(0).name[-6:])
    ]
    with rasterio.open(path, "r+") as file:
        plane = file.read()
        plane[:, 7, 9] = np.nan
        file.write(plane)
    image, mask = dataset.load(0)
    assert image[1, 7, 9] == 0
    np.testing.assert_array_equal(mask, before)


def test_an_unknown_dataset_without_a_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"card\.yaml: missing; 'lakes' is none of so2sat"):
        read("lakes", tmp_path, "train")
    with pytest.raises(DataError, match="split must be train, val or test"):
        read("so2sat", tmp_path, "valid")


@needs_real
def test_real_brick_kiln_files_of_the_prerelease() -> None:
    folder = REAL / "geobench_m_brick_kiln_prerelease"
    dataset: RawDataset = read("brick_kiln", folder, "train")
    assert dataset.ids == ["examples_0_9", "examples_0_12", "examples_0_19", "examples_0_37", "examples_0_40"]
    assert [dataset.load(i)[1] for i in range(5)] == [0] * 5
    image = dataset.load(0)[0]
    assert image.shape == (10, 64, 64)
    with h5py.File(folder / "examples_0_9.hdf5") as file:
        for channel, stored in zip(image, DATASETS["brick_kiln"].stored_names, strict=True):
            np.testing.assert_array_equal(channel, file[stored][()].astype(np.float32))
        # the three stored bands that are left out are red, green and blue once more, in 8 bits
        for stored, channel in (("10 - SWIR - Cirrus", 3), ("11 - SWIR", 2), ("12 - SWIR", 1)):
            assert np.corrcoef(file[stored][()].ravel(), image[channel].ravel())[0, 1] > 0.99
