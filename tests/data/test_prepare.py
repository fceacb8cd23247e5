"""Preparing data is byte-stable, resumable and bounded in memory, and never accepts bad input silently."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import torch
import yaml
from own_data import write_masks
from paths import ROOT

from deflect import cli, config
from deflect.data import shards
from deflect.data.card import read_card, read_fractions
from deflect.data.catalog import AS_PUBLISHED, DATASETS
from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.data.simulate import simulate
from deflect.data.store import Store
from deflect.errors import DeflectError
from deflect.files import read_json, write_json
from deflect.settings.simulation import SimulationSize


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["so2sat", "burn_scars", "mados", "bigearthnet"])
def test_the_store_equals_what_the_reader_reads(raw: Path, tmp_path: Path, name: str) -> None:
    card = prepare(name, raw / name, tmp_path / name)
    assert card.simulated, "the card records the simulator's marker file"
    store = Store(tmp_path / name)
    store.verify()
    assert store.card == card
    for split in ("train", "val", "test"):
        dataset, prepared = read(name, raw / name, split), store.split(split)
        assert prepared.ids == dataset.ids
        for index in range(len(dataset)):
            images, labels = prepared.batch([index])
            np.testing.assert_allclose(images[0], dataset.load(index)[0] * card.scale, rtol=1e-6)
            np.testing.assert_array_equal(labels[0], dataset.load(index)[1])
    train = read(name, raw / name, "train")
    loaded = [train.load_measured(index) for index in range(len(train))]
    pixels = np.stack([np.where(measured, image, np.nan) for image, _, measured in loaded]).astype(float) * card.scale
    np.testing.assert_allclose(card.statistics.mean, np.nanmean(pixels, (0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(card.statistics.std, np.nanstd(pixels, (0, 2, 3)), rtol=1e-6)


def test_a_study_may_keep_the_published_band_names(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = config.read(ROOT / "config.yaml")
    settings["studies"]["mini"]["as_published"] = ["brick_kiln"]
    Path("config.yaml").write_text(yaml.safe_dump(settings))
    shutil.copytree(raw / "brick_kiln", "data/simulated/brick_kiln")
    assert cli.main(["data", "prepare", "brick_kiln"]) == 0
    split = Store("data/prepared/mini/brick_kiln").split("train")
    assert split.card.bands.names == AS_PUBLISHED["brick_kiln"].bands.names
    images, _ = split.batch([0])
    # "B10", "B11", "B12" are red, green and blue once more, in 8 bits
    for band, copy in (("B04", "B10"), ("B03", "B11"), ("B02", "B12")):
        pair = images[0, [split.card.bands.channel(band), split.card.bands.channel(copy)]].flatten(1)
        assert torch.corrcoef(pair)[0, 1] > 0.95


def test_equal_files_give_equal_bytes_for_any_number_of_processes_and_shards(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("so2sat", raw / "so2sat", tmp_path / "a")
    whole = content(tmp_path / "a")
    prepare("so2sat", raw / "so2sat", tmp_path / "a")
    assert content(tmp_path / "a") == whole
    monkeypatch.setattr(shards, "SHARD_BYTES", 2 * 10 * 32 * 32 * 4)
    prepare("so2sat", raw / "so2sat", tmp_path / "b", jobs=2)
    assert content(tmp_path / "b") == whole
    assert sorted(os.listdir(tmp_path)) == [".locks", ".made_from", "a", "b"]


def test_an_interrupted_run_resumes_at_the_next_shard(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("so2sat", raw / "so2sat", tmp_path / "whole")
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    done: list[tuple[str, int, int]] = []
    write = shards.write_shard

    def stops(plan: shards.Plan, *shard: object) -> None:
        if len(done) == 4:
            raise KeyboardInterrupt
        write(plan, *shard)  # type: ignore[arg-type]
        done.append(shard)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "write_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        prepare("so2sat", raw / "so2sat", tmp_path / "store")
    assert not (tmp_path / "store").exists()
    first, done[:] = list(done), []
    monkeypatch.setattr(shards, "write_shard", lambda plan, *shard: (done.append(shard), write(plan, *shard)))
    prepare("so2sat", raw / "so2sat", tmp_path / "store")
    assert set(first).isdisjoint(done)
    assert len(first) + len(done) == 11
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def test_a_store_of_the_same_files_and_code_is_kept(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was prepared by hand before a workflow needs it; a damaged one is prepared again."""
    folder, card = shutil.copytree(raw / "so2sat", tmp_path / "so2sat"), tmp_path / "store/store.json"
    made = prepare("so2sat", folder, tmp_path / "store")
    os.utime(card, (0, 0))
    whole, array = content(tmp_path / "store"), tmp_path / "store/train.images.npy"
    inode = array.stat().st_ino
    assert prepare("so2sat", folder, tmp_path / "store") == made
    assert array.stat().st_ino == inode
    assert card.stat().st_mtime > 0  # touched: a workflow sees it as new
    with open(array, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    prepare("so2sat", folder, tmp_path / "store")
    assert content(tmp_path / "store") == whole
    inode = array.stat().st_ino
    monkeypatch.setattr("deflect.data.prepare.code_sha256", lambda step: "another version")
    prepare("so2sat", folder, tmp_path / "store")
    assert array.stat().st_ino != inode


def test_changed_files_are_not_resumed(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(raw / "so2sat", tmp_path / "so2sat")
    monkeypatch.setattr(shards, "write_shard", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare("so2sat", folder, tmp_path / "store")
    (aside,) = tmp_path.glob(".store.*.part")
    monkeypatch.undo()
    with h5py.File(folder / "id_0000.hdf5", "r+") as file:
        file["02 - Blue"][0, 0] = 0.5
    prepare("so2sat", folder, tmp_path / "store")
    assert Store(tmp_path / "store").split("train").batch([0])[0][0, 0, 0, 0] == 0.5
    assert not aside.exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_leaves_no_store_and_no_worker(tmp_path: Path, jobs: int) -> None:
    simulate("so2sat", tmp_path / "raw", SimulationSize(train=90, val=2, test=2, pixels=16), seed=0)
    script = (
        "from deflect.data import shards; shards.SHARD_BYTES = 1\n"
        f"from deflect.data.prepare import prepare; prepare('so2sat', 'raw', 'store', jobs={jobs})"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".store.*.part/train.*-*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "store").exists(), "the run ended before it could be killed"
    deadline = time.monotonic() + 20
    while (alive := members(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    Store(tmp_path / "store").verify()
    prepare("so2sat", tmp_path / "raw", tmp_path / "whole")
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def members(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
            found += [path.parent.name] * (int(of_group) == group and state != "Z")
    return found


def test_a_folder_with_other_files_is_never_replaced(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DeflectError, match=r"contains 'thesis\.tex', which is no part of a store"):
        prepare("so2sat", raw / "so2sat", tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def copy_of_a_training_image(folder: Path) -> None:
    with h5py.File(folder / "id_0000.hdf5") as source, h5py.File(folder / "id_0008.hdf5", "r+") as target:
        for key in source:
            target[key][...] = source[key][()]


def as_if_real(raw: Path, folder: Path) -> Path:
    """The simulated files without the marker file."""
    shutil.copytree(raw / "so2sat", folder)
    (folder / "SIMULATED.json").unlink()
    return folder


def test_real_data_is_compared_with_the_catalog(raw: Path, tmp_path: Path) -> None:
    folder = as_if_real(raw, tmp_path / "so2sat")
    with pytest.raises(DeflectError, match="should have 19992/986/986 images, found 6/2/3; fetch"):
        prepare("so2sat", folder, tmp_path / "store", sheet=replace(DATASETS["so2sat"], image_size=48))
    sheet = replace(DATASETS["so2sat"], image_size=48, splits={"train": 6, "val": 2, "test": 3})
    own = prepare("so2sat", folder, tmp_path / "store", check_published=False).statistics
    exact = replace(sheet, published_mean=own.mean, published_std=own.std)
    assert not prepare("so2sat", folder, tmp_path / "store", sheet=exact).simulated
    wrong = replace(exact, published_mean=(*own.mean[:3], own.mean[3] * 1.05, *own.mean[4:]))
    with pytest.raises(DeflectError, match=r"band B05: mean 0\.\d+ expected within 3 %, found 0\.\d+; check"):
        prepare("so2sat", folder, tmp_path / "other", sheet=wrong)
    wrong = replace(exact, published_std=(own.std[0] * 0.8, *own.std[1:]))
    with pytest.raises(DeflectError, match="band B02: standard deviation"):
        prepare("so2sat", folder, tmp_path / "other", sheet=wrong)
    units = replace(exact, published_mean=tuple(1e4 * value for value in own.mean))
    with pytest.raises(DeflectError, match=r"a sample of 6 images is not as published: band B02: .*; B12: mean"):
        prepare("so2sat", folder, tmp_path / "unit", sheet=units)
    assert not list(tmp_path.glob(".unit.*")), "nothing is written before the sample is checked"
    card = prepare("so2sat", folder, tmp_path / "taken", sheet=units, check_published=False)
    assert (card.unchecked, read_card(tmp_path / "taken").unchecked) == (True, True)
    with pytest.raises(DeflectError, match="images of 64 pixels expected, found 48"):
        prepare("so2sat", folder, tmp_path / "other", sheet=replace(exact, image_size=64))
    assert not (tmp_path / "other").exists()


def test_copies_in_published_splits_can_be_accepted_with_a_warning(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = as_if_real(raw, tmp_path / "so2sat")
    copy_of_a_training_image(folder)
    prepare("so2sat", folder, tmp_path / "store", check_published=False)
    assert "1 images of test are copies of images of train, e.g. 'id_0008' of 'id_0000'" in caplog.text


@pytest.mark.parametrize(
    ("value", "message"),
    [(255, "nothing in train has a label"), (0, "class forest is in val but not in train: no model can learn it")],
)
def test_a_training_split_without_a_label_or_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: int, message: str
) -> None:
    write_masks(tmp_path / "own")
    for name in (tmp_path / "own/train.txt").read_text().split():
        with rasterio.open(tmp_path / f"own/masks/{name}.tif", "r+") as mask:
            mask.write(np.full((1, 16, 16), value, np.uint8))
    if value == 255:
        with pytest.raises(DeflectError, match=message):
            prepare("own", tmp_path / "own", tmp_path / "store")
        assert not (tmp_path / "store").exists()
    else:
        prepare("own", tmp_path / "own", tmp_path / "store")
        assert message in caplog.text


def test_errors_of_other_processes_are_raised(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    folder = shutil.copytree(raw / "so2sat", tmp_path / "raw")
    (folder / "id_0004.hdf5").write_bytes((folder / "id_0004.hdf5").read_bytes()[:3000])
    with pytest.raises(DeflectError, match=r"id_0004\.hdf5: damaged or cut short"):
        prepare("so2sat", folder, tmp_path / "store", jobs=2)


def test_published_subsets_are_rows_of_the_store(tmp_path: Path) -> None:
    """The simulator draws them as GEO-Bench does: at random, so smaller ones are no part of larger ones."""
    simulate("brick_kiln", tmp_path / "raw", SimulationSize(train=60, val=2, test=2, pixels=16), seed=1)
    card = prepare("brick_kiln", tmp_path / "raw", tmp_path / "store")
    found, ids = read_fractions(tmp_path / "store", card), Store(tmp_path / "store").split("train").ids
    assert {fraction: len(rows) for fraction, rows in found.items()} == {0.02: 1, 0.05: 3, 0.1: 6, 0.2: 12, 0.5: 30}
    for fraction, rows in found.items():
        published = read_json(tmp_path / f"raw/{fraction:.2f}x_train_partition.json")
        assert {ids[row] for row in rows} == set(published["train"])
    Store(tmp_path / "store").verify()
    fractions = tmp_path / "store/train.fractions.json"
    fractions.write_text(fractions.read_text().replace("1", "2"))
    with pytest.raises(DeflectError, match=r"train.fractions.json: differs from the hash in store.json"):
        Store(tmp_path / "store").verify()


def test_another_subset_is_another_store_and_none_is_none(raw: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(raw / "so2sat", tmp_path / "so2sat")
    first, path = prepare("so2sat", folder, tmp_path / "store"), folder / "0.50x_train_partition.json"
    ids = read_json(folder / "default_partition.json")["train"]
    wrong = {"'other' is not in the training split": [ids[0], "other"], "more than once": [ids[0]] * 2}
    for message, subset in wrong.items():
        write_json(path, {"train": subset})
        with pytest.raises(DeflectError, match=message):
            prepare("so2sat", folder, tmp_path / "store")
    write_json(path, {"train": ids[:1]})
    second = prepare("so2sat", folder, tmp_path / "store")
    assert second.sha256 != first.sha256
    for partition in folder.glob("0.*_partition.json"):
        partition.unlink()
    third = prepare("so2sat", folder, tmp_path / "store")
    assert read_fractions(tmp_path / "store", third) == {}
    assert not (tmp_path / "store/train.fractions.json").exists()
    Store(tmp_path / "store").verify()
