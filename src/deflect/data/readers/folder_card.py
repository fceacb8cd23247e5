"""``card.yaml``: what a user says about a dataset of one's own, as docs/your_own_dataset.md explains it.

Every key is checked; one that is misspelt, missing or of the wrong kind is an error that names the file and the key.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from deflect.bands import SENSORS, Band, BandError, BandSet
from deflect.data.catalog import DatasetSheet
from deflect.data.readers.faults import ReadError
from deflect.errors import DeflectError, flat
from deflect.files import LONGEST_YAML, parse_yaml, read_text
from deflect.settings import METRICS, SPLITS

CARD = "card.yaml"
MASK_CLASSES = 128  # stores keep masks in 8 bits, with -1 for none
EXPONENT = r"[-+]?[\d.]+[eE][-+]?\d+"


@dataclass(frozen=True)
class FolderCard:
    """The keys of ``card.yaml``; those with a default may be left out.

    Attributes:
        task: ``classification`` or ``segmentation``.
        sensor: ``sentinel2``, ``landsat8``, ``hls_s30``, or a name of your own with bands spelt out.
        bands: the channels of every GeoTIFF in their order: names of the sensor's bands, or mappings with name, role
            (letter of Spyndex or ""), wavelength and width in nm, and gsd in metres.
        scale: (stored value + offset) * scale is reflectance.
        gsd: metres per pixel of the GeoTIFFs.
        classes: names in the order of labels 0, 1, ...
        labels: ``folders`` (one folder per class), ``masks`` (images/ and masks/), or the name of a CSV file.
        splits: ``{seed, fractions}``, ``{train, val, test}`` with files of ids, ``column`` of the CSV, or ``folders``
            where train/, val/ and test/ each hold what ``labels`` asks for.
        use: the bands to keep, by name; all by default.
        offset: added to stored values, e.g. -1000 for Sentinel-2 from processing baseline 04.00 on.
        nodata: stored value, or list of values, that mean "no measurement".
        ignore: value of masks that means "no label".
        size: side in pixels of the square cut from the middle of every image; without it all must be square and equal.
        title: the name in tables and figures.
        source, licence: for people; source is kept in the prepared store.
    """

    task: str
    sensor: str
    bands: list[Any]
    scale: float
    gsd: float
    classes: list[str]
    labels: str
    splits: Any
    use: list[str] | None = None
    offset: float = 0.0
    nodata: Any = None
    ignore: int | None = None
    size: int | None = None
    title: str | None = ""
    source: str = "own data"
    licence: str = ""


def read_card(path: Path) -> FolderCard:
    """Read and check a card.

    Raises:
        ReadError: the card is missing, no YAML, or a key is unknown, missing or wrong.
    """
    try:
        content = parse_yaml(read_text(path, LONGEST_YAML))
    except DeflectError as error:
        raise ReadError(str(error)) from error
    except (OSError, yaml.YAMLError) as error:
        raise ReadError(f"{path}: cannot be read as YAML ({flat(error)}); correct the card") from error
    if not isinstance(content, dict):
        raise ReadError(
            f"{path}: expected keys and values, found {type(content).__name__}; see docs/your_own_dataset.md"
        )
    known = {key.name: key for key in fields(FolderCard)}
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            raise ReadError(f"{path}: unknown key {key!r}; {f'did you mean {close[0]!r}?' if close else 'remove it'}")
    for key, fact in known.items():
        if fact.default is MISSING and key not in content:
            raise ReadError(f"{path}: key {key!r} is missing; add it")
    card = FolderCard(**content)
    if isinstance(card.classes, list):  # in the one spelling of accents that names of files get as well
        names = [unicodedata.normalize("NFC", name) if isinstance(name, str) else name for name in card.classes]
        card = replace(card, classes=names)
    _check(card, path)
    return card


def _check(card: FolderCard, path: Path) -> None:
    _demand(str(card.task) in METRICS, path, "task", " or ".join(METRICS), card.task)
    _demand(_number(card.scale) and card.scale > 0, path, "scale", "a positive number", card.scale)
    _demand(_number(card.gsd) and card.gsd > 0, path, "gsd", "metres per pixel", card.gsd)
    _demand(_number(card.offset), path, "offset", "a number", card.offset)
    stored = card.offset == 0 or abs(card.offset) >= 1 or card.scale > 0.1
    hint = f" (in reflectance: write {card.offset / card.scale:.6g})"
    _demand(stored, path, "offset", "in the unit of stored values, before scale", card.offset, hint)
    _demand(card.ignore is None or type(card.ignore) is int, path, "ignore", "a whole number", card.ignore)
    _demand(card.size is None or (type(card.size) is int and card.size > 0), path, "size", "pixels", card.size)
    _demand(all(map(_number, _nodata(card))), path, "nodata", "a number or a list of numbers", card.nodata)
    _check_names(card, path)
    segmentation = card.task == "segmentation"
    few = not segmentation or len(card.classes) <= MASK_CLASSES
    _demand(few, path, "classes", f"at most {MASK_CLASSES} for masks", len(card.classes))
    ways = "masks" if segmentation else "folders or the name of a .csv file"
    fits = card.labels == "masks" if segmentation else card.labels == "folders" or str(card.labels).endswith(".csv")
    _demand(fits, path, "labels", f"{ways} (task {card.task})", card.labels)
    _demand(_is_inside(str(card.labels)), path, "labels", "a file of the dataset's folder", card.labels)
    _check_splits(card, path)


def _check_names(card: FolderCard, path: Path) -> None:
    """What stands in tables, figures and lists: text of one line."""
    _demand(isinstance(card.classes, list), path, "classes", "a list of two or more different names", card.classes)
    for name in card.classes:
        _demand(
            _one_line(name) and name.strip() == name != "", path, "classes", "names of one line", name, _quote(name)
        )
    _demand(card.title is None or _one_line(card.title), path, "title", "one line", card.title, _quote(card.title))
    different = len(set(card.classes)) == len(card.classes) > 1
    _demand(different, path, "classes", "a list of two or more different names", card.classes)


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


def _check_splits(card: FolderCard, path: Path) -> None:
    splits = card.splits
    if splits == ("column" if str(card.labels).endswith(".csv") else "folders"):
        return
    keys = set(splits) if isinstance(splits, dict) else set()
    if keys == {"seed", "fractions"}:
        parts = splits["fractions"]
        whole = isinstance(parts, list) and len(parts) == 3 and all(_number(p) and p > 0 for p in parts)
        _demand(whole and abs(sum(parts) - 1) < 1e-6, path, "splits.fractions", "three shares that add up to 1", parts)
        _demand(type(splits["seed"]) is int, path, "splits.seed", "a whole number", splits["seed"])
        return
    wanted = "{seed, fractions}, or a file of ids for each of train, val and test, or column with a CSV, else folders"
    files = keys == set(SPLITS) and all(isinstance(name, str) for name in splits.values())
    _demand(files, path, "splits", wanted, splits)
    for name in splits.values():
        _demand(_is_inside(name), path, "splits", "files of the dataset's folder", name)


def _demand(holds: bool, path: Path, key: str, expected: str, found: Any, how: str = "") -> None:
    if not holds:
        if re.fullmatch(EXPONENT, str(found)):
            how = " (YAML takes 1e-4 for text: write 1.0e-4 or 0.0001)"
        raise ReadError(f"{path}: {key} must be {expected}, found {found!r}{how}; correct the card")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _nodata(card: FolderCard) -> tuple[Any, ...]:
    return () if card.nodata is None else tuple(card.nodata) if isinstance(card.nodata, list) else (card.nodata,)


def stored_bands(card: FolderCard, path: Path) -> BandSet:
    """The bands of the GeoTIFFs, in the order of their channels."""
    _demand(isinstance(card.bands, list) and bool(card.bands), path, "bands", "a list", card.bands)
    try:
        return BandSet(card.sensor, tuple(_band(card, entry) for entry in card.bands))
    except (BandError, TypeError) as error:
        raise ReadError(f"{path}: bands: {error}; correct the card") from error


def _band(card: FolderCard, entry: Any) -> Band:
    if isinstance(entry, dict):
        return Band(**entry)
    if card.sensor not in SENSORS:
        raise BandError(f"sensor {card.sensor!r} is not one of {', '.join(SENSORS)}, so each band needs all its facts")
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
    except BandError as error:
        key = "bands" if card.use is None else "use"
        raise ReadError(f"{path}: {key}: {error}; correct the card") from error
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
        published_mean=None,
        published_std=None,
        published_source="",
        published_tolerance=(0.0, 0.0),
        licence=card.licence,
        citation=card.source,
        notes=(),
        sources=(),
        nodata=_nodata(card),
        unlabelled=card.ignore,
    )
