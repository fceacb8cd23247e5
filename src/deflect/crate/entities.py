"""The kinds of entities that every part of a crate has: files, licences, references."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from deflect.files import sha256_once

#: Folder of the files that are copied into the crate.
WORKFLOW = "workflow"
#: Media types that Python's table lacks.
MEDIA_TYPES = {
    ".ipynb": "application/x-ipynb+json",
    ".lock": "text/plain",
    ".npz": "application/zip",
    ".safetensors": "application/vnd.safetensors",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".md": "text/markdown",
    "": "text/plain",
}


def add(crate: ROCrate, name: str, kind: str | list[str], /, **facts: Any) -> Entity:
    """Add the entity with the @id ``name``; facts that are None or empty are left out."""
    given = {key: value for key, value in facts.items() if value not in (None, "", [])}
    entity: Entity = crate.add(Entity(crate, name, properties={"@type": kind, **given}))
    return entity


def refs(entities: Iterable[Entity]) -> Any:
    """References to entities; a single one is no list, as RO-Crate recommends."""
    found = [{"@id": entity.id} for entity in entities]
    return found[0] if len(found) == 1 else found


def add_file(crate: ROCrate, folder: Path, path: str, sha256: str = "", **facts: Any) -> Entity:
    """Add the file ``path`` below the folder of the crate; its hash is computed if none is given."""
    file, name = folder / path, Path(path)
    media_type = MEDIA_TYPES.get(name.suffix) or mimetypes.guess_type(name.name)[0] or "application/octet-stream"
    facts = {"name": name.name, "encodingFormat": media_type, "contentSize": str(file.stat().st_size)} | facts
    return add(crate, quote(path), "File", sha256=sha256 or sha256_once(file), **facts)


def licence(crate: ROCrate, name: str) -> Any:
    """A licence by its SPDX identifier, or the text itself where it is none."""
    if not re.fullmatch(r"MIT|ISC|[\w.+-]*\d[\w.+-]*", name, re.ASCII):  # other identifiers have a version
        return name
    address = f"https://spdx.org/licenses/{name}"
    return {"@id": (crate.get(address) or add(crate, address, "CreativeWork", name=name, identifier=address)).id}
