"""How much the simulator writes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deflect.settings.checks import Count, Natural, Settings


class SimulationSize(Settings):
    """The size of one simulated dataset."""

    train: Count
    """Images of the training split."""
    val: Count
    """Images of the validation split."""
    test: Count
    """Images of the test split."""
    pixels: Annotated[int, Field(ge=16, strict=True)] | None = None
    """Side of an image, in pixels; null takes the published one."""


class Simulation(Settings):
    """What the simulator writes for a study."""

    seed: Natural
    """Seed of every random number of the simulator and of pretraining."""
    rgb_images: Natural
    """Simulated RGB images, on which mini GFMs are pretrained."""
    rgb_pixels: Natural
    """Side of such an image, in pixels."""
    sizes: dict[str, SimulationSize]
    """By dataset."""
