"""The keys of ``card.yaml``, which describes a user's own dataset (docs/your_own_dataset.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

import yaml
from pydantic import Field, StrictInt, ValidationInfo, field_validator

from deflect.data.readers.own.pattern import Pattern
from deflect.data.readers.raster import DRIVERS
from deflect.errors import ConfigError, DataError, flat
from deflect.files import LONGEST_YAML, parse_yaml, read_text
from deflect.settings import PIXEL_TASKS, REGRESSIONS, SPLITS, Task
from deflect.settings.fields import SHOULD, Count, Positive, Settings
from deflect.settings.reading import read

CARD = "card.yaml"
LARGEST_SIZE = 1 << 15
MASK_CLASSES = 128  # stores keep masks as int8, with -1 for none
QUOTE = "(YAML reads yes, no, on, off, numbers and dates as values; put a name in quotes to keep it as it is)"
Number = Annotated[float, Field(strict=True, allow_inf_nan=True)]
#: Default patterns of the images.
CLASS_FOLDERS, IMAGES, MASKS = "{class}/{id}.tif", "images/{id}.tif", "masks/{id}.tif"


class OwnCard(Settings):
    """The keys of ``card.yaml``; those with a default may be left out."""

    task: Task
    sensor: str  # sentinel2, landsat8, ..., or another name with all facts of its bands
    bands: list[Any] = Field(min_length=1)  # of all channels: names of bands, their facts, or null for no band
    scale: Positive | None = None  # (stored value + offset) * scale is reflectance; by default, from the files' tags
    gsd: Positive  # metres per pixel
    classes: list[Any] | None = None  # names in the order of labels 0, 1, ...
    target: Any = None  # of a regression: its name, with the unit
    labels: str  # folders (one per class), masks, or the name of a CSV file
    splits: Any  # {seed, fractions}, {train, val, test} with files of ids, column (of the CSV), or folders
    images: str | None = None  # pattern of the image files
    masks: str | None = None  # pattern of the mask files
    use: list[str] | None = None  # the bands to keep; all by default
    offset: Number | None = None  # e.g. -1000 for Sentinel-2 from processing baseline 04.00 on
    nodata: Number | list[Number] | None = None  # stored values that mean "no measurement"; else the files' tags
    ignore: Any = None  # value (or colour) of masks that means "no label"
    label_offset: StrictInt = 0  # the label of the first class
    colours: dict[Any, Any] | None = None  # of the classes in masks that are pictures: {name: [red, green, blue]}
    size: Annotated[Count, Field(le=LARGEST_SIZE)] | None = (
        None  # pixels along the square cut from each image; else all must be square and equal
    )
    stride: Count | None = None  # pixels between the squares; else only the middle one is cut
    title: Any = ""  # name in tables and figures
    source: Any = "own data"  # kept in the prepared store
    licence: Any = ""

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, names: list[Any] | None, info: ValidationInfo) -> list[str] | None:
        """Tables, figures and lists show names in one line; accents are normalised as in file names."""
        task = info.data.get("task")
        if names is None:
            return None
        if task in REGRESSIONS:
            raise ValueError(f"{SHOULD}be left out (task {task}); name the target instead")
        for name in names:
            if not _is_line(name) or name.strip() != name or not name:
                raise ValueError(f"expected names of one line of text, found {name!r} {QUOTE}")
        names = [normalize("NFC", name) for name in names]
        if len(set(names)) < max(2, len(names)):
            raise ValueError(f"{SHOULD}be a list of two or more different names")
        if task == "segmentation" and len(names) > MASK_CLASSES:
            raise ValueError(f"expected at most {MASK_CLASSES} with masks, found {len(names)}")
        return names

    @field_validator("title", "target")
    @classmethod
    def _check_title(cls, title: Any) -> Any:
        if title is not None and not _is_line(title):
            raise ValueError(f"expected one line of text, found {title!r} {QUOTE}")
        return title

    @field_validator("source", "licence")
    @classmethod
    def _to_text(cls, value: Any) -> str:
        return str(value)  # YAML has dates and numbers

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: str, info: ValidationInfo) -> str:
        task = info.data.get("task")
        if task in PIXEL_TASKS and labels != "masks":
            raise ValueError(f"{SHOULD}be masks (task {task})")
        if task == "classification" and labels != "folders" and not labels.endswith(".csv"):
            raise ValueError(f"{SHOULD}be folders or the name of a .csv file (task {task})")
        if task in ("multilabel", "regression") and not labels.endswith(".csv"):
            raise ValueError(f"{SHOULD}be the name of a .csv file (task {task})")
        if not _is_inside(labels):
            raise ValueError(f"{SHOULD}be a file of the dataset's folder")
        return labels

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: Any, info: ValidationInfo) -> Any:
        if splits == ("column" if info.data.get("labels", "").endswith(".csv") else "folders"):
            return splits
        keys = set(splits) if isinstance(splits, dict) else set()
        if {"seed", "fractions"} <= keys <= {"seed", "fractions", "group", "block_km"}:
            _check_drawn(splits)
        elif keys != set(SPLITS) or not all(isinstance(name, str) for name in splits.values()):
            files = "a file of ids for each of train, val and test"
            raise ValueError(f"{SHOULD}be {{seed, fractions}}, or {files}, or column with a CSV, else folders")
        elif not all(map(_is_inside, splits.values())):
            raise ValueError(f"{SHOULD}be files of the dataset's folder")
        return splits

    @field_validator("images", "masks")
    @classmethod
    def _check_pattern(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            try:
                Pattern(text)
            except ConfigError as error:
                raise ValueError(str(error)) from None
            if Path(text).suffix.lower() not in DRIVERS:
                raise ValueError(f"expected names that end in {', '.join(DRIVERS)}, found {text!r}; convert others")
            if info.field_name == "masks" and info.data.get("labels") != "masks":
                raise ValueError(f"{SHOULD}be left out unless labels is masks")
        return text

    @field_validator("offset")
    @classmethod
    def _check_offset(cls, offset: float | None, info: ValidationInfo) -> float | None:
        scale = info.data.get("scale")
        if offset is not None and scale is not None and 0 < abs(offset) < 1 and scale <= 0.1:
            unit = f"in the unit of stored values, before scale (in reflectance: write {offset / scale:.6g})"
            raise ValueError(f"{SHOULD}be {unit}")
        return offset

    @field_validator("ignore")
    @classmethod
    def _check_ignore(cls, ignore: Any) -> int | tuple[int, ...] | None:
        return ignore if ignore is None or type(ignore) is int else _colour(ignore, "a whole number, or a colour")

    @field_validator("colours")
    @classmethod
    def _check_colours(cls, colours: dict[Any, Any] | None, info: ValidationInfo) -> Any:
        if colours is None:
            return None
        names, given = info.data.get("classes"), {str(name): _colour(value) for name, value in colours.items()}
        if names is not None and list(given) != names:
            raise ValueError(f"expected a colour for each class, {', '.join(names)}, in this order, found "
                             f"{', '.join(given)}")  # fmt: skip
        if len(set(given.values())) < len(given):
            raise ValueError(f"{SHOULD}be different colours")
        return given

    @field_validator("stride")
    @classmethod
    def _check_stride(cls, stride: int | None, info: ValidationInfo) -> int | None:
        if stride is not None and info.data.get("size") is None:
            raise ValueError("expected `size` as well, the side of each square")
        if stride is not None and stride > info.data.get("size", 0):
            raise ValueError(f"{SHOULD}be at most size, {info.data.get('size')}: larger ones leave gaps")
        if stride is not None and info.data.get("task") not in PIXEL_TASKS:
            raise ValueError(f"{SHOULD}be left out (task {info.data.get('task')}): the label is of the whole image")
        return stride

    @property
    def names(self) -> list[str]:
        """Of the classes, or of the target."""
        return [self.target.strip()] if self.classes is None else self.classes

    @property
    def missing(self) -> tuple[float, ...]:
        """Stored values without a measurement."""
        return tuple(self.nodata) if isinstance(self.nodata, list) else () if self.nodata is None else (self.nodata,)

    @property
    def image_pattern(self) -> str:
        return self.images or self._in_splits(CLASS_FOLDERS if self.labels == "folders" else IMAGES)

    @property
    def mask_pattern(self) -> str:
        return self.masks or self._in_splits(MASKS)

    def _in_splits(self, pattern: str) -> str:
        return f"{{split}}/{pattern}" if self.splits == "folders" else pattern


def _check_drawn(splits: dict[str, Any]) -> None:
    seed, parts = splits["seed"], splits["fractions"]
    three = isinstance(parts, list) and [type(part) for part in parts] == [float] * 3
    if not three or min(parts) <= 0 or abs(sum(parts) - 1) > 1e-6:
        raise ValueError(f"expected three fractions that add up to 1, found {parts!r}")
    if type(seed) is not int:
        raise ValueError(f"expected a whole number as seed, found {seed!r}")
    if "group" in splits and "block_km" in splits:
        raise ValueError("expected either group or block_km, found both")
    if not isinstance(splits.get("group", ""), str):
        raise ValueError(f"expected a column of the table or a part of the images' names as group, found "
                         f"{splits['group']!r}")  # fmt: skip
    km = splits.get("block_km", 1)
    if type(km) not in (int, float) or not 0 < km < 5000:
        raise ValueError(f"expected the side of a block in km as block_km, found {km!r}")


def _colour(value: Any, expected: str = "colours") -> tuple[int, ...]:
    """Red, green and blue from 0 to 255, from a list or ``"#ff8800"``."""
    if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value):
        value = list(bytes.fromhex(value[1:]))
    if not isinstance(value, list) or len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
        raise ValueError(
            f"expected {expected} as [red, green, blue] from 0 to 255 or '#ff8800' in quotes, found {value!r}"
        )
    return tuple(value)


def _is_line(text: Any) -> bool:
    return isinstance(text, str) and len(text.splitlines()) < 2


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def read_card(path: Path) -> OwnCard:
    try:
        content = parse_yaml(read_text(path, LONGEST_YAML))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read as YAML ({flat(error)}); correct the card") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise DataError(f"{path}: expected keys and values, found {found}; write them (docs/your_own_dataset.md)")
    try:
        card = read(OwnCard, content)
        _check_together(card)
    except ConfigError as error:
        remedy = "" if "; " in str(error) else "; correct it"
        raise DataError(f"{path}: {error}{remedy} (docs/your_own_dataset.md)") from error
    return card


def _check_together(card: OwnCard) -> None:
    """Raise ConfigError where a key does not fit another."""
    key, other = ("target", "classes") if card.task in REGRESSIONS else ("classes", "target")
    if not getattr(card, key):
        raise ConfigError(f"{key}: missing; add it (task {card.task})")
    if getattr(card, other) is not None:
        raise ConfigError(f"{other}: expected {key} alone (task {card.task}); remove it")
    of_masks, numbered = card.labels == "masks", card.labels != "folders" and card.task not in REGRESSIONS
    for key, used in (("colours", card.task == "segmentation"), ("ignore", of_masks), ("label_offset", numbered)):
        if getattr(card, key) != OwnCard.model_fields[key].default and not used:
            raise ConfigError(f"{key}: has no meaning with task {card.task} and labels {card.labels}; remove it")
    if card.ignore is not None and isinstance(card.ignore, tuple) != (card.colours is not None):
        kind = "whole number, since masks have numbers" if card.colours is None else "colour, since masks have colours"
        raise ConfigError(f"ignore: expected a {kind}, found {card.ignore}")
    parts = Pattern(card.image_pattern).parts
    if card.labels == "folders" and "class" not in parts:
        raise ConfigError(f"images: expected {{class}} in {card.image_pattern!r}, since labels is folders")
    if card.splits == "folders" and "split" not in parts:
        raise ConfigError(f"images: expected {{split}} in {card.image_pattern!r}, since splits is folders")
    if card.splits != "folders" and "split" in parts:
        raise ConfigError("images: {split} is read with `splits: folders` alone; write this, or rename the part")
    if of_masks and card.mask_pattern == card.image_pattern:
        raise ConfigError(f"masks: expected other files than images, {card.image_pattern!r}")
    if of_masks and (unknown := set(Pattern(card.mask_pattern).parts) - set(parts)):
        raise ConfigError(
            f"masks: {{{min(unknown)}}} is no part of images, {card.image_pattern!r}; correct one of them"
        )
    group = card.splits.get("group") if isinstance(card.splits, dict) else None
    if group and not card.labels.endswith(".csv") and group not in parts:
        raise ConfigError(
            f"splits: group {group!r} is no part of the images' names {card.image_pattern!r}; name the part in `images`"
        )
