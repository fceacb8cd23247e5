"""One dataset: whole in its folder, or not there.

data/raw/archives/MADOS.zip         as downloaded, or placed by hand
data/raw/archives/checksums.json
data/raw/mados/                     unpacked, with manifest.json; appears by one rename when it is whole
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from deflect.data.catalog import DatasetSheet, dataset_sheet
from deflect.data.disk import lock, require_space
from deflect.data.download import Patience
from deflect.data.fetch_file import FetchError, fetch_file, read_record
from deflect.data.manifest import MANIFEST, read_manifest, write_manifest
from deflect.data.sources import Source
from deflect.data.unpack import unpack

ARCHIVES = "archives"
log = logging.getLogger(__name__)


def fetch(
    dataset: str,
    raw_root: Path | str,
    *,
    layout: str | None = None,
    keep_archive: bool = True,
    progress: bool | None = None,
    patience: Patience | None = None,
) -> Path:
    """The folder ``raw_root/dataset`` with the published files, fetched and unpacked where it is not there yet.

    A folder that is there, fetched before or placed by hand, is left as it is.

    Args:
        layout: published format, e.g. ``hdf5``; by default the one of which files are there, else the preferred one.
        keep_archive: keep the downloaded archive beside the unpacked files.

    Raises:
        FetchError, DiskFullError, UnpackError, CatalogError: with what to do.
    """
    sheet, raw_root = dataset_sheet(dataset), Path(raw_root)
    folder, archives = raw_root / dataset, raw_root / ARCHIVES
    with lock(archives, dataset):
        if is_present(folder):
            _same_layout(folder, layout)
            return folder
        files = sheet.files(layout or likely_layout(sheet, archives))
        _require_space_for(files, archives)
        paths = [fetch_file(file, archives, progress=progress, patience=patience) for file in files]
        if files[0].unpacked_bytes is None:
            _move_into_place(files, archives, folder)
        else:
            unpack(paths[0], folder, files[0], progress=progress)
            if not keep_archive:
                paths[0].unlink()
    log.info("%s is whole at %s", dataset, folder)
    return folder


def is_present(folder: Path) -> bool:
    """Whether there is a dataset in ``folder``; it gets this name only when it is whole."""
    return folder.is_dir() and any(folder.iterdir())


def likely_layout(sheet: DatasetSheet, archives: Path) -> str:
    """The layout of which the largest share of files is there already; the preferred one where none is."""

    def present(layout: str) -> float:
        files = sheet.files(layout)
        return sum((archives / file.name).exists() for file in files) / len(files)

    return max(sheet.layouts, key=present)


def _same_layout(folder: Path, layout: str | None) -> None:
    found = read_manifest(folder)["layout"] if (folder / MANIFEST).exists() else None
    if layout and found and layout != found:
        raise FetchError(f"{folder}: holds layout {found}, {layout} is asked for; delete the folder and fetch again")


def _require_space_for(files: Iterable[Source], archives: Path) -> None:
    """Room for what is still to download and to unpack, as far as the catalog knows sizes."""
    missing = sum(file.bytes or 0 for file in files if not (archives / file.name).exists())
    require_space(archives, missing + sum(file.unpacked_bytes or 0 for file in files))


def _move_into_place(files: tuple[Source, ...], archives: Path, folder: Path) -> None:
    """Files that are used as they are: one rename of their common folder, after its manifest is written."""
    together = (archives / files[0].name).parent
    record = read_record(archives)
    found = {Path(file.name).name: {key: record[file.name][key] for key in ("bytes", "sha256")} for file in files}
    write_manifest(together, files, found)
    if folder.is_dir():
        folder.rmdir()  # an empty one; a full one was taken for present
    os.replace(together, folder)
