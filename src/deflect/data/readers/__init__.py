"""Readers of published files, one per on-disk format; ``read`` selects the reader.

dataset = read("mados", Path("data/raw/mados"), "train")
dataset[0]["image"], dataset[0]["mask"]
"""

from __future__ import annotations

from pathlib import Path

from deflect.data.catalog import DATASETS, DatasetSheet
from deflect.data.readers.base import RawDataset
from deflect.data.readers.burn_scars import BurnScars
from deflect.data.readers.geobench import GeoBench
from deflect.data.readers.mados import Mados
from deflect.data.readers.own.card import CARD, TorchgeoCard, read_card
from deflect.data.readers.own.reader import OwnData
from deflect.data.readers.own.sheet import sheet_of
from deflect.data.readers.own.torchgeo_data import TorchgeoData
from deflect.errors import DataError
from deflect.settings import SPLITS

__all__ = ["RawDataset", "read", "read_every", "sheet_for"]

READERS: dict[str, type[RawDataset]] = {
    "so2sat": GeoBench,
    "brick_kiln": GeoBench,
    "forestnet": GeoBench,
    "burn_scars": BurnScars,
    "mados": Mados,
    "bigearthnet": GeoBench,
}


def sheet_for(name: str, folder: Path) -> DatasetSheet:
    """The data sheet of ``name``: from the catalog, or from the card of a user's own dataset."""
    if name in DATASETS:
        return DATASETS[name]
    if not (folder / CARD).exists():
        known = ", ".join(DATASETS)
        raise DataError(
            f"{folder / CARD}: missing; {name!r} is none of {known}; describe it (docs/your_own_dataset.md)"
        )
    return sheet_of(name, folder)


def read_every(name: str, folder: Path, sheet: DatasetSheet) -> dict[str, RawDataset]:
    """All splits of a dataset in its published files."""
    return dict(_reader(name, folder).every(folder, sheet))


def _reader(name: str, folder: Path) -> type[RawDataset]:
    if name in READERS:
        return READERS[name]
    return TorchgeoData if isinstance(read_card(folder / CARD), TorchgeoCard) else OwnData


def read(name: str, folder: Path | str, split: str, sheet: DatasetSheet | None = None) -> RawDataset:
    """One split of a dataset in its published files.

    Args:
        name: a dataset of the catalog, or the name of a user's own.
        folder: its files, or the parent of the archive's top folder.
        split: ``train``, ``val`` or ``test``.
        sheet: the default is that of the catalog; ``catalog.AS_PUBLISHED["brick_kiln"]`` reads Brick Kiln with its
            published, wrong band names.
    """
    if split not in SPLITS:
        raise DataError(f"split must be train, val or test, found {split!r}")
    folder = Path(folder)
    sheet = sheet or sheet_for(name, folder)
    return _reader(name, folder)(folder, split, sheet)
