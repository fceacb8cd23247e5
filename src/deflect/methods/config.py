"""What every method's configuration has in common, and the checks they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from deflect.errors import DeflectError

BandUse = Literal["all", "rgb"]
PatchInit = Literal["repeat", "random", "zero"]


class MethodError(DeflectError):
    """A method is unknown, wrongly set, or does not fit the GFM."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Settings of one method.

    bands: ``all`` uses every band of the band set, ``rgb`` only red, green and blue.
    """

    bands: BandUse = "all"
    #: Whether the method's GFM itself receives the extra bands, through a wider patch embedding.
    widens_patch_embed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("bands", self.bands, get_args(BandUse))


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(MethodConfig):
    """Settings of a method that sees extra bands through a wider patch embedding, which it trains.

    patch_init: start of the kernels of the extra bands, see ``deflect.methods.patch_embed``.
    """

    patch_init: PatchInit = "repeat"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("patch_init", self.patch_init, get_args(PatchInit))


def check_choice(field: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise MethodError(f"{field}: expected {' or '.join(map(str, choices))}, found {value!r}")


def check_positive(**fields: float) -> None:
    for field, value in fields.items():
        if not value > 0:
            raise MethodError(f"{field}: expected a positive number, found {value!r}")
