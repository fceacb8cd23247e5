"""GEO-Bench v1 from its pickle-free mirror (Hugging Face ``calebrob6/geobenchv1-webdataset``).

    default_partition.json   as in the HDF5 layout
    shard_00000.tar, ...     members ``<id>.bands.npz`` (one array per stored band) and ``<id>.meta.json``
                             ({"label": int, "bands_order": [...]})

The headers of the archives are listed once; a sample is then read straight from its place.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from deflect.data.fetch.unpack import open_tar
from deflect.data.readers.base import Sample
from deflect.data.readers.faults import LARGEST, ReadError, reading, refuse_large
from deflect.data.readers.geobench import GeoBench, stack

BANDS, META = ".bands.npz", ".meta.json"
Place = tuple[Path, int, int]


class WebDataset(GeoBench):
    """One split of a GEO-Bench dataset in tar shards."""

    layout = "webdataset"

    def _list_ids(self) -> list[str]:
        ids = super()._list_ids()
        members = list_members(self.folder)
        for name in ids:
            for ending in (BANDS, META):
                if name + ending not in members:
                    raise ReadError(f"{self.folder}: no member {name}{ending} in any shard; fetch the missing shard")
        self._places = {name: (members[name + BANDS], members[name + META]) for name in ids}
        return ids

    def path(self, index: int) -> Path:
        shard, _, _ = self._places[self.ids[index]][0]
        return shard / f"{self.ids[index]}{BANDS}"

    def files(self) -> list[Path]:
        return list(self.folder.glob("shard_*.tar"))

    def _read(self, index: int) -> Sample:
        path = self.path(index)
        bands, meta = self._places[self.ids[index]]
        try:
            with np.load(io.BytesIO(_member(bands)), allow_pickle=False) as arrays:
                keys = self.keys(arrays.files, path)
                for key in keys:
                    refuse_large((arrays.zip.getinfo(f"{key}.npy").file_size,), np.uint8, path)
                planes = [arrays[key] for key in keys]
            label = json.loads(_member(meta))["label"]
        except (zipfile.BadZipFile, EOFError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ReadError):
                raise
            raise ReadError(f"{path}: damaged member ({error}); fetch {path.parent.name} again") from error
        return stack(planes, keys, path), label


@lru_cache(maxsize=8)
def list_members(folder: Path) -> dict[str, Place]:
    """Every member of the shards of ``folder``: name -> (shard, offset, size)."""
    members: dict[str, Place] = {}
    for shard in sorted(folder.glob("shard_*.tar")):
        try:
            with reading(shard), open_tar(shard) as archive:
                for member in archive:
                    name = Path(member.name).name
                    if name in members:
                        raise ReadError(f"{shard}: member {name} stands in two places; fetch the shards again")
                    members[name] = (shard, member.offset_data, member.size)
        except tarfile.TarError as error:
            raise ReadError(f"{shard}: not a whole tar archive ({error}); fetch it again") from error
    return members


def _member(place: Place) -> bytes:
    shard, offset, size = place
    if size > LARGEST:
        raise ValueError(f"{size} bytes, more than an image has")
    with open(shard, "rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) != size:
        raise EOFError(f"{size} bytes expected, {len(content)} found")
    return content
