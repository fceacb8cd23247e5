"""The settings of every method. What a method does with them is in ``deflect.methods``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, StrictBool, WithJsonSchema

from deflect.settings import METHODS, PEFT, STATISTICS, Statistic, is_method
from deflect.settings.fields import Count, Natural, OneOrMore, Positive, Settings
from deflect.settings.reading import hint, read


def _known(name: str) -> str:
    if not is_method(name):
        raise ValueError(f"unknown method {name!r}{hint(name, [*METHODS, 'peft:NAME'])}")
    return name


#: The name of a method. Which methods the ``peft`` library has is known only when it is imported, for a run.
Method = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema({"anyOf": [{"enum": list(METHODS)}, {"type": "string", "pattern": f"^{PEFT}$"}]}),
]

BandUse = Literal["all", "rgb"]
PatchInit = Literal["repeat", "random", "zero", "tile"]
#: The linear layers of a timm block.
TARGETS = ("qkv", "proj", "fc1", "fc2")


class MethodConfig(Settings):
    bands: BandUse = Field(default="all", description="`all` uses every band, `rgb` only red, green and blue.")
    #: Whether the GFM gets the extra bands, through a wider patch embedding.
    widens_patch_embed: ClassVar[bool] = True


class BaselineConfig(MethodConfig):
    """A method that gets extra bands through a wider patch embedding, which it trains."""

    patch_init: PatchInit = Field(default="repeat", description="Initial kernels of extra bands, see `patch_embed`.")


class FrozenConfig(BaselineConfig):
    bands: BandUse = Field(default="rgb", description="`all` leaves the wider patch embedding as `patch_init` made it.")


class AdapterConfig(BaselineConfig):
    """A method that can train something else alone."""

    train_patch_embed: StrictBool = Field(default=True, description="Train a patch embedding that was widened.")


class LoRAConfig(AdapterConfig):
    rank: Count = Field(default=16, description="Width r of the update.")
    alpha: Positive = Field(default=16.0, description="The `usual` convention scales the update by alpha / rank.")
    convention: Literal["paper", "usual"] = Field(
        default="paper", description="`paper` (biases, LayerNorms tuned, no alpha) or `usual` (of the `peft` library)."
    )
    down_bias: Literal["zero", "uniform"] = Field(
        default="zero", description="Start of the down-projection's bias in the `paper` convention."
    )
    targets: tuple[str, ...] = Field(default=TARGETS, description="Names of the linear layers inside the blocks.")


class SLRConfig(AdapterConfig):
    rank: Count = Field(default=16, description="Width r of the low-rank update.")
    down_bias: Literal["zero", "uniform"] = Field(default="zero", description="Start of the down-projection's bias.")
    targets: tuple[str, ...] = Field(default=TARGETS, description="Names of the linear layers inside the blocks.")


class VPTConfig(AdapterConfig):
    prompts: Count = Field(default=10, description="Number of prompt tokens per block.")
    deep: StrictBool = Field(default=True, description="New prompts at every block, or only in front of the first.")


class PeftConfig(AdapterConfig):
    name: str = Field(description="The method, as in `peft.PeftType` (any case), or `dora` or `rslora`.")
    options: dict[str, Any] = Field(default_factory=dict, description='Its settings in `peft`, e.g. `{"r": 16}`.')
    targets: tuple[str, ...] = Field(default=TARGETS, description="Names of the linear layers inside the blocks.")


class DescriptorConfig(MethodConfig):
    """A method that describes patches by their spectra."""

    features: Literal["indices", "bands", "both"] = Field(
        default="both", description="Features of a pixel: spectral indices, band reflectances, or both."
    )
    indices: Literal["all"] | OneOrMore[str] = Field(
        default="all", description="Names of spectral indices; `all` takes every one that the bands allow."
    )
    statistics: OneOrMore[Statistic] = Field(default=STATISTICS, description="Statistics of a patch's pixels.")
    standardise: StrictBool = Field(default=True, description="Z-score descriptors, see `calibrate`.")
    #: The GFM gets only RGB; the extra bands take the spectral path.
    widens_patch_embed: ClassVar[bool] = False


class LateFusionConfig(DescriptorConfig):
    hidden: Count | None = Field(
        default=None, description="Width of the bottleneck in T'; null tunes about as many parameters as DEFLECT."
    )


class DeflectConfig(DescriptorConfig):
    """The paper's exact values are not known; every default is a reconstruction."""

    rank: Count = Field(default=4, description="Width r of the low-rank maps that give q_A, k_A and v_A.")
    hidden: Count | None = Field(default=32, description="Width of the bottleneck in T; null makes T one linear map.")
    norm_matching: StrictBool = Field(default=True, description="Scale spectral tokens to the length of z_P(0).")
    attention: StrictBool = Field(
        default=True,
        description="Untangled attention in the blocks. Without it the spectral tokens are added once to the spatial "
        "ones, through a gate per channel that starts at zero, and `constraint` acts on that sum.",
    )
    constraint: Literal["hard", "soft", "none"] = Field(
        default="hard",
        description="`hard` keeps the pretrained length of displacements, `soft` adds it to the loss, `none` does not.",
    )
    constraint_on: Literal["displacement", "embedding"] = Field(
        default="displacement",
        description="Whose length `constraint` keeps: of the attention's displacement, or of the embedding after it.",
    )
    scale: Literal["d", "2d"] = Field(
        default="d", description="Attention scores, also of the frozen path, times 1/sqrt(d) or 1/sqrt(2d)."
    )
    soft_weight: Positive = Field(default=1.0, description="Factor of the soft constraint in the loss.")
    blocks: Literal["all"] | OneOrMore[Natural] = Field(default="all", description="Blocks, from 0, with attention.")
    length_gradient: StrictBool = Field(
        default=False,
        description="Backpropagate through the pretrained length too. By default it is a constant of the step, which "
        "saves the backward pass of the second attention.",
    )
    init_std: Positive = Field(
        default=1.0, description="Standard deviation of the initial down-projections; up-projections start at zero."
    )


#: Two budgets of the paper on Scale-MAE: 0.20 % of the GFM's parameters (Table 2) and 0.28 % (Table 4). The paper does
#: not say how they are divided between attention and T.
BUDGETS: dict[str, dict[str, Any]] = {
    "table2": {"rank": 4, "hidden": 32},
    "table4": {"rank": 5, "hidden": 96},
}

#: The settings class of every method; ``peft`` is used as ``peft:NAME``.
CONFIGS: dict[str, type[MethodConfig]] = {
    "deflect": DeflectConfig,
    "lora": LoRAConfig,
    "slr": SLRConfig,
    "norm_tuning": AdapterConfig,
    "bitfit": AdapterConfig,
    "patch_embed": BaselineConfig,
    "frozen": FrozenConfig,
    "spectral_probe": DescriptorConfig,
    "late_fusion": LateFusionConfig,
    "full": BaselineConfig,
    "vpt": VPTConfig,
    "peft": PeftConfig,
}


def read_settings(method: str, given: Mapping[str, Any], *where: str) -> MethodConfig:
    """``given`` as settings of ``method``; ``where`` are the keys above it. Raises ConfigError, as `read` does."""
    family, _, name = method.partition(":")
    given = {**given, "name": name} if name and isinstance(given, Mapping) else given
    return read(CONFIGS[family], given, *where)
