"""Checks of the files that were found: folders, classes, and a mask for each image."""

from __future__ import annotations

from pathlib import Path

from deflect.data.readers.own.card import CARD, OwnCard
from deflect.data.readers.own.files import Found, LeftOut, few
from deflect.errors import DataError
from deflect.settings import SPLITS


def refuse_other_folders(folder: Path, card: OwnCard) -> None:
    """Name the layout with a folder per split, which the card has to choose."""
    if card.images:
        return
    folders = {path.name for path in folder.glob("[!.]*") if path.is_dir()}
    if card.splits == "folders":
        if not folders.issuperset(SPLITS):
            found = few(sorted(folders)) or "none"
            raise DataError(f"{folder}: expected folders train, val and test, found {found}; rename or add")
        return
    others = folders - set(card.names)
    if "images" not in folders and "train" in others and others & {"val", "valid", "validation", "test"}:
        raise DataError(
            f"{folder}: found a folder per split ({few(sorted(others))}); "
            f"call them train, val and test and write `splits: folders` in {CARD}"
        )


def require_images(images: Found, card: OwnCard, left_out: LeftOut) -> None:
    """Raise DataError unless there are images, with all their bands and, in class folders, of each class."""
    folder, pattern = images.folder, images.pattern.text
    if not images.paths:
        found = f"other files: {left_out}" if left_out.counts else "none"
        raise DataError(f"{folder}: expected images {pattern}, found {found}; put the images there or correct {CARD}")
    images.require_all()
    if card.labels != "folders":
        return
    titles = {images.parts(name)["class"] for name in images.paths}
    if unknown := sorted(titles - set(card.names)):
        raise DataError(f"{folder / unknown[0]}: not one of the classes of {CARD}; rename the folder or add the class")
    if empty := [title for title in card.names if title not in titles]:
        raise DataError(
            f"{folder / empty[0]}: expected images {pattern} of this class, found none; put them there or "
            f"correct {CARD}"
        )


def require_masks(masks: Found, images: Found, mask_of: dict[str, str]) -> None:
    """Raise DataError unless each image has a mask, and each mask an image.

    Args:
        mask_of: the id of each image's mask.
    """
    folder = masks.folder
    if not masks.paths:
        raise DataError(f"{folder}: expected masks {masks.pattern.text}, found none; add them or correct {CARD}")
    unused = sorted(masks.paths.keys() - set(mask_of.values()))
    without = sorted(name for name, mask in mask_of.items() if mask not in masks.paths)
    for has, lacks, found, alone in (("mask", "image", masks, unused), ("image", "mask", images, without)):
        if alone:
            names = [Path(next(filter(None, found.paths[name]))).name for name in alone]
            what = f"{len(names)} {has}s without {lacks} ({few(names)})"
            raise DataError(f"{folder}: {what}; add the {lacks}s or remove the {has}s")
