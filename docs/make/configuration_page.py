"""docs/configuration.md and workflow/schemas/config.schema.json, generated from the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deflect.analysis.render import pipe_table
from deflect.settings.study import ConfigFile

SCHEMA = ConfigFile.model_json_schema()
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
HEAD = """# Configuration

All keys of `config.yaml`, generated from the code by `make docs`. Missing keys have the default; unknown keys are
an error. `studies.NAME` is `studies.mini`, `studies.paper` or your own study.

"""


def schema() -> str:
    """The JSON schema of config.yaml, for editors."""
    return json.dumps(SCHEMA, indent=2) + "\n"


def configuration_page() -> str:
    """All keys of config.yaml with type, default and meaning."""
    return HEAD + pipe_table(["key", "type", "default", "meaning"], _keys(SCHEMA, ""))


def _keys(node: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the table for a node of the schema and the nodes below it."""
    if "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    inner = {f".{name}": child for name, child in node.get("properties", {}).items()}
    for others in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
        inner |= {".NAME": others} if isinstance(others, dict) else {}
    for name, child in inner.items():
        yield from _keys(child, path + name)
    if not inner:
        default = f"`{json.dumps(node['default'])}`" if "default" in node else ""  # as YAML has it
        yield f"`{path.removeprefix('.')}`", _type(node), default, node.get("description", "")


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if "anyOf" in node:
        return " or ".join(map(_type, node["anyOf"]))
    if node.get("type") == "array":
        return f"list of {_type(node.get('items') or node['prefixItems'][0])}"
    bounds = [f"{sign} {node[key]:g}" for key, sign in BOUNDS.items() if key in node]
    return " ".join([node.get("type", "any"), ", ".join(bounds)]).strip()
