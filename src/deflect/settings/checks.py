"""Types with bounds that settings share, and ``read``, whose errors are one line that names the key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import ErrorDetails, core_schema

from deflect.errors import ConfigError

S = TypeVar("S", bound="Settings")
H = TypeVar("H", bound=Hashable)

UNKNOWN = "extra_forbidden"
QUOTED = "'([^']*)'"
#: How the messages of pydantic begin, behind the type, and those of our own validators that are worded alike.
SHOULD = "should "
WRAPPING = r"^(\w+ )?should (be |have )?| after validation.*| or instance of .*"
PLAIN = {"a valid tuple": "a list", "a valid dictionary": "a mapping", "match pattern": "a match of the pattern"}
EXPONENT = " (YAML takes 1e-4 for text: write 1.0e-4 or 0.0001)"

# Strict: YAML has numbers and booleans of its own, so text in their place is a mistake.
Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NotNegative = Annotated[float, Field(ge=0, strict=True)]
#: A number between 0 and 1, both excluded.
Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
#: A number from 0 to 1, 1 excluded.
Rate = Annotated[float, Field(ge=0, lt=1, strict=True)]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9_]+$")]


def _distinct(values: tuple[H, ...]) -> tuple[H, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"{SHOULD}be a list without repeats")
    return values


Distinct = Annotated[tuple[H, ...], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
OneOrMore = Annotated[Distinct[H], Field(min_length=1)]


class Settings(BaseModel):
    """What all settings have in common: they are checked when made, do not change, and know no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Some:
    """Marks a mapping that holds some settings of ``cls``: it is checked as ``cls`` and kept as it was given."""

    cls: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(_check, handler.generate_schema(self.cls))


def _check(given: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
    validate(given)
    return given


def read(cls: type[S], given: Mapping[str, Any], *where: str) -> S:
    """``given`` as settings of ``cls``; ``where`` are the keys under which it was given.

    Raises:
        ConfigError: a key is unknown or missing, or a value cannot be used; one line names it.
    """
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != UNKNOWN)
        keys, first = _keys(faults[0], given), faults[0]
        if first["type"] == UNKNOWN:
            *keys, key = keys
            text = f": unknown key {key!r}{hint(key, _known(cls.model_json_schema(), keys))}"
        elif isinstance(first.get("ctx", {}).get("error"), ConfigError):
            text = f".{first['ctx']['error']}"  # of settings within, which has its key
        else:
            text = f": {_explain([fault for fault in faults if _keys(fault, given) == keys])}"
        place = ".".join(key if key.isprintable() else repr(key) for key in map(str, (*where, *keys)))
        raise ConfigError(f"{place or 'top level'}{text}") from None


def _explain(faults: list[ErrorDetails]) -> str:
    """What was expected and what was found. Several faults of one value are of the types that it may have."""
    kind, found = faults[0]["type"], faults[0]["input"]
    messages = [fault["msg"].removeprefix("Value error, ") for fault in faults]
    if kind == "missing":
        return "missing; add it"
    if kind == "literal_error" and len(faults) == 1:
        return f"unknown value {found!r}{hint(found, re.findall(QUOTED, faults[0]['ctx']['expected']))}"
    if kind == "value_error" and not messages[0].startswith(SHOULD):
        return messages[0]
    expected = " or ".join(re.sub(WRAPPING, "", message) for message in messages)
    for words, plain in PLAIN.items():
        expected = expected.replace(words, plain)
    trap = isinstance(found, str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", found)
    return f"expected {expected}, found {found!r:.200}{EXPONENT if trap else ''}"


def _keys(fault: ErrorDetails, given: Any) -> list[str | int]:
    """The keys of ``given`` that lead to a fault; pydantic also names members of unions and steps of its own."""
    keys: list[str | int] = []
    for part in fault["loc"]:
        try:
            given = given[part]
        except (LookupError, TypeError):
            if fault["type"] != "missing":
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
    near = difflib.get_close_matches(str(found), names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"
