"""Validate settings; an error is one line with the key, what was expected and found, and the nearest known name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deflect.errors import ConfigError
from deflect.settings.fields import SHOULD, Settings

S = TypeVar("S", bound=Settings)

UNKNOWN = "extra_forbidden"
QUOTED = "'([^']*)'"
#: What pydantic's messages have around the expectation.
WRAPPING = r"^(\w+ )?should (be |have )?| after validation.*| or instance of .*"
PLAIN = {"a valid tuple": "a list", "a valid dictionary": "a mapping", "match pattern": "a match of the pattern"}
EXPONENT = " (YAML takes 1e-4 for text: write 1.0e-4 or 0.0001)"


def read(cls: type[S], given: Mapping[str, Any], *where: str) -> S:
    """``given`` as settings of ``cls``; ``where`` are the keys above it.

    Raises:
        ConfigError: a key is unknown or missing, or a value cannot be used.
    """
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        errors = sorted(error.errors(include_url=False), key=lambda details: details["type"] != UNKNOWN)
        keys, first = _keys(errors[0], given), errors[0]
        if first["type"] == UNKNOWN:
            *keys, key = keys
            text = f": unknown key {key!r}{hint(key, _known(cls.model_json_schema(), keys))}"
        elif isinstance(first.get("ctx", {}).get("error"), ConfigError):
            text = f".{first['ctx']['error']}"  # of nested settings; it begins with their key
        else:
            text = f": {_explain([details for details in errors if _keys(details, given) == keys])}"
        place = ".".join(key if key.isprintable() else repr(key) for key in map(str, (*where, *keys)))
        raise ConfigError(f"{place or 'top level'}{text}") from None


def _explain(errors: list[ErrorDetails]) -> str:
    """What was expected and found; a value that may have several types has an error for each."""
    kind, found = errors[0]["type"], errors[0]["input"]
    messages = [details["msg"].removeprefix("Value error, ") for details in errors]
    if kind == "missing":
        return "missing; add it"
    if kind == "literal_error" and len(errors) == 1:
        return f"unknown value {found!r}{hint(found, re.findall(QUOTED, errors[0]['ctx']['expected']))}"
    if kind == "value_error" and not messages[0].startswith(SHOULD):
        return messages[0]
    expected = " or ".join(re.sub(WRAPPING, "", message) for message in messages)
    for words, plain in PLAIN.items():
        expected = expected.replace(words, plain)
    trap = isinstance(found, str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", found)
    return f"expected {expected}, found {found!r:.200}{EXPONENT if trap else ''}"


def _keys(details: ErrorDetails, given: Any) -> list[str | int]:
    """The keys of ``given`` that lead to an error; pydantic's location also has members of unions and validators."""
    keys: list[str | int] = []
    for part in details["loc"]:
        try:
            given = given[part]
        except (LookupError, TypeError):
            if details["type"] != "missing":
                continue
        keys.append(part)
    return keys


def _known(schema: dict[str, Any], keys: Iterable[str | int]) -> list[str]:
    """The keys that a JSON schema allows at a place."""
    node = schema
    for key in keys:
        node = _resolved(node, schema)
        below = [node.get("properties", {}).get(key), node.get("additionalProperties"), node.get("items")]
        node = next(filter(None, (*below, *node.get("patternProperties", {}).values())))
    return list(_resolved(node, schema)["properties"])


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def hint(found: Any, known: Iterable[Any]) -> str:
    """The nearest known name, or all of them."""
    names = [str(name) for name in known]
    return near(found, names) or f"; known: {', '.join(names)}"


def near(found: Any, known: Iterable[str]) -> str:
    """The nearest known name, or nothing."""
    names = difflib.get_close_matches(str(found), list(known), n=1)
    return f"; did you mean {names[0]!r}?" if names else ""
