"""The search for the learning rate and the rank of a method, by validation scores alone, with Optuna.

The settings of all trials are drawn before the first one, by random search (Bergstra and Bengio 2012, JMLR 13): they
depend on the seed and the number of a trial, not on scores. So all methods try the same learning rates, and a killed
search continues with the trials that it lacks and chooses the same as one that was not killed. A sampler that learns
from scores (TPE) would do neither, and its first ten trials are random too.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deflect.data.disk import lock
from deflect.data.store import Store
from deflect.errors import ConfigError, DataError, ModelError, flat
from deflect.files import read_json, sha256_file, sha256_json, write_json
from deflect.fingerprint import code_sha256
from deflect.methods import method_config
from deflect.settings.training import TrainSettings
from deflect.settings.tuning import Tuning
from deflect.training.context import world_size
from deflect.training.run import validate
from deflect.training.spec import RunSpec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

#: Learning rate, and rank if the method has one.
Settings = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """The search for one dataset, GFM and method.

    Attributes:
        spec: a trial with the settings of the main grid; its folder is for checkpoints.
        tuning: number of trials and ranges.
        path: the result, JSON; the trials are in an SQLite database of the same name.
    """

    spec: RunSpec
    tuning: Tuning
    path: Path

    @property
    def database(self) -> Path:
        return self.path.with_suffix(".db")

    def fingerprint(self) -> str:
        """Hash of everything that determines the score of a trial, and of the ranges from which settings are drawn."""
        identity = self.spec.identity(Store(self.spec.store).card.sha256)
        ranges = self.tuning.model_dump(mode="json", include={"lr", "ranks", "seed"})
        return sha256_json(identity | {"ranges": ranges, "search_code": code_sha256("tune")})

    def planned(self) -> list[Settings]:
        """Settings by trial: those of the main grid, then drawn ones. More trials only add some at the end."""
        import optuna
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        own = method_config(self.spec.method, **self.spec.method_settings)
        ranked = {"rank": own.rank} if self.tuning.ranks and hasattr(own, "rank") else {}
        first = {"lr": self.spec.training.lr, **ranked}
        # Methods without a rank draw one too, so that all get the same learning rates.
        low, high = self.tuning.lr
        space: dict[str, Any] = {"lr": FloatDistribution(low, high, log=True)}
        space["rank"] = CategoricalDistribution(self.tuning.ranks or (0,))
        draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(self.tuning.seed))
        drawn = [draws.ask(space).params for _ in range(1, self.tuning.trials)]
        return [first, *({name: settings[name] for name in first} for settings in drawn)]

    def run(self) -> dict[str, Any]:
        """Run the trials that are missing, write the result and return it.

        Trials in the database with the same fingerprint are not repeated. While another process works on this search,
        this one waits.

        Raises:
            ConfigError: several processes were started.
            DataError: the database cannot be used.
            ModelError: all trials failed.
        """
        if world_size() > 1:
            raise ConfigError("expected one process, found several: start `deflect tune` without torchrun")
        with lock(self.path.parent, self.path.stem), self._naming_database():
            study = self._open()
            for number, settings in enumerate(self.planned()):
                if not _find(study, settings):
                    self._add_trial(study, number, settings)
            result = self._result(study)
            write_json(self.path, result, seal=True)
        return result

    def tuned(self, spec: RunSpec) -> RunSpec:
        """The run ``spec`` with the chosen settings.

        Raises:
            DataError: the search has not finished, or its result is of other settings, data or code.
        """
        if not self.path.exists():
            raise DataError(
                f"{self.path}: not found; run `deflect tune` first, which chooses the settings of {spec.slug}"
            )
        result = read_json(self.path)
        if (result["fingerprint"], len(result["trials"])) != (self.fingerprint(), self.tuning.trials):
            raise DataError(
                f"{self.path}: from other settings, data or code than {spec.slug}; run `deflect tune` again"
            )
        facts = {"path": str(self.path), "sha256": sha256_file(self.path), "trials": len(result["trials"])}
        return replace(_with(spec, result["chosen"]), search=facts | {key: result[key] for key in ("val", "seconds")})

    def _open(self) -> Study:
        """The trials of this search; those of other settings, data or code stay in the database under other names."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(f"sqlite:///{self.database}")
        return optuna.create_study(
            storage=storage, study_name=self.fingerprint(), direction="maximize", load_if_exists=True
        )

    def _add_trial(self, study: Study, number: int, settings: Settings) -> None:
        """Train with ``settings`` and add the finished trial; one that diverges fails with its reason."""
        from optuna.trial import TrialState, create_trial

        spec = replace(_with(self.spec, settings), variant=f"trial{number}")
        began = time.perf_counter()
        found: dict[str, Any]
        try:
            value, seconds = validate(spec)
            found = {"state": TrialState.COMPLETE, "value": value, "user_attrs": {"seconds": seconds}}
        except ModelError as error:
            print(f"{spec.slug}: failed: {error}", file=sys.stderr, flush=True)
            reason = {"seconds": time.perf_counter() - began, "error": flat(error)}
            found = {"state": TrialState.FAIL, "user_attrs": reason}
        study.add_trial(create_trial(params=settings, distributions=self._ranges(settings), **found))
        shutil.rmtree(self.spec.out, ignore_errors=True)

    def _ranges(self, settings: Settings) -> dict[str, Any]:
        """The ranges as Optuna stores them with a trial, extended to the settings of the main grid."""
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = (bound(*self.tuning.lr, settings["lr"]) for bound in (min, max))
        ranges: dict[str, Any] = {"lr": FloatDistribution(low, high, log=True)}
        if "rank" in settings:
            ranks = (*self.tuning.ranks, settings["rank"])
            ranges["rank"] = IntDistribution(min(ranks), max(ranks))
        return ranges

    def _result(self, study: Study) -> dict[str, Any]:
        by_settings = [(settings, _find(study, settings)) for settings in self.planned()]
        table = [
            {"number": number, "settings": settings, "val": trial.value, **trial.user_attrs}
            for number, (settings, trial) in enumerate(by_settings)
            if trial
        ]
        finished = [row for row in table if row["val"] is not None]
        if not finished:
            raise ModelError(f"{self.database}: all {len(table)} trials failed, the first with: {table[0]['error']}")
        best = max(finished, key=lambda row: row["val"])  # the first of equal ones
        return {
            "chosen": best["settings"],
            "val": best["val"],
            "trials": table,
            "seconds": sum(row["seconds"] for row in table),
            "seed": self.spec.seed,
            "budget": self.tuning.model_dump(mode="json", exclude={"methods"}),
            "sampler": "optuna.samplers.RandomSampler",
            "storage": str(self.database),
            "fingerprint": self.fingerprint(),
        }

    @contextmanager
    def _naming_database(self) -> Iterator[None]:
        """Turn errors of the database into one that names its file."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            what = flat(error).partition(" [SQL")[0]
            raise DataError(
                f"{self.database}: cannot be used ({what}); if it is damaged, delete it and run again"
            ) from error


def _with(spec: RunSpec, settings: Settings) -> RunSpec:
    """The run with the learning rate and rank of a trial."""
    rank = {"rank": settings["rank"]} if "rank" in settings else {}
    training = TrainSettings.from_dict(spec.training.to_dict() | {"lr": settings["lr"]})
    return replace(spec, method_settings=spec.method_settings | rank, training=training)


def _find(study: Study, settings: Settings) -> FrozenTrial | None:
    """The finished trial with these settings."""
    return next((trial for trial in study.get_trials(deepcopy=False) if trial.params == settings), None)
