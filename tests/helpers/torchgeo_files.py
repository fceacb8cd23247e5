"""Writes small files in the layouts that classes of torchgeo read, and reads them without torchgeo.

Each function writes a dataset with its card and returns the image and label of every sample by split of torchgeo and
id, as rasterio, h5py or Pillow read them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
import yaml
from own_data import write_tiff
from PIL import Image

#: Image and label of each sample, by split of torchgeo and id.
Written = dict[str, dict[str, tuple[np.ndarray, Any]]]
SENTINEL2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
RGB = [
    {"name": name, "role": name[0].upper(), "wavelength": wavelength, "width": 70, "gsd": 0.3}
    for name, wavelength in (("red", 660), ("green", 560), ("blue", 480))
]
EIGHT_BIT = {"sensor": "camera", "bands": RGB, "scale": 1 / 255}


def write_card(folder: Path, **keys: Any) -> None:
    """Keys that are None are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    card = {"sensor": "sentinel2", "scale": 0.0001, "gsd": 10} | keys
    text = yaml.safe_dump({key: value for key, value in card.items() if value is not None}, sort_keys=False)
    (folder / "card.yaml").write_text(text)


def pixels(number: int, bands: int, size: int, dtype: str = "uint16") -> np.ndarray:
    """Different for every number."""
    low, high = (20, 250) if dtype == "uint8" else (300, 4000)
    return np.random.default_rng(number).integers(low, high, (bands, size, size)).astype(dtype)


def stored(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def picture(path: Path) -> np.ndarray:
    return np.moveaxis(np.array(Image.open(path).convert("RGB")), -1, 0)


def write_picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.moveaxis(image, 0, -1) if image.ndim == 3 else image).save(path)


def write_eurosat(folder: Path, per_class: int = 2, **keys: Any) -> Written:
    """A folder per class, a list of each split's files, which says .jpg for .tif; 13 channels with B8A last."""
    bands = [*SENTINEL2[:8], "B09", "B10", "B11", "B12", "B8A"]
    write_card(folder, **{"torchgeo": "EuroSAT", "task": "classification", "bands": bands} | keys)
    found: Written = {}
    numbers = count()
    for split in ("train", "val", "test"):
        names, found[split] = [], {}
        for label, title in enumerate(("AnnualCrop", "Forest")):
            for _ in range(per_class):
                name = f"{title}_{(number := next(numbers))}"
                path = folder / f"ds/images/remote_sensing/otherDatasets/sentinel_2/tif/{title}/{name}.tif"
                write_tiff(path, pixels(number, 13, 16))
                names.append(f"{name}.jpg")
                found[split][path.relative_to(folder).as_posix()] = stored(path), label
        (folder / f"eurosat-{split}.txt").write_text("\n".join(names))
    return found


def write_clouds(folder: Path, **keys: Any) -> Written:
    """A file per band in a folder per chip, and masks; a table of chips for train and test."""
    drawn = {"seed": 0, "fractions": [0.6, 0.4], "test": "test"}
    given = {"torchgeo": "CloudCoverDetection", "task": "segmentation", "bands": ["B02", "B03", "B04", "B08"]}
    write_card(folder, **given | {"classes": ["clear", "cloud"], "splits": drawn, "ignore": 255} | keys)
    found: Written = {}
    for start, (split, n) in zip((0, 100), {"train": 5, "test": 2}.items(), strict=True):
        base, found[split] = folder / split, {}
        for number in range(start, start + n):
            image = pixels(number, 4, 16)
            mask = np.random.default_rng(number).integers(0, 2, (1, 16, 16)).astype(np.uint8)
            mask[0, 3, 4] = 255
            for band, plane in zip(("B02", "B03", "B04", "B08"), image, strict=True):
                write_tiff(base / f"{split}_features/c{number}/{band}.tif", plane[None])
            write_tiff(base / f"{split}_labels/c{number}.tif", mask)
            files = [base / f"{split}_features/c{number}/{band}.tif" for band in ("B02", "B03", "B04", "B08")]
            labels = stored(base / f"{split}_labels/c{number}.tif")[0].astype(int)
            image = np.concatenate([stored(file) for file in files])
            found[split][f"{split}/{number - start}"] = image, np.where(labels == 255, -1, labels)
        rows = [f"c{number}" for number in range(start, start + n)]
        (base / f"{split}_metadata.csv").write_text("\n".join(["chip_id", *rows]) + "\n")
    return found


