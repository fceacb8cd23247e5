"""The decisions of the reconstruction, in ``references/decisions.yaml``: what is chosen, and what else it could be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from deflect.settings import Dataset
from deflect.settings.fields import OneOrMore, Settings, Some
from deflect.settings.methods import Method
from deflect.settings.reading import read
from deflect.settings.study import Variant
from deflect.settings.training import TrainSettings


class Choice(Settings):
    """One way to decide; ``settings`` are those of the methods."""

    text: str = Field(description="In words, for tables.")
    settings: dict[str, Any] = Field(default_factory=dict)
    training: Annotated[dict[str, Any], Some(TrainSettings)] = Field(default_factory=dict)


class Decision(Settings):
    """What the paper leaves open, or what could not be read."""

    title: str
    choice: Choice = Field(description="What the paper study does.")
    why: str = Field(description="What speaks for it, and which source is followed.")
    confidence: Literal["high", "medium", "low"] = Field(description="That the authors did the same.")
    alternatives: dict[Annotated[str, Field(pattern="^[a-z0-9_]+$")], Choice] = Field(default_factory=dict)
    methods: tuple[Method, ...] = Field(default=(), description="Those that run every alternative.")
    datasets: OneOrMore[Dataset] | None = Field(default=None, description="Those that it concerns; null: all.")
    not_varied: str | None = Field(default=None, description="Why there is no alternative to run.")

    @model_validator(mode="after")
    def _varied_or_explained(self) -> Decision:
        if bool(self.alternatives and self.methods) == bool(self.not_varied):
            raise ValueError("expected alternatives and the methods that run them, or not_varied with the reason")
        return self

    def variants(self, name: str, methods: Iterable[str]) -> dict[str, Variant]:
        """A variant for each alternative and each of its methods that is among ``methods``."""
        return {
            (key := f"{method}+{name}={alternative}"): read(
                Variant,
                {"method": method, "datasets": self.datasets, "settings": c.settings, "training": c.training},
                key,
            )
            for alternative, c in self.alternatives.items()
            for method in self.methods
            if method in methods
        }


def decisions_of(given: Mapping[str, Any]) -> dict[str, Decision]:
    """The content of ``references/decisions.yaml`` by name. Raises ConfigError with the wrong key."""
    return {name: read(Decision, entry, name) for name, entry in given.items()}


def variants_of(decisions: Mapping[str, Decision], methods: Iterable[str]) -> dict[str, Variant]:
    """The variants of all decisions. Raises ConfigError for a setting that does not fit its method."""
    return {key: variant for name, found in decisions.items() for key, variant in found.variants(name, methods).items()}
