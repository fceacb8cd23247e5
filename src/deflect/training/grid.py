"""The runs of a study: which there are, and training several of them in one process."""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Sequence

from deflect.data.store import Store
from deflect.errors import ConfigError, DeflectError, one_line
from deflect.settings.study import Config
from deflect.settings.training import TrainSettings
from deflect.training.context import world_size
from deflect.training.run import train
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
    study, variants = config.study, config.study.variants
    specs = []
    for name in _choose("method", methods, (*study.methods, *variants.settings)):
        part = variants if name in variants.settings else study
        chosen = itertools.product(
            _choose("dataset", datasets, part.datasets),
            _choose("gfm", gfms, part.gfms),
            _choose("seed", seeds, part.seeds or study.seeds),
        )
        specs += [_spec(config, dataset, gfm, name, seed, device, threads) for dataset, gfm, seed in chosen]
    return specs


def _choose(what: str, chosen: Sequence | None, known: Sequence) -> Sequence:
    if unknown := [name for name in chosen or () if name not in known]:
        raise ConfigError(f"--{what}: {unknown[0]!r} is not in this study; it has {', '.join(map(str, known))}")
    return chosen or known


def _spec(config: Config, dataset: str, gfm: str, name: str, seed: int, device: str, threads: int) -> RunSpec:
    study, method = config.study, config.method(name)
    task = Store(study.prepared(dataset)).card.task
    return RunSpec(
        study=study.name,
        dataset=dataset,
        gfm=gfm,
        method=method.method,
        variant=name.partition("+")[2],
        seed=seed,
        store=study.prepared(dataset),
        weights=study.gfm_weights(gfm),
        out=study.run(dataset, gfm, name, seed),
        method_settings=method.settings,
        training=TrainSettings.from_dict(study.training_of(dataset, task)),
        gfm_size=study.size_of(gfm),
        device=device,
        threads=threads,
        wandb=config.wandb,
        keep_weights=study.keeps_weights(seed),
    )
