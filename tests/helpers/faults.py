"""Small datasets of a user's own with one fault each, for tests of what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from own_data import BANDS, CARD, image, write_card, write_folders, write_masks, write_tiff
from rasterio.shutil import copy

Fault = Callable[[Path], object]
DRAWN: dict[str, Any] = {"seed": 0, "fractions": [0.5, 0.25, 0.25]}


def card(**changes: Any) -> Fault:
    """Images in class folders and a wrong card."""
    return lambda folder: write_folders(folder, per_class=4, **changes)


def mask_card(**changes: Any) -> Fault:
    def write(folder: Path) -> None:
        write_masks(folder, n=4)
        write_card(folder, **MASKS | changes)

    return write


MASKS: dict[str, Any] = {"task": "segmentation", "labels": "masks", "ignore": 255, "nodata": 0, "splits": DRAWN}


def names(pattern: str, **changes: Any) -> Fault:
    return card(images=pattern, **changes)


def then(write: Fault, change: Fault) -> Fault:
    def both(folder: Path) -> None:
        write(folder)
        change(folder)

    return both


def bands(change: Fault = lambda folder: None, **changes: Any) -> Fault:
    """Each band in a file of its own."""

    def write(folder: Path) -> None:
        write_card(folder, images="{class}/{id}_{band}.tif", **changes)
        for label, title in enumerate(CARD["classes"]):
            for index in range(4):
                for number, band in enumerate(BANDS):
                    write_tiff(folder / title / f"{index}_{band}.tif", image(100 * label + index)[number : number + 1])
        change(folder)

    return write


def first(change: Callable[[Path], object]) -> Fault:
    """Change the first image of each class, so that one is read whatever the splits."""
    return then(card(), lambda folder: [change(folder / f"{title}/{title}_0.tif") for title in CARD["classes"]])


def tiff(pixels: np.ndarray, **stated: Any) -> Fault:
    return first(lambda path: write_tiff(path, pixels, **stated))


def mask(pixels: np.ndarray, stated: dict[str, Any] | None = None, **changes: Any) -> Fault:
    """The first mask has other pixels (C, H, W)."""
    return then(mask_card(**changes), lambda folder: [
        write_tiff(path, pixels, **(stated or {})) for path in sorted((folder / "masks").iterdir())
    ])  # fmt: skip


def table(text: str, **changes: Any) -> Fault:
    """Four images a, b, c and d with a table."""

    def write(folder: Path) -> None:
        write_card(folder, **{"labels": "labels.csv", "splits": DRAWN} | changes)
        for index, name in enumerate("abcd"):
            write_tiff(folder / f"images/{name}.tif", image(index))
        (folder / "labels.csv").write_text(text)

    return write


REGRESSION = {"task": "regression", "classes": None, "target": "biomass (t/ha)"}
MULTILABEL = {"task": "multilabel"}


def rows(*labels: str, head: str = "image,label") -> str:
    return "\n".join([head, *(f"{name},{label}" for name, label in zip("abcd", labels, strict=True))])


def cut_short(path: Path) -> None:
    write_tiff(path, image(0, 64))
    path.write_bytes(path.read_bytes()[:9000])


def convert(path: Path, pixels: np.ndarray, driver: str, ending: str) -> Path:
    write_tiff(path, pixels)
    copy(path, path.with_suffix(ending), driver=driver)
    path.unlink()
    return path.with_suffix(ending)


def jpeg2000(folder: Path, damage: Callable[[Path], object]) -> None:
    write_card(folder, images="{class}/{id}.jp2")
    for label, title in enumerate(CARD["classes"]):
        for index in range(4):
            path = convert(folder / title / f"{index}.tif", image(100 * label + index, 64), "JP2OpenJPEG", ".jp2")
            if index == 0:
                damage(path)


def two_pages(path: Path) -> None:
    write_tiff(path, image(0))
    write_tiff(path, image(1), APPEND_SUBDATASET="YES")


def virtual(path: Path) -> None:
    path.write_text(
        '<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="UInt16" band="1"/></VRTDataset>'
    )


def sparse(path: Path) -> None:
    stated = {"driver": "GTiff", "count": 4, "height": 30_000, "width": 30_000, "dtype": "uint16"}
    with rasterio.open(path, "w", **stated, tiled=True, sparse_ok=True):
        pass


def kaggle(folder: Path) -> None:
    """Each file in a folder of its name, as some archives are unpacked."""
    for path in list(folder.glob("*/*.tif")):
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(content)


RED = np.zeros((3, 16, 16), np.uint8) + np.array([255, 0, 0], np.uint8)[:, None, None]
TWO = (np.arange(256).reshape(1, 16, 16) % 2).astype(np.uint8)
COLOURS = {"field": [255, 0, 0], "forest": [0, 255, 0]}
UTM33 = {"crs": "EPSG:32633"}


def palette(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        write_tiff(path, TWO)
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {0: (255, 0, 0, 255), 1: (0, 0, 255, 255)})


def tag(path: Path) -> None:
    with rasterio.open(path, "r+") as file:
        file.scales = (0.001,)
