"""The content of config.yaml: studies with their runs and the paths of their files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, StrictBool, ValidationInfo, create_model, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from deflect.settings import DATASETS, GFMS, METHODS, PEFT, PIXEL_TASKS, Dataset, WandbMode
from deflect.settings.fields import Count, Distinct, Name, Natural, OneOrMore, Settings, Share, Some
from deflect.settings.methods import CONFIGS, Method, read_settings
from deflect.settings.own_gfm import OwnGFM
from deflect.settings.pretraining import PretrainSettings
from deflect.settings.reading import hint
from deflect.settings.simulation import Simulation
from deflect.settings.training import TrainSettings
from deflect.settings.tuning import Tuning

#: End of the names of runs with settings that a search chose.
TUNED = "+tuned"
VariantName = Annotated[str, Field(pattern=rf"^([a-z_]+|{PEFT})\+[a-z0-9_=.]+$")]


class Variant(Settings):
    """A method with other settings, e.g. for the ablation."""

    method: Method = Field(description="Method that runs.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings that differ from those in `methods`.")
    training: Annotated[dict[str, Any], Some(TrainSettings)] = Field(
        default_factory=dict, description="Settings of training that differ from those in `training`."
    )
    datasets: Distinct[Name] | None = Field(default=None, description="Only on these; by default on all of the part.")

    @model_validator(mode="after")
    def _settings_fit_the_method(self) -> Variant:
        read_settings(self.method, self.settings, "settings")
        return self


class Variants(Settings):
    """Runs in addition to the main grid, and the part of the study on which they run."""

    datasets: Distinct[Name] = Field(default=(), description="A part of the study's datasets.")
    gfms: Distinct[Name] = Field(default=(), description="A part of its GFMs.")
    seeds: OneOrMore[Natural] | None = Field(default=None, description="By default those of the study.")
    settings: dict[VariantName, Variant] = Field(
        default_factory=dict, description="By name: the method, `+` and what differs, e.g. `deflect+no_indices`."
    )
    decisions: StrictBool = Field(
        default=False, description="Run the alternatives of `references/decisions.yaml` with the study's methods too."
    )

    @model_validator(mode="after")
    def _run_somewhere(self) -> Variants:
        if (self.settings or self.decisions) and not (self.datasets and self.gfms):
            raise ValueError("expected datasets and gfms on which the variants run")
        return self


class PublishedSizes(Settings):
    scale_mae: Literal["full"] = Field(default="full", description="ViT-L/16.")
    dino_mc: Literal["full"] = Field(default="full", description="ViT-S/8.")
    cross_scale_mae: Literal["full", "large"] = Field(default="full", description="ViT-B/16, or the larger ViT-L/16.")


class StudySettings(Settings):
    data: Literal["simulated", "real"] = Field(description="Files that the simulator writes, or published files.")
    datasets: OneOrMore[Name] = Field(description="Datasets of the catalog, or your own under data/raw/.")
    own_gfms: dict[Name, OwnGFM] = Field(
        default_factory=dict, description="GFMs of your own by name; see docs/gfms.md."
    )
    gfms: OneOrMore[Name] = Field(description=f"GFMs that are adapted: {', '.join(GFMS)}, or those of `own_gfms`.")
    gfm_size: Literal["mini", "full"] = Field(description="Mini GFMs are pretrained here, full ones fetched.")
    methods: OneOrMore[Method] = Field(description="Methods that adapt them; `peft:NAME` is one of the `peft` library.")
    seeds: OneOrMore[Natural] = Field(description="Every run is repeated with each seed.")
    share_process: StrictBool = Field(description="One job per method (many short runs), or one per run (a cluster).")
    training: dict[str, Annotated[dict[str, Any], Some(TrainSettings)]] = Field(
        description="Settings by task, and by dataset those that differ. `multilabel` and `regression` start from "
        "those of `classification`, `pixel_regression` from those of `segmentation`.",
        json_schema_extra={"required": ["classification", "segmentation"]},
    )
    simulation: Annotated[dict[str, Any], Some(Simulation)] = Field(
        default_factory=dict, description="What the simulator writes."
    )
    pretraining: Annotated[dict[str, Any], Some(PretrainSettings)] = Field(
        default_factory=dict, description="How mini GFMs are pretrained."
    )
    weights: Annotated[dict[str, str], Some(PublishedSizes)] = Field(
        default_factory=dict, description="Published size of a GFM."
    )
    keep_weights: Literal["all", "first_seed"] = Field(
        default="all",
        description="Runs that keep adapter and head, so that they can be tested again: all, or those of the first "
        "seed. The adapters of DEFLECT are always kept, because a figure needs them.",
    )
    keep_archives: StrictBool = Field(default=True, description="`false` deletes a download once it is unpacked.")
    unchecked: Distinct[Dataset] = Field(
        default=(),
        description="Datasets whose sizes and statistics may differ from the published ones; the summary names them.",
    )
    as_published: Distinct[Literal["brick_kiln"]] = Field(
        default=(), description="Datasets whose bands keep the publisher's wrong names."
    )
    prepare_jobs: Count = Field(
        default=1, description="Jobs that prepare each dataset side by side; for a cluster and many images."
    )
    variants: Variants = Field(default=Variants(), description="Runs in addition to the main grid.")
    label_fractions: OneOrMore[Share] = Field(
        default=(1.0,),
        description="Shares of the training labels: below 1 every method has additional runs, such as "
        "`lora+labels=0.1`, on the datasets and GFMs of `variants`.",
    )
    tuning: Tuning | SkipJsonSchema[None] = Field(
        default=None, description="A search for learning rate and rank on the datasets and GFMs of `variants`."
    )

    @field_validator("own_gfms")
    @classmethod
    def _names_are_free(cls, own: dict[str, OwnGFM], info: ValidationInfo) -> dict[str, OwnGFM]:
        if taken := sorted(own.keys() & {*GFMS, *info.data.get("datasets", ())}):
            raise ValueError(f"{taken[0]!r} is the name of a published GFM or of a dataset; choose another")
        titles = [gfm.title or gfm.timm for gfm in own.values()]
        if double := [title for title in titles if titles.count(title) > 1]:
            raise ValueError(f"several have the title {double[0]!r}; give each a `title` of its own")
        return own

    @field_validator("gfms")
    @classmethod
    def _known_gfms(cls, gfms: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = (*GFMS, *info.data.get("own_gfms", ()))
        if unknown := [name for name in gfms if name not in known]:
            near = hint(unknown[0], known)
            raise ValueError(f"unknown GFM {unknown[0]!r}{near} (one of your own needs an entry in own_gfms)")
        return gfms

    @model_validator(mode="after")
    def _every_task_has_training(self) -> StudySettings:
        for task in ("classification", "segmentation"):
            if task not in self.training:
                raise ValueError(f"training.{task} is missing; add it")
        return self

    @model_validator(mode="after")
    def _additional_runs_have_a_place(self) -> StudySettings:
        somewhere = self.variants.datasets and self.variants.gfms
        for key, asked in (("label_fractions below 1", min(self.label_fractions) < 1), ("tuning", self.tuning)):
            if asked and not somewhere:
                raise ValueError(f"{key}: expected variants.datasets and variants.gfms, on which the runs are made")
        if self.tuning and (outside := set(self.tuning.methods or ()) - set(self.methods)):
            raise ValueError(f"tuning.methods: {', '.join(sorted(outside))} not among the study's methods")
        return self


class RunName(NamedTuple):
    """One run of a study; ``method`` is the name of a method or of an additional run, such as a variant."""

    dataset: str
    gfm: str
    method: str
    seed: int


class Block(NamedTuple):
    """Every combination of these is a run of the study."""

    datasets: tuple[str, ...]
    gfms: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]


class Study(StudySettings):
    """A study with its name, its runs and the paths of its files.

    ``alternatives`` are the variants that `variants.decisions` asks for.
    """

    name: str
    alternatives: dict[str, Variant] = Field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        return self.data == "simulated"

    def parts(self) -> dict[str, dict[str, Variant]]:
        """The runs in addition to the main grid: for each purpose their names and what they run."""
        return {
            "ablation": self.variants.settings,
            "decisions": self.alternatives,
            "labels": self.few_labels(),
            "tuned": self.tuned(),
        }

    def few_labels(self) -> dict[str, Variant]:
        """Every method with each of the `label_fractions` below 1."""
        return {
            f"{method}+labels={fraction}": Variant(method=method, training={"label_fraction": fraction})
            for fraction in self.label_fractions
            if fraction < 1
            for method in self.methods
        }

    def tuned(self) -> dict[str, Variant]:
        """The runs with the settings that a search chose."""
        methods = (self.tuning.methods or self.methods) if self.tuning else ()
        return {f"{method}{TUNED}": Variant(method=method) for method in methods}

    def additional(self) -> dict[str, Variant]:
        """The variants of all ``parts``, by name, that run on a dataset of `variants`."""
        here = set(self.variants.datasets)
        parts = self.parts().values()
        return {name: run for part in parts for name, run in part.items() if here & set(run.datasets or here)}

    def blocks(self) -> list[Block]:
        """The main grid, then one block for every additional run."""
        part, blocks = self.variants, [Block(self.datasets, self.gfms, self.methods, self.seeds)]
        for name, variant in self.additional().items():
            datasets = tuple(dataset for dataset in part.datasets if dataset in (variant.datasets or part.datasets))
            blocks.append(Block(datasets, part.gfms, (name,), part.seeds or self.seeds))
        return blocks

    def runs(self) -> list[RunName]:
        """Every run of the study: the main grid, then the additional ones."""
        return [RunName(*run) for block in self.blocks() for run in itertools.product(*block)]

    def raw(self, dataset: str) -> Path:
        """Folder of a dataset's raw files. A user's own dataset is real in every study."""
        simulated = self.simulated and dataset in DATASETS
        return Path("data/simulated" if simulated else "data/raw") / dataset

    @property
    def rgb_images(self) -> Path:
        return Path("data/simulated/rgb.npy")

    def prepared(self, dataset: str) -> Path:
        return Path("data/prepared") / self.name / dataset

    def duplicates(self, dataset: str) -> Path:
        """What the check for near-duplicates between its splits found."""
        return self.results / "duplicates" / f"{dataset}.json"

    def check_page(self, dataset: str) -> Path:
        """The page that shows a prepared dataset before anything is trained."""
        return self.results / "checks" / f"{dataset}.html"

    def gfm_weights(self, gfm: str) -> Path:
        return Path("weights") / self.name / f"{gfm}.safetensors"

    def size_of(self, gfm: str) -> str:
        """``own`` for a GFM of the user; else the published size that `weights` names, else ``gfm_size``."""
        return "own" if gfm in self.own_gfms else self.weights.get(gfm, self.gfm_size)

    @property
    def results(self) -> Path:
        return Path("results") / self.name

    def keeps_weights(self, seed: int) -> bool:
        """Whether a run keeps its adapter and head, which evaluating it again needs."""
        return self.keep_weights == "all" or seed == self.seeds[0]

    def training_of(self, dataset: str, task: str, changes: Mapping[str, Any] | None = None) -> TrainSettings:
        """Training settings of a dataset: those of its task, updated by its own and by a variant's ``changes``."""
        kind = "segmentation" if task in PIXEL_TASKS else "classification"
        own = self.training[kind] | self.training.get(task, {}) | self.training.get(dataset, {})
        return TrainSettings.from_dict(own | dict(changes or {}))

    def run(self, dataset: str, gfm: str, method: str, seed: int) -> Path:
        """Folder of one run; ``method`` may be the name of an additional run."""
        return self.results / "runs" / dataset / gfm / method / f"seed{seed}"

    def search(self, dataset: str, gfm: str, method: str) -> Path:
        """The result of a search; its trials are in the database of the same name."""
        return self.results / "tuning" / dataset / gfm / f"{method}.json"


