"""Generate the pages of docs/ that repeat what the code knows: ``python -m deflect.docs``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deflect.data.catalog_page import catalog_page
from deflect.methods.shares import methods_page
from deflect.schema import schema

DOCS = Path(__file__).parents[2] / "docs"


def configuration_page() -> str:
    """Every key of config.yaml with its type and default."""
    head = (
        "# Configuration\n\n"
        "Every key of `config.yaml`, generated from the code by `make docs`. Keys left out take the default; unknown\n"
        "keys are refused. `studies.NAME` stands for `studies.mini`, `studies.paper` or a study of your own.\n\n"
        "| key | type | default | meaning |\n|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(row)} |\n" for row in _keys(schema(), ""))


def _keys(node: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the table: key, type, default and meaning."""
    for name, child in node.get("properties", {}).items():
        yield from _key(child, f"{path}.{name}" if path else name)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _key(node["additionalProperties"], f"{path}.NAME")


def _key(node: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    if "properties" in node or isinstance(node.get("additionalProperties"), dict):
        yield from _keys(node, path)
    else:
        default = f"`{json.dumps(node['default'])}`" if "default" in node else ""  # as YAML has it
        meaning = node.get("description", "").replace("``", "`")
        yield f"`{path}`", _type(node).replace("|", "\\|"), default, meaning.replace("|", "\\|")


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in node:
            return " or ".join(dict.fromkeys(_type(each) for each in node[key]))
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}))}"
    return str(node.get("type", "any"))


def pages() -> dict[Path, str]:
    """Every generated page and what must stand in it."""
    return {
        DOCS / "configuration.md": configuration_page(),
        DOCS / "datasets.md": catalog_page(),
        DOCS / "methods.md": methods_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
