"""The card of a prepared store, which describes its arrays. Does not import torch, so preparing data starts quickly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from deflect.bands import BandSet, BandStatistics
from deflect.errors import DataError
from deflect.files import read_json, read_text, sha256_json, sha256_once, write_json
from deflect.settings import PIXEL_TASKS, REGRESSIONS, SPLITS, TASKS

CARD = "store.json"
#: The files of a split, after ``{split}.``.
PARTS: tuple[str, ...] = ("images.npy", "labels.npy", "ids.txt")
#: Maximum size in bytes of the ids of a split: some millions of names.
LONGEST_IDS = 1 << 30
#: A further file of a training split with published subsets: {fraction: row numbers}.
FRACTIONS = "fractions.json"
#: Type of the labels of each task in a store.
LABEL_TYPES = {
    "classification": "int64",
    "segmentation": "int8",
    "multilabel": "uint8",
    "regression": "float32",
    "pixel_regression": "float32",
}


@dataclass(frozen=True, kw_only=True)
class ImageCard:
    """What a model must know of the images of a dataset; run records contain it.

    ``(value + offset) * scale`` of a file's value is reflectance, with one number for all bands or one per band. Values
    in ``nodata``, and those that are not finite, are no measurement; in a store they are 0.
    """

    name: str
    task: str
    bands: BandSet
    classes: tuple[str, ...]
    image_size: int  # pixels along a side
    gsd: float  # metres per pixel
    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...] = 0.0
    nodata: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, card: dict[str, Any]) -> Self:
        tuples = {name: tuple(value) for name, value in card.items() if isinstance(value, list)}
        return cls(**(card | tuples | {"bands": BandSet.from_dict(card["bands"])}))


@dataclass(frozen=True, kw_only=True)
class StoreCard(ImageCard):
    """The description of a store. Its values are the files' plus offset, or reflectance if each band has a scale."""

    metric: str
    splits: dict[str, dict[str, Any]]  # per split: images `n`, and `images_sha256`, `labels_sha256`, `ids_sha256`
    statistics: BandStatistics  # of the training split, in reflectance
    simulated: bool
    source: str
    unchecked: bool = False  # published files were not compared with the catalog
    target: tuple[float, float] | None = None  # mean and standard deviation of a regression's training labels

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise DataError(f"{self.name}: task must be one of {', '.join(TASKS)}, found {self.task!r}")
        if self.task in REGRESSIONS and (self.target is None or not self.target[1] > 0):
            raise DataError(f"{self.name}: a {self.task} needs mean and standard deviation of its target; prepare it")
        if len(self.statistics.mean) != len(self.bands):
            raise DataError(f"{self.name}: {len(self.bands)} bands but statistics of {len(self.statistics.mean)}")

    @classmethod
    def from_dict(cls, card: dict[str, Any]) -> Self:
        return super().from_dict(card | {"statistics": BandStatistics(**card["statistics"])})

    @property
    def stored_scale(self) -> float:
        """Stored value * this is reflectance."""
        return 1.0 if isinstance(self.scale, tuple) else self.scale

    @property
    def images(self) -> ImageCard:
        """The part that models need."""
        return ImageCard(**{field.name: getattr(self, field.name) for field in fields(ImageCard)})

    @property
    def sha256(self) -> str:
        """Identity of the store, since the card contains the hash of every file."""
        return sha256_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; without ``target`` where there is none, as in the cards of older versions."""
        return {name: value for name, value in asdict(self).items() if name != "target" or value is not None}


def label_shape(task: str, classes: int, size: int) -> tuple[int, ...]:
    """The shape of the label of an image of ``size`` x ``size`` pixels."""
    if task in PIXEL_TASKS:
        return size, size
    return (classes,) if task == "multilabel" else ()


def has_label(labels: np.ndarray) -> np.ndarray:
    """Where classes are not -1, or numbers of a regression are not NaN."""
    return np.isfinite(labels) if labels.dtype.kind == "f" else labels != -1


def read_card(folder: Path) -> StoreCard:
    path = Path(folder) / CARD
    if not path.is_file():
        raise DataError(f"{path}: no prepared data here; run `deflect data prepare {path.parent.name}`")
    try:
        return StoreCard.from_dict(read_json(path))
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not a card of this version ({error}); delete it and prepare again") from error


def hash_name(part: str) -> str:
    """The key of a file's hash in ``StoreCard.splits``."""
    return part.partition(".")[0] + "_sha256"


def verify_files(folder: Path, card: StoreCard, splits: Iterable[str] = SPLITS) -> None:
    """Compare every file of a store's ``splits`` with its hash; unchanged files are hashed once."""
    for split in splits:
        facts = card.splits[split]
        for part in (*PARTS, FRACTIONS) if hash_name(FRACTIONS) in facts else PARTS:
            path = Path(folder) / f"{split}.{part}"
            if not path.is_file():
                raise DataError(f"{path}: missing next to {CARD}; delete {folder} and prepare again")
            expected = facts.get(hash_name(part))  # older stores have no hash of the ids
            if expected is not None and expected != sha256_once(path):
                raise DataError(f"{path}: differs from the hash in {CARD}; delete the folder and prepare again")


def write_card(folder: Path, card: StoreCard) -> None:
    """Write the card; call this last, since a folder with a card is complete."""
    write_json(Path(folder) / CARD, card.to_dict(), seal=True)


def write_ids(folder: Path, split: str, ids: list[str]) -> None:
    """Write the published id of every image of a split, one per line."""
    with open(Path(folder) / f"{split}.ids.txt", "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{name}\n" for name in ids)


def read_ids(folder: Path, split: str) -> list[str]:
    """The ids of a split. Characters such as U+2028, which ``splitlines`` splits at, are part of a name."""
    text = read_text(Path(folder) / f"{split}.ids.txt", LONGEST_IDS)
    return text.removesuffix("\n").split("\n")


def read_fractions(folder: Path, card: StoreCard) -> dict[float, list[int]]:
    """Row numbers of the published subsets of the training split, by fraction; empty where none are published."""
    if hash_name(FRACTIONS) not in card.splits["train"]:
        return {}
    return {float(fraction): rows for fraction, rows in read_json(Path(folder) / f"train.{FRACTIONS}").items()}
