"""The runs of a study: which there are, and training several of them in one process."""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Sequence

from deflect.config import Config, ConfigError
from deflect.data.store import Store
from deflect.errors import DeflectError, one_line
from deflect.training.context import world_size
from deflect.training.run import train
from deflect.training.settings import TrainSettings
from deflect.training.spec import RunSpec


def train_all(specs: Sequence[RunSpec]) -> int:
    """Train runs one after another, in this process.

    A run that fails does not stop the others: its fault is printed, and the exit code is 1 at the end.
    """
    failed = 0
    for number, spec in enumerate(specs, start=1):
        start = time.monotonic()
        try:
            score = train(spec)["score"]
        except Exception as error:
            if world_size() > 1:
                raise  # the other processes wait for this one; torchrun ends them, and the next start goes on
            failed += 1
            if isinstance(error, (DeflectError, OSError)):
                print(f"deflect: {spec.slug}: {one_line(error)}", file=sys.stderr, flush=True)
            else:
                print(f"deflect: {spec.slug} failed:", file=sys.stderr)
                traceback.print_exc()
            continue
        seconds = time.monotonic() - start
        print(
            f"[{number}/{len(specs)}] {spec.slug}: {score['metric']} {score['value']:.3f} ({seconds:.1f} s)", flush=True
        )
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
    """The chosen runs of a study; ``None`` chooses all. Variants run on their own part of the grid.

    Raises:
        ConfigError: a chosen name is not part of the study.
    """
    study = config.study
    names = list(methods) if methods else [*study.methods, *study.variants.settings]
    specs = []
    for name in names:
        variant = name in study.variants.settings
        part = study.variants if variant else study
        _check("method", [name], (*study.methods, *study.variants.settings))
        chosen = itertools.product(
            _choose("dataset", datasets, part.datasets),
            _choose("gfm", gfms, part.gfms),
            _choose("seed", seeds, part.seeds or study.seeds),
        )
        specs += [_spec(config, dataset, gfm, name, seed, device, threads) for dataset, gfm, seed in chosen]
    return specs


def _choose(what: str, chosen: Sequence | None, known: Sequence) -> Sequence:
    if chosen:
        _check(what, chosen, known)
    return chosen or known


def _check(what: str, chosen: Sequence, known: Sequence) -> None:
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ConfigError(f"--{what}: {unknown[0]!r} is not in this study; it has {', '.join(map(str, known))}")


def _spec(config: Config, dataset: str, gfm: str, name: str, seed: int, device: str, threads: int) -> RunSpec:
    study = config.study
    task = Store(study.prepared(dataset)).card.task
    variant = config.method(name)
    return RunSpec(
        study=study.name,
        dataset=dataset,
        gfm=gfm,
        method=variant.method,
        variant=name.partition("+")[2],
        seed=seed,
        store=study.prepared(dataset),
        weights=study.gfm_weights(gfm),
        out=study.run(dataset, gfm, name, seed),
        method_settings=variant.settings,
        training=TrainSettings.from_dict(study.training_of(dataset, task)),
        gfm_size=study.size_of(gfm),
        device=device,
        threads=threads,
        wandb=config.wandb,
        keep_weights=study.keeps_weights(seed),
    )
