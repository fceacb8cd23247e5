"""What settings are made of: types with bounds, and the base class."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import core_schema

H = TypeVar("H", bound=Hashable)

#: How a message begins that ``deflect.settings.reading`` completes with what was found.
SHOULD = "should "

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
