"""Bad input is never accepted silently: each kind gives one line with the file and what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from own_data import image, write_card, write_folders, write_masks, write_table, write_tiff

from deflect.data.catalog import DATASETS
from deflect.data.prepare import prepare
from deflect.errors import DeflectError


def copy_of_a_training_image(folder: Path) -> None:
    with h5py.File(folder / "id_0000.hdf5") as source, h5py.File(folder / "id_0008.hdf5", "r+") as target:
        for key in source:
            target[key][...] = source[key][()]


def partition(folder: Path, change: Callable[[dict[str, list[str]]], object]) -> None:
    path = folder / "default_partition.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def h5(folder: Path, change: Callable[[h5py.File], object], name: str = "id_0001") -> None:
    with h5py.File(folder / f"{name}.hdf5", "r+") as file:
        change(file)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def reshape_band(file: h5py.File) -> None:
    del file["03 - Green"]
    file["03 - Green"] = np.zeros((16, 16), np.float32)


def relabel(old: str, new: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        text = file.attrs["pickle"]
        changed = re.sub(old, new, text, count=1)
        assert changed != text
        file.attrs["pickle"] = changed

    return change


def tiff(folder: Path, pattern: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrite the first GeoTIFF that fits."""
    path = sorted(folder.glob(pattern))[0]
    with rasterio.open(path) as file:
        pixels, grid = file.read(), {"crs": file.crs, "transform": file.transform}
    write_tiff(path, change(pixels), **grid)


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def fill(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: np.full_like(pixels, value)


def huge(index: int) -> np.ndarray:
    """Reflectance with one pixel of a common nodata value."""
    pixels = image(index, size=64).astype(np.float32) * np.float32(1e-4)
    pixels[0, 0, 0] = -3.4028235e38
    return pixels


LABEL = r"label\\x94K\\x.."
BAD: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    # name: (dataset, change, what the message names, what else it contains)
    "no partition": ("so2sat", lambda f: (f / "default_partition.json").unlink(), "default_partition.json", "fetch"),
    "partition no JSON": ("so2sat", lambda f: cut(f / "default_partition.json"), "default_partition.json", "JSON"),
    "partition lacks valid": ("so2sat", lambda f: partition(f, lambda p: p.pop("valid")), "'valid'", "fetch"),
    "empty split": ("so2sat", lambda f: partition(f, lambda p: p["test"].clear()), "split test", "no images"),
    "sample missing": ("so2sat", lambda f: (f / "id_0001.hdf5").unlink(), "id_0001.hdf5", "no such file"),
    "HDF5 cut short": ("so2sat", lambda f: cut(f / "id_0001.hdf5"), "id_0001.hdf5", "damaged or cut short"),
    "band missing": ("so2sat", lambda f: h5(f, lambda x: x.pop("02 - Blue")), "id_0001.hdf5", "no band '02 - Blue'"),
    "band too many": (
        "so2sat",
        lambda f: h5(f, lambda x: x.create_dataset("09 - Water vapour", data=np.zeros((32, 32)))),
        "id_0001.hdf5",
        "unknown band '09 - Water vapour'",
    ),
    "band of other shape": ("so2sat", lambda f: h5(f, reshape_band), "id_0001.hdf5", "'03 - Green' has shape (16, 16)"),
    "no label": ("so2sat", lambda f: h5(f, lambda x: x.attrs.pop("pickle")), "id_0001.hdf5", "expected text"),
    "float label": (
        "so2sat",
        lambda f: h5(f, relabel(LABEL, r"label\\x94G?\\xf0\\x00\\x00\\x00\\x00\\x00\\x00")),
        "id_0001.hdf5",
        "no integer and no row",
    ),
    "label out of range": ("so2sat", lambda f: h5(f, relabel(LABEL, r"label\\x94K\\x11")), "id_0001.hdf5", "0 to 16"),
    "id twice": (
        "so2sat",
        lambda f: partition(f, lambda p: p["train"].append("id_0000")),
        "'id_0000'",
        "more than once",
    ),
    "id in two splits": (
        "so2sat",
        lambda f: partition(f, lambda p: p["test"].append("id_0000")),
        "'id_0000'",
        "correct",
    ),
    "copy in another split": ("so2sat", copy_of_a_training_image, "'id_0008' of 'id_0000'", "remove them"),
    "image without mask": ("burn_scars", lambda f: first(f, "training/*.mask.tif").unlink(), "_merged.tif", "fetch"),
    "mask without image": ("burn_scars", lambda f: first(f, "training/*_merged.tif").unlink(), ".mask.tif", "fetch"),
    "mask of other shape": (
        "burn_scars",
        lambda f: tiff(f, "validation/*.mask.tif", lambda p: p[:, :24]),
        ".mask.tif",
        "mask of (24, 48)",
    ),
    "mask value unknown": ("burn_scars", lambda f: tiff(f, "validation/*.mask.tif", fill(7)), ".mask.tif", "found 7"),
    "mask of floats": (
        "burn_scars",
        lambda f: tiff(f, "validation/*.mask.tif", lambda p: p.astype(np.float32)),
        ".mask.tif",
        "whole numbers",
    ),
    "image all nodata": (
        "burn_scars",
        lambda f: tiff(f, "validation/*_merged.tif", fill(-9999)),
        "_merged.tif",
        "remove the image",
    ),
    "TIFF cut short": ("burn_scars", lambda f: cut(first(f, "validation/*_merged.tif")), "_merged.tif", "cut short"),
    "TIFF with five bands": (
        "burn_scars",
        lambda f: tiff(f, "validation/*_merged.tif", lambda p: p[:5]),
        "_merged.tif",
        "6 bands",
    ),
    "no split file": ("mados", lambda f: (f / "MADOS/splits/val_X.txt").unlink(), "val_X.txt", "missing split file"),
    "scene missing": ("mados", lambda f: shutil.rmtree(f / "MADOS/Scene_0"), "Scene_0", "fetch"),
    "band file missing": ("mados", lambda f: first(f, "MADOS/Scene_0/20/*_1.tif").unlink(), "Scene_0", "no file near"),
    "coarse band of other shape": (
        "mados",
        lambda f: tiff(f, "MADOS/Scene_0/60/*_1.tif", lambda p: p[:, :5]),
        "Scene_0",
        "do not fit",
    ),
    "unknown class folder": (
        "folders",
        lambda f: write_tiff(f / "water/a.tif", image(9)),
        "water",
        "rename the folder or add the class",
    ),
    "empty class folder": ("folders", lambda f: shutil.rmtree(f / "forest"), "forest", "put them there"),
    "unequal sizes": (
        "folders",
        lambda f: write_tiff(f / "field/field_3.tif", image(3, 24)),
        "field_3.tif",
        "crop it",
    ),
    "not square": (
        "folders",
        lambda f: write_tiff(f / "field/field_3.tif", image(3)[:, :8]),
        "field_3.tif",
        "8 x 16 pixels; crop it, or set size: 8 or less in card.yaml",
    ),
    "smaller than the card's size": (
        "folders",
        lambda f: write_card(f, size=17),
        "field",
        "16 x 16 pixels; crop it, or set size: 16 or less",
    ),
    "channel too many": (
        "folders",
        lambda f: write_tiff(f / "field/field_3.tif", image(3, bands=5)),
        "field_3.tif",
        "lists 4 bands, the file has 5",
    ),
    "not a TIFF": (
        "folders",
        lambda f: (f / "field/field_3.tif").write_text("<html>"),
        "field_3.tif",
        "place the file",
    ),
    "scale too large": ("folders", lambda f: write_card(f, scale=0.01), "B0", "correct scale, offset or nodata"),
    "scale too small": ("folders", lambda f: write_card(f, scale=1e-8), "raw", "correct the scale"),
    "band constant": (
        "folders",
        lambda f: [
            write_tiff(p, np.concatenate([image(i)[:3], np.full((1, 16, 16), 500, np.uint16)]))
            for i, p in enumerate(sorted(f.glob("*/*.tif")))
        ],
        "B08",
        "leave the band out",
    ),
    "a file with integers of 32 bits": (
        "folders",
        lambda f: write_tiff(f / "field/field_3.tif", image(3).astype(np.int32)),
        "field_3.tif",
        "store all files in one type",
    ),
    "row without image": ("table", lambda f: (f / "images/tile_3.tif").unlink(), "tile_3", "add the image or remove"),
    "image without row": (
        "table",
        lambda f: write_tiff(f / "images/more.tif", image(99)),
        "(more)",
        "add their labels",
    ),
    "table without column": (
        "table",
        lambda f: (f / "labels.csv").write_text("image,label\ntile_0,field\n"),
        "labels.csv",
        "image, label, split",
    ),
    "float in the table": (
        "table",
        lambda f: (f / "labels.csv").write_text((f / "labels.csv").read_text().replace("forest", "1.0")),
        "labels.csv: tile_1",
        "'1.0'",
    ),
    "number beyond the classes": (
        "table",
        lambda f: (f / "labels.csv").write_text((f / "labels.csv").read_text().replace("forest", "2")),
        "labels.csv: tile_1",
        "from 0 to 1",
    ),
    "table not in UTF-8": (
        "table",
        lambda f: (f / "labels.csv").write_bytes("image,label,split\ntile_0,forêt,train\n".encode("latin-1")),
        "labels.csv",
        "save it as UTF-8",
    ),
    "value for nodata not given": (
        "folders",
        lambda f: [write_tiff(p, huge(i)) for i, p in enumerate(sorted(f.glob("*/*.tif")))] and write_card(f, scale=1),
        "band B02",
        "set nodata to the value",
    ),
    "no table": ("table", lambda f: (f / "labels.csv").unlink(), "labels.csv", "add the file"),
    "own mask without image": (
        "masks",
        lambda f: (f / "images/tile_2.tif").unlink(),
        "tile_2.tif",
        "1 masks without image",
    ),
    "own mask shifted": (
        "masks",
        lambda f: write_tiff(f / "masks/tile_2.tif", np.zeros((1, 16, 16), np.uint8), crs="EPSG:32633"),
        "tile_2.tif",
        "warp the mask",
    ),
    "unknown id in a split file": (
        "masks",
        lambda f: (f / "val.txt").write_text("tile_2\ntile_77\n"),
        "val.txt",
        "1 names without an image ('tile_77')",
    ),
    "no card": ("masks", lambda f: (f / "card.yaml").unlink(), "card.yaml", "describe it"),
}
OWN = {"folders": write_folders, "table": write_table, "masks": write_masks}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_with_the_file_and_what_to_do(raw: Path, tmp_path: Path, name: str) -> None:
    dataset, change, named, advice = BAD[name]
    folder = tmp_path / "raw"
    if dataset in OWN:
        OWN[dataset](folder)
    else:
        shutil.copytree(raw / dataset, folder)
    change(folder)
    with pytest.raises(DeflectError) as error:
        prepare(dataset if dataset in DATASETS else "own", folder, tmp_path / "store")
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    assert named in message
    assert advice in message
    assert not (tmp_path / "store").exists()
