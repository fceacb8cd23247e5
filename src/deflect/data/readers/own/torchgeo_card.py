"""The keys of a ``card.yaml`` that describes a dataset of torchgeo."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from deflect.data.readers.own.keys import CommonKeys, Number, check_drawn
from deflect.settings import REGRESSIONS, SPLITS
from deflect.settings.fields import SHOULD

#: Arguments of torchgeo's classes that are not the card's to give.
OURS = {"root": "the dataset's folder", "split": "given by splits", "transforms": "not used: models take reflectance"}


class TorchgeoCard(CommonKeys):
    """The keys of a card that names a class of ``torchgeo.datasets``; those with a default may be left out."""

    torchgeo: str  # the class, e.g. EuroSAT
    arguments: dict[str, Any] = Field(default_factory=dict)  # of its constructor, e.g. {bands: [B04, B03, B02]}
    splits: Any = "torchgeo"  # torchgeo's, their names by ours, or {seed, fractions}
    image: str = "image"  # the key of a sample's image
    label: str | None = None  # the key of its label; by default, mask for tasks with a label per pixel, else label
    ignore: Number | None = None  # value of masks that means "no label"

    @field_validator("arguments")
    @classmethod
    def _check_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted(arguments.keys() & OURS):
            raise ValueError(f"expected no {ours[0]}, which is {OURS[ours[0]]}; remove it")
        return arguments

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: Any) -> Any:
        if splits == "torchgeo":
            return splits
        given = splits if isinstance(splits, dict) else {}
        names = {key: name for key, name in given.items() if key in SPLITS}
        drawn = {"seed", "fractions"} <= given.keys() <= {"seed", "fractions", "train", "test"}
        if not all(isinstance(name, str) for name in names.values()) or not (drawn or given.keys() == set(SPLITS)):
            raise ValueError(f"{SHOULD}be torchgeo, {{train, val, test}} with torchgeo's names, or {{seed, fractions}}")
        if drawn:
            check_drawn(splits, (3,) if "test" not in names else (2,))
        return splits

    @property
    def per_file(self) -> bool:
        """Whether each band has a file of its own."""
        return False

    def check_together(self) -> None:
        """Raise ConfigError where a key does not fit another; classes may be left out."""
        if self.task in REGRESSIONS or self.classes or self.target is not None:
            super().check_together()
