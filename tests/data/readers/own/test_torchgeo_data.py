"""A dataset of torchgeo becomes a dataset by its card: pixels and labels equal those that other libraries read."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from paths import REAL, needs_real
from tiny_store import tiny_spec
from torchgeo_files import (
    EIGHT_BIT,
    WRITERS,
    pixels,
    stored,
    write_bigearthnet,
    write_biomassters,
    write_card,
    write_clouds,
    write_eurosat,
    write_loveda,
    write_picture,
    write_so2sat,
)

from deflect.data.prepare import prepare
from deflect.data.readers import read, read_every, sheet_for
from deflect.data.store import Store
from deflect.errors import DataError
from deflect.training.run import train

#: torchgeo's splits that our train, val and test are of.
SPLITS = dict.fromkeys(WRITERS, ("train", "val", "test")) | {
    "CloudCoverDetection": ("train", "train", "test"),
    "LoveDA": ("train", "train", "val"),
    "TropicalCyclone": ("train", "train", "test"),
    "BioMassters": ("train", "train", "train"),
    "So2Sat": ("train", "validation", "test"),
}
RGB_8_BIT = ("LoveDA", "TropicalCyclone", "UCMerced")


def change(folder: Path, **keys: Any) -> None:
    """Change keys of the card; None removes one."""
    write_card(folder, **yaml.safe_load((folder / "card.yaml").read_text()) | keys)


@pytest.mark.parametrize("name", WRITERS)
def test_a_run_is_trained_on_what_other_libraries_read(name: str, tmp_path: Path) -> None:
    written = WRITERS[name](tmp_path / "raw")
    task = sheet_for("own", tmp_path / "raw").task
    card = prepare("own", tmp_path / "raw", tmp_path / "stores" / task)
    scale = 1 / 255 if name in RGB_8_BIT else 1 if name == "So2Sat" else 0.0001
    seen = []
    for split, theirs in zip(("train", "val", "test"), SPLITS[name], strict=True):
        part = Store(tmp_path / "stores" / task).split(split)
        images, labels = part.batch(list(range(len(part.ids))))
        for id_, image, label in zip(part.ids, images.numpy(), labels.numpy(), strict=True):
            pixels, expected = written[theirs][id_]
            np.testing.assert_allclose(image, pixels.astype(float) * scale, rtol=1e-5)
            np.testing.assert_array_equal(label, np.asarray(expected).astype(label.dtype))
            seen.append(id_)
    assert sorted(seen) == sorted(id_ for theirs in set(SPLITS[name]) for id_ in written[theirs])
    record = train(tiny_spec(tmp_path, task, epochs=1))
    assert (record["task"], record["classes"]) == (task, list(card.classes))
    assert np.isfinite(record["score"]["value"])


@needs_real
def test_real_eurosat(tmp_path: Path) -> None:
    """Published files in the published layout; vegetation is bright in the near infrared."""
    write_eurosat(tmp_path, per_class=0)
    for number, split in enumerate(("train", "val", "test"), 1):
        names = [f"{title}_{number}" for title in ("AnnualCrop", "Forest")]
        (tmp_path / f"eurosat-{split}.txt").write_text("".join(f"{name}.jpg\n" for name in names))
        for name in names:
            file = tmp_path / f"ds/images/remote_sensing/otherDatasets/sentinel_2/tif/{name.split('_')[0]}/{name}.tif"
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REAL / "eurosat_ms" / name.split("_")[0] / file.name, file)
    prepare("own", tmp_path, tmp_path / "store")
    train = Store(tmp_path / "store").split("train")
    images, labels = train.batch([0, 1])
    assert labels.tolist() == [0, 1]
    for id_, image in zip(train.ids, images.numpy(), strict=True):
        np.testing.assert_allclose(image, stored(tmp_path / id_) * 1e-4, rtol=1e-6)
    names = sheet_for("own", tmp_path).bands.names
    red, near_infrared, narrow = (images[1, names.index(name)].mean() for name in ("B04", "B08", "B8A"))
    assert near_infrared > 2 * red
    assert abs(narrow - near_infrared) < 0.2 * near_infrared


def test_another_process_opens_the_dataset_itself(tmp_path: Path) -> None:
    write_eurosat(tmp_path)
    dataset = read("own", tmp_path, "train")
    sent = pickle.dumps(dataset)
    assert b"torchgeo.datasets" not in sent
    np.testing.assert_array_equal(pickle.loads(sent).load(3)[0], dataset.load(3)[0])
    part = pickle.loads(pickle.dumps(dataset.part(1, len(dataset))))
    for index, name in enumerate(part.ids):
        np.testing.assert_array_equal(part.load(index)[0], dataset.load(dataset.ids.index(name))[0])


def test_offset_nodata_scales_and_bands_in_use(tmp_path: Path) -> None:
    written = write_so2sat(tmp_path)
    bands = yaml.safe_load((tmp_path / "card.yaml").read_text())["bands"]
    entries = [None if name == "B8A" else {"name": name, "scale": 1.0 + (name == "B04")} for name in bands]
    stored = written["train"]["train/1"][0]
    change(tmp_path, bands=entries, offset=-0.01, scale=None, use=["B04", "B03", "B02"], nodata=float(stored[2, 3, 4]))
    pixels, _, measured = read("own", tmp_path, "train").load_measured(1)
    expected = (stored[[2, 1, 0]] - 0.01) * np.array([2, 1, 1])[:, None, None]
    expected[0, 3, 4] = 0
    np.testing.assert_allclose(pixels, expected, rtol=1e-5, atol=1e-7)
    assert np.argwhere(~measured).tolist() == [[0, 3, 4]]
    change(tmp_path, bands=bands, offset=-0.01, scale=0.5, use=["B04", "B03", "B02"], nodata=None)
    pixels, _ = read("own", tmp_path, "train").load(1)
    np.testing.assert_allclose(pixels, stored[[2, 1, 0]] - 0.01, rtol=1e-5)


def test_labels_are_not_changed_by_reading_them(tmp_path: Path) -> None:
    """Some classes of torchgeo keep what they return, so a change in place would be there at the next reading."""
    write_loveda(tmp_path, nodata=100.0)
    dataset = read("own", tmp_path, "train")
    first, second = (dataset.load(0)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first == -1).any()


def test_torchgeos_classes_are_the_default(tmp_path: Path) -> None:
    write_eurosat(tmp_path)
    assert sheet_for("own", tmp_path).classes == ("AnnualCrop", "Forest")
    change(tmp_path, classes=["crops", "woods"])
    assert sheet_for("own", tmp_path).classes == ("crops", "woods")


def test_a_card_with_classes_is_planned_without_torchgeo(tmp_path: Path) -> None:
    write_eurosat(tmp_path, classes=["crops", "woods"])
    code = (
        "import sys; from pathlib import Path; from deflect.data.readers import sheet_for; "
        f"print(sheet_for('own', Path({str(tmp_path)!r})).classes, {{'torchgeo', 'torch'}} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "('crops', 'woods') set()\n"


def test_names_of_splits(tmp_path: Path) -> None:
    written = write_eurosat(tmp_path, splits={"train": "train", "val": "test", "test": "val"})
    assert set(read("own", tmp_path, "val").ids) == set(written["test"])
    assert set(read("own", tmp_path, "test").ids) == set(written["val"])


def test_random_splits_are_drawn_class_by_class(tmp_path: Path) -> None:
    drawn = {"seed": 0, "fractions": [0.5, 0.25, 0.25], "train": "val"}
    written = write_eurosat(tmp_path, per_class=4, splits=drawn)
    parts = read_every("own", tmp_path, sheet_for("own", tmp_path))
    found = {split: [written["val"][id_][1] for id_ in part.ids] for split, part in parts.items()}
    assert found == {"train": [0, 0, 1, 1], "val": [0, 1], "test": [0, 1]}
    assert {id_ for part in parts.values() for id_ in part.ids} == set(written["val"])


def test_a_class_without_splits(tmp_path: Path) -> None:
    drawn = {"seed": 0, "fractions": [0.5, 0.25, 0.25]}
    keys = EIGHT_BIT | {"torchgeo": "NonGeoClassificationDataset", "task": "classification", "splits": drawn}
    write_card(tmp_path, **keys)
    for number in range(8):
        write_picture(tmp_path / f"{'ab'[number % 2]}/{number}.png", pixels(number, 3, 16, "uint8"))
    dataset = read("own", tmp_path, "train")
    assert (len(dataset), sheet_for("own", tmp_path).classes) == (4, ("a", "b"))
    for index, name in enumerate(dataset.ids):
        image, label = dataset.load(index)
        np.testing.assert_array_equal(image, pixels(int(Path(name).stem), 3, 16, "uint8"))
        assert name.startswith("ab"[label])


def test_a_copy_in_another_split_of_torchgeo_is_refused(tmp_path: Path) -> None:
    write_so2sat(tmp_path)
    shutil.copy(tmp_path / "training.h5", tmp_path / "testing.h5")
    with pytest.raises(
        DataError, match=r"4 images of test are copies of images of train, e\.g\. 'test/0' of 'train/0'"
    ):
        prepare("own", tmp_path, tmp_path.parent / "store")


def test_a_changed_file_gives_another_store(tmp_path: Path) -> None:
    write_so2sat(tmp_path)
    before = read("own", tmp_path, "train").signature()
    (tmp_path / "validation.h5").touch()
    assert read("own", tmp_path, "train").signature() != before


def test_8_bits_with_a_scale_for_16_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_loveda(tmp_path, scale=0.0001)
    read("own", tmp_path, "train")
    assert "values to 249, which are dark at scale 0.0001; if they have 8 bits, the scale is 0.00392157" in caplog.text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"torchgeo": "eurosatt"}, r"torchgeo.datasets has no dataset 'eurosatt'; did you mean EuroSAT\?"),
        ({"torchgeo": "xyz"}, r"no dataset 'xyz'; its documentation lists them \(non-geospatial datasets\)"),
        ({"torchgeo": "NonGeoDataset"}, "no dataset 'NonGeoDataset'"),
        ({"torchgeo": "L8Biome"}, "L8Biome is a GeoDataset, which has places instead of images; cut its files into"),
        ({"arguments": {"band": ["B02"]}}, "unknown argument 'band' of EuroSAT; did you mean 'bands'?"),
        ({"arguments": {"root": "/"}}, "arguments: expected no root, which is the dataset's folder; remove it"),
        ({"arguments": {"split": "val"}}, "arguments: expected no split, which is given by splits; remove it"),
        ({"arguments": {"bands": ["B99"]}}, r"EuroSAT cannot be opened \(ValueError: 'B99' is an invalid band name"),
        ({"arguments": {"bands": ["B02"]}}, "expected 13 channels, as bands lists, found 1; correct bands, or arg"),
        ({"images": "{id}.tif"}, "images: describes files, which torchgeo's class finds itself; remove it"),
        ({"labels": "folders"}, "labels: describes files"),
        ({"stride": 8, "size": 8}, "stride: describes files"),
        ({"splits": {"seed": 0, "fractions": [0.5, 0.5]}}, r"splits: expected three fractions that add up to 1"),
        ({"splits": {"seed": 0, "fractions": [0.5, 0.25, 0.25], "block_km": 5}}, "splits: expected torchgeo, {train"),
        ({"splits": "folders"}, r"splits: expected torchgeo, \{train, val, test\} with torchgeo's names, or"),
        ({"splits": {"train": "train", "val": "nix", "test": "test"}}, r"cannot be opened \(AssertionError"),
        ({"scale": None}, r"scale: missing; add it \(write 1 if EuroSAT has reflectance\)"),
        ({"image": "picture"}, "task classification needs 'picture' in the sample, found image, label; correct"),
        (
            {"task": "segmentation"},
            r"found label of shape \(\) and type int64; it fits task classification or regression",
        ),
        ({"task": "multilabel"}, "needs one 0 or 1 per class, found label of shape"),
        ({"task": "regression", "classes": None}, "target: missing; add it"),
        ({"label_offset": 1}, "expected a label from 0 to 1, found -1"),
        ({"classes": ["only", "these", "two"], "target": "x"}, "target: expected classes alone"),
        ({"torchgeo": "PatternNet", "splits": "torchgeo"}, "splits: PatternNet of torchgeo has no splits; write {seed"),
        ({"torchgeo": "SKIPPD"}, r"AssertionError: .*\), with split='train'; for another name, see `splits` in docs"),
        (
            {"torchgeo": "LandCoverAI"},
            r"LandCoverAI, split 'train', does not find its files here; place them as its "
            r"documentation says, or add download: true to arguments in card\.yaml$",
        ),
        ({"torchgeo": "DFC2022"}, r"DFC2022, split 'train', does not find its files here; .* documentation says$"),
    ],
)
def test_errors_are_one_line(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_eurosat(tmp_path, **{"classes": ["crops", "woods"]} | keys)
    with pytest.raises(DataError, match=message) as caught:
        prepare("own", tmp_path, tmp_path.parent / "store")
    assert str(caught.value).startswith(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_samples_without_a_label_are_named(tmp_path: Path) -> None:
    write_loveda(tmp_path, splits="torchgeo")
    with pytest.raises(DataError, match=r"Test/Rural/images_png/8\.png: task segmentation needs 'label' in the sample, "
                                        "found image; correct task, image, label or splits"):  # fmt: skip
        prepare("own", tmp_path, tmp_path.parent / "store")


def test_a_damaged_file_is_named_by_its_sample(tmp_path: Path) -> None:
    write_clouds(tmp_path)
    (tmp_path / "test/test_features/c100/B03.tif").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"CloudCoverDetection\(split='test'\)\[0\]: torchgeo cannot read the sample"):
        read("own", tmp_path, "test").load(0)


def test_classes_that_torchgeo_does_not_state_have_to_be_given(tmp_path: Path) -> None:
    write_bigearthnet(tmp_path, classes=None)
    with pytest.raises(DataError, match=r"classes: missing; add them \(BigEarthNet of torchgeo states no names\)"):
        sheet_for("own", tmp_path)
    change(tmp_path, classes=["sea", "forest"])
    with pytest.raises(DataError, match="one 0 or 1 for each of 2 classes, found shape"):
        read("own", tmp_path, "train").load(0)


def test_a_label_of_another_type_is_refused(tmp_path: Path) -> None:
    write_clouds(tmp_path, ignore=None, label_offset=1)
    with pytest.raises(
        DataError, match="expected classes from 1 in the mask, found 0; if it means no label, set ignore"
    ):
        read("own", tmp_path, "train").load(0)
    change(tmp_path, label_offset=0)
    with pytest.raises(DataError, match="expected classes 0 to 1 in the mask, found 255"):
        read("own", tmp_path, "train").load(0)
    change(tmp_path, task="classification", classes=["clear", "cloud"], label="mask", label_offset=0)
    with pytest.raises(DataError, match=r"found mask of shape \(16, 16\) and type int64; it fits task segmentation or"):
        read("own", tmp_path, "train").load(0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"arguments": {"sensors": ["S2"], "as_time_series": True}},
            r"found shape \(1, 11, 16, 16\); a time series is not",
        ),
        (
            {"image": "image"},
            "needs 'image' in the sample, found image_S2, label; correct task, image, label or splits",
        ),
        (
            {"task": "segmentation", "classes": ["a", "b"], "target": None},
            r"per pixel, found \d+\.\d+; it fits task pixel",
        ),
        (
            {"task": "regression"},
            r"needs a number, found label of shape \(16, 16\) and type float32; it fits task",
        ),
        (
            {"bands": ["B02", "B03", "B04"]},
            "expected 3 channels, as bands lists, found 11; correct bands, or arguments",
        ),
        ({"size": 20}, "16 x 16 pixels; crop it, or set size: 16 or less"),
        ({"splits": "torchgeo"}, r"Please choose one of the valid splits: .*, with split='val'; for another name, see"),
        ({"splits": {"seed": 0, "fractions": [0.5, 0.5], "test": "train"}}, "train and test share 4 images"),
    ],
)
def test_samples_that_do_not_fit_are_one_line(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_biomassters(tmp_path, **keys)
    with pytest.raises(DataError, match=message) as caught:
        prepare("own", tmp_path, tmp_path.parent / "store")
    assert str(caught.value).startswith(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    write_loveda(tmp_path, size=8)
    for path in tmp_path.glob("Train/*/masks_png/*.png"):
        write_picture(path, np.ones((24, 24), np.uint8))
    with pytest.raises(DataError, match=r"png: image of \(16, 16\) pixels but mask of \(24, 24\)"):
        read("own", tmp_path, "train").load(0)
