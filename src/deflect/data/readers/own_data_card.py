"""``card.yaml``, which describes a user's own dataset (docs/your_own_dataset.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from unicodedata import normalize

import yaml
from pydantic import Field, StrictInt, ValidationInfo, field_validator

from deflect.bands import SENSORS, Band, BandSet
from deflect.data.catalog import DatasetSheet
from deflect.errors import ConfigError, DataError, flat
from deflect.files import LONGEST_YAML, parse_yaml, read_text
from deflect.settings import METRICS, SPLITS
from deflect.settings.fields import SHOULD, Count, Positive, Settings
from deflect.settings.reading import read

CARD = "card.yaml"
MASK_CLASSES = 128  # stores keep masks as int8, with -1 for none
QUOTE = "(YAML reads yes, no, on, off, numbers and dates as values; put a name in quotes to keep it as it is)"
Number = Annotated[float, Field(strict=True, allow_inf_nan=True)]


class OwnDataCard(Settings):
    """The keys of ``card.yaml``; those with a default may be left out."""

    task: Literal["classification", "segmentation"]
    sensor: str  # sentinel2, landsat8, hls_s30, or another name with all facts of its bands
    bands: list[Any] = Field(min_length=1)  # of all channels: names of the sensor's bands, or the fields of `Band`
    scale: Positive  # (stored value + offset) * scale is reflectance
    gsd: Positive  # metres per pixel
    classes: list[Any]  # names in the order of labels 0, 1, ...
    labels: str  # folders (one per class), masks (images/ and masks/), or the name of a CSV file
    splits: Any  # {seed, fractions}, {train, val, test} with files of ids, column (of the CSV), or folders
    use: list[str] | None = None  # the bands to keep; all by default
    offset: Number = 0.0  # e.g. -1000 for Sentinel-2 from processing baseline 04.00 on
    nodata: Number | list[Number] | None = None  # stored values that mean "no measurement"
    ignore: StrictInt | None = None  # value of masks that means "no label"
    size: Count | None = None  # pixels along the square cut from the middle; else all images must be square and equal
    title: Any = ""  # name in tables and figures
    source: Any = "own data"  # kept in the prepared store
    licence: Any = ""

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, names: list[Any], info: ValidationInfo) -> list[str]:
        """Tables, figures and lists show names in one line; accents are normalised as in file names."""
        for name in names:
            if not _is_line(name) or name.strip() != name or not name:
                raise ValueError(f"expected names of one line of text, found {name!r} {QUOTE}")
        names = [normalize("NFC", name) for name in names]
        if len(set(names)) < max(2, len(names)):
            raise ValueError(f"{SHOULD}be a list of two or more different names")
        if info.data.get("task") == "segmentation" and len(names) > MASK_CLASSES:
            raise ValueError(f"expected at most {MASK_CLASSES} with masks, found {len(names)}")
        return names

    @field_validator("title")
    @classmethod
    def _check_title(cls, title: Any) -> Any:
        if title is not None and not _is_line(title):
            raise ValueError(f"expected one line of text, found {title!r} {QUOTE}")
        return title

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: str, info: ValidationInfo) -> str:
        task = info.data.get("task")
        if task == "segmentation" and labels != "masks":
            raise ValueError(f"{SHOULD}be masks (task {task})")
        if task == "classification" and labels != "folders" and not labels.endswith(".csv"):
            raise ValueError(f"{SHOULD}be folders or the name of a .csv file (task {task})")
        if not _is_inside(labels):
            raise ValueError(f"{SHOULD}be a file of the dataset's folder")
        return labels

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: Any, info: ValidationInfo) -> Any:
        if splits == ("column" if info.data.get("labels", "").endswith(".csv") else "folders"):
            return splits
        keys = set(splits) if isinstance(splits, dict) else set()
        if keys == {"seed", "fractions"}:
            seed, parts = splits["seed"], splits["fractions"]
            three = isinstance(parts, list) and [type(part) for part in parts] == [float] * 3
            if not three or min(parts) <= 0 or abs(sum(parts) - 1) > 1e-6:
                raise ValueError(f"expected three fractions that add up to 1, found {parts!r}")
            if type(seed) is not int:
                raise ValueError(f"expected a whole number as seed, found {seed!r}")
        elif keys != set(SPLITS) or not all(isinstance(name, str) for name in splits.values()):
            files = "a file of ids for each of train, val and test"
            raise ValueError(f"{SHOULD}be {{seed, fractions}}, or {files}, or column with a CSV, else folders")
        elif not all(map(_is_inside, splits.values())):
            raise ValueError(f"{SHOULD}be files of the dataset's folder")
        return splits

    @field_validator("offset")
    @classmethod
    def _check_offset(cls, offset: float, info: ValidationInfo) -> float:
        scale = info.data.get("scale", 1)
        if 0 < abs(offset) < 1 and scale <= 0.1:
            unit = f"in the unit of stored values, before scale (in reflectance: write {offset / scale:.6g})"
            raise ValueError(f"{SHOULD}be {unit}")
        return offset

    @property
    def missing(self) -> tuple[float, ...]:
        """Stored values without a measurement."""
        return tuple(self.nodata) if isinstance(self.nodata, list) else () if self.nodata is None else (self.nodata,)


def _is_line(text: Any) -> bool:
    return isinstance(text, str) and len(text.splitlines()) < 2


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def read_card(path: Path) -> OwnDataCard:
    try:
        content = parse_yaml(read_text(path, LONGEST_YAML))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read as YAML ({flat(error)}); correct the card") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise DataError(f"{path}: expected keys and values, found {found}; see docs/your_own_dataset.md")
    try:
        return read(OwnDataCard, content)
    except ConfigError as error:
        raise DataError(f"{path}: {error}; see docs/your_own_dataset.md") from error


def stored_bands(card: OwnDataCard, path: Path) -> BandSet:
    """The bands of the GeoTIFFs, in the order of their channels."""
    try:
        return BandSet(card.sensor, tuple(_band(card.sensor, entry) for entry in card.bands))
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: bands: {error}; correct the card") from error


def _band(name: str, entry: Any) -> Band:
    if isinstance(entry, dict):
        return Band(**entry)
    if name not in SENSORS:
        raise ConfigError(f"sensor {name!r} is not one of {', '.join(SENSORS)}, so each band needs all its facts")
    sensor = SENSORS[name]
    band: Band = sensor[sensor.channel(str(entry))]
    return band


def sheet_of(name: str, folder: Path) -> DatasetSheet:
    """The data sheet of the dataset that ``folder``/card.yaml describes; split and image sizes are not known yet."""
    path = folder / CARD
    card = read_card(path)
    bands = stored_bands(card, path)
    try:
        kept = bands if card.use is None else bands.subset(card.use)
        _ = kept.rgb  # every GFM needs red, green and blue
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
        gsd=card.gsd,
        unit=f"(stored + {card.offset:g}) * {card.scale:g} is reflectance",
        scale=card.scale,
        offset=card.offset,
        reflectance_range=(-0.5, 3.0),
        metric=METRICS[card.task],
        licence=card.licence,
        citation=card.source,
        notes=(),
        nodata=card.missing,
        unlabelled=card.ignore,
    )
