"""``card.yaml``, in which a user describes a dataset of one's own; docs/your_own_dataset.md explains it.

A key that is misspelt, missing or of the wrong kind is an error that names the file and the key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import normalize

import yaml

from deflect.bands import SENSORS, Band, BandSet
from deflect.data.catalog import METRICS, DatasetSheet
from deflect.errors import ConfigError, DataError, DeflectError, flat
from deflect.files import LONGEST_YAML, parse_yaml, read_text
from deflect.settings import SPLITS

CARD = "card.yaml"
MASK_CLASSES = 128  # stores keep masks in 8 bits, with -1 for none
EXPONENT = r"[-+]?[\d.]+[eE][-+]?\d+"
Demand = Callable[..., None]


@dataclass(frozen=True)
class OwnDataCard:
    """The keys of ``card.yaml``; those with a default may be left out."""

    task: str  # classification or segmentation
    sensor: str  # sentinel2, landsat8, hls_s30, or a name of one's own with bands spelt out
    bands: list[Any]  # all channels in their order: names of the sensor's bands, or mappings with the facts of `Band`
    scale: float  # (stored value + offset) * scale is reflectance
    gsd: float  # metres per pixel
    classes: list[str]  # in the order of labels 0, 1, ...
    labels: str  # folders (one per class), masks (images/ and masks/), or the name of a CSV file
    splits: Any  # {seed, fractions}, {train, val, test} with files of ids, column of the CSV, or folders
    use: list[str] | None = None  # the bands to keep; all by default
    offset: float = 0.0  # e.g. -1000 for Sentinel-2 from processing baseline 04.00 on
    nodata: Any = None  # stored value, or list of values, that mean "no measurement"
    ignore: int | None = None  # value of masks that means "no label"
    size: int | None = None  # pixels along the square cut from the middle; else all images must be square and equal
    title: str | None = ""  # name in tables and figures
    source: str = "own data"  # kept in the prepared store
    licence: str = ""


def read_card(path: Path) -> OwnDataCard:
    """Read and check a card.

    Raises:
        DataError: the card is missing, no YAML, or a key is unknown, missing or wrong.
    """
    try:
        content = parse_yaml(read_text(path, LONGEST_YAML))
    except DeflectError as error:
        raise DataError(str(error)) from error
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read as YAML ({flat(error)}); correct the card") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise DataError(f"{path}: expected keys and values, found {found}; see docs/your_own_dataset.md")
    known = {key.name: key for key in fields(OwnDataCard)}
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            raise DataError(f"{path}: unknown key {key!r}; {f'did you mean {close[0]!r}?' if close else 'remove it'}")
    for key, fact in known.items():
        if fact.default is MISSING and key not in content:
            raise DataError(f"{path}: key {key!r} is missing; add it")
    if isinstance(content["classes"], list):  # in the one spelling of accents that names of files get as well
        spelt = [normalize("NFC", name) if isinstance(name, str) else name for name in content["classes"]]
        content |= {"classes": spelt}
    card = OwnDataCard(**content)
    _check(card, partial(_demand, path))
    return card


def _check(card: OwnDataCard, demand: Demand) -> None:
    demand("task", card.task, str(card.task) in METRICS, " or ".join(METRICS))
    demand("scale", card.scale, _number(card.scale) and card.scale > 0, "a positive number")
    demand("gsd", card.gsd, _number(card.gsd) and card.gsd > 0, "metres per pixel")
    demand("offset", card.offset, _number(card.offset), "a number")
    stored = card.offset == 0 or abs(card.offset) >= 1 or card.scale > 0.1
    hint = f" (in reflectance: write {card.offset / card.scale:.6g})"
    demand("offset", card.offset, stored, "in the unit of stored values, before scale", hint)
    demand("ignore", card.ignore, card.ignore is None or type(card.ignore) is int, "a whole number")
    demand("size", card.size, card.size is None or (type(card.size) is int and card.size > 0), "pixels")
    demand("nodata", card.nodata, all(map(_number, _nodata(card))), "a number or a list of numbers")
    _check_names(card, demand)
    if card.task == "segmentation":
        few, fits, ways = len(card.classes) <= MASK_CLASSES, card.labels == "masks", "masks"
        demand("classes", len(card.classes), few, f"at most {MASK_CLASSES} for masks")
    else:
        fits = card.labels == "folders" or str(card.labels).endswith(".csv")
        ways = "folders or the name of a .csv file"
    demand("labels", card.labels, fits, f"{ways} (task {card.task})")
    demand("labels", card.labels, _is_inside(str(card.labels)), "a file of the dataset's folder")
    _check_splits(card, demand)


def _check_names(card: OwnDataCard, demand: Demand) -> None:
    """What tables, figures and lists show is text of one line."""
    wanted = "a list of two or more different names"
    demand("classes", card.classes, isinstance(card.classes, list), wanted)
    for name in card.classes:
        demand("classes", name, _one_line(name) and name.strip() == name != "", "names of one line", _quote(name))
    demand("title", card.title, card.title is None or _one_line(card.title), "one line", _quote(card.title))
    demand("classes", card.classes, len(set(card.classes)) == len(card.classes) > 1, wanted)


def _one_line(text: Any) -> bool:
    return isinstance(text, str) and len(text.splitlines()) < 2


def _quote(value: Any) -> str:
    """A hint for what YAML takes for something else than a name."""
    if isinstance(value, str):
        return ""
    return " (YAML reads yes, no, on, off, numbers and dates as values; put a name in quotes to keep it as it is)"


def _is_inside(name: str) -> bool:
    """Whether a file name stays in the folder of the dataset."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _check_splits(card: OwnDataCard, demand: Demand) -> None:
    splits = card.splits
    if splits == ("column" if str(card.labels).endswith(".csv") else "folders"):
        return
    keys = set(splits) if isinstance(splits, dict) else set()
    if keys == {"seed", "fractions"}:
        parts = splits["fractions"]
        three = isinstance(parts, list) and len(parts) == 3 and all(_number(part) and part > 0 for part in parts)
        demand("splits.fractions", parts, three and abs(sum(parts) - 1) < 1e-6, "three shares that add up to 1")
        demand("splits.seed", splits["seed"], type(splits["seed"]) is int, "a whole number")
        return
    wanted = "{seed, fractions}, or a file of ids for each of train, val and test, or column with a CSV, else folders"
    files = keys == set(SPLITS) and all(isinstance(name, str) for name in splits.values())
    demand("splits", splits, files, wanted)
    demand("splits", splits, all(map(_is_inside, splits.values())), "files of the dataset's folder")


