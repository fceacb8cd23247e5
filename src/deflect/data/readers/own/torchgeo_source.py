"""The torchgeo datasets that a card names. torchgeo takes seconds to import, so it is imported where it is used."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deflect.data.readers.own.keys import CARD, is_line
from deflect.data.readers.own.splits import drawn
from deflect.data.readers.own.torchgeo_card import OURS, TorchgeoCard
from deflect.errors import DataError, flat
from deflect.settings.reading import hint

#: What torchgeo's classes call our splits; the first one that a class takes is used.
SPLIT_NAMES = {"train": ("train",), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}
#: torchgeo's name of the split of an image, None for a class without splits, and the image's number in it.
Place = tuple[str | None, int]


class Source:
    """The datasets of a torchgeo class, one for each of its splits, opened when they are first used."""

    def __init__(self, folder: Path, card: TorchgeoCard) -> None:
        self.folder, self.card = folder, card
        self._opened: dict[str | None, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Other processes open the datasets themselves, since some of torchgeo's cannot be pickled."""
        return vars(self) | {"_opened": {}}

    def open(self, name: str | None) -> Any:
        """The dataset of torchgeo's split ``name``; None for a class without splits."""
        if name not in self._opened:
            arguments = self.card.arguments | ({} if name is None else {"split": name})
            _check_arguments(self._kind, arguments, self.folder / CARD)
            try:
                with one_line(f"{self.folder}: torchgeo.datasets.{self.card.torchgeo} cannot be opened"):
                    self._opened[name] = self._kind(root=str(self.folder), **arguments)
            except DataError as error:
                if type(error.__cause__).__name__ == "DatasetNotFoundError":
                    raise self._not_found(name) from error.__cause__
                raise
        return self._opened[name]

    def places(self, split: str) -> dict[str, Place]:
        """The images of our ``split`` by id."""
        splits = self.card.splits
        if splits == "torchgeo":
            return self._listed(self._name(split))
        if "seed" not in splits or (split == "test" and "test" in splits):
            return self._listed(splits[split])
        source = splits.get("train", self._default)
        found = self._listed(source)
        classes = getattr(self.open(source), "targets", None) or [None] * len(found)
        members = drawn(dict(zip(found, classes, strict=True)), splits["seed"], [*splits["fractions"], 0.0][:3])
        return {name: found[name] for name in sorted(members[split])}

    @property
    def _kind(self) -> Any:
        return dataset_class(self.card.torchgeo, self.folder / CARD)

    @property
    def _default(self) -> str | None:
        """The split that the class opens by default; None for a class without splits."""
        split = inspect.signature(self._kind).parameters.get("split")
        return None if split is None else split.default

    def _not_found(self, name: str | None) -> DataError:
        """torchgeo's own message names neither the card nor the files."""
        where = f"torchgeo.datasets.{self.card.torchgeo}{'' if name is None else f', split {name!r},'}"
        fetching = "download" in inspect.signature(self._kind).parameters
        remedy = f", or add download: true to arguments in {CARD}" if fetching else ""
        return DataError(f"{self.folder}: {where} does not find its files here; place them as its documentation says"
                         f"{remedy}")  # fmt: skip

    def _name(self, split: str) -> str:
        """What the class calls our ``split``."""
        failed = None
        for name in SPLIT_NAMES[split]:
            try:
                self.open(name)
                return name
            except DataError as error:
                if not isinstance(error.__cause__, (AssertionError, ValueError, KeyError)):
                    raise
                failed = failed or error
        raise DataError(f"{failed}, with split={SPLIT_NAMES[split][0]!r}; for another name, see `splits` in "
                        "docs/your_own_dataset.md")  # fmt: skip

    def _listed(self, name: str | None) -> dict[str, Place]:
        """All images of one of torchgeo's splits by the path of their file or, if it states none, by their number."""
        dataset = self.open(name)
        ids = self._paths(dataset) or [
            str(index) if name is None else f"{name}/{index}" for index in range(len(dataset))
        ]
        return {id_: (name, index) for index, id_ in enumerate(ids)}

    def _paths(self, dataset: Any) -> list[str] | None:
        """Paths of the images' files in the folder, if the dataset lists a different one for each image."""
        for listed in (getattr(dataset, "samples", None), getattr(dataset, "files", None)):
            if not isinstance(listed, list) or len(listed) != len(dataset):
                continue
            paths = [Path(path) for path in map(_path, listed) if isinstance(path, str | Path)]
            if len(set(paths)) == len(listed) and all(path.is_relative_to(self.folder) for path in paths):
                names = [path.relative_to(self.folder).as_posix() for path in paths]
                return names if all(map(is_line, names)) else None
        return None


