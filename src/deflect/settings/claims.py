"""The content of ``references/claims.yaml``: the paper's claims, and the comparisons that decide each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, StrictBool, model_validator

from deflect import config
from deflect.errors import ConfigError, DataError
from deflect.settings import GFM, METHODS, PAPER_DATASETS, Dataset, is_method
from deflect.settings.fields import Count, Name, NotNegative, OneOrMore, Positive, Settings
from deflect.settings.reading import hint, read


def _known(name: str) -> str:
    if not is_method(name.partition("+")[0]):
        raise ValueError(f"unknown method {name!r}{hint(name, METHODS)}")
    return name


class Claim(Settings):
    """A claim holds if it holds in the comparison of DEFLECT with every method, in each part where there are parts."""

    title: str = Field(description="The claim in a few words.")
    claim: str = Field(description="The claim in a sentence.")
    source: str = Field(description="Where the paper makes it.")
    reading: str = Field(description="How it is read here, and the evidence that it needs.")
    kind: Literal["parameters_ratio", "not_worse", "better"] = Field(description="The comparison.")
    methods: OneOrMore[Annotated[str, AfterValidator(_known)]] = Field(
        description="Methods that DEFLECT is compared with, or variants such as `deflect+no_attention`."
    )
    datasets: OneOrMore[Dataset] = Field(PAPER_DATASETS, description="Datasets that it is about.")
    gfms: OneOrMore[GFM] = Field(get_args(GFM), description="GFMs that it is about.")
    each: Literal["dataset", "gfm"] | None = Field(
        default=None, description="Compare for each dataset or GFM; by default on the average over both."
    )
    low: Positive | None = Field(default=None, description="Smallest ratio of parameters that is claimed.")
    high: Positive | None = Field(default=None, description="Largest ratio of parameters that is claimed.")
    patch_embed: StrictBool = Field(default=True, description="Count the patch embedding among the parameters.")

    @model_validator(mode="after")
    def _a_ratio_has_its_range(self) -> Claim:
        ratio = self.kind == "parameters_ratio"
        if (self.low is not None, self.high is not None) != (ratio, ratio):
            raise ValueError("low and high belong to kind parameters_ratio, and both are needed there")
        return self


class Claims(Settings):
    margin: NotNegative = Field(description="Points by which DEFLECT may be lower and still be `not_worse`.")
    seeds: Count = Field(description="Trainings per cell below which scores give no verdict on the paper's claim.")
    claims: dict[Name, Claim] = Field(description="The claims by name.")


def load_claims(path: Path | str) -> Claims:
    """Read and check ``references/claims.yaml``.

    Raises:
        DataError: not valid; the message has the file, the key, what was expected and what was found.
    """
    try:
        return config.validated(Path(path), lambda given: read(Claims, given))
    except ConfigError as error:
        raise DataError(str(error)) from None
