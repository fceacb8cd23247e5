"""Read config.yaml, whose keys are in ``deflect.settings``. Pydantic is imported when a configuration is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from deflect.errors import ConfigError, DeflectError, flat
from deflect.files import LONGEST_YAML, parse_yaml, read_text
from deflect.settings import DATASETS, TASKS

if TYPE_CHECKING:
    from deflect.settings.decisions import Decision
    from deflect.settings.study import Config, Study, StudySettings, Variant

T = TypeVar("T")
#: The project's folder, if the package runs from a checkout.
CHECKOUT = Path(__file__).parents[2]
DECISIONS = "references/decisions.yaml"
#: What to do if a package is missing.
INSTALL = "run `make env` in a clone of the project, or `pip install 'deflect-gfm[study]'`"


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


def load(path: Path | None = None, study: str | None = None) -> Config:
    """Read and validate the configuration; ``study`` replaces the file's choice.

    Raises:
        ConfigError: the message has the wrong key or name and the nearest known one.
    """
    return parse(read(path) | ({"study": study} if study else {}))


def parse(raw: Mapping[str, Any]) -> Config:
    """The content of config.yaml as validated settings."""
    from deflect.settings import reading
    from deflect.settings.study import Config, ConfigFile, Study

    try:
        file = reading.read(ConfigFile, raw)
        if file.study not in file.studies:
            raise ConfigError(f"study: unknown study {file.study!r}{reading.hint(file.study, file.studies)}")
        chosen = file.studies[file.study]
        study = Study.model_construct(name=file.study, alternatives=_alternatives(chosen), **vars(chosen))
        _check_names(study)
    except ConfigError as error:
        raise ConfigError(f"config: {error}") from None
    return Config(study, file.methods, file.wandb)


def _alternatives(study: StudySettings) -> dict[str, Variant]:
    """The variants that `variants.decisions` asks for."""
    if not study.variants.decisions:
        return {}
    from deflect.settings.decisions import variants_of

    return variants_of(decisions(), study.methods)


def decisions(path: Path | None = None) -> dict[str, Decision]:
    """The decisions of the reconstruction, from ``path`` or else from the project's file.

    Raises:
        ConfigError: the message has the file and the wrong key.
    """
    from deflect.settings.decisions import decisions_of

    return validated(path or of_project(DECISIONS), decisions_of)


def validated(path: Path, validate: Callable[[dict[str, Any]], T]) -> T:
    """What ``validate`` makes of a YAML file.

    Raises:
        ConfigError: the message has the file and the wrong key.
    """
    given = read(path)
    try:
        return validate(given)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _check_names(study: Study) -> None:
    """Check names that depend on files or on other keys: own datasets have a card, variants are part of the study."""
    from deflect.settings.reading import hint

    where = f"studies.{study.name}"
    for dataset in study.datasets:
        card = study.raw(dataset) / "card.yaml"
        if dataset not in DATASETS and not card.exists():
            raise ConfigError(
                f"{where}.datasets: unknown dataset {dataset!r}{hint(dataset, DATASETS)} "
                f"(a dataset of your own needs {card}; see docs/your_own_dataset.md)"
            )
    for name in study.training:
        if name not in (*TASKS, *DATASETS, *study.datasets):
            near = hint(name, (*TASKS, *study.datasets))
            raise ConfigError(f"{where}.training: {name!r} is neither a task nor a dataset{near}")
    for key in ("datasets", "gfms"):
        if outside := set(getattr(study.variants, key)) - set(getattr(study, key)):
            raise ConfigError(f"{where}.variants.{key}: {', '.join(sorted(outside))} not among the study's {key}")


def of_project(path: str) -> Path:
    """A file of the project, e.g. ``notebooks/tables.py``.

    The project is the working directory, if that is a clone, or else the checkout of this code. Files of the same name
    in another working directory belong to another project.

    Raises:
        ConfigError: there is neither, as with an installed wheel.
    """
    project = Path() if Path("src/deflect").is_dir() else Path(os.path.relpath(CHECKOUT))
    if (project / path).exists():
        return project / path
    raise ConfigError(
        f"{path}: not found; this command needs the files of the project: run it in a clone of its repository"
    )