def dataset_class(name: str, card: Path) -> Any:
    """The class of torchgeo that a card names.

    Raises:
        DataError: there is none, it has no images of its own, or torchgeo is not installed.
    """
    try:
        from torchgeo import datasets
    except ImportError as error:
        raise DataError(f"{card}: torchgeo: cannot be imported ({flat(error)}); install torchgeo") from error
    kinds = {key: kind for key in datasets.__all__ if isinstance(kind := getattr(datasets, key), type)}
    kind = kinds.get(name)
    if kind is not None and issubclass(kind, datasets.GeoDataset):
        what = f"{name} is a GeoDataset, which has places instead of images"
        raise DataError(f"{card}: torchgeo: {what}; cut its files into squares with `images` and `stride` instead")
    images = {key: kind for key, kind in kinds.items() if issubclass(kind, datasets.NonGeoDataset)}
    usable = {key.lower(): key for key, kind in images.items() if _is_usable(kind)}
    if name not in usable.values():
        near = [usable[key] for key in difflib.get_close_matches(name.lower(), usable, n=1)]
        remedy = f"did you mean {near[0]}?" if near else "its documentation lists them (non-geospatial datasets)"
        raise DataError(f"{card}: torchgeo: torchgeo.datasets has no dataset {name!r}; {remedy}")
    return kind


def class_names(card: TorchgeoCard, folder: Path) -> tuple[str, ...]:
    """The names of the classes that torchgeo states.

    Raises:
        DataError: it states none.
    """
    names = _names(dataset_class(card.torchgeo, folder / CARD))
    if not names:
        source = Source(folder, card)
        name, _ = next(iter(source.places("train").values()), (None, 0))
        names = _names(source.open(name))
    if not names:
        raise DataError(f"{folder / CARD}: classes: missing; add them ({card.torchgeo} of torchgeo states no names)")
    return names


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Any error of torchgeo in one line: each of its classes has its own."""
    try:
        yield
    except Exception as error:
        raise DataError(f"{what} ({type(error).__name__}: {flat(error)})") from error


def _path(entry: Any) -> Any:
    """The image's path in an entry of ``samples``, (path, class), or of ``files``, a path or {"image": path, ...}."""
    if isinstance(entry, dict):
        return entry.get("image")
    return entry[0] if isinstance(entry, tuple) else entry


def _is_usable(kind: type) -> bool:
    """Base classes are abstract, or take no ``root``."""
    return not inspect.isabstract(kind) and "root" in inspect.signature(kind).parameters


def _names(stating: Any) -> tuple[str, ...]:
    """``classes`` of a class or a dataset of torchgeo, if they are a list of names."""
    names = getattr(stating, "classes", None)
    listed = isinstance(names, list | tuple) and len(names) > 1 and all(isinstance(name, str) for name in names)
    return tuple(names or ()) if listed else ()


def _check_arguments(kind: type, arguments: dict[str, Any], card: Path) -> None:
    known = inspect.signature(kind).parameters
    for name in arguments:
        if name == "split" and name not in known:
            what = f"{kind.__name__} of torchgeo has no splits"
            raise DataError(f"{card}: splits: {what}; write {{seed: 0, fractions: [0.6, 0.2, 0.2]}}")
        if name not in known:
            own = [key for key in known if key not in OURS]
            raise DataError(f"{card}: arguments: unknown argument {name!r} of {kind.__name__}{hint(name, own)}")
