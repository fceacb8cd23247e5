"""Settings of the simulator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deflect.settings.fields import Count, Natural, Settings


class SimulationSize(Settings):
    train: Count = Field(description="Images of the training split.")
    val: Count = Field(description="Images of the validation split.")
    test: Count = Field(description="Images of the test split.")
    pixels: Annotated[int, Field(ge=16, strict=True)] | None = Field(
        default=None, description="Side of an image, in pixels; null takes the published one."
    )


class Simulation(Settings):
    seed: Natural = Field(description="Seed of the simulator and of pretraining.")
    rgb_images: Natural = Field(description="Simulated RGB images, on which mini GFMs are pretrained.")
    rgb_pixels: Natural = Field(description="Side of such an image, in pixels.")
    sizes: dict[str, SimulationSize] = Field(description="By dataset.")
