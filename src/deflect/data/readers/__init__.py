"""Readers of published files, one per on-disk format; ``read`` finds the one that fits.

dataset = read("mados", Path("data/raw/mados"), "train")
dataset[0]["image"], dataset[0]["mask"]
"""

from __future__ import annotations

from pathlib import Path

from deflect.data.catalog import DATASETS, DatasetSheet
from deflect.data.readers.base import RawDataset
from deflect.data.readers.faults import ReadError
from deflect.data.readers.folder_card import CARD, sheet_of
from deflect.settings import SPLITS

__all__ = ["RawDataset", "ReadError", "read", "sheet_for"]


def sheet_for(name: str, folder: Path) -> DatasetSheet:
    """The data sheet of ``name``: from the catalog, or from the card of a user's own dataset.

    Raises:
        ReadError: the catalog does not know the name and the folder has no card.
    """
    if name in DATASETS:
        return DATASETS[name]
    if not (folder / CARD).exists():
        known = ", ".join(DATASETS)
        raise ReadError(
            f"{folder / CARD}: missing; {name!r} is none of {known}, so describe it (docs/your_own_dataset.md)"
        )
    return sheet_of(name, folder)


def read(name: str, folder: Path | str, split: str, sheet: DatasetSheet | None = None) -> RawDataset:
    """One split of a dataset in its published files.

    Args:
        name: a dataset of the catalog, or the name of a user's own.
        folder: its files, or the folder above the archive's top folder.
        split: ``train``, ``val`` or ``test``.
        sheet: the data sheet, if not the one of the catalog; ``catalog.AS_PUBLISHED["brick_kiln"]`` reads Brick Kiln
            under its published, wrong, band names.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise ReadError(f"split must be train, val or test, found {split!r}")
    sheet = sheet or sheet_for(name, folder)
    return _reader(name, folder)(folder, split, sheet)


def _reader(name: str, folder: Path) -> type[RawDataset]:
    if name in ("so2sat", "brick_kiln", "forestnet"):
        if next(folder.glob("shard_*.tar"), None) or next(folder.glob("*/shard_*.tar"), None):
            from deflect.data.readers.webdataset import WebDataset

            return WebDataset
        from deflect.data.readers.geobench import GeoBench

        return GeoBench
    if name == "burn_scars":
        from deflect.data.readers.burn_scars import BurnScars

        return BurnScars
    if name == "mados":
        from deflect.data.readers.mados import Mados

        return Mados
    from deflect.data.readers.folder import Folder

    return Folder
