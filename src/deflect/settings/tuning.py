"""Settings of the search for a learning rate and a rank, the same for every method."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from deflect.settings.fields import SHOULD, Count, Distinct, Natural, OneOrMore, Positive, Settings
from deflect.settings.methods import Method


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if values[0] >= values[1]:
        raise ValueError(f"{SHOULD}be the lowest, then the highest learning rate")
    return values


class Tuning(Settings):
    """Every method, dataset and GFM of the variants gets the same number of trials in the same ranges."""

    trials: Count = Field(
        default=8, description="Trainings per dataset, GFM and method; the first one has the settings of the main grid."
    )
    lr: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=2), AfterValidator(_rising)] = Field(
        default=(1e-5, 1e-2), description="Lowest and highest learning rate, drawn log-uniformly."
    )
    ranks: Distinct[Count] = Field(
        default=(2, 4, 8, 16), description="Values of `rank`, for methods that have one; an empty list keeps theirs."
    )
    methods: OneOrMore[Method] | None = Field(default=None, description="By default all methods of the study.")
    epochs: Count | None = Field(default=None, description="Epochs of a trial; by default those of the run.")
    seed: Natural = Field(default=0, description="Seed of the drawn settings.")
