"""``deflect data``: fetch, verify, simulate, prepare and check datasets."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deflect.config import load
from deflect.errors import ConfigError
from deflect.files import write_json
from deflect.settings import DATASETS

if TYPE_CHECKING:
    from deflect.settings.study import Study

RAW = Path("data/raw")


def status(args: Namespace) -> None:
    from deflect.data.fetch.status import status_table

    study = load(args.config, args.study).study
    simulated = Path("data/simulated") if study.simulated else None
    print(status_table(RAW, Path("data/prepared"), study.name, simulated))


def fetch(args: Namespace) -> None:
    from shutil import disk_usage

    from deflect.data.disk import human
    from deflect.data.fetch import dataset

    config = load(args.config, args.study)
    if not config.study.simulated and not any((RAW / dataset.ARCHIVES).glob("*")):  # before the first download
        from deflect.training.needs import needs_line

        logging.getLogger(__name__).info("%s; %s free here", needs_line(config), human(disk_usage(Path()).free))
    keep = config.study.keep_archives and not args.drop_archive
    for name in _chosen(args, config.study):
        if name in DATASETS:  # the files of a user's own dataset are in their place already
            dataset.fetch(name, RAW, keep_archive=keep)


def verify(args: Namespace) -> None:
    from deflect.data.fetch import dataset

    for name in _chosen(args, load(args.config, args.study).study):
        print(dataset.verify(name, RAW))


def simulate(args: Namespace) -> None:
    from deflect.data import simulate
    from deflect.settings.simulation import SimulationSize

    study = load(args.config, args.study).study
    settings = study.simulation
    if not study.simulated:
        raise ConfigError(
            f"study {study.name} uses real data; `deflect --study mini data simulate` writes simulated data"
        )
    if args.rgb:
        simulate.simulate_rgb(study.rgb_images, settings["rgb_images"], settings["rgb_pixels"], settings["seed"])
    for name in [] if args.rgb and not args.datasets else _chosen(args, study):
        if name not in DATASETS and args.all:
            continue  # a user's own dataset is real in every study
        if name not in settings.get("sizes", {}):
            key = f"studies.{study.name}.simulation.sizes"
            raise ConfigError(f"config: {key}: no sizes of {name!r}; add them there, or name another dataset")
        simulate.simulate(name, study.raw(name), SimulationSize(**settings["sizes"][name]), settings["seed"])


def prepare(args: Namespace) -> None:
    study = load(args.config, args.study).study
    for name in _chosen(args, study):
        _prepare(study, name, args.jobs, args.no_check, args.part)


def _prepare(
    study: Study, name: str, jobs: int = 0, no_check: bool = False, part: tuple[int, int] | None = None
) -> None:
    from deflect.data.catalog import AS_PUBLISHED
    from deflect.data.prepare import prepare, prepare_part

    places = (name, study.raw(name), study.prepared(name))
    options: dict[str, Any] = {
        "simulated": study.simulated,
        "check_published": not (no_check or name in study.unchecked),
        "jobs": jobs,
        "sheet": AS_PUBLISHED[name] if name in study.as_published else None,
    }
    if part:
        prepare_part(*places, *part, **options)
    else:
        prepare(*places, **options)


def check(args: Namespace) -> None:
    from deflect.data.card import CARD

    study = load(args.config, args.study).study
    names = _chosen(args, study)
    if args.out and len(names) > 1:
        raise ConfigError(f"--out is the page of one dataset, found {', '.join(names)}; leave --out out")
    for name in names:
        if not (study.prepared(name) / CARD).is_file():
            _prepare(study, name)
    from deflect.checking.check import check as look  # after preparing, which needs no torch
    from deflect.data.store import Store

    for name in names:
        path = args.out or study.check_page(name)
        for one in look(Store(study.prepared(name)), study.raw(name), path):
            for finding in one.findings:
                print(f"{name}: {finding.found} {finding.remedy}")
        print(path)


def duplicates(args: Namespace) -> None:
    from deflect.data.duplicates import duplicates as found
    from deflect.data.store import Store

    study = load(args.config, args.study).study
    for name in _chosen(args, study):
        path = study.duplicates(name)
        write_json(path, found(Store(study.prepared(name))))
        print(path)


def _chosen(args: Namespace, study: Study) -> list[str]:
    """The datasets named on the command line, or all of the study with --all."""
    names = list(study.datasets) if args.all else list(args.datasets)
    if not names:
        raise ConfigError(f"name a dataset or give --all; this study has {', '.join(study.datasets)}")
    known = list(dict.fromkeys([*DATASETS, *study.datasets]))
    for name in names:
        if name not in known:
            how = f"add one of your own to studies.{study.name}.datasets in config.yaml"
            raise ConfigError(f"unknown dataset {name!r}; known: {', '.join(known)}; {how}")
    return names
