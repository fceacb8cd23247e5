"""Maps of scenes: equal to the test of the run, independent of how the scene is cut, complete or absent."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from own_data import write_tiff
from scenes import BANDS, CLASSES, NODATA, numbers, tiny_run

import deflect
from deflect.cli import main
from deflect.errors import ConfigError, DataError
from deflect.record import read_record
from deflect.trained.opening import open_scene
from deflect.trained.windows import Windows

#: Size of the training images; the network's input has 32 pixels, so the larger are cut and the smaller enlarged.
SIZES = {"cut": 72, "resized": 24}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with ``raw`` data and ``runs``."""
    folders = {name: tmp_path_factory.mktemp(name) for name in (*SIZES, "labels")}
    for name, folder in folders.items():
        tiny_run(folder, "classification" if name == "labels" else "segmentation", SIZES.get(name, 40))
    return folders


def run_in(folder: Path) -> Path:
    return next(folder.glob("runs/*/*/*/seed0"))


def scene(path: Path, seed: int = 50, height: int = 110, width: int = 170) -> Path:
    """A scene with gaps, one of them larger than a window."""
    pixels = numbers(seed, height, width)
    pixels[2, :40, 60:] = pixels[:, 80:84, 3:9] = NODATA
    write_tiff(path, pixels, names=BANDS)
    return path


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize("name", SIZES)
def test_maps_of_test_images_are_the_predictions_of_the_test(
    runs: dict[str, Path], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = runs[name], run_in(runs[name])
    with np.load(run / "predictions.npz") as arrays:
        ids, predicted = arrays["sample_ids"], arrays["sample_predictions"]
    assert len(ids) == 3
    assert len(np.unique(predicted)) > 1
    for image, expected in zip(ids, predicted, strict=True):
        source = folder / f"raw/images/{image}.tif"
        assert main(["predict", str(run), str(source), "-o", str(tmp_path / "map.tif"), "--device", "cpu"]) == 0
        missing = (read(source) == NODATA).any(0)
        assert missing.any() == (image == "tile_3")
        assert np.array_equal(read(tmp_path / "map.tif")[0], np.where(missing, 255, expected.astype(int)))
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "map.tif")] * 3