def _demand(path: Path, key: str, found: Any, holds: bool, expected: str, hint: str = "") -> None:
    if not holds:
        if re.fullmatch(EXPONENT, str(found)):
            hint = " (YAML takes 1e-4 for text: write 1.0e-4 or 0.0001)"
        raise DataError(f"{path}: {key} must be {expected}, found {found!r}{hint}; correct the card")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _nodata(card: OwnDataCard) -> tuple[Any, ...]:
    return () if card.nodata is None else tuple(card.nodata) if isinstance(card.nodata, list) else (card.nodata,)


def stored_bands(card: OwnDataCard, path: Path) -> BandSet:
    """The bands of the GeoTIFFs, in the order of their channels."""
    _demand(path, "bands", card.bands, isinstance(card.bands, list) and bool(card.bands), "a list")
    try:
        return BandSet(card.sensor, tuple(_band(card, entry) for entry in card.bands))
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: bands: {error}; correct the card") from error


def _band(card: OwnDataCard, entry: Any) -> Band:
    if isinstance(entry, dict):
        return Band(**entry)
    if card.sensor not in SENSORS:
        raise ConfigError(
            f"sensor {card.sensor!r} is not one of {', '.join(SENSORS)}, so each band needs all its facts"
        )
    sensor = SENSORS[card.sensor]
    band: Band = sensor[sensor.channel(str(entry))]
    return band


def sheet_of(name: str, folder: Path) -> DatasetSheet:
    """The data sheet of the dataset that ``folder``/card.yaml describes; its sizes are not known before reading."""
    path = folder / CARD
    card = read_card(path)
    bands = stored_bands(card, path)
    try:
        kept = bands if card.use is None else bands.subset(card.use)
        _ = kept.rgb  # every GFM sees red, green and blue
    except ConfigError as error:
        key = "bands" if card.use is None else "use"
        raise DataError(f"{path}: {key}: {error}; correct the card") from error
    return DatasetSheet(
        name=name,
        title=(card.title or "").strip() or name,
        task=card.task,
        bands=kept,
        stored_names=tuple(kept.names),
        classes=tuple(card.classes),
        splits=dict.fromkeys(SPLITS, 0),
        splits_exact=False,
        image_size=0,
        gsd=float(card.gsd),
        unit=f"(stored + {card.offset:g}) * {card.scale:g} is reflectance",
        scale=float(card.scale),
        reflectance_range=(-0.5, 3.0),
        metric=METRICS[card.task],
        licence=card.licence,
        citation=card.source,
        notes=(),
        nodata=_nodata(card),
        unlabelled=card.ignore,
    )
