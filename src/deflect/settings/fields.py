"""Types of settings, with bounds, and their base class."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import core_schema

H = TypeVar("H", bound=Hashable)

#: Start of the messages to which ``deflect.settings.reading`` adds what was found.
SHOULD = "should "

# Strict, because YAML has numbers and booleans: text in their place is a mistake.
Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NotNegative = Annotated[float, Field(ge=0, strict=True)]
#: Between 0 and 1, both excluded.
Fraction = Annotated[float, Field(gt=0, lt=1, strict=True)]
#: From 0 to 1, 0 excluded.
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
#: From 0 to 1, 1 excluded.
Rate = Annotated[float, Field(ge=0, lt=1, strict=True)]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9_]+$")]


def _distinct(values: tuple[H, ...]) -> tuple[H, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"{SHOULD}be a list without repeats")
    return values


Distinct = Annotated[tuple[H, ...], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
OneOrMore = Annotated[Distinct[H], Field(min_length=1)]


class Settings(BaseModel):
    """Settings are validated when created, immutable, and refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


@dataclass(frozen=True)
class Some:
    """Marks a mapping with some of the settings of ``cls``: it is validated as ``cls`` and stays as it was given."""

    cls: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(_check, handler.generate_schema(self.cls))


def _check(given: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
    validate(given)
    return given
