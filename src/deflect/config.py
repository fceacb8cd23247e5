"""The typed configuration of a study, read from config.yaml.

``workflow/schemas/config.schema.json``, generated from the code (``deflect.schema``), decides which keys exist and what
they may hold. Reading it needs neither torch nor pydantic, so the Snakefile and the command line check in milliseconds.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deflect.errors import DeflectError, flat
from deflect.files import LONGEST_YAML, parse_yaml, read_text

GFMS = ("scale_mae", "dino_mc", "cross_scale_mae")
METHODS = ("deflect", "lora", "slr", "norm_tuning", "bitfit", "patch_embed", "frozen", "full")
DATASETS = ("so2sat", "brick_kiln", "forestnet", "burn_scars", "mados")
#: The folder of the project where the package runs from a checkout.
CHECKOUT = Path(__file__).parents[2]
#: In a checkout a link to workflow/schemas/, in a wheel the file itself.
SCHEMA = Path(__file__).with_name("config.schema.json").resolve()
#: What to do where a package is missing.
INSTALL = "run `make env` in a clone of the project, or `pip install 'deflect-gfm[study]'`"


class ConfigError(DeflectError):
    """The configuration names something that does not exist or holds a value that cannot be used."""


@dataclass(frozen=True)
class Variant:
    """One run beside the main grid: ``method`` with other ``settings``, e.g. for the ablation."""

    method: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Variants:
    """Named variants and the part of the grid on which they run."""

    datasets: tuple[str, ...] = ()
    gfms: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    settings: dict[str, Variant] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """One study: which runs it has and how they train."""

    name: str
    data: str  # "simulated" or "real"
    datasets: tuple[str, ...]
    gfms: tuple[str, ...]
    gfm_size: str  # "mini" or "full"
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    share_process: bool
    training: dict[str, dict[str, Any]]  # fields of TrainSettings by task, and by dataset what differs there
    simulation: dict[str, Any] = field(default_factory=dict)
    pretraining: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)  # by GFM: the published variant
    keep_weights: str = "all"  # or "first_seed"
    keep_archives: bool = True
    unchecked: tuple[str, ...] = ()  # datasets whose sizes and statistics may differ from the published ones
    as_published: tuple[str, ...] = ()  # datasets whose bands are named as their publisher named them, wrongly
    variants: Variants = field(default_factory=Variants)

    @property
    def simulated(self) -> bool:
        return self.data == "simulated"

    def raw(self, dataset: str) -> Path:
        """Folder of a dataset's raw files. A user's own dataset is real in every study."""
        own = dataset not in DATASETS
        return Path("data/simulated" if self.simulated and not own else "data/raw") / dataset

    @property
    def rgb_images(self) -> Path:
        """Simulated RGB images on which mini GFMs are pretrained."""
        return Path("data/simulated/rgb.npy")

    def prepared(self, dataset: str) -> Path:
        return Path("data/prepared") / self.name / dataset

    def gfm_weights(self, gfm: str) -> Path:
        return Path("weights") / self.name / f"{gfm}.safetensors"

    def size_of(self, gfm: str) -> str:
        """Which size of the GFM the study uses: the published variant it names, else ``gfm_size``."""
        return self.weights.get(gfm, self.gfm_size)

    @property
    def results(self) -> Path:
        return Path("results") / self.name

    def keeps_weights(self, seed: int) -> bool:
        """Whether a run keeps its adapter and head, by which it can be evaluated again."""
        return self.keep_weights == "all" or seed == self.seeds[0]

    def training_of(self, dataset: str, task: str) -> dict[str, Any]:
        """Training settings of a dataset: its task's, and over them its own."""
        return self.training[task] | self.training.get(dataset, {})

    def run(self, dataset: str, gfm: str, method: str, seed: int) -> Path:
        """Folder of one run; ``method`` may be a variant's name."""
        return self.results / "runs" / dataset / gfm / method / f"seed{seed}"


@dataclass(frozen=True)
class Config:
    """All of config.yaml with one study chosen."""

    study: Study
    methods: dict[str, dict[str, Any]]
    wandb: dict[str, Any]

    def method(self, name: str) -> Variant:
        """The method and settings behind the name of a method or of a variant."""
        if name in self.study.variants.settings:
            variant = self.study.variants.settings[name]
            return Variant(variant.method, self.methods.get(variant.method, {}) | variant.settings)
        return Variant(name, self.methods.get(name, {}))