def write_loveda(folder: Path, **keys: Any) -> Written:
    """Pictures of towns and fields, 0 in masks means no data and classes start at 1; images of test have no masks."""
    classes = ["background", "building", "road", "water", "barren", "forest", "agriculture"]
    given = {"torchgeo": "LoveDA", "task": "segmentation", "classes": classes, "ignore": 0, "label_offset": 1}
    drawn = {"seed": 0, "fractions": [0.75, 0.25], "test": "val"}
    write_card(folder, **EIGHT_BIT | given | {"gsd": 0.3, "splits": drawn} | keys)
    found: Written = {}
    numbers = count()
    for split in ("train", "val", "test"):
        found[split] = {}
        for scene in ("Rural", "Urban"):  # in the order of paths
            for _ in range(2):
                image = folder / f"{split.title()}/{scene}/images_png/{next(numbers)}.png"
                number = int(image.stem)
                write_picture(image, pixels(number, 3, 16, "uint8"))
                mask = Path(str(image).replace("images_png", "masks_png"))
                if split != "test":
                    write_picture(mask, np.random.default_rng(number).integers(0, 8, (16, 16)).astype(np.uint8))
                    labels = np.array(Image.open(mask)).astype(int) - 1
                    found[split][image.relative_to(folder).as_posix()] = picture(image), labels
    return found


def write_bigearthnet(folder: Path, **keys: Any) -> Written:
    """A folder per patch with a file per band, of three pixel sizes, and a JSON file of labels; lists of patches."""
    titles = {"Sea and ocean": 18, "Coniferous forest": 9, "Mixed forest": 10}  # of 43 names to 19 classes
    given = {"torchgeo": "BigEarthNet", "arguments": {"bands": "s2"}, "task": "multilabel", "bands": SENTINEL2}
    write_card(folder, **given | {"classes": [f"class {k}" for k in range(19)], "size": 16} | keys)
    found: Written = {}
    numbers = count()
    for split in ("train", "val", "test"):
        rows, found[split] = [], {}
        for row in range(3):
            number = next(numbers)
            name, present = f"S2A_{number}", list(titles)[: 1 + number % 3]
            rows.append(f"{name},S1A_{number}")
            base = folder / "BigEarthNet-v1.0" / name
            for band, plane in zip(SENTINEL2, pixels(number, 12, 120), strict=True):
                write_tiff(base / f"{name}_{band}.tif", plane[None])
            (base / f"{name}_labels_metadata.json").write_text(json.dumps({"labels": present}))
            label = np.isin(np.arange(19), [titles[title] for title in present]).astype(int)
            image = np.concatenate([stored(base / f"{name}_{band}.tif") for band in SENTINEL2])
            found[split][f"{split}/{row}"] = image[:, 52:68, 52:68], label
        (folder / f"bigearthnet-{split}.csv").write_text("\n".join(rows) + "\n")
    return found


def write_cyclone(folder: Path, **keys: Any) -> Written:
    """JPEG pictures of 366 pixels and a table of wind speeds; the splits are train and test."""
    given = {"torchgeo": "TropicalCyclone", "task": "regression", "target": "wind speed (kn)", "size": 16, "gsd": 4000}
    drawn = {"seed": 0, "fractions": [0.5, 0.5], "test": "test"}
    write_card(folder, **EIGHT_BIT | given | {"splits": drawn} | keys)
    found: Written = {}
    for start, (split, table) in zip((0, 100), {"train": "training_set", "test": "test_set"}.items(), strict=True):
        features, labels, found[split] = ["Image ID,Storm ID,Relative Time,Ocean"], ["Image ID,Wind Speed"], {}
        for number in range(start, start + 4):
            path = folder / split / f"abs_{number:03d}.jpg"
            write_picture(path, pixels(number, 3, 366, "uint8"))
            features.append(f"{path.stem},abs,{number},1")
            labels.append(f"{path.stem},{30 + number}")
            found[split][f"{split}/{number - start}"] = picture(path)[:, 175:191, 175:191], 30 + number
        (folder / f"{table}_features.csv").write_text("\n".join(features) + "\n")
        (folder / f"{table}_labels.csv").write_text("\n".join(labels) + "\n")
    return found


