"""Which images a user's own dataset has: their files, labels, splits and, if they are cut, windows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.own.card import CARD, OwnCard
from deflect.data.readers.own.channels import Channels
from deflect.data.readers.own.file_checks import refuse_other_folders, require_images, require_masks
from deflect.data.readers.own.files import Found, LeftOut, is_hidden, walk
from deflect.data.readers.own.image import ImageReader, grid_of
from deflect.data.readers.own.pattern import Pattern
from deflect.data.readers.own.splits import Members, block, drawn, drawn_groups, without_overlaps
from deflect.data.readers.own.squares import squares
from deflect.data.readers.own.tables import Table, read_ids, read_table
from deflect.data.readers.raster import Grid, Window, degrees
from deflect.errors import DataError
from deflect.progress import bar
from deflect.settings import SPLITS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Image:
    """The files of an image, and the part of them that is read."""

    paths: list[Path]  # one, or one for each file word of the bands
    mask: Path | None
    label: Any  # of the whole image; None if it has a mask
    window: Window | None  # None: all, or the middle


class Listing:
    """All images of a dataset by id.

    Args:
        reader: of the bands; it finds out which squares are empty.

    Raises:
        DataError: files, labels or splits contradict the card.
    """

    def __init__(self, folder: Path, card: OwnCard, reader: ImageReader) -> None:
        self.folder, self.card, self.reader = folder, card, reader
        self.images = Found(folder, Pattern(card.image_pattern), words_of(card, reader.channels))
        self.masks = Found(folder, Pattern(card.mask_pattern)) if card.labels == "masks" else None
        self.left_out = LeftOut()
        refuse_other_folders(folder, card)
        kinds = sorted(filter(None, (self.images, self.masks)), key=lambda found: -found.pattern.letters)
        for path in walk(folder):  # a file that both patterns describe is of the one with more letters
            if is_hidden(path) or not any(found.add(path) for found in kinds):
                self.left_out.add(path)
        require_images(self.images, card, self.left_out)
        if self.masks:
            require_masks(self.masks, self.images, {name: self._mask_of(name) for name in self.images.paths})
        self.table = self._read_table()
        self.windows = dict(self._squares()) if card.stride else {}
        self.members = {split: sorted(names) for split, names in self._members().items()}
        self._require_members()

    def image(self, name: str) -> Image:
        return self._image(*self.windows.get(name, (name, None)))

    def _image(self, base: str, window: Window | None) -> Image:
        paths = [self.folder / path for path in self.images.paths[base]]
        mask = self.folder / self.masks.paths[self._mask_of(base)][0] if self.masks else None
        return Image(paths, mask, None if self.masks else self._label(base), window)

    def part(self, names: Sequence[str]) -> Listing:
        """The listing of some images alone, with what reading them needs."""
        part, bases = copy(self), {self.base(name) for name in names}
        part.images = self.images.part(bases)
        part.masks = self.masks.part({self._mask_of(base) for base in bases}) if self.masks else None
        part.table = Table({base: self.table.labels[base] for base in bases} if self.table.labels else {})
        part.windows = {name: self.windows[name] for name in names} if self.windows else {}
        part.members = {}
        vars(part).pop("_grids", None)
        return part

    def corners(self, name: str) -> np.ndarray | None:
        """Longitude and latitude of the corners of an image in order around it, (4, 2); None without a place."""
        base, window = self.windows.get(name, (name, None))
        grid = self._grids.get(base) or self._grid(base)
        return corners_of(grid.window(window) if window else grid)

    # ------------------------------------------------------------------ files

    def _mask_of(self, name: str) -> str:
        """The id of an image's mask; the names of masks may lack some parts."""
        assert self.masks
        mine, theirs = self.images.pattern, self.masks.pattern
        if theirs.parts and theirs.parts == [part for part in mine.parts if part != "band"]:
            return name
        return theirs.name(self.images.parts(name))

    # ------------------------------------------------------------------ labels

    def _read_table(self) -> Table:
        if not self.card.labels.endswith(".csv"):
            return Table()
        in_name = self._group in self.images.pattern.parts
        group = None if in_name else self._group
        return read_table(self.folder / self.card.labels, self.images.paths, self.card, group)

    def _label(self, name: str) -> Any:
        if self.card.labels == "folders":
            return self.card.names.index(self.images.parts(name)["class"])
        return self.table.labels[name]

    # ------------------------------------------------------------------ windows

    @cached_property
    def _grids(self) -> dict[str, Grid]:
        """Size and place of every image, where windows or blocks need them."""
        needed = self.card.stride is not None or self._block_km
        names = list(self.images.paths) if needed else []
        with bar("reading sizes and places", len(names), unit="images") as shown:
            grids = {}
            for name in names:
                grids[name] = self._grid(name)
                shown.update(1)
        return grids

    def _grid(self, name: str) -> Grid:
        return grid_of([self.folder / path for path in self.images.paths[name]], self.card.gsd)

    def _squares(self) -> Iterator[tuple[str, tuple[str, Window]]]:
        with bar("looking for squares with labels", len(self._grids), unit="images") as shown:
            for name, grid in self._grids.items():
                image = self._image(name, None)
                assert image.mask
                for window in squares(grid, image.paths, image.mask, self.card, self.reader):
                    yield f"{name}/{window[0]}_{window[1]}", (name, window)
                shown.update(1)

    # ------------------------------------------------------------------ splits

    @property
    def _drawn(self) -> Mapping[str, Any]:
        """``seed``, ``fractions`` and more, or nothing if splits are not drawn."""
        return self.card.splits if isinstance(self.card.splits, dict) and "seed" in self.card.splits else {}

    @property
    def _group(self) -> str | None:
        return self._drawn.get("group")

    @property
    def _block_km(self) -> float | None:
        return self._drawn.get("block_km")

    def _members(self) -> Members:
        names = list(self.windows or self.images.paths)
        if self.card.splits in ("column", "folders"):
            of = self.table.splits or {name: self.images.parts(name)["split"] for name in self.images.paths}
            return {split: [name for name in names if of[self.base(name)] == split] for split in SPLITS}
        if not self._drawn:
            lists = {split: set(read_ids(self.folder / self.card.splits[split], self.images.paths)) for split in SPLITS}
            return {split: [name for name in names if self.base(name) in lists[split]] for split in SPLITS}
        seed, fractions = self._drawn["seed"], self._drawn["fractions"]
        if self._block_km:
            return self._in_blocks(names, self._block_km, seed, fractions)
        if self._group:
            return drawn_groups(names, self._group_of, seed, fractions)
        if self.windows:  # squares of one image would be near copies of each other
            return drawn_groups(names, self.base, seed, fractions)
        by_class = self.card.task == "classification"
        return drawn({name: self._label(name) if by_class else None for name in names}, seed, fractions)

    def _in_blocks(self, names: list[str], km: float, seed: int, fractions: list[float]) -> Members:
        corners = {}
        for name in names:
            found = self.corners(name)
            if found is None:
                raise DataError(
                    f"{self.folder / self.images.paths[self.base(name)][0]}: block_km needs coordinates, and the file "
                    f"has none; use `group` instead in {CARD}"
                )
            corners[name] = found
        members = drawn_groups(names, lambda name: block(corners[name], km), seed, fractions)
        return without_overlaps(members, corners)

    def base(self, name: str) -> str:
        """The id of the image that a square is of."""
        return self.windows[name][0] if self.windows else name

    def _group_of(self, name: str) -> str:
        base = self.base(name)
        return self.table.groups[base] if self.table.groups else self.images.parts(base)[self._group or ""]

    def _require_members(self) -> None:
        if all(self.members.values()):
            return
        counts = ", ".join(f"{split} {len(names)}" for split, names in self.members.items())
        what = f"{self.folder}: each split needs one or more images, found {counts}"
        if self.windows and self._drawn and not self._block_km:
            what += f" (the squares of an image stay together; to divide one scene, add block_km to splits in {CARD})"
        elif self._block_km or self._group:
            what += " (too few blocks or groups)"
        raise DataError(f"{what}; add images or change splits in {CARD}")

    def note(self) -> None:
        """Log what may be a mistake, one line each."""
        if self.left_out.counts:
            log.warning("%s: files that are not read: %s; move or convert those that are images", self.folder,
                        self.left_out)  # fmt: skip
        listed = {self.base(name) for names in self.members.values() for name in names}
        unused = sorted(set(self.images.paths) - listed)
        if unused:
            log.warning("%s: %d images are in no split, e.g. %s", self.folder, len(unused), unused[0])
        if self.card.splits != "column" and self.table.splits:
            log.warning("%s: column split of the table is not used; `splits: column` in %s uses it", self.folder, CARD)


def corners_of(grid: Grid) -> np.ndarray | None:
    """Longitude and latitude of the corners in order around the image, (4, 2)."""
    height, width = grid.shape
    places = degrees(grid, [(0, 0), (width, 0), (width, height), (0, height)])
    return None if places is None else np.stack(places, axis=1)


def words_of(card: OwnCard, channels: Channels) -> tuple[str, ...]:
    """What stands for ``{band}`` in the names of the files of an image; nothing if one file has all bands."""
    return channels.files if card.per_file else ()


def first_image(folder: Path, card: OwnCard, channels: Channels) -> list[Path] | None:
    """The files of any one image, found without listing the others; None if there is none."""
    found = Found(folder, Pattern(card.image_pattern), words_of(card, channels))
    for path in walk(folder):
        name = None if is_hidden(path) else found.add(path)
        if name is not None and all(found.paths[name]):
            return [folder / path for path in found.paths[name]]
    return None