class Wandb(Settings):
    mode: WandbMode = Field(default="disabled", description="The variable WANDB_MODE has priority.")
    project: str = Field(default="deflect", description="Project on the server.")
    entity: str | None = Field(default=None, description="Team or user; by default your own.")


class _OfPeft(Settings):
    @model_validator(mode="before")
    @classmethod
    def _check_those_of_peft(cls, given: Any) -> Any:
        """Their names are not known here, so they are no fields."""
        if not isinstance(given, dict):
            return given
        names = [name for name in given if re.fullmatch(PEFT, str(name))]
        for name in names:
            read_settings(name, given[name], name)
        return {name: settings for name, settings in given.items() if name not in names}


#: The settings of each method of a study.
Methods: Any = create_model(  # type: ignore[call-overload]
    "Methods", __base__=_OfPeft, **{name: (CONFIGS[name], CONFIGS[name]()) for name in METHODS}
)


class ConfigFile(Settings):
    """The content of config.yaml."""

    study: Name = Field(description="Which of the studies runs.")
    studies: dict[str, StudySettings] = Field(description="The studies by name.")
    methods: Annotated[dict[str, dict[str, Any]], Some(Methods)] = Field(
        default_factory=dict, description="Settings of the methods that differ from their defaults."
    )
    wandb: Annotated[dict[str, Any], Some(Wandb)] = Field(
        default_factory=dict, description="Copies of the runs at Weights & Biases."
    )


@dataclass(frozen=True)
class Config:
    """The chosen study of config.yaml, and what all studies share."""

    study: Study
    methods: dict[str, dict[str, Any]]
    wandb: dict[str, Any]

    def method(self, name: str) -> Variant:
        """The method of a method's or additional run's name, with all its settings."""
        variant = self.study.additional().get(name) or Variant(method=name)
        settings = self.methods.get(variant.method, {}) | variant.settings
        return Variant(method=variant.method, settings=settings, training=variant.training)
