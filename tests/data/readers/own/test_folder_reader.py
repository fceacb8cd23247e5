"""A user's own GeoTIFFs are read as described by the card, by band name, with stable splits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from own_data import BANDS, CARD, image, write_card, write_folders, write_masks, write_table, write_tiff
from paths import REAL, ROOT, needs_real

from deflect.data.prepare import prepare
from deflect.data.readers import read, sheet_for
from deflect.data.readers.own.card import OwnCard
from deflect.data.store import Store
from deflect.errors import DataError

EUROSAT_BANDS = [f"B{i:02d}" for i in range(1, 13)] + ["B8A"]


def test_class_folders_give_labels_and_ids(tmp_path: Path) -> None:
    write_folders(tmp_path)
    found = {}
    for split, size in (("train", 8), ("val", 4), ("test", 4)):
        dataset = read("own", tmp_path, split)
        assert len(dataset) == size
        for index, name in enumerate(dataset.ids):
            pixels, label = dataset.load(index)
            title, stem = name.split("/")
            assert label == CARD["classes"].index(title)
            np.testing.assert_array_equal(pixels, image(100 * label + int(stem.split("_")[1])))
            found[name] = split
    assert len(found) == 16


def test_random_splits_are_by_class_and_stay_when_an_image_is_added(tmp_path: Path) -> None:
    write_folders(tmp_path)
    before = {split: set(read("own", tmp_path, split).ids) for split in ("train", "val", "test")}
    assert sum(name.startswith("field/") for name in before["train"]) == 4
    write_tiff(tmp_path / "forest" / "forest_99.tif", image(999))
    after = {split: set(read("own", tmp_path, split).ids) for split in ("train", "val", "test")}
    field = {split: {name for name in names if name.startswith("field/")} for split, names in before.items()}
    assert all(field[split] <= after[split] for split in before)
    write_card(tmp_path, splits={"seed": 1, "fractions": [0.5, 0.25, 0.25]})
    assert set(read("own", tmp_path, "train").ids) != after["train"]


def test_table_of_labels_and_splits(tmp_path: Path) -> None:
    write_table(tmp_path)
    assert read("own", tmp_path, "val").ids == ["tile_2", "tile_6"]
    dataset = read("own", tmp_path, "test")
    assert [dataset.load(i)[1] for i in range(2)] == [1, 1]
    table = (tmp_path / "labels.csv").read_text().replace("field", "0").replace("forest", "1")
    (tmp_path / "labels.csv").write_text(table)
    assert [read("own", tmp_path, "test").load(i)[1] for i in range(2)] == [1, 1]


def test_lists_as_windows_writes_them(tmp_path: Path) -> None:
    write_table(tmp_path)
    for path in sorted((tmp_path / "images").iterdir()):
        path.rename(path.with_suffix(".TIF"))
    table = (tmp_path / "labels.csv").read_text().replace(".tif", ".TIF").replace("\n", "\r\n")
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    assert read("own", tmp_path, "val").ids == ["tile_2", "tile_6"]


def test_classes_named_by_numbers_are_never_counted_from_zero(tmp_path: Path) -> None:
    write_table(tmp_path, classes=["1", "2"])
    table = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(table.replace("field", "1").replace("forest", "2"))
    assert [read("own", tmp_path, "test").load(i)[1] for i in range(2)] == [1, 1]
    (tmp_path / "labels.csv").write_text(table.replace("field", "0").replace("forest", "1"))
    with pytest.raises(DataError, match="tile_0: label must be a class"):
        read("own", tmp_path, "test")


def test_masks_with_ignored_value_and_nodata(tmp_path: Path) -> None:
    write_masks(tmp_path)
    dataset = read("own", tmp_path, "train")
    assert dataset.ids == ["tile_0", "tile_1", "tile_4", "tile_5"]
    pixels, mask = dataset.load(0)
    assert pixels.dtype == np.uint16
    assert mask[5, 5] == -1, "the card's ignore value"
    assert mask[0, 0] == -1, "a pixel without data in one band"
    assert set(np.unique(mask)) == {-1, 0, 1}


def test_bands_are_selected_by_name(tmp_path: Path) -> None:
    write_folders(tmp_path, use=["B08", "B04", "B03", "B02"])
    dataset = read("own", tmp_path, "train")
    assert dataset.sheet.bands.names == ["B08", "B04", "B03", "B02"]
    label = CARD["classes"].index(dataset.ids[0].split("/")[0])
    number = 100 * label + int(dataset.ids[0].split("_")[1])
    np.testing.assert_array_equal(dataset.load(0)[0], image(number)[[3, 2, 1, 0]])


def test_offset_is_added_before_scale_and_leaves_nodata_zero(tmp_path: Path) -> None:
    write_folders(tmp_path, offset=-1000, nodata=0)
    dataset = read("own", tmp_path, "train")
    pixels = dataset.load(0)[0]
    path = dataset.path(0)
    raw = np.array(pixels) + 1000
    raw[2, 1, 1] = 0
    write_tiff(path, raw.astype(np.uint16))
    changed = dataset.load(0)[0]
    assert changed.dtype == np.float32
    assert changed[2, 1, 1] == 0
    changed[2, 1, 1] = pixels[2, 1, 1]
    np.testing.assert_array_equal(changed, pixels)


def test_a_sensor_with_all_facts_of_its_bands(tmp_path: Path) -> None:
    facts = [("blue", "B", 490), ("green", "G", 565), ("red", "R", 665), ("nir", "N", 865)]
    bands = [{"name": n, "role": r, "wavelength": w, "width": 40, "gsd": 3} for n, r, w in facts]
    write_folders(tmp_path, sensor="planetscope", bands=bands, gsd=3)
    assert read("own", tmp_path, "test").sheet.bands.rgb == (2, 1, 0)


def test_band_names_in_the_file_must_agree_with_the_card(tmp_path: Path) -> None:
    write_folders(tmp_path)
    dataset = read("own", tmp_path, "train")
    write_tiff(dataset.path(0), image(0), names=BANDS)
    dataset.load(0)
    write_tiff(dataset.path(0), image(0), names=["blue", "green", "red", "nir"])
    dataset.load(0)
    write_tiff(dataset.path(0), image(0), names=["B4", "B3", "B2", "B8"])  # as Earth Engine writes them
    with pytest.raises(DataError, match="the file names its bands B4, B3, B2, B8, "):
        dataset.load(0)
    write_tiff(dataset.path(0), image(0), names=["B04", "B03", "B02", "B08"])
    with pytest.raises(DataError, match="the file names its bands B04, B03, B02, B08, "):
        dataset.load(0)


def test_the_card_of_the_documentation_is_valid_and_own_data_is_real_in_every_study(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "your_own_dataset.md").read_text()
    write_folders(tmp_path / "raw")
    (tmp_path / "raw" / "card.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    card = prepare("fields", tmp_path / "raw", tmp_path / "store", simulated=True)
    assert not card.simulated
    assert [card.splits[split]["n"] for split in ("train", "val", "test")] == [10, 2, 4]
    for field in OwnCard.model_fields:
        assert f"| `{field}` |" in page, f"the page does not explain {field}"


WRONG_CARDS = {
    "misspelt": ({"clases": ["a", "b"]}, "unknown key 'clases'; did you mean 'classes'"),
    "missing": ({"scale": None}, "scale: missing; add it"),
    "task": ({"task": "detection"}, "task: unknown value 'detection'; known: classification, segmentation, multilabel"),
    "scale": ({"scale": "1e-4"}, "scale: expected a valid number, found '1e-4'"),
    "gsd": ({"gsd": -10}, "gsd: expected greater than 0, found -10"),
    "unknown band": ({"bands": ["B02", "B20"]}, "no band 'B20'; this set has B01"),
    "band twice": ({"bands": ["B02", "B02"]}, "occurs more than once"),
    "unknown sensor": (
        {"sensor": "sentinel3"},
        "sensor 'sentinel3' is not one of sentinel2, landsat7, landsat8, hls_s30",
    ),
    "band fact": ({"bands": [{"name": "x", "roll": "B"}]}, "bands: .*'roll'"),
    "use": ({"use": ["B11"]}, "use: .*no band 'B11'"),
    "no red": ({"use": ["B02", "B03", "B08"]}, "use: sentinel2: no red band among B02, B03, B08"),
    "one class": ({"classes": ["a"]}, "classes: expected a list of two or more different names"),
    "equal classes": ({"classes": ["a", "a"]}, "classes: expected a list of two or more different names"),
    "labels": ({"labels": "masks"}, r"labels: expected folders or the name of a \.csv file"),
    "fractions": ({"splits": {"seed": 0, "fractions": [0.8, 0.3, 0.1]}}, "expected three fractions that add up to 1"),
    "seed": ({"splits": {"seed": "x", "fractions": [0.5, 0.25, 0.25]}}, "splits: expected a whole number as seed"),
    "splits": ({"splits": {"train": "a", "validation": "b", "test": "c"}}, "splits: expected {seed, fractions}, or"),
    "column": ({"splits": "column"}, "splits: expected {seed, fractions}, or"),
    "nodata": ({"nodata": "none"}, "nodata: expected a valid number or a valid list, found 'none'"),
    "ignore": ({"ignore": 2.5}, "ignore: expected a whole number, or a colour as .* found 2.5"),
    "exponent": ({"nodata": "-3.4e38"}, r"found '-3.4e38' \(YAML takes 1e-4 for text: write 1.0e-4"),
    "task list": ({"task": ["segmentation"]}, "task: unknown value ..segmentation.."),
    "split lists": (
        {"splits": {"train": ["a"], "val": ["b"], "test": ["c"]}},
        "splits: expected {seed, fractions}, or",
    ),
    "role": (
        {"bands": [{"name": "nir", "role": "NIR", "wavelength": 865, "width": 40, "gsd": 3}]},
        "nir: role must be one of A, B, G, .* found 'NIR'",
    ),
    "band numbers": (
        {"bands": [{"name": "nir", "role": "N", "wavelength": "865", "width": 40, "gsd": 3}]},
        "nir: wavelength, width and gsd must be numbers",
    ),
    "classes of masks": (
        {"task": "segmentation", "labels": "masks", "classes": [f"c{i}" for i in range(150)]},
        "classes: expected at most 128 with masks, found 150",
    ),
}


@pytest.mark.parametrize("name", WRONG_CARDS)
def test_an_error_in_a_card_is_one_line_with_the_key(tmp_path: Path, name: str) -> None:
    changes, message = WRONG_CARDS[name]
    write_card(tmp_path, **changes)
    with pytest.raises(DataError, match=r"card\.yaml: .*" + message) as error:
        sheet_for("own", tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["task: [", "- a\n- b", "", "task: classification\n\ttabs: 1"])
def test_a_card_that_is_not_a_mapping(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(DataError, match=r"card\.yaml: (cannot be read as YAML|expected keys and values)") as error:
        sheet_for("own", tmp_path)
    assert "\n" not in str(error.value)


def test_size_crops_the_middle_of_images_and_masks(tmp_path: Path) -> None:
    write_card(tmp_path, task="segmentation", labels="masks", size=8)
    for index, (height, width) in enumerate([(8, 8), (12, 9), (9, 15), (20, 20)]):
        pixels = np.zeros((4, height, width), np.uint16) + 500
        mask = np.zeros((1, height, width), np.uint8)
        mask[0, (height - 8) // 2, (width - 8) // 2] = 1  # the corner of the middle
        write_tiff(tmp_path / f"images/{index}.tif", pixels + 100 * mask)
        write_tiff(tmp_path / f"masks/{index}.tif", mask)
    for split, n in (("train", 2), ("val", 1), ("test", 1)):
        dataset = read("own", tmp_path, split)
        assert len(dataset) == n
        for index in range(n):
            image, label = dataset.load(index)
            assert image.shape == (4, 8, 8)
            assert np.argwhere(label == 1).tolist() == [[0, 0]]
            assert np.argwhere(image[0] == 600).tolist() == [[0, 0]]


@needs_real
def test_real_eurosat_images_by_class_folder(tmp_path: Path) -> None:
    shutil.copytree(REAL / "eurosat_ms", tmp_path / "raw")
    classes = sorted(path.name for path in (tmp_path / "raw").iterdir())
    files = sorted(f"{path.parent.name}/{path.stem}" for path in (tmp_path / "raw").glob("*/*.tif"))
    lines = {"train": files[2:], "val": files[:1], "test": files[1:2]}
    for split, names in lines.items():
        (tmp_path / "raw" / f"{split}.txt").write_text("\n".join(names))
    splits = {split: f"{split}.txt" for split in lines}
    write_card(tmp_path / "raw", bands=EUROSAT_BANDS, classes=classes, splits=splits)
    card = prepare("eurosat", tmp_path / "raw", tmp_path / "store")
    mean = dict(zip(card.bands.names, card.statistics.mean, strict=True))
    # the files put B8A last; a wrong order would give water vapour or cirrus the reflectance of vegetation
    assert mean["B10"] < 0.01 < mean["B09"] < mean["B8A"]
    assert 0.7 < mean["B8A"] / mean["B08"] < 1.4
    images, labels = Store(tmp_path / "store").split("train").batch(range(len(files) - 2))
    assert labels.tolist() == [classes.index(name.split("/")[0]) for name in files[2:]]
    assert 0 < images.min() < images.max() < 2


@needs_real
def test_real_bigearthnet_images_by_table(tmp_path: Path) -> None:
    source = REAL / "bigearthnet_s2"
    facts = json.loads((source / "labels.json").read_text())
    names = sorted(path.stem for path in source.glob("*.tif"))
    classes = sorted({facts[name]["labels"][0] for name in names})
    (tmp_path / "raw" / "images").mkdir(parents=True)
    rows = ["image,label,split"]
    for index, name in enumerate(names):
        copy = shutil.copy(source / f"{name}.tif", tmp_path / "raw" / "images")
        with rasterio.open(copy, "r+") as file:  # these copies state 60 m, of another band
            file.transform = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
        rows.append(f'{name},"{facts[name]["labels"][0]}",{("train", "train", "val", "test")[index % 4]}')
    (tmp_path / "raw" / "labels.csv").write_text("\n".join(rows))
    bands = [name for name in sorted(EUROSAT_BANDS) if name != "B10"]
    bands.insert(8, bands.pop(bands.index("B8A")))
    write_card(tmp_path / "raw", bands=bands, classes=classes, labels="labels.csv", splits="column")
    card = prepare("ben", tmp_path / "raw", tmp_path / "store")
    assert card.image_size == 120
    assert sum(facts["n"] for facts in card.splits.values()) == len(names)
    mean = dict(zip(card.bands.names, card.statistics.mean, strict=True))
    assert mean["B04"] < mean["B08"]
    assert 0.8 < mean["B8A"] / mean["B08"] < 1.3


def test_nodata_is_the_files_unless_the_card_has_another(tmp_path: Path) -> None:
    write_folders(tmp_path)
    pixels = image(0)
    pixels[:, 3, 4] = 7
    write_tiff(tmp_path / "field/field_0.tif", pixels, nodata=7)
    write_tiff(tmp_path / "forest/forest_0.tif", image(100), nodata=9999)  # a value that no pixel has
    missing = {}
    for split in ("train", "val", "test"):
        dataset = read("own", tmp_path, split)
        missing |= {name: (~dataset.load_measured(row)[2]).sum() for row, name in enumerate(dataset.ids)}
    assert missing == dict.fromkeys(missing, 0) | {"field/field_0": len(BANDS)}
    write_card(tmp_path, nodata=8)
    every = [read("own", tmp_path, split) for split in ("train", "val", "test")]
    with pytest.raises(DataError, match="the file says nodata is 7 and has such pixels"):
        _ = [dataset.load(index) for dataset in every for index in range(len(dataset))]
    write_card(tmp_path, nodata=[7, 8])
    every = [read("own", tmp_path, split) for split in ("train", "val", "test")]
    _ = [dataset.load(index) for dataset in every for index in range(len(dataset))]


def test_hidden_files_are_skipped_and_images_in_no_split_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_masks(tmp_path)
    (tmp_path / "images/._tile_0.tif").write_bytes(b"left by macOS")
    (tmp_path / "val.txt").write_text("tile_2\n")
    assert read("own", tmp_path, "train").ids == ["tile_0", "tile_1", "tile_4", "tile_5"]
    assert read("own", tmp_path, "val").ids == ["tile_2"]
    assert caplog.text.count("1 images are in no split, e.g. tile_6") == 1