def write_biomassters(folder: Path, **keys: Any) -> Written:
    """A file per chip, satellite and month, and a map of biomass per chip of train; no key is called image or mask."""
    bands = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", None]
    given = {"torchgeo": "BioMassters", "arguments": {"sensors": ["S2"]}, "image": "image_S2", "bands": bands}
    given |= {"task": "pixel_regression", "target": "biomass (t/ha)", "ignore": -1}
    write_card(folder, **given | {"splits": {"seed": 0, "fractions": [0.5, 0.25, 0.25]}} | keys)
    (folder / "test_features").mkdir(parents=True)
    rows: list[tuple[str, ...]] = [("chip_id", "filename", "satellite", "split", "month", "corresponding_agbm")]
    found: Written = {"train": {}}
    for number in range(8):
        image, target = folder / f"train_features/{number:04d}_S2_00.tif", folder / f"train_agbm/{number:04d}_agbm.tif"
        biomass = np.random.default_rng(number).uniform(0, 300, (1, 16, 16)).astype(np.float32)
        biomass[0, 2, 3] = -1
        write_tiff(image, pixels(number, 11, 16))
        write_tiff(target, biomass)
        rows.append((f"{number:04d}", image.name, "S2", "train", "September", target.name))
        labels = np.where(stored(target)[0] == -1, np.nan, stored(target)[0])
        found["train"][f"train/{number}"] = stored(image)[:10], labels
    with open(folder / "biomassters_features_metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return found


def write_so2sat(folder: Path, **keys: Any) -> Written:
    """An HDF5 file per split with radar, reflectance and one of 17 classes, channels last; no split is called val."""
    bands = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    arguments = {"bands": [f"S2_{name}" for name in bands]}
    given = {"torchgeo": "So2Sat", "arguments": arguments, "task": "classification", "bands": bands, "scale": 1}
    write_card(folder, **given | keys)
    found: Written = {}
    for split, name in {"train": "training", "validation": "validation", "test": "testing"}.items():
        rng = np.random.default_rng(len(split))
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["sen1"] = rng.normal(size=(4, 32, 32, 8))
            file["sen2"] = rng.uniform(0.02, 0.5, (4, 32, 32, 10))
            file["label"] = np.eye(17)[rng.integers(0, 17, 4)]
        with h5py.File(folder / f"{name}.h5") as file:
            images, labels = file["sen2"][()].transpose(0, 3, 1, 2).astype(np.float32), file["label"][()].argmax(1)
        pairs = zip(images, labels, strict=True)
        found[split] = {f"{split}/{row}": pair for row, pair in enumerate(pairs)}
    return found


def write_ucmerced(folder: Path, **keys: Any) -> Written:
    """Pictures of 8 bits in a folder per class, and a list of the names of each split; the class states its classes."""
    write_card(folder, **EIGHT_BIT | {"torchgeo": "UCMerced", "task": "classification", "gsd": 0.3} | keys)
    found: Written = {}
    numbers = count()
    for split in ("train", "val", "test"):
        names, found[split] = [], {}
        for label, title in enumerate(("agricultural", "airplane")):
            path = folder / f"UCMerced_LandUse/Images/{title}/{title}{(number := next(numbers)):02d}.tif"
            write_picture(path, pixels(number, 3, 256, "uint8"))
            names.append(path.name)
            found[split][path.relative_to(folder).as_posix()] = picture(path), label
        (folder / f"uc_merced-{split}.txt").write_text("\n".join(names))
    return found


WRITERS: dict[str, Callable[..., Written]] = {
    "EuroSAT": write_eurosat,
    "CloudCoverDetection": write_clouds,
    "LoveDA": write_loveda,
    "BigEarthNet": write_bigearthnet,
    "TropicalCyclone": write_cyclone,
    "BioMassters": write_biomassters,
    "So2Sat": write_so2sat,
    "UCMerced": write_ucmerced,
}
