"""Every layout of docs/your_own_dataset.md is read as it was written, and trains to a record."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from labelled_folders import Written
from layouts import LAYOUTS
from own_data import CARD
from own_vit import TIMM, own_study, save_half, trained
from paths import ROOT

from deflect.data.prepare import prepare
from deflect.data.store import Store, StoreCard
from deflect.gfms.own import convert_own
from deflect.settings import METRICS, PIXEL_TASKS
from deflect.trained.model import TrainedModel, load_run
from deflect.trained.opening import Files
from deflect.training import grid
from deflect.training.run import train

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
            np.testing.assert_array_equal(label, expected_label(reflectance, truth).astype(label.dtype), err_msg=name)
    assert of.keys() == written.samples.keys()
    assert written.splits in ({}, of)
    for group in set(written.groups.values()):
        assert len({of[name] for name, other in written.groups.items() if other == group}) == 1, group
    train = np.stack([written.samples[name][0] for name, split in of.items() if split == "train"])
    np.testing.assert_allclose(card.statistics.mean, np.nanmean(train, (0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(card.statistics.std, np.nanstd(train, (0, 2, 3)), rtol=1e-3)


def described(folder: Path) -> str:
    """What the card has beyond that of class folders or, with masks, `ignore` 255; long values are left out."""
    card = yaml.safe_load((folder / "card.yaml").read_text())
    usual = CARD | ({"task": "segmentation", "ignore": 255} if card["labels"] == "masks" else {})
    texts = []
    for key in dict.fromkeys((*card, *usual)):
        value = card.get(key)
        if value == usual.get(key):
            continue
        if key == "splits" and "seed" in value:
            value = {name: option for name, option in value.items() if name not in ("seed", "fractions")}
        text = yaml.safe_dump({key: value}, default_flow_style=True, width=1000, sort_keys=False).strip()[1:-1]
        texts.append(f"no `{key}`" if value is None else f"`{text}`" if len(text) <= 64 else f"`{key}`")
    return ", ".join(texts) or "nothing"


def table() -> dict[str, str]:
    """The layouts of the page and what it says of their cards."""
    page = (ROOT / "docs/your_own_dataset.md").read_text().partition("## Every layout that is tested")[2]
    rows = [line.strip("| ").split(" | ") for line in page.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return {name: keys for name, keys, *_ in rows if name != "layout"}


def test_the_page_has_every_layout() -> None:
    assert list(table()) == list(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_and_labels_are_those_that_were_written(layout: str, tmp_path: Path) -> None:
    written = LAYOUTS[layout](tmp_path / "raw")
    card = prepare("own", tmp_path / "raw", tmp_path / "store")
    compare(written, card, Store(tmp_path / "store"))
    assert described(tmp_path / "raw") == table()[layout]


#: Layouts whose runs are quick tests as well: files of several bands, masks of colours, units of their own per band.
QUICK = ("files of several bands at 20 m", "palette, PNG", "scale, offset, type and nodata per band")
TRAINING = {"image_size": 32, "epochs": 1, "checkpoint_every": 0, "calibration_images": 8, "upernet_channels": 8}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the weights of a study with one GFM."""
    folder = tmp_path_factory.mktemp("weights")
    save_half(trained(TIMM), folder / "mine.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = own_study("mine.safetensors").study
        convert_own("my_vit", study.own_gfms["my_vit"], study.gfm_weights("my_vit"))
    return folder


def run(layout: str, folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Written, dict[str, Any]]:
    """A study in ``folder`` with the layout as its only dataset, from raw files to the record."""
    monkeypatch.chdir(folder)
    shutil.copytree(weights, folder, dirs_exist_ok=True)
    name = re.sub("[^a-z0-9]+", "_", layout.lower())
    written = LAYOUTS[layout](Path("data/raw") / name)
    training = dict.fromkeys(("classification", "segmentation"), TRAINING)
    config = own_study(
        "mine.safetensors", datasets=[name], gfms=["my_vit"], methods=["deflect"], seeds=[0], training=training
    )
    prepare(name, config.study.raw(name), config.study.prepared(name))
    (spec,) = grid.grid(config, {}, "cpu", 1)
    return written, train(spec)


#: Layouts whose files a trained model opens as they are -> the path of an image; one per band with {band} or {word}.
OPENED = dict.fromkeys(
    (
        "class folders", "13 channels of floats", "8 bits", "16 bits with a sign", "scale and offset tags",
        "scale and offset tags that differ", "nodata tag", "several nodata values", "internal mask",
        "mask in a file .msk", "transparency", "degrees", "LERC with zstd",
    ),
    "{name}.tif",
) | dict.fromkeys(
    ("table", "masks", "several classes in a cell", "a number per image", "a number per pixel with NaN"),
    "images/{name}.tif",
) | {
    "JPEG 2000": "{name}.jp2",
    "PNG": "{name}.png",
    "PNG with transparency": "{name}.png",
    "a file per band": "{name}_{band}.tif",
    "scale, offset, type and nodata per band": "{title}/{word}/{index}.tif",
}  # fmt: skip
WORDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}


def files_of(layout: str, raw: Path, name: str) -> Files:
    title, _, index = name.rpartition("/")
    paths = {
        band: raw / OPENED[layout].format(name=name, title=title, index=index, band=band, word=word)
        for band, word in WORDS.items()
    }
    return paths if len(set(paths.values())) > 1 else paths["B02"]


def predicted(model: TrainedModel, files: list[Files], folder: Path) -> np.ndarray:
    """What the trained model writes of files: a map, or a row of a table, of each."""
    if model.images.task in PIXEL_TASKS:
        maps = [model.predict_scene(scene, folder / f"{number}.tif") for number, scene in enumerate(files)]
        return np.stack([rasterio.open(path).read(1) for path in maps])
    with open(model.label_files(files, folder / "table.csv"), newline="") as file:
        return np.array([[float(row[name]) for name in model.images.classes] for row in csv.DictReader(file)])


@pytest.mark.parametrize(
    "layout", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in LAYOUTS]
)
def test_a_study_trains_to_a_record(
    layout: str, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps and tables of raw files have the predictions of the run's test, thus the same units."""
    written, record = run(layout, tmp_path, weights, monkeypatch)
    images = record["images"]
    assert record["dataset"] == images["name"] == Path(record["paths"]["store"]).name
    assert record["bands"] == written.bands
    np.testing.assert_allclose(images["scale"], written.scale, rtol=1e-9)
    np.testing.assert_allclose(images["offset"], written.offset, rtol=1e-9)
    assert (tuple(images["nodata"]), images["gsd"]) == (written.nodata, written.gsd)
    assert record["score"]["metric"] == METRICS[record["task"]]
    assert np.isfinite(record["score"]["value"])
    if layout in OPENED:
        out = Path("results/mini/runs") / record["dataset"] / "my_vit/deflect/seed0"
        tested = np.load(out / "predictions.npz")
        prefix, key = ("sample_", "predictions") if record["task"] in PIXEL_TASKS else ("", "probabilities")
        key = "predictions" if record["task"] == "regression" else key
        files = [files_of(layout, Path("data/raw") / record["dataset"], name) for name in tested[f"{prefix}ids"]]
        found, expected = predicted(load_run(out), files, tmp_path), tested[prefix + key].astype(float)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-3)
