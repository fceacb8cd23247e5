"""What is done for every image of a dataset is little: one look at its file, few bytes of memory.

Counts and traced allocations, so that the speed of the machine does not matter.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from own_data import image, write_card, write_tiff

from deflect.data import shards
from deflect.data.card import read_ids, write_ids
from deflect.data.finish import finish_split
from deflect.data.manifest import describe_folder, folder_sha256
from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.data.readers.base import RawDataset
from deflect.data.shards import make_plan
from deflect.data.simulate import simulate
from deflect.data.workers import in_processes
from deflect.files import read_json, write_json
from deflect.settings import SPLITS
from deflect.settings.simulation import SimulationSize

#: Images of the dataset, all of them links to one file.
IMAGES = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with many names in two class folders."""
    folder = tmp_path_factory.mktemp("many")
    write_card(folder)
    write_tiff(folder.with_name("one.tif"), image(0, size=4))
    for index in range(IMAGES):
        path = folder / ("field", "forest")[index % 2] / f"tile_{index:06d}.tif"
        path.parent.mkdir(exist_ok=True)
        os.link(folder.with_name("one.tif"), path)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RawDataset]:
    """The splits of So2Sat with many names."""
    folder = tmp_path_factory.mktemp("published")
    simulate("so2sat", folder, SimulationSize(train=1, val=1, test=1, pixels=16), seed=0)
    partition = read_json(folder / "default_partition.json")
    one = folder / f"{partition['train'][0]}.hdf5"
    names = [f"tile_{index:06d}" for index in range(IMAGES)]
    for name in names:
        os.link(one, folder / f"{name}.hdf5")
    for path in folder.glob("0.*_partition.json"):
        path.unlink()
    write_json(folder / "default_partition.json", partition | {"train": names})
    return {split: read("so2sat", folder, split) for split in SPLITS}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often ``os.stat`` is asked for each path."""
    seen: Counter[str] = Counter()
    stat = os.stat

    def counted(path: int | str | os.PathLike[str], *args: object, **options: object) -> os.stat_result:
        seen[str(path)] += 1
        return stat(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", counted)
    return seen


def peak(action: Callable[[], object]) -> int:
    """Bytes that an action allocates at most, beyond those before."""
    action()  # caches and imports
    tracemalloc.start()
    action()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def hash_of_sorted_lines(folder: Path) -> str:
    """The definition: path, size and time of every file, sorted by path."""
    paths = [os.path.join(base, name) for base, _, names in os.walk(folder, followlinks=True) for name in names]
    kept = [path for path in paths if "/." not in path[len(str(folder)) :] and path != f"{folder}/manifest.json"]
    states = [(path, os.stat(path)) for path in kept]
    lines = sorted(f"{path}\0{state.st_size}\0{state.st_mtime_ns}" for path, state in states)
    return hashlib.sha256("\0".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def test_the_hash_of_a_folder_is_that_of_its_sorted_files(tmp_path: Path) -> None:
    """Names whose order differs between whole paths and folder by folder, e.g. ``a.tif`` and ``a/b.tif``."""
    folder = tmp_path / "fields"
    for name in (
        "a/b.tif",
        "a.tif",
        "a",
        "a-b.tif",
        "a b/c.tif",
        "é.tif",
        "Z/z.tif",
        ".hidden/x",
        "a/.y",
        "\udce9.tif",
    ):
        path = folder / name if name != "a" else folder / "a0"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name.encode("utf-8", "surrogateescape").hex())
    (folder / "manifest.json").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far.tif").touch()
    (folder / "a-link").symlink_to(tmp_path / "elsewhere")
    assert folder_sha256(folder) == hash_of_sorted_lines(folder)
    assert "a-link/far.tif" in describe_folder(folder)


def test_watching_looks_once_at_each_file_and_keeps_nothing_but_names(folder: Path, looks: Counter[str]) -> None:
    folder_sha256(folder)
    assert len(looks) == IMAGES + 1
    assert set(looks.values()) == {1}
    assert peak(lambda: folder_sha256(folder)) < 200 * IMAGES


def test_a_signature_looks_once_at_each_file_and_keeps_no_list_of_them(
    published: dict[str, RawDataset], looks: Counter[str]
) -> None:
    published["train"].signature()
    assert (len(looks), set(looks.values())) == (IMAGES, {1})
    assert peak(published["train"].signature) < 20 * IMAGES


def test_a_plan_looks_once_at_each_file_of_a_users_own(folder: Path, looks: Counter[str]) -> None:
    images = {split: read("many", folder, split) for split in SPLITS}
    looks.clear()
    for dataset in images.values():
        dataset.signature()
    tiles = {path: count for path, count in looks.items() if path.endswith(".tif")}
    assert (len(tiles), set(tiles.values())) == (IMAGES, {1})


def test_a_signature_changes_with_any_file(folder: Path, tmp_path: Path) -> None:
    images = read("many", folder, "val")
    before = images.signature()
    assert read("many", folder, "val").signature() == before
    path, other = Path(images.path(3)), tmp_path / "other.tif"
    write_tiff(other, image(1, size=4))
    saved = path.rename(tmp_path / "saved.tif")
    other.rename(path)
    assert images.signature() != before
    saved.rename(path)
    assert images.signature() == before


def test_a_process_is_sent_the_names_of_its_own_images_only(published: dict[str, RawDataset], tmp_path: Path) -> None:
    plan = make_plan(published, tmp_path / "store")
    sent = pickle.dumps(plan.of("train", 100, 110))
    names = plan.raw["train"].ids
    assert [name for name in names if name.encode() in sent] == names[100:110]
    part = pickle.loads(sent)
    assert part.arrays("train") == plan.arrays("train")
    assert part.raw["train"].path(0) == plan.raw["train"].path(100)


def test_rows_of_a_part_are_those_of_the_split(folder: Path, tmp_path: Path) -> None:
    plan = make_plan({split: read("many", folder, split) for split in SPLITS}, tmp_path / "store")
    sent, names = pickle.dumps(plan.of("train", 100, 110)), plan.raw["train"].ids
    assert [name for name in names if name.encode() in sent] == names[100:110]
    part = pickle.loads(sent)
    assert [part.raw["train"].load(i)[1] for i in range(10)] == [plan.raw["train"].load(i)[1] for i in range(100, 110)]
    assert part.raw["train"].path(3) == plan.raw["train"].path(103)


def test_small_images_are_many_shards(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan({split: read("many", folder, split) for split in SPLITS}, tmp_path / "store")
    assert len(plan.shards()) == 3
    monkeypatch.setattr(shards, "SHARD_IMAGES", 100)
    assert [shard for shard in plan.shards() if shard[0] == "val"] == [
        ("val", 0, 100),
        ("val", 100, 200),
        ("val", 200, len(plan.raw["val"])),
    ]


def test_images_disk_needed_and_disk_free_are_said_before_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_card(tmp_path / "own")
    for index in range(16):
        title = ("field", "forest")[index % 2]
        write_tiff(tmp_path / f"own/{title}/{index}.tif", image(index, size=8))
    caplog.set_level("INFO", "deflect.data.shards")
    prepare("own", tmp_path / "own", tmp_path / "store")
    [line] = [record.getMessage() for record in caplog.records if record.name == "deflect.data.shards"]
    expected = "own: 16 images of 4 x 8 x 8 uint16; 8.3 kB to write, "
    assert line.startswith(expected)
    assert line.endswith(" free")


def test_tasks_are_made_a_few_at_a_time() -> None:
    made = []

    def tasks() -> Iterator[tuple[int]]:
        for number in range(40):
            made.append(number)
            yield (number,)

    results = in_processes(abs, tasks(), 2)
    first = next(results)
    assert len(made) <= 6
    assert {first, *results} == set(range(40))


def test_ids_longer_than_other_texts_are_read(tmp_path: Path) -> None:
    """A million names are longer than the limit of texts from elsewhere."""
    ids = [f"{index:02d}" + "x" * (1 << 20) for index in range(34)]
    write_ids(tmp_path, "train", ids)
    assert read_ids(tmp_path, "train") == ids


def test_the_ids_of_a_split_are_written_one_by_one(folder: Path, tmp_path: Path) -> None:
    images = read("many", folder, "train")
    for part in ("images.npy", "labels.npy"):
        (tmp_path / f"train.{part}").touch()
    assert peak(lambda: finish_split(tmp_path, "train", images)) < 300_000
