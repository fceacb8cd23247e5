"""Large images are cut into squares, and images that belong together stay in one split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from landsat import SCENE, file_of
from own_data import image, write_card, write_folders, write_tiff
from paths import needs_real

from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.data.readers.own.splits import block, overlapping
from deflect.errors import DataError

DRAWN: dict[str, Any] = {"seed": 0, "fractions": [0.5, 0.25, 0.25]}
SPLITS = ("train", "val", "test")


def write_scene(folder: Path, height: int = 70, width: int = 96, **card: Any) -> tuple[np.ndarray, np.ndarray]:
    """One scene with its mask."""
    write_card(folder, task="segmentation", labels="masks", size=16, stride=16, **card)
    pixels = np.random.default_rng(0).integers(300, 4000, (4, height, width)).astype(np.uint16)
    mask = np.random.default_rng(1).integers(0, 2, (1, height, width)).astype(np.uint8)
    write_tiff(folder / "images/scene.tif", pixels)
    write_tiff(folder / "masks/scene.tif", mask)
    return pixels, mask[0]


def every(folder: Path) -> dict[str, Any]:
    return {split: read("own", folder, split) for split in SPLITS}


def test_squares_are_the_windows_of_the_scene_and_cover_it(tmp_path: Path) -> None:
    pixels, mask = write_scene(tmp_path, splits=DRAWN | {"block_km": 0.2})
    seen = np.zeros(mask.shape, int)
    for dataset in every(tmp_path).values():
        for row, name in enumerate(dataset.ids):
            top, left = map(int, name.removeprefix("scene/").split("_"))
            window = np.s_[top : top + 16, left : left + 16]
            image, label = dataset.load(row)
            np.testing.assert_array_equal(image, pixels[:, *window])
            np.testing.assert_array_equal(label, mask[window])
            seen[window] += 1
    assert (seen[:54] == 1).all(), "above the last squares, which overlap others"
    assert seen.max() <= 2
    assert seen[64:].any(), "the last squares lie at the edge"


def test_squares_without_label_or_measurement_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels, mask = write_scene(tmp_path, 64, 96, splits=DRAWN | {"block_km": 0.2}, ignore=255, nodata=0)
    pixels[:, :16] = 0  # beyond the edge of the scene
    pixels[3, 16:32] = 0  # one band is missing
    mask[32:48, 32:64] = 255
    write_tiff(tmp_path / "images/scene.tif", pixels)
    write_tiff(tmp_path / "masks/scene.tif", mask[None])
    caplog.set_level("INFO")
    names = {name for dataset in every(tmp_path).values() for name in dataset.ids}
    empty = {f"scene/0_{left}" for left in range(0, 96, 16)} | {"scene/32_32", "scene/32_48"}
    assert names == {f"scene/{top}_{left}" for top in range(0, 64, 16) for left in range(0, 96, 16)} - empty
    assert "8 squares without any label or measurement are left out" in caplog.text


def test_squares_of_an_image_stay_together_without_blocks(tmp_path: Path) -> None:
    write_scene(tmp_path, splits=DRAWN)
    with pytest.raises(DataError, match="the squares of an image stay together; to divide one scene, add block_km"):
        every(tmp_path)
    for index in range(1, 8):
        write_tiff(tmp_path / f"images/{index}.tif", image(index, 32))
        write_tiff(tmp_path / f"masks/{index}.tif", image(index, 32, 1) % 2)
    scenes = {split: {name.split("/")[0] for name in dataset.ids} for split, dataset in every(tmp_path).items()}
    assert sum(map(len, scenes.values())) == len(set.union(*scenes.values())) == 8


def test_squares_of_bands_with_larger_pixels(tmp_path: Path) -> None:
    splits = DRAWN | {"block_km": 0.2}
    write_card(tmp_path, task="segmentation", labels="masks", size=16, stride=16, splits=splits,
               images="{id}_{band}.tif", bands=["B02", "B03", "B04", "B05"])  # fmt: skip
    rows = np.linspace(500, 3000, 48)
    plane = (rows[:, None] + rows[None] / 2).astype(np.uint16)  # linear, so that an interpolation is exact
    for band in ("B02", "B03", "B04"):
        write_tiff(tmp_path / f"s_{band}.tif", plane[None])
    coarse = plane.reshape(24, 2, 24, 2).mean((1, 3)).round().astype(np.uint16)
    write_tiff(tmp_path / "s_B05.tif", coarse[None], transform=rasterio.Affine(20, 0, 5e5, 0, -20, 5e6))
    write_tiff(tmp_path / "masks/s.tif", (plane % 2).astype(np.uint8)[None])
    for dataset in every(tmp_path).values():
        for row, name in enumerate(dataset.ids):
            top, left = map(int, name.removeprefix("s/").split("_"))
            pixels, _ = dataset.load(row)
            inner = np.s_[max(0, 1 - top) : 16 - (top == 32), max(0, 1 - left) : 16 - (left == 32)]  # not at the edges
            assert np.abs(pixels[3].astype(int) - pixels[0])[inner].max() <= 2


def test_squares_lie_on_the_grid_of_the_cards_gsd(tmp_path: Path) -> None:
    squares = {"task": "segmentation", "labels": "masks", "size": 8, "stride": 8, "splits": DRAWN | {"block_km": 0.2}}
    write_card(tmp_path, **squares, gsd=20, images="{id}_{band}.tif", bands=["B02", "B03", "B04", "B05"])
    for number, band in enumerate(("B02", "B03", "B04")):
        write_tiff(tmp_path / f"s_{band}.tif", image(number, 48, 1))
    coarse, grid = image(9, 24, 1), rasterio.Affine(20, 0, 5e5, 0, -20, 5e6)
    write_tiff(tmp_path / "s_B05.tif", coarse, transform=grid)
    write_tiff(tmp_path / "masks/s.tif", (coarse % 2).astype(np.uint8), transform=grid)
    names = set()
    for dataset in every(tmp_path).values():
        for row, name in enumerate(dataset.ids):
            top, left = map(int, name.removeprefix("s/").split("_"))
            names.add((top, left))
            pixels, label = dataset.load(row)
            np.testing.assert_array_equal(pixels[3], coarse[0, top : top + 8, left : left + 8])
            np.testing.assert_array_equal(label, pixels[3] % 2)
    assert names == {(top, left) for top in (0, 8, 16) for left in (0, 8, 16)}


def test_size_alone_says_what_it_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_card(tmp_path, task="segmentation", labels="masks", size=16, splits=DRAWN)
    for index in range(4):
        write_tiff(tmp_path / f"images/{index}.tif", image(index, 32))
        write_tiff(tmp_path / f"masks/{index}.tif", image(index, 32, 1) % 2)
    every(tmp_path)
    assert "size 16 leaves out 75 % of 32 x 32 pixels; set stride" in caplog.text


def test_groups_of_names_and_tables_stay_together(tmp_path: Path) -> None:
    write_folders(tmp_path / "raw")
    for path in sorted((tmp_path / "raw").glob("*/*.tif")):
        _, number = path.stem.split("_")
        path.rename(path.with_name(f"farm{int(number) % 4}-{number}.tif"))
    by_name = {"images": "{class}/{farm}-{id}.tif", "splits": DRAWN | {"group": "farm"}}
    write_card(tmp_path / "raw", **by_name)
    farms = {split: {name.split("/")[1] for name in data.ids} for split, data in every(tmp_path / "raw").items()}
    assert sum(map(len, farms.values())) == 4
    assert len(farms["train"]) == 2
    write_card(tmp_path / "raw", splits=DRAWN | {"group": "region"})
    with pytest.raises(DataError, match="group 'region' is no part of the images' names"):
        every(tmp_path / "raw")

    lines = ["image,label,Site"]
    for index in range(12):
        write_tiff(tmp_path / "table" / "images" / f"{index}.tif", image(index))
        lines.append(f"{index},field,{index % 3}")
    (tmp_path / "table/labels.csv").write_text("\n".join(lines))
    write_card(tmp_path / "table", labels="labels.csv", splits=DRAWN | {"group": "site"})
    sites = {split: {int(name) % 3 for name in data.ids} for split, data in every(tmp_path / "table").items()}
    assert sorted(map(len, sites.values())) == [1, 1, 1]
    assert len(set.union(*sites.values())) == 3


def test_blocks_have_their_size_everywhere_and_ignore_the_coordinate_system() -> None:
    for latitude in (0.0, 45.0, 68.0):
        step = np.array([1 / np.cos(np.radians(latitude)), 1.0]) / 111.19  # a km to the east and to the north, degrees
        place = np.array([10.0, latitude])
        blocks = [block((place + step * [east, north])[None], 5.0) for east in range(40) for north in range(40)]
        assert 64 <= len(set(blocks)) <= 110
        sizes = sorted(blocks.count(name) for name in set(blocks))
        assert sizes[-1] in range(20, 31)


def test_overlap_is_of_area_not_of_edges() -> None:
    def square(east: float, north: float = 0) -> np.ndarray:
        return np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]) + np.array([east, north])

    images = [square(0), square(1), square(0.9), square(5, 5)]
    assert overlapping(images, [square(2)]).tolist() == [False, False, False, False]
    assert overlapping(images, [square(1.5)]).tolist() == [False, True, True, False]


def test_overlapping_images_of_other_splits_are_left_out_of_training(tmp_path: Path) -> None:
    write_scene(tmp_path, splits=DRAWN | {"block_km": 0.3})
    write_card(tmp_path, task="segmentation", labels="masks", size=16, stride=8, splits=DRAWN | {"block_km": 0.3})
    found = {}
    for split, dataset in every(tmp_path).items():
        seen = np.zeros((70, 96), bool)
        for name in dataset.ids:
            top, left = map(int, name.removeprefix("scene/").split("_"))
            seen[top : top + 16, left : left + 16] = True
        found[split] = seen
    assert all(seen.any() for seen in found.values())
    assert not (found["train"] & (found["val"] | found["test"])).any()
    assert not (found["val"] & found["test"]).any()


def test_blocks_need_coordinates(tmp_path: Path) -> None:
    write_folders(tmp_path, splits=DRAWN | {"block_km": 1})
    for path in tmp_path.glob("*/*.tif"):
        write_tiff(path, image(0), crs=None, transform=rasterio.Affine.identity())
    with pytest.raises(DataError, match="block_km needs coordinates, and the file has none; use `group`"):
        every(tmp_path)


CARD = {
    "task": "segmentation",
    "sensor": "landsat7",
    "images": "lsat7_2000_{band}.tif",
    "masks": "landsat96_labelled_pixels.tif",
    "bands": [{"name": f"B{n}", "file": f"{n}0"} for n in (1, 2, 3, 4, 5, 7)],
    "scale": 0.0025,
    "gsd": 28.5,
    "classes": ["developed", "agriculture", "herbaceous", "shrubland", "forest", "water", "sediment"],
    "label_offset": 1,
    "ignore": -99999,
    "labels": "masks",
    "size": 64,
    "stride": 64,
    "splits": {"seed": 0, "fractions": [0.6, 0.2, 0.2], "block_km": 3},
}


@needs_real
def test_a_real_landsat_scene_needs_a_card_and_nothing_else(tmp_path: Path) -> None:
    """Six files, one of int16 with another nodata value, and labels in another coordinate system."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in SCENE.glob("*.tif"):
        (raw / path.name).symlink_to(path)
    write_card(raw, **CARD)
    bands = []
    for digit in "123457":
        with rasterio.open(file_of(digit)) as file:
            bands.append(file.read(1, masked=True).astype(np.float32).filled(np.nan))
    with rasterio.open(SCENE / "landsat96_labelled_pixels.tif") as file:
        truth = file.read(1, masked=True).filled(0).astype(int) - 1
    scene = np.stack(bands)
    card = prepare("landsat", raw, tmp_path / "store")
    assert sum(facts["n"] for facts in card.splits.values()) >= 20
    counted = 0
    for dataset in (read("landsat", raw, split) for split in SPLITS):
        for row, name in enumerate(dataset.ids):
            top, left = map(int, name.rsplit("/", 1)[1].split("_"))
            window = np.s_[top : top + 64, left : left + 64]
            pixels, labels, measured = dataset.load_measured(row)
            expected = scene[:, *window]
            np.testing.assert_array_equal(measured, np.isfinite(expected))
            np.testing.assert_array_equal(pixels, np.nan_to_num(expected))
            seen = np.isfinite(expected).all(0)
            np.testing.assert_array_equal(labels, np.where(seen, truth[window], -1))
            counted += (labels >= 0).sum()
    assert counted > 2_000
