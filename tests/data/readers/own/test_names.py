"""Names, lists and tables of a user's own dataset are read correctly or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from own_data import CARD, image, write_card, write_folders, write_masks, write_table, write_tiff
from paths import ROOT

from deflect.config import read as read_config
from deflect.data.manifest import folder_sha256
from deflect.data.prepare import prepare
from deflect.data.readers import read, sheet_for
from deflect.data.store import Store
from deflect.errors import ConfigError, DataError

DRAWN = {"seed": 0, "fractions": [0.5, 0.25, 0.25]}
MASKS: dict[str, Any] = {"task": "segmentation", "labels": "masks", "ignore": 255, "nodata": 0, "splits": DRAWN}
Change = Callable[[Path], object]


def ids(folder: Path) -> dict[str, list[str]]:
    return {split: read("own", folder, split).ids for split in ("train", "val", "test")}


# ---------------------------------------------------------------------- files


LEFT_OUT: dict[str, tuple[Change, str]] = {
    "deeper folder": (
        lambda f: write_tiff(f / "field/2020/a.tif", image(50)),
        "1 with other names or folders (field/2020/a.tif)",
    ),
    "another ending": (lambda f: (f / "forest/b.jp2").write_bytes(b""), "1 with other names or folders (forest/b.jp2)"),
    "next to the classes": (lambda f: write_tiff(f / "c.TIFF", image(50)), "1 with other names or folders (c.TIFF)"),
    "hidden": (lambda f: (f / "field/._d.tif").write_bytes(b""), "1 hidden (field/._d.tif)"),
    "many": (lambda f: [(f / f"field/{i}.nc").touch() for i in range(5)], "5 with other endings (field/0.nc, "),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_files_that_are_not_read_are_counted_and_named(tmp_path: Path, caplog, name: str) -> None:
    caplog.set_level("WARNING")
    change, expected = LEFT_OUT[name]
    write_folders(tmp_path)
    (tmp_path / "field/field_0.tif.aux.xml").touch()
    (tmp_path / "README.md").touch()
    assert ids(tmp_path)
    assert not caplog.text
    change(tmp_path)
    assert sum(map(len, ids(tmp_path).values())) == 16
    [record] = caplog.records
    assert expected in record.getMessage()


@pytest.mark.parametrize("sign", ["\n", "\u2028", "\x85", "\udce9"])
def test_names_that_are_not_one_line_of_text_are_refused(tmp_path: Path, sign: str) -> None:
    write_folders(tmp_path)
    (tmp_path / "field/field_0.tif").rename(tmp_path / f"field/a{sign}b.tif")
    with pytest.raises(DataError, match=r"has a line break|is not UTF-8") as error:
        ids(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("files", "lists"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
@pytest.mark.parametrize("labels", ["table", "masks", "folders"])
def test_composed_and_decomposed_names_are_equal(tmp_path: Path, files: str, lists: str, labels: str) -> None:
    {"table": write_table, "masks": write_masks, "folders": write_folders}[labels](tmp_path)
    moved = "forest" if labels == "folders" else "tile_2"
    for path in sorted(tmp_path.rglob(f"{moved}*"), reverse=True):
        path.rename(path.with_name(normalize(files, path.name.replace(moved, "tilé_2"))))
    for path in [*tmp_path.glob("*.txt"), *tmp_path.glob("*.csv"), tmp_path / "card.yaml"]:
        path.write_text(normalize(lists, path.read_text().replace(moved, "tilé_2")))
    found = set().union(*ids(tmp_path).values())
    assert (
        {name for name in found if "é" in name} == {name for name in found if "til" in name and "_2" in name} != set()
    )


def test_names_with_special_characters_are_kept_in_the_store(tmp_path: Path) -> None:
    names = ["{site}_0", "a b", "100%", "x#1", "水田", "$a$", "b;c", "Tile_0"]
    write_table(tmp_path / "raw")
    for index, name in enumerate(names):
        (tmp_path / f"raw/images/tile_{index}.tif").rename(tmp_path / f"raw/images/{name}.tif")
    table = (tmp_path / "raw/labels.csv").read_text()
    for index, name in enumerate(names):
        table = table.replace(f"tile_{index}.tif", name)
    (tmp_path / "raw/labels.csv").write_text(table)
    prepare("own", tmp_path / "raw", tmp_path / "store")
    store = Store(tmp_path / "store")
    assert {name for split in ("train", "val", "test") for name in store.split(split).ids} == set(names)


CHANGES: dict[str, Change] = {
    "another image": lambda f: write_tiff(f / "field/field_0.tif", image(77)),
    "an older file": lambda f: os.utime(f / "field/field_0.tif", (1e9, 1e9)),
    "a new file": lambda f: (f / "field/new.tif").touch(),
    "a new folder": lambda f: write_tiff(f / "meadow/a.tif", image(1)),
    "a lost file": lambda f: (f / "field/field_0.tif").unlink(),
    "a new name": lambda f: (f / "field/field_0.tif").rename(f / "field/field_x.tif"),
    "braces": lambda f: (f / "field/{site}_0.tif").touch(),
    "a line break": lambda f: (f / "field/a\nb.tif").touch(),
    "no UTF-8": lambda f: (f / "field/\udce9.tif").touch(),
    "behind a link": lambda f: (f.parent / "elsewhere/a.tif").touch(),
    "the card": lambda f: write_card(f, scale=0.0002),
}


@pytest.mark.parametrize("name", CHANGES)
def test_any_change_in_a_folder_changes_its_hash(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "fields"
    write_folders(folder, per_class=2)
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "field/above").symlink_to(folder)
    before = folder_sha256(folder)
    assert folder_sha256(folder) == before
    CHANGES[name](folder)
    assert folder_sha256(folder) != before


def test_hidden_files_and_the_manifest_do_not_change_the_hash(tmp_path: Path) -> None:
    write_folders(tmp_path, per_class=1)
    before = folder_sha256(tmp_path)
    for name in ("manifest.json", ".DS_Store", "field/._field_0.tif"):
        (tmp_path / name).touch()
    assert folder_sha256(tmp_path) == before


# ---------------------------------------------------------------------- splits


def test_class_folders_in_a_folder_per_split(tmp_path: Path) -> None:
    for split, label, index in [(s, c, i) for s in ("train", "val", "test") for c in CARD["classes"] for i in range(2)]:
        write_tiff(tmp_path / split / label / f"{index}.tif", image(index))
    write_card(tmp_path)
    with pytest.raises(DataError, match=r"a folder per split \(test, train, val\); .* write `splits: folders`"):
        ids(tmp_path)
    write_card(tmp_path, splits="folders")
    assert ids(tmp_path)["val"] == ["val/field/0", "val/field/1", "val/forest/0", "val/forest/1"]
    assert [read("own", tmp_path, "test").load(i)[1] for i in range(4)] == [0, 0, 1, 1]
    (tmp_path / "val").rename(tmp_path / "valid")
    with pytest.raises(DataError, match="expected folders train, val and test, found test, train, valid; rename"):
        ids(tmp_path)


def test_masks_in_a_folder_per_split(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_masks(tmp_path / split, n=2)
        (tmp_path / split / "card.yaml").unlink()
    write_card(tmp_path, task="segmentation", labels="masks", ignore=255, nodata=0, splits="folders")
    assert ids(tmp_path)["train"] == ["train/tile_0", "train/tile_1"]
    assert read("own", tmp_path, "test").load(0)[1][5, 5] == -1


@pytest.mark.parametrize(
    ("splits", "counts"),
    [
        ({"seed": 0, "fractions": [0.6, 0.2, 0.2]}, "train 2, val 2, test 0"),
        ({"train": "a.txt", "val": "b.txt", "test": "c.txt"}, "train 4, val 0, test 0"),
    ],
)
def test_too_few_images_for_the_splits_are_counted(tmp_path: Path, splits: object, counts: str) -> None:
    write_folders(tmp_path, per_class=2, splits=splits)
    (tmp_path / "a.txt").write_text("field/field_0\nfield/field_1\nforest/forest_0\nforest/forest_1\n")
    for empty in ("b.txt", "c.txt"):
        (tmp_path / empty).touch()
    with pytest.raises(DataError, match=f"each split needs one or more images, found {counts};"):
        ids(tmp_path)


def test_an_unused_column_of_splits_is_logged(tmp_path: Path, caplog) -> None:
    write_table(tmp_path, n=16)
    write_card(tmp_path, labels="labels.csv", splits=DRAWN)
    assert ids(tmp_path)
    assert caplog.text.count("column split of the table is not used") == 1


# ---------------------------------------------------------------------- tables


def rewritten(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_text()).encode())


TABLES: dict[str, Callable[[Path], object]] = {
    "semicolons": rewritten(lambda text: text.replace(",", ";")),
    "tabs and CRLF": rewritten(lambda text: text.replace(",", "\t").replace("\n", "\r\n")),
    "BOM and capitals": rewritten(lambda text: "\ufeff" + text.replace("image,label,split", "Image, LABEL, Split")),
    "quoted cells": rewritten(lambda text: "\n".join(f'"{line}"' for line in text.split()).replace(",", '", "')),
    "empty last rows": rewritten(lambda text: text + ",,\n,,\n\n"),
    "empty last columns": rewritten(lambda text: text.replace("\n", ",,\n")),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_spreadsheets(tmp_path: Path, name: str) -> None:
    write_table(tmp_path)
    before = ids(tmp_path)
    TABLES[name](tmp_path / "labels.csv")
    assert ids(tmp_path) == before
    assert [read("own", tmp_path, "test").load(i)[1] for i in range(2)] == [1, 1]


WRONG_TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "other columns": (
        rewritten(lambda text: text.replace("image,label", "Filename;Class")),
        "expected columns image, label, split and a row per image, found columns 'Filename;Class', 'split'",
    ),
    "cp1252": (
        lambda path: path.write_bytes(path.read_text().replace("tile_1", "tilé_1").encode("cp1252")),
        r"found bytes of Windows-1252 \(cp1252\) or another 8-bit encoding in line 3; save it as UTF-8",
    ),
    "UTF-16": (lambda path: path.write_bytes(path.read_text().encode("utf-16")), "found bytes of UTF-16 in line 1"),
    "comma in a cell": (
        rewritten(lambda text: text.replace("tile_0.tif,field", "tile_0.tif,field, wet")),
        "has 4 cells and the header 3; put a cell that contains the separator in quotes",
    ),
    "column twice": (rewritten(lambda text: text.replace("image,label,", "image,label,label,")), "have one name"),
    "open quote": (rewritten(lambda text: text.replace("tile_6", '"tile_6')), "no table of text"),
    "no row": (
        rewritten(lambda text: "\n".join(text.split("\n")[:4])),
        r"5 images have no row \(tile_3, tile_4, tile_5, ...\)",
    ),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_an_error_in_a_table_is_one_line_with_what_was_found(tmp_path: Path, name: str) -> None:
    change, message = WRONG_TABLES[name]
    write_table(tmp_path)
    change(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=message) as error:
        ids(tmp_path)
    assert "\n" not in str(error.value)


def test_images_without_mask_are_counted(tmp_path: Path) -> None:
    write_masks(tmp_path)
    for index in (1, 2, 3, 4):
        (tmp_path / f"masks/tile_{index}.tif").unlink()
    with pytest.raises(DataError, match=r"4 images without mask \(tile_1.tif, tile_2.tif, tile_3.tif, ...\)"):
        ids(tmp_path)


@pytest.mark.parametrize(("images", "masks"), [("{id}.tif", "{id}_mask.tif"), ("{id}_x.tif", "{id}.tif")])
def test_images_and_masks_in_one_folder(tmp_path: Path, images: str, masks: str) -> None:
    write_masks(tmp_path, n=4)
    write_card(tmp_path, **MASKS, images=images, masks=masks)
    for path in list(tmp_path.glob("*/*.tif")):
        pattern = images if path.parent.name == "images" else masks
        path.rename(tmp_path / pattern.replace("{id}", path.stem))
    assert sorted(name for names in ids(tmp_path).values() for name in names) == [f"tile_{n}" for n in range(4)]
    assert read("own", tmp_path, "train").load(0)[1][5, 5] == -1


# ---------------------------------------------------------------------- cards


@pytest.mark.parametrize("classes", ["[yes, no]", "[1, 2]", "[2020-01-01, 2021-01-01]", "[on, forest]", "[~, forest]"])
def test_class_names_that_yaml_reads_as_values_need_quotes(tmp_path: Path, classes: str) -> None:
    write_card(tmp_path, classes="@")
    path = tmp_path / "card.yaml"
    path.write_text(path.read_text().replace("'@'", classes))
    with pytest.raises(DataError, match=r"classes: expected names of one line of text, found .*put a name in quotes"):
        sheet_for("own", tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": 2020}, "title: expected one line of text, found 2020 .*in quotes"),
        ({"title": "a\nb"}, "title: expected one line"),
        ({"classes": ["a", "b\u2028"]}, "classes: expected names of one line"),
        ({"classes": ["é", "e\u0301"]}, "two or more different names"),
        ({"splits": "folders", "labels": "labels.csv"}, "splits: expected"),
    ],
)
def test_names_in_a_card_are_lines_of_text(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_card(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        sheet_for("own", tmp_path)


def test_the_source_may_be_a_date(tmp_path: Path) -> None:
    write_folders(tmp_path / "raw")
    with open(tmp_path / "raw/card.yaml", "a") as file:
        file.write("source: 2024-05-01\nlicence: 4.0\n")
    assert prepare("own", tmp_path / "raw", tmp_path / "store").source == "2024-05-01"


def test_a_key_given_twice_is_refused_in_card_and_configuration(tmp_path: Path) -> None:
    write_card(tmp_path)
    card, config = tmp_path / "card.yaml", tmp_path / "config.yaml"
    card.write_text(card.read_text() + "scale: 0.001\n")
    config.write_text((ROOT / "config.yaml").read_text() + "study: paper\n")
    with pytest.raises(DataError, match="key 'scale' is given twice"):
        sheet_for("own", tmp_path)
    with pytest.raises(ConfigError, match="key 'study' is given twice"):
        read_config(config)


# ---------------------------------------------------------------------- the workflow


def snakemake(project: Path, *options: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["snakemake", "--cores", "1", *options]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_braces_in_a_name_do_not_stop_the_workflow_and_warnings_reach_its_end(tmp_path: Path) -> None:
    for part in ("Snakefile", "workflow", "src", "notebooks", "references"):
        (tmp_path / part).symlink_to(ROOT / part)
    config = (ROOT / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace("[so2sat, brick_kiln,", "[fields, so2sat, brick_kiln,", 1))
    raw, target = tmp_path / "data/raw/fields", "data/prepared/mini/fields/store.json"
    write_folders(raw)
    (raw / "field/field_0.tif").rename(raw / "field/{site}_0.tif")
    (raw / "field/a.jp2").touch()
    text = snakemake(tmp_path, target)
    assert "Nothing to be done" in snakemake(tmp_path, "-n", target)
    write_tiff(raw / "field/{site}_0.tif", image(77))
    assert "prepare fields" in snakemake(tmp_path, "-n", target)
    assert "warning: data/raw/fields: files that are not read: 1 with other" in text
    (tmp_path / "config.yaml").write_text(config + "study: paper\n")
    assert "key 'study' is given twice" in snakemake(tmp_path, "-n", target)
