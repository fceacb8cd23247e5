"""The page of a dataset has every part, shows names as they are written, and opens in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from good_store import CLASSES, good
from own_data import write_card, write_folders, write_tiff
from paths import REAL, ROOT, needs_real
from real_imagery import L1C
from tiny_store import BANDS, tiny_store, write_store

from deflect.checking.check import check
from deflect.checking.facts import read_splits
from deflect.checking.labels import count
from deflect.checking.thumbnails import groups
from deflect.cli import main
from deflect.data.prepare import prepare
from deflect.data.store import Store

PARTS = ("What was checked", "What it is", "Labels", "Reflectance", "Images", "Places", "Near-duplicates")
SCRIPT = "<script>document.title='changed'</script>"


class Tags(HTMLParser):
    """The names of all tags, and the images without a text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.silent: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag == "img" and not dict(attrs).get("alt"):
            self.silent.append(self.get_starttag_text() or "")


def neighbours(folder: Path) -> None:
    """16 images in a row from west to east, with names that a browser must not read as its own."""
    write_folders(folder, classes=["<i>field", "forest & co"], title=SCRIPT, source=SCRIPT, licence="a & b")
    (folder / "field").rename(folder / "<i>field")
    (folder / "forest").rename(folder / "forest & co")
    random = np.random.default_rng(0)
    for place, path in enumerate(sorted(folder.glob("*/*.tif"))):
        pixels = random.integers(300, 4000, (4, 4, 4)).repeat(4, 1).repeat(4, 2).astype(np.uint16)
        write_tiff(path, pixels, transform=rasterio.Affine(10, 0, 5e5 + 160 * place, 0, -10, 5e6))


def test_the_command_prepares_and_writes_a_page_of_a_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    neighbours(tmp_path / "data/raw/fields")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["studies"]["mini"]["datasets"] = ["fields"]
    config["studies"]["mini"].pop("variants", None)
    for key in ("label_fractions", "tuning"):
        config["studies"]["mini"].pop(key, None)
    config["studies"] = {"mini": config["studies"]["mini"]}
    Path("config.yaml").write_text(yaml.safe_dump(config | {"study": "mini"}))
    assert main(["data", "check", "fields"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("results/mini/checks/fields.html\n")
    assert re.search(
        r"Neighbours on the ground: \d images? of val beside train.*, e\.g\. \w+\.tif and \w+\.tif", printed
    )
    page = Path("results/mini/checks/fields.html").read_text()
    assert "of val beside train" in page
    assert page.count("<h2>") == len(PARTS) - 1
    tags = Tags(page)
    assert "script" not in tags.names
    assert "i" not in tags.names
    assert escape(SCRIPT) in page
    assert not tags.silent
    assert "without a place: 0" in page
    assert main(["data", "check", "fields", "--out", "look.html"]) == 0
    assert Path("look.html").read_bytes() == Path("results/mini/checks/fields.html").read_bytes()


def test_one_page_cannot_be_of_two_datasets() -> None:
    assert main(["data", "check", "so2sat", "mados", "--out", "look.html"]) == 2


def test_a_browser_shows_every_part(tmp_path: Path) -> None:
    if not (browser := shutil.which("chromium")):
        pytest.skip("no chromium on this machine")
    check(tiny_store(tmp_path / "store", "segmentation"), tmp_path / "raw", tmp_path / "page.html")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [browser, *options, "--dump-dom", f"file://{tmp_path / 'page.html'}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    for part in PARTS:
        assert f">{part}</" in done.stdout
    assert "things look suspicious" in done.stdout  # a tiny store has few images
    assert done.stdout.count("class0") > 1


def test_good_data_gives_a_calm_line_that_names_the_checks(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", good(), BANDS, CLASSES, gsd=10.0)
    check(store, tmp_path / "raw", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Nothing suspicious found in these checks:</b> number of images in each split; every class" in page
    assert "not checked" in page  # places
    assert "overlap or touch" not in page.partition("What was checked")[0]


@needs_real
def test_real_sentinel2_is_in_its_usual_range(tmp_path: Path) -> None:
    """Nine images of EuroSAT: few images and missing classes are true; nothing is said about pixels or places."""
    folder = tmp_path / "raw"
    shutil.copytree(REAL / "eurosat_ms", folder)
    names = sorted(f"{path.parent.name}/{path.stem}" for path in folder.glob("*/*.tif"))
    classes = sorted(path.name for path in folder.iterdir())
    for place, split in enumerate(("train", "val", "test")):
        (folder / f"{split}.txt").write_text("\n".join(names[place::3]) + "\n")
    splits = {split: f"{split}.txt" for split in ("train", "val", "test")}
    write_card(folder, bands=L1C, classes=classes, splits=splits)
    prepare("eurosat", folder, tmp_path / "store")
    checked = check(Store(tmp_path / "store"), folder, tmp_path / "page.html")
    assert {one.title for one in checked if one.findings} == {
        "number of images in each split",
        "every class in every split",
    }
    assert not any(one.skipped for one in checked)
    assert "train 3, val 3, test 3; without a place: 0" in (tmp_path / "page.html").read_text()


def test_labels_of_every_task_are_counted() -> None:
    rows = np.arange(3)
    several = count(np.array([[1, 0], [1, 1], [0, 0]], np.uint8), 2, rows)
    assert (several.kind, several.counts.tolist(), several.blank.tolist()) == (
        "positives",
        [2, 1],
        [False, False, True],
    )
    assert several.shares.tolist() == pytest.approx([2 / 3, 1 / 3])
    numbers = count(np.array([1.5, np.nan, 3.0], np.float32), 1, rows)
    assert (numbers.kind, numbers.values.tolist(), numbers.blank.tolist()) == (
        "values",
        [1.5, 3.0],
        [False, True, False],
    )
    maps = np.ones((3, 4, 4), np.float32)
    maps[0], maps[1, :2] = np.nan, np.nan
    assert count(maps, 1, rows).unlabelled == pytest.approx(0.5)
    masks = count(np.array([[[0, 0], [1, -1]]] * 3, np.int8), 3, rows[:2])
    assert (masks.counts.tolist(), masks.images.tolist(), masks.of) == ([4, 2, 0], [2, 2, 0], 2)


def test_each_class_is_shown(tmp_path: Path) -> None:
    for task in ("classification", "segmentation"):
        train = read_splits(tiny_store(tmp_path / task, task))["train"]
        shown = groups(train, ("class0", "class1", "class2"))
        labels = np.asarray(train.split.labels)
        if task == "classification":
            assert [(title, set(labels[rows])) for title, rows in shown] == [(f"class{k}", {k}) for k in range(3)]
        else:
            assert set(np.unique(labels[shown[0].rows])) == {-1, 0, 1}
