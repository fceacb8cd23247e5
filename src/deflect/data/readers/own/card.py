"""The keys of ``card.yaml``, which describes a user's own dataset (docs/your_own_dataset.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationInfo, field_validator

from deflect.data.readers.own.keys import CARD, CommonKeys, check_drawn, is_inside
from deflect.data.readers.own.pattern import Pattern
from deflect.data.readers.own.torchgeo_card import TorchgeoCard
from deflect.data.readers.raster import DRIVERS
from deflect.errors import ConfigError, DataError, flat
from deflect.files import LONGEST_YAML, parse_yaml, read_text
from deflect.settings import PIXEL_TASKS, SPLITS
from deflect.settings.fields import SHOULD, Count
from deflect.settings.reading import read

__all__ = ["CARD", "OwnCard", "TorchgeoCard", "read_card"]

#: Default patterns of the images.
CLASS_FOLDERS, IMAGES, MASKS = "{class}/{id}.tif", "images/{id}.tif", "masks/{id}.tif"


class OwnCard(CommonKeys):
    """The keys of a card that describes files; those with a default may be left out."""

    labels: str  # folders (one per class), masks, or the name of a CSV file
    splits: Any  # {seed, fractions}, {train, val, test} with files of ids, column (of the CSV), or folders
    images: str | None = None  # pattern of the image files
    masks: str | None = None  # pattern of the mask files
    ignore: Any = None  # value (or colour) of masks that means "no label"
    colours: dict[Any, Any] | None = None  # of the classes in masks that are pictures: {name: [red, green, blue]}
    stride: Count | None = None  # pixels between the squares; else only the middle one is cut

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
        if not is_inside(labels):
            raise ValueError(f"{SHOULD}be a file of the dataset's folder")
        return labels

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: Any, info: ValidationInfo) -> Any:
        if splits == ("column" if info.data.get("labels", "").endswith(".csv") else "folders"):
            return splits
        keys = set(splits) if isinstance(splits, dict) else set()
        if {"seed", "fractions"} <= keys <= {"seed", "fractions", "group", "block_km"}:
            check_drawn(splits)
            _check_places(splits)
        elif keys != set(SPLITS) or not all(isinstance(name, str) for name in splits.values()):
            files = "a file of ids for each of train, val and test"
            raise ValueError(f"{SHOULD}be {{seed, fractions}}, or {files}, or column with a CSV, else folders")
        elif not all(map(is_inside, splits.values())):
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
                raise ValueError(f"expected names that end in {', '.join(DRIVERS)}, found {text!r}")
            if info.field_name == "masks" and info.data.get("labels") != "masks":
                raise ValueError(f"{SHOULD}be left out unless labels is masks")
        return text

    @field_validator("ignore")
    @classmethod
    def _check_ignore(cls, ignore: Any) -> int | tuple[int, ...] | None:
        return ignore if ignore is None or type(ignore) is int else _colour(ignore, "a whole number, or a colour")

    @field_validator("colours")
    @classmethod
    def _check_colours(cls, colours: dict[Any, Any] | None, info: ValidationInfo) -> Any:
        if colours is None:
            return None
        names, given = info.data.get("classes") or [], {str(name): _colour(value) for name, value in colours.items()}
        if list(given) != names:
            raise ValueError(f"expected a colour for each class, {', '.join(names)}, in this order; found "
                             f"{', '.join(given)}")  # fmt: skip
        if len(set(given.values())) < len(given):
            raise ValueError(f"{SHOULD}be different colours")
        return given

    @field_validator("stride")
    @classmethod
    def _check_stride(cls, stride: int | None, info: ValidationInfo) -> int | None:
        if stride is not None and info.data.get("size") is None:
            raise ValueError("expected `size` as well, the side of each square")
        if stride is not None and info.data.get("task") not in PIXEL_TASKS:
            raise ValueError(f"{SHOULD}be left out (task {info.data.get('task')}): the label is of the whole image")
        return stride

    @property
    def image_pattern(self) -> str:
        return self.images or self._in_splits(CLASS_FOLDERS if self.labels == "folders" else IMAGES)

    @property
    def mask_pattern(self) -> str:
        return self.masks or self._in_splits(MASKS)

    @property
    def per_file(self) -> bool:
        """Whether each band has a file of its own."""
        return "band" in Pattern(self.image_pattern).parts

    def _in_splits(self, pattern: str) -> str:
        return f"{{split}}/{pattern}" if self.splits == "folders" else pattern

    def check_together(self) -> None:
        super().check_together()
        if self.colours is not None and self.task != "segmentation":
            raise ConfigError(f"colours: expected only with the masks of a segmentation (task {self.task}); remove it")
        parts = Pattern(self.image_pattern).parts
        if self.labels == "folders" and "class" not in parts:
            raise ConfigError(f"images: expected {{class}} in {self.image_pattern!r}, since labels is folders")
        if self.splits == "folders" and "split" not in parts:
            raise ConfigError(f"images: expected {{split}} in {self.image_pattern!r}, since splits is folders")
        if self.labels == "masks" and (unknown := set(Pattern(self.mask_pattern).parts) - set(parts)):
            what = f"{{{min(unknown)}}} is no part of images, {self.image_pattern!r}"
            raise ConfigError(f"masks: {what}; correct one of them")
        group = self.splits.get("group") if isinstance(self.splits, dict) else None
        if group and not self.labels.endswith(".csv") and group not in parts:
            what = f"group {group!r} is no part of the images' names {self.image_pattern!r}"
            raise ConfigError(f"splits: {what}; name the part in `images`")


def _colour(value: Any, expected: str = "colours") -> tuple[int, ...]:
    """Red, green and blue from 0 to 255, from a list or ``"#ff8800"``."""
    if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value):
        value = list(bytes.fromhex(value[1:]))
    if not isinstance(value, list) or len(value) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in value):
        raise ValueError(
            f"expected {expected} as [red, green, blue] from 0 to 255 or '#ff8800' in quotes, found {value!r}"
        )
    return tuple(value)


def _check_places(splits: dict[str, Any]) -> None:
    if "group" in splits and "block_km" in splits:
        raise ValueError("expected either group or block_km, found both")
    if not isinstance(splits.get("group", ""), str):
        raise ValueError(f"expected a column of the table or a part of the images' names as group, found "
                         f"{splits['group']!r}")  # fmt: skip
    km = splits.get("block_km", 1)
    if type(km) not in (int, float) or not 0 < km < 5000:
        raise ValueError(f"expected the side of a block in km as block_km, found {km!r}")


def read_card(path: Path) -> OwnCard | TorchgeoCard:
    """The card at ``path``; one with ``torchgeo`` describes a dataset that torchgeo reads.

    Raises:
        DataError: a key or value cannot be used.
    """
    try:
        content = parse_yaml(read_text(path, LONGEST_YAML))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read as YAML ({flat(error)}); correct the card") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise DataError(f"{path}: expected keys and values, found {found}; see docs/your_own_dataset.md")
    try:
        card = _card(content)
        card.check_together()
    except ConfigError as error:
        raise DataError(f"{path}: {error}; see docs/your_own_dataset.md") from error
    return card


def _card(content: dict[str, Any]) -> OwnCard | TorchgeoCard:
    if "torchgeo" not in content:
        return read(OwnCard, content)
    if of_files := sorted(content.keys() & (OwnCard.model_fields.keys() - TorchgeoCard.model_fields.keys())):
        raise ConfigError(f"{of_files[0]}: describes files, which torchgeo's class finds itself; remove it")
    return read(TorchgeoCard, content)
