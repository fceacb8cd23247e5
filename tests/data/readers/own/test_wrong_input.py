"""What goes wrong in a user's files, tables and cards ends in one line that names the place and what to do."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from faults import (
    COLOURS,
    DRAWN,
    MULTILABEL,
    RED,
    REGRESSION,
    TWO,
    UTM33,
    Fault,
    bands,
    card,
    convert,
    cut_short,
    first,
    jpeg2000,
    kaggle,
    mask,
    mask_card,
    names,
    palette,
    rows,
    sparse,
    table,
    tag,
    then,
    tiff,
    two_pages,
    virtual,
)
from own_data import BANDS, CARD, image, write_card, write_folders, write_tiff
from paths import ROOT
from rasterio import Affine

from deflect.cli import main
from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.data.readers.own.card import OwnCard
from deflect.errors import DeflectError

#: What to do begins with one of these, after the fault.
REMEDY = re.compile(
    r"[;:] ((if|to) [^;]*, )?(add|change|choose|convert|correct|crop|cut|did you mean|fetch|leave|link|put|remove|"
    r"rename|save|set|split|store|use|warp|write) "
)


BAD: dict[str, tuple[Fault, str]] = {
    # patterns
    "brace open": (names("{class}/{id.tif"), "images: .*correct the braces"),
    "braces empty": (names("{class}/{}.tif"), "images: .*correct the braces"),
    "space in a part": (names("{class}/{my id}.tif"), "images: .*correct the braces"),
    "pattern above the folder": (names("../{class}/{id}.tif"), "images: .*dataset's folder.*link"),
    "pattern from the root": (names("/data/{class}/{id}.tif"), "images: .*dataset's folder.*link"),
    "backslashes": (names("{class}\\{id}.tif"), r"images: expected / between folders, .*write / for each"),
    "ending": (names("{class}/{id}.nc"), r"images: .*end in \.tif, .*convert"),
    "no {band}": (then(bands(), write_card), "lists 4 bands, the file has 1; .*put {band} into images"),
    "two endings": (
        first(lambda path: write_tiff(path.with_suffix(".TIFF"), image(9))),
        "field_0.TIFF and field/field_0.tif have one name, field/field_0; rename or remove one",
    ),
    "no {id}": (names("{class}/*.tif"), r"have one name, field; put {id} for \* in '{class}/\*\.tif'"),
    "nothing matches": (
        names("{class}/{id}_{band}.tif"),
        r"expected images {class}/{id}_{band}\.tif, found other files: 8 with other names .*field/field_0.tif.*correct",
    ),
    "part twice": (names("{class}/{id}/{id}.tif"), r"expected images .*found other files: 8"),
    "one pattern for both": (
        mask_card(images="a/{id}.tif", masks="a/{id}.tif"),
        "masks: expected other files than images, 'a/{id}.tif'; correct",
    ),
    "{band} in masks": (mask_card(masks="masks/{id}_{band}.tif"), r"masks: {band} is no part of images.*correct"),
    # bands in files of their own
    "a file has all bands": (
        bands(lambda f: [write_tiff(path, image(0)) for path in f.glob("*/0_B03.tif")]),
        r"0_B03\.tif: .*lists 1 band, the file has 4",
    ),
    "gsd of no band": (bands(gsd=15), "pixels of 10 m by the file's coordinates, card.yaml says gsd 15"),
    "sizes without places": (
        bands(
            lambda f: [
                write_tiff(path, image(0, 15 if "B08" in path.name else 16, 1), crs=None, transform=Affine.identity())
                for path in f.glob("*/0_*.tif")
            ]
        ),
        r"0_B08\.tif: 15 x 15 pixels .*16 x 16.*cut",
    ),
    "null in files of their own": (bands(bands=[*BANDS, None]), "bands: null is for a channel of a file; leave out"),
    "file without {band}": (
        card(bands=[{"name": "B02", "file": "blue"}, *BANDS[1:]]),
        "bands: B02: file: expected only .*; put {band} into images",
    ),
    "scale tags of one image": (
        bands(lambda f: [tag(path) for path in f.glob("*/0_B03.tif")]),
        r"0_B03\.tif: the file has the value stored \* 0\.001",
    ),
    # channels
    "use names a skipped channel": (
        card(bands=[*BANDS[:3], "SCL"], use=[*BANDS[:3], "SCL"]),
        "bands: .*no band 'SCL'.*only bands to keep in `use`",
    ),
    "use names no channel": (card(use=[*BANDS[:3], "B11"]), "use: .*no band 'B11'.*this set has B02, B03, B04, B08"),
    "use is empty": (card(use=[]), "use: .*"),
    "a band twice": (card(bands=["B02", "B03", "B04", "B04"]), "bands: .*B04"),
    "no red": (card(bands=["B02", "B03", "B05", "B08"]), "bands: .*red"),
    "sensor in another spelling": (card(sensor="Sentinel-2"), "did you mean 'sentinel2'"),
    # masks
    "mask one pixel larger": (
        mask(np.zeros((1, 17, 17), np.uint8)),
        "expected a mask of 16 x 16 pixels like its image, found 17 x 17; .*cut",
    ),
    "mask on another grid": (mask(TWO, UTM33), r"a corner is .* \(in another coordinate system\); warp the mask"),
    "colours without a table": (mask(RED), "expected a mask of one band, found 3; .*colours"),
    "colour not listed": (
        mask(np.roll(RED, 2, 0), colours=COLOURS, ignore=None),
        r"100 % of the pixels .*e\.g\. \[0, 0, 255\]; add",
    ),
    "colours changed by JPEG": (
        mask(np.where(TWO, RED, np.roll(RED, 1, 0)), {"compress": "jpeg"}, colours=COLOURS, ignore=None),
        r"have a colour that card\.yaml does not list, .*JPEG changes colours",
    ),
    "palette without a colour": (
        then(mask_card(colours=COLOURS, ignore=None), palette),
        r"50 % .*e\.g\. \[0, 0, 255\]; add it",
    ),
    "one band of numbers with colours": (mask_card(colours=COLOURS, ignore=None), "found one band of numbers; remove"),
    "fractions in a mask": (mask(TWO.astype(np.float32) / 2), "expected a mask of whole numbers, found 0.5; write"),
    "labels from 1": (
        mask(TWO + 1, ignore=None),
        "expected classes 0 to 1 in the mask, found 2; set label_offset: 1 in card.yaml if",
    ),
    "labels 0 and 255": (
        mask(TWO * 255, ignore=None),
        "expected classes 0 to 1 in the mask, found 255; set ignore: 255 in card.yaml if",
    ),
    "a third label": (mask(TWO + 3, ignore=None), "expected classes 0 to 1 in the mask, found 4; set ignore: 4 "),
    "label_offset of labels from 0": (
        mask(TWO, label_offset=1),
        "expected classes 1 to 2 in the mask, found 0; set ignore: 0 ",
    ),
    "a class is the mask's nodata": (mask(TWO, {"nodata": 0}), "the file says nodata is 0 .*add it to ignore"),
    "all ignored": (mask(TWO * 0 + 255), "nothing in train has a label; correct"),
    "a mask for two images": (mask_card(masks="masks/*.tif"), r"have one name, .*; put {id} for \* in 'masks/\*\.tif'"),
    # tables
    "near class": (table(rows("field", "forst", "field", "field")), "b: .*found 'forst'; did you mean 'forest'"),
    "no number": (
        table(rows("1", "high", "2", "3"), **REGRESSION),
        "b: expected a number as label, found 'high'; correct",
    ),
    "nan": (table(rows("1", "nan", "2", "3"), **REGRESSION), "b: expected a number as label, found 'nan'; .*remove"),
    "inf": (table(rows("1", "inf", "2", "3"), **REGRESSION), "b: expected a number as label, found 'inf'"),
    "empty number": (table(rows("1", "", "2", "3"), **REGRESSION), "b: expected a number as label, found ''"),
    "decimal comma": (
        table(
            rows("1,5", "2,5", "1,5", "3,5")
            .replace(",", ";", 1)
            .replace("a,", "a;")
            .replace("b,", "b;")
            .replace("c,", "c;")
            .replace("d,", "d;"),
            **REGRESSION,
        ),
        r"a: expected a number as label, found '1,5'; write a point for the comma",
    ),
    "; between classes": (
        table(rows("field", "field;forest", "field", "field"), **MULTILABEL),
        r"b: .*found 'field;forest'; .*write \|",
    ),
    "2 in a column of a class": (
        table(rows("0,1", "1,2", "0,0", "1,1", head="image,field,forest"), **MULTILABEL),
        "b: expected 0 or 1 in the column of each class, found '2'; correct",
    ),
    "no column of a class": (
        table(rows(*"0101", head="image,field"), **MULTILABEL),
        "expected columns image, field, forest .*correct it",
    ),
    "label below label_offset": (
        table(rows("1", "0", "2", "1"), label_offset=1),
        "b: .*a whole number from 1 to 2, found '0'; correct",
    ),
    "no column of groups": (
        table(rows(*["field"] * 4), splits=DRAWN | {"group": "farm"}),
        "expected columns image, label, farm",
    ),
    "empty group": (
        table(
            rows("field,x", "field,", "field,y", "field,z", head="image,label,farm"), splits=DRAWN | {"group": "farm"}
        ),
        "b: column farm is empty; write",
    ),
    "image with a path": (
        table(rows(*["field"] * 4).replace("\nb", "\nimages/b.tif")),
        r"no image 'images/b'; write 'b'",
    ),
    "image with another ending": (
        table(rows(*["field"] * 4).replace("\nb", "\nb.jpg")),
        r"no image 'b\.jpg'; write 'b'",
    ),
    "image twice": (
        table(rows(*["field"] * 4).replace("\nb,", "\nb.tif,field\nb,")),
        "lists 'b' more than once; remove",
    ),
    "split validation": (
        table(
            rows("field,train", "field,validation", "field,test", "field,test", head="image,label,split"),
            splits="column",
        ),
        "split of b must be train, val or test, found 'validation'; correct",
    ),
    "only a header": (table("image,label\n"), "4 images have no row"),
    "an Excel file": (
        then(table(""), lambda f: (f / "labels.csv").write_bytes(b"PK\3\4\x14\0\6\0\x8b\xff\0\0")),
        r"labels\.csv: expected text in UTF-8, found bytes of an Excel file in line 1; save it as",
    ),
    # splits
    "one block": (card(splits=DRAWN | {"block_km": 4000}), "found train 8, val 0, test 0 .*too few blocks.*change"),
    "two groups": (
        names("{class}/{farm}_{id}.tif", splits=DRAWN | {"group": "farm"}),
        "too few blocks or groups.*change splits",
    ),
    "list of a square": (
        then(
            mask_card(size=8, stride=8, splits={s: f"{s}.txt" for s in ("train", "val", "test")}),
            lambda f: (f / "val.txt").write_text("tile_2/0_0\n"),
        ),
        r"val\.txt: 1 names without an image \('tile_2/0_0'\)",
    ),
    "no list": (card(splits={s: f"{s}.txt" for s in ("train", "val", "test")}), r"train\.txt: missing.*add the file"),
    "an image in two lists": (
        then(
            card(splits={s: f"{s}.txt" for s in ("train", "val", "test")}),
            lambda f: [
                (f / f"{s}.txt").write_text(f"field/field_{n}\nforest/forest_1\n")
                for n, s in enumerate(("train", "val", "test"))
            ],
        ),
        "train and val share 1 images, e.g. 'forest/forest_1'; .*correct the split files",
    ),
    "all in train": (card(splits={"seed": 0, "fractions": [1.0, 0.0, 0.0]}), "splits: expected three fractions"),
    "percentages": (
        card(splits={"seed": 0, "fractions": [60, 20, 20]}),
        "splits: expected three fractions that add up",
    ),
    "group and block_km": (
        card(splits=DRAWN | {"group": "id", "block_km": 5}),
        "splits: expected either group or block_km, found both",
    ),
    "block_km in text": (card(splits=DRAWN | {"block_km": "5 km"}), "splits: .*in km as block_km, found '5 km'"),
    "split folders without {split}": (names("{class}/{id}.tif", splits="folders"), r"images: expected {split}.*"),
    "{split} with drawn splits": (
        names("{split}/{class}/{id}.tif"),
        "images: {split} is read with `splits: folders` alone; write",
    ),
    "class folders without {class}": (names("all/{id}.tif"), "images: expected {class}"),
    # pixels
    "complex": (tiff(image(0).astype(np.complex64)), "pixels of type complex64 are not read; store"),
    "complex integers": (
        first(lambda path: write_tiff(path, image(0).astype(np.complex64), dtype="complex_int16")),
        "pixels of type complex_int16 are not read; store",
    ),
    "complex mask": (mask(TWO.astype(np.complex64)), "pixels of type complex64 are not read; store"),
    "all nodata": (tiff(image(0) * 0, nodata=0), r"_0\.tif: every pixel is nodata or not finite; remove"),
    "not a number": (tiff(np.full((4, 16, 16), np.nan, np.float32)), r"_0\.tif: every pixel is nodata or not finite; "),
    "TIFF cut short": (first(cut_short), r"_0\.tif: damaged or cut short .*; fetch"),
    "JPEG 2000 cut short": (
        lambda f: jpeg2000(f, lambda path: path.write_bytes(path.read_bytes()[:3000])),
        r"0\.jp2: damaged or cut short",
    ),
    "zero bytes": (first(lambda path: path.write_bytes(b"")), r"_0\.tif: damaged or cut short"),
    "VRT as .tif": (first(virtual), r"_0\.tif: damaged or cut short .*not recognized"),
    "two images in a file": (first(two_pages), r"_0\.tif: has 2 images; split them into files"),
    "PNG of three bands": (
        then(
            card(images="{class}/{id}.png"),
            lambda f: [convert(path, image(n)[:3], "PNG", ".png") for n, path in enumerate(f.glob("*/*.tif"))],
        ),
        r"\.png: card\.yaml lists 4 bands, the file has 3; correct either",
    ),
    "huge": (first(sparse), r"_0\.tif: .*30000 x 30000.*cut it"),
    # the card
    "scale 0": (card(scale=0), "scale: .*found 0"),
    "scale without end": (card(scale=float("inf")), "scale: .*found inf"),
    "gsd without end": (card(gsd=float("inf")), "gsd: .*found inf"),
    "bands as text": (card(bands="B02 B03 B04 B08"), "bands: expected a valid list, found 'B02"),
    "classes as numbers of names": (card(classes={0: "field", 1: "forest"}), "classes: expected a valid list"),
    "a colour's name": (
        mask_card(colours={"field": "red", "forest": "green"}),
        "colours: .*'#ff8800' in quotes, found 'red'",
    ),
    "offset as text": (card(offset="-1000 DN"), "offset: expected a valid number, found '-1000 DN'"),
    "classes and target": (card(target="x"), "target: expected classes alone .*remove it"),
    "colours of a regression": (
        table(rows(*"1234"), **REGRESSION, colours={"a": [1, 2, 3]}),
        "colours: .*",
    ),
    "colours of other classes": (mask_card(colours={"a": [1, 2, 3], "b": [3, 2, 1]}), "colours: .*field, forest"),
    "one colour for two": (
        mask_card(colours={name: [1, 2, 3] for name in CARD["classes"]}),
        "colours: .*different colours",
    ),
    "stride without size": (mask_card(stride=8), "stride: expected `size` as well"),
    "stride larger than size": (mask_card(size=4, stride=8), "stride: .*at most"),
    "size larger than the image": (mask_card(size=32, stride=32), "16 x 16 pixels; set size: 16 or less"),
    "colour to ignore of numbers": (mask_card(ignore=[0, 0, 0]), "ignore: expected a whole number, .*; correct"),
    "number to ignore of colours": (mask_card(colours=COLOURS), "ignore: expected a colour, .*found 255; correct"),
    "size without end": (card(size=10**60), "size: .*; correct it"),
    "size in part pixels": (mask_card(size=12.5), "size: .*found 12.5"),
    "label_offset of folders": (card(label_offset=1), "label_offset: .*remove"),
    "ignore of folders": (card(ignore=0), "ignore: .*remove"),
    "gsd with a unit": (card(gsd="10 m"), "gsd: .*found '10 m'"),
    # files
    "files in folders of their names": (
        then(card(), kaggle),
        r"expected images {class}/{id}\.tif, found other files: 8 .*field/field_0.tif/field_0.tif",
    ),
    "broken link": (first(lambda path: (path.unlink(), path.symlink_to("gone.tif"))), r"_0\.tif: no such file"),
    "a link to itself": (first(lambda path: (path.unlink(), path.symlink_to(path.name))), r"_0\.tif: .*symbolic links"),
    "a card that is a folder": (
        then(card(), lambda f: ((f / "card.yaml").unlink(), (f / "card.yaml").mkdir())),
        r"card\.yaml: expected a file, found a folder; remove it",
    ),
    "folders in a circle": (
        then(names("{class}/*/{id}.tif"), lambda f: [(f / f"field/{n}").symlink_to(f) for n in "ab"]),
        "found other files: 8 ",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_with_place_and_remedy(kind: str, tmp_path: Path) -> None:
    write, expected = BAD[kind]
    raw, store = tmp_path / "raw", tmp_path / "store"
    raw.mkdir()
    write(raw)
    with pytest.raises(DeflectError) as error:
        prepare("own", raw, store)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(raw)), "the file, or the folder"
    assert re.search(expected, message)
    assert REMEDY.search(message)
    assert not store.exists()


ODD: list[Any] = [[], {}, "", "x", 0, -1, 1.5, True, float("nan"), 10**400, [None], [[]], {"a": 1}, {1: None}]
ODD += [date(2020, 1, 1), "{", "a\0b.tif", [1, 2, 3], [{"name": "B02", "scale": "x"}], {"seed": None, "fractions": 1}]


@pytest.mark.parametrize("key", OwnCard.model_fields)
def test_no_value_of_a_key_ends_in_a_traceback(key: str, tmp_path: Path) -> None:
    mask_card()(tmp_path)
    messages = []
    good = yaml.safe_load((tmp_path / "card.yaml").read_text())
    for value in ODD:
        (tmp_path / "card.yaml").write_text(yaml.safe_dump(good | {key: value}))
        try:
            read("own", tmp_path, "train").load(0)
        except DeflectError as error:
            messages.append(str(error))
    assert all(message.startswith(str(tmp_path)) and len(message.splitlines()) == 1 for message in messages)


def test_the_command_ends_with_the_line_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = (ROOT / "config.yaml").read_text().replace("[so2sat, brick_kiln,", "[own, so2sat, brick_kiln,")
    (tmp_path / "config.yaml").write_text(config)
    mask(TWO + 1, ignore=None)(tmp_path / "data/raw/own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert main(["data", "prepare", "own"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert re.fullmatch(r"deflect: data/raw/own/masks/.*\.tif: .*; set label_offset: 1 .*\n", err)
    assert not list(tmp_path.rglob("store.json"))


@pytest.mark.parametrize("name", ["field/field_0.tif", "field"])
def test_files_that_may_not_be_read(name: str, tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / name).chmod(0)
    try:
        if os.access(tmp_path / name, os.R_OK):
            pytest.skip("an administrator may read every file")
        with pytest.raises(DeflectError, match=f"{name}: permission denied; change its permissions"):
            prepare("own", tmp_path, tmp_path / "store")
    finally:
        (tmp_path / name).chmod(0o700)
