"""The settings of every method. What a method does with them is in ``deflect.methods``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictBool

from deflect.settings import STATISTICS, Statistic
from deflect.settings.fields import Count, Natural, OneOrMore, Positive, Settings

BandUse = Literal["all", "rgb"]
PatchInit = Literal["repeat", "random", "zero"]
#: The linear layers of a timm block.
TARGETS = ("qkv", "proj", "fc1", "fc2")


class MethodConfig(Settings):
    """The settings of every method."""

    bands: BandUse = Field(
        default="all", description="`all` uses every band of the band set, `rgb` only red, green and blue."
    )
    #: Whether the method's GFM itself receives the extra bands, through a wider patch embedding.
    widens_patch_embed: ClassVar[bool] = True


class BaselineConfig(MethodConfig):
    """The settings of a method that gets extra bands through a wider patch embedding, which it trains."""

    patch_init: PatchInit = Field(
        default="repeat", description="Initial kernels of the extra bands, see `deflect.methods.patch_embed`."
    )


class FrozenConfig(BaselineConfig):
    """The settings of a probe of the pretrained features."""

    bands: BandUse = Field(default="rgb", description="`all` leaves the wider patch embedding as `patch_init` made it.")


class LoRAConfig(BaselineConfig):
    """The settings of LoRA."""

    rank: Count = Field(default=16, description="Width r of the update.")
    alpha: Positive = Field(
        default=16.0, description="The update is scaled by alpha / rank; used by the usual convention only."
    )
    convention: Literal["paper", "usual"] = Field(
        default="paper",
        description="`paper` (biases, LayerNorms tuned, no alpha) or `usual` (that of the `peft` library).",
    )
    targets: tuple[str, ...] = Field(default=TARGETS, description="Names of the linear layers inside the blocks.")


class SLRConfig(BaselineConfig):
    """The settings of SLR."""

    rank: Count = Field(default=16, description="Width r of the low-rank update.")
    targets: tuple[str, ...] = Field(default=TARGETS, description="Names of the linear layers inside the blocks.")


class VPTConfig(BaselineConfig):
    """The settings of visual prompt tuning."""

    prompts: Count = Field(default=10, description="Number of prompt tokens per block.")
    deep: StrictBool = Field(default=True, description="New prompts at every block, or only in front of the first.")


class PeftConfig(BaselineConfig):
    """The settings of a method of the `peft` library."""

    name: str = Field(description="The method, as in `peft.PeftType` (any case), or `dora` or `rslora`.")
    options: dict[str, Any] = Field(
        default_factory=dict, description='Fields of its configuration in `peft`, e.g. `{"r": 16}`.'
    )
    targets: tuple[str, ...] = Field(default=TARGETS, description="Names of the linear layers inside the blocks.")


class DeflectConfig(MethodConfig):
    """The settings of DEFLECT. The paper's exact values are not known; every default is a reconstruction."""

    rank: Count = Field(default=4, description="Width r of the low-rank maps that give q_A, k_A and v_A.")
    hidden: Count | None = Field(
        default=32, description="Width of the bottleneck in T (with a GELU); null makes T one linear map."
    )
    features: Literal["indices", "bands", "both"] = Field(
        default="both", description="What describes a pixel: spectral indices, band reflectances, or both."
    )
    indices: Literal["all"] | OneOrMore[str] = Field(
        default="all", description="Names of the spectral indices; `all` takes every one that the bands allow."
    )
    statistics: OneOrMore[Statistic] = Field(
        default=STATISTICS, description="What a patch keeps of the features of its pixels."
    )
    norm_matching: StrictBool = Field(
        default=True, description="Give every spectral token the length of its spatial token z_P(0)."
    )
    attention: StrictBool = Field(
        default=True,
        description="Untangled attention in the blocks. Without it the spectral tokens are added once to the spatial"
        " ones, through a gate per channel that starts at zero, and `constraint` acts on that sum.",
    )
    constraint: Literal["hard", "soft", "none"] = Field(
        default="hard",
        description="`hard` gives every displacement its pretrained length, `soft` asks for it in the loss, `none` "
        "leaves it free.",
    )
    soft_weight: Positive = Field(default=1.0, description="Factor of the soft constraint in the loss.")
    blocks: Literal["all"] | OneOrMore[Natural] = Field(
        default="all", description="0-based blocks with untangled attention."
    )
    standardise: StrictBool = Field(
        default=True, description="Z-score the descriptors with statistics of the training split (`calibrate`)."
    )
    length_gradient: StrictBool = Field(
        default=False,
        description="Let gradients flow through the pretrained length too. By default the length is a constant of "
        "the step, which saves the backward pass of the second attention.",
    )
    init_std: Positive = Field(
        default=1.0,
        description="Standard deviation of the initial down-projections; up-projections are zero at first.",
    )
    #: The GFM itself gets RGB alone; extra bands enter through the spectral path.
    widens_patch_embed: ClassVar[bool] = False


#: Two budgets of the paper on Scale-MAE: 0.20 % of the GFM's parameters (its Table 2) and 0.28 % (its Table 4).
#: The shares are the paper's, how they divide between attention and T is not known.
BUDGETS: dict[str, dict[str, Any]] = {
    "table2": {"rank": 4, "hidden": 32},
    "table4": {"rank": 5, "hidden": 96},
}

#: The settings class of every method; ``peft`` is used as ``peft:NAME``.
CONFIGS: dict[str, type[MethodConfig]] = {
    "deflect": DeflectConfig,
    "lora": LoRAConfig,
    "slr": SLRConfig,
    "norm_tuning": BaselineConfig,
    "bitfit": BaselineConfig,
    "patch_embed": BaselineConfig,
    "frozen": FrozenConfig,
    "full": BaselineConfig,
    "vpt": VPTConfig,
    "peft": PeftConfig,
}
