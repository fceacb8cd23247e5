"""Which datasets are fetched, verified and prepared, and the next command for each."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path

from deflect.data.card import CARD
from deflect.data.catalog import DATASETS, dataset_sheet
from deflect.data.disk import human
from deflect.data.fetch.dataset import ARCHIVES, is_present
from deflect.data.manifest import MANIFEST, read_manifest, size_errors

USER_CARD = "card.yaml"


@dataclass(frozen=True)
class Status:
    """One row of the table; ``next`` is the next command, empty if nothing is missing."""

    dataset: str
    raw: str
    verified: str
    prepared: str
    size: str
    next: str


def status(raw_root: Path, prepared_root: Path, study: str, simulated_root: Path | None = None) -> list[Status]:
    """One row per dataset of the catalog, and per own dataset in ``raw_root``.

    Args:
        prepared_root: the stores of ``study`` are in ``prepared_root/study``.
        simulated_root: the simulator's files, for a study on simulated data; None for one on real data.
    """
    stores, published, simulated = prepared_root / study, simulated_root or raw_root, simulated_root is not None
    own = sorted({card.parent.name for card in raw_root.glob(f"*/{USER_CARD}")} - set(DATASETS))
    rows = [_row(name, published / name, stores / name, simulated) for name in DATASETS]
    return rows + [_row(name, raw_root / name, stores / name, simulated=False) for name in own]


def status_table(raw_root: Path, prepared_root: Path, study: str, simulated_root: Path | None = None) -> str:
    """:func:`status` as text with aligned columns, then the size of archives and unfinished files."""
    found = status(raw_root, prepared_root, study, simulated_root)
    rows = [[field.name for field in fields(Status)], *([value or "-" for value in astuple(row)] for row in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]

    archives = raw_root / ARCHIVES
    parts = sum(map(_size, archives.rglob(".*.part")))
    unfinished = [*raw_root.glob(".*.unpacking"), *prepared_root.glob("*/.*.part")]
    sizes = {
        f"archives in {archives}": _size(archives) - parts,
        "unfinished downloads, unpacking and preparing": parts + sum(map(_size, unfinished)),
    }
    return "\n".join([*lines, *(f"{what}: {human(size)}" for what, size in sizes.items() if size)])


def _row(name: str, folder: Path, store: Path, simulated: bool) -> Status:
    present, prepared = is_present(folder), (store / CARD).exists()
    raw, verified = _fetched(name, folder) if present else (_begun(name, folder.parent), "")
    if simulated:
        raw, verified = ("simulated" if present else "no"), ""
    get = f"deflect data {'simulate' if simulated else 'fetch'} {name}"
    return Status(
        dataset=name,
        raw=raw,
        verified=verified,
        prepared="yes" if prepared else "no",
        size=human(_size(folder) + _size(store)),
        next="" if prepared else f"deflect data prepare {name}" if present else get,
    )


def _fetched(name: str, folder: Path) -> tuple[str, str]:
    """The layout or origin of a present dataset, and whether its files are as recorded."""
    if not (folder / MANIFEST).exists():
        return ("by hand" if name in DATASETS else "own"), ""
    manifest, errors = read_manifest(folder), size_errors(folder)
    known = "yes" if manifest["sources"] else "recorded"
    return manifest["layout"], f"{len(errors)} wrong" if errors else known


def _begun(name: str, raw_root: Path) -> str:
    """The progress of the download of a missing dataset."""
    archive = raw_root / ARCHIVES / dataset_sheet(name).source.name
    if archive.exists():
        return "archive only"
    begun = _size(archive.with_name(f".{archive.name}.part"))
    return f"{human(begun)} so far" if begun else "no"


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
