"""What runs were trained on: prepared stores with the published archives behind them, and the weights of GFMs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from deflect.crate.entities import MEDIA_TYPES, add, licence, refs
from deflect.data.card import CARD, FRACTIONS, PARTS, StoreCard, hash_name, read_card
from deflect.data.catalog import DATASETS, DatasetSheet
from deflect.files import read_json
from deflect.gfms.card import GFMCard
from deflect.settings.study import Study


def add_store(crate: ROCrate, study: Study, dataset: str, records: Sequence[dict[str, Any]]) -> Entity:
    """The prepared store of a dataset, its arrays, and the archive or the simulation that it was made from."""
    record = next(record for record in records if record["dataset"] == dataset)
    sha256, simulated = record["data"]["store_sha256"], record["simulated"]
    sheet = DATASETS[dataset] if dataset in DATASETS else _own_sheet(study, dataset)
    card = _store_card(study, dataset, sha256)
    identity = add(
        crate,
        f"#store_sha256-{dataset}",
        "PropertyValue",
        name="store_sha256",
        value=sha256,
        description=f"hash of the content of {CARD}, which has the hash of every array",
    )
    images = "Simulated images in the published format of" if simulated else "Images of"
    return add(
        crate,
        f"#store-{dataset}",
        "CreativeWork",
        name=f"prepared dataset {dataset}",
        description=f"{images} {sheet.title}; images by split: {json.dumps(record['data'].get('splits'))}",
        identifier=refs([identity]),
        hasPart=refs(_arrays(crate, dataset, card) if card else []),
        isBasedOn=None if simulated else refs([_published(crate, sheet)]),
        citation=None if simulated else sheet.citation,
        license=None if simulated else licence(crate, sheet.licence),
    )


def _own_sheet(study: Study, dataset: str) -> DatasetSheet:
    from deflect.data.readers.own.sheet import sheet_of  # slow to import

    return sheet_of(dataset, study.raw(dataset))


def _store_card(study: Study, dataset: str, sha256: str) -> StoreCard | None:
    """The card of the store that the runs used; None if it is not here any more."""
    if not (study.prepared(dataset) / CARD).exists():
        return None
    card = read_card(study.prepared(dataset))
    return card if card.sha256 == sha256 else None


def _arrays(crate: ROCrate, dataset: str, card: StoreCard) -> list[Entity]:
    """The files of a store with their hashes; they are not in the crate."""
    found = []
    for split, facts in card.splits.items():
        for part in (*PARTS, FRACTIONS):
            if sha256 := facts.get(hash_name(part)):
                name = f"{split}.{part}"
                found.append(add(crate, f"#store-{dataset}/{name}", "CreativeWork", name=name, sha256=sha256))
    return found


def _published(crate: ROCrate, sheet: DatasetSheet) -> Entity:
    """The published archive with the checksum that its publisher states; a user's own dataset has none."""
    source = sheet.source
    facts: dict[str, Any] = {"name": source.name or sheet.title, "description": sheet.title, "citation": sheet.citation}
    facts["license"] = licence(crate, sheet.licence)
    if not source.url:
        return add(crate, f"#raw-{sheet.name}", "CreativeWork", **facts)
    size = str(source.bytes) if source.bytes else None
    media_type = "application/gzip" if source.name.endswith(".gz") else "application/zip"
    facts |= {"contentSize": size, "encodingFormat": media_type, "version": source.version}
    return add(crate, source.url, "File", sha256=source.sha256, md5=source.md5, **facts)


def add_weights(crate: ROCrate, study: Study, gfm: str, records: Sequence[dict[str, Any]]) -> Entity | None:
    """The weights of a GFM and where they come from; None for random weights."""
    record = next(record for record in records if record["gfm"] == gfm)
    sha256 = record["weights"]["sha256"]
    if sha256 is None:
        return None
    facts = {"name": f"weights of {gfm}", "sha256": sha256, "encodingFormat": MEDIA_TYPES[".safetensors"]}
    if card := _gfm_card(study, gfm, sha256):
        sources = [
            add(crate, source.url, "CreativeWork", name=source.filename, description=source.note, md5=source.md5)
            for source in card.sources
        ]
        origin = {key: value for key, value in card.origin.items() if key != "sha256"}
        made = ", pretrained on simulated images" if card.size == "mini" else ""
        facts |= {
            "description": f"{card.title}{made}; {json.dumps(origin)}",
            "citation": card.citation,
            "isBasedOn": refs(sources),
        }
        facts["license"] = licence(crate, card.licence)
    return add(crate, f"#weights-{gfm}", "CreativeWork", **facts)


def _gfm_card(study: Study, gfm: str, sha256: str) -> GFMCard | None:
    """The card of the weights that the runs used; None if it is not here any more."""
    path = study.gfm_weights(gfm).with_suffix(".json")
    card = GFMCard.from_dict(read_json(path)) if path.exists() else None
    return card if card and card.origin.get("sha256") == sha256 else None