def read(path: Path | None = None) -> dict[str, Any]:
    """The plain configuration, from ``path`` or else from config.yaml."""
    path = path or Path("config.yaml")
    if not path.exists():
        raise ConfigError(f"{path}: not found; run from the project's folder or give --config FILE")
    try:
        return dict(parse_yaml(read_text(path, LONGEST_YAML)))
    except DeflectError as error:
        raise ConfigError(str(error)) from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a YAML mapping: {flat(error)}") from error


def of_project(path: str) -> Path:
    """A file of the project, e.g. ``notebooks/tables.py``: that of the working directory, else that of the checkout.

    Raises:
        ConfigError: neither has it, as with a wheel.
    """
    for found in (Path(path), Path(os.path.relpath(CHECKOUT / path))):
        if found.exists():
            return found
    raise ConfigError(
        f"{path}: not found; this command needs the files of the project: run it in a clone of its repository"
    )


def load(path: Path | None = None, study: str | None = None) -> Config:
    """Read, check and type the configuration; ``study`` overrides the one the file chooses.

    Raises:
        ConfigError: an unknown key, method, dataset, GFM or study; the message names it and the nearest known one.
    """
    raw = read(path)
    return parse(raw | ({"study": study} if study else {}))


def parse(raw: Mapping[str, Any]) -> Config:
    """Check a dictionary against the schema and give it types."""
    check(raw)
    name = raw["study"]
    if name not in raw["studies"]:
        raise ConfigError(f"config: study: unknown study {name!r}{_hint(name, raw['studies'])}")
    card = dict(raw["studies"][name])
    card |= {key: tuple(card[key]) for key in ("datasets", "gfms", "methods", "seeds")}
    card |= {key: tuple(card.get(key, ())) for key in ("as_published", "unchecked")}
    study = Study(name=name, variants=_variants(card.pop("variants", {})), **card)
    _check_names(study)
    return Config(study, dict(raw.get("methods") or {}), dict(raw.get("wandb") or {}))


def check(raw: Mapping[str, Any]) -> None:
    """Hold a configuration against the schema; the first fault becomes one line that names key, found and remedy."""
    import jsonschema

    schema = json.loads(SCHEMA.read_text())
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(dict(raw)))
    if errors:
        raise ConfigError(_explain(jsonschema.exceptions.best_match(errors)))


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(name for name in error.instance if name not in known)
        return f"config: {key}: unknown key {unknown!r}{_hint(unknown, known)}"
    if error.validator == "enum":
        return f"config: {key}: unknown value {error.instance!r}{_hint(error.instance, error.validator_value)}"
    return f"config: {key}: {error.message}"


def _hint(found: Any, known: Any) -> str:
    near = difflib.get_close_matches(str(found), [str(name) for name in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(str(name) for name in known)}"


def _variants(card: Mapping[str, Any]) -> Variants:
    settings = {name: Variant(v["method"], dict(v.get("settings", {}))) for name, v in card.get("settings", {}).items()}
    seeds = tuple(card["seeds"]) if "seeds" in card else None
    return Variants(tuple(card.get("datasets", ())), tuple(card.get("gfms", ())), seeds, settings)


def _check_names(study: Study) -> None:
    """Names that no schema can know: a dataset is published or has its card; variants stay inside the study."""
    for dataset in study.datasets:
        card = study.raw(dataset) / "card.yaml"
        if dataset not in DATASETS and not card.exists():
            raise ConfigError(
                f"config: studies.{study.name}.datasets: unknown dataset {dataset!r}{_hint(dataset, DATASETS)} "
                f"(a dataset of your own needs {card}; see docs/your_own_dataset.md)"
            )
    unknown = set(study.training) - {"classification", "segmentation", *DATASETS, *study.datasets}
    if unknown:
        name = sorted(unknown)[0]
        hint = _hint(name, ("classification", "segmentation", *study.datasets))
        raise ConfigError(f"config: studies.{study.name}.training: {name!r} is neither a task nor a dataset{hint}")
    for key in ("datasets", "gfms"):
        outside = set(getattr(study.variants, key)) - set(getattr(study, key))
        if outside:
            names = ", ".join(sorted(outside))
            raise ConfigError(f"config: studies.{study.name}.variants.{key}: {names} not among the study's {key}")
