"""The keys that every ``card.yaml`` of a user's own dataset has, whatever its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

from pydantic import Field, StrictInt, ValidationInfo, field_validator

from deflect.errors import ConfigError
from deflect.settings import REGRESSIONS, Task
from deflect.settings.fields import SHOULD, Count, Positive, Settings

CARD = "card.yaml"
MASK_CLASSES = 128  # stores keep masks as int8, with -1 for none
QUOTE = "(YAML reads yes, no, on, off, numbers and dates as values; put a name in quotes to keep it as it is)"
Number = Annotated[float, Field(strict=True, allow_inf_nan=True)]


class CommonKeys(Settings):
    """Task, bands, units and labels; those with a default may be left out."""

    task: Task
    sensor: str  # sentinel2, landsat8, ..., or another name with all facts of its bands
    bands: list[Any] = Field(min_length=1)  # of all channels: names of bands, their facts, or null for no band
    scale: Positive | None = None  # (stored value + offset) * scale is reflectance; by default, from the files' tags
    gsd: Positive  # metres per pixel
    classes: list[Any] | None = None  # names in the order of labels 0, 1, ...
    target: Any = None  # of a regression: its name, with the unit
    use: list[str] | None = None  # the bands to keep; all by default
    offset: Number | None = None  # e.g. -1000 for Sentinel-2 from processing baseline 04.00 on
    nodata: Number | list[Number] | None = None  # stored values that mean "no measurement"; else the files' tags
    label_offset: StrictInt = 0  # the label of the first class
    size: Count | None = None  # pixels along the square cut from each image; else all must be square and equal
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
            if not is_line(name) or name.strip() != name or not name:
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
        if title is not None and not is_line(title):
            raise ValueError(f"expected one line of text, found {title!r} {QUOTE}")
        return title

    @field_validator("offset")
    @classmethod
    def _check_offset(cls, offset: float | None, info: ValidationInfo) -> float | None:
        scale = info.data.get("scale")
        if offset is not None and scale is not None and 0 < abs(offset) < 1 and scale <= 0.1:
            unit = f"in the unit of stored values, before scale (in reflectance: write {offset / scale:.6g})"
            raise ValueError(f"{SHOULD}be {unit}")
        return offset

    @property
    def names(self) -> list[str]:
        """Of the classes, or of the target."""
        return [self.target.strip()] if self.classes is None else self.classes

    @property
    def missing(self) -> tuple[float, ...]:
        """Stored values without a measurement."""
        return tuple(self.nodata) if isinstance(self.nodata, list) else () if self.nodata is None else (self.nodata,)

    def check_together(self) -> None:
        """Raise ConfigError where a key does not fit another."""
        key, other = ("target", "classes") if self.task in REGRESSIONS else ("classes", "target")
        if not getattr(self, key):
            raise ConfigError(f"{key}: missing; add it (task {self.task})")
        if getattr(self, other) is not None:
            raise ConfigError(f"{other}: expected {key} alone (task {self.task}); remove it")


def check_drawn(splits: dict[str, Any], counts: tuple[int, ...] = (3,)) -> None:
    """Raise ValueError unless ``seed`` and ``fractions`` of ``splits`` divide images at random.

    Args:
        counts: the possible numbers of fractions.
    """
    seed, parts = splits["seed"], splits["fractions"]
    fitting = isinstance(parts, list) and len(parts) in counts and all(type(part) is float for part in parts)
    if not fitting or min(parts) <= 0 or abs(sum(parts) - 1) > 1e-6:
        number = " or ".join({2: "two", 3: "three"}[count] for count in counts)
        raise ValueError(f"expected {number} fractions that add up to 1, found {parts!r}")
    if type(seed) is not int:
        raise ValueError(f"expected a whole number as seed, found {seed!r}")


def is_line(text: Any) -> bool:
    return isinstance(text, str) and len(text.splitlines()) < 2


def is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts
