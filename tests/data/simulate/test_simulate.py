"""The simulator writes the published layouts exactly, including their irregularities, and always the same bytes."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
import tifffile
from paths import FIXTURES, REAL

from deflect.data.simulate import bigearthnet, brick_kiln, chance, forestnet, mados, simulate, so2sat
from deflect.errors import ConfigError
from deflect.settings.reading import read
from deflect.settings.simulation import SimulationSize

FIXTURE = FIXTURES / "geobench"
SIZES = {
    "so2sat": SimulationSize(train=17, val=3, test=4, pixels=32),
    "brick_kiln": SimulationSize(train=6, val=2, test=2, pixels=64),
    "forestnet": SimulationSize(train=12, val=2, test=3, pixels=48),
    "burn_scars": SimulationSize(train=9, val=3, test=4, pixels=48),
    "mados": SimulationSize(train=22, val=11, test=11, pixels=48),
    "bigearthnet": SimulationSize(train=10, val=2, test=3, pixels=48),
}
GEOBENCH = {"so2sat": so2sat, "brick_kiln": brick_kiln, "forestnet": forestnet, "bigearthnet": bigearthnet}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    for dataset, size in SIZES.items():
        simulate(dataset, root / dataset, size, seed=0)
    return root


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("dataset", SIZES)
def test_same_seed_same_bytes_other_seed_other_pixels(raw: Path, tmp_path: Path, dataset: str) -> None:
    simulate(dataset, tmp_path / "again", SIZES[dataset], seed=0)
    simulate(dataset, tmp_path / "other", SIZES[dataset], seed=1)
    written = digest(raw / dataset)
    assert digest(tmp_path / "again") == written
    other = digest(tmp_path / "other")
    pixels = [name for name in written if re.search(r"hdf5$|merged.tif$|rhorc", name)]
    assert pixels
    assert not [name for name in pixels if other.get(name) == written[name]]


def test_a_sample_does_not_depend_on_how_many_there_are(raw: Path, tmp_path: Path) -> None:
    simulate("so2sat", tmp_path / "few", SimulationSize(train=2, val=1, test=1, pixels=32), seed=0)
    few, many = digest(tmp_path / "few"), digest(raw / "so2sat")
    assert few["id_0001.hdf5"] == many["id_0001.hdf5"]


def test_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can simulate so2sat"):
        simulate("eurosat", tmp_path / "x", SIZES["so2sat"], 0)
    with pytest.raises(ConfigError, match="divisible by 6"):
        simulate("mados", tmp_path / "x", SimulationSize(train=1, val=1, test=1, pixels=64), 0)
    with pytest.raises(ConfigError, match=r"sizes\.val: expected greater than or equal to 1, found 0"):
        read(SimulationSize, {"train": 1, "val": 0, "test": 1, "pixels": 64}, "sizes")
    assert not (tmp_path / "x").exists()


def test_replaces_simulated_data_but_never_real_data(tmp_path: Path) -> None:
    real = tmp_path / "so2sat"
    real.mkdir()
    (real / "id_0000.hdf5").write_bytes(b"a download")
    with pytest.raises(ConfigError, match="not simulated"):
        simulate("so2sat", real, SimulationSize(train=1, val=1, test=1, pixels=32), 0)
    assert (real / "id_0000.hdf5").read_bytes() == b"a download"
    (real / "id_0000.hdf5").unlink()
    simulate("so2sat", real, SimulationSize(train=2, val=1, test=1, pixels=32), 0)
    simulate("so2sat", real, SimulationSize(train=1, val=1, test=1, pixels=32), 0)
    assert len(list(real.glob("*.hdf5"))) == 3
    assert "never" in json.loads((real / "SIMULATED.json").read_text())["note"]


# --- GEO-Bench -------------------------------------------------------------------------------------------------------


class WithoutGeobench(pickle.Unpickler):
    """Objects of GEO-Bench's classes get empty classes of the same names; `make geobench-check` has the real ones."""

    def find_class(self, module: str, name: str) -> Any:
        return (
            type(name, (), {"__module__": module})
            if module.startswith("geobench")
            else super().find_class(module, name)
        )


