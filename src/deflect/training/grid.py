"""The runs of a study: their specifications, the searches for settings, and many of both in one process."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from deflect.data.store import Store
from deflect.errors import ConfigError, DeflectError, one_line
from deflect.files import sha256_json
from deflect.gfms.own import card_in
from deflect.settings.study import Config, RunName
from deflect.training.context import world_size
from deflect.training.model import fitted
from deflect.training.run import train
from deflect.training.search import Search
from deflect.training.spec import RunSpec

#: A run or search by name, with the function that does it and returns the result in a few words.
Job = tuple[str, Callable[[], str]]


def train_all(specs: Sequence[RunSpec]) -> int:
    """Train runs one after another, in this process; see `do_all`."""
    return do_all([(spec.slug, partial(_train, spec)) for spec in specs], "runs")


def tune_all(searches: Sequence[Search]) -> int:
    """Run searches one after another, in this process; see `do_all`."""
    return do_all([(str(search.path), partial(_tune, search)) for search in searches], "searches")


def do_all(jobs: Sequence[Job], what: str) -> int:
    """Do jobs one after another, in this process.

    One that fails does not stop the others: its error is printed, and the exit code is 1 at the end.
    """
    failed = 0
    for number, (name, do) in enumerate(jobs, start=1):
        start = time.monotonic()
        try:
            result = do()
        except Exception as error:
            if world_size() > 1:
                raise  # the other processes wait for this one; torchrun ends them, and the next start resumes
            failed += 1
            if isinstance(error, (DeflectError, OSError)):
                print(f"deflect: {name}: {one_line(error)}", file=sys.stderr, flush=True)
            else:
                print(f"deflect: {name} failed:", file=sys.stderr)
                traceback.print_exc()
            continue
        print(f"[{number}/{len(jobs)}] {name}: {result} ({time.monotonic() - start:.1f} s)", flush=True)
    if failed:
        print(f"deflect: {failed} of {len(jobs)} {what} failed; the others are finished and kept", file=sys.stderr)
    return int(failed > 0)


def _train(spec: RunSpec) -> str:
    score = train(spec)["score"]
    return f"{score['metric']} {score['value']:.3f}"


def _tune(search: Search) -> str:
    result = search.run()
    chosen = ", ".join(f"{name} {value:.3g}" for name, value in result["chosen"].items())
    return f"{chosen}: validation score {result['val']:.3f}, the best of {len(result['trials'])} trials"


def grid(config: Config, chosen: Mapping[str, Sequence | None], device: str, threads: int) -> list[RunSpec]:
    """The chosen runs of a study.

    Args:
        chosen: names by field of ``RunName``; ``None`` chooses all.

    Raises:
        ConfigError: the study has no such run.
    """
    specs = [_spec(config, run, device, threads) for run in _choose(config.study.runs(), chosen)]
    return [search_of(config, spec).tuned(spec) if spec.part == "tuned" else spec for spec in specs]


def searches(config: Config, chosen: Mapping[str, Sequence | None], device: str, threads: int) -> list[Search]:
    """The chosen searches of a study; arguments as in `grid`, and ``method`` without ``+tuned``.

    Raises:
        ConfigError: the study has no such search.
    """
    tuned = config.study.tuned()
    runs = [run for run in config.study.runs() if run.method in tuned]
    if not runs:
        raise ConfigError(f"studies.{config.study.name}: no searches; `tuning` asks for them (docs/configuration.md)")
    first = {run._replace(method=tuned[run.method].method): run for run in runs if run.seed == runs[0].seed}
    return [search_of(config, _spec(config, first[run], device, threads)) for run in _choose(list(first), chosen)]


def search_of(config: Config, spec: RunSpec) -> Search:
    """The search for the settings of the tuned run ``spec``; its trials have the first seed of such runs."""
    study, tuning = config.study, config.study.tuning
    assert tuning is not None
    path = study.search(spec.dataset, spec.gfm, spec.method)
    training = spec.training.model_copy(update={"epochs": tuning.epochs or spec.training.epochs})
    seed = (study.variants.seeds or study.seeds)[0]
    trial = replace(spec, seed=seed, variant="trial", out=path.with_suffix(""), training=training)
    return Search(trial, tuning, path)


def _choose(runs: list[RunName], chosen: Mapping[str, Sequence | None]) -> list[RunName]:
    every = runs
    for field, names in chosen.items():
        known = dict.fromkeys(getattr(run, field) for run in every)
        if unknown := [name for name in names or () if name not in known]:
            raise ConfigError(f"--{field}: {unknown[0]!r} is not in this study; it has {', '.join(map(str, known))}")
        runs = [run for run in runs if not names or getattr(run, field) in names]
    if not runs:
        raise ConfigError("no run of this study has all that was chosen; variants run on a part of the study")
    return runs


def fingerprint(config: Config, run: RunName) -> str:
    """The fingerprint that the record of a run would have now.

    Raises:
        DataError, FileNotFoundError: its data or weights are missing.
    """
    spec = _spec(config, run, "auto", 0)
    return sha256_json(spec.identity(Store(spec.store).card.sha256))


def _spec(config: Config, run: RunName, device: str, threads: int) -> RunSpec:
    study, method = config.study, config.method(run.method)
    task = Store(study.prepared(run.dataset)).card.task
    return RunSpec(
        study=study.name,
        dataset=run.dataset,
        gfm=run.gfm,
        method=method.method,
        variant=run.method.partition("+")[2],
        part=next((part for part, names in study.parts().items() if run.method in names), "main"),
        seed=run.seed,
        store=study.prepared(run.dataset),
        weights=study.gfm_weights(run.gfm),
        out=study.run(*run),
        method_settings=method.settings,
        training=fitted(study.training_of(run.dataset, task, method.training), card_in(study, run.gfm)),
        gfm_size=study.size_of(run.gfm),
        device=device,
        threads=threads,
        wandb=config.wandb,
        keep_weights=study.keeps_weights(run.seed),
    )
