"""The runs of a study: their specifications, and training several of them in one process."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping, Sequence

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


def grid(config: Config, chosen: Mapping[str, Sequence | None], device: str, threads: int) -> list[RunSpec]:
    """The chosen runs of a study.

    Args:
        chosen: names by field of ``RunName``; ``None`` chooses all.

    Raises:
        ConfigError: the study has no such run.
    """
    runs = config.study.runs()
    for field, names in chosen.items():
        known = dict.fromkeys(getattr(run, field) for run in config.study.runs())
        if unknown := [name for name in names or () if name not in known]:
            raise ConfigError(f"--{field}: {unknown[0]!r} is not in this study; it has {', '.join(map(str, known))}")
        runs = [run for run in runs if not names or getattr(run, field) in names]
    if not runs:
        raise ConfigError("no run of this study has all that was chosen; variants run on a part of the study")
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
        part=next((part for part, names in study.parts().items() if run.method in names), "main"),
        seed=run.seed,
        store=study.prepared(run.dataset),
        weights=study.gfm_weights(run.gfm),
        out=study.run(*run),
        method_settings=method.settings,
        training=study.training_of(run.dataset, task, method.training),
        gfm_size=study.size_of(run.gfm),
        device=device,
        threads=threads,
        wandb=config.wandb,
        keep_weights=study.keeps_weights(run.seed),
    )
