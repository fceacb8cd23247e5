"""What is fetched, verified and prepared, and the command that gets what is missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from deflect.data.card import CARD
from deflect.data.catalog import DATASETS, dataset_sheet
from deflect.data.disk import human
from deflect.data.fetch import ARCHIVES, is_present, likely_layout
from deflect.data.fetch_file import FetchError
from deflect.data.manifest import (
    MANIFEST,
    content_faults,
    describe_folder,
    read_manifest,
    size_faults,
    write_manifest,
)

USER_CARD = "card.yaml"


@dataclass(frozen=True)
class Status:
    """One row of the table. ``next`` is the command that gets what is missing; empty where nothing is."""

    dataset: str
    raw: str
    verified: str
    prepared: str
    size: str
    next: str


def status(
    raw_root: Path | str, prepared_root: Path | str, study: str, simulated_root: Path | str | None = None
) -> list[Status]:
    """One row per dataset of the catalog, and per dataset of a user's own below ``raw_root``.

    Args:
        prepared_root: folder of all studies; the stores of ``study`` are in ``prepared_root/study``.
        simulated_root: where the simulator writes, for a study on simulated data; None for one on real data.
    """
    raw_root, stores = Path(raw_root), Path(prepared_root) / study
    own = sorted(card.parent.name for card in raw_root.glob(f"*/{USER_CARD}"))
    simulated = Path(simulated_root) if simulated_root else None
    rows = [_row(name, (simulated or raw_root) / name, stores / name, simulated is not None) for name in DATASETS]
    return rows + [_row(name, raw_root / name, stores / name, False) for name in own if name not in DATASETS]


def status_table(
    raw_root: Path | str, prepared_root: Path | str, study: str, simulated_root: Path | str | None = None
) -> str:
    """:func:`status` as text with aligned columns."""
    rows = [list(Status.__dataclass_fields__)]
    for row in status(raw_root, prepared_root, study, simulated_root):
        rows.append([value or "-" for value in asdict(row).values()])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *_beside(Path(raw_root), Path(prepared_root))])


def _beside(raw_root: Path, prepared_root: Path) -> list[str]:
    """What lies beside the datasets: archives, and what is unfinished or was left by a killed process."""
    archives = raw_root / ARCHIVES
    parts = sum(map(_size, archives.rglob(".*.part")))
    unfinished = [*raw_root.glob(".*.unpacking"), *prepared_root.glob("*/.*.part")]
    facts = {
        f"archives in {archives}": _size(archives) - parts,
        "unfinished downloads, unpacking and preparing": parts + sum(map(_size, unfinished)),
    }
    return [f"{what}: {human(size)}" for what, size in facts.items() if size]


def _row(name: str, folder: Path, store: Path, simulated: bool) -> Status:
    present, prepared = is_present(folder), (store / CARD).exists()
    if simulated:
        raw, verified = ("simulated" if present else "no"), ""
    else:
        raw, verified = _fetched(name, folder) if present else (_begun(name, folder.parent), "")
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
    """How a present dataset came here, and what is known about its content."""
    if not (folder / MANIFEST).exists():
        return ("by hand" if name in DATASETS else "own"), ""
    manifest, faults = read_manifest(folder), size_faults(folder)
    known = "yes" if manifest["sources"] else "recorded"
    return manifest["layout"], f"{len(faults)} wrong" if faults else known


def _begun(name: str, raw_root: Path) -> str:
    """How far the download of an absent dataset is."""
    archives, sheet = raw_root / ARCHIVES, dataset_sheet(name)
    files = [archives / file.name for file in sheet.files(likely_layout(sheet, archives))]
    there = sum(file.exists() for file in files)
    parts = sum(_size(file.with_name(f".{file.name}.part")) for file in files)
    if not there and not parts:
        return "no"
    return f"{there} of {len(files)} files" + (f" + {human(parts)}" if parts else "")


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0


def verify(dataset: str, raw_root: Path | str) -> str:
    """Compare every file of a raw dataset with its checksum; returns one line that says what was found right.

    A folder that was placed by hand has no checksums: they are recorded now and enforced from then on.

    Raises:
        FetchError: there is no such dataset in ``raw_root``, or files of it are missing or changed.
    """
    folder = Path(raw_root) / dataset
    if not is_present(folder):
        raise FetchError(f"{folder}: nothing to verify; run `deflect data fetch {dataset}`")
    new = not (folder / MANIFEST).exists()
    if new:
        write_manifest(folder, [], describe_folder(folder))
    faults = [] if new else content_faults(folder)
    files = read_manifest(folder)["files"].values()
    if faults:
        shown, again = "; ".join(faults[:3]), f"Delete {folder} and fetch again"
        if dataset not in DATASETS:
            again = f"Restore them, or delete {folder / MANIFEST} to take your files as they are now"
        raise FetchError(f"{len(faults)} of {len(files)} files are wrong: {shown}. {again}")
    found = "placed by hand, checksums recorded now" if new else "all as recorded"
    return f"{dataset}: {len(files)} files, {human(sum(facts['bytes'] for facts in files))}, {found}"
