"""The runs of a study: their specifications, and training several of them in one process."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence

from deflect.data.store import Store
from deflect.errors import ConfigError, DeflectError, one_line
from deflect.settings.study import Config, RunName
from deflect.training.context import world_size
from deflect.training.run import train
from deflect.training.spec import RunSpec


def train_all(specs: Sequence[RunSpec]) -> int:
    """Train runs one after another, in this process.

    A run that fails does not stop the others: its error is printed, and the exit code is 1 at the end.
    """
    failed = 0
    for number, spec in enumerate(specs, start=1):
        start = time.monotonic()
        try:
            score = train(spec)["score"]
        except Exception as error:
            if world_size() > 1:
                raise  # the other processes wait for this one; torchrun ends them, and the next start resumes
            failed += 1
            if isinstance(error, (DeflectError, OSError)):
                print(f"deflect: {spec.slug}: {one_line(error)}", file=sys.stderr, flush=True)
            else:
                print(f"deflect: {spec.slug} failed:", file=sys.stderr)
                traceback.print_exc()
            continue
        result = f"{score['metric']} {score['value']:.3f} ({time.monotonic() - start:.1f} s)"
        print(f"[{number}/{len(specs)}] {spec.slug}: {result}", flush=True)
    if failed:
        print(f"deflect: {failed} of {len(specs)} runs failed; the others are finished and kept", file=sys.stderr)
    return int(failed > 0)


def grid(
    config: Config,
    datasets: Sequence[str] | None = None,
    gfms: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    threads: int = 0,
) -> list[RunSpec]:
    """The chosen runs of a study; ``None`` chooses all.

    Raises:
        ConfigError: the study has no such run.
    """
    runs = config.study.runs()
    chosen = {"dataset": datasets, "gfm": gfms, "method": methods, "seed": seeds}
    for option, names in chosen.items():
        known = dict.fromkeys(getattr(run, option) for run in config.study.runs())
        if unknown := [name for name in names or () if name not in known]:
            raise ConfigError(f"--{option}: {unknown[0]!r} is not in this study; it has {', '.join(map(str, known))}")
        runs = [run for run in runs if not names or getattr(run, option) in names]
    if not runs:
        given = " ".join(f"--{option} {' '.join(map(str, names))}" for option, names in chosen.items() if names)
        raise ConfigError(f"{given}: no run of this study has all of these; variants run on a part of the study only")
    return [_spec(config, run, device, threads) for run in runs]


def _spec(config: Config, run: RunName, device: str, threads: int) -> RunSpec:
    study, method = config.study, config.method(run.method)
    task = Store(study.prepared(run.dataset)).card.task
    return RunSpec(
        study=study.name,
        dataset=run.dataset,
        gfm=run.gfm,
        method=method.method,
        variant=run.method.partition("+")[2],
        seed=run.seed,
        store=study.prepared(run.dataset),
        weights=study.gfm_weights(run.gfm),
        out=study.run(*run),
        method_settings=method.settings,
        training=study.training_of(run.dataset, task),
        gfm_size=study.size_of(run.gfm),
        device=device,
        threads=threads,
        wandb=config.wandb,
        keep_weights=study.keeps_weights(run.seed),
    )
