"""One action per training run, with its parameters and the software that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from deflect.crate.entities import add, add_file, refs
from deflect.files import sha256_file
from deflect.record import NAME, run_file

#: JSON's types by their names in schema.org.
TYPES = {bool: "Boolean", int: "Integer", float: "Float", str: "Text"}


def add_run(
    crate: ROCrate,
    folder: Path,
    row: Any,
    stores: Mapping[str, Entity],
    weights: Mapping[str, Entity | None],
    software: Mapping[str, Entity],
    parameters: Sequence[Entity],
) -> Entity:
    """The action that trained and tested a run; its result is the folder of the run, whose files are checked."""
    record, out = row.record, row.folder.relative_to(folder).as_posix()
    described = {"encodingFormat": "application/json", "description": f"run record of {row.run}"}
    files = [add_file(crate, folder, f"{out}/{NAME}", sha256_file(row.folder / NAME), **described)]
    for name, sha256 in record.get("files", {}).items():
        if not (row.folder / name).exists():
            facts = {"name": name, "sha256": sha256, "description": "left out of this folder"}
            files.append(add(crate, f"#{quote(f'{out}/{name}')}", "CreativeWork", **facts))
            continue
        run_file(row.folder, name, record)
        files.append(add_file(crate, folder, f"{out}/{name}", sha256))
    results = add(crate, f"{quote(out)}/", "Dataset", name=f"run {row.run}", hasPart=refs(files))
    device, images = record["device"], "simulated" if record["simulated"] else "real"
    return add(
        crate,
        f"#run-{quote(row.run)}",
        "CreateAction",
        name=f"train and test {row.run}",
        description=f"test {row.metric} {row.score:.4f} on {images} images; {device.get('name') or device['type']}, "
        f"threads: {device.get('threads')}; {record.get('platform')}",
        instrument=refs([software[_state(record)]]),
        object=refs(filter(None, [stores[row.dataset], weights[row.gfm], *parameters])),
        result=refs([results]),
        startTime=record.get("started"),
        endTime=record["finished"],
        actionStatus="http://schema.org/CompletedActionStatus",
    )


def add_parameters(crate: ROCrate, records: Sequence[dict[str, Any]]) -> list[list[Entity]]:
    """The parameters of every run. Runs with the same value share its entity."""
    found: list[list[Entity]] = []
    kinds: dict[str, set[str]] = {}
    values: dict[str, dict[str, Entity]] = {}
    for record in records:
        names = []
        for key, value in _parameters(record).items():
            text = json.dumps(value)
            kinds.setdefault(key, set()).add(TYPES.get(type(value), "Text"))
            known = values.setdefault(key, {})
            if text not in known:
                plain = value if value != "" and type(value) in TYPES else text  # an empty text is left out
                known[text] = add(
                    crate,
                    f"#{key}={quote(text)}",
                    "PropertyValue",
                    name=key,
                    value=plain,
                    exampleOfWork={"@id": f"#{key}"},
                )
            names.append(known[text])
        found.append(names)
    for key, kind in kinds.items():
        add(
            crate,
            f"#{key}",
            "FormalParameter",
            name=key,
            additionalType=kind.pop() if len(kind) == 1 else "Text",
            workExample=refs(values[key].values()),
            conformsTo={"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
        )
    return found


def _parameters(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen for a run: its place in the grid and its settings."""
    axes = {
        key: record[key]
        for key in ("dataset", "gfm", "method", "variant", "seed")
        if key in record and record[key] != ""
    }
    settings = record["settings"]
    return axes | {f"{part}.{key}": value for part in ("method", "training") for key, value in settings[part].items()}


def add_software(crate: ROCrate, records: Sequence[dict[str, Any]]) -> dict[str, Entity]:
    """deflect in each state in which it trained runs, with the versions of the packages that it used."""
    found: dict[str, Entity] = {}
    for record in records:
        if (state := _state(record)) in found:
            continue
        code, packages = record["code"], dict(record.get("packages", {}))
        deflect = packages.pop("deflect", "")
        python = packages.pop("python", "")
        needed = [_application(crate, f"https://docs.python.org/release/{python}/", "Python", python)] if python else []
        needed += [
            _application(crate, f"https://pypi.org/project/{name}/{version}/", name, version)
            for name, version in packages.items()
        ]
        changed = "tracked files were changed" if code.get("dirty") else "no tracked file was changed"
        found[state] = add(
            crate,
            f"#deflect-{len(found) + 1}",
            "SoftwareApplication",
            name="deflect",
            description=f"version {deflect}; git revision {code['revision'] or 'unknown'}, {changed}; "
            f"sha256 of the code that determines results: {code['sha256']}",
            softwareVersion=_version(record),
            softwareRequirements=refs(needed),
        )
    return found


def _application(crate: ROCrate, address: str, name: str, version: str) -> Entity:
    known = crate.get(address)
    return known or add(crate, address, "SoftwareApplication", name=name, softwareVersion=version, url=address)


def _version(record: Mapping[str, Any]) -> str:
    """The git revision, with a mark if files were changed; the version of the package where there was no git."""
    code = record["code"]
    revision = code["revision"] or record.get("packages", {}).get("deflect", "unknown")
    return f"{revision}+dirty" if code.get("dirty") else revision


def _state(record: Mapping[str, Any]) -> str:
    """What distinguishes the software of two runs."""
    return json.dumps([_version(record), record["code"]["sha256"], record.get("packages")], sort_keys=True)
