"""Generate workflow/schemas/config.schema.json from the dataclasses of the code: ``python -m deflect.schema``."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from deflect.config import GFMS, METHODS, SCHEMA
from deflect.data.catalog import AS_PUBLISHED, DATASETS
from deflect.data.simulate import SimulationSize
from deflect.docstrings import field_meanings
from deflect.files import write_json
from deflect.gfms.card import CARDS
from deflect.gfms.pretrain import PretrainSettings
from deflect.methods import METHODS as METHOD_CONFIGS
from deflect.training.settings import TrainSettings

#: The end of a name. A plain $ would let a line break follow.
END = r"$(?!\n)"
NAME = {"type": "string", "pattern": r"^[A-Za-z0-9_]+" + END}
#: Datasets whose published band names are wrong.
MISNAMED = tuple(name for name in DATASETS if AS_PUBLISHED[name] is not DATASETS[name])
COUNT = {"type": "integer", "minimum": 0}


def of_dataclass(cls: type, only_given: bool = True) -> dict[str, Any]:
    """Schema of a dataclass that refuses unknown keys; fields may be left out and then take the code's default."""
    schema = TypeAdapter(cls).json_schema()
    for name, meaning in field_meanings(cls).items():
        schema["properties"][name]["description"] = meaning
    schema.pop("description", None)
    schema["additionalProperties"] = False
    schema.pop("title", None)
    if only_given:
        schema.pop("required", None)
    return schema


def said(meaning: str, schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with what the key means."""
    return schema | {"description": meaning}


def _sizes(gfm: str) -> list[str]:
    """The published sizes of a GFM."""
    return [size for name, size in CARDS if name == gfm and size != "mini"]


def mapping(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": False,
    }


def names(known: tuple[str, ...] | None = None) -> dict[str, Any]:
    item = {"enum": list(known)} if known else NAME
    return {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}


def seeds() -> dict[str, Any]:
    return {"type": "array", "items": COUNT, "minItems": 1, "uniqueItems": True}


def variants() -> dict[str, Any]:
    """Named runs beside the grid; a name is the method's, ``+``, and what differs: ``deflect+no_indices``."""
    each = [mapping({"method": {"const": m}, "settings": of_dataclass(c)}, ("method",)) for m, c in _methods()]
    named = {"type": "object", "propertyNames": {"pattern": r"^[a-z_]+\+[a-z0-9_=.]+" + END}}
    return mapping(
        {
            "datasets": said("where the variants run: a part of the study's datasets", names()),
            "gfms": said("and a part of its GFMs", names(GFMS)),
            "seeds": said("the study's own if left out", seeds()),
            "settings": named | {"additionalProperties": {"oneOf": each}},
        },
        ("datasets", "gfms", "settings"),
    )


def study() -> dict[str, Any]:
    sizes = {"type": "object", "additionalProperties": of_dataclass(SimulationSize, only_given=False)}
    return mapping(
        {
            "data": said("published files, or files that the simulator writes", {"enum": ["simulated", "real"]}),
            "datasets": said("of the catalog, or your own under data/raw/", names()),
            "gfms": names(GFMS),
            "gfm_size": said("mini GFMs are pretrained here, full ones fetched", {"enum": ["mini", "full"]}),
            "methods": names(METHODS),
            "seeds": seeds(),
            "share_process": said(
                "one job trains all runs of a method (many short runs), or every run is a job (a cluster)",
                {"type": "boolean"},
            ),
            "keep_weights": said(
                "which runs keep adapter and head, so that they can be tested again: all, or those of the first seed; "
                "figures need those of DEFLECT, whose adapters always stay",
                {"enum": ["all", "first_seed"]},
            ),
            "simulation": mapping(
                {
                    "seed": COUNT,
                    "rgb_images": said("simulated RGB images, on which mini GFMs are pretrained", COUNT),
                    "rgb_pixels": said("side of such an image", COUNT),
                    "sizes": sizes,
                },
                ("seed", "rgb_images", "rgb_pixels", "sizes"),
            ),
            "pretraining": of_dataclass(PretrainSettings),
            "weights": mapping({name: said("published size", {"enum": _sizes(name)}) for name in GFMS}),
            "keep_archives": said("false deletes a download once it is unpacked", {"type": "boolean"}),
            "unchecked": said(
                "published datasets that are taken as they are, whatever their sizes and statistics; records and the "
                "summary say so",
                names(tuple(DATASETS)),
            ),
            "as_published": said("datasets whose bands keep the publisher's wrong names", names(MISNAMED)),
            "training": {
                "type": "object",
                "required": ["classification", "segmentation"],
                "additionalProperties": of_dataclass(TrainSettings),
            },
            "variants": variants(),
        },
        ("data", "datasets", "gfms", "gfm_size", "methods", "seeds", "share_process", "training"),
    )


def schema() -> dict[str, Any]:
    """The whole schema of config.yaml."""
    wandb = mapping(
        {
            "mode": said("the variable WANDB_MODE wins", {"enum": ["disabled", "offline", "online"]}),
            "project": {"type": "string"},
            "entity": said("team or user; your own if left out", {"type": "string"}),
        }
    )
    methods = mapping({name: of_dataclass(config) for name, config in _methods()})
    top = mapping(
        {
            "study": said("which of the studies runs", NAME),
            "wandb": wandb,
            "methods": methods,
            "studies": {"type": "object", "additionalProperties": study()},
        },
        ("study", "studies"),
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "config.yaml of deflect"} | top


def _methods() -> list[tuple[str, type]]:
    return [(name, METHOD_CONFIGS[name]) for name in METHODS]


if __name__ == "__main__":
    write_json(SCHEMA, schema())