def test_a_map_states_grid_classes_colours_and_run(runs: dict[str, Path], tmp_path: Path) -> None:
    run = run_in(runs["cut"])
    pixels = np.tile(numbers(1, 72, 72), (1, 9, 8))
    write_tiff(tmp_path / "scene.tif", pixels, names=BANDS)
    out = deflect.load_run(run, device="cpu").predict_scene(tmp_path / "scene.tif", tmp_path / "new/map.tif")
    assert [path.name for path in out.parent.iterdir()] == ["map.tif"]
    with rasterio.open(out) as file, rasterio.open(tmp_path / "scene.tif") as source:
        assert (file.shape, file.crs, file.transform) == (source.shape, source.crs, source.transform)
        assert (file.dtypes, file.nodata, file.descriptions) == (("uint8",), 255, ("class",))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2]
        assert set(np.unique(file.read(1, out_shape=(324, 288)))) <= {0, 1, 2}
        colours = file.colormap(1)
        tags = file.tags()
    assert len({colours[value] for value in range(3)}) == 3
    record = read_record(run)
    assert json.loads(tags["CLASSES"]) == CLASSES
    assert (tags["METHOD"], tags["GFM"], tags["RUN_FINGERPRINT"]) == ("lora", "scale_mae", record["fingerprint"])


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
def test_blended_logits_are_weighted_means_over_all_windows(
    runs: dict[str, Path], overlap: float, tmp_path: Path
) -> None:
    model = deflect.load_run(run_in(runs["cut"]), device="cpu")
    size, (height, width) = 32, (70, 90)
    write_tiff(tmp_path / "scene.tif", numbers(3, height, width), names=BANDS)
    with open_scene(tmp_path / "scene.tif", model.images) as opened:
        windows = Windows(opened, size, model.predict, 3, model.context)
        found = np.zeros((3, height, width))
        for block in windows.blended(overlap):
            rows, columns = block.values.shape[1:]
            found[:, block.top : block.top + rows, block.left : block.left + columns] = block.values
        image, _ = opened.read(0, 0, height, width)
    step = size * (1 - overlap)
    counts = [int(np.ceil((side - size) / step)) + 1 for side in (height, width)]
    places = [
        np.linspace(0, side - size, n).round().astype(int) for side, n in zip((height, width), counts, strict=True)
    ]
    one = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 if overlap else np.ones(size)
    total, weight = np.zeros((3, height, width)), np.zeros((height, width))
    for y in places[0]:
        for x in places[1]:
            window = torch.from_numpy(image[None, :, y : y + size, x : x + size])
            total[:, y : y + size, x : x + size] += model.predict(window)[0].numpy() * np.outer(one, one)
            weight[y : y + size, x : x + size] += np.outer(one, one)
    assert counts[0] * counts[1] == {0.0: 9, 0.3: 12, 0.5: 20}[overlap]
    assert np.allclose(found, total / weight, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cut", {}),
        ("cut", {"overlap": 0.6}),
        ("resized", {"probabilities": True}),
        ("resized", {"embeddings": True}),
        ("labels", {"stride": 9}),
    ],
)
def test_no_pixel_depends_on_the_swaths(
    runs: dict[str, Path], name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = deflect.load_run(run_in(runs[name]), device="cpu")
    source = scene(tmp_path / "scene.tif")
    whole, narrow = (
        read(model.predict_scene(source, tmp_path / f"{swath}.tif", swath=swath, **options)) for swath in (1 << 24, 1)
    )
    if options.get("embeddings"):
        assert np.allclose(whole, narrow, atol=1e-4, equal_nan=True)
    else:
        assert np.abs(whole.astype(int) - narrow).max() <= bool(options.get("probabilities"))  # a rounded percent
    assert len(np.unique(whole)) > 2


def test_probabilities_are_percent_of_each_class(runs: dict[str, Path], tmp_path: Path) -> None:
    model = deflect.load_run(run_in(runs["cut"]), device="cpu")
    source = scene(tmp_path / "scene.tif")
    classes = read(model.predict_scene(source, tmp_path / "map.tif"))[0]
    percent = read(out := model.predict_scene(source, tmp_path / "percent.tif", probabilities=True)).astype(int)
    with rasterio.open(out) as file:
        assert (file.count, file.descriptions, file.nodata) == (3, tuple(CLASSES), 255)
    missing = (read(source) == NODATA).any(0)
    assert np.array_equal(classes == 255, missing)
    assert (percent[:, missing] == 255).all()
    assert np.abs(percent[:, ~missing].sum(0) - 100).max() <= 1
    chosen = np.take_along_axis(percent, np.where(missing, 0, classes)[None], 0)[0]
    assert (chosen == percent.max(0)).all()


def test_embeddings_are_features_of_patches_on_their_grid(runs: dict[str, Path], tmp_path: Path) -> None:
    model = deflect.load_run(run_in(runs["resized"]), device="cpu")
    pixels = numbers(7, 30, 50)
    pixels[1, :12, :6] = NODATA
    write_tiff(tmp_path / "scene.tif", pixels, names=BANDS)
    out = model.predict_scene(tmp_path / "scene.tif", tmp_path / "features.tif", embeddings=True)
    with rasterio.open(out) as file:
        features, transform = file.read(), file.transform
    assert features.shape == (64, 5, 9)  # windows of 24 pixels are enlarged to 32: 4 x 4 patches of 6 pixels
    assert transform == rasterio.Affine(60, 0, 5e5, 0, -60, 5e6)
    assert np.array_equal(np.isnan(features).all(0), np.isnan(features).any(0))
    assert np.argwhere(np.isnan(features[0])).tolist() == [[0, 0], [1, 0]]
    with open_scene(tmp_path / "scene.tif", model.images) as opened:
        windows = [opened.read(y, x, 24, 24)[0] for y, x in ((0, 24), (6, 30))]  # the last begins at row 1, column 5
    first, last = model.embed(torch.from_numpy(np.stack(windows))).numpy()
    assert np.allclose(features[:, 0, 4], first[:, 0, 0], atol=1e-5)
    assert np.allclose(features[:, 1:, 5:], last, atol=1e-5)


@pytest.mark.parametrize(("stride", "shape"), [(None, (3, 4)), (10, (10, 13)), (60, (2, 3))])
def test_a_classification_maps_the_window_around_each_cell(
    runs: dict[str, Path], stride: int | None, shape: tuple[int, int], tmp_path: Path
) -> None:
    model = deflect.load_run(run_in(runs["labels"]), device="cpu")
    pixels = numbers(7, 100, 130)
    pixels[3] = pixels[0] + 1500 * (np.arange(130) // 45)[None]
    pixels[:, :50, 88:] = NODATA
    write_tiff(tmp_path / "scene.tif", pixels, names=BANDS)
    out = model.predict_scene(tmp_path / "scene.tif", tmp_path / "map.tif", stride=stride)
    with rasterio.open(out) as file:
        found, step = file.read(1), stride or 40
        assert file.transform == rasterio.Affine(10 * step, 0, 5e5, 0, -10 * step, 5e6)
    with open_scene(tmp_path / "scene.tif", model.images) as opened:
        image, measured = opened.read(0, 0, 100, 130)
    assert found.shape == shape
    for row, column in np.ndindex(shape):
        y = min(max(row * step + step // 2 - 20, 0), 60)
        x = min(max(column * step + step // 2 - 20, 0), 90)
        logits = model.predict(torch.from_numpy(image[None, :, y : y + 40, x : x + 40]))
        assert found[row, column] == (logits.argmax() if measured[y : y + 40, x : x + 40].any() else 255)
    assert len(np.unique(found)) > 2 or shape == (2, 3)


def test_scenes_smaller_than_a_window_are_mirrored(runs: dict[str, Path], tmp_path: Path) -> None:
    model = deflect.load_run(run_in(runs["cut"]), device="cpu")
    write_tiff(tmp_path / "small.tif", numbers(4, 20, 100)[:, :, :25], names=BANDS)
    found = read(model.predict_scene(tmp_path / "small.tif", tmp_path / "map.tif"))[0]
    with open_scene(tmp_path / "small.tif", model.images) as opened:
        image, _ = opened.read(0, 0, 20, 25)
    mirrored = np.pad(image, ((0, 0), (0, 12), (0, 7)), "reflect")[None]
    assert np.array_equal(found, model.predict(torch.from_numpy(mirrored))[0].argmax(0)[:20, :25])


def test_a_table_has_the_probabilities_of_the_test(runs: dict[str, Path], tmp_path: Path) -> None:
    folder, run = runs["labels"], run_in(runs["labels"])
    with np.load(run / "predictions.npz") as arrays:
        expected = arrays["probabilities"].astype(float)
    files = [str(folder / f"raw/images/tile_{index}.tif") for index in (11, 3, 7)]  # ids in order: "11" before "3"
    empty = tmp_path / "empty.tif"
    write_tiff(empty, np.zeros((4, 44, 36), np.uint16), names=BANDS)
    table = tmp_path / "labels.csv"
    assert main(["predict", str(run), *files, str(empty), "-o", str(table), "--device", "cpu"]) == 0
    with open(table, newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "class", *CLASSES]
    assert [row[0] for row in rows] == [*files, str(empty)]
    assert np.allclose(np.array([row[2:] for row in rows[:3]], float), expected, atol=1e-3)
    assert [row[1] for row in rows[:3]] == [CLASSES[k] for k in expected.argmax(1)]
    assert rows[3][1:] == ["", "", "", ""]


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("cut", ["--stride", "4"], "stride: only for maps of tasks with labels of images"),
        ("labels", ["--overlap", "0.5"], "overlap: only for maps of tasks with labels of pixels"),
        ("cut", ["--overlap", "0.95"], "expected a share of the window from 0 to 0.9, found 0.95"),
        ("cut", ["--embeddings", "--probabilities"], "are two maps"),
        ("cut", ["-o", "labels.csv"], "a segmentation has maps, not labels"),
        ("labels", ["-o", "labels.csv"], "expected about 40 x 40 pixels as in training, found 110 x 170"),
        ("labels", ["-o", "labels.csv", "--stride", "4"], "are for maps, not for tables"),
        ("cut", ["-o", "scene.tif"], "found the scene itself"),
        ("cut", ["-o", "."], "found a folder"),
        ("cut", ["more.tif"], "a map is of one scene, found 2"),
        ("cut", ["B02=scene.tif"], "expected scenes, or NAME=FILE once for each band"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    runs: dict[str, Path],
    name: str,
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = scene(Path("scene.tif")).read_bytes()
    assert main(["predict", str(run_in(runs[name])), "scene.tif", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("deflect: ")
    assert named in error
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]
    assert Path("scene.tif").read_bytes() == before


def test_a_killed_process_leaves_the_old_map_and_the_next_one_cleans_up(runs: dict[str, Path], tmp_path: Path) -> None:
    run, source, out = run_in(runs["cut"]), scene(tmp_path / "scene.tif", height=400, width=400), tmp_path / "map.tif"
    out.write_text("the old map")
    command = [
        sys.executable,
        "-m",
        "deflect",
        "predict",
        run,
        source,
        "-o",
        out,
        "--overlap",
        "0.9",
        "--device",
        "cpu",
    ]
    rows = tmp_path / ".map.tif.part/rows.tif"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not rows.exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert rows.exists()
    assert out.read_text() == "the old map"
    deflect.load_run(run, device="cpu").predict_scene(source, out)
    assert read(out).shape == (1, 400, 400)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.tif"]


def test_a_damaged_scene_leaves_the_old_map(runs: dict[str, Path], tmp_path: Path) -> None:
    source, out = scene(tmp_path / "scene.tif", height=600, width=600), tmp_path / "map.tif"
    out.write_text("the old map")
    with open(source, "r+b") as file:
        file.truncate(source.stat().st_size * 3 // 4)
    with pytest.raises(DataError, match=r"scene\.tif: damaged or cut short"):
        deflect.load_run(run_in(runs["cut"]), device="cpu").predict_scene(source, out)
    assert out.read_text() == "the old map"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.tif"]


def test_options_of_python_are_checked_too(runs: dict[str, Path], tmp_path: Path) -> None:
    model = deflect.load_run(run_in(runs["labels"]), device="cpu")
    with pytest.raises(ConfigError, match="stride: expected 1 pixel or more, found 0"):
        model.predict_scene(scene(tmp_path / "scene.tif"), tmp_path / "map.tif", stride=0)