def record_of(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    with h5py.File(path) as file:
        assert list(file.attrs) == ["pickle"]
        text = file.attrs["pickle"]
        assert isinstance(text, str)
        bands = {key: data[()] for key, data in file.items()}
    return bands, WithoutGeobench(io.BytesIO(ast.literal_eval(text))).load()


def described(value: Any) -> Any:
    """What a value is made of: classes, keys and texts, without the numbers."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if kind.startswith("geobench"):
        return kind, described(vars(value))
    if isinstance(value, dict):
        return {key: described(part) for key, part in value.items()}
    return value if isinstance(value, (str, tuple)) and kind.startswith("builtins") else kind


@pytest.mark.parametrize("dataset", GEOBENCH)
def test_pickles_are_made_of_the_classes_and_keys_that_geobench_writes(raw: Path, dataset: str) -> None:
    """The fixtures were written by the package itself."""
    name = GEOBENCH[dataset].NAME
    (published,) = (FIXTURE / name).glob("*.hdf5")
    theirs = record_of(published)[1]
    ours = record_of(min((raw / dataset).glob("*.hdf5")))[1]
    assert len(ours) == len(theirs)
    assert np.asarray(ours["label"]).shape == np.asarray(theirs["label"]).shape
    for key, expected in zip(ours["bands_order"], theirs["bands_order"], strict=True):
        assert key.split("_")[0] == expected.split("_")[0]
        found, wanted = described(ours[key]), described(theirs[expected])
        wanted["meta_info"] = found["meta_info"]  # ForestNet's, of which the fixture has one entry
        assert found == wanted
    with open(raw / dataset / "task_specs.pkl", "rb") as file:
        task = WithoutGeobench(file).load()
    assert described(task)[0] == "geobench.task.TaskSpecifications"
    assert [band.name for band in task.bands_info] == [key.split("_")[0] for key in ours["bands_order"]]
    assert task.label_type.n_classes == GEOBENCH[dataset].CLASSES
    assert task.patch_size == (SIZES[dataset].pixels,) * 2


@pytest.mark.parametrize(
    ("dataset", "bands", "dtype", "classes"),
    [("so2sat", 18, "float32", 17), ("brick_kiln", 13, "float64", 2), ("forestnet", 6, "uint8", 12)],
)
def test_geobench_layout(raw: Path, dataset: str, bands: int, dtype: str, classes: int) -> None:
    folder, size = raw / dataset, SIZES[dataset]
    partition = json.loads((folder / "default_partition.json").read_text())
    assert {split: len(ids) for split, ids in partition.items()} == {
        "train": size.train,
        "valid": size.val,
        "test": size.test,
    }
    ids = [name for names in partition.values() for name in names]
    assert {f"{name}.hdf5" for name in ids} == {path.name for path in folder.glob("*.hdf5")}
    assert len(set(ids)) == len(ids)
    assert json.loads((folder / "1.00x_train_partition.json").read_text()) == partition

    labels = {}
    for name in ids:
        arrays, record = record_of(folder / f"{name}.hdf5")
        labels[name] = record["label"]
        assert len(arrays) == bands
        assert {(a.dtype.name, a.shape) for a in arrays.values()} == {(dtype, (size.pixels, size.pixels))}
        assert next(iter(record)) == "label"
        assert list(record)[-1] == "bands_order"
        assert list(record)[1:-1] == record["bands_order"]
        assert set(record["bands_order"]) == set(arrays)
    assert {labels[name] for name in partition["train"]} == set(range(min(classes, size.train)))

    stats = json.loads((folder / "band_stats.json").read_text())
    assert set(stats) == {band.name for band in GEOBENCH[dataset].STORED} | {"label"}
    assert {"min", "max", "mean", "std", "median", "percentile_0_1", "percentile_99_9"} <= set(stats["label"])
    label_map = folder / "label_map.json"
    assert label_map.exists() == (dataset != "so2sat")
    if label_map.exists():
        found = {name: int(label) for label, names in json.loads(label_map.read_text()).items() for name in names}
        assert found == labels


def test_bigearthnet_layout(raw: Path) -> None:
    """Every cover is a class; the labels are in each file and, the same, in label_stats.json."""
    folder = raw / "bigearthnet"
    stats = json.loads((folder / "label_stats.json").read_text())
    assert len(stats) == 15
    for name, label in stats.items():
        arrays, record = record_of(folder / f"{name}.hdf5")
        assert record["label"].dtype == np.int64
        assert record["label"].tolist() == label
        assert len(label) == 43
        assert 1 <= sum(label) <= 4
        assert list(arrays) == record["bands_order"] == [band.name for band in bigearthnet.STORED]
        assert {(a.dtype.name, a.shape) for a in arrays.values()} == {("float32", (48, 48))}
        assert all((a == a.round()).all() and a.min() >= 1 for a in arrays.values())
    counts = np.array(list(stats.values())).sum(axis=0)
    assert set(np.flatnonzero(counts)) == set(bigearthnet.COVERS)
    pickled = ast.literal_eval(h5py.File(folder / "id_0000.hdf5").attrs["pickle"])
    assert b"numpy.core.multiarray" in pickled, "the name that NumPy 1 and 2 can load"
    assert b"numpy._core" not in pickled
    assert b"MultiLabelClassification" in (folder / "task_specs.pkl").read_bytes()


def test_so2sat_names_radar_first(raw: Path) -> None:
    bands, record = record_of(raw / "so2sat/id_0000.hdf5")
    assert record["bands_order"][:2] == ["01 - VH.Real", "02 - VH.Imaginary"]
    assert record["bands_order"][7:9] == ["08 - VV.LEE Filtered.Imaginary", "02 - Blue"]
    assert bands["06 - VV.LEE Filtered"].min() >= 0
    assert 0 < bands["08 - NIR"].min() <= bands["08 - NIR"].max() < 2.8


def brick_kiln_bands(folder: Path) -> dict[str, np.ndarray]:
    files = [h5py.File(path) for path in sorted(folder.glob("*.hdf5"))]
    return {key: np.stack([file[key][()] for file in files]).ravel() for key in files[0]}


@pytest.mark.parametrize("source", ["simulated", "real"])
def test_brick_kiln_names_are_wrong_as_published(raw: Path, source: str) -> None:
    folder = raw / "brick_kiln" if source == "simulated" else REAL / "geobench_m_brick_kiln_prerelease"
    if not folder.is_dir():
        pytest.skip("real samples are not here")
    bands = brick_kiln_bands(folder)

    def alike(first: str, second: str) -> float:
        return float(np.corrcoef(bands[first], bands[second])[0, 1])

    near, called_8a, called_9 = "08 - NIR", "08A - Vegetation Red Edge", "09 - Water vapour"
    assert alike("07 - Vegetation Red Edge", near) > 0.9, "07 holds B8A"
    assert alike("06 - Vegetation Red Edge", near) > 0.9, "06 holds B7"
    assert alike(called_8a, near) < 0.7, "08A holds B11, not B8A"
    assert alike(called_8a, called_9) > 0.85, "09 holds B12"
    for colour, eight_bit in (
        ("04 - Red", "10 - SWIR - Cirrus"),
        ("03 - Green", "11 - SWIR"),
        ("02 - Blue", "12 - SWIR"),
    ):
        expected = np.clip(bands[colour] / brick_kiln.TRUE_COLOUR, 0, 255)
        assert np.abs(bands[eight_bit] - expected).mean() < 1, "the last three are 8-bit true colour"
        assert bands[eight_bit].max() <= 255
    assert (bands[near] * 2 % 1 == 0).all(), "numbers are multiples of 0.5"
    assert 1000 < bands[near].mean() < 4000


def test_forestnet_dates_and_fading(raw: Path) -> None:
    for path in (raw / "forestnet").glob("*.hdf5"):
        bands, record = record_of(path)
        lat, lon, date = re.fullmatch(r"(-?\d+\.\d+)_(\d+\.\d+)_(\d{4}_\d{2}_\d{2})\.hdf5", path.name).groups()
        assert -9 <= float(lat) <= 5
        assert 96 <= float(lon) <= 140
        iso = date.replace("_", "-")
        assert record["bands_order"][0] == f"04 - Red_{iso}"
        assert set(bands) == set(record["bands_order"])
        assert record[f"05 - NIR_{iso}"]["date"].isoformat() == iso
        assert record[f"05 - NIR_{iso}"]["meta_info"]["forest_loss_region"].startswith("POLYGON ((")
    sample = forestnet.sample(chance(0, "x"), 0, 0, 64)
    corner = sample.data[:, 0, 0]
    assert corner.min() >= 255 - 192, "a quarter of white outside the polygon"
    assert sample.data[:3].min() < 40, "none inside"


# --- segmentation ----------------------------------------------------------------------------------------------------


def test_burn_scars_layout(raw: Path) -> None:
    folder = raw / "burn_scars"
    pattern = r"subsetted_512x512_HLS\.S30\.T\d{2}[A-Z]{3}\.(20\d{5})\.v1\.4_merged\.tif"
    missing = 0
    for part, count in (("training", 12), ("validation", 4)):
        images = sorted((folder / part).glob("*_merged.tif"))
        masks = sorted((folder / part).glob("*.mask.tif"))
        assert len(images) == len(masks) == count
        for image_path, mask_path in zip(images, masks, strict=True):
            assert re.fullmatch(pattern, image_path.name)
            assert mask_path.name == image_path.name.replace("_merged.tif", ".mask.tif")
            with rasterio.open(image_path) as image_file, rasterio.open(mask_path) as mask_file:
                image, mask = image_file.read(), mask_file.read(1)
                assert image_file.crs == mask_file.crs
                assert image_file.crs.is_projected
                assert image_file.res == (30, 30)
                assert image_file.nodata == -9999
            assert tifffile.imread(image_path).shape == (48, 48, 6), "pixel-interleaved, as published"
            assert (image.dtype, mask.dtype) == (np.float32, np.int16)
            gone = (image == -9999).all(axis=0)
            assert ((mask == -1) == gone).all()
            assert image[:, ~gone].min() > 0
            assert {0, 1} <= set(np.unique(mask)) <= {-1, 0, 1}
            missing += gone.any()
    assert missing, "some scenes must have missing pixels"


def test_mados_layout(raw: Path) -> None:
    root = raw / "mados/MADOS"
    crops = {split: (root / f"splits/{split}_X.txt").read_text().split() for split in ("train", "val", "test")}
    assert [len(lines) for lines in crops.values()] == [22, 11, 11]
    scenes = [{line.rsplit("_", 1)[0] for line in lines} for lines in crops.values()]
    assert not scenes[0] & scenes[1] | scenes[0] & scenes[2] | scenes[1] & scenes[2]
    satellites, holes, negative, labelled = set(), 0, 0, []
    for split, lines in crops.items():
        seen: set[int] = set()
        for line in lines:
            scene, crop = line.rsplit("_", 1)
            labels = tifffile.imread(root / scene / f"10/{scene}_L2R_cl_{crop}.tif")
            assert (labels.dtype, labels.shape) == (np.uint8, (48, 48))
            found = []
            for gsd in (10, 20, 60):
                for path in (root / scene / str(gsd)).glob(f"{scene}_L2R_rhorc_*_{crop}.tif"):
                    band = tifffile.imread(path)
                    assert (band.dtype, band.shape) == (np.float32, (480 // gsd, 480 // gsd))
                    found.append(int(path.name.split("_")[-2]))
                    holes += np.isnan(band).any()
                    negative += np.nanmin(band) < 0
            satellites.add(tuple(sorted(found)))
            assert (root / scene / f"10/{scene}_L2R_conf_{crop}.tif").is_file()
            assert (root / scene / f"10/{scene}_L2R_rep_{crop}.tif").is_file()
            seen |= set(np.unique(labels))
            labelled.append((labels > 0).mean())
        assert seen == set(range(16)), f"every class occurs in {split}"
    assert satellites == set(mados.WAVELENGTHS.values())
    assert holes
    assert negative
    assert 0.1 < np.mean(labelled) < 0.7, "labels are sparse"
